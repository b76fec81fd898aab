//! A directory that is closed by the configuration, and opened again by HUP.

use sotto_proto::frame::{ClientFrame, ErrorCode, Invite, ListUsers, Outcome, Presence, ServerFrame};

use crate::{
    client::{Client, Person},
    program::{Daemon, sottod},
};

fn seen(client: &mut Client) -> Vec<(String, Presence)> {
    let list = ListUsers { after: None, limit: 10 };
    let ServerFrame::Users(users) = client.ask(&ClientFrame::ListUsers(list)) else { panic!() };
    users.users.into_iter().map(|user| (user.name, user.presence)).collect()
}

fn stored(client: &mut Client, frame: &ClientFrame) {
    let ServerFrame::Submitted(submitted) = client.ask(frame) else { panic!() };
    assert!(matches!(submitted.devices[0].outcome, Outcome::Stored { .. }));
}

#[test]
fn a_closed_directory_shows_who_one_writes_with_and_the_operator_all() {
    let folder = tempfile::tempdir().unwrap();
    let (data, config) = (folder.path().join("data"), folder.path().join("sottod.toml"));
    let flags = ["--config", config.to_str().unwrap()];
    std::fs::write(&config, "directory = \"shut\"\n").unwrap();
    let wrong = sottod(&[&["config", "check"][..], &flags].concat());
    assert_eq!(wrong.code, 78);
    assert!(wrong.err.contains("directory is \"open\" or \"closed\", not \"shut\""), "{}", wrong.err);
    std::fs::write(&config, "directory = \"closed\"\n").unwrap();
    assert!(sottod(&[&["config", "show"][..], &flags].concat()).out.contains("directory = \"closed\""));
    let mut daemon = Daemon::start(&data, &flags);
    let (alice, bob) = (Person::new("alice", 1), Person::new("bob", 2));
    let mut one = Client::online(&daemon.address, &alice);
    let mut other = Client::online(&daemon.address, &bob);
    let there = |name: &str| (name.to_owned(), Presence::Available);
    assert_eq!(seen(&mut one), [there("alice")]);
    let invite = ClientFrame::Invite(Invite { users: vec!["bob".to_owned()] });
    let ServerFrame::Error(refused) = one.ask(&invite) else { panic!() };
    assert_eq!(refused.code, ErrorCode::NOT_ACCEPTED);
    stored(&mut one, &alice.submit(1, &bob));
    assert_eq!(seen(&mut other), [there("bob")]);
    stored(&mut other, &bob.submit(2, &alice));
    assert_eq!(seen(&mut one), [there("alice"), there("bob")]);
    assert_eq!(seen(&mut other), [there("alice"), there("bob")]);
    let _carol = Client::online(&daemon.address, &Person::new("carol", 3));
    assert_eq!(seen(&mut one).len(), 2);
    let users = sottod(&["users", "--json", "--data-dir", data.to_str().unwrap()]);
    assert_eq!(users.out.lines().count(), 3, "{}", users.out);
    std::fs::write(&config, "").unwrap();
    daemon.hang_up();
    daemon.wait_for_log("configuration read again");
    assert_eq!(seen(&mut one), [there("alice"), there("bob"), there("carol")]);
    assert_eq!(daemon.stop(), 0);
}
