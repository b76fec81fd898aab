//! Vectors of accounts, devices and what a person types.

use std::sync::Arc;

use sotto_proto::{
    AccountId, Certificate, DeviceId, DeviceList, ListHash, ResetCode, ServerId, SignedCertificate, Username,
    frame::AuthKey,
};

use super::{
    NOW_MS, VectorError,
    random::SeededRng,
    value::{Value, object},
};
use crate::{AccountSecret, DeviceSecret, Pair, PendingCode, RecoveryPhrase, SafetyNumber, VaultKey};

const PASSWORD: &str = "correct horse \u{e9}";

pub(super) struct Identity {
    pub(super) account: AccountSecret,
    pub(super) device: Arc<DeviceSecret>,
    pub(super) certificate: SignedCertificate,
}

impl Identity {
    pub(super) fn generate(rng: &mut SeededRng, name: &str) -> Result<Self, VectorError> {
        let account = AccountSecret::generate(rng);
        let device = Arc::new(DeviceSecret::generate(rng));
        let certificate = account.sign_certificate(&Certificate {
            username: Username::parse(name)?,
            account: AccountId(rng.array()),
            account_key: account.public(),
            device: DeviceId(rng.array()),
            device_key: device.device_key(),
            identity_key: device.identity_key(),
            created_ms: NOW_MS,
        })?;
        Ok(Self { account, device, certificate })
    }

    pub(super) fn pair_with(&self, other: &Self) -> Result<Pair, VectorError> {
        Ok(Pair::new(&self.device, &self.certificate, &other.certificate)?)
    }

    pub(super) fn value(&self, rng: &mut SeededRng, server: &ServerId) -> Result<Value, VectorError> {
        let certificate = self.certificate.certificate();
        let list = self.account.sign_device_list(&DeviceList {
            username: certificate.username.clone(),
            account: certificate.account,
            account_key: certificate.account_key,
            number: DeviceList::next_number(0, NOW_MS / 1_000),
            previous: ListHash([0; 32]),
            devices: vec![self.certificate.clone()],
            revocations: Vec::new(),
        })?;
        let (challenge, exporter) = (rng.array(), rng.array());
        let auth_key = AuthKey(rng.array());
        let registration =
            self.device.sign_registration(server, &challenge, &exporter, &list.hash(), &auth_key);
        let code = PendingCode::of(
            &certificate.account,
            &certificate.account_key,
            &certificate.device,
            &certificate.device_key,
            &certificate.identity_key,
        );
        Ok(object([
            ("username", Value::text(certificate.username.as_str())),
            ("account_id", Value::hex(certificate.account.0)),
            ("account_seed", Value::hex(self.account.seed().as_ref())),
            ("account_key", Value::hex(certificate.account_key.0)),
            ("recovery_phrase", Value::text(RecoveryPhrase::of(&self.account).expose())),
            ("device_id", Value::hex(certificate.device.0)),
            ("device_seed", Value::hex(self.device.signing_seed())),
            ("device_key", Value::hex(certificate.device_key.0)),
            ("identity_secret", Value::hex(self.device.identity().secret().expose())),
            ("identity_key", Value::hex(certificate.identity_key.0)),
            ("certificate_encoded", Value::hex(certificate.encode())),
            ("certificate", Value::hex(self.certificate.as_bytes())),
            ("certificate_hash", Value::hex(self.certificate.hash())),
            ("device_list_number", Value::Number(list.list().number)),
            ("device_list", Value::hex(list.as_bytes())),
            ("device_list_hash", Value::hex(list.hash().0)),
            ("server_id", Value::hex(server.0)),
            ("challenge", Value::hex(challenge)),
            ("exporter", Value::hex(exporter)),
            ("device_login_signature", Value::hex(self.device.sign_login(server, &challenge, &exporter).0)),
            ("account_login_signature", Value::hex(self.account.sign_login(server, &challenge, &exporter).0)),
            ("registration_auth_key", Value::hex(auth_key.0)),
            ("register_signature", Value::hex(registration.0)),
            ("pending_code", Value::text(code.to_string())),
            ("reset_code", Value::text(ResetCode::of(list.list()).to_string())),
        ]))
    }
}

pub(super) fn safety_number(a: &Identity, b: &Identity) -> Value {
    let (a, b) = (a.certificate.certificate(), b.certificate.certificate());
    Value::text(SafetyNumber::of((&a.account_key, &a.username), (&b.account_key, &b.username)).to_string())
}

pub(super) fn auth_key(server: &ServerId) -> Result<Value, VectorError> {
    let username = Username::parse("alice")?;
    Ok(object([
        ("password", Value::text(PASSWORD)),
        ("password_utf8_nfc", Value::hex(PASSWORD)),
        ("server_id", Value::hex(server.0)),
        ("username", Value::text(username.as_str())),
        ("salt", Value::hex(sotto_proto::login::auth_salt(server, &username))),
        ("memory_kib", Value::Number(64 * 1024)),
        ("passes", Value::Number(3)),
        ("lanes", Value::Number(1)),
        ("auth_key", Value::hex(crate::auth_key(PASSWORD, server, &username)?.as_ref())),
    ]))
}

pub(super) fn vault(rng: &mut SeededRng) -> Result<Value, VectorError> {
    let key = VaultKey::generate(rng);
    let record = key.wrap(rng, PASSWORD)?;
    Ok(object([
        ("password_utf8_nfc", Value::hex(PASSWORD)),
        ("key", Value::hex(key.expose())),
        ("record", Value::hex(record)),
    ]))
}
