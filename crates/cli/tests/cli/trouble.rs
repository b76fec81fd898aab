//! What goes wrong between two people and a server, and the code that says so.

use std::io::Write;
use std::process::ChildStdin;
use std::thread::JoinHandle;
use std::time::Duration;

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
fn a_pipe_that_stays_silent_is_left_when_the_time_is_up() {
    let stage = Stage::new();
    let server = stage.server();
    let alice = stage.registered("alice", &server);
    for (late, _stdin) in [
        alice.piped(&["send", "bob", "-", "--timeout", "1s", "--json"]),
        alice.piped(&["send", "bob", "--lines", "--timeout", "1s", "--json"]),
        alice.silent(&["recv", "--timeout", "1s", "--json"]),
    ] {
        let late = late.done();
        assert_eq!((late.code, late.out.as_str()), (124, ""), "{late:?}");
        let error = late.error();
        assert!(error["cause"].is_string() && error["hint"].is_null(), "nothing waits anywhere: {error}");
    }
}

/// Writes numbered lines until nobody reads them any more.
fn feed_without_end(mut stdin: ChildStdin) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for n in 1.. {
            if writeln!(stdin, "{n}").is_err() {
                return;
            }
        }
    })
}

#[test]
fn what_became_of_lines_is_told_while_more_of_them_come() {
    let stage = Stage::new();
    let server = stage.server();
    let alice = stage.registered("alice", &server);
    let _bob = stage.registered("bob", &server);
    let (mut sending, stdin) = alice.piped(&["send", "bob", "--lines", "--json"]);
    let feeder = feed_without_end(stdin);
    while sending.next()["state"] != "stored" {}
    sending.end();
    feeder.join().unwrap();
}

#[test]
fn a_pipe_without_end_is_left_when_the_time_is_up_and_nothing_is_lost_silently() {
    let stage = Stage::new();
    let server = stage.server();
    let alice = stage.registered("alice", &server);
    let bob = stage.registered("bob", &server);
    // A mailbox that nobody empties takes only so many.
    let _follow = bob.following();
    let (late, stdin) = alice.piped(&["send", "bob", "--lines", "--timeout", "2s", "--json"]);
    let feeder = feed_without_end(stdin);
    let late = late.done();
    feeder.join().unwrap();
    assert_eq!(late.code, 124, "{}", late.err);
    let taken = late.all("fate").iter().filter(|fate| fate["state"] == "waiting").count();
    let cause = late.error()["cause"].as_str().unwrap().to_owned();
    assert!(cause.contains(&format!(" {taken} messages ")), "{cause}");
    // What waits leaves before what comes after it.
    assert_eq!(alice.run(&["send", "bob", "the last", "--wait", "delivered"]).code, 0);
    let mut expected: Vec<String> = (1..=taken).map(|n| n.to_string()).collect();
    expected.push("the last".to_owned());
    assert_eq!(bob.bare(&["history", "--limit", "100000"], "").texts(), expected);
}

#[test]
fn a_message_is_taken_and_one_is_printed_however_short_the_time_is() {
    let stage = Stage::new();
    let server = stage.server();
    let (alice, bob) = (stage.registered("alice", &server), stage.registered("bob", &server));
    assert_eq!(alice.feed(&["send", "bob", "--lines"], "one\ntwo").code, 0);
    assert_eq!(bob.run(&["recv"]).texts(), ["one", "two"]);
    // So that nothing comes to a good end in between.
    drop(server);
    let sent = bob.by_file(&["send", "alice", "three", "--timeout", "0s"]);
    assert_eq!((sent.code, sent.one("fate")["state"].as_str()), (124, Some("waiting")), "{sent:?}");
    let again = bob.by_file(&["recv", "--since", "2000-01-01T00:00:00Z", "--timeout", "0s"]);
    assert_eq!((again.code, again.texts()), (124, vec!["one".to_owned()]), "{again:?}");
}

/// More than a pipe holds, and nobody reads it until the time is up.
#[test]
fn messages_that_do_not_end_are_left_when_the_time_is_up() {
    const MESSAGES: usize = 100;
    let stage = Stage::new();
    let server = stage.server();
    let alice = stage.registered("alice", &server);
    let bob = stage.registered("bob", &server);
    let texts: Vec<String> = (1..=MESSAGES).map(|n| format!("{n} {}", "x".repeat(4096))).collect();
    assert_eq!(alice.feed(&["send", "bob", "--lines"], &texts.join("\n")).code, 0);
    let (mut late, _stdin) = bob.piped(&["recv", "--follow", "--timeout", "1s", "--json"]);
    let mut got = vec![late.next()["body"]["text"].as_str().unwrap().to_owned()];
    // Its time began before that.
    std::thread::sleep(Duration::from_secs(1));
    let late = late.done();
    assert_eq!(late.code, 124, "{}", late.err);
    got.extend(late.texts());
    assert!(got.len() < MESSAGES);
    got.extend(bob.run(&["recv"]).texts());
    assert_eq!(got, texts, "each once over all calls");
}

#[test]
fn too_many_clients_is_a_limit() {
    let stage = Stage::new();
    let server = Server::start(&stage, "127.0.0.1:0", &["--max-clients", "1"]);
    let alice = stage.registered("alice", &server);
    let bob = stage.registered("bob", &server);
    let follow = alice.following();
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
