//! Devices that wait to be approved.

use sotto_proto::{
    frame::{Approved, DropPending, PasswordLogin, PendingDevices, ReplaceList, RequestDevice},
    limits::PENDING_DEVICE_MS,
};

use super::*;

/// A connection that has proven a user's password.
fn proven(bench: &mut Bench, user: &User) -> ConnectionId {
    let id = bench.greet();
    let login = PasswordLogin { username: user.name.to_string(), auth_key: user.auth_key() };
    assert!(matches!(bench.ask(id, ClientFrame::PasswordLogin(login)), ServerFrame::AccountIn(_)));
    id
}

/// What a device with this seed asks with.
fn request(user: &User, seed: u8) -> RequestDevice {
    let device = make_device(&user.name, user.account, &user.key, [seed; 16], seed);
    let certificate = device.certificate.certificate();
    RequestDevice {
        device: certificate.device,
        device_key: certificate.device_key,
        identity_key: certificate.identity_key,
    }
}

fn ask(user: &User, seed: u8) -> ClientFrame {
    ClientFrame::RequestDevice(request(user, seed))
}

/// The ids of the devices that were told of last.
fn told(bench: &mut Bench, id: ConnectionId) -> Vec<DeviceId> {
    let devices = |frame| match frame {
        ServerFrame::PendingDevices(pending) => Some(pending.devices),
        _ => None,
    };
    let last = bench.pushes(id).into_iter().filter_map(devices).next_back().expect("a push");
    last.into_iter().map(|device| device.device).collect()
}

fn replace(expected: &SignedDeviceList, list: &SignedDeviceList) -> ClientFrame {
    let list_bytes = list.as_bytes().to_vec().into();
    ClientFrame::ReplaceList(ReplaceList { expected: expected.hash(), list: list_bytes })
}

#[test]
fn a_waiting_device_is_shown_to_the_others_and_signs_in_once_it_is_approved() {
    let mut bench = Bench::new();
    let (mut alice, first) = bench.online("alice", 1);
    let waiting = proven(&mut bench, &alice);
    assert_eq!(bench.ask(waiting, ask(&alice, 2)), ServerFrame::Done);
    let pushed = bench.pushes(first);
    let [ServerFrame::PendingDevices(PendingDevices { devices })] = &pushed[..] else { panic!("{pushed:?}") };
    let wanted = request(&alice, 2);
    assert_eq!((devices[0].device, devices[0].device_key), (wanted.device, wanted.device_key));
    assert_eq!((devices[0].identity_key, devices[0].requested_ms), (wanted.identity_key, NOW));
    // Who signs in while it waits hears of it too, and who asks.
    let (first, _) = bench.sign_in(&alice, 0);
    assert_eq!(told(&mut bench, first), [wanted.device]);
    let ServerFrame::PendingDevices(list) = bench.ask(first, ClientFrame::ListPending) else { panic!() };
    assert_eq!(&list.devices, devices);
    // It is nobody yet: no session, no mailbox.
    let login = User {
        devices: vec![make_device(&alice.name, alice.account, &alice.key, [2; 16], 2)],
        ..User::new("alice", 1)
    };
    assert_eq!(bench.refused(waiting, login.device_login(0, true)).code, ErrorCode::UNKNOWN_DEVICE);
    assert!(bench.store.mailbox(DeviceId([2; 16])).wait().unwrap().is_none());
    // The first one approves it: on its own session, once the password is proven there.
    let old = alice.list.clone();
    alice.add_device(2);
    let list = alice.list.clone();
    assert_eq!(bench.refused(first, replace(&old, &list)).code, ErrorCode::LOGIN_NEEDED);
    let password = PasswordLogin { username: "alice".to_owned(), auth_key: alice.auth_key() };
    assert!(matches!(bench.ask(first, ClientFrame::PasswordLogin(password)), ServerFrame::AccountIn(_)));
    assert_eq!(bench.ask(first, replace(&old, &list)), ServerFrame::Done);
    assert_eq!(told(&mut bench, first), []);
    let approved = Approved { list: list.as_bytes().to_vec().into() };
    assert_eq!(bench.pushes(waiting), [ServerFrame::Approved(approved)]);
    assert!(matches!(bench.ask(waiting, alice.device_login(1, true)), ServerFrame::DeviceIn(_)));
    // It asks again, as if it had missed the answer.
    let again = proven(&mut bench, &alice);
    assert_eq!(bench.ask(again, ask(&alice, 2)), ServerFrame::Done);
    assert!(matches!(bench.pushes(again)[..], [ServerFrame::Approved(_)]));
}

