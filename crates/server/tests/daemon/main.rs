//! The real program: start and end, exit codes, hostile connections, and the main job over real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod accounts;
mod claims;
mod client;
mod directory;
mod key;
mod migrate;
mod program;

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use client::{Client, Person};
use program::{Daemon, sottod};
use sotto_proto::frame::{
    ChatEnd, ChatEnded, ChatId, ClientFrame, ErrorCode, InChat, Invite, ListUsers, Outcome, Presence,
    ServerFrame,
};

#[test]
fn version_help_and_mistakes() {
    let version = sottod(&["--version"]);
    assert_eq!((version.code, version.out.trim()), (0, concat!("sottod ", env!("CARGO_PKG_VERSION"))));
    assert_eq!(sottod(&["version"]).out, version.out);
    assert!(sottod(&["--help"]).out.contains("--max-clients"));
    assert_eq!(sottod(&["nonsense"]).code, 2);
    assert_eq!(sottod(&["run", "--listen", "nowhere"]).code, 78);
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("sottod.toml");
    std::fs::write(&config, "max_client = 3\n").unwrap();
    let config = config.to_str().unwrap();
    for command in [&["run", "--config", config][..], &["config", "check", "--config", config]] {
        let wrong = sottod(command);
        assert_eq!(wrong.code, 78, "{command:?}");
        assert!(wrong.err.contains("did you mean max_clients?"), "{}", wrong.err);
    }
    assert!(sottod(&["util", "completion", "bash"]).out.contains("sottod"));
    assert!(sottod(&["util", "systemd"]).out.contains("Type=notify"));
    assert_eq!(sottod(&["util", "man", folder.path().join("man").to_str().unwrap()]).code, 0);
    assert!(folder.path().join("man/sottod.1").exists());
}

#[test]
fn what_is_in_use_is_said_with_its_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), &[]);
    let taken = daemon.address.host_port();
    let other = tempfile::tempdir().unwrap();
    let port = sottod(&["run", "--listen", &taken, "--data-dir", other.path().to_str().unwrap()]);
    assert_eq!(port.code, 69, "{}", port.err);
    assert!(port.err.contains("port in use"), "{}", port.err);
    let data = sottod(&["run", "--listen", "127.0.0.1:0", "--data-dir", folder.path().to_str().unwrap()]);
    assert_eq!(data.code, 75, "{}", data.err);
}

