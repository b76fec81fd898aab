//! Attacks by what is sent after a login: frames that never end, more requests than a server takes, and garbage.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rand::RngExt as _;
use sotto_proto::{
    FateTag,
    frame::{ClientFrame, FrameDecoder, ListUsers, LookupLists, QueryFates, ServerFrame},
    limits::{
        MAX_FATES_PER_QUERY, MAX_FRAME, MAX_LISTS, MAX_PIPELINED, MAX_USERS_PER_PAGE,
        UNFINISHED_FRAMES_BUDGET,
    },
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{
    Ground,
    crew::{self, Tally},
};
use crate::{crowd, link::Link, person::Person, report};

/// Connections that send long frames: together 400 MiB.
const LONG: usize = 420;
/// Of them from one address.
const LONG_PER_ADDRESS: usize = 20;
/// Bytes of a frame's header and of what stands before it.
const HEADER: usize = 10;
/// A kind of request that does not exist.
const NO_KIND: u16 = 0x0fff;
/// Who sends more than is taken, or what means nothing.
const TALKERS: usize = 32;
/// Requests sent at a time, and not answered at most: more than a server takes without an answer. With many more the last
/// answers would be awaited for minutes, for an account is answered so much a time.
const AHEAD: usize = 2 * MAX_PIPELINED;
/// How long the last answers may take.
const LAST_ANSWERS: Duration = Duration::from_secs(60);
/// How long garbage that a server bears is left on a connection.
const BORNE: Duration = Duration::from_secs(30);
/// Frames of garbage on one connection, if the server does not close it before.
const GARBAGE: usize = 50;
/// A server takes so much for the requests, and for the answers, of one connection.
const CONNECTION_KIB: u64 = 4 * 1024;
/// And so much for TLS on a connection that brings a long frame, as it came and as it was read: of 420 at once 62 MiB were
/// seen beside the budget.
const TLS_KIB: u64 = 64;

/// Length, kind and request id before a payload.
fn frame(kind: u16, request: u32, payload: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut bytes = u32::try_from(payload.len() + 6)?.to_be_bytes().to_vec();
    bytes.extend(kind.to_be_bytes());
    bytes.extend(request.to_be_bytes());
    bytes.extend(payload);
    Ok(bytes)
}

/// Frames of a megabyte of which the last bytes never come, more than the server's budget for them.
pub(super) async fn unfinished(ground: &mut Ground) -> anyhow::Result<String> {
    let mut bytes = frame(NO_KIND, 1, &vec![0; MAX_FRAME - 6])?;
    bytes.truncate(MAX_FRAME - HEADER);
    let (tally, memory) = long(ground, bytes).await?;
    memory.stays_within((UNFINISHED_FRAMES_BUDGET / 1024) as u64 + tally.tried * TLS_KIB)?;
    let sent = tally.tried * (MAX_FRAME as u64 / 1024);
    ensure!(
        sent * 1024 <= UNFINISHED_FRAMES_BUDGET as u64 || tally.refused > 0,
        "all were taken, beyond the server's budget"
    );
    Ok(format!("{} frames of 1 MiB begun, {} refused", tally.tried, tally.refused))
}

/// Whole frames of a megabyte, and one byte of the next: what was taken out of a buffer must not stay in it.
pub(super) async fn remainders(ground: &mut Ground) -> anyhow::Result<String> {
    let mut bytes = frame(NO_KIND, 1, &vec![0; MAX_FRAME - 6])?;
    bytes.push(0);
    let (tally, memory) = long(ground, bytes).await?;
    // While they come they are in the same budget; afterwards each connection holds one byte.
    memory.stays_within((UNFINISHED_FRAMES_BUDGET / 1024) as u64 + tally.tried * TLS_KIB)?;
    Ok(format!("{} frames of 1 MiB and a byte more, {} refused", tally.tried, tally.refused))
}

/// Many connections of one account that send these bytes and then nothing.
async fn long(ground: &mut Ground, bytes: Vec<u8>) -> anyhow::Result<(Tally, super::Memory)> {
    let target = ground.target.clone();
    let owner = crowd::register(&target, 1).await?.pop().context("nobody was registered")?;
    let bytes = Arc::new(bytes);
    let (tallies, memory) = ground
        .under(async |crew| {
            let until = crew.until();
            crew.all(crew.count(LONG), |number| {
                let (target, owner, bytes) = (target.clone(), Arc::clone(&owner), Arc::clone(&bytes));
                async move {
                    let mut link = Link::open(&target, crew::address(number / LONG_PER_ADDRESS)).await?;
                    link.prove(&owner).await?;
                    let mut stream = link.into_stream();
                    // Where the server refuses, the rest finds nobody.
                    let sent = timeout_at(until, async {
                        stream.write_all(&bytes).await?;
                        stream.flush().await
                    });
                    let sent = matches!(sent.await, Ok(Ok(())));
                    let closed = async { while matches!(stream.read(&mut [0; 512]).await, Ok(1..)) {} };
                    let closed = timeout_at(until, closed).await.is_ok();
                    Ok(Tally { tried: 1, granted: u64::from(sent), refused: u64::from(closed) })
                }
            })
            .await
        })
        .await?;
    let tally = Tally::sum(tallies);
    ensure!(tally.granted > tally.refused, "nearly all were refused: nothing was tested");
    Ok((tally, memory))
}

/// What costs a server most, for what it takes to ask.
fn questions(request: u32, large: &Person) -> anyhow::Result<Vec<u8>> {
    let names = vec![large.username.to_string(); MAX_LISTS];
    let tags = (0..MAX_FATES_PER_QUERY).map(|_| FateTag(rand::rng().random())).collect();
    let questions = [
        ClientFrame::Ping,
        ClientFrame::LookupLists(LookupLists { names, accounts: Vec::new() }),
        ClientFrame::ListUsers(ListUsers { after: None, limit: u16::try_from(MAX_USERS_PER_PAGE)? }),
        ClientFrame::QueryFates(QueryFates { tags }),
    ];
    let mut bytes = Vec::new();
    for (number, question) in (request..).zip(&questions) {
        bytes.extend(question.encode(number)?);
    }
    Ok(bytes)
}

/// Requests as fast as the connection takes them, many more than may be without an answer.
pub(super) async fn pipeline(ground: &mut Ground) -> anyhow::Result<String> {
    let target = ground.target.clone();
    let people = crowd::register(&target, ground.crew.count(TALKERS)).await?;
    let large = Arc::new(Person::with_long_list()?);
    Link::open(&target, None).await?.register(&large).await?;
    let (tallies, memory) = ground
        .under(async |crew| {
            let until = crew.until();
            crew.all(people.len(), |number| {
                let (target, large) = (target.clone(), Arc::clone(&large));
                let person = people.get(number).map(Arc::clone);
                async move {
                    let person = person.context("an attacker without an account")?;
                    let link = Link::signed_in(&target, crew::address(number), &person).await?;
                    ask_without_pause(link, &large, until).await
                }
            })
            .await
        })
        .await?;
    let tally = Tally::sum(tallies);
    ensure!(tally.tried > 0, "nothing was asked");
    ensure!(tally.tried == tally.granted, "{} requests, {} answers", tally.tried, tally.granted);
    memory.stays_within(people.len() as u64 * CONNECTION_KIB)?;
    Ok(format!(
        "{} requests a second on {} connections, each answered once",
        report::rate(tally.tried, ground.crew.time()),
        people.len()
    ))
}

async fn ask_without_pause(link: Link, large: &Person, until: Instant) -> anyhow::Result<Tally> {
    let four = questions(1, large)?;
    let bytes = four.repeat(AHEAD / 4);
    let (mut read, mut write) = tokio::io::split(link.into_stream());
    let ahead = Semaphore::new(AHEAD);
    let ask = async {
        let mut asked = 0_u64;
        // Each answer makes room for one more.
        while let Ok(room) = timeout_at(until, ahead.acquire_many(u32::try_from(AHEAD)?)).await {
            room?.forget();
            write.write_all(&bytes).await?;
            write.flush().await?;
            asked += AHEAD as u64;
        }
        anyhow::Ok(asked)
    };
    let (asked_all, mut told) = tokio::sync::oneshot::channel();
    let hear = async {
        let (mut decoder, mut answers, mut all) = (FrameDecoder::new(MAX_FRAME), 0_u64, None);
        let mut buffer = vec![0; 64 * 1024];
        while all.is_none_or(|all| answers < all) {
            tokio::select! {
                read = read.read(&mut buffer) => {
                    let read = read?;
                    ensure!(read > 0, "the server closed after {answers} answers");
                    decoder.push(buffer.get(..read).unwrap_or_default());
                }
                asked = &mut told, if all.is_none() => all = Some(asked?),
            }
            while let Some(raw) = decoder.next_frame()? {
                let error =
                    matches!(ServerFrame::decode(raw.kind, &raw.payload)?, Some(ServerFrame::Error(_)));
                ensure!(!error, "a request was refused");
                if raw.request != 0 {
                    answers += 1;
                    ahead.add_permits(1);
                }
            }
        }
        Ok(answers)
    };
    let ask = async {
        let asked = ask.await?;
        let _nobody_counts = asked_all.send(asked);
        Ok(asked)
    };
    let patience = until.saturating_duration_since(Instant::now()) + LAST_ANSWERS;
    let (tried, granted) = timeout(patience, async { tokio::try_join!(ask, hear) })
        .await
        .context("the last answers did not come")??;
    Ok(Tally { tried, granted, refused: 0 })
}

/// Frames of random kinds with random payloads; who is closed signs in again.
pub(super) async fn garbage(ground: &mut Ground) -> anyhow::Result<String> {
    let target = ground.target.clone();
    let people = crowd::register(&target, ground.crew.count(TALKERS)).await?;
    let (tallies, memory) = ground
        .under(async |crew| {
            let until = crew.until();
            crew.all(people.len(), |number| {
                let target = target.clone();
                let person = people.get(number).map(Arc::clone);
                async move {
                    let person = person.context("an attacker without an account")?;
                    let mut tally = Tally::default();
                    while Instant::now() < until {
                        let link = Link::signed_in(&target, crew::address(number), &person).await?;
                        tally = Tally::sum([tally, talk_nonsense(link).await?]);
                    }
                    Ok(tally)
                }
            })
            .await
        })
        .await?;
    let tally = Tally::sum(tallies);
    ensure!(tally.refused > 0, "no garbage ended a connection: nothing was tested");
    memory.stays_within(people.len() as u64 * CONNECTION_KIB)?;
    Ok(format!("{} frames of garbage, {} connections closed for it", tally.tried, tally.refused))
}

async fn talk_nonsense(link: Link) -> anyhow::Result<Tally> {
    let (mut read, mut write) = tokio::io::split(link.into_stream());
    let mut bytes = Vec::new();
    {
        let mut rng = rand::rng();
        for request in 1..=GARBAGE {
            let kind = match rng.random_range(0..4) {
                0 => rng.random(),
                1 => 0x1001,
                _ => rng.random_range(0x0002..0x0060),
            };
            let payload: Vec<u8> = (0..rng.random_range(0..2_000)).map(|_| rng.random()).collect();
            bytes.extend(frame(kind, u32::try_from(request)?, &payload)?);
        }
    }
    let send = async {
        let _closed_before = write.write_all(&bytes).await;
        let _closed_before = write.flush().await;
        sleep(BORNE).await;
    };
    let closed = async { while matches!(read.read(&mut [0; 4096]).await, Ok(1..)) {} };
    tokio::select! {
        () = send => Ok(Tally { tried: GARBAGE as u64, granted: 1, refused: 0 }),
        () = closed => Ok(Tally { tried: GARBAGE as u64, granted: 0, refused: 1 }),
    }
}