#[test]
fn a_list_that_a_submit_hands_over_approves_as_well_and_a_device_may_come_back_for_it() {
    let mut bench = Bench::new();
    let (mut alice, first) = bench.online("alice", 1);
    let waiting = proven(&mut bench, &alice);
    bench.ask(waiting, ask(&alice, 2));
    bench.input(Input::Disconnected { connection: waiting });
    assert_eq!(told(&mut bench, first), [DeviceId([2; 16])], "it waits on");
    alice.add_device(2);
    let mut submit = alice.submit(1, &[(&alice, 1)]);
    submit.lists[0].list = Some(alice.list.as_bytes().to_vec().into());
    bench.submitted(first, submit);
    assert_eq!(told(&mut bench, first), []);
    let (_, device_in) = bench.sign_in(&alice, 1);
    assert_eq!(device_in.list_hash, alice.list.hash());
}

#[test]
fn other_keys_under_a_waiting_device_s_id_approve_nothing() {
    let mut bench = Bench::new();
    let (mut alice, first) = bench.online("alice", 1);
    let waiting = proven(&mut bench, &alice);
    bench.ask(waiting, ask(&alice, 2));
    // The list names the id, with keys that the waiting device did not make.
    let foreign = make_device(&alice.name, alice.account, &alice.key, [2; 16], 9);
    alice.next_list(|list| list.devices.push(foreign.certificate.clone()));
    let mut submit = alice.submit(1, &[(&alice, 0)]);
    submit.lists[0].list = Some(alice.list.as_bytes().to_vec().into());
    bench.submitted(first, submit);
    assert_eq!(told(&mut bench, first), []);
    let pushed = bench.pushes(waiting);
    assert!(
        matches!(&pushed[..], [ServerFrame::Error(reply)] if reply.code == ErrorCode::UNKNOWN_DEVICE),
        "{pushed:?}"
    );
    assert_eq!(bench.closed, [waiting]);
    assert!(bench.log.iter().any(|line| line.contains("[ alice ] was given other keys")), "{:?}", bench.log);
    let again = proven(&mut bench, &alice);
    assert_eq!(bench.refused(again, ask(&alice, 2)).code, ErrorCode::COLLISION);
}

#[test]
fn three_wait_at_most_for_a_day_and_any_device_drops_them() {
    let mut bench = Bench::new();
    let (alice, first) = bench.online("alice", 1);
    let waiting: Vec<_> = (2..=4)
        .map(|seed| {
            let id = proven(&mut bench, &alice);
            assert_eq!(bench.ask(id, ask(&alice, seed)), ServerFrame::Done);
            id
        })
        .collect();
    let fourth = proven(&mut bench, &alice);
    assert_eq!(bench.refused(fourth, ask(&alice, 5)).code, ErrorCode::LIMIT);
    assert_eq!(bench.ask(waiting[2], ask(&alice, 4)), ServerFrame::Done, "the same device again");
    assert_eq!(bench.ask(waiting[2], ask(&alice, 6)), ServerFrame::Done, "in the place of its first request");
    assert_eq!(told(&mut bench, first), [2, 3, 6].map(|seed| DeviceId([seed; 16])));
    let drop = |seed| ClientFrame::DropPending(DropPending { device: DeviceId([seed; 16]) });
    assert_eq!(bench.ask(first, drop(3)), ServerFrame::Done);
    assert_eq!(bench.ask(first, drop(3)), ServerFrame::Done, "gone already");
    assert_eq!(bench.closed, [waiting[1]]);
    assert!(
        matches!(&bench.pushes(waiting[1])[..], [ServerFrame::Error(reply)] if reply.code == ErrorCode::UNKNOWN_DEVICE)
    );
    assert_eq!(told(&mut bench, first), [2, 6].map(|seed| DeviceId([seed; 16])));
    bench.now_ms += PENDING_DEVICE_MS / 2;
    assert_eq!(bench.ask(fourth, ask(&alice, 5)), ServerFrame::Done);
    // Whoever waits keeps its connection; what nobody answered for a day is dropped with it.
    bench.input(Input::Tick);
    assert_eq!(bench.closed.len(), 1);
    bench.now_ms += PENDING_DEVICE_MS / 2;
    bench.input(Input::Tick);
    assert_eq!(bench.closed[1..], [waiting[0], waiting[2]]);
    assert_eq!(told(&mut bench, first), [DeviceId([5; 16])]);
    bench.now_ms += PENDING_DEVICE_MS;
    bench.input(Input::Tick);
    assert_eq!(told(&mut bench, first), []);
}

