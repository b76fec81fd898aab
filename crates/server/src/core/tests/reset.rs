//! New identities under old names.

use sotto_proto::{
    frame::{PasswordLogin, RequestDevice, ResetAccount, ResetState, SetPassword},
    limits::{DAY_MS, RESET_DELAY_MS},
};

use super::*;

fn proven(bench: &mut Bench, name: &str, auth_key: AuthKey) -> ConnectionId {
    let id = bench.greet();
    let login = PasswordLogin { username: name.to_owned(), auth_key };
    assert!(matches!(bench.ask(id, ClientFrame::PasswordLogin(login)), ServerFrame::AccountIn(_)));
    id
}

/// Somebody with alice's name and password, and other keys.
fn renewed(seed: u8) -> User {
    User::new("alice", seed)
}

fn reset(user: &User) -> ClientFrame {
    ClientFrame::ResetAccount(ResetAccount { list: user.list.as_bytes().to_vec().into() })
}

fn pending(due_ms: u64) -> ServerFrame {
    ServerFrame::Reset(ResetState::Pending(due_ms))
}

const DONE: ServerFrame = ServerFrame::Reset(ResetState::Done);
const NONE: ServerFrame = ServerFrame::Reset(ResetState::None);
/// The password of alice, whose first seed is 1.
const PASSWORD: [u8; 32] = [1; 32];

/// An account whose devices have not been seen for so long that a reset need not wait.
fn abandoned() -> (Bench, User) {
    let mut bench = Bench::new();
    let (alice, id) = bench.online("alice", 1);
    bench.input(Input::Disconnected { connection: id });
    bench.now_ms += RESET_DELAY_MS + DAY_MS;
    (bench, alice)
}

#[test]
fn an_account_whose_devices_are_long_gone_gets_its_new_identity_at_once() {
    let (mut bench, alice) = abandoned();
    let (_, other) = bench.online("bob", 2);
    let new = renewed(3);
    let asker = proven(&mut bench, "alice", AuthKey(PASSWORD));
    assert_eq!(bench.ask(asker, reset(&new)), DONE);
    assert_eq!(bench.ask(asker, reset(&new)), DONE, "the same again");
    // It signs in on the same connection; the old device does not any more.
    assert!(matches!(bench.ask(asker, new.device_login(0, true)), ServerFrame::DeviceIn(_)));
    let old = bench.greet();
    assert_eq!(bench.refused(old, alice.device_login(0, true)).code, ErrorCode::ACCOUNT_REPLACED);
    // Nor is it registered again, also where the name is free in the end.
    assert_eq!(bench.refused(old, alice.register()).code, ErrorCode::ACCOUNT_REPLACED);
    let lookup =
        sotto_proto::frame::LookupLists { names: vec!["alice".to_owned()], accounts: vec![alice.account] };
    let ServerFrame::Lists(lists) = bench.ask(other, ClientFrame::LookupLists(lookup)) else { panic!() };
    let found: Vec<_> = lists.lists.iter().map(|list| list.as_ref().map(|list| list.to_vec())).collect();
    assert_eq!(found, [Some(new.list.as_bytes().to_vec()), None]);
    assert_eq!(bench.store.mailbox(alice.devices[0].id).wait(), Ok(None));
    // The password stays who asked it knew.
    let later = proven(&mut bench, "alice", AuthKey(PASSWORD));
    assert_eq!(bench.ask(later, reset(&new)), DONE, "whose answer was lost");
}

#[test]
fn while_a_device_was_there_lately_it_waits_and_each_device_is_told() {
    let mut bench = Bench::new();
    let (alice, device) = bench.online("alice", 1);
    let new = renewed(3);
    let asker = proven(&mut bench, "alice", AuthKey(PASSWORD));
    let due = NOW + RESET_DELAY_MS;
    assert_eq!(bench.ask(asker, reset(&new)), pending(due));
    assert_eq!(bench.pushes(device), [pending(due)]);
    bench.now_ms += DAY_MS;
    assert_eq!(bench.ask(asker, reset(&new)), pending(due), "asking again changes nothing");
    assert!(bench.pushes(device).is_empty());
    let (device, _) = bench.sign_in(&alice, 0);
    assert_eq!(bench.pushes(device), [pending(due)], "who signs in later is told as well");
    // Due, and not before.
    bench.now_ms = due - 1;
    assert_eq!(bench.ask(asker, reset(&new)), pending(due));
    bench.now_ms = due;
    assert_eq!(bench.ask(asker, reset(&new)), DONE);
    assert!(
        matches!(&bench.pushes(device)[..], [ServerFrame::Error(reply)] if reply.code == ErrorCode::ACCOUNT_REPLACED)
    );
    assert!(bench.closed.contains(&device));
    assert!(matches!(bench.ask(asker, new.device_login(0, true)), ServerFrame::DeviceIn(_)));
}

