//! Changes of one account that meet.

use sotto_proto::frame::{Block, ListChanged, PasswordLogin, ResetAccount, ResetState, SetPassword};

use super::*;
use crate::core::reset::{RESET_BURST, RESET_REFILL_MS};

/// Requests that a client has on its way at most.
const PIPELINE: u32 = 64;

/// An account with two devices, of which the second is a thief's. The store answers step by step.
struct Attacked {
    bench: Bench,
    alice: User,
    own: ConnectionId,
    thief: ConnectionId,
    /// Requests that the thief has sent.
    sent: u32,
}

fn attacked() -> Attacked {
    let mut bench = Bench::new();
    let (mut alice, own) = bench.online("alice", 1);
    alice.add_device(2);
    let proven = bench.by_key(&alice);
    let replace = replace(&User::new("alice", 1), &alice);
    assert_eq!(bench.ask(proven, replace), ServerFrame::Done);
    bench.input(Input::Disconnected { connection: proven });
    let (thief, _) = bench.sign_in(&alice, 1);
    bench.pushes(own);
    Attacked { bench, alice, own, thief, sent: 0 }
}

fn block(account: u8, blocked: bool) -> ClientFrame {
    ClientFrame::Block(Block { account: AccountId([account; 16]), blocked })
}

fn reset(user: &User) -> ClientFrame {
    ClientFrame::ResetAccount(ResetAccount { list: user.list.as_bytes().to_vec().into() })
}

fn password(key: u8) -> ClientFrame {
    ClientFrame::PasswordLogin(PasswordLogin { username: "alice".to_owned(), auth_key: AuthKey([key; 32]) })
}

fn set_password(old: Option<u8>, new: u8) -> ClientFrame {
    let key = |key| AuthKey([key; 32]);
    ClientFrame::SetPassword(SetPassword { old: old.map(key), new: key(new) })
}

fn answered(bench: &mut Bench, id: ConnectionId, request: u32) -> Option<ServerFrame> {
    let inbox = bench.inbox.entry(id).or_default();
    let place = inbox.iter().position(|(answer, _)| *answer == request)?;
    inbox.remove(place).map(|(_, frame)| frame)
}

impl Attacked {
    /// The thief's line is full of changes all the time, each of which writes.
    fn flood(&mut self, frames: &dyn Fn(u32) -> ClientFrame) {
        while let Some(state) = self.bench.core.connections.get(&self.thief)
            && state.unanswered < PIPELINE as usize
        {
            self.sent += 1;
            self.bench.send(self.thief, 1_000 + self.sent, frames(self.sent));
        }
    }

    /// Whether something came to be within a few answers of the store, while the thief goes on.
    fn within(
        &mut self,
        frames: &dyn Fn(u32) -> ClientFrame,
        mut happened: impl FnMut(&mut Bench) -> bool,
    ) -> bool {
        for _ in 0..12 {
            if happened(&mut self.bench) {
                return true;
            }
            // So slowly that no bucket is empty.
            self.bench.now_ms += 60_000;
            self.flood(frames);
            assert!(self.bench.step());
        }
        false
    }
}

/// Removes the thief's device, sets a password and disables the account, while the thief changes it without pause.
fn all_get_through(attacked: impl Fn() -> Attacked, frames: &dyn Fn(u32) -> ClientFrame) {
    // The owner removes the thief.
    let mut there = attacked();
    let owner = there.bench.by_key(&there.alice);
    there.bench.hold();
    there.flood(frames);
    let before = User { list: there.alice.list.clone(), ..User::new("alice", 1) };
    there.alice.revoke(1);
    let frame = replace(&before, &there.alice);
    there.bench.send(owner, 1, frame);
    assert!(there.within(frames, |bench| answered(bench, owner, 1) == Some(ServerFrame::Done)));
    assert_eq!(there.bench.record("alice").unwrap().devices, [there.alice.devices[0].id]);
    // The owner sets another password.
    let mut there = attacked();
    there.bench.hold();
    there.flood(frames);
    let own = there.own;
    there.bench.send(own, 1, set_password(Some(1), 7));
    assert!(there.within(frames, |bench| answered(bench, own, 1) == Some(ServerFrame::Done)));
    // The operator disables it: first of all that wait.
    let mut there = attacked();
    there.bench.hold();
    let order = Order::Disable(Username::parse("alice").unwrap());
    there.bench.input(Input::Order { question: Question(7), order });
    there.flood(frames);
    there.bench.send(there.own, 1, block(99, true));
    assert!(there.within(frames, |bench| bench.ordered == [Ok(())]));
    assert!(there.bench.closed.contains(&there.thief));
    assert!(there.bench.record("alice").unwrap().disabled);
    assert!(!there.bench.record("alice").unwrap().blocked.contains(&AccountId([99; 16])));
    while there.bench.step() {}
    assert!(there.bench.core.changes.is_empty() && there.bench.core.idle(), "nothing is left behind");
}

