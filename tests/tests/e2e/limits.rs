//! Limits are said, not suffered: full mailbox, too many clients.

use sotto_tests::sotto::COMMAND;

use crate::town::{Town, lines, texts};

#[test]
fn too_many_clients_are_told_and_those_inside_notice_nothing() {
    let town = Town::with(|options| options.arguments(&["--max-clients", "2"])).unwrap();
    let (alice, bob, carol) =
        (town.person("alice").unwrap(), town.person("bob").unwrap(), town.person("carol").unwrap());
    carol.ok(&["send", "@alice", "good morning"]).unwrap();
    carol.ok(&["send", "@bob", "good morning"]).unwrap();
    let first = alice.start(&["recv", "--follow"], "").unwrap();
    let second = bob.start(&["recv", "--follow"], "").unwrap();
    // Who has received something is inside.
    assert!(first.line(COMMAND).unwrap().is_some() && second.line(COMMAND).unwrap().is_some());

    let refused = carol.run(&["send", "@bob", "let me in"]).unwrap();
    assert_eq!(refused.code, 7, "{refused:?}");
    assert_eq!(carol.outbox().unwrap().len(), 1, "the message is lost");

    bob.ok(&["send", "@alice", "inside", "--wait", "delivered"]).unwrap();
    drop(first);
    drop(second);
    carol.ok(&["recv"]).unwrap();
    assert_eq!(texts(&bob.ok(&["recv"]).unwrap().messages()).last(), Some(&"let me in"));
}

/// Places in the mailbox: the fewest that a server can be told to give.
const MAILBOX: usize = 2001;
/// One sender gets a fifth of them.
const SHARE: usize = MAILBOX / 5;

#[test]
fn a_full_mailbox_refuses_its_sender_and_nobody_else() {
    let town =
        Town::with(|options| options.environment("SOTTOD_LIMITS__MAILBOX_ENVELOPES", &MAILBOX.to_string()))
            .unwrap();
    let (alice, bob, carol) =
        (town.person("alice").unwrap(), town.person("bob").unwrap(), town.person("carol").unwrap());
    let input = lines(SHARE + 10, |number| format!("line {number}"));
    let sent = alice.run_with_input(&["send", "@bob", "--lines", "--timeout", "60s"], &input).unwrap();
    assert!([6, 7].contains(&sent.code), "{sent:?}");
    let fates = sent.fates();
    assert!(fates.iter().take(SHARE).all(|fate| fate.state == "stored"), "{fates:?}");
    assert!(
        fates.iter().skip(SHARE).all(|fate| ["refused", "waiting"].contains(&fate.state.as_str())),
        "{fates:?}"
    );
    let again = alice.run(&["send", "@bob", "one more", "--timeout", "60s"]).unwrap();
    assert_eq!(again.code, 7, "{again:?}");
    carol.ok(&["send", "@bob", "there is room for me"]).unwrap();

    // As soon as the mailbox is emptied, what was refused follows by itself, in order.
    let mut received = bob.ok(&["recv"]).unwrap().messages();
    assert_eq!(received.len(), SHARE + 1);
    for _ in 0..5 {
        alice.ok(&["recv"]).unwrap();
        received.extend(bob.ok(&["recv"]).unwrap().messages());
    }
    let from_alice: Vec<&str> = received
        .iter()
        .filter(|message| message.from == "alice")
        .map(|message| message.text.as_str())
        .collect();
    let expected = input.lines().chain(["one more"]);
    assert!(from_alice.iter().copied().eq(expected), "{from_alice:?}");
}
