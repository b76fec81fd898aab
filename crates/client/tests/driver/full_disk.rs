//! A store that cannot be written: the client stops, says why, and loses nothing that it promised.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::Command as Program,
    time::{Duration, Instant},
};

use sotto_client::{
    api::{Command, ErrorKind, Event, Recipient, Reply},
    driver::{Client, ClientOptions, Notice, Profile},
};
use sotto_proto::Username;

use crate::world::{PASSWORD, World, rows, secret, soon};

const DIR: &str = "SOTTO_TEST_FULL_DISK";

/// Files may grow to this many blocks of 512 bytes, 2 MiB: above what the store needs to open, below what is written.
const LIMIT: u64 = 4096;

/// For a client to end that has failed: what it has open is its store. A server that does not answer would be given 10 s.
const END: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_cannot_write_stops_and_loses_nothing() {
    let mut world = World::new();
    world.register("alice").await;
    world.server.kill();
    // The system lets everybody in, and nobody answers.
    let _hanging = TcpListener::bind(world.server.address.host_port()).unwrap();
    let dir = world.dir("alice");
    // A limit on file sizes fails like a disk, and needs no disk. The signal that comes with it stays ignored over exec.
    let output = Program::new("sh")
        .arg("-c")
        .arg(format!(
            "trap '' XFSZ; ulimit -f {LIMIT}; exec \"$0\" --exact full_disk::in_a_small_disk --nocapture"
        ))
        .arg(std::env::current_exe().unwrap())
        .env(DIR, &dir)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let promised = said.lines().find_map(|line| line.split_once("promised ")).expect("it got so far").1;
    let promised: usize = promised.trim().parse().unwrap();

    let open = Profile::lock(&dir).unwrap().unlock(PASSWORD).unwrap();
    let client =
        Client::start(open, ClientOptions { offline: true, ..ClientOptions::default() }).await.unwrap();
    assert_eq!(rows(&client).await.len(), promised);
    client.close().await;
}

fn to_bob() -> Recipient {
    Recipient::User(Username::parse("bob").unwrap())
}

/// Not a test when it is run as one: what runs under the limit.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_small_disk() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else { return };
    let open = Profile::lock(&dir).unwrap().unlock_async(secret(PASSWORD)).await.unwrap();
    let client = Client::start(open, ClientOptions::default()).await.unwrap();
    let mut events = client.events();
    let text = "x".repeat(16 * 1024);
    let mut promised = 0;
    let error = loop {
        match soon(client.command(Command::Send { to: to_bob(), text: text.clone() })).await {
            Ok(Reply::Queued { .. }) => promised += 1,
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error,
        }
        assert!(promised < 1000, "the limit does not bite");
    };
    assert!(promised > 0, "{error:?}");
    assert!(matches!(error.kind, ErrorKind::DiskFull | ErrorKind::LocalStore), "{error:?}");
    let begun = Instant::now();
    assert_eq!(soon(client.ended()).await, error);
    assert!(begun.elapsed() < END, "{:?}", begun.elapsed());
    assert_eq!(soon(client.command(Command::Outbox)).await, Err(error.clone()));
    soon(async {
        loop {
            match events.next().await.expect("the reason comes before the end") {
                Notice::Event(Event::Stopped(why)) => {
                    assert_eq!(why, error);
                    break;
                }
                Notice::Event(_) | Notice::Lagged => {}
            }
        }
    })
    .await;
    soon(client.close()).await;
    println!("\npromised {promised}");
}
