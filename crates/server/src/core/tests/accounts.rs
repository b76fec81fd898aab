//! Registration, passwords, device lists.

use sotto_proto::frame::{
    AccountLogin, ListUsers, LookupLists, PasswordLogin, Presence, ReplaceList, SetPassword,
};

use super::*;

fn password_login(name: &str, auth_key: AuthKey) -> ClientFrame {
    ClientFrame::PasswordLogin(PasswordLogin { username: name.to_owned(), auth_key })
}

fn account_login(user: &User) -> ClientFrame {
    let input = login::account_login(&chain().server_id(), &[1; 32], &[2; 32]);
    let signature = signature(&user.key, &input);
    ClientFrame::AccountLogin(AccountLogin { username: user.name.to_string(), signature })
}

#[test]
fn of_two_that_race_for_one_name_exactly_one_gets_it() {
    let mut bench = Bench::new();
    let (one, two) = (bench.greet(), bench.greet());
    bench.hold();
    bench.send(one, 1, User::new("bob", 1).register());
    bench.send(two, 1, User::new("bob", 2).register());
    bench.release();
    assert_eq!(bench.answer(one, 1), ServerFrame::Done);
    assert!(matches!(bench.answer(two, 1), ServerFrame::Error(reply) if reply.code == ErrorCode::NAME_TAKEN));
}

#[test]
fn registration_refuses_what_it_must_with_the_documented_words() {
    let mut bench = Bench::new();
    let alice = User::new("alice", 1);
    bench.register(&alice);
    let id = bench.greet();
    assert_eq!(bench.ask(id, alice.register()), ServerFrame::Done, "the same request again");
    let look_alike = bench.refused(id, User::new("a1ice", 2).register());
    assert_eq!(look_alike.code, ErrorCode::NAME_LOOKS_ALIKE);
    assert!(look_alike.message.contains("alice"));
    assert_eq!(bench.refused(id, User::new("alice", 3).register()).code, ErrorCode::NAME_TAKEN);
    assert_eq!(bench.refused(id, User::new("carol", 1).register()).code, ErrorCode::COLLISION);
    let named = |name: &str| {
        let ClientFrame::Register(register) = User::new("dave", 4).register() else { panic!() };
        ClientFrame::Register(Register { username: name.to_owned(), ..register })
    };
    let empty = bench.refused(id, named(""));
    assert_eq!((empty.code, empty.message.as_str()), (ErrorCode::BAD_NAME, "Username can't be empty"));
    assert_eq!(bench.refused(id, named("a\u{7}")).code, ErrorCode::BAD_NAME);
    assert_eq!(bench.refused(id, named("eve")).code, ErrorCode::BAD_KEYS, "the list is for another name");
    let mut none = User::new("frank", 5);
    none.revoke(0);
    assert_eq!(bench.refused(id, none.register()).code, ErrorCode::BAD_KEYS, "no device");
    let mut ahead = User::new("grace", 7);
    ahead.next_list(|list| list.number += 2 * 24 * 60 * 60);
    assert_eq!(bench.refused(id, ahead.register()).code, ErrorCode::BAD_KEYS, "number far ahead");
}

