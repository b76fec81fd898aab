//! Blocking.

use sotto_proto::frame::{Block, LookupLists, Refusal};

use super::*;

fn block(whom: &User, blocked: bool) -> ClientFrame {
    ClientFrame::Block(Block { account: whom.account, blocked })
}

const STORED: Outcome = Outcome::Stored { connected: true };
const REFUSED: Outcome = Outcome::Refused(Refusal::NotAccepted);

#[test]
fn what_a_blocked_account_sends_is_refused_for_each_device_and_comes_again_when_unblocked() {
    let mut bench = Bench::new();
    let (alice, sender) = bench.online("alice", 1);
    let (bob, reader) = bench.online("bob", 2);
    let (carol, other) = bench.online("carol", 3);
    assert_eq!(bench.ask(reader, block(&alice, true)), ServerFrame::Done);
    assert_eq!(bench.ask(reader, block(&alice, true)), ServerFrame::Done, "the same again");
    let both = bench.submitted(sender, alice.submit(1, &[(&bob, 0), (&carol, 0), (&bob, 0)]));
    assert_eq!(outcomes(&both), [REFUSED, STORED, REFUSED], "others are not concerned");
    assert_eq!(bench.submitted(sender, alice.submit(1, &[(&bob, 0), (&carol, 0), (&bob, 0)])), both);
    let from_carol = bench.submitted(other, carol.submit(2, &[(&bob, 0)]));
    assert_eq!(outcomes(&from_carol), [STORED]);
    let mut typing = alice.submit(3, &[(&bob, 0)]);
    typing.envelopes[0].transient = true;
    assert_eq!(outcomes(&bench.submitted(sender, typing)), [REFUSED]);
    // The other way nothing changes, nor can the blocked be told that they are by anything but a refusal.
    assert_eq!(outcomes(&bench.submitted(reader, bob.submit(4, &[(&alice, 0)]))), [STORED]);
    let lookup = LookupLists { names: vec!["bob".to_owned()], accounts: Vec::new() };
    let ServerFrame::Lists(lists) = bench.ask(sender, ClientFrame::LookupLists(lookup)) else { panic!() };
    assert!(lists.lists[0].is_some());
    assert!(matches!(bench.claim(sender, &bob, 0), ServerFrame::Bundles(_)));
    assert_eq!(bench.ask(reader, block(&alice, false)), ServerFrame::Done);
    assert_eq!(outcomes(&bench.submitted(sender, alice.submit(5, &[(&bob, 0)]))), [STORED]);
}

#[test]
fn a_block_is_answered_when_it_is_durable_and_survives_a_restart() {
    let mut bench = Bench::new();
    let (alice, sender) = bench.online("alice", 1);
    let (bob, reader) = bench.online("bob", 2);
    bench.hold();
    bench.send(reader, 5, block(&alice, true));
    assert!(bench.inbox[&reader].is_empty(), "nothing is said before the store has it");
    bench.release();
    assert_eq!(bench.answer(reader, 5), ServerFrame::Done);
    bench.input(Input::Disconnected { connection: sender });
    // Another core on the same store.
    bench.core = Core::new(CoreConfig::default(), &chain(), String::new()).unwrap();
    let (again, _) = bench.sign_in(&alice, 0);
    let refused = bench.submitted(again, alice.submit(1, &[(&bob, 0)]));
    assert_eq!(outcomes(&refused), [REFUSED]);
}

#[test]
fn blocks_are_bounded_and_an_account_that_nobody_has_can_be_blocked() {
    let mut bench = Bench::new();
    let (alice, id) = bench.online("alice", 1);
    let one = |number: u16, blocked| {
        let mut account = [9; 16];
        account[..2].copy_from_slice(&number.to_be_bytes());
        ClientFrame::Block(Block { account: AccountId(account), blocked })
    };
    for number in 0..1000 {
        bench.now_ms += edit::BLOCK_REFILL_MS;
        assert_eq!(bench.ask(id, one(number, true)), ServerFrame::Done);
    }
    assert_eq!(bench.refused(id, one(1000, true)).code, ErrorCode::LIMIT);
    assert_eq!(bench.ask(id, one(7, true)), ServerFrame::Done, "blocked already");
    assert_eq!(bench.ask(id, one(7, false)), ServerFrame::Done);
    assert_eq!(bench.ask(id, one(1000, true)), ServerFrame::Done);
    assert_eq!(bench.refused(id, block(&alice, true)).code, ErrorCode::OUT_OF_ORDER, "oneself");
    let stranger = bench.greet();
    assert_eq!(bench.refused(stranger, one(1, true)).code, ErrorCode::LOGIN_NEEDED);
}

#[test]
fn changes_of_one_record_that_meet_are_all_made() {
    let mut bench = Bench::new();
    let (mut alice, first) = bench.online("alice", 1);
    alice.add_device(2);
    let add = alice.list.clone();
    let mut submit = alice.submit(1, &[(&alice, 1)]);
    submit.lists[0].list = Some(add.as_bytes().to_vec().into());
    bench.submitted(first, submit);
    let (second, _) = bench.sign_in(&alice, 1);
    let whom = [User::new("bob", 3), User::new("carol", 4)];
    bench.hold();
    bench.send(first, 1, block(&whom[0], true));
    bench.send(second, 1, block(&whom[1], true));
    // A list comes at the same time, and does not hear of a conflict that is none.
    let proven = bench.greet();
    let input = login::account_login(&chain().server_id(), &[1; 32], &[2; 32]);
    let login = sotto_proto::frame::AccountLogin {
        username: alice.name.to_string(),
        signature: signature(&alice.key, &input),
    };
    bench.send(proven, 1, ClientFrame::AccountLogin(login));
    let old = alice.list.hash();
    alice.add_device(5);
    let list = alice.list.as_bytes().to_vec().into();
    let replace = sotto_proto::frame::ReplaceList { expected: old, list };
    bench.send(proven, 2, ClientFrame::ReplaceList(replace));
    bench.release();
    assert_eq!(bench.answer(first, 1), ServerFrame::Done);
    assert_eq!(bench.answer(second, 1), ServerFrame::Done);
    assert_eq!(bench.answer(proven, 2), ServerFrame::Done);
    let record = bench.record("alice").unwrap();
    assert_eq!(record.blocked, [whom[0].account, whom[1].account]);
    assert_eq!(record.devices.len(), 3);
}
