//! Certificates, device lists and the server's key chain.

use std::{collections::BTreeSet, sync::OnceLock};

use ed25519_dalek::{Signer, SigningKey};
use rand::{SeedableRng, rngs::StdRng};
use sotto_crypto::{AccountSecret, DeviceSecret};
use sotto_proto::{
    AccountId, Certificate, DeviceId, DeviceList, KeyChain, ListHash, ServerId, Signature, SignedCertificate,
    SignedDeviceList, Username,
    chain::{ChainError, Successor, fingerprint, successor_input},
    codec,
    device_list::{DeviceListError, Revocation, SuccessionError},
    keys::ED25519_SPKI_PREFIX,
    limits::{CERTIFICATE_PADDED, MAX_CHAIN, MAX_DEVICES},
};

use crate::input::Input;

/// Bytes, or a list, two lists or a chain with signatures that hold.
pub fn lists(data: &[u8]) {
    let mut input = Input::new(data);
    match input.u8() % 5 {
        0 => bytes(input.rest()),
        1 => one_list(&mut input),
        2 => succession(&mut input),
        3 => certificate(&mut input),
        _ => chain(&mut input),
    }
}

/// Devices of which lists are made.
const POOL: usize = 12;

/// An account with certified devices; the last certificates are for device ids that stand there before, with other keys.
struct Account {
    secret: AccountSecret,
    username: Username,
    id: AccountId,
    certificates: Vec<SignedCertificate>,
}

fn accounts() -> &'static [Account; 2] {
    static ACCOUNTS: OnceLock<[Account; 2]> = OnceLock::new();
    ACCOUNTS.get_or_init(|| {
        let mut rng = StdRng::seed_from_u64(8);
        ["alice", "a"].map(|name| {
            let secret = AccountSecret::generate(&mut rng);
            let username = Username::parse(name).unwrap();
            let id = AccountId([u8::try_from(name.len()).unwrap(); 16]);
            let certificates = (0..POOL).map(|number| {
                let device = DeviceSecret::generate(&mut rng);
                let certificate = Certificate {
                    username: username.clone(),
                    account: id,
                    account_key: secret.public(),
                    device: DeviceId([u8::try_from(number % (POOL - 2)).unwrap(); 16]),
                    device_key: device.device_key(),
                    identity_key: device.identity_key(),
                    created_ms: number as u64,
                };
                secret.sign_certificate(&certificate).unwrap()
            });
            let certificates = certificates.collect();
            Account { secret, username, id, certificates }
        })
    })
}

fn bytes(bytes: &[u8]) {
    if let Ok(list) = SignedDeviceList::parse(bytes) {
        one_spelling(&list, bytes);
    }
    if let Ok(certificate) = SignedCertificate::parse(bytes) {
        spelled_once(&certificate, bytes);
    }
    if let Ok(certificate) = SignedCertificate::parse_padded(bytes) {
        let given = bytes.iter().copied().chain(std::iter::repeat(0)).take(CERTIFICATE_PADDED);
        assert!(certificate.padded().iter().copied().eq(given));
    }
    if let Ok(chain) = codec::decode::<KeyChain>(bytes) {
        assert_eq!(codec::encode(&chain).unwrap(), bytes);
        let _ = chain.verify(&chain.first).is_ok();
    }
}

/// The list is its bytes: length, what was signed, signature.
fn one_spelling(list: &SignedDeviceList, bytes: &[u8]) {
    assert_eq!(list.as_bytes(), bytes);
    assert_eq!(list.list().encode(), bytes[4..bytes.len() - 64]);
    assert!(list.follows(list).is_ok());
    assert!(list.list().devices.len() <= MAX_DEVICES);
}

fn spelled_once(certificate: &SignedCertificate, bytes: &[u8]) {
    assert_eq!(certificate.as_bytes(), bytes);
    assert_eq!(certificate.certificate().encode(), bytes[4..bytes.len() - 64]);
}

