//! People, keys and envelopes for the checks.

use ed25519_dalek::{Signer, SigningKey};
use sotto_proto::{
    AccountId, AccountKey, Certificate, DeviceId, DeviceKey, DeviceList, FateTag, IdentityKey, KemKey,
    ListHash, PrekeyPublic, Signature, SignedDeviceList, SubmissionId, Username,
    certificate::SignedCertificate,
    device_list::Revocation,
    frame::Outcome,
    prekey::{KemPrekey, OneTimePrekey, PrekeyId, PrekeyUpload, SignedPrekey, Validity},
};

use crate::{
    AccountRecord, Appended, CreateOutcome, NewAccount, NewEnvelope, Store, Submission, SubmissionKey,
};

/// An account made from one byte.
pub struct Person {
    pub name: Username,
    pub account: AccountId,
    pub device: DeviceId,
    signing: SigningKey,
}

impl Person {
    /// `seed` decides ids and keys.
    pub fn new(name: &str, seed: u8) -> Self {
        Self {
            name: Username::parse(name).unwrap(),
            account: AccountId([seed; 16]),
            device: device(seed, 0),
            signing: SigningKey::from_bytes(&[seed; 32]),
        }
    }

    /// A device of theirs; the first is number 0.
    pub fn device(&self, number: u8) -> DeviceId {
        device(self.account.0[0], number)
    }

    /// A list of these devices, by number, under this list number.
    pub fn list(&self, number: u64, devices: &[DeviceId]) -> SignedDeviceList {
        let key = AccountKey(self.signing.verifying_key().to_bytes());
        let sign = |input: &[u8]| Signature(self.signing.sign(input).to_bytes());
        let certificate = |device: &DeviceId| {
            let encoded = Certificate {
                username: self.name.clone(),
                account: self.account,
                account_key: key,
                device: *device,
                device_key: DeviceKey(self.signing.verifying_key().to_bytes()),
                identity_key: IdentityKey([7; 32]),
                created_ms: 1,
            }
            .encode();
            SignedCertificate::assemble(&encoded, &sign(&Certificate::signing_input(&encoded))).unwrap()
        };
        let encoded = DeviceList {
            username: self.name.clone(),
            account: self.account,
            account_key: key,
            number,
            previous: ListHash([0; 32]),
            devices: devices.iter().map(certificate).collect(),
            // A list names at least one device, be it a revoked one.
            revocations: vec![Revocation { device: DeviceId([0xee; 16]), revoked_ms: 1 }],
        }
        .encode();
        SignedDeviceList::assemble(&encoded, &sign(&DeviceList::signing_input(&encoded))).unwrap()
    }

    pub fn new_account(&self) -> NewAccount {
        NewAccount {
            password_hash: format!("$argon2id$of-{}", self.name),
            list: self.list(1, &[self.device]),
            invite: None,
            now_ms: 1_000,
        }
    }

    /// Registers and answers the record.
    pub fn register(&self, store: &impl Store) -> AccountRecord {
        assert_eq!(store.create_account(self.new_account()).wait(), Ok(CreateOutcome::Created));
        store.account(self.account).wait().unwrap().unwrap()
    }

    /// `record` with these devices instead.
    pub fn with_devices(&self, record: &AccountRecord, devices: &[DeviceId]) -> AccountRecord {
        AccountRecord {
            list: self.list(record.revision + 1, devices).as_bytes().to_vec(),
            devices: devices.to_vec(),
            ..record.clone()
        }
    }
}

fn device(seed: u8, number: u8) -> DeviceId {
    let mut id = [seed; 16];
    id[15] = number;
    DeviceId(id)
}

/// Signed keys with this id, and one-time keys with the ids in the ranges.
pub fn upload(id: u32, one_time: std::ops::Range<u32>, one_time_kem: std::ops::Range<u32>) -> PrekeyUpload {
    let validity = Validity::from(1_000);
    let signature = Signature([3; 64]);
    let kem = |id: u32| KemPrekey {
        id: PrekeyId(id),
        validity,
        key: KemKey::from_slice(&[id.to_be_bytes()[3]; 1184]).unwrap(),
        signature,
    };
    PrekeyUpload {
        signed: Some(SignedPrekey { id: PrekeyId(id), validity, key: PrekeyPublic([5; 32]), signature }),
        last_resort: Some(kem(id)),
        one_time: one_time
            .map(|id| OneTimePrekey { id: PrekeyId(id), key: PrekeyPublic([id.to_be_bytes()[3]; 32]) })
            .collect(),
        one_time_kem: one_time_kem.map(kem).collect(),
    }
}

/// A fate tag made from a number.
pub fn tag(number: u64) -> FateTag {
    let mut tag = [0; 16];
    tag[..8].copy_from_slice(&number.to_be_bytes());
    FateTag(tag)
}

/// A submission's key made from a number.
pub fn key(number: u64) -> SubmissionKey {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    SubmissionKey::new(&AccountId([9; 16]), &SubmissionId(id))
}

/// An envelope whose bytes say its tag and fill `length`.
pub fn envelope(device: DeviceId, number: u64, length: usize) -> NewEnvelope {
    NewEnvelope {
        device,
        fate_tag: tag(number),
        envelope: number.to_be_bytes().into_iter().cycle().take(length).collect(),
        connected: false,
        refused: None,
    }
}

/// Appends and answers.
pub fn put(store: &impl Store, submission: u64, now_ms: u64, envelopes: Vec<NewEnvelope>) -> Appended {
    store.append(Submission { key: key(submission), envelopes, now_ms }).wait().unwrap()
}

/// The outcomes alone.
pub fn outcomes(appended: &Appended) -> Vec<Outcome> {
    appended.submitted.devices.iter().map(|device| device.outcome).collect()
}

/// Expires until nothing is left.
pub(super) fn expire_all(store: &impl Store, now_ms: u64) -> usize {
    let mut count = 0;
    loop {
        match store.expire(now_ms).wait().unwrap() {
            0 => return count,
            some => count += some,
        }
    }
}
