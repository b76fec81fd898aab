//! Making accounts and adding devices: what succeeds, what is refused, and what an interruption leaves.

use std::sync::Arc;

use sotto_client::{
    api::{Command, ErrorKind, Reply},
    driver::Profile,
    setup::{Questions, check_password, greet, register},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::world::{Answers, PASSWORD, World, run_login, run_register, secret, soon};

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_name_leaves_nothing_that_blocks_the_next() {
    let world = World::new();
    world.register("alice").await;
    for (name, kind) in [
        ("alice", ErrorKind::NameTaken),
        ("a1ice", ErrorKind::NameTaken),
        ("", ErrorKind::Invalid),
        ("no good", ErrorKind::Invalid),
    ] {
        let error = run_register(world.registration("second", name)).await.err().unwrap();
        assert_eq!(error.kind, kind, "{name}: {error:?}");
        assert!(!Profile::exists(&world.dir("second")), "{name}");
    }
    // Also with another password.
    let mut options = world.registration("second", "bob");
    options.password = secret("another one");
    run_register(options).await.unwrap();
    let error = run_register(world.registration("alice", "carol")).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::Invalid, "the profile has an account: {error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_says_whether_a_name_is_taken_before_anybody_types_a_password() {
    let world = World::new();
    world.register("alice").await;
    let server = world.registration("x", "x").server;
    for (name, known) in [("alice", true), ("Alice", true), ("bob", false)] {
        let greeting = soon(greet(&server, name, Arc::new(Answers::default()))).await.unwrap();
        assert_eq!(greeting.known, known, "{name}");
        assert!(greeting.server.fingerprint.is_some(), "nothing is asked again with this address");
    }
    let error = soon(greet(&server, "", Arc::new(Answers::default()))).await.unwrap_err();
    assert_eq!(error.message, "Username can't be empty");
    // Asking left no account.
    run_register(world.registration("bob", "bob")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_device_needs_password_and_phrase() {
    let world = World::new();
    let alice = world.register("alice").await;
    let bob = world.register("bob").await;
    let phrase = alice.recovery_phrase.expose();

    let mut wrong = world.sign_in("second", "alice", Some(phrase));
    wrong.password = secret("wrong");
    let error = run_login(wrong).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::LoginNeeded);
    assert_eq!(error.message, "Username taken or wrong password");
    let foreign = world.sign_in("second", "alice", Some(bob.recovery_phrase.expose()));
    assert_eq!(run_login(foreign).await.err().unwrap().kind, ErrorKind::LoginNeeded);
    let typo = world.sign_in("second", "alice", Some("abandon abandon"));
    assert_eq!(run_login(typo).await.err().unwrap().kind, ErrorKind::LoginNeeded);
    assert!(!Profile::exists(&world.dir("second")));
    let right = world.sign_in("second", "alice", None);
    soon(check_password(&right, Arc::new(Answers::default()))).await.unwrap();

    // Two machines at once: one of them has to merge.
    let (second, third) = tokio::join!(
        run_login(world.sign_in("second", "alice", Some(phrase))),
        run_login(world.sign_in("third", "alice", Some(phrase))),
    );
    second.unwrap();
    third.unwrap();
    let client = world.client("second").await;
    soon(client.wait_drained()).await.unwrap();
    let Reply::Whoami(whoami) = client.command(Command::Whoami).await.unwrap() else { panic!() };
    assert_eq!(whoami.username.as_str(), "alice");
    assert!(whoami.devices.contains(&whoami.device), "{whoami:?}");
    client.close().await;
    let mut open = Profile::lock(&world.dir("third")).unwrap().unlock(PASSWORD).unwrap();
    assert_eq!(open.recovery_phrase().unwrap().expose(), phrase);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_known_by_its_key() {
    let world = World::new();
    let mut options = world.registration("a", "alice");
    options.server.fingerprint = Some([7; 32]);
    let error = run_register(options).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::IdentityChanged);
    assert!(!Profile::exists(&world.dir("a")));

    // On this machine the key is pinned with a notice.
    let answers = Arc::new(Answers::default());
    let mut options = world.registration("a", "alice");
    options.server.fingerprint = None;
    let registered = soon(register(options, answers.clone() as Arc<dyn Questions>)).await.unwrap();
    assert_eq!(registered.server, world.server.address);
    let pinned = answers.pinned.lock().unwrap();
    assert_eq!(pinned.iter().map(|server| server.full.clone()).collect::<Vec<_>>(), [registered.server]);
}

#[tokio::test(flavor = "multi_thread")]
async fn elsewhere_a_person_is_asked_once() {
    let world = World::new();
    let options = || {
        let mut options = world.registration("a", "alice");
        // Reaches this machine, but does not say so.
        options.server.host = "0.0.0.0".to_owned();
        options.server.fingerprint = None;
        options
    };
    for (trusts, kind) in [(None, ErrorKind::Configuration), (Some(false), ErrorKind::LoginNeeded)] {
        let answers = Arc::new(Answers { trusts, ..Answers::default() });
        let error = soon(register(options(), answers)).await.err().unwrap();
        assert_eq!(error.kind, kind);
        assert!(!Profile::exists(&world.dir("a")));
    }
    let answers = Arc::new(Answers { trusts: Some(true), ..Answers::default() });
    let registered = soon(register(options(), answers.clone() as Arc<dyn Questions>)).await.unwrap();
    let asked = answers.asked.lock().unwrap();
    assert_eq!(asked.iter().map(|server| server.full.clone()).collect::<Vec<_>>(), [registered.server]);
    assert_eq!(asked[0].fingerprint, world.server.address.fingerprint.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_none_is_an_error_and_leaves_nothing() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut options = world.registration("a", "alice");
    options.server.port = port;
    let garbage = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"220 this is something else\r\n").await.unwrap();
    });
    let error = run_register(options).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error:?}");
    garbage.await.unwrap();

    // Now nobody listens there.
    let mut options = world.registration("a", "alice");
    options.server.port = port;
    let error = run_register(options).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error:?}");
    assert!(!Profile::exists(&world.dir("a")));
}