#[test]
fn only_a_device_of_the_list_registers_it() {
    let mut bench = Bench::new();
    let mut bob = User::new("bob", 1);
    bob.add_device(2);
    bob.add_device(3);
    bob.revoke(2);
    let mallory = User::new("mallory", 4);
    let id = bench.greet();
    // What everybody can look up, with a password of her own.
    let of_hers = |register: Register| {
        let input = login::registration(
            &chain().server_id(),
            &[1; 32],
            &[2; 32],
            &bob.list.hash(),
            &mallory.auth_key(),
        );
        let signature = signature(&mallory.devices[0].key, &input);
        Register { auth_key: mallory.auth_key(), signature, ..register }
    };
    let good = bob.registration(1, &[1; 32]);
    let bad = [
        ("another's key", of_hers(good.clone())),
        (
            "a device that is not in the list",
            Register { device: mallory.devices[0].id, ..of_hers(good.clone()) },
        ),
        ("a device that was removed", bob.registration(2, &[1; 32])),
        ("another device's name", Register { device: bob.devices[0].id, ..good.clone() }),
        ("another challenge", bob.registration(1, &[3; 32])),
        ("another auth key", Register { auth_key: mallory.auth_key(), ..good.clone() }),
        ("no signature", Register { signature: Signature([0; 64]), ..good.clone() }),
    ];
    for (what, register) in bad {
        bench.jobs = Some(Vec::new());
        bench.send(id, 8, ClientFrame::Register(register));
        bench.work_held();
        assert!(bench.jobs.take().is_some_and(|jobs| jobs.is_empty()), "{what}: nothing is hashed");
        let ServerFrame::Error(refused) = bench.answer(id, 8) else { panic!("{what}") };
        assert_eq!(refused.code, ErrorCode::BAD_KEYS, "{what}");
        assert!(refused.message.contains("registration"), "{what}: {}", refused.message);
        assert!(bench.record("bob").is_none(), "{what}");
    }
    assert_eq!(bench.ask(id, ClientFrame::Register(good)), ServerFrame::Done);
    bench.sign_in(&bob, 0);
}

#[test]
fn an_account_that_was_lost_is_registered_with_the_devices_it_has_by_now() {
    let mut bench = Bench::new();
    let mut alice = User::new("alice", 1);
    alice.add_device(2);
    alice.add_device(3);
    alice.revoke(1);
    let id = bench.greet();
    assert_eq!(bench.ask(id, alice.register()), ServerFrame::Done);
    for device in [0, 2] {
        let (_, device_in) = bench.sign_in(&alice, device);
        assert_eq!(device_in.list_hash, alice.list.hash());
    }
    assert_eq!(bench.refused(id, alice.device_login(1, true)).code, ErrorCode::UNKNOWN_DEVICE);
    // Its other device does the same at the same moment.
    assert_eq!(bench.ask(id, alice.register()), ServerFrame::Done);
    // Any of its devices may be somebody else's already.
    let mut carol = User::new("carol", 4);
    carol.add_device(3);
    assert_eq!(bench.refused(id, carol.register()).code, ErrorCode::COLLISION);
    // As many as an account may have.
    let mut dave = User::new("dave", 10);
    for device in 11..18 {
        dave.add_device(device);
    }
    assert_eq!(dave.list.list().devices.len(), sotto_proto::limits::MAX_DEVICES);
    assert_eq!(bench.ask(id, dave.register()), ServerFrame::Done);
}

#[test]
fn an_empty_list_asks_only_whether_the_name_is_taken_and_counts_as_a_registration() {
    let config = CoreConfig { register_burst: 4, ..CoreConfig::default() };
    let mut bench = Bench::with(config, StoreConfig::default());
    let alice = User::new("alice", 1);
    bench.register(&alice);
    let id = bench.greet();
    let ask = |name: &str| ClientFrame::Register(Register::question(name.to_owned()));
    assert_eq!(bench.refused(id, ask("alice")).code, ErrorCode::NAME_TAKEN);
    assert_eq!(bench.refused(id, ask("bob")).code, ErrorCode::BAD_KEYS);
    assert_eq!(bench.refused(id, ask("")).code, ErrorCode::BAD_NAME);
    assert_eq!(bench.refused(id, ask("bob")).code, ErrorCode::BAD_KEYS);
    assert_eq!(bench.refused(id, ask("alice")).code, ErrorCode::RATE_LIMITED);
}