#[test]
fn any_device_refuses_it_also_after_it_is_due_and_so_does_a_new_password() {
    let mut bench = Bench::new();
    let (alice, device) = bench.online("alice", 1);
    assert_eq!(bench.ask(device, ClientFrame::RefuseReset), ServerFrame::Done, "there is none");
    let new = renewed(3);
    let asker = proven(&mut bench, "alice", AuthKey(PASSWORD));
    bench.ask(asker, reset(&new));
    bench.pushes(device);
    assert_eq!(bench.ask(device, ClientFrame::RefuseReset), ServerFrame::Done);
    assert_eq!(bench.pushes(device), [NONE]);
    assert_eq!(bench.ask(device, ClientFrame::RefuseReset), ServerFrame::Done);
    assert!(bench.pushes(device).is_empty(), "it was refused already");
    let (device, _) = bench.sign_in(&alice, 0);
    assert!(bench.pushes(device).is_empty(), "nothing waits");
    // The asker hears so, once; also after a restart and when it would have been due. Then it begins anew, and waits anew.
    bench.core = Core::new(CoreConfig::default(), &chain(), String::new()).unwrap();
    bench.sign_in(&alice, 0);
    bench.now_ms += RESET_DELAY_MS;
    let asker = proven(&mut bench, "alice", AuthKey(PASSWORD));
    assert_eq!(bench.ask(asker, reset(&new)), NONE);
    assert_eq!(bench.record("alice").unwrap().reset, None);
    let due = bench.now_ms + RESET_DELAY_MS;
    assert_eq!(bench.ask(asker, reset(&new)), pending(due));
    bench.now_ms = due + DAY_MS;
    let (device, _) = bench.sign_in(&alice, 0);
    assert_eq!(bench.ask(device, ClientFrame::RefuseReset), ServerFrame::Done);
    assert_eq!(bench.ask(asker, reset(&new)), NONE, "it was too late");
    let due = bench.now_ms + RESET_DELAY_MS;
    assert_eq!(bench.ask(asker, reset(&new)), pending(due));
    bench.pushes(device);
    let set = SetPassword { old: Some(AuthKey(PASSWORD)), new: AuthKey([8; 32]) };
    assert_eq!(bench.ask(device, ClientFrame::SetPassword(set)), ServerFrame::Done);
    assert_eq!(bench.pushes(device), [NONE]);
    assert_eq!(bench.record("alice").unwrap().reset, None);
}

#[test]
fn another_list_takes_the_place_of_one_that_waits_and_waits_as_long() {
    let mut bench = Bench::new();
    let (_, device) = bench.online("alice", 1);
    let asker = proven(&mut bench, "alice", AuthKey(PASSWORD));
    bench.ask(asker, reset(&renewed(3)));
    bench.pushes(device);
    bench.now_ms += RESET_DELAY_MS - 1;
    let due = bench.now_ms + RESET_DELAY_MS;
    assert_eq!(bench.ask(asker, reset(&renewed(4))), pending(due));
    assert_eq!(bench.pushes(device), [pending(due)]);
    bench.now_ms += 2;
    let later = bench.now_ms + RESET_DELAY_MS;
    assert_eq!(bench.ask(asker, reset(&renewed(3))), pending(later), "the first one's time does not count");
}

#[test]
fn how_lately_a_device_was_there_is_known_by_the_day() {
    let mut bench = Bench::new();
    let (alice, id) = bench.online("alice", 1);
    let calls = bench.record("alice").unwrap().revision;
    for _ in 0..5 {
        bench.sign_in(&alice, 0);
    }
    assert_eq!(bench.record("alice").unwrap().revision, calls, "no write for the second sign-in of a day");
    // A connection that lasts: the day on which it ended counts.
    let (last, _) = bench.sign_in(&alice, 0);
    bench.now_ms += 20 * DAY_MS;
    let asker = proven(&mut bench, "alice", AuthKey(PASSWORD));
    assert!(
        matches!(bench.ask(asker, reset(&renewed(3))), ServerFrame::Reset(ResetState::Pending(_))),
        "it is there"
    );
    assert_eq!(bench.ask(last, ClientFrame::RefuseReset), ServerFrame::Done);
    bench.input(Input::Disconnected { connection: last });
    bench.input(Input::Disconnected { connection: id });
    assert_eq!(bench.record("alice").unwrap().seen, Some(Day::of(bench.now_ms)));
    bench.now_ms += RESET_DELAY_MS;
    assert!(matches!(bench.ask(asker, reset(&renewed(4))), ServerFrame::Reset(ResetState::Pending(_))));
    // A record of a program that did not note the day counts as lately.
    let record = bench.record("alice").unwrap();
    let unknown = sotto_store::AccountRecord { seen: None, reset: None, ..record.clone() };
    bench.store.replace_account(&record, unknown).wait().unwrap();
    bench.core = Core::new(CoreConfig::default(), &chain(), String::new()).unwrap();
    bench.now_ms += 100 * DAY_MS;
    let asker = proven(&mut bench, "alice", AuthKey(PASSWORD));
    assert!(matches!(bench.ask(asker, reset(&renewed(3))), ServerFrame::Reset(ResetState::Pending(_))));
}