#[test]
fn the_operator_s_commands_reach_the_daemon_and_work_without_it() {
    let folder = tempfile::tempdir().unwrap();
    // Far beyond the length of a Unix socket's path.
    let data = folder.path().join("d".repeat(90)).join("e".repeat(90));
    let dir = data.to_str().unwrap();
    assert_eq!(sottod(&["address", "--data-dir", dir]).code, 1);
    assert!(!data.exists(), "a mistyped folder is not made");
    let daemon = Daemon::start(&data, &[]);
    let address = sottod(&["address", "--data-dir", dir]);
    assert_eq!((address.code, address.out.trim()), (0, daemon.address.to_string().as_str()));
    assert!(sottod(&["address", "--qr", "--data-dir", dir]).out.lines().count() > 15);
    assert_eq!(sottod(&["healthcheck", "--data-dir", dir]).code, 0);
    let person = Person::new("alice", 1);
    let client = Client::online(&daemon.address, &person);
    let users = sottod(&["users", "--json", "--data-dir", dir]);
    assert!(users.out.contains(r#""name":"alice","presence":"available""#), "{}", users.out);
    let status = sottod(&["status", "--json", "--data-dir", dir]);
    assert!(
        status.out.contains(r#""running":true"#) && status.out.contains(r#""accounts":1"#),
        "{}",
        status.out
    );
    let kill = sottod(&["kill", "room", "--data-dir", dir]);
    assert_eq!(kill.code, 1);
    assert!(kill.err.contains("no room room"), "{}", kill.err);
    assert_eq!(sottod(&["doctor", "--data-dir", dir]).code, 0);
    drop(client);
    assert_eq!(daemon.stop(), 0);
    let status = sottod(&["status", "--json", "--data-dir", dir]);
    assert!(
        status.out.contains(r#""running":false"#) && status.out.contains(r#""accounts":1"#),
        "{}",
        status.out
    );
    assert_eq!(sottod(&["healthcheck", "--data-dir", dir]).code, 1);
    let doctor = sottod(&["doctor", "--data-dir", dir]);
    assert!(doctor.out.contains("opens, 1 accounts"), "{} {}", doctor.out, doctor.err);
}

#[test]
fn what_is_stored_survives_kill_and_comes_in_order_on_the_same_port() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), &[]);
    let address = daemon.address.clone();
    let (alice, bob) = (Person::new("alice", 1), Person::new("bob", 2));
    Client::online(&daemon.address, &bob).ask(&ClientFrame::Bye);
    let mut sender = Client::online(&daemon.address, &alice);
    for n in 1..=50 {
        let ServerFrame::Submitted(submitted) = sender.ask(&alice.submit(n, &bob)) else { panic!() };
        assert_eq!(submitted.devices[0].outcome, Outcome::Stored { connected: false });
    }
    daemon.kill();
    let daemon = Daemon::start_at(folder.path(), &address.host_port(), &[]);
    assert_eq!(daemon.address, address, "same port, same key");
    let mut sender = Client::signed_in(&daemon.address, &alice);
    let ServerFrame::Submitted(again) = sender.ask(&alice.submit(50, &bob)) else { panic!() };
    assert_eq!(again.devices[0].outcome, Outcome::Stored { connected: false }, "the same answer as before");
    let mut reader = Client::signed_in(&daemon.address, &bob);
    reader.attach();
    let bodies: Vec<u8> = reader.until_drained().iter().map(|deliver| deliver.envelope[0]).collect();
    assert_eq!(bodies, (1..=50).collect::<Vec<u8>>());
    sender.ask(&alice.submit(51, &bob));
    assert_eq!(reader.delivery().envelope[0], 51);
    let log = daemon.stop_and_log();
    assert!(log.contains("connected [ alice ]") && log.contains("is offline [ bob ]"), "{log}");
}

/// Invites and accepts; both have seen the chat start.
fn chatting(one: &mut Client, other: &mut Client, name: &str) -> ChatId {
    let invite = Invite { users: vec![name.to_owned()] };
    let ServerFrame::Inviting(inviting) = one.ask(&ClientFrame::Invite(invite)) else { panic!() };
    let chat = inviting.chat;
    assert!(matches!(other.next(), Some(ServerFrame::Invited(asked)) if asked.chat == chat));
    assert_eq!(other.ask(&ClientFrame::Accept(InChat { chat })), ServerFrame::Done);
    for client in [one, other] {
        assert!(matches!(client.next(), Some(ServerFrame::ChatStarted(started)) if started.chat == chat));
    }
    chat
}

fn presences(client: &mut Client) -> Vec<Presence> {
    let list = ListUsers { after: None, limit: 10 };
    let ServerFrame::Users(users) = client.ask(&ClientFrame::ListUsers(list)) else { panic!() };
    users.users.into_iter().map(|user| user.presence).collect()
}

#[test]
fn a_live_chat_is_seen_by_others_and_ends_when_one_quits_or_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let mut daemon = Daemon::start(folder.path(), &[]);
    let [mut alice, mut bob, mut carol] = [("alice", 1), ("bob", 2), ("carol", 3)]
        .map(|(name, seed)| Client::online(&daemon.address, &Person::new(name, seed)));
    let chat = chatting(&mut alice, &mut bob, "bob");
    let busy = |name: &str| Presence::Busy(vec![name.to_owned()]);
    assert_eq!(presences(&mut carol), [busy("bob"), busy("alice"), Presence::Available]);
    let users = sottod(&["users", "--json", "--data-dir", dir]);
    assert!(
        users.out.contains(r#""name":"alice","presence":"busy","with":["bob"]"#)
            && users.out.contains(r#""name":"carol","presence":"available","with":[]"#),
        "{}",
        users.out
    );
    assert!(sottod(&["users", "--data-dir", dir]).out.contains("busy with bob"));
    assert_eq!(bob.ask(&ClientFrame::Quit(InChat { chat })), ServerFrame::Done);
    let why = ChatEnd::Quit("bob".to_owned());
    assert_eq!(alice.next(), Some(ServerFrame::ChatEnded(ChatEnded { chat, why })));
    let chat = chatting(&mut bob, &mut alice, "alice");
    // Without a goodbye.
    drop(alice);
    let why = ChatEnd::Lost("alice".to_owned());
    assert_eq!(bob.next(), Some(ServerFrame::ChatEnded(ChatEnded { chat, why })));
    assert_eq!(presences(&mut carol), [Presence::Offline, Presence::Available, Presence::Available]);
    for line in [
        "invites [ bob ]",
        "accepted: alice and bob are busy",
        "chat ended, bob left: alice and bob are available",
        "accepted: bob and alice are busy",
        "chat ended, the connection of alice was lost: bob is available",
    ] {
        daemon.wait_for_log(line);
    }
}

#[test]
fn hostile_connections_harm_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), &["--max-clients", "4"]);
    let host = daemon.address.host_port();
    // No TLS at all, and connections that say nothing.
    let silent: Vec<TcpStream> = (0..50).map(|_| TcpStream::connect(&host).unwrap()).collect();
    let mut garbage = TcpStream::connect(&host).unwrap();
    garbage.write_all(&[0x5a; 4096]).unwrap();
    garbage.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut answer = Vec::new();
    drop(garbage.read_to_end(&mut answer));
    // A frame whose length is above the limit is refused from its first four bytes.
    let mut oversized = Client::connect(&daemon.address);
    oversized.write(&(16 * 1024 + 1_u32).to_be_bytes());
    assert!(
        matches!(oversized.next(), Some(ServerFrame::Error(reply)) if reply.code == ErrorCode::MALFORMED)
    );
    assert_eq!(oversized.next(), None);
    // A payload that is not what its kind says.
    let mut malformed = Client::connect(&daemon.address);
    malformed.write(&[0, 0, 0, 7, 0, 1, 0, 0, 0, 9, 0xff]);
    assert!(
        matches!(malformed.next(), Some(ServerFrame::Error(reply)) if reply.code == ErrorCode::MALFORMED)
    );
    assert_eq!(malformed.next(), None);
    // Half a frame, left lying.
    let mut half = Client::connect(&daemon.address);
    half.write(&[0, 0, 1, 0, 0]);
    // A kind that nobody knows.
    let mut unknown = Client::connect(&daemon.address);
    unknown.write(&[0, 0, 0, 6, 0x0f, 0xff, 0, 0, 0, 9]);
    assert!(
        matches!(unknown.next(), Some(ServerFrame::Error(reply)) if reply.code == ErrorCode::UNSUPPORTED)
    );
    let person = Person::new("alice", 1);
    let alice = Client::online(&daemon.address, &person);
    let mut one_more = Client::connect(&daemon.address);
    one_more.hello();
    let mut refused = Client::connect(&daemon.address);
    assert!(
        matches!(refused.next(), Some(ServerFrame::Error(reply)) if reply.code == ErrorCode::TOO_MANY_CLIENTS)
    );
    assert_eq!(refused.next(), None);
    drop((silent, half, unknown, alice));
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_stop_is_announced_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(folder.path(), &["--log-format", "json"]);
    let person = Person::new("alice", 1);
    let mut client = Client::online(&daemon.address, &person);
    daemon.hang_up();
    daemon.wait_for_log("configuration read again");
    let log = daemon.stop_and_log();
    assert_eq!(client.next(), Some(ServerFrame::Stopping));
    assert_eq!(client.next(), None);
    assert!(log.lines().all(|line| line.starts_with('{') && line.ends_with('}')), "{log}");
    assert!(!folder.path().join("admin.sock").exists());
}

