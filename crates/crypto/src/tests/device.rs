//! A device with its prekeys, as a client would keep them.

use std::{collections::BTreeMap, sync::Arc};

use rand::rngs::StdRng;
use rand_core::Rng;
use sotto_proto::{
    AccountId, Certificate, DeviceId, SignedCertificate, Username,
    prekey::{PrekeyBundle, PrekeyId},
};

use crate::{
    AccountSecret, ConsumedPrekey, DeviceSecret, KemPrekeySecret, KemUse, OneTimePrekeySecret, Pair,
    PrekeySource, SignedPrekeySecret, SourceFailed,
};

/// Stored bytes by number, one table for each kind.
#[derive(Default)]
pub(crate) struct Prekeys {
    pub(crate) signed: BTreeMap<PrekeyId, Vec<u8>>,
    pub(crate) one_time: BTreeMap<PrekeyId, Vec<u8>>,
    pub(crate) kem: BTreeMap<(KemUse, PrekeyId), Vec<u8>>,
    pub(crate) broken: bool,
}

impl Prekeys {
    fn check(&self) -> Result<(), SourceFailed> {
        if self.broken { Err(SourceFailed("the disk is gone".into())) } else { Ok(()) }
    }

    pub(crate) fn consume(&mut self, consumed: &[ConsumedPrekey]) {
        for prekey in consumed {
            let had = match prekey {
                ConsumedPrekey::Curve(id) => self.one_time.remove(id).is_some(),
                ConsumedPrekey::Kem(id) => self.kem.remove(&(KemUse::OneTime, *id)).is_some(),
            };
            assert!(had, "{prekey:?} was consumed twice");
        }
    }
}

impl PrekeySource for Prekeys {
    fn signed(&self, id: PrekeyId) -> Result<Option<SignedPrekeySecret>, SourceFailed> {
        self.check()?;
        Ok(self.signed.get(&id).map(|bytes| SignedPrekeySecret::from_bytes(bytes).unwrap()))
    }

    fn one_time(&self, id: PrekeyId) -> Result<Option<OneTimePrekeySecret>, SourceFailed> {
        self.check()?;
        Ok(self.one_time.get(&id).map(|bytes| OneTimePrekeySecret::from_bytes(bytes).unwrap()))
    }

    fn kem(&self, kem_use: KemUse, id: PrekeyId) -> Result<Option<KemPrekeySecret>, SourceFailed> {
        self.check()?;
        Ok(self.kem.get(&(kem_use, id)).map(|bytes| KemPrekeySecret::from_bytes(bytes).unwrap()))
    }
}

pub(crate) struct Device {
    pub(crate) account: AccountSecret,
    pub(crate) secret: Arc<DeviceSecret>,
    pub(crate) certificate: SignedCertificate,
    pub(crate) prekeys: Prekeys,
    next_id: u32,
    signed: PrekeyId,
    last_resort: PrekeyId,
}

impl Device {
    pub(crate) fn new(rng: &mut StdRng, name: &str, now_ms: u64) -> Self {
        let account = AccountSecret::generate(rng);
        let secret = Arc::new(DeviceSecret::generate(rng));
        let mut ids = [[0; 16]; 2];
        for id in &mut ids {
            rng.fill_bytes(id);
        }
        let certificate = account
            .sign_certificate(&Certificate {
                username: Username::parse(name).unwrap(),
                account: AccountId(ids[0]),
                account_key: account.public(),
                device: DeviceId(ids[1]),
                device_key: secret.device_key(),
                identity_key: secret.identity_key(),
                created_ms: now_ms,
            })
            .unwrap();
        let mut device = Self {
            account,
            secret,
            certificate,
            prekeys: Prekeys::default(),
            next_id: 0,
            signed: PrekeyId(0),
            last_resort: PrekeyId(0),
        };
        device.rotate(rng, now_ms);
        device
    }

    fn id(&mut self) -> PrekeyId {
        self.next_id += 1;
        PrekeyId(self.next_id)
    }

    /// New signed and last-resort prekeys; the old ones stay.
    pub(crate) fn rotate(&mut self, rng: &mut StdRng, now_ms: u64) {
        self.signed = self.id();
        let signed = SignedPrekeySecret::generate(rng, self.signed, now_ms);
        self.prekeys.signed.insert(self.signed, signed.to_bytes().to_vec());
        self.last_resort = self.id();
        let kem = KemPrekeySecret::generate(rng, KemUse::LastResort, self.last_resort, now_ms);
        self.prekeys.kem.insert((KemUse::LastResort, self.last_resort), kem.to_bytes().to_vec());
    }

    /// What the server would hand out.
    pub(crate) fn bundle(&mut self, rng: &mut StdRng, one_time: bool, now_ms: u64) -> PrekeyBundle {
        let certificate = self.certificate.certificate().clone();
        let (account, device) = (certificate.account, certificate.device);
        let signed = self.prekeys.signed(self.signed).unwrap().unwrap();
        let kem_key = if one_time {
            let id = self.id();
            let kem = KemPrekeySecret::generate(rng, KemUse::OneTime, id, now_ms);
            self.prekeys.kem.insert((KemUse::OneTime, id), kem.to_bytes().to_vec());
            kem
        } else {
            self.prekeys.kem(KemUse::LastResort, self.last_resort).unwrap().unwrap()
        };
        let curve = one_time.then(|| {
            let curve = OneTimePrekeySecret::generate(rng, self.id());
            self.prekeys.one_time.insert(curve.id(), curve.to_bytes().to_vec());
            curve.publish()
        });
        PrekeyBundle {
            device,
            signed: signed.publish(&self.secret, &account, &device),
            kem: kem_key.publish(&self.secret, &account, &device).unwrap(),
            kem_one_time: one_time,
            one_time: curve,
        }
    }

    pub(crate) fn pair_with(&self, other: &SignedCertificate) -> Pair {
        Pair::new(&self.secret, &self.certificate, other).unwrap()
    }
}
