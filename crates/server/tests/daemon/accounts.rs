//! Living with an account, over real sockets: waiting devices, and what the operator does.

use sotto_proto::{
    AccountId, ResetCode, SignedDeviceList, Username,
    frame::{Block, ClientFrame, ErrorCode, Outcome, Refusal, ResetAccount, ResetState, ServerFrame},
    login::auth_salt,
};

use crate::{
    client::{AUTH_KEY, Client, Person},
    program::{Daemon, Finished, sottod},
};

fn error(frame: Option<ServerFrame>) -> ErrorCode {
    match frame {
        Some(ServerFrame::Error(reply)) => reply.code,
        other => panic!("no error: {other:?}"),
    }
}

fn done(finished: &Finished) -> &str {
    assert_eq!(finished.code, 0, "{}", finished.err);
    finished.out.trim()
}

#[test]
fn a_waiting_device_is_approved_on_another_and_signs_in_on_the_connection_it_waits_on() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), &[]);
    let alice = Person::new("alice", 1);
    let mut first = Client::online(&daemon.address, &alice);
    let phone = alice.further(2);
    let mut waiting = Client::greeted(&daemon.address);
    assert!(matches!(waiting.ask(&phone.password_login(AUTH_KEY)), ServerFrame::AccountIn(_)));
    assert_eq!(waiting.ask(&phone.request()), ServerFrame::Done);
    let Some(ServerFrame::PendingDevices(pending)) = first.next() else { panic!("nothing pushed") };
    assert_eq!(pending.devices.len(), 1);
    assert!(matches!(first.ask(&alice.password_login(AUTH_KEY)), ServerFrame::AccountIn(_)));
    assert_eq!(first.ask(&phone.replace_list()), ServerFrame::Done);
    let Some(ServerFrame::Approved(approved)) = waiting.next() else { panic!("not approved") };
    assert_eq!(approved.list.as_slice(), phone.list());
    waiting.sign_in(&phone);
    waiting.attach();
    assert!(waiting.until_drained().is_empty());
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_block_outlives_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), &[]);
    let (alice, bob) = (Person::new("alice", 1), Person::new("bob", 2));
    let mut sender = Client::online(&daemon.address, &alice);
    let mut reader = Client::online(&daemon.address, &bob);
    let block = |account: AccountId, blocked| ClientFrame::Block(Block { account, blocked });
    assert_eq!(reader.ask(&block(alice.account(), true)), ServerFrame::Done);
    let outcome = |client: &mut Client, n| match client.ask(&alice.submit(n, &bob)) {
        ServerFrame::Submitted(submitted) => submitted.devices[0].outcome,
        other => panic!("{other:?}"),
    };
    assert_eq!(outcome(&mut sender, 1), Outcome::Refused(Refusal::NotAccepted));
    daemon.kill();
    let daemon = Daemon::start(folder.path(), &[]);
    let mut sender = Client::signed_in(&daemon.address, &alice);
    assert_eq!(outcome(&mut sender, 2), Outcome::Refused(Refusal::NotAccepted));
    let mut reader = Client::signed_in(&daemon.address, &bob);
    assert_eq!(reader.ask(&block(alice.account(), false)), ServerFrame::Done);
    assert_eq!(outcome(&mut sender, 3), Outcome::Stored { connected: true });
}

