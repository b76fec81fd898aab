//! Certificates and device lists: what holds, what does not, and which list may follow which.

use sotto_proto::{
    Certificate, DeviceList, SignedCertificate, SignedDeviceList,
    certificate::CertificateError,
    device_list::{DeviceListError, MAX_AHEAD_S, Revocation, SuccessionError},
    limits::{CERTIFICATE_PADDED, MAX_DEVICE_LIST, MAX_DEVICES, MAX_REVOCATIONS},
    wire::WireError,
};

use crate::samples::{Account, account, device_id, sign};

#[test]
fn a_certificate_comes_back_from_its_bytes_and_from_its_padding() {
    let longest = "a".repeat(32);
    for name in ["a", "alice", longest.as_str()] {
        let owner = account(name, 1);
        let signed = owner.certificate(2);
        assert_eq!(*signed.certificate(), owner.plain_certificate(2));
        assert_eq!(SignedCertificate::parse(signed.as_bytes()).as_ref(), Ok(&signed));
        let padded = signed.padded();
        assert!(signed.as_bytes().len() <= CERTIFICATE_PADDED, "{name} does not fit");
        assert_eq!(SignedCertificate::parse_padded(&padded).as_ref(), Ok(&signed));
    }
}

#[test]
fn padding_that_is_not_zeros_is_refused() {
    let mut padded = account("alice", 1).certificate(2).padded();
    padded[CERTIFICATE_PADDED - 1] = 1;
    assert_eq!(SignedCertificate::parse_padded(&padded), Err(WireError::Invalid("padding").into()));
}

#[test]
fn a_certificate_needs_the_signature_of_its_own_account_key_under_its_own_label() {
    let (alice, mallory) = (account("alice", 1), account("mallory", 2));
    let encoded = alice.plain_certificate(3).encode();
    let by_another = sign(&mallory.key, &Certificate::signing_input(&encoded));
    let unlabelled = sign(&alice.key, &encoded);
    let as_list = sign(&alice.key, &DeviceList::signing_input(&encoded));
    for signature in [by_another, unlabelled, as_list] {
        let error = SignedCertificate::assemble(&encoded, &signature).unwrap_err();
        assert!(matches!(error, CertificateError::Signature(_)), "{error}");
    }
}

#[test]
fn a_certificate_of_another_version_or_with_a_name_not_in_normal_form_is_refused() {
    let alice = account("alice", 1);
    let assemble = |encoded: &[u8]| {
        SignedCertificate::assemble(encoded, &sign(&alice.key, &Certificate::signing_input(encoded)))
    };
    let encoded = alice.plain_certificate(3).encode();
    assert!(assemble(&encoded).is_ok());
    let mut newer = encoded.clone();
    newer[0] = 2;
    assert_eq!(assemble(&newer), Err(WireError::Version(2).into()));
    let mut upper = encoded.clone();
    upper[5] = b'A';
    assert_eq!(assemble(&upper), Err(WireError::Invalid("username").into()));
    let longer = [encoded.as_slice(), &[0]].concat();
    assert_eq!(assemble(&longer), Err(WireError::Trailing.into()));
}

#[test]
fn a_list_comes_back_and_finds_its_devices() {
    let alice = account("alice", 1);
    let list = alice.list(7, [5; 32], &[1, 2], &[3]);
    assert_eq!(SignedDeviceList::parse(list.as_bytes()).as_ref(), Ok(&list));
    assert_eq!(*list.list(), alice.plain_list(7, [5; 32], &[1, 2], &[3]));
    assert_eq!(list.list().device(&device_id(2)), Some(&alice.certificate(2)));
    assert_eq!(list.list().device(&device_id(3)), None);
    assert!(list.list().revoked(&device_id(3)) && !list.list().revoked(&device_id(1)));
}

#[test]
fn a_list_with_the_wrong_signer_or_strange_certificates_is_refused() {
    let (alice, mallory) = (account("alice", 1), account("mallory", 2));
    let good = alice.plain_list(7, [0; 32], &[1], &[]);
    let encoded = good.encode();
    let by_another = sign(&mallory.key, &DeviceList::signing_input(&encoded));
    assert!(matches!(SignedDeviceList::assemble(&encoded, &by_another), Err(DeviceListError::Signature(_))));
    let as_certificate = sign(&alice.key, &Certificate::signing_input(&encoded));
    assert!(matches!(
        SignedDeviceList::assemble(&encoded, &as_certificate),
        Err(DeviceListError::Signature(_))
    ));

    let other_name = Account { name: "alicf".parse().unwrap(), ..account("alice", 1) };
    let other_id = Account { number: 3, ..account("alice", 1) };
    let other_key = Account { number: 1, ..account("alice", 2) };
    let strangers = [&mallory, &other_name, &other_id, &other_key];
    for strange in strangers.map(|stranger| stranger.certificate(9)) {
        let mut list = good.clone();
        list.devices.push(strange);
        assert_eq!(alice.sign_list(&list), Err(DeviceListError::ForeignCertificate));
    }
    let repeated = alice.plain_list(7, [0; 32], &[1, 1], &[]);
    assert_eq!(alice.sign_list(&repeated), Err(DeviceListError::Repeated));
    let both = alice.plain_list(7, [0; 32], &[1], &[1]);
    assert_eq!(alice.sign_list(&both), Err(DeviceListError::Repeated));
    let revoked_twice = alice.plain_list(7, [0; 32], &[1], &[2, 2]);
    assert_eq!(alice.sign_list(&revoked_twice), Err(DeviceListError::Repeated));
    let empty = alice.plain_list(7, [0; 32], &[], &[]);
    assert_eq!(alice.sign_list(&empty), Err(DeviceListError::Empty));
}

