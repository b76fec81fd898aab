//! A full or broken disk, on either side.

use std::time::Duration;

use sotto_tests::faultfs::{Answer, On, mount_or_skip};
use sotto_tests::sotto::Client;

use crate::town::{Town, lines, texts};

#[test]
fn a_senders_full_disk_is_said_and_mended() {
    let Some(disk) = mount_or_skip("a_senders_full_disk_is_said_and_mended").unwrap() else { return };
    let town = Town::new().unwrap();
    let bob = town.person("bob").unwrap();
    let alice = Client::new("alice", &disk.path().join("alice"), &town.path("")).unwrap();
    alice.register(town.server.address()).unwrap();
    alice.ok(&["send", "@bob", "before"]).unwrap();

    disk.set_free_space(0);
    let failed = alice.run(&["send", "@bob", &"no room ".repeat(2000)]).unwrap().expect_code(1).unwrap();
    assert_eq!(failed.error().expect("an error object")["kind"], "disk_full");
    disk.heal();
    alice.ok(&["send", "@bob", "after"]).unwrap();
    let received = bob.ok(&["recv"]).unwrap().messages();
    assert_eq!(texts(&received), ["before", "after"]);
}

#[test]
fn a_recipients_full_disk_leaves_the_messages_on_the_server() {
    let test = "a_recipients_full_disk_leaves_the_messages_on_the_server";
    let Some(disk) = mount_or_skip(test).unwrap() else { return };
    let town = Town::new().unwrap();
    let alice = town.person("alice").unwrap();
    let bob = Client::new("bob", &disk.path().join("bob"), &town.path("")).unwrap();
    bob.register(town.server.address()).unwrap();
    let lines = lines(50, |number| format!("line {number} {}", "long ".repeat(400)));
    alice.run_with_input(&["send", "@bob", "--lines"], &lines).unwrap().expect_code(0).unwrap();

    disk.set_free_space(4096);
    let failed = bob.run(&["recv"]).unwrap().expect_code(1).unwrap();
    assert_eq!(failed.error().expect("an error object")["kind"], "disk_full");
    disk.heal();
    let mut received = failed.messages();
    received.extend(bob.ok(&["recv"]).unwrap().messages());
    received.dedup_by(|a, b| a.id == b.id);
    assert_eq!(received.len(), 50);
    assert_eq!(bob.history("@alice").unwrap(), received);
}

/// After a failed sync the message may be there or not: who hears that it is not would write it a second time.
#[test]
fn a_senders_failing_disk_is_said_with_what_to_do() {
    let Some(disk) = mount_or_skip("a_senders_failing_disk_is_said_with_what_to_do").unwrap() else { return };
    let town = Town::new().unwrap();
    let bob = town.person("bob").unwrap();
    let alice = Client::new("alice", &disk.path().join("alice"), &town.path("")).unwrap();
    alice.register(town.server.address()).unwrap();
    alice.ok(&["send", "@bob", "before"]).unwrap();

    for on in [On::Sync, On::Write] {
        disk.fail(on, "store.db", Answer::Io);
        let failed = alice.run(&["send", "@bob", "into the void"]).unwrap().expect_code(8).unwrap();
        let error = failed.error().expect("an error object");
        assert_eq!(error["kind"], "local_store");
        assert!(error["hint"].as_str().expect("what to do").contains("disk"), "{error}");
        assert!(!error["message"].as_str().expect("a text").contains("nothing"), "{error}");
        disk.heal();
    }
    let waits = alice.ok(&["outbox", "list"]).unwrap();
    let waits = waits.objects.iter().filter(|object| object["text"] == "into the void").count();
    alice.ok(&["recv"]).unwrap();
    let received = bob.ok(&["recv"]).unwrap().messages();
    assert_eq!(texts(&received).len(), 1 + waits, "{received:?}");
}

#[test]
fn a_servers_full_disk_refuses_and_loses_nothing() {
    let Some(disk) = mount_or_skip("a_servers_full_disk_refuses_and_loses_nothing").unwrap() else { return };
    let mut town = Town::on(&disk.path().join("server")).unwrap();
    let (alice, bob) = (town.person("alice").unwrap(), town.person("bob").unwrap());
    alice.ok(&["send", "@bob", "before"]).unwrap();

    disk.set_free_space(8192);
    // Some room is kept for receipts, so that the first may still fit.
    let lines = lines(40, |number| format!("line {number} {}", "long ".repeat(400)));
    let failed = alice.run_with_input(&["send", "@bob", "--lines", "--timeout", "20s"], &lines).unwrap();
    assert!([3, 6, 7, 124].contains(&failed.code), "{failed:?}");
    let unsent = failed.fates().iter().filter(|fate| !fate.is_safe()).count();
    assert!(unsent > 0, "{failed:?}");

    disk.heal();
    // Whether it refused or stopped because its disk failed under it, a start is all it needs.
    let _ = town.server.kill();
    town.server.start_again().unwrap();
    alice.ok(&["recv"]).unwrap();
    assert!(alice.outbox().unwrap().is_empty());
    let received = bob.ok(&["recv"]).unwrap().messages();
    assert_eq!(received.len(), 41);
    assert!(
        received[1..]
            .iter()
            .enumerate()
            .all(|(at, message)| message.text.starts_with(&format!("line {at} ")))
    );
}

/// After a failed sync nobody knows what is on the disk: the server must stop rather than promise.
#[test]
fn a_server_whose_disk_fails_promises_nothing() {
    let Some(disk) = mount_or_skip("a_server_whose_disk_fails_promises_nothing").unwrap() else { return };
    let mut town = Town::on(&disk.path().join("server")).unwrap();
    let (alice, bob) = (town.person("alice").unwrap(), town.person("bob").unwrap());
    alice.ok(&["send", "@bob", "before"]).unwrap();

    disk.fail(On::Sync, "", Answer::Io);
    let failed = alice.run(&["send", "@bob", "into the void", "--timeout", "5s"]).unwrap();
    assert!(failed.code != 0 && failed.fates().iter().all(|fate| !fate.is_safe()), "{failed:?}");
    assert!(disk.fault_hits() > 0);
    // It does not go on with a store of which nobody knows what is on the disk.
    let ended = town.server.end(Duration::from_secs(30)).unwrap();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("THE STORE FAILED"), "{}", ended.stderr);
    disk.heal();
    disk.power_cut(None);
    town.server.start_again().unwrap();
    alice.ok(&["recv"]).unwrap();
    assert_eq!(texts(&bob.ok(&["recv"]).unwrap().messages()), ["before", "into the void"]);
}

#[test]
fn a_server_on_a_read_only_disk_does_not_start_and_says_why() {
    let Some(disk) = mount_or_skip("a_server_on_a_read_only_disk_does_not_start_and_says_why").unwrap()
    else {
        return;
    };
    disk.set_read_only(true);
    let options = sotto_tests::sottod::ServerOptions::new(&disk.path().join("server")).unwrap();
    let finished = options.spawn().unwrap().wait(Duration::from_secs(30)).unwrap();
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.to_lowercase().contains("read-only"), "{}", finished.stderr);
}