#[test]
fn a_device_that_changes_the_account_without_pause_keeps_nobody_else_from_it() {
    all_get_through(attacked, &|number| block(9, number % 2 == 1));
}

#[test]
fn who_asks_for_resets_without_pause_keeps_nobody_else_from_the_account() {
    let by_password = || {
        let mut there = attacked();
        there.bench.input(Input::Disconnected { connection: there.thief });
        there.thief = there.bench.greet();
        assert!(matches!(there.bench.ask(there.thief, password(1)), ServerFrame::AccountIn(_)));
        there
    };
    let lists = [User::new("alice", 3), User::new("alice", 4)];
    all_get_through(by_password, &|number| reset(&lists[number as usize % 2]));
}

#[test]
fn blocks_and_resets_of_one_account_are_slowed_down() {
    let mut bench = Bench::new();
    let (_, device) = bench.online("alice", 1);
    for number in 0..edit::BLOCK_BURST {
        assert_eq!(bench.ask(device, block(9, number % 2 == 0)), ServerFrame::Done);
    }
    let limited = bench.refused(device, block(9, true));
    assert_eq!(
        (limited.code, limited.retry_after_ms),
        (ErrorCode::RATE_LIMITED, Some(edit::BLOCK_REFILL_MS))
    );
    bench.now_ms += edit::BLOCK_REFILL_MS;
    assert_eq!(bench.ask(device, block(9, true)), ServerFrame::Done);
    let asker = bench.greet();
    bench.ask(asker, password(1));
    let lists = [User::new("alice", 3), User::new("alice", 4)];
    for number in (0..RESET_BURST).map(|number| usize::from(number % 2 == 1)) {
        let waits = bench.ask(asker, reset(&lists[number]));
        assert!(matches!(waits, ServerFrame::Reset(ResetState::Pending(_))));
    }
    let limited = bench.refused(asker, reset(&lists[0]));
    assert_eq!((limited.code, limited.retry_after_ms), (ErrorCode::RATE_LIMITED, Some(RESET_REFILL_MS)));
    let again = bench.ask(asker, reset(&lists[1]));
    assert!(
        matches!(again, ServerFrame::Reset(ResetState::Pending(_))),
        "the one that waits may be asked for"
    );
}

#[test]
fn so_many_changes_wait_and_no_more() {
    let mut bench = Bench::new();
    let alice = User::new("alice", 1);
    bench.register(&alice);
    let mut next = User::new("alice", 1);
    next.add_device(2);
    let proven: Vec<_> = (0..258).map(|_| bench.by_key(&alice)).collect();
    bench.hold();
    for id in &proven {
        bench.send(*id, 1, replace(&alice, &next));
    }
    assert_eq!(bench.held.as_ref().unwrap().len(), 1, "one is under way");
    let last = proven[257];
    assert!(matches!(bench.answer(last, 1), ServerFrame::Error(reply) if reply.code == ErrorCode::BUSY));
    bench.release();
    for id in &proven[..257] {
        assert_eq!(bench.answer(*id, 1), ServerFrame::Done);
    }
    assert_eq!(bench.ask(last, replace(&alice, &next)), ServerFrame::Done);
}

#[test]
fn a_new_list_is_shown_to_the_account_s_other_devices_and_to_nobody_else() {
    let mut bench = Bench::new();
    let (mut alice, first) = bench.online("alice", 1);
    let (bob, his) = bench.online("bob", 9);
    let shown = |user: &User| ListChanged { list: user.list.as_bytes().to_vec().into() };
    alice.add_device(2);
    let by_key = bench.by_key(&alice);
    let added = replace(&User::new("alice", 1), &alice);
    assert_eq!(bench.ask(by_key, added.clone()), ServerFrame::Done);
    assert_eq!(bench.pushes(first), [ServerFrame::ListChanged(shown(&alice))]);
    // The same again changes nothing.
    assert_eq!(bench.ask(by_key, added), ServerFrame::Done);
    let (second, _) = bench.sign_in(&alice, 1);
    assert_eq!(bench.pushes(second), []);
    // Who changes it on its own session knows it.
    let old = User { list: alice.list.clone(), ..User::new("alice", 1) };
    alice.add_device(3);
    assert!(matches!(bench.ask(first, password(1)), ServerFrame::AccountIn(_)));
    assert_eq!(bench.ask(first, replace(&old, &alice)), ServerFrame::Done);
    assert_eq!(bench.pushes(first), []);
    assert_eq!(bench.pushes(second), [ServerFrame::ListChanged(shown(&alice))]);
    // Somebody else hands it over, with a Submit.
    alice.revoke(2);
    let mut submit = bob.submit(1, &[(&alice, 0), (&alice, 1)]);
    let used = submit.lists.iter_mut().find(|used| used.account == alice.account).unwrap();
    used.list = Some(alice.list.as_bytes().to_vec().into());
    bench.submitted(his, submit);
    for device in [first, second] {
        assert!(bench.pushes(device).contains(&ServerFrame::ListChanged(shown(&alice))));
    }
    assert_eq!(bench.pushes(his), []);
}

