//! An account with throw-away keys.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use rand_core::Rng as _;
use sotto_crypto::{
    AccountSecret, DeviceSecret, KemPrekeySecret, KemUse, OneTimePrekeySecret, SignedPrekeySecret,
};
use sotto_proto::{
    AccountId, Certificate, DeviceId, DeviceList, ListHash, ServerId, Signature, SignedDeviceList, Username,
    device_list::Revocation,
    frame::{AuthKey, Register, UsedList},
    limits::MAX_DEVICES,
    prekey::{PrekeyId, PrekeyUpload},
};

/// Revocations in a long device list: with its devices it stays below the longest frame before login.
const REVOCATIONS: usize = 480;

/// One who writes or reads, on the first device of the account.
pub(crate) struct Person {
    pub(crate) username: Username,
    pub(crate) account: AccountId,
    pub(crate) device: DeviceId,
    owner: AccountSecret,
    secret: DeviceSecret,
    pub(crate) list: SignedDeviceList,
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

/// A name that nobody has had before.
pub(crate) fn new_name() -> anyhow::Result<Username> {
    // Letters and digits that all look different, or the name could look like another's.
    let name: String = random::<16>().iter().map(|byte| char::from(b'a' + byte % 8)).collect();
    let tail: String = random::<16>().iter().map(|byte| char::from(b'p' + byte % 8)).collect();
    Ok(Username::parse(&format!("{name}{tail}"))?)
}

impl Person {
    /// New keys, one device, and a name that no run had before.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Self::with_list(1, 0)
    }

    /// With about the longest device list that fits a frame before login: what costs a server most to check and to hand out.
    pub(crate) fn with_long_list() -> anyhow::Result<Self> {
        Self::with_list(MAX_DEVICES, REVOCATIONS)
    }

    fn with_list(devices: usize, revocations: usize) -> anyhow::Result<Self> {
        let rng = &mut rand::rng();
        let (username, account) = (new_name()?, AccountId(random()));
        let owner = AccountSecret::generate(rng);
        let mut certificates = Vec::new();
        let mut first = None;
        for _ in 0..devices {
            let (device, secret) = (DeviceId(random()), DeviceSecret::generate(rng));
            certificates.push(owner.sign_certificate(&Certificate {
                username: username.clone(),
                account,
                account_key: owner.public(),
                device,
                device_key: secret.device_key(),
                identity_key: secret.identity_key(),
                created_ms: 1,
            })?);
            first.get_or_insert((device, secret));
        }
        let (device, secret) = first.context("a person has a device")?;
        let list = owner.sign_device_list(&DeviceList {
            username: username.clone(),
            account,
            account_key: owner.public(),
            number: 1,
            previous: ListHash([0; 32]),
            devices: certificates,
            revocations: (0..revocations)
                .map(|_| Revocation { device: DeviceId(random()), revoked_ms: 1 })
                .collect(),
        });
        Ok(Self { username, account, device, owner, secret, list: list.context("signing a device list")? })
    }

    /// The request that makes the account. The auth key is random: nobody logs in by password.
    pub(crate) fn register(&self, server: &ServerId, challenge: &[u8; 32], exporter: &[u8; 32]) -> Register {
        let auth_key = AuthKey(random());
        let list = self.list.hash();
        let signature = self.secret.sign_registration(server, challenge, exporter, &list, &auth_key);
        Register {
            invite: None,
            username: self.username.to_string(),
            auth_key,
            list: self.list.as_bytes().to_vec().into(),
            device: self.device,
            signature,
        }
    }

    /// The device list as a Submit names it.
    pub(crate) fn used(&self) -> UsedList {
        UsedList { account: self.account, number: 1, hash: self.list.hash(), list: None }
    }

    /// The signature of a login.
    pub(crate) fn sign_login(
        &self,
        server: &ServerId,
        challenge: &[u8; 32],
        exporter: &[u8; 32],
    ) -> Signature {
        self.secret.sign_login(server, challenge, exporter)
    }

    /// The signature of a login by the account's key.
    pub(crate) fn sign_account_login(
        &self,
        server: &ServerId,
        challenge: &[u8; 32],
        exporter: &[u8; 32],
    ) -> Signature {
        self.owner.sign_login(server, challenge, exporter)
    }

    /// New prekeys, so many one-time ones of both kinds; their private halves are thrown away.
    pub(crate) fn prekeys(&self, one_time: u32, one_time_kem: u32) -> anyhow::Result<PrekeyUpload> {
        let rng = &mut rand::rng();
        let now_ms = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
        let id = PrekeyId;
        let kem = |rng: &mut rand::rngs::ThreadRng, usage, number| {
            let secret = KemPrekeySecret::generate(rng, usage, id(number), now_ms);
            secret.publish(&self.secret, &self.account, &self.device)
        };
        let signed = SignedPrekeySecret::generate(rng, id(1), now_ms);
        Ok(PrekeyUpload {
            signed: Some(signed.publish(&self.secret, &self.account, &self.device)),
            last_resort: Some(kem(rng, KemUse::LastResort, 1)?),
            one_time: (1..=one_time).map(|n| OneTimePrekeySecret::generate(rng, id(n)).publish()).collect(),
            one_time_kem: (2..2 + one_time_kem)
                .map(|n| kem(rng, KemUse::OneTime, n))
                .collect::<Result<_, _>>()?,
        })
    }
}