/// Another core on the same store, as after a restart.
fn restart(bench: &mut Bench) {
    bench.core = Core::new(CoreConfig::default(), &chain(), String::new()).unwrap();
}

#[test]
fn a_device_that_stays_connected_is_noted_once_a_day() {
    let mut bench = Bench::new();
    bench.online("alice", 1);
    let revision = bench.record("alice").unwrap().revision;
    for day in 1..=9 {
        bench.now_ms += DAY_MS;
        for _ in 0..3 {
            bench.input(Input::Tick);
            bench.now_ms += 60_000;
        }
        assert_eq!(bench.record("alice").unwrap().seen, Some(Day::of(bench.now_ms)));
        assert_eq!(bench.record("alice").unwrap().revision, revision + day);
    }
}

#[test]
fn all_who_are_connected_are_noted_within_an_hour() {
    let mut bench = Bench::new();
    for number in 0..200 {
        bench.online(&format!("user{number:03}"), number);
    }
    bench.now_ms += DAY_MS;
    let noted = |bench: &Bench| {
        let today = Some(Day::of(bench.now_ms));
        (0..200).filter(|number| bench.record(&format!("user{number:03}")).unwrap().seen == today).count()
    };
    bench.input(Input::Tick);
    assert_eq!(noted(&bench), 64, "no more in one step");
    for _ in 0..59 {
        bench.now_ms += 60_000;
        bench.input(Input::Tick);
    }
    assert_eq!(noted(&bench), 200);
}

#[test]
fn nobody_gets_a_name_by_coming_first_after_a_restart() {
    // A client that was there for nine days, and a server that is killed.
    let mut bench = Bench::new();
    bench.online("alice", 1);
    bench.now_ms += 9 * DAY_MS;
    restart(&mut bench);
    let asker = proven(&mut bench, "alice", AuthKey(PASSWORD));
    let due = bench.now_ms + RESET_DELAY_MS;
    assert_eq!(bench.ask(asker, reset(&renewed(3))), pending(due));
    // A server that was off for long, or has an old backup: nobody could sign in.
    let (mut bench, alice) = abandoned();
    restart(&mut bench);
    let asker = proven(&mut bench, "alice", AuthKey(PASSWORD));
    let due = bench.now_ms + RESET_DELAY_MS;
    assert_eq!(bench.ask(asker, reset(&renewed(3))), pending(due));
    let (device, _) = bench.sign_in(&alice, 0);
    assert_eq!(bench.pushes(device), [pending(due)], "and is told");
    // Who still is not there when it has been on for as long has been away.
    let (mut bench, _) = abandoned();
    restart(&mut bench);
    bench.input(Input::Tick);
    bench.now_ms += RESET_DELAY_MS - 1;
    let asker = proven(&mut bench, "alice", AuthKey(PASSWORD));
    bench.now_ms += 1;
    assert_eq!(bench.ask(asker, reset(&renewed(3))), DONE);
}

