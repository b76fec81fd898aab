//! What the operator does: accounts and invites. And passwords.

use sotto_proto::{
    ResetCode,
    frame::{PasswordLogin, Refusal, Register, Registration, ResetAccount, ResetState, SetPassword},
};
use sotto_store::{Invite, InviteHash};

use super::*;

fn name(text: &str) -> Username {
    Username::parse(text).unwrap()
}

fn password(name: &str, key: u8) -> ClientFrame {
    ClientFrame::PasswordLogin(PasswordLogin { username: name.to_owned(), auth_key: AuthKey([key; 32]) })
}

#[test]
fn a_disabled_account_is_put_out_at_once_and_signs_in_by_nothing_until_it_is_enabled() {
    let mut bench = Bench::new();
    let (alice, device) = bench.online("alice", 1);
    let proven = bench.greet();
    bench.ask(proven, password("alice", 1));
    let (bob, other) = bench.online("bob", 2);
    bench.order(Order::Disable(name("alice"))).unwrap();
    assert_eq!(bench.closed, [device, proven]);
    for id in [device, proven] {
        assert!(
            matches!(&bench.pushes(id)[..], [ServerFrame::Error(reply)] if reply.code == ErrorCode::DISABLED)
        );
    }
    let id = bench.greet();
    assert_eq!(bench.refused(id, alice.device_login(0, true)).code, ErrorCode::DISABLED);
    assert_eq!(bench.refused(id, password("alice", 1)).code, ErrorCode::DISABLED);
    let input = login::account_login(&chain().server_id(), &[1; 32], &[2; 32]);
    let by_key = sotto_proto::frame::AccountLogin {
        username: "alice".to_owned(),
        signature: signature(&alice.key, &input),
    };
    assert_eq!(bench.refused(id, ClientFrame::AccountLogin(by_key)).code, ErrorCode::DISABLED);
    // What is sent to it waits.
    let stored = bench.submitted(other, bob.submit(1, &[(&alice, 0)]));
    assert_eq!(outcomes(&stored), [Outcome::Stored { connected: false }]);
    bench.order(Order::Disable(name("alice"))).unwrap();
    bench.order(Order::Enable(name("alice"))).unwrap();
    let (again, _) = bench.attach(&alice, 0, 0);
    assert_eq!(bench.deliveries(again).len(), 1);
    assert!(bench.log.iter().any(|line| line == "operator: disabled [ alice ]"), "{:?}", bench.log);
    assert!(bench.order(Order::Disable(name("nobody"))).unwrap_err().contains("no account nobody"));
}

#[test]
fn a_login_that_is_under_way_when_the_account_is_disabled_does_not_slip_through() {
    let mut bench = Bench::new();
    let alice = User::new("alice", 1);
    bench.register(&alice);
    let (by_key, by_password) = (bench.greet(), bench.greet());
    bench.jobs = Some(Vec::new());
    bench.send(by_password, 1, password("alice", 1));
    bench.hold();
    bench.send(by_key, 1, alice.device_login(0, true));
    let waiting = bench.held.take().unwrap();
    bench.order(Order::Disable(name("alice"))).unwrap();
    for (operation, call) in waiting {
        bench.call(operation, call);
    }
    for (operation, job) in bench.jobs.take().unwrap() {
        bench.work(operation, job);
    }
    for id in [by_key, by_password] {
        assert!(
            matches!(bench.answer(id, 1), ServerFrame::Error(reply) if reply.code == ErrorCode::DISABLED)
        );
    }
}

#[test]
fn a_deleted_account_is_put_out_and_its_name_is_free() {
    let mut bench = Bench::new();
    let (alice, device) = bench.online("alice", 1);
    let (bob, other) = bench.online("bob", 2);
    bench.submitted(other, bob.submit(1, &[(&alice, 0)]));
    bench.pushes(device);
    // A Submit stands in its line, with what was found of alice before she went.
    bench.order(Order::Delete(name("alice"))).unwrap();
    assert_eq!(bench.closed, [device]);
    assert!(
        matches!(&bench.pushes(device)[..], [ServerFrame::Error(reply)] if reply.code == ErrorCode::ACCOUNT_REMOVED)
    );
    assert_eq!(outcomes(&bench.submitted(other, bob.submit(2, &[(&alice, 0)]))), [Outcome::UnknownDevice]);
    let id = bench.greet();
    assert_eq!(bench.refused(id, alice.device_login(0, true)).code, ErrorCode::ACCOUNT_REMOVED);
    // Nor does it come back as an account does that was lost, before and after somebody else has its name.
    assert_eq!(bench.refused(id, alice.register()).code, ErrorCode::ACCOUNT_REMOVED);
    assert!(bench.record("alice").is_none());
    assert_eq!(bench.refused(id, password("alice", 1)).code, ErrorCode::BAD_CREDENTIALS);
    assert!(bench.order(Order::Delete(name("alice"))).is_err());
    let heir = User::new("alice", 5);
    bench.register(&heir);
    assert_eq!(bench.record("alice").unwrap().account, heir.account);
    bench.sign_in(&heir, 0);
    assert_eq!(bench.refused(id, alice.register()).code, ErrorCode::ACCOUNT_REMOVED);
    assert_eq!(bench.refused(id, alice.device_login(0, true)).code, ErrorCode::ACCOUNT_REMOVED);
}

