//! The server's key is replaced, and its clients follow.

use std::fs;
use std::time::Duration;

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
