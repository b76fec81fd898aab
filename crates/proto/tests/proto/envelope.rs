//! The envelope's outer form.

use proptest::{
    collection::vec,
    prelude::{any, prop_assert_eq, proptest},
};
use sotto_proto::{
    Envelope, PrekeyPublic,
    envelope::{ENVELOPE_VERSION, PART1_LENGTH},
    limits::MAX_ENVELOPE,
    wire::WireError,
};

use crate::samples;

proptest! {
    #[test]
    fn envelopes_come_back(ephemeral in any::<[u8; 32]>(), byte in any::<u8>(), part2 in vec(any::<u8>(), 0..3000)) {
        let envelope =
            Envelope { ephemeral: PrekeyPublic(ephemeral), part1: vec![byte; PART1_LENGTH], part2 };
        let bytes = envelope.encode();
        prop_assert_eq!(bytes[0], ENVELOPE_VERSION);
        prop_assert_eq!(Envelope::parse(&bytes), Ok(envelope));
    }
}

#[test]
fn what_is_not_an_envelope_says_why() {
    let good = samples::envelope();
    let bytes = good.encode();
    let mut newer = bytes.clone();
    newer[0] = 2;
    assert_eq!(Envelope::parse(&newer), Err(WireError::Version(2)));
    assert_eq!(Envelope::parse(&[bytes.as_slice(), &[0]].concat()), Err(WireError::Trailing));
    for cut in 0..bytes.len() {
        assert_eq!(Envelope::parse(&bytes[..cut]), Err(WireError::Short), "cut to {cut}");
    }
    let short = Envelope { part1: vec![0; PART1_LENGTH - 1], ..good.clone() };
    assert_eq!(Envelope::parse(&short.encode()), Err(WireError::Invalid("part 1")));
    let long = Envelope { part1: vec![0; PART1_LENGTH + 1], ..good };
    assert_eq!(Envelope::parse(&long.encode()), Err(WireError::TooLong));
}

#[test]
fn the_largest_envelope_is_read_and_one_byte_more_is_not() {
    let overhead = samples::envelope().encode().len() - samples::envelope().part2.len();
    let sized = |length| Envelope { part2: vec![1; length], ..samples::envelope() }.encode();
    assert!(Envelope::parse(&sized(MAX_ENVELOPE - overhead)).is_ok());
    assert_eq!(Envelope::parse(&sized(MAX_ENVELOPE - overhead + 1)), Err(WireError::TooLong));
}

#[test]
fn the_body_hash_is_of_part_2_alone() {
    let envelope = samples::envelope();
    let other_outside = Envelope { ephemeral: PrekeyPublic([9; 32]), ..envelope.clone() };
    assert_eq!(envelope.body_hash(), other_outside.body_hash());
    let other_inside = Envelope { part2: vec![0x44; 40], ..envelope.clone() };
    assert_ne!(envelope.body_hash(), other_inside.body_hash());
    assert_eq!(envelope.body_hash().short(), envelope.body_hash().0[..16]);
}