#[test]
fn a_mailbox_that_comes_after_a_deleted_one_has_room_for_every_sender() {
    let config = CoreConfig { mailbox_envelopes: 5, ..CoreConfig::default() };
    let mut bench = Bench::with(config, StoreConfig::default());
    let (bob, id) = bench.online("bob", 2);
    let alice = User::new("alice", 1);
    bench.register(&alice);
    let stored = [Outcome::Stored { connected: false }];
    assert_eq!(outcomes(&bench.submitted(id, bob.submit(1, &[(&alice, 0)]))), stored);
    let share = [Outcome::Refused(Refusal::SenderShare)];
    assert_eq!(outcomes(&bench.submitted(id, bob.submit(2, &[(&alice, 0)]))), share);
    bench.order(Order::Delete(name("alice"))).unwrap();
    // Another account whose device has the same id.
    let mut heir = User::new("alice", 5);
    heir.add_device(1);
    bench.register(&heir);
    assert_eq!(heir.devices[1].id, alice.devices[0].id);
    assert_eq!(outcomes(&bench.submitted(id, bob.submit(3, &[(&heir, 1)]))), stored);
}

#[test]
fn a_sign_in_that_is_under_way_when_the_account_is_deleted_gets_no_session() {
    let mut bench = Bench::new();
    let alice = User::new("alice", 1);
    bench.register(&alice);
    let id = bench.greet();
    bench.hold();
    bench.send(id, 1, alice.device_login(0, true));
    // The account, then its mailbox.
    for _ in 0..2 {
        let (operation, call) = bench.held.as_mut().unwrap().pop_front().unwrap();
        bench.call(operation, call);
    }
    let waiting = bench.held.take().unwrap();
    assert_eq!(waiting.len(), 1, "its prekeys are looked at");
    bench.order(Order::Delete(name("alice"))).unwrap();
    for (operation, call) in waiting {
        bench.call(operation, call);
    }
    assert!(matches!(bench.answer(id, 1), ServerFrame::Error(reply) if reply.code == ErrorCode::BUSY));
    assert_eq!(bench.refused(id, alice.device_login(0, true)).code, ErrorCode::ACCOUNT_REMOVED);
    assert!(bench.core.devices.is_empty());
}

#[test]
fn a_password_that_is_checked_when_the_account_ends_proves_nothing() {
    let mut bench = Bench::new();
    let alice = User::new("alice", 1);
    bench.register(&alice);
    let (device, _) = bench.sign_in(&alice, 0);
    let id = bench.greet();
    bench.jobs = Some(Vec::new());
    bench.send(id, 1, password("alice", 1));
    let set = SetPassword { old: Some(alice.auth_key()), new: AuthKey([2; 32]) };
    bench.send(device, 1, ClientFrame::SetPassword(set));
    bench.order(Order::Delete(name("alice"))).unwrap();
    for (operation, job) in bench.jobs.take().unwrap() {
        bench.work(operation, job);
    }
    assert!(matches!(bench.answer(id, 1), ServerFrame::Error(reply) if reply.code == ErrorCode::BUSY));
    assert_eq!(bench.core.connections[&id].proven, None);
    // Another account's end changes nothing where this one is known to be there.
    let (bob, carol) = (User::new("bob", 2), User::new("carol", 3));
    bench.register(&bob);
    bench.register(&carol);
    bench.jobs = Some(Vec::new());
    bench.send(id, 2, password("bob", 2));
    bench.order(Order::Delete(name("carol"))).unwrap();
    for (operation, job) in bench.jobs.take().unwrap() {
        bench.work(operation, job);
    }
    assert!(matches!(bench.answer(id, 2), ServerFrame::AccountIn(_)));
}

