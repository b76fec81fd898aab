//! The version of the store, by command.

use std::path::Path;

use sotto_migrations::server::{LAYOUT_KEY, META_TREE, SERVER_VERSION, read};

use crate::{
    client::{Client, Person},
    program::{Daemon, Finished, sottod},
};

/// Makes the store of a stopped server say that it has this version.
fn become_version(data: &Path, version: u32) {
    let config = sled::Config::new().path(data.join("store/g-1")).flush_every_ms(None);
    let db = config.open().unwrap();
    let mut layout = read(&db).unwrap();
    layout.version = version;
    db.open_tree(META_TREE).unwrap().insert(LAYOUT_KEY, layout.encode()).unwrap();
    db.flush().unwrap();
}

fn migrate(command: &str, data: &Path, json: bool) -> Finished {
    let mut args = vec!["migrate", command, "--data-dir", data.to_str().unwrap()];
    args.extend(json.then_some("--json"));
    sottod(&args)
}

#[test]
fn status_says_what_run_would_do_and_run_does_it_without_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    assert_eq!(migrate("run", &data, false).code, 1);
    assert!(!data.exists(), "a mistyped folder is not made");
    let daemon = Daemon::start(&data, &[]);
    let alice = Person::new("alice", 1);
    drop(Client::online(&daemon.address, &alice));
    for command in ["status", "run"] {
        let used = migrate(command, &data, false);
        assert_eq!(used.code, 75, "{}", used.err);
        assert!(used.err.contains("hint: stop the server first"), "{}", used.err);
    }
    let address = daemon.address.host_port();
    assert_eq!(daemon.stop(), 0);
    let new = migrate("status", &data, false);
    assert_eq!(new.code, 0, "{}", new.err);
    assert!(new.out.contains("Nothing to do."), "{}", new.out);

    become_version(&data, 1);
    let step = r#"{"from":1,"to":2,"about":"invites, and accounts that say which form their record has"}"#;
    for _ in 0..2 {
        let old = migrate("status", &data, true);
        let said = format!(r#"{{"v":1,"type":"migration","store":1,"program":2,"steps":[{step}]}}"#);
        assert_eq!((old.code, old.out.trim()), (0, said.as_str()), "asking changes nothing");
    }
    assert!(migrate("status", &data, false).out.contains("step 1 to 2: invites"));
    let done = migrate("run", &data, true);
    let said = format!(r#"{{"v":1,"type":"migrated","store":2,"program":2,"steps":[{step}]}}"#);
    assert_eq!((done.code, done.out.trim()), (0, said.as_str()), "{}", done.err);
    let again = migrate("run", &data, false);
    assert!(again.code == 0 && again.out.contains("Nothing was to be done."), "{}", again.out);
    let daemon = Daemon::start_at(&data, &address, &[]);
    drop(Client::signed_in(&daemon.address, &alice));
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_store_of_a_newer_program_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(Daemon::start(folder.path(), &[]).stop(), 0);
    become_version(folder.path(), SERVER_VERSION + 1);
    let status = migrate("status", folder.path(), true);
    assert_eq!(status.code, 65, "{}", status.err);
    assert!(status.out.contains(r#""store":3,"program":2,"steps":[]"#), "{}", status.out);
    let run = migrate("run", folder.path(), false);
    assert_eq!((run.code, run.out.as_str()), (65, ""), "{}", run.err);
    assert!(run.err.contains("version 3, this program reads up to 2"), "{}", run.err);
    assert_eq!(migrate("status", folder.path(), true).out, status.out, "as it was");
}