/// Passes everything on until the profile's store is there: then only what the client says, and cuts the line when the
/// server answers. So the request arrives and its answer does not.
async fn proxy_that_loses_the_answer(world: &World, profile: &str) -> u16 {
    let store = world.dir(profile).join("store.db");
    let server = world.server.address.clone();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (client, _) = listener.accept().await.unwrap();
        let server = TcpStream::connect((server.host.as_str(), server.port)).await.unwrap();
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let up = tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
        let mut buffer = vec![0; 4096];
        loop {
            let read = from_server.read(&mut buffer).await.unwrap();
            if read == 0 || store.exists() {
                break;
            }
            to_client.write_all(&buffer[..read]).await.unwrap();
        }
        up.abort();
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_registration_goes_on_with_the_same_keys() {
    let world = World::new();
    let mut options = world.registration("a", "alice");
    options.server.port = proxy_that_loses_the_answer(&world, "a").await;
    let error = run_register(options).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::Unreachable);
    assert!(error.hint.unwrap().contains("again"));
    let error = Profile::lock(&world.dir("a")).unwrap().unlock(PASSWORD).unwrap_err();
    assert_eq!(error.kind, ErrorKind::LoginNeeded, "nothing was confirmed");

    // Another password does not open what was begun; the name is taken for everybody else.
    let mut other = world.registration("a", "alice");
    other.password = secret("another one");
    assert_eq!(run_register(other).await.err().unwrap().kind, ErrorKind::LocalStore);
    let taken = run_register(world.registration("b", "alice")).await.err().unwrap();
    assert_eq!(taken.kind, ErrorKind::NameTaken);

    let registered = run_register(world.registration("a", "alice")).await.unwrap();
    registered.published.unwrap();
    run_login(world.sign_in("b", "alice", Some(registered.recovery_phrase.expose()))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_login_adds_one_device_and_not_two() {
    let world = World::new();
    let alice = world.register("alice").await;
    let phrase = alice.recovery_phrase.expose();
    let mut options = world.sign_in("b", "alice", Some(phrase));
    options.server.port = proxy_that_loses_the_answer(&world, "b").await;
    assert_eq!(run_login(options).await.err().unwrap().kind, ErrorKind::Unreachable);
    run_login(world.sign_in("b", "alice", Some(phrase))).await.unwrap();
    let client = world.client("b").await;
    soon(client.wait_online()).await.unwrap();
    let Reply::Whoami(whoami) = client.command(Command::Whoami).await.unwrap() else { panic!() };
    assert_eq!(whoami.devices.len(), 2, "{whoami:?}");
    client.close().await;
}