#[test]
fn the_operator_sets_a_password_and_ends_the_waiting_of_a_reset_either_way() {
    let mut bench = Bench::new();
    let (alice, device) = bench.online("alice", 1);
    let asker = bench.greet();
    bench.ask(asker, password("alice", 1));
    let new = User::new("alice", 3);
    let reset = || ClientFrame::ResetAccount(ResetAccount { list: new.list.as_bytes().to_vec().into() });
    let code = ResetCode::of(new.list.list());
    let reset_now = |code| Order::ResetNow(name("alice"), code);
    assert!(bench.order(reset_now(code)).unwrap_err().contains("no new identity waits"));
    assert!(matches!(bench.ask(asker, reset()), ServerFrame::Reset(ResetState::Pending(_))));
    bench.pushes(device);
    bench.order(Order::SetPassword(name("alice"), format!("hash {:?}", [6; 32]))).unwrap();
    assert_eq!(
        bench.pushes(device),
        [ServerFrame::Reset(ResetState::None)],
        "asked for with the old password"
    );
    let id = bench.greet();
    assert_eq!(bench.refused(id, password("alice", 1)).code, ErrorCode::BAD_CREDENTIALS);
    assert!(matches!(bench.ask(id, password("alice", 6)), ServerFrame::AccountIn(_)));
    assert!(matches!(bench.ask(id, reset()), ServerFrame::Reset(ResetState::Pending(_))));
    // Of two who ask for it, the operator lets the right one have the name.
    let other = ResetCode::of(User::new("alice", 4).list.list());
    assert!(bench.order(reset_now(other)).unwrap_err().contains("another code"));
    assert!(bench.record_of(alice.account).is_some());
    bench.order(reset_now(code)).unwrap();
    assert!(bench.closed.contains(&device), "the old identity's device");
    assert!(bench.record_of(alice.account).is_none());
    // Who asked hears of it at the next try, and signs in.
    let again = bench.greet();
    bench.ask(again, password("alice", 6));
    assert_eq!(bench.ask(again, reset()), ServerFrame::Reset(ResetState::Done));
    assert!(matches!(bench.ask(again, new.device_login(0, true)), ServerFrame::DeviceIn(_)));
}

#[test]
fn a_wrong_old_password_counts_as_a_login_attempt() {
    let mut bench = Bench::new();
    let (alice, device) = bench.online("alice", 1);
    let set =
        |old: AuthKey, new| ClientFrame::SetPassword(SetPassword { old: Some(old), new: AuthKey([new; 32]) });
    for _ in 0..3 {
        assert_eq!(bench.refused(device, set(AuthKey([9; 32]), 2)).code, ErrorCode::BAD_CREDENTIALS);
    }
    let limited = bench.refused(device, set(alice.auth_key(), 2));
    assert_eq!((limited.code, limited.retry_after_ms), (ErrorCode::RATE_LIMITED, Some(1_000)));
    let id = bench.greet();
    assert_eq!(bench.refused(id, password("alice", 1)).code, ErrorCode::RATE_LIMITED, "nor elsewhere");
    bench.now_ms += 1_000;
    assert_eq!(bench.ask(device, set(alice.auth_key(), 2)), ServerFrame::Done);
    assert!(matches!(bench.ask(id, password("alice", 2)), ServerFrame::AccountIn(_)));
    assert_eq!(bench.refused(id, password("alice", 1)).code, ErrorCode::BAD_CREDENTIALS);
}

#[test]
fn a_new_password_ends_what_the_old_one_proved_elsewhere() {
    let mut bench = Bench::new();
    let (alice, device) = bench.online("alice", 1);
    let new = User::new("alice", 3);
    let reset = || ClientFrame::ResetAccount(ResetAccount { list: new.list.as_bytes().to_vec().into() });
    bench.ask(device, password("alice", 1));
    let thief = bench.greet();
    bench.ask(thief, password("alice", 1));
    let key = new.devices[0].certificate.certificate();
    let request = sotto_proto::frame::RequestDevice {
        device: key.device,
        device_key: key.device_key,
        identity_key: key.identity_key,
    };
    assert_eq!(bench.ask(thief, ClientFrame::RequestDevice(request)), ServerFrame::Done);
    // One more login is being checked while the password changes.
    let late = bench.greet();
    bench.jobs = Some(Vec::new());
    bench.send(late, 1, password("alice", 1));
    let (operation, job) = bench.jobs.take().unwrap().remove(0);
    let set = SetPassword { old: Some(alice.auth_key()), new: AuthKey([2; 32]) };
    assert_eq!(bench.ask(device, ClientFrame::SetPassword(set)), ServerFrame::Done);
    assert_eq!(bench.closed, [thief]);
    let told = bench.pushes(thief);
    assert!(
        matches!(&told[..], [ServerFrame::Error(reply)] if reply.code == ErrorCode::BAD_CREDENTIALS),
        "{told:?}"
    );
    bench.work(operation, job);
    let refused = bench.answer(late, 1);
    assert!(matches!(refused, ServerFrame::Error(reply) if reply.code == ErrorCode::BAD_CREDENTIALS));
    let ServerFrame::PendingDevices(pending) = bench.ask(device, ClientFrame::ListPending) else { panic!() };
    assert!(pending.devices.is_empty());
    assert!(
        matches!(bench.ask(device, reset()), ServerFrame::Reset(ResetState::Pending(_))),
        "its own proof stands"
    );
}