#[test]
fn a_registration_counts_before_its_signatures_are_looked_at() {
    let config = CoreConfig { register_burst: 3, ..CoreConfig::default() };
    let mut bench = Bench::with(config, StoreConfig::default());
    let id = bench.greet();
    assert_eq!(bench.ask(id, User::new("alice", 1).register()), ServerFrame::Done);
    let forged = Register { signature: Signature([0; 64]), ..User::new("bob", 2).registration(0, &[1; 32]) };
    let broken = Register { list: vec![1, 2, 3].into(), ..forged.clone() };
    for register in [&forged, &broken] {
        let refused = bench.refused(id, ClientFrame::Register(register.clone()));
        assert_eq!(refused.code, ErrorCode::BAD_KEYS);
    }
    bench.hold();
    let held = |bench: &Bench| bench.held.as_ref().map_or(0, VecDeque::len);
    let carol = ClientFrame::Register(User::new("carol", 3).registration(0, &[1; 32]));
    for register in [ClientFrame::Register(forged), ClientFrame::Register(broken), carol.clone()] {
        let refused = bench.refused(id, register);
        assert_eq!(
            (refused.code, refused.retry_after_ms),
            (ErrorCode::RATE_LIMITED, Some(REGISTER_REFILL_MS))
        );
    }
    assert_eq!(held(&bench), 0, "nor is the store asked for the name");
    bench.now_ms += REGISTER_REFILL_MS;
    bench.send(id, 90, carol);
    assert_eq!(held(&bench), 1);
    // Nor where something else is refused.
    let silent = bench.connect();
    bench.send(silent, 91, ClientFrame::Register(User::new("dave", 4).registration(0, &[1; 32])));
    assert!(
        matches!(bench.answer(silent, 91), ServerFrame::Error(reply) if reply.code == ErrorCode::OUT_OF_ORDER)
    );
    assert_eq!(held(&bench), 1);
}

#[test]
fn a_connection_on_which_signatures_do_not_hold_is_closed_in_the_end() {
    let mut bench = Bench::new();
    let alice = User::new("alice", 1);
    bench.register(&alice);
    let owner = bench.by_key(&alice);
    let by_key = ClientFrame::AccountLogin(AccountLogin {
        username: alice.name.to_string(),
        signature: Signature([0; 64]),
    });
    let ClientFrame::DeviceLogin(login) = alice.device_login(0, true) else { panic!() };
    let by_device =
        ClientFrame::DeviceLogin(sotto_proto::frame::DeviceLogin { signature: Signature([0; 64]), ..login });
    let liar = bench.greet();
    for round in 1..=4 {
        for forged in [&by_key, &by_device] {
            assert!(!bench.closed.contains(&liar), "round {round}");
            assert_eq!(bench.refused(liar, forged.clone()).code, ErrorCode::BAD_CREDENTIALS);
        }
    }
    assert!(bench.closed.contains(&liar), "after the answer to the eighth");
    assert!(!bench.closed.contains(&owner));
    bench.sign_in(&alice, 0);
}

#[test]
fn a_closed_server_takes_no_new_accounts() {
    let config =
        CoreConfig { registration: sotto_proto::frame::Registration::Closed, ..CoreConfig::default() };
    let mut bench = Bench::with(config, StoreConfig::default());
    let id = bench.greet();
    assert_eq!(bench.refused(id, User::new("alice", 1).register()).code, ErrorCode::REGISTRATION_CLOSED);
}

#[test]
fn a_wrong_password_and_an_unknown_name_look_the_same_and_delays_grow() {
    let mut bench = Bench::new();
    let alice = User::new("alice", 1);
    bench.register(&alice);
    let id = bench.greet();
    let wrong = bench.refused(id, password_login("alice", AuthKey([9; 32])));
    let unknown = bench.refused(id, password_login("nobody", AuthKey([9; 32])));
    assert_eq!(wrong, unknown);
    assert_eq!(wrong.code, ErrorCode::BAD_CREDENTIALS);
    let ServerFrame::AccountIn(account) = bench.ask(id, password_login("alice", alice.auth_key())) else {
        panic!()
    };
    assert_eq!((account.account, account.list.to_vec()), (alice.account, alice.list.as_bytes().to_vec()));
    for _ in 0..3 {
        bench.refused(id, password_login("alice", AuthKey([9; 32])));
    }
    let limited = bench.refused(id, password_login("alice", alice.auth_key()));
    assert_eq!((limited.code, limited.retry_after_ms), (ErrorCode::RATE_LIMITED, Some(1_000)));
    let (_, device_in) = bench.sign_in(&alice, 0);
    assert_eq!(device_in.list_hash, alice.list.hash(), "a device is never locked out");
    bench.now_ms += 1_000;
    assert!(matches!(bench.ask(id, password_login("alice", alice.auth_key())), ServerFrame::AccountIn(_)));
}

