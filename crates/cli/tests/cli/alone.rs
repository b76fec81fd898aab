//! Without a server, or before it is asked.

use std::net::TcpListener;

use crate::stage::{Stage, finish};

#[test]
fn without_an_account_every_command_says_what_to_do_first() {
    let stage = Stage::new();
    let alice = stage.person("alice");
    for args in [
        &["whoami"][..],
        &["send", "bob", "hi"],
        &["recv"],
        &["history"],
        &["outbox", "list"],
        &["users"],
        &["contact", "list"],
        &["verify", "bob"],
        &["trust", "bob", "--number", "1"],
        &["recovery", "show"],
        &["doctor"],
    ] {
        let done = alice.bare(args, "");
        assert_eq!(done.code, 4, "{args:?}: {done:?}");
        assert_eq!(done.out, "", "{args:?}");
        let error = done.error();
        assert_eq!(error["kind"], "login_needed", "{args:?}");
        assert!(error["hint"].as_str().unwrap().contains("sotto register"), "{error}");
    }
}

#[test]
fn people_get_an_error_with_a_hint_on_stderr() {
    let stage = Stage::new();
    let done = stage.person("alice").look(&["whoami"]);
    assert_eq!((done.code, done.out.as_str()), (4, ""));
    let lines: Vec<&str> = done.err.lines().collect();
    assert!(lines[0].starts_with("error: there is no account in "), "{done:?}");
    assert!(lines[1].starts_with("hint: sotto register"), "{done:?}");
}

#[test]
fn bad_names_are_refused_before_anything_else() {
    let stage = Stage::new();
    let alice = stage.person("alice");
    for (name, says) in [
        ("", "Username can't be empty"),
        ("a b", "only the letters"),
        ("a\u{7}", "only the letters"),
        ("аlice", "only the letters"),
        (".alice", "starts with"),
        (&"a".repeat(33), "longer than"),
    ] {
        // No server listens there, and no password is given: neither is reached.
        let done = alice.bare(&["register", "localhost:1", name], "");
        assert_eq!(done.code, 1, "{name:?}: {done:?}");
        assert!(done.error()["message"].as_str().unwrap().contains(says), "{name:?}: {done:?}");
    }
}

#[test]
fn bad_addresses_are_refused() {
    let stage = Stage::new();
    for address in ["", ":7777", "host:0", "host:70000", "a b", "sotto://host/abc"] {
        let done = stage.person("alice").run(&["register", address, "alice"]);
        assert_eq!(done.code, 1, "{address:?}: {done:?}");
    }
}

#[test]
fn a_password_is_needed_and_must_be_one() {
    let stage = Stage::new();
    let alice = stage.person("alice");
    let done = alice.bare(&["register", "localhost:1", "alice"], "");
    assert_eq!(done.code, 4, "{done:?}");
    assert!(done.error()["hint"].as_str().unwrap().contains("--password-stdin"));
    let password = |input: &str| {
        let mut command = stage.sotto();
        finish(
            command.args(["--json", "--no-input", "--password-stdin", "register", "localhost:1", "alice"]),
            input,
        )
        .code
    };
    assert_eq!(password(""), 4, "none");
    assert_eq!(password("\n"), 1, "empty");
    for length in [1025, 1026, 1027, 100_000] {
        assert_eq!(password(&format!("{}\n", "x".repeat(length))), 1, "{length}");
    }
}

#[test]
fn a_password_comes_from_a_file_or_a_command_and_stdin_wins() {
    let stage = Stage::new();
    let code = |variable: &str, value: &std::path::Path, more: &[&str]| {
        let mut command = stage.sotto();
        command
            .args(["--json", "--no-input", "register", "localhost:1", "alice"])
            .args(more)
            .env(variable, value);
        finish(&mut command, "secret\n").code
    };
    let file = stage.path("pw");
    std::fs::write(&file, "secret\n").unwrap();
    let none = stage.path("none");
    // With a password it goes on to the server, which is not there.
    assert_eq!(code("SOTTO_PASSWORD_FILE", &file, &[]), 3);
    assert_eq!(code("SOTTO_PASSWORD_COMMAND", "echo secret".as_ref(), &[]), 3);
    assert_eq!(code("SOTTO_PASSWORD_FILE", &none, &[]), 4);
    assert_eq!(code("SOTTO_PASSWORD_COMMAND", "exit 1".as_ref(), &[]), 4);
    assert_eq!(code("SOTTO_PASSWORD_FILE", &none, &["--password-stdin"]), 3);
}

#[test]
fn no_server_is_code_3() {
    let stage = Stage::new();
    // Taken and given back: nobody listens there.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let done = stage.person("alice").run(&["register", &format!("127.0.0.1:{port}"), "alice"]);
    assert_eq!(done.code, 3, "{done:?}");
    assert_eq!(done.error()["kind"], "unreachable");
}

#[test]
fn what_cannot_be_sent_is_refused_before_the_profile_is_opened() {
    let stage = Stage::new();
    let alice = stage.person("alice");
    let large = "x".repeat(40_000);
    for (args, input, code) in [
        (&["send", "#ops", "hi"][..], "", 10),
        (&["send", "@", "hi"], "", 1),
        (&["send", "b b", "hi"], "", 1),
        (&["send", "id:aaaaaaaaaaaaaaaaaaaaaaaaaa", "hi"], "", 1),
        (&["send", "bob", ""], "", 1),
        (&["send", "bob", "-"], "", 1),
        (&["send", "bob", "-"], &large, 1),
        (&["recv", "--from", "#ops"], "", 10),
        (&["recv", "--since", "yesterday"], "", 1),
        (&["history", "#ops"], "", 10),
    ] {
        let done = alice.bare(args, input);
        assert_eq!(done.code, code, "{args:?}: {done:?}");
        done.error();
    }
}
