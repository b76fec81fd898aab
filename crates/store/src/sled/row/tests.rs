use super::*;

#[test]
fn the_longest_rows_are_no_longer_than_a_value() {
    let envelope = EnvelopeRow {
        stored_ms: u64::MAX,
        tag: FateTag([1; 16]),
        content: Content::Inline(vec![7; MAX_INLINE]),
    };
    let device = DeviceOutcome { device: DeviceId([1; 16]), outcome: Outcome::UnknownDevice };
    let submitted = Submitted { devices: vec![device; MAX_OUTCOMES], stored_ms: u64::MAX };
    let submission = SubmissionRow { mark: u64::MAX, submitted };
    for row in [envelope.encode(), submission.encode()] {
        // Not far below it either.
        assert!((MAX_VALUE - 64..=MAX_VALUE).contains(&row.len()), "{}", row.len());
    }
}

#[test]
fn a_number_with_something_behind_it_is_damaged() {
    let (id, number) = (encode_id(PrekeyId(7)), encode_number(8));
    assert_eq!((decode_id(&id).unwrap(), decode_number(&number).unwrap()), (PrekeyId(7), 8));
    let longer = |mut value: Vec<u8>| {
        value.push(0);
        value
    };
    assert!(matches!(decode_id(&longer(id)), Err(StoreError::Damaged(_))));
    assert!(matches!(decode_number(&longer(number)), Err(StoreError::Damaged(_))));
}

#[test]
fn what_was_acked_before_this_incarnation_does_not_count() {
    let row = |acked| MailboxRow { acked, lost_through: 3, begun: 5 };
    assert_eq!([4, 5, 6].map(|acked| row(acked).acked_since()), [0, 0, 6]);
    // As in the first version of the row, as long as there is nothing to add.
    let first = MailboxRow { acked: 4, lost_through: 3, begun: 0 };
    for (row, length) in [(first, 17), (row(6), 25)] {
        let bytes = row.encode();
        assert_eq!(bytes.len(), length);
        assert_eq!(MailboxRow::decode(&bytes).unwrap(), row);
    }
}

#[test]
fn outcomes_keep_their_codes() {
    let known: Vec<u8> = (0..=4).chain(16..=20).collect();
    for code in 0..=u8::MAX {
        match outcome_of(code) {
            Ok(outcome) => assert!(known.contains(&code) && outcome_code(outcome) == code, "{code}"),
            Err(_) => assert!(!known.contains(&code), "{code}"),
        }
    }
}