fn certificate(input: &mut Input<'_>) {
    let genuine = &accounts()[0].certificates[0];
    let bytes = input.forged(genuine.as_bytes());
    match SignedCertificate::parse(&bytes) {
        Ok(read) => {
            assert_eq!(&read, genuine, "a forged certificate holds");
            spelled_once(&read, &bytes);
        }
        Err(error) => assert_ne!(bytes, genuine.as_bytes(), "{error}"),
    }
    let padded = input.forged(&genuine.padded());
    if let Ok(read) = SignedCertificate::parse_padded(&padded) {
        assert_eq!(&read, genuine, "a forged certificate holds");
    }
}

/// A list of an account's devices and revocations, right or wrong.
fn drawn(input: &mut Input<'_>, previous: Option<&SignedDeviceList>) -> (DeviceList, &'static Account) {
    let [ours, other] = accounts();
    // Mostly one identity; sometimes parts of another one.
    let mixed = input.u8();
    let signer = if mixed & 7 == 1 { other } else { ours };
    let mut list = DeviceList {
        username: if mixed & 7 == 2 { other.username.clone() } else { signer.username.clone() },
        account: if mixed & 7 == 3 { other.id } else { signer.id },
        account_key: if mixed & 7 == 4 { other.secret.public() } else { signer.secret.public() },
        number: u64::from(input.u8() % 4),
        previous: previous.map_or(ListHash([0; 32]), SignedDeviceList::hash),
        devices: Vec::new(),
        revocations: Vec::new(),
    };
    for _ in 0..input.u8() % 11 {
        let from = if input.u8() & 31 == 1 { other } else { signer };
        list.devices.push(from.certificates[input.below(POOL)].clone());
    }
    for _ in 0..input.u8() % 6 {
        let device = DeviceId([input.u8() % 16; 16]);
        list.revocations.push(Revocation { device, revoked_ms: u64::from(input.u8()) });
    }
    (list, signer)
}

/// Whether a list keeps its own rules, by the specification.
fn keeps_the_rules(list: &DeviceList, signer: &Account) -> bool {
    let whose = |certificate: &SignedCertificate| {
        let certificate = certificate.certificate();
        (&certificate.username, certificate.account, certificate.account_key)
            == (&list.username, list.account, list.account_key)
    };
    let ids = list.devices.iter().map(|signed| signed.certificate().device);
    let ids: Vec<DeviceId> = ids.chain(list.revocations.iter().map(|revocation| revocation.device)).collect();
    let distinct: BTreeSet<&DeviceId> = ids.iter().collect();
    list.account_key == signer.secret.public()
        && !ids.is_empty()
        && list.devices.len() <= MAX_DEVICES
        && distinct.len() == ids.len()
        && list.devices.iter().all(whose)
}

fn signed(list: &DeviceList, signer: &Account) -> Result<SignedDeviceList, DeviceListError> {
    let result = signer.secret.sign_device_list(list);
    assert_eq!(result.is_ok(), keeps_the_rules(list, signer), "{result:?} of {list:?}");
    result
}

fn one_list(input: &mut Input<'_>) {
    let (list, signer) = drawn(input, None);
    let Ok(real) = signed(&list, signer) else { return };
    assert_eq!(real.list(), &list);
    one_spelling(&real, real.as_bytes());
    let bytes = input.forged(real.as_bytes());
    if let Ok(read) = SignedDeviceList::parse(&bytes) {
        assert_eq!(bytes, real.as_bytes(), "a forged list holds");
        one_spelling(&read, &bytes);
    }
}

fn succession(input: &mut Input<'_>) {
    let (old, signer) = drawn(input, None);
    let Ok(old) = signed(&old, signer) else { return };
    let (new, signer) = drawn(input, Some(&old));
    let Ok(new) = signed(&new, signer) else { return };
    let (before, after) = (old.list(), new.list());
    let same_keys = before.devices.iter().all(|device| {
        after
            .devices
            .iter()
            .all(|other| other.certificate().device != device.certificate().device || other == device)
    });
    let revoked: BTreeSet<DeviceId> = after.revocations.iter().map(|revocation| revocation.device).collect();
    let whose = |list: &DeviceList| (list.username.clone(), list.account, list.account_key);
    let expected = if whose(before) != whose(after) {
        Err(SuccessionError::Identity)
    } else if after.number < before.number {
        Err(SuccessionError::Older)
    } else if after.number == before.number {
        if new.as_bytes() == old.as_bytes() { Ok(()) } else { Err(SuccessionError::Fork) }
    } else if !before.revocations.iter().all(|revocation| revoked.contains(&revocation.device)) {
        Err(SuccessionError::RevocationLost)
    } else if same_keys {
        Ok(())
    } else {
        Err(SuccessionError::Recertified)
    };
    assert_eq!(new.follows(&old), expected);
    // No two lists can each take the other's place.
    assert!(expected.is_err() || old.follows(&new).is_err() || old == new);
}

