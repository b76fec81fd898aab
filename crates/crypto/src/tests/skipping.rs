//! Bounds of skipped message keys.

use rand::{SeedableRng, rngs::StdRng};
use sotto_proto::{
    limits::{DAY_MS, MAX_ENVELOPE, MAX_SKIPPED_KEYS, RETENTION_MS, session_kept_ms},
    wire::{Reader, WireError, Writer},
};

use super::conversation::{End, ends};
use crate::{
    OpenError, Purpose, RatchetError, curve::CurveSecret, ratchet::Ratchet, secret::Secret,
    secret_writer::SecretWriter,
};

const AD: [u8; 64] = [5; 64];

fn two(rng: &mut StdRng) -> (Ratchet, Ratchet) {
    let prekey = CurveSecret::generate(rng);
    let secret = Secret::random(rng);
    let responder = Ratchet::responder(secret.duplicate(), &prekey, 0);
    (Ratchet::initiator(rng, secret, &prekey.public().0, 0).unwrap(), responder)
}

fn seal(rng: &mut StdRng, from: &mut Ratchet) -> Vec<u8> {
    let (next, message) = from.encrypt(rng, &AD, b"text", 0).unwrap();
    *from = next;
    message
}

fn open(to: &mut Ratchet, message: &[u8]) -> Result<(), RatchetError> {
    let (next, text) = to.decrypt(&AD, message, 0)?;
    assert_eq!(*text, b"text");
    *to = next;
    Ok(())
}

#[test]
fn ten_thousand_may_be_missing_and_one_more_is_an_error() {
    let mut rng = StdRng::seed_from_u64(1);
    let (mut a, mut b) = two(&mut rng);
    let messages: Vec<_> = (0..=MAX_SKIPPED_KEYS + 1).map(|_| seal(&mut rng, &mut a)).collect();
    assert_eq!(open(&mut b, &messages[MAX_SKIPPED_KEYS + 1]), Err(RatchetError::TooManySkipped));
    assert_eq!(b.skipped_len(), 0);
    open(&mut b, &messages[MAX_SKIPPED_KEYS]).unwrap();
    assert_eq!(b.skipped_len(), MAX_SKIPPED_KEYS);
    // Each of them opens once, in any order.
    for at in [0, MAX_SKIPPED_KEYS - 1, 5_000, 1] {
        open(&mut b, &messages[at]).unwrap();
        assert_eq!(open(&mut b, &messages[at]), Err(RatchetError::AlreadyUsed));
    }
    assert_eq!(b.skipped_len(), MAX_SKIPPED_KEYS - 4);
    open(&mut b, &messages[MAX_SKIPPED_KEYS + 1]).unwrap();
}

#[test]
fn one_that_waits_for_its_first_message_reads_back() {
    let mut rng = StdRng::seed_from_u64(6);
    let (mut a, b) = two(&mut rng);
    let mut out = SecretWriter::new();
    b.write(&mut out);
    let mut b = Ratchet::read(&mut Reader::new(&out.finish())).unwrap();
    let message = seal(&mut rng, &mut a);
    open(&mut b, &message).unwrap();
}

#[test]
fn a_ciphertext_is_as_long_as_an_envelope_at_the_most() {
    let mut rng = StdRng::seed_from_u64(5);
    let (mut a, mut b) = two(&mut rng);
    let message = seal(&mut rng, &mut a);
    let header = Reader::new(&message).bytes(usize::MAX).unwrap();
    let of_length = |length| Writer::new().bytes(header).raw(&vec![0; length]).finish();
    assert_eq!(open(&mut b, &of_length(MAX_ENVELOPE)), Err(RatchetError::Forged));
    assert_eq!(open(&mut b, &of_length(MAX_ENVELOPE + 1)), Err(WireError::TooLong.into()));
    open(&mut b, &message).unwrap();
}

#[test]
fn a_step_counts_what_is_missing_of_both_chains() {
    let mut rng = StdRng::seed_from_u64(2);
    let (mut a, mut b) = two(&mut rng);
    let first = seal(&mut rng, &mut a);
    open(&mut b, &first).unwrap();
    // Half of the limit is lost at the end of A's first chain, half and one at the start of the second.
    for _ in 0..MAX_SKIPPED_KEYS / 2 {
        let _lost = seal(&mut rng, &mut a);
    }
    let turn = seal(&mut rng, &mut b);
    open(&mut a, &turn).unwrap();
    let messages: Vec<_> = (0..=MAX_SKIPPED_KEYS / 2 + 1).map(|_| seal(&mut rng, &mut a)).collect();
    assert_eq!(open(&mut b, &messages[MAX_SKIPPED_KEYS / 2 + 1]), Err(RatchetError::TooManySkipped));
    open(&mut b, &messages[MAX_SKIPPED_KEYS / 2]).unwrap();
    assert_eq!(b.skipped_len(), MAX_SKIPPED_KEYS);
}

#[test]
fn a_session_keeps_ten_thousand_keys_and_drops_the_oldest_first() {
    let mut rng = StdRng::seed_from_u64(3);
    let (mut a, mut b) = two(&mut rng);
    let messages: Vec<_> = (0..=MAX_SKIPPED_KEYS + 10).map(|_| seal(&mut rng, &mut a)).collect();
    open(&mut b, &messages[MAX_SKIPPED_KEYS / 2]).unwrap();
    open(&mut b, &messages[MAX_SKIPPED_KEYS + 10]).unwrap();
    assert_eq!(b.skipped_len(), MAX_SKIPPED_KEYS);
    assert_eq!(open(&mut b, &messages[8]), Err(RatchetError::AlreadyUsed), "dropped");
    open(&mut b, &messages[9]).unwrap();
    open(&mut b, &messages[MAX_SKIPPED_KEYS + 9]).unwrap();
    assert_eq!(b.skipped_len(), MAX_SKIPPED_KEYS - 2);
}

#[test]
fn skipped_keys_age_out() {
    let mut rng = StdRng::seed_from_u64(4);
    let (mut a, mut b) = ends(&mut rng, 0);
    let mut send = |a: &mut End, b: &mut End| a.send(&mut rng, &mut b.device, b"x", Purpose::Message, 0);
    let first = send(&mut a, &mut b);
    let late = send(&mut a, &mut b);
    let third = send(&mut a, &mut b);
    b.take(&first.envelope, 0);
    b.take(&third.envelope, DAY_MS);
    let keep_ms = session_kept_ms(RETENTION_MS);
    // It is in use all the while.
    let last = send(&mut a, &mut b);
    b.take(&last.envelope, 2 * DAY_MS);
    let pruned = b.sessions.prune(DAY_MS + keep_ms, RETENTION_MS);
    assert_eq!(pruned.skipped_len(), 1);
    b.store(&pruned);
    let pruned = b.sessions.prune(DAY_MS + keep_ms + 1, RETENTION_MS);
    assert_eq!(pruned.skipped_len(), 0);
    assert_eq!(pruned.sessions().count(), 1, "the session stays");
    b.store(&pruned);
    let gone = b.receive(&late.envelope, DAY_MS + keep_ms + 1).unwrap().err().unwrap();
    assert!(matches!(gone, OpenError::Ratchet(RatchetError::AlreadyUsed)), "{gone}");
}
