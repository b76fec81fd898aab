//! What can be typed, and what has nothing to do with accounts.

use std::fmt::Write;
use std::path::Path;
use std::process::Stdio;

use crate::stage::{Stage, finish};

/// The help of every visible command. After an intended change, run the test with `SOTTO_RECORD=1` and read the diff.
#[test]
fn the_help_tree_is_the_recorded_one() {
    let stage = Stage::new();
    let mut tree = String::new();
    for command in [
        "",
        "demo",
        "register",
        "chat",
        "login",
        "whoami",
        "device",
        "device list",
        "device approve",
        "device rename",
        "device remove",
        "password",
        "password change",
        "send",
        "recv",
        "history",
        "outbox",
        "outbox list",
        "outbox drop",
        "users",
        "contact",
        "contact list",
        "contact block",
        "contact unblock",
        "verify",
        "trust",
        "recovery",
        "recovery show",
        "recovery check",
        "recovery refuse-reset",
        "doctor",
        "version",
        "util",
        "util completion",
        "util man",
        "util schema",
    ] {
        let mut args: Vec<&str> = command.split_whitespace().collect();
        args.push("--help");
        let done = stage.run(&args);
        assert_eq!((done.code, done.err.as_str()), (0, ""), "{command}");
        writeln!(tree, "$ sotto {}\n{}", args.join(" "), done.out).unwrap();
    }
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/help.txt");
    if std::env::var_os("SOTTO_RECORD").is_some() {
        std::fs::write(&recorded, &tree).unwrap();
    }
    assert_eq!(tree, std::fs::read_to_string(recorded).unwrap());
}

#[test]
fn what_cannot_be_typed_is_a_usage_error() {
    let stage = Stage::new();
    for args in [
        &[][..],
        &["room", "list"],
        &["file", "list"],
        &["device"],
        &["device", "rename", "x"],
        &["password"],
        &["contact", "block"],
        &["chat", "a", "b", "c", "d"],
        &["--frobnicate", "whoami"],
        &["send"],
        &["send", "bob"],
        &["send", "bob", "text", "--lines"],
        &["send", "bob", "text", "--wait", "gone"],
        &["send", "bob", "text", "--timeout", "soon"],
        &["recv", "--limit", "0"],
        &["outbox"],
        &["outbox", "drop", "not-an-id"],
        &["register", "localhost"],
        &["trust", "bob"],
        &["--profile", "../up", "whoami"],
        &["-q", "-v", "whoami"],
        &["util", "completion", "cobol"],
    ] {
        let done = stage.run(args);
        assert_eq!(done.code, 2, "{args:?}: {done:?}");
        assert_eq!(done.out, "", "{args:?}");
        assert!(!done.err.is_empty(), "{args:?}");
    }
    let done = stage.run(&["--json", "chat"]);
    assert_eq!(done.code, 2);
    assert_eq!(done.error()["kind"], "usage");
}

#[test]
fn versions_for_people_and_programs() {
    let stage = Stage::new();
    let done = stage.run(&["version"]);
    assert_eq!(done.out, format!("sotto {}\nprotocol 1 to 1\n", env!("CARGO_PKG_VERSION")));
    let version = stage.run(&["version", "--json"]).one("version");
    assert_eq!((&version["protocol_min"], &version["protocol_max"]), (&1.into(), &1.into()));
    assert_eq!(stage.run(&["--version"]).out, format!("sotto {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn shells_get_completions_and_man_gets_pages() {
    let stage = Stage::new();
    for shell in ["bash", "zsh", "fish"] {
        let done = stage.run(&["util", "completion", shell]);
        assert!(done.code == 0 && done.out.contains("outbox"), "{shell}");
    }
    let pages = stage.path("man");
    assert_eq!(stage.run(&["util", "man", pages.to_str().unwrap()]).code, 0);
    assert!(std::fs::read_to_string(pages.join("sotto-send.1")).unwrap().contains("\\-\\-lines"));
    let schema: serde_json::Value = serde_json::from_str(&stage.run(&["util", "schema"]).out).unwrap();
    assert!(schema["$defs"]["message"]["properties"]["from_trust"].is_object());
}

#[test]
fn an_unknown_key_of_the_configuration_is_an_error_with_a_suggestion() {
    let stage = Stage::new();
    std::fs::create_dir_all(stage.path("config/sotto")).unwrap();
    std::fs::write(stage.path("config/sotto/config.toml"), "colour = \"never\"\n").unwrap();
    let done = stage.run(&["version", "--json"]);
    assert_eq!(done.code, 11);
    assert_eq!(done.error()["hint"], "write `color`");
    std::fs::write(stage.path("config/sotto/config.toml"), "color = \"never\"\n").unwrap();
    assert_eq!(stage.run(&["version"]).code, 0);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let stage = Stage::new();
    let mut child = stage
        .sotto()
        .args(["util", "schema"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}

#[test]
fn a_full_disk_under_stdout_is_an_error() {
    let stage = Stage::new();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let status = stage.sotto().args(["util", "schema"]).stdout(full).stderr(Stdio::null()).status().unwrap();
    assert_eq!(status.code(), Some(1));
}

#[test]
fn a_bug_leaves_a_report_and_code_70() {
    let stage = Stage::new();
    let root = stage.path("root");
    let mut command = stage.sotto();
    let done = finish(command.arg("--data-dir").arg(&root).args(["util", "crash", "--json"]), "");
    assert_eq!(done.code, 70);
    let hint = done.error()["hint"].as_str().unwrap().to_owned();
    let path = hint.split_whitespace().last().unwrap();
    assert!(Path::new(path).starts_with(root.join("reports")), "{hint}");
    let report = std::fs::read_to_string(path).unwrap();
    assert!(report.contains("crashed on purpose") && report.contains(env!("CARGO_PKG_VERSION")), "{report}");
}

#[test]
fn colours_only_where_they_are_wanted() {
    let stage = Stage::new();
    let escapes = |args: &[&str]| stage.run(args).err.contains('\u{1b}');
    assert!(!escapes(&["whoami"]), "stderr is no terminal");
    assert!(escapes(&["whoami", "--color", "always"]));
    assert!(!escapes(&["whoami", "--color", "never"]));
    assert!(!escapes(&["whoami", "--color", "always", "--json"]));
}