fn by_invite() -> Bench {
    let config = CoreConfig { registration: Registration::Invite, ..CoreConfig::default() };
    Bench::with(config, StoreConfig::default())
}

fn with_token(user: &User, token: Option<&str>) -> ClientFrame {
    let ClientFrame::Register(register) = user.register() else { panic!() };
    ClientFrame::Register(Register { invite: token.map(str::to_owned), ..register })
}

fn make_invite(bench: &Bench, token: &str, uses: u32) {
    let invite = Invite {
        hash: InviteHash::of(token),
        uses,
        created_ms: NOW,
        expires_ms: NOW + 1_000_000,
        note: String::new(),
    };
    assert_eq!(bench.store.create_invite(invite).wait(), Ok(true));
}

#[test]
fn with_invites_an_account_takes_a_valid_one() {
    let mut bench = by_invite();
    make_invite(&bench, "secret", 1);
    make_invite(&bench, "late", 1);
    let id = bench.greet();
    let (alice, bob) = (User::new("alice", 1), User::new("bob", 2));
    let refused = bench.refused(id, with_token(&alice, None));
    assert_eq!(refused.code, ErrorCode::REGISTRATION_CLOSED);
    assert!(refused.message.contains("ask its operator"), "{}", refused.message);
    assert_eq!(bench.refused(id, with_token(&alice, Some("wrong"))).code, ErrorCode::REGISTRATION_CLOSED);
    assert_eq!(
        bench.refused(id, with_token(&alice, Some(&"x".repeat(9_000)))).code,
        ErrorCode::REGISTRATION_CLOSED
    );
    assert_eq!(bench.ask(id, with_token(&alice, Some("SECRET "))), ServerFrame::Done);
    assert_eq!(bench.ask(id, with_token(&alice, Some("secret"))), ServerFrame::Done, "the same again");
    let used = bench.refused(id, with_token(&bob, Some("secret")));
    assert!(used.message.contains("used up"), "{}", used.message);
    bench.now_ms += 1_000_000;
    assert_eq!(bench.refused(id, with_token(&bob, Some("late"))).code, ErrorCode::REGISTRATION_CLOSED);
    assert!(bench.record("bob").is_none());
    bench.input(Input::Reload(CoreConfig::default()));
    assert_eq!(
        bench.ask(id, with_token(&bob, Some("whatever"))),
        ServerFrame::Done,
        "an open server asks for none"
    );
}

#[test]
fn of_two_with_one_invite_one_gets_an_account() {
    let mut bench = by_invite();
    make_invite(&bench, "secret", 1);
    let (one, two) = (bench.greet(), bench.greet());
    bench.jobs = Some(Vec::new());
    bench.send(one, 1, with_token(&User::new("alice", 1), Some("secret")));
    bench.send(two, 1, with_token(&User::new("bob", 2), Some("secret")));
    for (operation, job) in bench.jobs.take().unwrap() {
        bench.work(operation, job);
    }
    assert_eq!(bench.answer(one, 1), ServerFrame::Done);
    let refused = bench.answer(two, 1);
    assert!(matches!(refused, ServerFrame::Error(reply) if reply.code == ErrorCode::REGISTRATION_CLOSED));
}

#[test]
fn wrong_invites_are_slowed_down_for_their_address() {
    let mut bench = by_invite();
    make_invite(&bench, "secret", 1);
    let id = bench.greet();
    let alice = User::new("alice", 1);
    for n in 0..21 {
        let wrong = format!("wrong {n}");
        assert_eq!(bench.refused(id, with_token(&alice, Some(&wrong))).code, ErrorCode::REGISTRATION_CLOSED);
    }
    let limited = bench.refused(id, with_token(&alice, Some("secret")));
    assert_eq!((limited.code, limited.retry_after_ms), (ErrorCode::RATE_LIMITED, Some(1_000)));
    bench.now_ms += 1_000;
    assert_eq!(bench.ask(id, with_token(&alice, Some("secret"))), ServerFrame::Done);
}