#[test]
fn the_operator_disables_enables_and_deletes_accounts_with_a_daemon_and_without() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let user = |action: &str, name: &str, more: &[&str]| {
        sottod(&[&["user", action, name, "--data-dir", dir], more].concat())
    };
    let daemon = Daemon::start(folder.path(), &[]);
    let (alice, bob) = (Person::new("alice", 1), Person::new("bob", 2));
    let mut client = Client::online(&daemon.address, &alice);
    Client::online(&daemon.address, &bob);
    assert!(done(&user("disable", "alice", &[])).contains("is disabled"));
    assert_eq!(error(client.next()), ErrorCode::DISABLED);
    assert_eq!(client.next(), None, "closed at once");
    let refused = Client::greeted(&daemon.address).try_sign_in(&alice);
    assert_eq!(error(Some(refused)), ErrorCode::DISABLED);
    let users = sottod(&["users", "--json", "--data-dir", dir]).out;
    assert!(
        users.lines().any(|line| line.contains(r#""name":"alice""#) && line.contains(r#""disabled":true"#)),
        "{users}"
    );
    let nobody = user("disable", "nobody", &[]);
    assert_eq!(nobody.code, 1);
    assert!(nobody.err.contains("there is no account nobody"), "{}", nobody.err);
    assert_eq!(user("disable", "not a name", &[]).code, 1);
    // Nobody is asked where there is no terminal.
    let unasked = user("delete", "bob", &[]);
    assert_eq!(unasked.code, 2);
    assert!(unasked.err.contains("--yes"), "{}", unasked.err);
    let deleted = user("delete", "bob", &["--yes"]);
    assert!(done(&deleted).contains("The name is free"), "{}", deleted.out);
    assert_eq!(user("delete", "bob", &["--yes"]).code, 1);
    assert_eq!(daemon.stop(), 0);
    assert_eq!(done(&user("enable", "alice", &["--json"])), r#"{"v":1,"type":"enabled","name":"alice"}"#);
    assert!(!sottod(&["users", "--data-dir", dir]).out.contains("disabled"));
    let daemon = Daemon::start(folder.path(), &[]);
    Client::signed_in(&daemon.address, &alice);
    let gone = Client::greeted(&daemon.address).try_sign_in(&bob);
    assert_eq!(error(Some(gone)), ErrorCode::ACCOUNT_REMOVED);
    // Whoever takes the name is somebody else.
    Client::online(&daemon.address, &Person::new("bob", 3));
    let log = daemon.stop_and_log();
    assert!(!log.contains("ERROR"), "{log}");
}

#[test]
fn a_temporary_password_is_what_a_client_would_make_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let daemon = Daemon::start(folder.path(), &[]);
    let alice = Person::new("alice", 1);
    let mut client = Client::online(&daemon.address, &alice);
    let printed = sottod(&["user", "reset-password", "alice", "--data-dir", dir]);
    let password = done(&printed);
    assert!(!printed.err.contains(password) && printed.err.contains("opens no message"), "{}", printed.err);
    let mut auth_key = [0; 32];
    let params = argon2::Params::new(64 * 1024, 3, 1, None).unwrap();
    let salt = auth_salt(&client.server(), &Username::parse("alice").unwrap());
    argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params)
        .hash_password_into(password.as_bytes(), &salt, &mut auth_key)
        .unwrap();
    assert_eq!(error(Some(client.ask(&alice.password_login(AUTH_KEY)))), ErrorCode::BAD_CREDENTIALS);
    assert!(matches!(client.ask(&alice.password_login(auth_key)), ServerFrame::AccountIn(_)));
    let log = daemon.stop_and_log();
    assert!(log.contains("operator: password changed [ alice ]") && !log.contains(password), "{log}");
}

