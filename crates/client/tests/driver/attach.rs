//! A profile with an owner, used by others through its socket.

use sotto_client::{
    api::{Command, ErrorKind, Event, Fate, Reply},
    driver::{Client, ClientOptions, Notice, Profile, all_ended},
};

use crate::world::{PASSWORD, World, fate, rows, secret, send, soon};

#[tokio::test(flavor = "multi_thread")]
async fn a_face_beside_the_owner_does_what_the_owner_could() {
    let world = World::new();
    world.register("alice").await;
    world.register("bob").await;
    let owner = world.client("alice").await;
    assert!(owner.owns_profile());
    soon(owner.wait_drained()).await.unwrap();

    let lock = Profile::lock(&world.dir("alice")).unwrap_err();
    assert_eq!(lock.kind, ErrorKind::ProfileInUse);
    let face = soon(Client::open_or_attach(&world.dir("alice"), ClientOptions::default(), || {
        panic!("an owner needs no password")
    }))
    .await
    .unwrap();
    assert!(!face.owns_profile());
    soon(face.wait_drained()).await.unwrap();
    let mut seen_by_owner = owner.events();
    let message = send(&face, "bob", "through the socket").await;
    fate(&face, message, Fate::Stored).await;
    soon(async {
        loop {
            let notice = seen_by_owner.next().await.unwrap();
            let Notice::Event(Event::Fate(known)) = notice else { continue };
            if known.message == message && known.fate >= Fate::Stored {
                break;
            }
        }
    })
    .await;
    assert_eq!(rows(&face).await, rows(&owner).await);
    let error = face.command(Command::Fate(sotto_proto::MessageId([9; 16]))).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);

    // Many at once, more than may be under way.
    let many = (0..200).map(|_| face.command(Command::Whoami));
    let mut all = tokio::task::JoinSet::new();
    let answers = soon(async {
        let mut answers = Vec::new();
        for answer in many {
            answers.push(answer.await);
        }
        answers
    })
    .await;
    assert!(answers.iter().all(|answer| matches!(answer, Ok(Reply::Whoami(_)))));
    let face = std::sync::Arc::new(face);
    for _ in 0..200 {
        let face = face.clone();
        all.spawn(async move { face.command(Command::Whoami).await });
    }
    while let Some(answer) = soon(all.join_next()).await {
        assert!(matches!(answer.unwrap(), Ok(Reply::Whoami(_))));
    }

    owner.close().await;
    let error = soon(face.ended()).await;
    assert_eq!(error.kind, ErrorKind::ProfileInUse);
    assert_eq!(face.command(Command::Whoami).await.unwrap_err(), error);
    // The profile is free, and what was sent is there.
    let next =
        soon(Client::open_or_attach(&world.dir("alice"), ClientOptions::default(), || Ok(secret(PASSWORD))))
            .await
            .unwrap();
    assert!(next.owns_profile());
    assert_eq!(rows(&next).await.len(), 1);
    next.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offline_owner_connects_for_a_face_that_needs_it() {
    let world = World::new();
    world.register("alice").await;
    let dir = world.dir("alice");
    let offline = ClientOptions { offline: true, ..ClientOptions::default() };
    let owner = soon(Client::open_or_attach(&dir, offline, || Ok(secret(PASSWORD)))).await.unwrap();
    assert_eq!(soon(owner.wait_online()).await.unwrap_err().kind, ErrorKind::Unreachable);
    let face = soon(Client::attach(&dir, offline)).await.unwrap().unwrap();
    assert_eq!(soon(face.wait_online()).await.unwrap_err().kind, ErrorKind::Unreachable);
    face.close().await;
    let face = soon(Client::attach(&dir, ClientOptions::default())).await.unwrap().unwrap();
    soon(face.wait_online()).await.unwrap();
    soon(owner.wait_online()).await.unwrap();
    face.close().await;
    owner.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_without_a_socket_is_a_profile_in_use_and_a_stale_socket_is_nothing() {
    let world = World::new();
    world.register("alice").await;
    // Longer than a socket's address may be.
    let dir = world.dir(&format!("{}/p", "long".repeat(40)));
    std::fs::create_dir_all(dir.parent().unwrap()).unwrap();
    std::fs::rename(world.dir("alice"), &dir).unwrap();

    let lock = Profile::lock(&dir).unwrap();
    let open = || Client::open_or_attach(&dir, ClientOptions::default(), || Ok(secret(PASSWORD)));
    let error = soon(open()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::ProfileInUse);
    assert!(error.message.contains(&std::process::id().to_string()), "{}", error.message);
    drop(lock);

    std::fs::write(dir.join("socket"), b"stale").unwrap();
    let owner = soon(open()).await.unwrap();
    assert!(owner.owns_profile());
    let face = soon(open()).await.unwrap();
    assert!(!face.owns_profile());
    face.close().await;
    owner.close().await;
    assert!(!dir.join("socket").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_ends_lets_a_short_command_finish() {
    let world = World::new();
    world.register("alice").await;
    world.register("bob").await;
    let dir = world.dir("alice");
    let owner = world.client("alice").await;
    let face = soon(Client::attach(&dir, ClientOptions::default())).await.unwrap().unwrap();
    let closing = tokio::spawn(owner.close());
    let message = send(&face, "bob", "just in time").await;
    fate(&face, message, Fate::Stored).await;
    face.close().await;
    soon(closing).await.unwrap();
    Profile::lock(&dir).unwrap();
}

/// In a process of its own: it waits for all clients of the process.
#[test]
fn a_dropped_client_ends_as_orderly_as_a_closed_one() {
    const DIR: &str = "SOTTO_TEST_DROPPED";
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if let Some(dir) = std::env::var_os(DIR).map(std::path::PathBuf::from) {
        runtime.block_on(async {
            let open = Profile::lock(&dir).unwrap().unlock_async(secret(PASSWORD)).await.unwrap();
            let client = Client::start(open, ClientOptions::default()).await.unwrap();
            soon(client.wait_online()).await.unwrap();
            drop(client);
            soon(all_ended()).await;
            assert!(!dir.join("socket").exists());
            assert!(!dir.join("store.db-wal").exists());
            Profile::lock(&dir).unwrap();
        });
        return;
    }
    let world = World::new();
    runtime.block_on(world.register("alice"));
    let ended = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "attach::a_dropped_client_ends_as_orderly_as_a_closed_one", "--nocapture"])
        .env(DIR, world.dir("alice"))
        .output()
        .unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}
