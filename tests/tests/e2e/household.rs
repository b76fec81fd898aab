//! Living with an account: its devices, its password, whom it does not want to hear.

use sotto_tests::{sotto::COMMAND, sottod::admin};

use crate::town::{Town, texts};

#[test]
fn devices_are_listed_named_and_removed() {
    let town = Town::new().unwrap();
    let phone = town.stranger("alice").unwrap();
    let phrase = phone.register(town.server.address()).unwrap();
    let laptop = town.sign_in("alice", "laptop", &phrase).unwrap();

    let listed = phone.ok(&["device", "list"]).unwrap();
    let devices: Vec<_> = listed.of_type("device").collect();
    assert_eq!(devices.len(), 2, "{listed:?}");
    assert_eq!(devices.iter().filter(|device| device["this"] == true).count(), 1);
    assert!(devices.iter().all(|device| device["standing"] == "listed"));
    let other = devices.iter().find(|device| device["this"] == false).unwrap();
    let id = other["id"].as_str().unwrap();

    phone.ok(&["device", "rename", &id[..8], "kitchen"]).unwrap();
    let listed = phone.ok(&["device", "list"]).unwrap();
    assert!(listed.of_type("device").any(|device| device["name"] == "kitchen"), "{listed:?}");
    phone.run(&["device", "rename", "nothing", "x"]).unwrap().expect_code(10).unwrap();
    phone.run(&["device", "rename", &id[..8], &"x".repeat(100)]).unwrap().expect_code(1).unwrap();
    phone.run(&["device", "approve", "aaaa-aaaa-aaaa-aaaa"]).unwrap().expect_code(10).unwrap();

    phone.ok(&["device", "remove", "kitchen"]).unwrap();
    let listed = phone.ok(&["device", "list"]).unwrap();
    assert_eq!(
        listed.of_type("device").filter(|device| device["standing"] == "removed").count(),
        1,
        "{listed:?}"
    );
    laptop.run(&["recv"]).unwrap().expect_code(4).unwrap();
}

#[test]
fn a_password_is_changed_on_the_server_and_here() {
    let town = Town::new().unwrap();
    let alice = town.person("alice").unwrap();
    let wrong =
        alice.run_with_input(&["password", "change", "--password-stdin"], "wrong\nnew one\n").unwrap();
    wrong.expect_code(8).unwrap();
    let none = alice
        .run_with_input(&["password", "change", "--password-stdin"], "correct horse of alice\n")
        .unwrap();
    none.expect_code(4).unwrap();
    let changed = alice
        .run_with_input(&["password", "change", "--password-stdin"], "correct horse of alice\nnew one\n")
        .unwrap()
        .expect_code(0)
        .unwrap();
    assert_eq!(changed.of_type("password_changed").count(), 1);
    alice.run(&["recv"]).unwrap().expect_code(8).unwrap();
    alice.set_password("new one").unwrap();
    alice.ok(&["recv"]).unwrap();
}

#[test]
fn who_is_blocked_is_refused_and_who_no_longer_is_gets_through() {
    let town = Town::new().unwrap();
    let (alice, bob) = (town.person("alice").unwrap(), town.person("bob").unwrap());
    bob.ok(&["send", "alice", "one"]).unwrap();
    assert_eq!(texts(&alice.ok(&["recv"]).unwrap().messages()), ["one"]);
    alice.ok(&["contact", "block", "bob"]).unwrap();
    let listed = alice.ok(&["contact", "list"]).unwrap();
    assert!(listed.of_type("contact").all(|contact| contact["blocked"] == true), "{listed:?}");
    let refused = bob.run(&["send", "alice", "two"]).unwrap().expect_code(7).unwrap();
    assert_eq!(refused.fates().pop().unwrap().state, "refused");
    alice.ok(&["contact", "unblock", "bob"]).unwrap();
    bob.ok(&["send", "alice", "three"]).unwrap();
    assert_eq!(texts(&alice.ok(&["recv"]).unwrap().messages()), ["three"]);
}

#[test]
fn a_new_identity_waits_while_a_device_is_in_use_which_can_refuse_it() {
    let town = Town::new().unwrap();
    let alice = town.person("alice").unwrap();
    let elsewhere = town.machine_of("alice", "elsewhere").unwrap();
    let asked = elsewhere.ok(&["login", town.server.address(), "alice", "--reset"]).unwrap();
    assert_eq!(asked.of_type("reset_waits").count(), 1, "{asked:?}");
    let refused = alice.ok(&["recovery", "refuse-reset"]).unwrap();
    assert_eq!(refused.of_type("reset_refused").count(), 1, "{refused:?}");
}

#[test]
fn a_device_of_the_identity_before_a_reset_is_told_so_and_does_not_bring_it_back() {
    let town = Town::new().unwrap();
    let (alice, bob) = (town.person("alice").unwrap(), town.person("bob").unwrap());
    bob.ok(&["send", "alice", "to the old one"]).unwrap();
    assert_eq!(texts(&alice.ok(&["recv"]).unwrap().messages()), ["to the old one"]);
    let new = town.machine_of("alice", "elsewhere").unwrap();
    let asked = new.ok(&["login", town.server.address(), "alice", "--reset"]).unwrap();
    let code = asked.field("code").expect("the code of the new identity");
    let data = town.server.data_dir();
    assert_eq!(admin(data, &["user", "reset-now", "alice", code], COMMAND).unwrap().code, Some(0));
    let told = |who: &str| {
        let refused = alice.run(&["recv", "--timeout", "30s"]).unwrap().expect_code(4).unwrap();
        let error = refused.error().expect("an error object");
        assert!(error["message"].as_str().unwrap().contains("a new identity has its name"), "{who}: {error}");
    };
    told("the new identity has the name");
    // Also where nobody has the name any more: what the operator removed is the new identity, and this one ended before.
    assert_eq!(admin(data, &["user", "delete", "alice", "--yes"], COMMAND).unwrap().code, Some(0));
    told("nobody has the name");
    let users = admin(data, &["users", "--json"], COMMAND).unwrap();
    assert!(!users.stdout.concat().contains(r#""name":"alice""#), "{users:?}");
    assert_eq!(texts(&alice.history("@bob").unwrap()), ["to the old one"]);
}