#[test]
fn a_full_line_of_the_workers_ends_no_delay() {
    let mut bench = Bench::new();
    let alice = User::new("alice", 1);
    bench.register(&alice);
    let id = bench.greet();
    let guess = || password_login("alice", AuthKey([9; 32]));
    for _ in 0..3 {
        assert_eq!(bench.refused(id, guess()).code, ErrorCode::BAD_CREDENTIALS);
    }
    bench.now_ms += 1_000;
    bench.input(Input::Reload(CoreConfig { hashing_line: 0, ..CoreConfig::default() }));
    assert_eq!(bench.refused(id, guess()).code, ErrorCode::BUSY);
    bench.input(Input::Reload(CoreConfig::default()));
    bench.now_ms += 1_000;
    assert_eq!(bench.refused(id, guess()).code, ErrorCode::BAD_CREDENTIALS);
    let limited = bench.refused(id, guess());
    assert_eq!((limited.code, limited.retry_after_ms), (ErrorCode::RATE_LIMITED, Some(2_000)));
}

#[test]
fn the_account_key_and_the_old_password_set_a_new_one_and_nothing_else_does() {
    let mut bench = Bench::new();
    let (alice, device) = bench.online("alice", 1);
    let set = |old, new| ClientFrame::SetPassword(SetPassword { old, new: AuthKey([new; 32]) });
    assert_eq!(bench.refused(device, set(None, 2)).code, ErrorCode::LOGIN_NEEDED);
    assert_eq!(bench.refused(device, set(Some(AuthKey([9; 32])), 2)).code, ErrorCode::BAD_CREDENTIALS);
    assert_eq!(bench.ask(device, set(Some(alice.auth_key()), 2)), ServerFrame::Done);
    let id = bench.greet();
    assert_eq!(bench.refused(id, set(None, 3)).code, ErrorCode::LOGIN_NEEDED);
    assert_eq!(
        bench.refused(id, account_login(&User { name: alice.name.clone(), ..User::new("eve", 6) })).code,
        ErrorCode::BAD_CREDENTIALS
    );
    assert!(matches!(bench.ask(id, account_login(&alice)), ServerFrame::AccountIn(_)));
    assert_eq!(bench.ask(id, set(None, 3)), ServerFrame::Done);
    assert_eq!(bench.refused(id, password_login("alice", AuthKey([2; 32]))).code, ErrorCode::BAD_CREDENTIALS);
    assert!(matches!(bench.ask(id, password_login("alice", AuthKey([3; 32]))), ServerFrame::AccountIn(_)));
}

#[test]
fn a_device_list_is_replaced_only_by_its_successor_and_removed_devices_are_put_out() {
    let mut bench = Bench::new();
    let (mut alice, first) = bench.online("alice", 1);
    let old = alice.list.clone();
    alice.add_device(2);
    let replace = |expected: &SignedDeviceList, list: &SignedDeviceList| {
        ClientFrame::ReplaceList(ReplaceList {
            expected: expected.hash(),
            list: list.as_bytes().to_vec().into(),
        })
    };
    let second_list = alice.list.clone();
    assert_eq!(bench.refused(first, replace(&old, &second_list)).code, ErrorCode::LOGIN_NEEDED);
    let id = bench.greet();
    assert!(matches!(bench.ask(id, account_login(&alice)), ServerFrame::AccountIn(_)));
    assert_eq!(
        bench.refused(id, replace(&second_list, &second_list)).code,
        ErrorCode::CONFLICT,
        "wrong hash"
    );
    assert_eq!(bench.ask(id, replace(&old, &second_list)), ServerFrame::Done);
    assert_eq!(bench.ask(id, replace(&old, &second_list)), ServerFrame::Done, "the same again");
    assert_eq!(bench.refused(id, replace(&second_list, &old)).code, ErrorCode::CONFLICT, "an older list");
    assert!(matches!(bench.ask(id, alice.device_login(1, false)), ServerFrame::DeviceIn(_)));
    alice.revoke(0);
    let third = alice.list.clone();
    assert_eq!(bench.ask(id, replace(&second_list, &third)), ServerFrame::Done);
    assert_eq!(bench.closed, [first], "the revoked device");
    let again = bench.greet();
    assert_eq!(bench.refused(again, alice.device_login(0, true)).code, ErrorCode::UNKNOWN_DEVICE);
    let burnt = alice.next_list(|list| list.number += 2 * 24 * 60 * 60).clone();
    assert_eq!(bench.refused(id, replace(&third, &burnt)).code, ErrorCode::BAD_KEYS, "a number far ahead");
}

