//! Each measurement, with tiny counts: that it runs, and says what it measured. Nothing is asserted about speed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::process::Command;

/// Runs the program; its lines that begin with `row`.
fn measure(row: &str, args: &[&str]) -> Vec<String> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_sotto-load"))
        .arg(row)
        .arg("--data-dir")
        .arg(folder.path())
        .args(args)
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{row}: {out}{err}");
    for about in ["machine: ", "disk: ", "load average", "command: sotto-load "] {
        assert!(out.lines().any(|line| line.starts_with(about)), "{about} is missing in {out}");
    }
    assert_eq!(folder.path().read_dir().unwrap().count(), 0, "{row} left something behind");
    let row = format!("{row} ");
    out.lines().filter(|line| line.starts_with(&row)).map(str::to_owned).collect()
}

#[test]
fn disk() {
    let lines = measure("disk", &["--messages", "70"]);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[1].contains("64 to an fdatasync (128 in"), "{lines:?}");
}

#[test]
fn store() {
    let lines = measure("store", &["--messages", "60", "--users", "3", "--senders", "1,3", "--window", "8"]);
    assert_eq!(lines.len(), 4, "{lines:?}");
    for (line, what) in lines.iter().zip([
        "1 senders to 3 users who are away, 1 to a Submit",
        "1 senders to 3 users who are away, 8 to a Submit",
        "3 senders to 3 users who are away, 1 to a Submit",
        "3 senders to 3 users who are away, 8 to a Submit",
    ]) {
        assert!(line.contains(what) && line.contains("(60 in"), "{line}");
    }
}

#[test]
fn relay() {
    let lines = measure("relay", &["--messages", "40", "--pairs", "2", "--window", "8", "--times", "3"]);
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert!(lines[0].contains("2 pairs, 1 to a Submit, 8 Submits under way (40 in"), "{lines:?}");
    assert!(lines[1].contains("2 pairs, 8 to a Submit, 1 Submits under way (40 in"), "{lines:?}");
    assert!(lines[2].contains("(median)") && lines[2].ends_with("(3 messages)"), "{lines:?}");
}

#[test]
fn drain() {
    let lines = measure("drain", &["--messages", "30", "--pairs", "3"]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("3 readers") && lines[0].contains("(30 in"), "{lines:?}");
}

#[test]
fn login() {
    let lines = measure("login", &["--times", "5"]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("(5 in"), "{lines:?}");
}

#[test]
fn idle() {
    let lines = measure("idle", &["--connections", "3", "--seconds", "1"]);
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[0].contains("without connections") && lines[2].contains("with 3 connections"), "{lines:?}");
}

/// Three lines of times and one of the server for each attack, of a few attackers: that the limits hold is checked.
fn attack(names: &[&str]) {
    let lines =
        measure("attack", &["--attacks", &names.join(","), "--attack-seconds", "2", "--strength", "2"]);
    assert_eq!(lines.len(), 1 + 4 * names.len(), "{lines:?}");
    for (name, lines) in names.iter().zip(lines[1..].chunks(4)) {
        for (line, what) in lines.iter().zip(["message", "login", "disk", "server RssAnon"]) {
            assert!(line.starts_with(&format!("attack {name}: {what} ")), "{line}");
        }
    }
}

#[test]
fn attacks_by_connections() {
    attack(&["hello", "drip", "connects", "handshakes", "crowd"]);
}

#[test]
fn attacks_by_frames() {
    attack(&["frames", "remainders", "pipeline", "garbage"]);
}

#[test]
fn attacks_without_an_account() {
    attack(&["passwords", "registrations", "forgeries", "names"]);
}

#[test]
fn attacks_with_an_account() {
    attack(&["lists", "prekeys", "mailbox", "invitations", "deaf"]);
}

/// `sotto` is there in a build of the whole workspace, and must then work; alone, this package says that it is not.
#[test]
fn the_client_program() {
    let send = measure("send", &["--times", "2"]);
    let cpu = measure("cpu", &["--seconds", "1"]);
    assert_eq!((send.len(), cpu.len()), (1, 1), "{send:?} {cpu:?}");
    let there = std::path::Path::new(env!("CARGO_BIN_EXE_sotto-load")).with_file_name("sotto").is_file();
    assert_eq!(!send[0].contains("left out"), there, "{send:?}");
    assert_eq!(!cpu[0].contains("left out"), there, "{cpu:?}");
}