#[test]
fn a_list_as_long_as_allowed_is_read_and_one_item_more_is_refused() {
    let alice = account(&"a".repeat(32), 1);
    let devices: Vec<u8> = (1..=8).collect();
    assert_eq!(devices.len(), MAX_DEVICES);
    let mut list = alice.plain_list(7, [0; 32], &devices, &[]);
    list.revocations = (0..MAX_REVOCATIONS)
        .map(|number| {
            let mut id = [0xff; 16];
            id[..8].copy_from_slice(&(number as u64).to_be_bytes());
            Revocation { device: sotto_proto::DeviceId(id), revoked_ms: 1 }
        })
        .collect();
    let signed = alice.sign_list(&list).unwrap();
    assert!(signed.as_bytes().len() <= MAX_DEVICE_LIST);

    list.revocations.push(Revocation { device: device_id(0xee), revoked_ms: 1 });
    assert_eq!(alice.sign_list(&list), Err(WireError::TooLong.into()));
    let nine = alice.plain_list(7, [0; 32], &[1, 2, 3, 4, 5, 6, 7, 8, 9], &[]);
    assert_eq!(alice.sign_list(&nine), Err(WireError::TooLong.into()));
    assert_eq!(SignedDeviceList::parse(&vec![0; MAX_DEVICE_LIST + 1]), Err(WireError::TooLong.into()));
    assert_eq!(SignedDeviceList::parse(&vec![0; MAX_DEVICE_LIST]), Err(WireError::Trailing.into()));
}

#[test]
fn what_may_follow_a_list() {
    let alice = account("alice", 1);
    let known = alice.list(100, [0; 32], &[1, 2], &[3]);
    let next = known.hash().0;
    let mut recertified = alice.plain_list(101, next, &[1], &[3]);
    recertified.devices.push(alice.certified_again(2));
    let recertified = alice.sign_list(&recertified).unwrap();
    let other_name = Account { name: "bob".parse().unwrap(), ..account("alice", 1) };
    let other_id = Account { number: 3, ..account("alice", 1) };
    let other_key = Account { number: 1, ..account("alice", 2) };
    let cases = [
        ("the same again", known.clone(), Ok(())),
        ("the next", alice.list(101, next, &[1, 2, 4], &[3]), Ok(())),
        ("one that skips numbers", alice.list(1_000_000, [8; 32], &[1], &[3, 2]), Ok(())),
        ("only revocations left", alice.list(101, next, &[], &[1, 2, 3]), Ok(())),
        ("an older one", alice.list(99, [0; 32], &[1, 2], &[3]), Err(SuccessionError::Older)),
        ("equal number, other devices", alice.list(100, [0; 32], &[1], &[3]), Err(SuccessionError::Fork)),
        ("equal number, other past", alice.list(100, [1; 32], &[1, 2], &[3]), Err(SuccessionError::Fork)),
        ("a revocation is gone", alice.list(101, next, &[1, 2], &[]), Err(SuccessionError::RevocationLost)),
        (
            "a revoked device is back",
            alice.list(101, next, &[1, 3], &[2]),
            Err(SuccessionError::RevocationLost),
        ),
        ("a device with another certificate", recertified, Err(SuccessionError::Recertified)),
        ("another key", other_key.list(101, next, &[1, 2], &[3]), Err(SuccessionError::Identity)),
        ("another id", other_id.list(101, next, &[1, 2], &[3]), Err(SuccessionError::Identity)),
        ("another name", other_name.list(101, next, &[1, 2], &[3]), Err(SuccessionError::Identity)),
    ];
    for (what, list, expected) in cases {
        assert_eq!(list.follows(&known), expected, "{what}");
    }
}

#[test]
fn numbers_rise_with_the_clock_and_never_fall() {
    assert_eq!(DeviceList::next_number(0, 1_800_000_000), 1_800_000_000);
    assert_eq!(DeviceList::next_number(1_800_000_000, 5), 1_800_000_001);
    assert_eq!(DeviceList::next_number(7, 7), 8);
    assert_eq!(MAX_AHEAD_S, 86_400);
    assert_eq!(DeviceList::next_number(u64::MAX, 0), u64::MAX, "and do not wrap");
}
