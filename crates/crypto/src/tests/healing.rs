//! The ratchet's KEM steps: who offers when, who must answer, and what is refused.

use rand::{SeedableRng, rngs::StdRng};
use sotto_proto::{
    limits::{KEM_STEP_MESSAGES, KEM_STEP_MS},
    wire::{Reader, Writer},
};

use crate::{
    curve::CurveSecret,
    header::RatchetHeader,
    ratchet::{Ratchet, RatchetError},
    secret::Secret,
};

const AD: [u8; 64] = [5; 64];

/// Both ends of one ratchet.
struct Two {
    rng: StdRng,
    ends: [Ratchet; 2],
    now_ms: u64,
}

/// What a header says about KEM.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    offer: bool,
    answer: bool,
}

const SILENT: Said = Said { offer: false, answer: false };
const OFFER: Said = Said { offer: true, answer: false };
const ANSWER: Said = Said { offer: false, answer: true };

fn header_of(message: &[u8]) -> RatchetHeader {
    RatchetHeader::parse(Reader::new(message).bytes(10_000).unwrap()).unwrap()
}

impl Two {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let prekey = CurveSecret::generate(&mut rng);
        let secret = Secret::random(&mut rng);
        let responder = Ratchet::responder(secret.duplicate(), &prekey, 0);
        let initiator = Ratchet::initiator(&mut rng, secret, &prekey.public().0, 0).unwrap();
        Self { rng, ends: [initiator, responder], now_ms: 0 }
    }

    fn seal(&mut self, from: usize) -> Vec<u8> {
        let (next, message) = self.ends[from].encrypt(&mut self.rng, &AD, b"text", self.now_ms).unwrap();
        self.ends[from] = next;
        message
    }

    fn open(&mut self, to: usize, message: &[u8]) -> Result<(), RatchetError> {
        let (next, text) = self.ends[to].decrypt(&AD, message, self.now_ms)?;
        assert_eq!(*text, b"text");
        self.ends[to] = next;
        Ok(())
    }

    fn pass(&mut self, from: usize) -> Said {
        let message = self.seal(from);
        self.open(1 - from, &message).unwrap();
        let header = header_of(&message);
        Said { offer: header.kem.offer.is_some(), answer: header.kem.answer.is_some() }
    }
}

/// The message with another header.
fn with_header(message: &[u8], change: impl FnOnce(&mut RatchetHeader)) -> Vec<u8> {
    let mut reader = Reader::new(message);
    let mut header = RatchetHeader::parse(reader.bytes(10_000).unwrap()).unwrap();
    change(&mut header);
    let bytes = RatchetHeader::encode(
        &header.ratchet_key,
        header.previous_length,
        header.number,
        &header.kem.encode(),
    );
    Writer::new().bytes(&bytes).raw(reader.rest()).finish()
}

#[test]
fn the_responders_first_chain_offers_and_the_initiators_next_one_answers() {
    let mut two = Two::new(1);
    assert_eq!(two.pass(0), SILENT);
    assert_eq!(two.pass(1), OFFER);
    assert_eq!(two.pass(1), OFFER, "the offer stands in every message of its chain");
    assert_eq!(two.pass(0), ANSWER);
    assert_eq!(two.pass(0), ANSWER, "the answer stands in every message of its chain");
    for _ in 0..10 {
        assert_eq!(two.pass(1), SILENT);
        assert_eq!(two.pass(0), SILENT);
    }
}

#[test]
fn after_fifty_messages_a_new_chain_offers() {
    let mut two = Two::new(2);
    two.pass(0);
    two.pass(1);
    // The KEM step of the initiator is the creation of this chain; that of the responder its reception.
    assert_eq!(two.pass(0), ANSWER);
    for _ in 1..KEM_STEP_MESSAGES {
        assert_eq!(two.pass(0), ANSWER);
    }
    assert_eq!(two.pass(1), OFFER, "the responder has counted 50 messages");
    assert_eq!(two.pass(0), ANSWER);
    assert_eq!(two.pass(1), SILENT);
    for count in 2..KEM_STEP_MESSAGES {
        let from = usize::from(count % 2 == 1);
        assert_eq!(two.pass(from), SILENT, "message {count} since the step");
    }
    assert_eq!(two.pass(0), OFFER);
    assert_eq!(two.pass(1), ANSWER);
}