/// Keys of a server, the first one first.
fn server_keys() -> &'static Vec<SigningKey> {
    static KEYS: OnceLock<Vec<SigningKey>> = OnceLock::new();
    KEYS.get_or_init(|| (0..4).map(|number| SigningKey::from_bytes(&[number + 1; 32])).collect())
}

fn spki(key: &SigningKey) -> Vec<u8> {
    [&ED25519_SPKI_PREFIX[..], key.verifying_key().as_bytes()].concat()
}

fn chain(input: &mut Input<'_>) {
    let keys = server_keys();
    let mut at = input.below(keys.len());
    let mut chain = KeyChain { first: spki(&keys[at]), successors: Vec::new() };
    let mut holds = true;
    let length = usize::from(input.u8());
    // Each link costs a signature and a check: long chains only to see their limit.
    let length = if length >= 250 { MAX_CHAIN + length - 252 } else { length % 6 };
    for number in 1..=length as u64 {
        let next = input.below(keys.len());
        let decision = input.u8();
        let signer = if decision & 15 == 1 { input.below(keys.len()) } else { at };
        let counted = if decision & 15 == 2 { u64::from(input.u8()) } else { number };
        let signature = keys[signer].sign(&successor_input(&spki(&keys[at]), &spki(&keys[next]), counted));
        holds &= signer == at && counted == number;
        chain
            .successors
            .push(Successor { spki: spki(&keys[next]), signature: Signature(signature.to_bytes()) });
        at = next;
    }
    let session = if input.flag() { spki(&keys[input.below(keys.len())]) } else { spki(&keys[at]) };
    let expected = if length > MAX_CHAIN {
        Err(ChainError::TooLong)
    } else if !holds {
        Err(ChainError::Signature(sotto_proto::keys::BadSignature))
    } else if session == spki(&keys[at]) {
        Ok(())
    } else {
        Err(ChainError::NotThisSession)
    };
    assert_eq!(chain.verify(&session), expected);
    assert_eq!(chain.server_id(), ServerId(fingerprint(&chain.first)));
    let (newest, number) = chain.newest();
    assert_eq!((newest, number), (fingerprint(&spki(&keys[at])), length as u64));
    assert!(chain.position(&newest).is_some_and(|position| position <= number));
    let bytes = codec::encode(&chain).unwrap();
    assert_eq!(codec::decode::<KeyChain>(&bytes).unwrap(), chain);
    if length < 6 {
        let forged = input.forged(&bytes);
        if let Ok(read) = codec::decode::<KeyChain>(&forged)
            && read != chain
            && read.first == chain.first
            && read.successors.len() >= chain.successors.len()
        {
            assert!(!holds || read.verify(&session).is_err(), "a forged chain holds");
        }
    }
}

/// A certificate, a padded one, a list and a chain, as bytes.
pub(crate) fn examples() -> Vec<Vec<u8>> {
    let account = &accounts()[0];
    let list = DeviceList {
        username: account.username.clone(),
        account: account.id,
        account_key: account.secret.public(),
        number: 1,
        previous: ListHash([0; 32]),
        devices: account.certificates[..2].to_vec(),
        revocations: vec![Revocation { device: DeviceId([9; 16]), revoked_ms: 5 }],
    };
    let keys = server_keys();
    let signature = keys[0].sign(&successor_input(&spki(&keys[0]), &spki(&keys[1]), 1));
    let successor = Successor { spki: spki(&keys[1]), signature: Signature(signature.to_bytes()) };
    let chain = KeyChain { first: spki(&keys[0]), successors: vec![successor] };
    vec![
        account.certificates[0].as_bytes().to_vec(),
        account.certificates[0].padded().to_vec(),
        account.secret.sign_device_list(&list).unwrap().as_bytes().to_vec(),
        codec::encode(&chain).unwrap(),
    ]
}
