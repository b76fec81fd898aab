//! Messages while servers and clients come and go.

use sotto_client::{
    api::{ErrorKind, Fate, RowBody},
    driver::{Client, ClientOptions, Profile},
};

use crate::world::{PASSWORD, World, fate, rows, run_register, secret, send, soon};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_for_somebody_offline_survives_the_servers_death() {
    let mut world = World::new();
    world.register("alice").await;
    world.register("bob").await;
    let alice = world.client("alice").await;
    soon(alice.wait_online()).await.unwrap();
    let mut last = None;
    for number in 0..50 {
        last = Some(send(&alice, "bob", &format!("message {number}")).await);
    }
    fate(&alice, last.unwrap(), Fate::Stored).await;

    world.server.restart();
    let bob = world.client("bob").await;
    soon(bob.wait_drained()).await.unwrap();
    let texts: Vec<_> = rows(&bob).await.into_iter().map(|row| row.body).collect();
    let expected: Vec<_> = (0..50).map(|number| RowBody::Text(format!("message {number}"))).collect();
    assert_eq!(texts, expected);
    // Alice is back by herself, and hears of it.
    fate(&alice, last.unwrap(), Fate::Delivered).await;
    bob.close().await;
    alice.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_server_a_message_waits_and_leaves_by_itself() {
    let mut world = World::new();
    world.register("alice").await;
    world.register("bob").await;
    world.server.kill();
    let alice = world.client("alice").await;
    assert_eq!(soon(alice.wait_online()).await.unwrap_err().kind, ErrorKind::Unreachable);
    let message = send(&alice, "bob", "later").await;
    world.server.restart();
    fate(&alice, message, Fate::Stored).await;
    alice.close().await;
    // A closed client has let go of its profile, also while it was connected.
    Profile::lock(&world.dir("alice")).unwrap().unlock(PASSWORD).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_ends_settles_what_is_on_its_way() {
    let world = World::new();
    world.register("alice").await;
    world.register("bob").await;
    for round in 0..5 {
        let alice = world.client("alice").await;
        soon(alice.wait_online()).await.unwrap();
        let message = send(&alice, "bob", &format!("round {round}")).await;
        alice.close().await;
        let open = Profile::lock(&world.dir("alice")).unwrap().unlock_async(secret(PASSWORD)).await.unwrap();
        let offline = ClientOptions { offline: true, ..ClientOptions::default() };
        let alice = Client::start(open, offline).await.unwrap();
        fate(&alice, message, Fate::Stored).await;
        alice.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_profile_is_told_and_stops() {
    let world = World::new();
    world.register("alice").await;
    let copy = world.dir("copy");
    std::fs::create_dir(&copy).unwrap();
    for file in std::fs::read_dir(world.dir("alice")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.join(file.file_name())).unwrap();
    }
    let first = world.client("alice").await;
    soon(first.wait_online()).await.unwrap();
    let second = world.client("copy").await;
    soon(second.wait_online()).await.unwrap();
    // The server keeps the newer connection; the older one does not fight for it.
    let error = soon(async {
        loop {
            match first.wait_online().await {
                Err(error) => return error,
                Ok(()) => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    assert_eq!(error.kind, ErrorKind::ProfileInUse, "{error:?}");
    assert!(second.state().ended.is_none());
    second.close().await;
    first.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_reason_outlives_the_connection() {
    let mut world = World::new();
    world.register("alice").await;
    world.register("bob").await;
    world.server.restart_for(1);
    let alice = world.client("alice").await;
    soon(alice.wait_online()).await.unwrap();
    let bob = world.client("bob").await;
    let error = soon(bob.wait_online()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Limit, "{error:?}");
    let error = run_register(world.registration("carol", "carol")).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::Limit, "{error:?}");
    // When there is room, the client comes in by itself.
    alice.close().await;
    soon(async {
        while bob.wait_online().await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    bob.close().await;
}
