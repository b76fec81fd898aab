//! The server's key is replaced, and its clients follow.

use std::fs;
use std::time::Duration;

use sotto_tests::faultfs::{Answer, On, mount_or_skip};
use sotto_tests::sottod::admin;

use crate::town::{Town, texts};

const SOON: Duration = Duration::from_secs(30);

fn fingerprint(address: &str) -> &str {
    address.rsplit('/').next().unwrap()
}

#[test]
fn clients_follow_a_new_key_and_refuse_the_old_one_from_then_on() {
    let mut town = Town::new().unwrap();
    let (alice, bob) = (town.person("alice").unwrap(), town.person("bob").unwrap());
    let data = town.server.data_dir().to_owned();
    let old_address = town.server.address().to_owned();
    let running = admin(&data, &["key", "rotate"], SOON).unwrap();
    assert_eq!(running.code, Some(75), "{running:?}");
    // One client stays where it is, and comes back by itself.
    let follow = bob.start(&["recv", "--follow", "--json"], "").unwrap();
    alice.ok(&["send", "@bob", "by the old key", "--wait", "delivered"]).unwrap();
    town.server.kill().unwrap();
    let files = ["key.pem", "chain"];
    let old = files.map(|name| fs::read(data.join(name)).unwrap());
    let rotated = admin(&data, &["key", "rotate", "--json"], SOON).unwrap();
    assert_eq!(rotated.code, Some(0), "{rotated:?}");
    let address = admin(&data, &["address"], SOON).unwrap().stdout.join("");
    let new_print = fingerprint(address.trim()).to_owned();
    assert_ne!(new_print, fingerprint(&old_address));
    assert!(rotated.stdout.join("").contains(&format!(r#""fingerprint":"{new_print}","number":1"#)));
    assert_ne!(fs::read(data.join("key.pem")).unwrap(), old[0]);

    town.server.start_with_another_key().unwrap();
    assert_eq!(fingerprint(town.server.address()), new_print);
    alice.ok(&["send", "@bob", "by the new key", "--wait", "delivered"]).unwrap();
    let shown = alice.ok(&["whoami"]).unwrap();
    assert_eq!(fingerprint(shown.field("server").unwrap()), new_print, "the newest is pinned");
    assert_eq!(texts(&bob.history("@alice").unwrap()), ["by the old key", "by the new key"]);
    drop(follow);
    // An address from before leads here too.
    let carol = town.stranger("carol").unwrap();
    carol.register(&old_address).unwrap();

    town.server.kill().unwrap();
    for (name, bytes) in files.iter().zip(&old) {
        fs::write(data.join(name), bytes).unwrap();
    }
    town.server.start_with_another_key().unwrap();
    for person in [&alice, &carol] {
        let refused = person.run(&["send", "@bob", "to a thief"]).unwrap();
        assert_eq!(refused.code, 5, "{refused:?}");
        assert_eq!(refused.error().unwrap()["kind"], "identity_changed", "{refused:?}");
    }
    assert_eq!(alice.outbox().unwrap().len(), 1, "it stays here");
}

/// The disk fails at each step in turn, and then the power goes.
#[test]
fn a_rotation_that_the_disk_or_the_power_cuts_short_leaves_a_server_that_its_clients_know() {
    let test = "a_rotation_that_the_disk_or_the_power_cuts_short_leaves_a_server_that_its_clients_know";
    let Some(disk) = mount_or_skip(test).unwrap() else { return };
    let mut town = Town::on(&disk.path().join("server")).unwrap();
    let alice = town.person("alice").unwrap();
    let data = town.server.data_dir().to_owned();
    let (mut failed, mut kept, mut replaced) = (0, 0, 0);
    let steps =
        [On::Write, On::Sync, On::Name].map(|on| ["key.next.pem", "chain", "key.pem"].map(|at| (on, at)));
    for (seed, (on, at)) in (1..).zip(steps.into_iter().flatten()) {
        town.server.kill().unwrap();
        let before = fingerprint(town.server.address()).to_owned();
        disk.fail(on, at, Answer::Io);
        let rotated = admin(&data, &["key", "rotate"], SOON).unwrap();
        failed += usize::from(rotated.code == Some(1));
        // Every third time nothing but what was synced is left.
        disk.power_cut((seed % 3 != 0).then_some(seed));
        disk.heal();
        town.server.start_with_another_key().unwrap();
        let after = fingerprint(town.server.address());
        kept += usize::from(after == before);
        replaced += usize::from(after != before);
        if rotated.code == Some(0) {
            let said = rotated.stdout.join("");
            assert_eq!(fingerprint(said.trim()), after, "{on:?} {at}: said to be done, and undone");
        }
        assert!(!data.join("key.next.pem").exists(), "{on:?} {at}");
        alice.ok(&["recv"]).unwrap();
    }
    assert!(failed >= 5 && kept >= 3 && replaced >= 2, "{failed} failed, {kept} kept, {replaced} replaced");
}
