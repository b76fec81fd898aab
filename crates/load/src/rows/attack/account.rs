//! Attacks by who has an account: prekeys, mailbox, invitations, device lists, and readers that never read.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use sotto_proto::{
    frame::{
        ClaimBundles, ClientFrame, ErrorCode, InChat, Invite, LookupLists, Outcome, PublishKeys, Refusal,
        ReplaceList, ServerFrame,
    },
    limits::{
        MAILBOX_ENVELOPES, MAILBOX_SENDER_SHARE, MAX_LISTS, MAX_ONE_TIME_KEM_PREKEYS, MAX_ONE_TIME_PREKEYS,
        MAX_PIPELINED,
    },
};
use tokio::time::sleep_until;

use super::{
    Ground,
    crew::{self, Tally},
};
use crate::{crowd, envelopes, link::Link, person::Person, pump::Cargo, report};

/// One-time keys that one account may claim at once, and milliseconds until one more.
const CLAIMS: u64 = 512;
const CLAIM_MS: u64 = 1_000;
/// Envelopes of one Submit of who floods a mailbox.
const TOGETHER: u64 = 32;
/// Accounts that invite.
const INVITERS: usize = 8;
/// Invitations of one account at once, and milliseconds until one more.
const INVITATIONS: u64 = 10;
const INVITATION_MS: u64 = 2_000;
/// Accounts with forged device lists.
const FORGERS: usize = 16;
/// Readers that never read.
const DEAF: usize = 100;
/// Envelopes in the mailbox of each: half a megabyte.
const WAITING: u64 = 200;
/// A server keeps so much for a connection that takes nothing: pushes, answers, and the answers of requests that were
/// under way before.
const DEAF_KIB: u64 = 1024;
/// The request id of frames that are ready before.
const REQUEST: u32 = u32::MAX;

/// The most that a bucket grants since then.
fn granted_at_most(burst: u64, refill_ms: u64, since: Instant) -> u64 {
    burst + u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX) / refill_ms + 1
}

async fn register_one(ground: &Ground) -> anyhow::Result<Arc<Person>> {
    crowd::register(&ground.target, 1).await?.pop().context("nobody was registered")
}

/// One account claims a device's prekeys as fast as it can.
pub(super) async fn prekeys(ground: &mut Ground) -> anyhow::Result<String> {
    let target = ground.target.clone();
    let (victim, thief, friend) =
        (register_one(ground).await?, register_one(ground).await?, register_one(ground).await?);
    let mut at_victim = Link::signed_in(&target, None, &victim).await?;
    let (curve, kem) = (u32::try_from(MAX_ONE_TIME_PREKEYS)?, u32::try_from(MAX_ONE_TIME_KEM_PREKEYS)?);
    let publish = PublishKeys { upload: victim.prekeys(curve, kem)? };
    match at_victim.ask(&ClientFrame::PublishKeys(publish)).await? {
        ServerFrame::KeyCounts(_) => {}
        other => bail!("PublishKeys was answered by {other:?}"),
    }
    let claim = ClientFrame::ClaimBundles(ClaimBundles {
        account: victim.account,
        devices: vec![victim.device],
        one_time: true,
    });
    let (begun, claimed) = (Instant::now(), claim.clone());
    let ((tally, one_time), _) = ground
        .under(async |crew| {
            let until = crew.until();
            let all = crew.all(1, |_| {
                let (target, thief, claim) = (target.clone(), Arc::clone(&thief), claimed.clone());
                async move {
                    let mut link = Link::signed_in(&target, crew::address(0), &thief).await?;
                    let (mut tally, mut one_time) = (Tally::default(), 0_u64);
                    while tokio::time::Instant::now() < until {
                        tally.tried += 1;
                        match link.ask(&claim).await? {
                            ServerFrame::Bundles(bundles) => {
                                tally.granted += 1;
                                let bundle = bundles.bundles.first().context("no bundle")?;
                                one_time += u64::from(bundle.one_time.is_some());
                            }
                            ServerFrame::Error(reply) if reply.code == ErrorCode::RATE_LIMITED => {
                                tally.refused += 1;
                            }
                            other => bail!("ClaimBundles was answered by {other:?}"),
                        }
                    }
                    Ok((tally, one_time))
                }
            });
            all.await?.pop().context("nobody claimed")
        })
        .await?;
    let most = granted_at_most(CLAIMS, CLAIM_MS, begun);
    ensure!(tally.granted <= most, "{} claims granted, more than {most}", tally.granted);
    let there = u64::from(curve).min(tally.granted);
    ensure!(one_time == there, "{one_time} one-time keys were handed out, and there were {there}");
    match Link::signed_in(&target, None, &friend).await?.ask(&claim).await? {
        ServerFrame::Bundles(bundles) if !bundles.bundles.is_empty() => {}
        other => bail!("somebody else's ClaimBundles was answered by {other:?}"),
    }
    Ok(format!(
        "{} of {} claims granted, {one_time} with a one-time key; others still get the last-resort key",
        tally.granted, tally.tried
    ))
}

