//! What goes wrong between two people and a server, and the code that says so.

use rustix::process::Signal;

use crate::stage::{Server, Stage};

#[test]
fn names_and_passwords_that_are_not_yours() {
    let stage = Stage::new();
    let server = stage.server();
    let bob = stage.registered("bob", &server);
    for taken in ["bob", "b0b", "b.o.b"] {
        let done = stage.person("thief").run(&["register", &server.address, taken]);
        assert_eq!(done.code, 1, "{taken}: {done:?}");
        assert_eq!(done.error()["kind"], "name_taken");
    }
    let phrase = bob.run(&["recovery", "show"]).one("recovery_phrase")["recovery_phrase"].clone();
    let wrong = stage.person("thief").as_stranger(&["login", &server.address, "bob"]);
    assert_eq!(wrong.code, 4, "{wrong:?}");
    let alice = stage.registered("alice", &server);
    let hers = alice.run(&["recovery", "show"]).one("recovery_phrase")["recovery_phrase"].clone();
    let other = stage.person("other").with_phrase(&["login", &server.address, "bob"], hers.as_str().unwrap());
    assert_eq!(other.code, 4, "{other:?}");
    let right =
        stage.person("third").with_phrase(&["login", &server.address, "bob"], phrase.as_str().unwrap());
    assert_eq!(right.code, 0, "{right:?}");
    let locked = bob.as_stranger(&["whoami"]);
    assert_eq!(locked.code, 8, "{locked:?}");
    let again = bob.run(&["register", &server.address, "robert"]);
    assert_eq!(again.code, 1, "{again:?}");
}

#[test]
fn another_key_than_the_addresss_is_refused() {
    let stage = Stage::new();
    let server = stage.server();
    let (front, fingerprint) = server.address.rsplit_once('/').unwrap();
    let first = if fingerprint.starts_with('a') { "b" } else { "a" };
    let wrong = format!("{front}/{first}{}", &fingerprint[1..]);
    let done = stage.person("alice").run(&["register", &wrong, "alice"]);
    assert_eq!(done.code, 5, "{done:?}");
}

#[test]
fn on_loopback_the_key_is_pinned_with_a_notice() {
    let stage = Stage::new();
    let server = stage.server();
    let alice = stage.person("alice");
    let done = alice.run(&["register", server.host_port(), "alice"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.err.contains(&server.address), "{done:?}");
    assert_eq!(alice.run(&["whoami"]).one("whoami")["server"], server.address.as_str());
}

#[test]
fn without_a_server_a_message_waits_and_leaves_later() {
    let stage = Stage::new();
    let server = stage.server();
    let alice = stage.registered("alice", &server);
    let bob = stage.registered("bob", &server);
    assert_eq!(alice.run(&["send", "bob", "first"]).code, 0);
    let listen = server.kill();
    let sent = alice.run(&["send", "bob", "second"]);
    assert_eq!(sent.code, 3, "{sent:?}");
    assert_eq!(sent.one("fate")["state"], "waiting");
    assert_eq!(alice.run(&["users"]).code, 3);
    let received = alice.run(&["recv"]);
    assert_eq!((received.code, received.out.as_str()), (3, ""), "no end: it was not drained");
    let dropped = alice.run(&["send", "bob", "never"]).one("fate")["id"].clone();
    assert_eq!(alice.run(&["outbox", "drop", dropped.as_str().unwrap()]).code, 0);
    assert_eq!(alice.run(&["outbox", "drop", &"a".repeat(26)]).code, 10);
    let waits = alice.run(&["outbox", "list"]).one("outbox");
    assert_eq!(
        (&waits["text"], &waits["state"], &waits["to"]),
        (&"second".into(), &"waiting".into(), &"@bob".into())
    );
    let look = alice.look(&["send", "bob", "third"]);
    assert_eq!((look.code, look.out.as_str()), (3, "waiting\n"), "{look:?}");

    let _server = Server::start(&stage, &listen, &[]);
    assert_eq!(alice.run(&["send", "bob", "fourth"]).code, 0);
    assert_eq!(alice.run(&["outbox", "list"]).out, "");
    assert_eq!(bob.run(&["recv"]).texts(), ["first", "second", "third", "fourth"]);
}

#[test]
fn time_and_interruption_end_what_waits() {
    let stage = Stage::new();
    let server = stage.server();
    let alice = stage.registered("alice", &server);
    let bob = stage.registered("bob", &server);
    let late = bob.run(&["recv", "--follow", "--timeout", "1s"]);
    assert_eq!((late.code, late.out.as_str()), (124, ""), "{late:?}");
    let late = alice.run(&["send", "bob", "hi", "--wait", "delivered", "--timeout", "1s"]);
    assert_eq!(late.code, 124, "{late:?}");
    assert!(!late.all("fate").is_empty(), "{late:?}");
    assert_eq!(alice.run(&["send", "bob", "ho"]).code, 0, "and nothing of the first one is lost");
    for (signal, texts) in [(Signal::INT, &["hi", "ho"][..]), (Signal::TERM, &[])] {
        let mut follow = bob.start(&["recv", "--follow"]);
        for text in texts {
            assert_eq!(follow.next()["body"]["text"], *text);
        }
        follow.noticed("connected");
        follow.signal(signal);
        assert_eq!(follow.code(), 130);
    }
    assert_eq!(bob.run(&["history"]).texts(), ["hi", "ho"]);
}

#[test]
fn too_many_clients_is_a_limit() {
    let stage = Stage::new();
    let server = Server::start(&stage, "127.0.0.1:0", &["--max-clients", "1"]);
    let alice = stage.registered("alice", &server);
    let bob = stage.registered("bob", &server);
    let mut follow = alice.start(&["recv", "--follow"]);
    follow.noticed("connected");
    let refused = bob.run(&["users"]);
    assert_eq!(refused.code, 7, "{refused:?}");
    let refused = bob.run(&["send", "alice", "hi"]);
    assert_eq!(refused.code, 7, "{refused:?}");
    assert_eq!(refused.one("fate")["state"], "waiting");
    follow.end();
    assert_eq!(bob.run(&["users"]).code, 0);
}

#[test]
fn a_damaged_profile_is_code_8_and_says_what_to_do() {
    let stage = Stage::new();
    let server = stage.server();
    let alice = stage.registered("alice", &server);
    let folder = stage.path("alice/default");
    let files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file() && path.metadata().unwrap().len() > 0)
        .collect();
    let mut damaged = 0;
    for file in files {
        let whole = std::fs::read(&file).unwrap();
        let mut bytes = whole.clone();
        let end = bytes.len().min(4096);
        bytes[..end].iter_mut().for_each(|byte| *byte ^= 0xa5);
        std::fs::write(&file, &bytes).unwrap();
        let done = alice.run(&["history"]);
        assert!([0, 8].contains(&done.code), "{}: {done:?}", file.display());
        if done.code == 8 {
            damaged += 1;
            assert_eq!(done.error()["kind"], "local_store");
        }
        std::fs::write(&file, &whole).unwrap();
    }
    assert!(damaged >= 2, "the key and the store; the lock's file may hold anything");
    assert_eq!(alice.run(&["history"]).code, 0);
}