#[test]
fn what_is_known_too_old_is_made_anew_and_not_without_end() {
    let Attacked { mut bench, alice, own, .. } = attacked();
    // Somebody else's hand in the store: each time another record than is known.
    bench.hold();
    bench.send(own, 1, block(9, true));
    for attempt in 0..=u64::from(ATTEMPTS) {
        let record = bench.record_of(alice.account).unwrap();
        let other = AccountRecord { created_ms: attempt, ..record.clone() };
        bench.store.replace_account(&record, other).wait().unwrap();
        assert!(bench.inbox.get(&own).is_none_or(VecDeque::is_empty));
        assert!(bench.step());
    }
    assert!(matches!(bench.answer(own, 1), ServerFrame::Error(reply) if reply.code == ErrorCode::BUSY));
    bench.release();
    assert_eq!(bench.ask(own, block(9, true)), ServerFrame::Done);
}

#[test]
fn a_change_whose_turn_comes_too_late_is_not_made() {
    // Its connection has ended.
    let Attacked { mut bench, own, thief, .. } = attacked();
    bench.hold();
    bench.send(own, 1, block(8, true));
    bench.send(thief, 1, block(9, true));
    bench.input(Input::Disconnected { connection: thief });
    bench.release();
    assert_eq!(bench.record("alice").unwrap().blocked, [AccountId([8; 16])]);
    // Its device was removed.
    let Attacked { mut bench, mut alice, thief, .. } = attacked();
    let owner = bench.by_key(&alice);
    let before = User { list: alice.list.clone(), ..User::new("alice", 1) };
    alice.revoke(1);
    bench.hold();
    bench.send(owner, 1, replace(&before, &alice));
    bench.send(thief, 1, block(9, true));
    bench.release();
    assert_eq!(bench.answer(owner, 1), ServerFrame::Done);
    assert!(bench.record("alice").unwrap().blocked.is_empty());
    // The password that asked for it is another now.
    let Attacked { mut bench, own, .. } = attacked();
    let asker = bench.greet();
    bench.ask(asker, password(1));
    bench.hold();
    bench.send(own, 1, set_password(Some(1), 7));
    bench.send(asker, 1, reset(&User::new("alice", 3)));
    bench.release();
    assert_eq!(bench.answer(own, 1), ServerFrame::Done);
    assert_eq!(bench.record("alice").unwrap().reset, None);
}

#[test]
fn of_two_who_change_one_password_the_second_knows_the_old_one_no_more() {
    let Attacked { mut bench, own, thief, .. } = attacked();
    bench.hold();
    bench.send(own, 1, set_password(Some(1), 7));
    bench.send(thief, 1, set_password(Some(1), 8));
    bench.release();
    assert_eq!(bench.answer(own, 1), ServerFrame::Done);
    let late = bench.answer(thief, 1);
    assert!(matches!(late, ServerFrame::Error(reply) if reply.code == ErrorCode::BAD_CREDENTIALS));
    let id = bench.greet();
    assert!(matches!(bench.ask(id, password(7)), ServerFrame::AccountIn(_)));
}

#[test]
fn an_error_of_the_store_holds_up_nobody_behind_it() {
    let Attacked { mut bench, own, thief, .. } = attacked();
    bench.hold();
    bench.send(thief, 1, block(8, true));
    bench.send(own, 1, block(9, true));
    let (operation, _) = bench.held.as_mut().unwrap().pop_front().unwrap();
    bench.input(Input::Stored { operation, result: Err(StoreError::Busy) });
    bench.release();
    assert!(matches!(bench.answer(thief, 1), ServerFrame::Error(reply) if reply.code == ErrorCode::BUSY));
    assert_eq!(bench.answer(own, 1), ServerFrame::Done);
    assert_eq!(bench.record("alice").unwrap().blocked, [AccountId([9; 16])]);
}
