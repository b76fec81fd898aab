//! Two people and a server.

use std::time::Instant;

use crate::stage::{PASSWORD, PATIENCE, Stage, found_in};

#[test]
fn two_people_write_to_each_other() {
    let stage = Stage::new();
    let server = stage.server();
    let alice = stage.person("alice");
    let registered = alice.run(&["register", &server.address, "Alice"]).one("registered");
    assert_eq!(registered["username"], "alice");
    assert_eq!(registered["server"], server.address.as_str());
    let phrase = registered["recovery_phrase"].as_str().unwrap().to_owned();
    assert_eq!(phrase.split(' ').count(), 24);
    let bob = stage.registered("bob", &server);

    let sent = alice.run(&["send", "bob", "hello bob"]);
    assert_eq!(sent.code, 0, "{sent:?}");
    let fates = sent.all("fate");
    let states: Vec<&str> = fates.iter().map(|fate| fate["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["waiting", "stored"]);
    assert_eq!(fates[1]["connected"], false);

    let got = bob.run(&["recv"]);
    assert_eq!(got.code, 0, "{got:?}");
    assert!(got.out.ends_with("{\"v\":1,\"type\":\"end\"}\n"), "{got:?}");
    let message = got.one("message");
    assert_eq!(message["id"], fates[0]["id"]);
    assert_eq!(message["conversation"], "@alice");
    assert_eq!(message["from"], "alice");
    assert_eq!(message["from_trust"], "pinned");
    assert_eq!(message["body"], serde_json::json!({"kind": "text", "text": "hello bob"}));
    assert_eq!(bob.run(&["recv"]).texts(), Vec::<String>::new(), "printed once over all calls");
    assert_eq!(bob.run(&["history", "alice"]).texts(), ["hello bob"], "and it stays in the history");

    assert_eq!(bob.run(&["send", "@alice", "hello alice"]).code, 0);
    assert_eq!(alice.run(&["recv"]).texts(), ["hello alice"]);
    assert_eq!(alice.run(&["history"]).texts(), ["hello bob", "hello alice"]);
    assert_eq!(alice.run(&["history", "--limit", "1"]).texts(), ["hello alice"]);
    let newest = alice.run(&["history", "--limit", "1"]).one("message");
    assert_eq!(alice.run(&["history", "--before", newest["id"].as_str().unwrap()]).texts(), ["hello bob"]);

    let whoami = alice.run(&["whoami"]).one("whoami");
    assert_eq!(whoami["username"], "alice");
    assert_eq!(whoami["server"], server.address.as_str());
    let user = alice.run(&["users"]).one("user");
    assert_eq!((&user["name"], &user["presence"]), (&"bob".into(), &"offline".into()));
    let contact = alice.run(&["contact", "list"]).one("contact");
    assert_eq!((&contact["name"], &contact["trust"]), (&"bob".into(), &"pinned".into()));
    assert_eq!(alice.run(&["outbox", "list"]).out, "");
    let doctor = alice.run(&["doctor"]);
    assert_eq!(doctor.code, 0, "{doctor:?}");
    assert!(!doctor.all("finding").is_empty());

    assert_eq!(alice.run(&["recovery", "show"]).one("recovery_phrase")["recovery_phrase"], phrase.as_str());
    assert_eq!(alice.with_phrase(&["recovery", "check"], &phrase.replace(' ', "\n")).code, 0);
    let theirs = bob.run(&["recovery", "show"]).one("recovery_phrase");
    assert_eq!(
        alice.with_phrase(&["recovery", "check"], theirs["recovery_phrase"].as_str().unwrap()).code,
        1
    );
}

#[test]
fn people_read_sentences() {
    let stage = Stage::new();
    let server = stage.server();
    let alice = stage.person("alice");
    let done = alice.look(&["register", &server.address, "alice"]);
    assert!(done.out.starts_with("alice is registered at sotto://"), "{done:?}");
    assert!(done.out.contains("Recovery phrase"), "{done:?}");
    assert_eq!(alice.look(&["users"]).out, "No other client.\n");
    let bob = stage.registered("bob", &server);
    assert_eq!(
        alice.look(&["send", "bob", "one\ntwo \u{1b}[2Jthree \u{202e}four"]).out,
        "queued (bob is offline)\n"
    );
    let got = bob.look(&["recv"]);
    assert!(got.out.ends_with("  alice: one\n    two \u{fffd}[2Jthree \u{fffd}four\n"), "{got:?}");
    assert_eq!(alice.look(&["outbox", "list"]).out, "Nothing waits.\n");
    let nobody = alice.look(&["send", "carol", "hi"]);
    assert_eq!(nobody.code, 10, "{nobody:?}");
    assert_eq!(nobody.out, "unknown user\n");
    assert_eq!(nobody.err, "error: the server knows no user carol\nhint: sotto users\n");
}

#[test]
fn text_is_raw_in_json_and_unreadable_on_the_server() {
    let stage = Stage::new();
    let server = stage.server();
    let alice = stage.registered("alice", &server);
    let bob = stage.registered("bob", &server);
    let text = "planted: zebra-4711\n\ttab \u{1b}[31m \u{202e} \u{200b} é 😀 \"quoted\"";
    assert_eq!(alice.feed(&["send", "bob", "-"], &format!("{text}\n")).code, 0);
    assert!(!found_in(&stage.path("server"), "zebra-4711"));
    assert!(!found_in(&stage.path("alice"), "zebra-4711"), "the local store is encrypted");
    assert!(!found_in(&stage.path("alice"), PASSWORD));
    assert_eq!(bob.run(&["recv"]).texts(), [text]);
}

#[test]
fn each_line_is_a_message_with_a_fate_in_order() {
    let stage = Stage::new();
    let server = stage.server();
    let alice = stage.registered("alice", &server);
    let bob = stage.registered("bob", &server);
    let texts: Vec<String> = (1..=50).map(|n| format!("line {n}")).collect();
    let done = alice.feed(&["send", "bob", "--lines"], &texts.join("\n"));
    assert_eq!(done.code, 0, "{done:?}");
    let stored: Vec<_> = done.all("fate").into_iter().filter(|fate| fate["state"] == "stored").collect();
    assert_eq!(stored.len(), texts.len());
    let got = bob.run(&["recv"]);
    assert_eq!(got.texts(), texts);
    let ids: Vec<_> = got.all("message").iter().map(|message| message["id"].clone()).collect();
    let told: Vec<_> = stored.iter().map(|fate| fate["id"].clone()).collect();
    assert_eq!(ids, told);
    // A bad line ends it; what stood before it went.
    let done = alice.feed(&["send", "bob", "--lines"], &format!("good\n{}\nafter\n", "x".repeat(40_000)));
    assert_eq!(done.code, 6, "{done:?}");
    assert_eq!(bob.run(&["recv"]).texts(), ["good"]);
}

#[test]
fn a_filter_a_limit_and_a_look_back_consume_only_what_they_print() {
    let stage = Stage::new();
    let server = stage.server();
    let alice = stage.registered("alice", &server);
    let bob = stage.registered("bob", &server);
    let carol = stage.registered("carol", &server);
    // Who writes for the first time is confirmed first, and order is promised per sender only.
    for who in [&alice, &carol] {
        assert_eq!(who.run(&["send", "bob", "hello"]).code, 0);
    }
    assert_eq!(bob.run(&["recv"]).texts(), ["hello", "hello"]);
    for (who, text) in [(&alice, "a1"), (&carol, "c1"), (&alice, "a2"), (&carol, "c2")] {
        assert_eq!(who.run(&["send", "bob", text]).code, 0);
    }
    assert_eq!(bob.run(&["recv", "--from", "carol"]).texts(), ["c1", "c2"]);
    assert_eq!(bob.run(&["recv", "--from", "carol"]).texts(), Vec::<String>::new());
    let limited = bob.run(&["recv", "--limit", "1"]);
    assert_eq!((limited.texts(), limited.all("end").len()), (vec!["a1".to_owned()], 1));
    let first = limited.one("message");
    let back = bob.run(&["recv", "--since", first["id"].as_str().unwrap()]);
    assert_eq!(back.texts(), ["c1", "a2", "c2"], "in the order in which they came");
    let all = bob.run(&["recv", "--since", "2020-01-01"]).texts();
    assert_eq!(all, ["hello", "hello", "a1", "c1", "a2", "c2"]);
    assert_eq!(bob.run(&["recv", "--since", &"a".repeat(26)]).code, 10);
    assert_eq!(bob.run(&["recv"]).texts(), ["a2"], "looking back moved nothing");
}

#[test]
fn what_nobody_read_is_printed_again() {
    let stage = Stage::new();
    let server = stage.server();
    let alice = stage.registered("alice", &server);
    let bob = stage.registered("bob", &server);
    assert_eq!(alice.run(&["send", "bob", "hi"]).code, 0);
    let unread = bob.unread(&["recv"]);
    assert_eq!((unread.code, unread.err.as_str()), (0, ""));
    assert_eq!(bob.run(&["recv"]).texts(), ["hi"]);
}

#[test]
fn a_running_client_shares_its_profile() {
    let stage = Stage::new();
    let server = stage.server();
    let alice = stage.registered("alice", &server);
    let bob = stage.registered("bob", &server);
    let mut follow = bob.following();
    let sent = alice.run(&["send", "bob", "are you there?", "--wait", "delivered"]);
    assert_eq!(sent.code, 0, "{sent:?}");
    assert_eq!(sent.all("fate").last().unwrap()["state"], "delivered");
    assert_eq!(follow.next()["body"]["text"], "are you there?");
    // Through the other process's socket: no password.
    let answer = bob.bare(&["send", "alice", "yes"], "");
    assert_eq!(answer.code, 0, "{answer:?}");
    assert_eq!(bob.bare(&["history"], "").texts(), ["are you there?", "yes"]);
    let user = alice.run(&["users"]).one("user");
    assert_ne!(user["presence"], "busy", "{user}");
    // The phrase does not travel over the socket.
    let busy = bob.run(&["recovery", "show"]);
    assert_eq!(busy.code, 9, "{busy:?}");
    assert_eq!(busy.error()["kind"], "profile_in_use");
    follow.end();
    assert_eq!(bob.run(&["recovery", "show"]).code, 0, "the profile is free again");
}

#[test]
fn a_command_outlives_the_owner_it_went_through() {
    let stage = Stage::new();
    let server = stage.server();
    let alice = stage.registered("alice", &server);
    let bob = stage.registered("bob", &server);
    let owner = alice.following();
    let mut waiting = alice.start(&["send", "bob", "hello", "--wait", "delivered"]);
    while waiting.next()["state"] != "stored" {}
    owner.end();
    assert_eq!(bob.run(&["recv"]).texts(), ["hello"]);
    while waiting.next()["state"] != "delivered" {}
    assert_eq!(waiting.code(), 0);
}

/// Whoever chats stays available, whichever program the connection goes through.
#[test]
fn a_chat_that_outlives_the_owner_it_went_through_still_has_a_person() {
    let stage = Stage::new();
    let server = stage.server();
    let alice = stage.registered("alice", &server);
    let bob = stage.registered("bob", &server);
    let owner = alice.following();
    let presence = || bob.run(&["users"]).one("user")["presence"].clone();
    assert_eq!(presence(), "offline");
    let (_chat, _stdin) = alice.piped(&["chat", "--plain"]);
    let begun = Instant::now();
    while presence() != "available" {
        assert!(begun.elapsed() < PATIENCE, "the chat does not come up");
    }
    owner.end();
    // Without a password: only through the chat, once the profile and a connection are its own.
    while alice.bare(&["users"], "").code != 0 {
        assert!(begun.elapsed() < PATIENCE, "the chat does not take over");
    }
    assert_eq!(presence(), "available");
}

#[test]
fn both_sides_compare_the_same_number() {
    let stage = Stage::new();
    let server = stage.server();
    let alice = stage.registered("alice", &server);
    let bob = stage.registered("bob", &server);
    assert_eq!(alice.run(&["send", "bob", "hi"]).code, 0);
    assert_eq!(bob.run(&["recv"]).texts(), ["hi"]);
    let hers = alice.run(&["verify", "bob"]).one("safety");
    let his = bob.run(&["verify", "alice"]).one("safety");
    assert_eq!(hers["number"], his["number"]);
    assert_eq!(hers["trust"], "pinned");
    let number = his["number"].as_str().unwrap();
    assert_eq!(number.split(' ').count(), 12);
    let wrong = format!("{}{}", if number.starts_with('1') { "2" } else { "1" }, &number[1..]);
    assert_ne!(alice.run(&["trust", "bob", "--number", &wrong]).code, 0);
    assert_eq!(alice.run(&["verify", "bob"]).one("safety")["trust"], "pinned");
    assert_eq!(alice.run(&["trust", "bob", "--number", &number.replace(' ', "")]).code, 0);
    assert_eq!(alice.run(&["verify"]).one("safety")["trust"], "compared");
    assert!(alice.look(&["verify", "bob", "--qr"]).out.contains('█'));
}

#[test]
fn a_second_device_gets_everything_and_what_it_sends_is_seen() {
    let stage = Stage::new();
    let server = stage.server();
    let alice = stage.person("alice");
    let registered = alice.run(&["register", &server.address, "alice"]).one("registered");
    let phrase = registered["recovery_phrase"].as_str().unwrap();
    let bob = stage.registered("bob", &server);
    let laptop = stage.person("laptop");
    let done = laptop.with_phrase(&["login", &server.address, "alice"], phrase);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(done.one("logged_in")["username"], "alice");
    assert_eq!(bob.run(&["send", "alice", "to both"]).code, 0);
    assert_eq!(alice.run(&["recv"]).texts(), ["to both"]);
    assert_eq!(laptop.run(&["recv"]).texts(), ["to both"]);
    assert_eq!(laptop.run(&["send", "bob", "from the laptop"]).code, 0);
    assert_eq!(bob.run(&["recv"]).texts(), ["from the laptop"]);
    let synced = alice.run(&["recv"]).one("message");
    assert_eq!((&synced["from_trust"], &synced["conversation"]), (&"self".into(), &"@bob".into()));
    assert_eq!(alice.run(&["send", "@me", "a note"]).code, 0);
    assert_eq!(laptop.run(&["recv"]).texts(), ["a note"]);
}

#[test]
fn the_demo_shows_the_main_job() {
    let stage = Stage::new();
    let done = stage.run(&["demo"]);
    assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    assert!(done.out.contains("ok      Bob got every message once, in order"), "{}", done.out);
    assert!(!done.out.contains("FAILED"), "{}", done.out);
    assert!(!done.out.contains('\u{1b}'));
    let wide: Vec<&str> = done.out.lines().filter(|line| line.chars().count() > 80).collect();
    assert!(wide.is_empty(), "{wide:?}");
}
