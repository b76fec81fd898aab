//! Two devices with everything that is slow to make, made once: certificates, pairs, prekeys and their bundles.

use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock},
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use sotto_crypto::{
    AccountSecret, ConsumedPrekey, DeviceSecret, KemPrekeySecret, KemUse, OneTimePrekeySecret, Pair,
    PrekeySource, SignedPrekeySecret, SourceFailed,
};
use sotto_proto::{
    AccountId, Certificate, DeviceId, SignedCertificate, Username,
    prekey::{PrekeyBundle, PrekeyId},
};

/// When the devices and their prekeys were made, Unix milliseconds.
pub(crate) const NOW_MS: u64 = 1_700_000_000_000;
/// Bundles with one-time keys; more sessions than a device keeps.
pub(crate) const BUNDLES: usize = 24;

const SIGNED: PrekeyId = PrekeyId(1);
const LAST_RESORT: PrekeyId = PrekeyId(2);
const FIRST_ONE_TIME: u32 = 100;

/// A device, and what the server would hand out for it.
pub(crate) struct Device {
    pub(crate) secret: Arc<DeviceSecret>,
    pub(crate) certificate: SignedCertificate,
    /// With the other device.
    pub(crate) pair: Pair,
    pub(crate) bundles: Vec<PrekeyBundle>,
    pub(crate) last_resort: PrekeyBundle,
    signed_bytes: Vec<u8>,
    last_resort_bytes: Vec<u8>,
    one_time_bytes: Vec<Vec<u8>>,
    kem_bytes: Vec<Vec<u8>>,
}

/// Alice's and Bob's.
pub(crate) fn devices() -> &'static [Device; 2] {
    static DEVICES: OnceLock<[Device; 2]> = OnceLock::new();
    DEVICES.get_or_init(|| {
        let mut rng = StdRng::seed_from_u64(1);
        let [alice, bob] = ["alice", "bob"].map(|name| Named::new(&mut rng, name));
        let pairs = [alice.pair_with(&bob), bob.pair_with(&alice)];
        let mut pairs = pairs.into_iter();
        [alice, bob].map(|named| named.device(&mut rng, pairs.next().unwrap()))
    })
}

struct Named {
    secret: Arc<DeviceSecret>,
    certificate: SignedCertificate,
}

impl Named {
    fn new(rng: &mut StdRng, name: &str) -> Self {
        let account = AccountSecret::generate(rng);
        let secret = Arc::new(DeviceSecret::generate(rng));
        let mut ids = [[0; 16]; 2];
        for id in &mut ids {
            rng.fill_bytes(id);
        }
        let certificate = Certificate {
            username: Username::parse(name).unwrap(),
            account: AccountId(ids[0]),
            account_key: account.public(),
            device: DeviceId(ids[1]),
            device_key: secret.device_key(),
            identity_key: secret.identity_key(),
            created_ms: NOW_MS,
        };
        let certificate = account.sign_certificate(&certificate).unwrap();
        Self { secret, certificate }
    }

    fn pair_with(&self, other: &Self) -> Pair {
        Pair::new(&self.secret, &self.certificate, &other.certificate).unwrap()
    }

    fn device(self, rng: &mut StdRng, pair: Pair) -> Device {
        let Self { secret, certificate } = self;
        let (owner, id) = (certificate.certificate().account, certificate.certificate().device);
        let signed = SignedPrekeySecret::generate(rng, SIGNED, NOW_MS);
        let last_resort_secret = KemPrekeySecret::generate(rng, KemUse::LastResort, LAST_RESORT, NOW_MS);
        let last_resort = PrekeyBundle {
            device: id,
            signed: signed.publish(&secret, &owner, &id),
            kem: last_resort_secret.publish(&secret, &owner, &id).unwrap(),
            kem_one_time: false,
            one_time: None,
        };
        let (mut bundles, mut one_time_bytes, mut kem_bytes) = (Vec::new(), Vec::new(), Vec::new());
        for number in (FIRST_ONE_TIME..).take(BUNDLES) {
            let one_time = OneTimePrekeySecret::generate(rng, PrekeyId(number));
            let kem = KemPrekeySecret::generate(rng, KemUse::OneTime, PrekeyId(number), NOW_MS);
            bundles.push(PrekeyBundle {
                kem: kem.publish(&secret, &owner, &id).unwrap(),
                kem_one_time: true,
                one_time: Some(one_time.publish()),
                ..last_resort.clone()
            });
            one_time_bytes.push(one_time.to_bytes().to_vec());
            kem_bytes.push(kem.to_bytes().to_vec());
        }
        Device {
            secret,
            certificate,
            pair,
            bundles,
            last_resort,
            signed_bytes: signed.to_bytes().to_vec(),
            last_resort_bytes: last_resort_secret.to_bytes().to_vec(),
            one_time_bytes,
            kem_bytes,
        }
    }
}

/// A device's prekeys without those that were used up.
pub(crate) struct Prekeys {
    device: &'static Device,
    used: BTreeSet<ConsumedPrekey>,
}

impl Prekeys {
    pub(crate) fn of(device: &'static Device) -> Self {
        Self { device, used: BTreeSet::new() }
    }

    pub(crate) fn consume(&mut self, consumed: &[ConsumedPrekey]) {
        for prekey in consumed {
            assert!(self.used.insert(*prekey), "{prekey:?} was consumed twice");
        }
    }
}

fn place(id: PrekeyId) -> Option<usize> {
    id.0.checked_sub(FIRST_ONE_TIME).map(|at| at as usize)
}

impl PrekeySource for Prekeys {
    fn signed(&self, id: PrekeyId) -> Result<Option<SignedPrekeySecret>, SourceFailed> {
        let found = (id == SIGNED).then_some(&self.device.signed_bytes);
        Ok(found.map(|bytes| SignedPrekeySecret::from_bytes(bytes).unwrap()))
    }

    fn one_time(&self, id: PrekeyId) -> Result<Option<OneTimePrekeySecret>, SourceFailed> {
        if self.used.contains(&ConsumedPrekey::Curve(id)) {
            return Ok(None);
        }
        let found = place(id).and_then(|at| self.device.one_time_bytes.get(at));
        Ok(found.map(|bytes| OneTimePrekeySecret::from_bytes(bytes).unwrap()))
    }

    fn kem(&self, kem_use: KemUse, id: PrekeyId) -> Result<Option<KemPrekeySecret>, SourceFailed> {
        let found = match kem_use {
            KemUse::LastResort => (id == LAST_RESORT).then_some(&self.device.last_resort_bytes),
            KemUse::OneTime if self.used.contains(&ConsumedPrekey::Kem(id)) => None,
            KemUse::OneTime => place(id).and_then(|at| self.device.kem_bytes.get(at)),
        };
        Ok(found.map(|bytes| KemPrekeySecret::from_bytes(bytes).unwrap()))
    }
}