/// One account sends to somebody who is away, as fast as it can.
pub(super) async fn mailbox(ground: &mut Ground) -> anyhow::Result<String> {
    let target = ground.target.clone();
    let (victim, flooder, friend) =
        (register_one(ground).await?, register_one(ground).await?, register_one(ground).await?);
    let (tally, _) = ground
        .under(async |crew| {
            let until = crew.until();
            let all = crew.all(1, |_| {
                let (target, flooder, victim) = (target.clone(), Arc::clone(&flooder), Arc::clone(&victim));
                async move {
                    let mut link = Link::signed_in(&target, crew::address(0), &flooder).await?;
                    let mut tally = Tally::default();
                    while tokio::time::Instant::now() < until {
                        tally = Tally::sum([tally, fill(&mut link, &flooder, &victim).await?]);
                    }
                    Ok(tally)
                }
            });
            Ok(Tally::sum(all.await?))
        })
        .await?;
    let share = MAILBOX_ENVELOPES / MAILBOX_SENDER_SHARE;
    ensure!(tally.granted <= share, "{} envelopes of one sender wait, more than {share}", tally.granted);
    ensure!(
        tally.granted == share || tally.refused == 0,
        "{} envelopes were taken of {share}",
        tally.granted
    );
    let mut link = Link::signed_in(&target, None, &friend).await?;
    let more = submit(&mut link, &friend, &victim, 1).await?;
    ensure!(more.granted == 1, "who did not flood the mailbox does not get in");
    Ok(format!("{} of {} envelopes taken, then refused; others still get in", tally.granted, tally.tried))
}

async fn fill(link: &mut Link, from: &Person, to: &Person) -> anyhow::Result<Tally> {
    submit(link, from, to, TOGETHER).await
}

async fn submit(link: &mut Link, from: &Person, to: &Person, envelopes: u64) -> anyhow::Result<Tally> {
    link.write(&envelopes::submit(REQUEST, from, to, 0..envelopes)?).await?;
    let submitted = loop {
        match link.next().await? {
            ServerFrame::Submitted(submitted) => break submitted,
            ServerFrame::Taken(_) => {}
            other => bail!("Submit was answered by {other:?}"),
        }
    };
    let mut tally = Tally { tried: envelopes, ..Tally::default() };
    for device in submitted.devices {
        match device.outcome {
            Outcome::Stored { .. } => tally.granted += 1,
            Outcome::Refused(Refusal::SenderShare) => tally.refused += 1,
            other => bail!("an envelope's outcome was {other:?}"),
        }
    }
    Ok(tally)
}

/// Some accounts invite somebody to live chats, and call each invitation off at once.
pub(super) async fn invitations(ground: &mut Ground) -> anyhow::Result<String> {
    let target = ground.target.clone();
    let victim = register_one(ground).await?;
    let inviters = crowd::register(&target, ground.crew.count(INVITERS)).await?;
    let mut at_victim = Link::signed_in(&target, None, &victim).await?;
    let begun = Instant::now();
    let (tally, _) = ground
        .under(async |crew| {
            let until = crew.until();
            let name = victim.username.to_string();
            let all = crew.all(inviters.len(), |number| {
                let (target, name) = (target.clone(), name.clone());
                let inviter = inviters.get(number).map(Arc::clone);
                async move {
                    let inviter = inviter.context("an attacker without an account")?;
                    let link = Link::signed_in(&target, crew::address(number), &inviter).await?;
                    invite(link, &name, until).await
                }
            });
            Ok(Tally::sum(all.await?))
        })
        .await?;
    ensure!(tally.granted > 0, "nobody was invited: nothing was tested");
    let most = inviters.len() as u64 * granted_at_most(INVITATIONS, INVITATION_MS, begun);
    ensure!(tally.granted <= most, "{} invitations granted, more than {most}", tally.granted);
    // The victim was told of each, and of each one's end.
    at_victim.send(&ClientFrame::Ping).await?;
    let (mut told, mut ended) = (0, 0);
    loop {
        match at_victim.next().await? {
            ServerFrame::Invited(_) => told += 1,
            ServerFrame::InviteEnded(_) => ended += 1,
            ServerFrame::Pong => break,
            _ => {}
        }
    }
    ensure!(told == tally.granted && ended == told, "told of {told} invitations and the end of {ended}");
    Ok(format!("{} of {} invitations by {} accounts granted", tally.granted, tally.tried, inviters.len()))
}