#[test]
fn a_backup_made_while_the_server_runs_restores_the_same_server_with_a_new_incarnation() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (data, backup, restored) = (path("data"), path("backup"), path("restored"));
    let daemon = Daemon::start(data.as_ref(), &[]);
    let (alice, bob) = (Person::new("alice", 1), Person::new("bob", 2));
    let before = Client::online(&daemon.address, &bob).incarnation();
    Client::online(&daemon.address, &alice).ask(&alice.submit(7, &bob));
    let made = sottod(&["backup", "create", &backup, "--data-dir", &data]);
    assert_eq!(made.code, 0, "{}", made.err);
    assert_eq!(sottod(&["backup", "create", &backup, "--data-dir", &data]).code, 1, "not over another one");
    assert_eq!(sottod(&["backup", "check", &backup]).code, 0);
    assert_eq!(sottod(&["backup", "restore", &backup, "--data-dir", &data]).code, 75, "a server runs there");
    daemon.kill();
    assert_eq!(sottod(&["backup", "restore", &backup, "--data-dir", &data]).code, 1, "a server is there");
    let done = sottod(&["backup", "restore", &backup, "--data-dir", &restored]);
    assert_eq!(done.code, 0, "{}", done.err);
    let daemon = Daemon::start(restored.as_ref(), &[]);
    let mut reader = Client::signed_in(&daemon.address, &bob);
    assert_ne!(reader.incarnation(), before);
    reader.attach();
    assert_eq!(reader.delivery().envelope[0], 7);
    let dump = folder.path().join("backup/store.dump");
    let mut bytes = std::fs::read(&dump).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&dump, bytes).unwrap();
    assert_eq!(sottod(&["backup", "check", &backup]).code, 1);
    let other = path("other");
    assert_eq!(sottod(&["backup", "restore", &backup, "--data-dir", &other]).code, 1);
    std::fs::create_dir_all(&other).unwrap();
    std::fs::write(folder.path().join("other/restoring"), []).unwrap();
    let half = sottod(&["run", "--listen", "127.0.0.1:0", "--data-dir", &other]);
    assert_eq!(half.code, 1);
    assert!(half.err.contains("a restore was not finished"), "{}", half.err);
}
