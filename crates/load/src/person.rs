//! An account with one device and throw-away keys.

use anyhow::Context as _;
use rand_core::Rng as _;
use sotto_crypto::{AccountSecret, DeviceSecret};
use sotto_proto::{
    AccountId, Certificate, DeviceId, DeviceList, ListHash, ServerId, Signature, SignedDeviceList, Username,
    frame::{AuthKey, Register, UsedList},
};

/// One who writes or reads.
pub(crate) struct Person {
    username: Username,
    pub(crate) account: AccountId,
    pub(crate) device: DeviceId,
    secret: DeviceSecret,
    list: SignedDeviceList,
}

impl Person {
    /// New keys, and a name that no run had before.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let rng = &mut rand::rng();
        let random = |rng: &mut rand::rngs::ThreadRng| {
            let mut bytes = [0; 16];
            rng.fill_bytes(&mut bytes);
            bytes
        };
        let (account, device) = (AccountId(random(rng)), DeviceId(random(rng)));
        // Letters and digits that all look different, or the name could look like another's.
        let name: String = random(rng).iter().map(|byte| char::from(b'a' + byte % 8)).collect();
        let tail: String = random(rng).iter().map(|byte| char::from(b'p' + byte % 8)).collect();
        let username = Username::parse(&format!("{name}{tail}"))?;
        let (owner, secret) = (AccountSecret::generate(rng), DeviceSecret::generate(rng));
        let certificate = owner.sign_certificate(&Certificate {
            username: username.clone(),
            account,
            account_key: owner.public(),
            device,
            device_key: secret.device_key(),
            identity_key: secret.identity_key(),
            created_ms: 1,
        })?;
        let list = owner.sign_device_list(&DeviceList {
            username: username.clone(),
            account,
            account_key: owner.public(),
            number: 1,
            previous: ListHash([0; 32]),
            devices: vec![certificate],
            revocations: Vec::new(),
        });
        Ok(Self { username, account, device, secret, list: list.context("signing a device list")? })
    }

    /// The request that makes the account. The auth key is random: nobody logs in by password.
    pub(crate) fn register(&self, server: &ServerId, challenge: &[u8; 32], exporter: &[u8; 32]) -> Register {
        let mut auth_key = AuthKey([0; 32]);
        rand::rng().fill_bytes(&mut auth_key.0);
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
}