#[test]
fn invites_make_accounts_where_the_server_asks_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let (data, config) = (folder.path().join("data"), folder.path().join("sottod.toml"));
    std::fs::write(&config, "registration = \"invite\"\n").unwrap();
    let (dir, config) = (data.to_str().unwrap(), config.to_str().unwrap());
    let invite =
        |args: &[&str]| sottod(&[&["invite"], args, &["--data-dir", dir, "--config", config]].concat());
    let daemon = Daemon::start(&data, &["--config", config]);
    let (alice, bob, carol) = (Person::new("alice", 1), Person::new("bob", 2), Person::new("carol", 3));
    let mut client = Client::greeted(&daemon.address);
    assert_eq!(error(Some(client.register(&alice, None))), ErrorCode::REGISTRATION_CLOSED);
    let made = invite(&["new", "--note", "for alice"]);
    let token = done(&made).to_owned();
    assert_eq!(token.len(), 26, "{token}");
    assert!(made.err.contains("Good for 1 accounts until"), "{}", made.err);
    let list = invite(&["list", "--json"]);
    assert!(list.out.contains(r#""uses_left":1"#) && list.out.contains("for alice"), "{}", list.out);
    assert!(!list.out.contains(&token), "only its hash is kept");
    assert_eq!(client.register(&alice, Some(&token)), ServerFrame::Done);
    assert_eq!(error(Some(client.register(&bob, Some(&token)))), ErrorCode::REGISTRATION_CLOSED);
    assert_eq!(invite(&["list"]).out.trim(), "no invites");
    let json = invite(&["new", "--uses", "2", "--expires", "12h", "--json"]).out;
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    let (id, token) = (value["id"].as_str().unwrap(), value["token"].as_str().unwrap());
    assert_eq!(client.register(&bob, Some(&token.to_uppercase())), ServerFrame::Done);
    assert_eq!(daemon.stop(), 0);
    // And without a daemon.
    assert!(done(&invite(&["revoke", id])).contains("worth nothing"));
    let again = invite(&["revoke", id]);
    assert_eq!(again.code, 1);
    assert!(again.err.contains("no invite"), "{}", again.err);
    assert_eq!(invite(&["new", "--expires", "soon"]).code, 2);
    assert_eq!(invite(&["new", "--uses", "0"]).code, 2);
    let note = "x".repeat(201);
    assert_eq!(invite(&["new", "--note", &note]).code, 1);
    let daemon = Daemon::start(&data, &["--config", config]);
    let mut client = Client::greeted(&daemon.address);
    assert_eq!(error(Some(client.register(&carol, Some(token)))), ErrorCode::REGISTRATION_CLOSED);
}

#[test]
fn a_reset_waits_across_a_restart_and_the_operator_shortens_it() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let daemon = Daemon::start(folder.path(), &[]);
    let (alice, new) = (Person::new("alice", 1), Person::new("alice", 5));
    let mut device = Client::online(&daemon.address, &alice);
    let reset = ClientFrame::ResetAccount(ResetAccount { list: new.list().to_vec().into() });
    let mut asker = Client::greeted(&daemon.address);
    asker.ask(&alice.password_login(AUTH_KEY));
    let ServerFrame::Reset(ResetState::Pending(due)) = asker.ask(&reset) else { panic!("not pending") };
    assert_eq!(device.next(), Some(ServerFrame::Reset(ResetState::Pending(due))));
    daemon.kill();
    let daemon = Daemon::start(folder.path(), &[]);
    let mut device = Client::signed_in(&daemon.address, &alice);
    assert_eq!(device.next(), Some(ServerFrame::Reset(ResetState::Pending(due))));
    let users = sottod(&["users", "--json", "--data-dir", dir]).out;
    assert!(users.contains(r#""reset_due":"20"#), "{users}");
    let list = SignedDeviceList::parse(new.list()).unwrap();
    let code = ResetCode::of(list.list()).to_string();
    assert!(users.contains(&format!(r#""reset_code":"{code}""#)), "{users}");
    assert!(sottod(&["users", "--data-dir", dir]).out.contains(&format!("reset {code} waits until 20")));
    assert_eq!(sottod(&["user", "reset-now", "alice", "--data-dir", dir]).code, 2, "without the code");
    let other = sottod(&["user", "reset-now", "alice", "aaaa-aaaa-aaaa-aaaa", "--data-dir", dir]);
    assert!(other.code == 1 && other.err.contains("another code"), "{}", other.err);
    let junk = sottod(&["user", "reset-now", "alice", "junk", "--data-dir", dir]);
    assert!(junk.code == 1 && junk.err.contains("not the code"), "{}", junk.err);
    // As it is read out: in words, whatever the case.
    let typed = code.to_uppercase();
    let mut words = vec!["user", "reset-now", "--data-dir", dir, "alice"];
    words.extend(typed.split('-'));
    let now = sottod(&words);
    assert!(done(&now).contains("new identity"), "{}", now.out);
    assert_eq!(error(device.next()), ErrorCode::ACCOUNT_REPLACED);
    assert_eq!(device.next(), None);
    let mut asker = Client::greeted(&daemon.address);
    asker.ask(&alice.password_login(AUTH_KEY));
    assert_eq!(asker.ask(&reset), ServerFrame::Reset(ResetState::Done));
    asker.sign_in(&new);
    assert_eq!(daemon.stop(), 0);
}