#[test]
fn after_a_day_a_new_chain_offers() {
    let mut two = Two::new(3);
    for from in [0, 1, 0, 1] {
        two.pass(from);
    }
    two.now_ms += KEM_STEP_MS - 1;
    assert_eq!(two.pass(0), SILENT);
    two.now_ms += 1;
    assert_eq!(two.pass(1), OFFER);
    assert_eq!(two.pass(0), ANSWER);
    assert_eq!(two.pass(1), SILENT);
}

#[test]
fn an_owed_answer_cannot_be_left_out_or_replaced() {
    let mut two = Two::new(4);
    two.pass(0);
    two.pass(1);
    let answering = two.seal(0);
    let without = with_header(&answering, |header| header.kem.answer = None);
    assert_eq!(two.open(1, &without), Err(RatchetError::KemAnswer));
    let other_offer =
        with_header(&answering, |header| header.kem.answer.as_mut().unwrap().offer_hash[0] ^= 1);
    assert_eq!(two.open(1, &other_offer), Err(RatchetError::KemAnswer));
    let other_secret =
        with_header(&answering, |header| header.kem.answer.as_mut().unwrap().ciphertext[0] ^= 1);
    assert_eq!(two.open(1, &other_secret), Err(RatchetError::Forged));
    two.open(1, &answering).unwrap();
}

#[test]
fn an_answer_that_nobody_asked_for_and_a_broken_offer_are_refused() {
    let mut two = Two::new(5);
    two.pass(0);
    two.pass(1);
    let answer = header_of(&two.seal(0)).kem.answer.unwrap();
    let mut two = Two::new(6);
    two.pass(0);
    let offering = two.seal(1);
    let unasked = with_header(&offering, |header| header.kem.answer = Some(answer));
    assert_eq!(two.open(0, &unasked), Err(RatchetError::KemAnswer));
    let broken = with_header(&offering, |header| {
        header.kem.offer = Some(sotto_proto::KemKey::from_slice(&[0xff; 1184]).unwrap());
    });
    assert_eq!(two.open(0, &broken), Err(RatchetError::KemOffer));
    two.open(0, &offering).unwrap();
    let second = two.seal(1);
    let changed = with_header(&second, |header| header.kem.offer = None);
    assert_eq!(two.open(0, &changed), Err(RatchetError::KemChanged));
    two.open(0, &second).unwrap();
}

#[test]
fn a_lost_offer_is_repeated_and_an_overtaken_one_still_opens() {
    let mut two = Two::new(7);
    two.pass(0);
    let late = two.seal(1);
    let _lost = two.seal(1);
    assert_eq!(two.pass(1), OFFER);
    assert_eq!(two.pass(0), ANSWER);
    two.open(0, &late).unwrap();
    assert_eq!(two.open(0, &late), Err(RatchetError::AlreadyUsed));
    assert_eq!(two.pass(1), SILENT);
}

#[test]
fn a_copied_state_opens_nothing_after_the_next_turn() {
    let mut two = Two::new(8);
    for from in [0, 1, 0, 1] {
        two.pass(from);
    }
    let copy = two.ends[0].duplicate();
    two.pass(0);
    let message = two.seal(1);
    assert!(copy.decrypt(&AD, &message, 0).is_err());
    two.open(0, &message).unwrap();
}

#[test]
fn sequence_numbers_and_lengths_that_cannot_be_are_refused() {
    let mut two = Two::new(9);
    two.pass(0);
    two.pass(0);
    two.pass(1);
    let message = two.seal(0);
    let shorter = with_header(&message, |header| header.previous_length = 1);
    assert_eq!(two.open(1, &shorter), Err(RatchetError::OutOfTurn));
    let longer = with_header(&message, |header| header.previous_length = u32::MAX);
    assert_eq!(two.open(1, &longer), Err(RatchetError::TooManySkipped));
    let later = with_header(&message, |header| header.number = u32::MAX);
    assert_eq!(two.open(1, &later), Err(RatchetError::TooManySkipped));
    two.open(1, &message).unwrap();
}