#[test]
fn a_request_needs_the_password_and_no_session_and_nobody_else_sees_it() {
    let mut bench = Bench::new();
    let (alice, first) = bench.online("alice", 1);
    let (_, other) = bench.online("bob", 2);
    let stranger = bench.greet();
    assert_eq!(bench.refused(stranger, ask(&alice, 3)).code, ErrorCode::LOGIN_NEEDED);
    assert_eq!(bench.refused(stranger, ClientFrame::ListPending).code, ErrorCode::LOGIN_NEEDED);
    assert_eq!(bench.refused(first, ask(&alice, 3)).code, ErrorCode::OUT_OF_ORDER);
    let waiting = proven(&mut bench, &alice);
    let stolen = RequestDevice { device: alice.devices[0].id, ..request(&alice, 3) };
    let refused = bench.refused(waiting, ClientFrame::RequestDevice(stolen));
    assert_eq!(refused.code, ErrorCode::COLLISION, "the first device's id");
    assert_eq!(bench.ask(waiting, ask(&alice, 3)), ServerFrame::Done);
    assert!(bench.pushes(other).is_empty());
    let ServerFrame::PendingDevices(pending) = bench.ask(other, ClientFrame::ListPending) else { panic!() };
    assert!(pending.devices.is_empty());
    let drop = ClientFrame::DropPending(DropPending { device: DeviceId([3; 16]) });
    assert_eq!(bench.ask(other, drop), ServerFrame::Done);
    assert_eq!(told(&mut bench, first), [DeviceId([3; 16])], "another account drops nothing");
    assert!(bench.closed.is_empty());
}

#[test]
fn a_connection_waits_for_one_device_of_one_account_and_for_none_once_it_has_signed_in() {
    let mut bench = Bench::new();
    let (alice, first) = bench.online("alice", 1);
    let (bob, other) = bench.online("bob", 2);
    let waiting = proven(&mut bench, &alice);
    assert_eq!(bench.ask(waiting, ask(&alice, 3)), ServerFrame::Done);
    let login = PasswordLogin { username: "bob".to_owned(), auth_key: bob.auth_key() };
    assert!(matches!(bench.ask(waiting, ClientFrame::PasswordLogin(login)), ServerFrame::AccountIn(_)));
    assert_eq!(bench.ask(waiting, ask(&bob, 4)), ServerFrame::Done);
    assert_eq!(told(&mut bench, first), [], "it went over to another account");
    assert_eq!(told(&mut bench, other), [DeviceId([4; 16])]);
    assert!(matches!(bench.ask(waiting, bob.device_login(0, true)), ServerFrame::DeviceIn(_)));
    let ServerFrame::PendingDevices(pending) = bench.ask(waiting, ClientFrame::ListPending) else { panic!() };
    assert!(pending.devices.is_empty());
}

#[test]
fn a_device_that_a_new_list_removes_is_put_out_with_mailbox_and_keys_and_may_remove_itself() {
    let mut bench = Bench::new();
    let (mut alice, first) = bench.online("alice", 1);
    alice.add_device(2);
    let mut submit = alice.submit(1, &[(&alice, 1)]);
    submit.lists[0].list = Some(alice.list.as_bytes().to_vec().into());
    bench.submitted(first, submit);
    let (second, _) = bench.sign_in(&alice, 1);
    let upload = sotto_proto::frame::PublishKeys { upload: alice.prekeys(1, 1..3) };
    assert!(matches!(bench.ask(second, ClientFrame::PublishKeys(upload)), ServerFrame::KeyCounts(_)));
    let password = PasswordLogin { username: "alice".to_owned(), auth_key: alice.auth_key() };
    assert!(matches!(bench.ask(second, ClientFrame::PasswordLogin(password)), ServerFrame::AccountIn(_)));
    let old = alice.list.clone();
    alice.revoke(1);
    let list = alice.list.clone();
    assert_eq!(bench.ask(second, replace(&old, &list)), ServerFrame::Done, "it hears that it was done");
    assert!(
        matches!(&bench.pushes(second)[..], [ServerFrame::Error(reply)] if reply.code == ErrorCode::UNKNOWN_DEVICE)
    );
    assert_eq!(bench.closed, [second]);
    assert_eq!(bench.store.mailbox(DeviceId([2; 16])).wait(), Ok(None));
    assert_eq!(bench.store.claim_prekeys(vec![DeviceId([2; 16])], true, 0).wait(), Ok(vec![None]));
    let again = proven(&mut bench, &alice);
    assert_eq!(bench.refused(again, ask(&alice, 2)).code, ErrorCode::COLLISION, "removed is for ever");
}