#[test]
fn a_device_that_signs_in_while_a_reset_takes_effect_comes_before_or_after_it() {
    let (mut bench, alice) = abandoned();
    let asker = proven(&mut bench, "alice", AuthKey(PASSWORD));
    let device = bench.greet();
    bench.hold();
    bench.send(device, 1, alice.device_login(0, true));
    bench.send(asker, 1, reset(&renewed(3)));
    bench.release();
    match bench.answer(asker, 1) {
        ServerFrame::Reset(ResetState::Done) => {
            assert!(bench.record_of(alice.account).is_none());
            assert!(!bench.core.devices.contains_key(&alice.devices[0].id), "no session is left of it");
        }
        ServerFrame::Reset(ResetState::Pending(_)) => {
            assert!(bench.core.devices.contains_key(&alice.devices[0].id));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_look_up_that_began_before_an_account_went_does_not_bring_it_back() {
    let (mut bench, alice) = abandoned();
    let (_, other) = bench.online("bob", 2);
    let asker = proven(&mut bench, "alice", AuthKey(PASSWORD));
    // Evict what is known of alice, so that looking her up asks the store.
    bench.core.known = known::KnownAccounts::default();
    let record = bench.record("alice").unwrap();
    bench.hold();
    let lookup = sotto_proto::frame::LookupLists { names: Vec::new(), accounts: vec![alice.account] };
    bench.send(other, 1, ClientFrame::LookupLists(lookup.clone()));
    let (read, _) = bench.held.as_mut().unwrap().pop_front().unwrap();
    bench.release();
    bench.ask(asker, reset(&renewed(3)));
    // The read comes back late, with what was there then.
    bench.input(Input::Stored { operation: read, result: Ok(StoreReply::Account(Some(record))) });
    let gone = |frame| matches!(frame, ServerFrame::Lists(lists) if lists.lists == [None]);
    assert!(gone(bench.answer(other, 1)));
    assert!(gone(bench.ask(other, ClientFrame::LookupLists(lookup))));
}

#[test]
fn a_reset_is_refused_for_anything_but_a_new_identity_of_this_name() {
    let (mut bench, alice) = abandoned();
    bench.register(&User::new("bob", 2));
    let stranger = bench.greet();
    assert_eq!(bench.refused(stranger, reset(&renewed(3))).code, ErrorCode::LOGIN_NEEDED);
    let asker = proven(&mut bench, "alice", AuthKey(PASSWORD));
    let code = |bench: &mut Bench, user: &User| bench.refused(asker, reset(user)).code;
    assert_eq!(code(&mut bench, &User::new("carol", 3)), ErrorCode::BAD_KEYS, "another name");
    let mut same_key = User::new("alice", 1);
    same_key.next_list(|_| {});
    assert_eq!(code(&mut bench, &same_key), ErrorCode::BAD_KEYS, "the same identity");
    let mut two = renewed(3);
    two.add_device(4);
    assert_eq!(code(&mut bench, &two), ErrorCode::BAD_KEYS, "two devices");
    let mut ahead = renewed(3);
    ahead.next_list(|list| list.number += 30 * 24 * 60 * 60);
    assert_eq!(code(&mut bench, &ahead), ErrorCode::BAD_KEYS, "a number far ahead");
    assert_eq!(code(&mut bench, &renewed(2)), ErrorCode::COLLISION, "bob's ids");
    assert_eq!(bench.refused(asker, ClientFrame::RefuseReset).code, ErrorCode::LOGIN_NEEDED);
    assert_eq!(bench.record("alice").unwrap().account, alice.account);
}

#[test]
fn a_reset_turns_away_who_waited_for_the_old_identity() {
    let (mut bench, alice) = abandoned();
    let waiting = proven(&mut bench, "alice", AuthKey(PASSWORD));
    let device = make_device(&alice.name, alice.account, &alice.key, [7; 16], 7);
    let keys = device.certificate.certificate();
    let request =
        RequestDevice { device: keys.device, device_key: keys.device_key, identity_key: keys.identity_key };
    assert_eq!(bench.ask(waiting, ClientFrame::RequestDevice(request)), ServerFrame::Done);
    let asker = proven(&mut bench, "alice", AuthKey(PASSWORD));
    let new = renewed(3);
    assert_eq!(bench.ask(asker, reset(&new)), DONE);
    assert_eq!(bench.closed, [waiting]);
    let (device, _) = bench.sign_in(&new, 0);
    assert!(bench.pushes(device).is_empty(), "nothing waits any more");
}

#[test]
fn a_device_that_does_not_read_is_told_once_it_does() {
    let mut bench = Bench::new();
    let (alice, device) = bench.online("alice", 1);
    bench.writes = false;
    let incarnation = bench.store.mailbox(alice.devices[0].id).wait().unwrap().unwrap().incarnation;
    bench.ask(device, ClientFrame::Attach(Attach { incarnation, after: QueueNumber(0) }));
    let (_, sender) = bench.online("bob", 2);
    let bob = User::new("bob", 2);
    for id in 1..=12 {
        let mut submit = bob.submit(id, &[(&alice, 0)]);
        submit.envelopes[0].envelope = vec![id; 40_000].into();
        bench.submitted(sender, submit);
    }
    let unread: usize = bench.core.connections[&device].unwritten;
    assert!(unread > reader::UNWRITTEN_LIMIT, "{unread}");
    bench.pushes(device);
    let asker = proven(&mut bench, "alice", AuthKey(PASSWORD));
    let due = NOW + RESET_DELAY_MS;
    assert_eq!(bench.ask(asker, reset(&renewed(3))), pending(due));
    assert!(bench.pushes(device).is_empty());
    bench.input(Input::Written { connection: device, pushes: unread, answers: 0 });
    assert!(bench.pushes(device).contains(&pending(due)));
}
