//! How the server starts, refuses to start, and stops.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use sotto_tests::sottod::{Server, ServerOptions, admin};

use crate::town::{Town, texts};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn the_port_and_the_folder_belong_to_one_server() {
    let town = Town::new().unwrap();
    let same_folder = ServerOptions::new(town.server.data_dir()).unwrap();
    assert_eq!(same_folder.spawn().unwrap().wait(SOON).unwrap().code, Some(75));

    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let options = ServerOptions::new(dir.path()).unwrap().port(port);
    assert_eq!(options.spawn().unwrap().wait(SOON).unwrap().code, Some(69));
    town.person("alice").unwrap();
}

#[test]
fn an_unknown_setting_is_an_error_with_a_suggestion() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.toml");
    fs::write(&config, "max_cleints = 3\n[limits]\nretention_dyas = 3\n").unwrap();
    let options = ServerOptions::new(&dir.path().join("data")).unwrap();
    let finished =
        options.arguments(&["--config", config.to_str().unwrap()]).spawn().unwrap().wait(SOON).unwrap();
    assert_eq!(finished.code, Some(78), "{finished:?}");
}

#[test]
fn admin_commands_reach_a_running_and_a_stopped_server() {
    let mut town = Town::new().unwrap();
    town.person("alice").unwrap();
    let data = town.server.data_dir().to_owned();
    let address = town.server.address().to_owned();
    for _ in 0..2 {
        let answer = admin(&data, &["address"], SOON).unwrap();
        assert_eq!(answer.code, Some(0), "{answer:?}");
        let fingerprint = address.rsplit('/').next().unwrap();
        assert!(answer.stdout.iter().any(|line| line.contains(fingerprint)), "{answer:?}");
        let users = admin(&data, &["users", "--json"], SOON).unwrap();
        assert!(users.code == Some(0) && users.stdout.join("").contains("alice"), "{users:?}");
        let _ = town.server.kill();
    }
}

#[test]
fn a_server_told_to_stop_stops_well_and_keeps_everything() {
    let town = Town::new().unwrap();
    let (alice, bob) = (town.person("alice").unwrap(), town.person("bob").unwrap());
    alice.ok(&["send", "@bob", "before the stop"]).unwrap();
    let recv = alice.start(&["recv", "--follow"], "").unwrap();
    alice.ok(&["whoami"]).unwrap();
    let log = town.server.log();
    assert!(log.contains("alice"), "who connects stands in the log: {log}");
    let port = town.server.socket().rsplit(':').next().unwrap().parse().unwrap();
    let options = ServerOptions::new(town.server.data_dir()).unwrap().port(port);
    let finished = town.server.stop(SOON).unwrap();
    assert_eq!(finished.code, Some(0), "{finished:?}");

    let _server = Server::start_with(options).unwrap();
    assert_eq!(texts(&bob.ok(&["recv"]).unwrap().messages()), ["before the stop"]);
    drop(recv);
}

/// Waits until something is so.
fn until(what: &str, so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < SOON, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_server_whose_disk_hangs_ends_at_the_second_signal() {
    let town = Town::new().unwrap();
    let (alice, bob) = (town.person("alice").unwrap(), town.person("bob").unwrap());
    alice.ok(&["send", "@bob", "before"]).unwrap();
    // The store's writer waits for somebody who reads this pipe, as it would for a disk that hangs.
    let backup = tempfile::tempdir().unwrap();
    let pipe = backup.path().join("store.dump.unfinished");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let mut socket = UnixStream::connect(town.server.data_dir().join("admin.sock")).unwrap();
    writeln!(socket, r#"{{"ask":"backup","folder":"{}"}}"#, backup.path().display()).unwrap();
    let answered = || alice.run(&["send", "@bob", "meanwhile", "--timeout", "1s"]).unwrap().code == 0;
    until("the store waits", || !answered());

    let Town { mut server, .. } = town;
    server.tell_to_stop().unwrap();
    until("the first signal is heard", || server.log().contains("stopping"));
    server.tell_to_stop().unwrap();
    let finished = server.end(SOON).unwrap();
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("second signal"), "{finished:?}");

    server.start_again().unwrap();
    let received = bob.ok(&["recv"]).unwrap().messages();
    assert_eq!(texts(&received).first(), Some(&"before"));
}