#[test]
fn lists_are_looked_up_by_name_and_by_id_in_the_order_of_the_request() {
    let mut bench = Bench::new();
    let (alice, id) = bench.online("alice", 1);
    let bob = User::new("bob", 2);
    bench.register(&bob);
    let lookup = LookupLists {
        names: vec!["Bob".to_owned(), "nobody".to_owned(), "not a name".to_owned()],
        accounts: vec![alice.account, AccountId([99; 16])],
    };
    let ServerFrame::Lists(lists) = bench.ask(id, ClientFrame::LookupLists(lookup)) else { panic!() };
    let lists: Vec<Option<Vec<u8>>> =
        lists.lists.into_iter().map(|list| list.map(|list| list.to_vec())).collect();
    let (alice, bob) = (alice.list.as_bytes().to_vec(), bob.list.as_bytes().to_vec());
    assert_eq!(lists, [Some(bob), None, None, Some(alice), None]);
    let stranger = bench.greet();
    let lookup = LookupLists { names: vec!["bob".to_owned()], accounts: Vec::new() };
    assert_eq!(bench.refused(stranger, ClientFrame::LookupLists(lookup)).code, ErrorCode::LOGIN_NEEDED);
    let lookup = LookupLists { names: Vec::new(), accounts: vec![AccountId([0; 16]); 9] };
    assert_eq!(bench.refused(id, ClientFrame::LookupLists(lookup)).code, ErrorCode::LIMIT);
}

#[test]
fn the_directory_comes_in_pages_and_only_interactive_devices_are_available() {
    let mut bench = Bench::new();
    let (_, id) = bench.online("alice", 1);
    let bob = User::new("bob", 2);
    bench.register(&bob);
    let robot = bench.greet();
    bench.ask(robot, bob.device_login(0, false));
    bench.register(&User::new("carol", 3));
    let page =
        |after: Option<&str>| ClientFrame::ListUsers(ListUsers { after: after.map(str::to_owned), limit: 2 });
    let ServerFrame::Users(users) = bench.ask(id, page(None)) else { panic!() };
    let rows: Vec<_> = users.users.into_iter().map(|user| (user.name, user.presence)).collect();
    assert_eq!(rows, [("alice".to_owned(), Presence::Available), ("bob".to_owned(), Presence::Offline)]);
    assert!(users.more);
    let ServerFrame::Users(users) = bench.ask(id, page(Some("bob"))) else { panic!() };
    assert_eq!((users.users.len(), users.more), (1, false));
    bench.ask(id, ClientFrame::Bye);
    let other = bench.greet();
    bench.ask(other, bob.device_login(0, true));
    let ServerFrame::Users(users) = bench.ask(other, page(None)) else { panic!() };
    let presence: Vec<_> = users.users.into_iter().map(|user| user.presence).collect();
    assert_eq!(presence, [Presence::Offline, Presence::Available], "who left is offline at once");
}

#[test]
fn a_list_that_skips_some_that_were_lost_is_taken_from_who_names_the_servers() {
    let mut bench = Bench::new();
    let mut alice = User::new("alice", 1);
    bench.register(&alice);
    let first = alice.list.hash();
    alice.add_device(2);
    alice.add_device(3);
    let id = bench.greet();
    assert!(matches!(bench.ask(id, account_login(&alice)), ServerFrame::AccountIn(_)));
    let replace = |expected| {
        ClientFrame::ReplaceList(ReplaceList { expected, list: alice.list.as_bytes().to_vec().into() })
    };
    let wrong = alice.list.list().previous;
    assert_eq!(bench.refused(id, replace(wrong)).code, ErrorCode::CONFLICT, "the server has another");
    assert_eq!(bench.ask(id, replace(first)), ServerFrame::Done);
    let (_, device_in) = bench.sign_in(&alice, 2);
    assert_eq!(device_in.list_hash, alice.list.hash());
}
