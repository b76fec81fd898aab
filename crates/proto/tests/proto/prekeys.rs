//! Prekeys: each kind's label, the owner, the dates.

use sotto_proto::{
    keys::BadSignature,
    limits::PREKEY_LIFETIME_MS,
    prekey::{
        KemPrekey, OneTimePrekey, PrekeyBundle, PrekeyError, PrekeyId, PrekeyUpload, SignedPrekeyKind,
        Validity,
    },
};

use crate::samples::{account, device_id, device_key};

const NOW: u64 = 1_700_000_000_000;
const KINDS: [SignedPrekeyKind; 3] =
    [SignedPrekeyKind::Curve, SignedPrekeyKind::LastResortKem, SignedPrekeyKind::OneTimeKem];

#[test]
fn every_kind_has_a_label_of_its_own() {
    for (index, kind) in KINDS.iter().enumerate() {
        assert!(kind.label().starts_with("sotto v1 sig "), "{kind:?}");
        for other in &KINDS[index + 1..] {
            assert_ne!(kind.label(), other.label());
        }
    }
}

#[test]
fn a_signed_prekey_holds_for_its_owner_only() {
    let (alice, bob) = (account("alice", 1), account("bob", 2));
    let signed = alice.signed_prekey(1, Validity::from(NOW));
    let verify =
        |prekey: &sotto_proto::prekey::SignedPrekey, owner: &crate::samples::Account, device, key| {
            prekey.verify(&owner.id(), &device_id(device), &device_key(key), NOW)
        };
    let bad = Err(PrekeyError::Signature(BadSignature));
    assert_eq!(verify(&signed, &alice, 1, 1), Ok(()));
    assert_eq!(verify(&signed, &bob, 1, 1), bad, "another account");
    assert_eq!(verify(&signed, &alice, 2, 1), bad, "another device");
    assert_eq!(verify(&signed, &alice, 1, 2), bad, "another signer");
    let renumbered = sotto_proto::prekey::SignedPrekey { id: PrekeyId(9), ..signed.clone() };
    assert_eq!(verify(&renumbered, &alice, 1, 1), bad, "another number");
    let prolonged = Validity { expires_ms: signed.validity.expires_ms + 1, ..signed.validity };
    let prolonged = sotto_proto::prekey::SignedPrekey { validity: prolonged, ..signed.clone() };
    assert_eq!(verify(&prolonged, &alice, 1, 1), bad, "another date");
    let mut swapped = signed;
    swapped.key.0[0] ^= 1;
    assert_eq!(verify(&swapped, &alice, 1, 1), bad, "another key");
}

#[test]
fn a_kem_prekey_holds_only_as_the_kind_it_was_signed_as() {
    let alice = account("alice", 1);
    for signed_as in KINDS {
        let prekey: KemPrekey = alice.kem_prekey(1, signed_as, Validity::from(NOW));
        for used_as in KINDS {
            let verified = prekey.verify(used_as, &alice.id(), &device_id(1), &device_key(1), NOW);
            assert_eq!(
                verified.is_ok(),
                signed_as == used_as,
                "signed as {signed_as:?}, used as {used_as:?}"
            );
        }
    }
}

#[test]
fn dates_are_checked() {
    let alice = account("alice", 1);
    let at = |validity: Validity, now| {
        alice.signed_prekey(1, validity).verify(&alice.id(), &device_id(1), &device_key(1), now)
    };
    let honest = Validity::from(NOW);
    assert_eq!(honest.expires_ms - honest.created_ms, PREKEY_LIFETIME_MS);
    assert_eq!(at(honest, NOW), Ok(()));
    assert_eq!(at(honest, NOW - 60_000), Ok(()), "a clock that is behind");
    assert_eq!(at(honest, honest.expires_ms - 1), Ok(()));
    assert_eq!(at(honest, honest.expires_ms), Err(PrekeyError::Expired));
    let too_long = Validity { expires_ms: honest.expires_ms + 1, ..honest };
    assert_eq!(at(too_long, NOW), Err(PrekeyError::Expired), "longer than any honest key");
    let backwards = Validity { created_ms: 2, expires_ms: 1 };
    assert_eq!(at(backwards, 0), Err(PrekeyError::Expired));
    assert_eq!(Validity::from(u64::MAX).check(u64::MAX), Err(PrekeyError::Expired));
}

#[test]
fn an_upload_is_as_good_as_its_worst_key() {
    let alice = account("alice", 1);
    let good = Validity::from(NOW);
    let last = |kind| alice.kem_prekey(1, kind, good);
    let upload = PrekeyUpload {
        signed: Some(alice.signed_prekey(1, good)),
        last_resort: Some(last(SignedPrekeyKind::LastResortKem)),
        one_time: vec![],
        one_time_kem: vec![last(SignedPrekeyKind::OneTimeKem), last(SignedPrekeyKind::OneTimeKem)],
    };
    let verify =
        |upload: &PrekeyUpload| upload.verify(&alice.id(), &device_id(1), &device_key(1), NOW).is_ok();
    assert!(verify(&upload));
    assert!(verify(&PrekeyUpload::default()));
    let expired = Validity { created_ms: 0, expires_ms: 1 };
    let stale = PrekeyUpload { signed: Some(alice.signed_prekey(1, expired)), ..upload.clone() };
    assert!(!verify(&stale));
    let swapped = PrekeyUpload { last_resort: Some(last(SignedPrekeyKind::OneTimeKem)), ..upload.clone() };
    assert!(!verify(&swapped));
    let mut one_bad = upload;
    one_bad.one_time_kem[1] = last(SignedPrekeyKind::LastResortKem);
    assert!(!verify(&one_bad));
}

#[test]
fn a_bundle_says_truly_whether_its_kem_key_is_one_time() {
    let alice = account("alice", 1);
    let good = Validity::from(NOW);
    for (kind, one_time) in [(SignedPrekeyKind::OneTimeKem, true), (SignedPrekeyKind::LastResortKem, false)] {
        let bundle = |kem_one_time| PrekeyBundle {
            device: device_id(1),
            signed: alice.signed_prekey(1, good),
            kem: alice.kem_prekey(1, kind, good),
            kem_one_time,
            one_time: Some(OneTimePrekey { id: PrekeyId(1), key: sotto_proto::PrekeyPublic([1; 32]) }),
        };
        assert_eq!(bundle(one_time).verify(&alice.id(), &device_key(1), NOW), Ok(()));
        let lie = bundle(!one_time).verify(&alice.id(), &device_key(1), NOW);
        assert_eq!(lie, Err(PrekeyError::Signature(BadSignature)));
    }
}
