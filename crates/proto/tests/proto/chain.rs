//! The server's key chain.

use sotto_proto::{
    KeyChain,
    chain::{ChainError, Successor, fingerprint, successor_input},
    keys::BadSignature,
    limits::MAX_CHAIN,
};

use crate::samples::{chain, server_keys, sign, spki};

#[test]
fn a_chain_leads_from_its_first_key_to_the_key_of_the_session() {
    let keys = server_keys(3);
    for links in 0..=3 {
        let good = chain(&keys[..=links]);
        assert_eq!(good.verify(&spki(&keys[links])), Ok(()), "{links} links");
        assert_eq!(good.server_id().0, fingerprint(&spki(&keys[0])), "the head never changes");
        assert_eq!(good.newest(), (fingerprint(&spki(&keys[links])), links as u64));
        for (number, key) in keys[..=links].iter().enumerate() {
            assert_eq!(good.position(&fingerprint(&spki(key))), Some(number as u64));
        }
        assert_eq!(good.position(&[0; 32]), None);
    }
}

#[test]
fn a_chain_that_ends_elsewhere_is_not_this_session() {
    let keys = server_keys(3);
    let good = chain(&keys[..3]);
    for other in [&keys[0], &keys[1], &keys[3]] {
        assert_eq!(good.verify(&spki(other)), Err(ChainError::NotThisSession));
    }
    assert_eq!(good.verify(b""), Err(ChainError::NotThisSession));
}

#[test]
fn every_link_needs_its_predecessor_in_its_place() {
    let keys = server_keys(3);
    let last = spki(&keys[3]);
    let bad = Err(ChainError::Signature(BadSignature));
    let good = chain(&keys);
    assert_eq!(good.verify(&last), Ok(()));

    let mut by_another = good.clone();
    let input = successor_input(&spki(&keys[2]), &last, 3);
    by_another.successors[2].signature = sign(&keys[0], &input);
    assert_eq!(by_another.verify(&last), bad, "the first key cannot name a third");

    let mut other_number = good.clone();
    other_number.successors[2].signature = sign(&keys[2], &successor_input(&spki(&keys[2]), &last, 4));
    assert_eq!(other_number.verify(&last), bad, "a signature holds for one place");

    let mut skipped = good.clone();
    skipped.successors.remove(1);
    assert_eq!(skipped.verify(&last), bad, "no link can be left out");

    let mut swapped = good.clone();
    swapped.successors.swap(0, 1);
    assert_eq!(swapped.verify(&last), bad);

    let mut not_ed25519 = good;
    not_ed25519.first[5] ^= 1;
    assert_eq!(not_ed25519.verify(&last), bad, "another algorithm's key");
}

#[test]
fn a_chain_is_not_followed_for_ever() {
    let keys = server_keys(MAX_CHAIN);
    let longest = chain(&keys);
    assert_eq!(longest.verify(&spki(&keys[MAX_CHAIN])), Ok(()));
    let filler = Successor { spki: Vec::new(), signature: sign(&keys[0], b"") };
    let successors = vec![filler; MAX_CHAIN + 1];
    let too_long = KeyChain { first: spki(&keys[0]), successors };
    assert_eq!(too_long.verify(&spki(&keys[0])), Err(ChainError::TooLong));
}