async fn invite(mut link: Link, name: &str, until: tokio::time::Instant) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let invite = ClientFrame::Invite(Invite { users: vec![name.to_owned()] });
    while tokio::time::Instant::now() < until {
        tally.tried += 1;
        match link.ask(&invite).await? {
            ServerFrame::Inviting(inviting) => {
                tally.granted += 1;
                let cancel = ClientFrame::Cancel(InChat { chat: inviting.chat });
                ensure!(link.ask(&cancel).await? == ServerFrame::Done, "Cancel was not done");
            }
            // The one who is invited may be asked by another one just now.
            ServerFrame::Error(reply)
                if [ErrorCode::RATE_LIMITED, ErrorCode::NOT_AVAILABLE].contains(&reply.code) =>
            {
                tally.refused += 1;
            }
            other => bail!("Invite was answered by {other:?}"),
        }
    }
    Ok(tally)
}

/// Some accounts replace their device list, the longest there is, by one whose own signature does not hold: it is verified
/// after all the others in it.
pub(super) async fn lists(ground: &mut Ground) -> anyhow::Result<String> {
    let target = ground.target.clone();
    let (refused, _) = ground
        .under(async |crew| {
            let until = crew.until();
            let all = crew.all(crew.count(FORGERS), |number| {
                let target = target.clone();
                async move {
                    let forger = Person::with_long_list()?;
                    let mut link = Link::open(&target, crew::address(number)).await?;
                    link.register(&forger).await?;
                    link.prove(&forger).await?;
                    let mut refused = 0;
                    while tokio::time::Instant::now() < until {
                        refused += forge_lists(&mut link, &forger).await?;
                    }
                    Ok(refused)
                }
            });
            Ok(all.await?.into_iter().sum::<u64>())
        })
        .await?;
    ensure!(refused > 0, "no list was verified: nothing was tested");
    let rate = report::rate(refused, ground.crew.time());
    Ok(format!("{rate} lists a second verified and refused"))
}

/// A pipeline full of lists; how many were refused.
async fn forge_lists(link: &mut Link, forger: &Person) -> anyhow::Result<u64> {
    let mut list = forger.list.as_bytes().to_vec();
    *list.last_mut().context("an empty list")? ^= 1;
    let frame = ClientFrame::ReplaceList(ReplaceList { expected: forger.list.hash(), list: list.into() });
    for _ in 0..MAX_PIPELINED {
        link.send(&frame).await?;
    }
    for _ in 0..MAX_PIPELINED {
        match link.next().await? {
            ServerFrame::Error(reply) if reply.code == ErrorCode::BAD_KEYS => {}
            other => bail!("a forged list was answered by {other:?}"),
        }
    }
    Ok(MAX_PIPELINED as u64)
}

/// Readers with full mailboxes, and long answers to come, who read nothing.
pub(super) async fn deaf(ground: &mut Ground) -> anyhow::Result<String> {
    let target = ground.target.clone();
    let readers = crowd::register(&target, ground.crew.count(DEAF)).await?;
    let large = Arc::new(Person::with_long_list()?);
    let mut link = Link::open(&target, None).await?;
    link.register(&large).await?;
    link.login(&large).await?;
    for reader in &readers {
        let cargo =
            Cargo::load(&large, std::slice::from_ref(reader), 0, 0..WAITING, usize::try_from(TOGETHER)?)?;
        cargo.send(&mut link, 1).await?;
    }
    let (_, memory) = ground
        .under(async |crew| {
            let until = crew.until();
            crew.all(readers.len(), |number| {
                let (target, large) = (target.clone(), Arc::clone(&large));
                let reader = readers.get(number).map(Arc::clone);
                async move {
                    let reader = reader.context("an attacker without an account")?;
                    let mut link = Link::signed_in(&target, crew::address(number / 10), &reader).await?;
                    link.send_attach().await?;
                    let names = vec![large.username.to_string(); MAX_LISTS];
                    let question = ClientFrame::LookupLists(LookupLists { names, accounts: Vec::new() });
                    for _ in 0..MAX_PIPELINED - 1 {
                        link.send(&question).await?;
                    }
                    sleep_until(until).await;
                    Ok(())
                }
            })
            .await
        })
        .await?;
    memory.stays_within(readers.len() as u64 * DEAF_KIB)?;
    Ok(format!(
        "{} KiB for each of {} connections that read nothing",
        report::count(memory.grown() / readers.len().max(1) as u64),
        readers.len()
    ))
}
