//! Attacks by connections that ask for nothing: half a handshake, half a frame, none at all, or ten thousand.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use sotto_proto::{
    frame::{ClientFrame, ServerFrame},
    limits::MAX_FRAME_BEFORE_LOGIN,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    Ground,
    crew::{self, Crew, PER_ADDRESS, Tally},
};
use crate::{crowd, link::Link, report};

/// From one byte of who drips to the next.
const DRIP: Duration = Duration::from_millis(500);
/// Before somebody who was turned away comes again.
const AGAIN: Duration = Duration::from_secs(1);
/// Who is still there after this long was let in.
const LET_IN: Duration = Duration::from_millis(300);
/// Connections that a server takes from one address, unless told otherwise.
const SERVER_PER_ADDRESS: usize = 1_000;
/// Of them those that have not finished their handshake.
const SERVER_HALF_OPEN: usize = 512;
/// Connections of one greedy address.
const GREEDY: usize = 5_000;
/// Addresses beside it, with [`PER_ADDRESS`] connections each.
const OTHERS: usize = 4;
/// Who connects again and again.
const FLOODERS: usize = 64;
/// Connections of the crowd, and those of them from one address.
const CROWD: usize = 10_000;
const CROWD_PER_ADDRESS: usize = 900;
/// From one ping of a connection of the crowd to the next.
const CROWD_PING: Duration = Duration::from_secs(5);
/// Memory of a connection whose handshake is under way, and of one that has not logged in.
const CONNECTION_KIB: u64 = 64;

/// Connections that are there, and the most that were.
#[derive(Default)]
struct Held {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Held {
    /// One more, until this is dropped.
    fn place(&self) -> Place<'_> {
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(now, Ordering::Relaxed);
        Place(self)
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }
}

struct Place<'a>(&'a Held);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Thousands of connections that send their TLS hello a byte at a time; most of them from one address.
pub(super) async fn hello(ground: &mut Ground) -> anyhow::Result<String> {
    let target = ground.target.clone();
    let bytes = Arc::new(target.client_hello()?);
    let ((greedy, others), memory) = ground
        .under(async |crew| {
            let until = crew.until();
            held(crew, |source, held| {
                let (target, bytes) = (target.clone(), Arc::clone(&bytes));
                async move {
                    while Instant::now() < until {
                        if let Ok(tcp) = target.tcp(source).await {
                            drip_into(tcp, bytes.iter().copied(), until, &held).await;
                        }
                        sleep(AGAIN).await;
                    }
                    Ok(())
                }
            })
            .await
        })
        .await?;
    ensure!(greedy > 0 && others > 0, "nobody was let in: nothing was tested");
    ensure!(greedy <= at_a_time(SERVER_HALF_OPEN), "{greedy} half-open connections of one address at a time");
    memory.stays_within((greedy + others) as u64 * CONNECTION_KIB)?;
    Ok(format!("{greedy} of {GREEDY} half-open from one address, {others} from {OTHERS} others"))
}

/// The same with a frame after the handshake.
pub(super) async fn drip(ground: &mut Ground) -> anyhow::Result<String> {
    let target = ground.target.clone();
    let ((greedy, others), memory) = ground
        .under(async |crew| {
            let until = crew.until();
            held(crew, |source, held| {
                let target = target.clone();
                async move {
                    while Instant::now() < until {
                        if let Ok(mut tls) = target.tls(source).await {
                            let length = u32::try_from(MAX_FRAME_BEFORE_LOGIN)?.to_be_bytes();
                            let bytes = length.into_iter().chain(std::iter::repeat(0));
                            drip_into(&mut tls, bytes, until, &held).await;
                        }
                        sleep(AGAIN).await;
                    }
                    Ok(())
                }
            })
            .await
        })
        .await?;
    ensure!(greedy > 0 && others > 0, "nobody was let in: nothing was tested");
    ensure!(greedy <= at_a_time(SERVER_PER_ADDRESS), "{greedy} connections of one address at a time");
    memory.stays_within((greedy + others) as u64 * CONNECTION_KIB)?;
    Ok(format!("{greedy} of {GREEDY} connections from one address, {others} from {OTHERS} others"))
}

/// What attackers may see of a server's limit: they hear of an end later than the server, which then takes others.
fn at_a_time(limit: usize) -> usize {
    limit + limit / 4
}

/// One greedy address and some more; the most connections that each kind had at a time.
async fn held<F>(
    crew: &Crew,
    mut attacker: impl FnMut(IpAddr, Arc<Held>) -> F,
) -> anyhow::Result<(usize, usize)>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let (greedy, others) = (Arc::<Held>::default(), Arc::<Held>::default());
    let (many, each) = (crew.count(GREEDY), crew.count(PER_ADDRESS));
    crew.all(many + OTHERS * each, |number| match number.checked_sub(many) {
        None => attacker(crew::address(0), Arc::clone(&greedy)),
        Some(other) => attacker(crew::address(1 + other / each), Arc::clone(&others)),
    })
    .await?;
    Ok((greedy.most(), others.most()))
}

