//! A new key for the server, by command.

use std::fs;

use crate::program::{Daemon, sottod};

#[test]
fn a_key_is_replaced_where_no_server_runs_and_half_of_it_is_finished_by_who_comes_next() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (dir, backup) = (path("data"), path("backup"));
    let file = |name: &str| folder.path().join("data").join(name);
    let rotate = || sottod(&["key", "rotate", "--data-dir", &dir]);
    assert_eq!(rotate().code, 1);
    assert!(!folder.path().join("data").exists(), "a mistyped folder is not made");
    let daemon = Daemon::start(dir.as_ref(), &[]);
    let before = daemon.address.fingerprint;
    let used = rotate();
    assert_eq!(used.code, 75, "{}", used.err);
    assert!(used.err.contains("hint: stop the server first"), "{}", used.err);
    assert_eq!(daemon.stop(), 0);
    let old = fs::read(file("key.pem")).unwrap();
    let rotated = rotate();
    assert_eq!(rotated.code, 0, "{}", rotated.err);
    assert!(rotated.err.contains("Make a new backup"), "{}", rotated.err);
    let address: sotto_proto::Address = rotated.out.trim().parse().unwrap();
    assert_ne!(address.fingerprint, before);

    // As if it had been cut short before its last step.
    for settles in ["backup", "start"] {
        fs::rename(file("key.pem"), file("key.next.pem")).unwrap();
        fs::write(file("key.pem"), &old).unwrap();
        let shown = sottod(&["address", "--data-dir", &dir]);
        assert_eq!(shown.out, rotated.out, "{}", shown.err);
        if settles == "backup" {
            let made = sottod(&["backup", "create", &backup, "--data-dir", &dir]);
            assert_eq!(made.code, 0, "{}", made.err);
            assert_eq!(sottod(&["backup", "check", &backup]).code, 0);
        } else {
            let daemon = Daemon::start(dir.as_ref(), &[]);
            assert_eq!(daemon.address.fingerprint, address.fingerprint);
            assert_eq!(daemon.stop(), 0);
        }
        assert!(!file("key.next.pem").exists(), "{settles}");
        assert_ne!(fs::read(file("key.pem")).unwrap(), old, "{settles}");
    }
}