/// Sends these bytes one at a time until the server closes, or the attack is over.
async fn drip_into(
    stream: impl AsyncRead + AsyncWrite,
    bytes: impl Iterator<Item = u8>,
    until: Instant,
    held: &Held,
) {
    let (mut read, mut write) = tokio::io::split(stream);
    let closed = async { while matches!(read.read(&mut [0; 512]).await, Ok(1..)) {} };
    let send = async {
        sleep(LET_IN).await;
        let _place = held.place();
        for byte in bytes {
            if write.write_all(&[byte]).await.is_err() || write.flush().await.is_err() {
                break;
            }
            sleep(DRIP).await;
        }
        std::future::pending::<()>().await;
    };
    let dripping = async {
        tokio::select! {
            () = closed => {}
            () = send => {}
        }
    };
    let _is_over = timeout_at(until, dripping).await;
}

/// Connections of one address that are closed as soon as they are there.
pub(super) async fn connects(ground: &mut Ground) -> anyhow::Result<String> {
    let target = ground.target.clone();
    let (tries, memory) = ground
        .under(async |crew| {
            let until = crew.until();
            crew.all(crew.count(FLOODERS), |_| {
                let target = target.clone();
                async move {
                    let mut tries = 0_u64;
                    while Instant::now() < until {
                        let tcp = target.tcp(crew::address(0)).await?;
                        // Reset: else the machine would be out of ports.
                        tcp.set_zero_linger()?;
                        tries += 1;
                    }
                    Ok(tries)
                }
            })
            .await
        })
        .await?;
    let tries: u64 = tries.into_iter().sum();
    ensure!(tries > 0, "nobody connected: nothing was tested");
    memory.stays_within(SERVER_HALF_OPEN as u64 * CONNECTION_KIB)?;
    Ok(format!("{} connections a second from one address", report::rate(tries, ground.crew.time())))
}

/// TLS handshakes of one address after which nothing is said.
pub(super) async fn handshakes(ground: &mut Ground) -> anyhow::Result<String> {
    let target = ground.target.clone();
    let (tallies, memory) = ground
        .under(async |crew| {
            let until = crew.until();
            crew.all(crew.count(FLOODERS), |_| {
                let target = target.clone();
                async move {
                    let mut tally = Tally::default();
                    while Instant::now() < until {
                        tally.tried += 1;
                        match timeout_at(until, target.tls(crew::address(0))).await {
                            Ok(Ok(tls)) => {
                                tls.get_ref().0.set_zero_linger()?;
                                tally.granted += 1;
                            }
                            Ok(Err(_)) => tally.refused += 1,
                            Err(_) => break,
                        }
                    }
                    Ok(tally)
                }
            })
            .await
        })
        .await?;
    let tally = Tally::sum(tallies);
    ensure!(tally.granted > 0, "no handshake was made: nothing was tested");
    memory.stays_within(SERVER_HALF_OPEN as u64 * CONNECTION_KIB)?;
    Ok(format!("{} handshakes a second from one address", report::rate(tally.granted, ground.crew.time())))
}

/// Ten thousand connections of one account, from a dozen addresses, that do nothing but ping.
pub(super) async fn crowd(ground: &mut Ground) -> anyhow::Result<String> {
    let target = ground.target.clone();
    let owner = crowd::register(&target, 1).await?.pop().context("nobody was registered")?;
    let ready = Arc::new(AtomicUsize::new(0));
    let (all, memory) = ground
        .under(async |crew| {
            let all = crew.count(CROWD);
            let (doors, began) = (Arc::new(Semaphore::new(crowd::AT_ONCE)), Instant::now());
            crew.all(all, |number| {
                let (target, owner) = (target.clone(), Arc::clone(&owner));
                let (doors, ready, time) = (Arc::clone(&doors), Arc::clone(&ready), crew.time());
                async move {
                    let door = doors.acquire_owned().await?;
                    let mut link = Link::open(&target, crew::address(number / CROWD_PER_ADDRESS)).await?;
                    link.prove(&owner).await?;
                    drop(door);
                    ready.fetch_add(1, Ordering::Relaxed);
                    // They are together for the time of an attack once all are there.
                    while ready.load(Ordering::Relaxed) < all || began.elapsed() < time {
                        sleep(CROWD_PING).await;
                        ensure!(link.ask(&ClientFrame::Ping).await? == ServerFrame::Pong, "no Pong");
                    }
                    Ok(())
                }
            })
            .await?;
            Ok(all)
        })
        .await?;
    memory.stays_within(all as u64 * CONNECTION_KIB)?;
    Ok(format!("{} connections at once", report::count(all as u64)))
}
