//! Honest clients, whose times are what an attack is judged by: pairs that talk, one message at a time, and guests who
//! sign in on new connections.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use sotto_proto::{
    Incarnation,
    frame::{Ack, ClientFrame, Outcome, ServerFrame},
};
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

use crate::{
    crowd, envelopes,
    link::{Link, Target},
    person::Person,
};

/// Pairs that talk.
const PAIRS: usize = 4;
/// From one message of a pair to the next: people who type fast, not a benchmark.
const EACH_MESSAGE: Duration = Duration::from_millis(20);
/// From one login to the next.
const EACH_LOGIN: Duration = Duration::from_millis(50);
/// Guests, in turn: a device that is connected twice would lose its first connection.
const GUESTS: usize = 4;
/// A message or a login that takes longer counts as lost.
const LOST: Duration = Duration::from_secs(30);
/// Requests of the login have smaller numbers.
const REQUEST: u32 = u32::MAX;

/// Times of honest clients, sorted.
pub(super) struct Times {
    /// Until a message was answered as stored, was with the recipient, and the recipient's ack was answered.
    pub(super) messages: Vec<Duration>,
    /// From a new connection to the answer of DeviceLogin.
    pub(super) logins: Vec<Duration>,
}

/// The honest clients of one server.
pub(super) struct Honest {
    target: Target,
    pairs: Vec<Pair>,
    guests: Vec<Arc<Person>>,
}

struct Pair {
    from: Arc<Person>,
    to: Arc<Person>,
    sender: Link,
    reader: Link,
    incarnation: Incarnation,
    /// The number of the next message.
    next: u64,
}

impl Honest {
    /// Registers them; the pairs stay connected.
    pub(super) async fn arrive(target: &Target) -> anyhow::Result<Self> {
        let mut people = crowd::register(target, 2 * PAIRS + GUESTS).await?;
        let guests = people.split_off(2 * PAIRS);
        let (from, to) = people.split_at(PAIRS);
        let mut pairs = Vec::new();
        for (from, to) in from.iter().zip(to) {
            let sender = Link::signed_in(target, None, from).await?;
            let mut reader = Link::signed_in(target, None, to).await?;
            reader.attach().await?;
            let incarnation = reader.incarnation()?;
            let (from, to) = (Arc::clone(from), Arc::clone(to));
            pairs.push(Pair { from, to, sender, reader, incarnation, next: 0 });
        }
        Ok(Self { target: target.clone(), pairs, guests })
    }

    /// What their times are while something else goes on.
    pub(super) async fn measure<T>(
        &mut self,
        meanwhile: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<(Times, T)> {
        let over = Arc::new(AtomicBool::new(false));
        let mut talks = JoinSet::new();
        for mut pair in self.pairs.drain(..) {
            let over = Arc::clone(&over);
            talks.spawn(async move {
                let times = pair.talk(&over).await.context("an honest pair")?;
                anyhow::Ok((pair, times))
            });
        }
        let (target, guests) = (self.target.clone(), self.guests.clone());
        let visits = tokio::spawn({
            let over = Arc::clone(&over);
            async move { visit(&target, &guests, &over).await.context("an honest login") }
        });
        let result = meanwhile.await;
        over.store(true, Ordering::Relaxed);
        let (mut messages, mut logins) = (Vec::new(), visits.await??);
        while let Some(done) = talks.join_next().await {
            let (pair, times) = done??;
            self.pairs.push(pair);
            messages.extend(times);
        }
        messages.sort_unstable();
        logins.sort_unstable();
        Ok((Times { messages, logins }, result?))
    }

    /// Nothing comes a second time, neither now nor to who signs in again.
    pub(super) async fn nothing_is_left(self) -> anyhow::Result<()> {
        for pair in self.pairs {
            let Pair { to, mut reader, .. } = pair;
            let request = reader.send(&ClientFrame::Ping).await?;
            ensure!(request > 0);
            loop {
                match reader.next().await? {
                    ServerFrame::Pong => break,
                    ServerFrame::Deliver(_) => bail!("an honest message came twice"),
                    _ => {}
                }
            }
            reader.bye().await?;
            let mut again = Link::signed_in(&self.target, None, &to).await?;
            again.send_attach().await?;
            loop {
                match again.next().await? {
                    ServerFrame::Drained(_) => break,
                    ServerFrame::Deliver(_) => bail!("an honest message that was acked came again"),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

impl Pair {
    async fn talk(&mut self, over: &AtomicBool) -> anyhow::Result<Vec<Duration>> {
        let mut times = Vec::new();
        while !over.load(Ordering::Relaxed) {
            let begun = Instant::now();
            let said = timeout(LOST, self.say()).await;
            said.with_context(|| format!("a message was not there after {LOST:?}"))??;
            times.push(begun.elapsed());
            sleep_until((begun + EACH_MESSAGE).into()).await;
        }
        Ok(times)
    }

    /// Sends one message: stored, delivered and acked.
    async fn say(&mut self) -> anyhow::Result<()> {
        let frame = envelopes::submit(REQUEST, &self.from, &self.to, [self.next])?;
        self.sender.write(&frame).await?;
        let answer = async {
            loop {
                match self.sender.next().await? {
                    ServerFrame::Submitted(submitted) => {
                        let stored = submitted.devices.first().map(|device| device.outcome);
                        ensure!(matches!(stored, Some(Outcome::Stored { .. })), "not stored: {stored:?}");
                        return anyhow::Ok(());
                    }
                    ServerFrame::Taken(_) => {}
                    other => bail!("Submit was answered by {other:?}"),
                }
            }
        };
        let delivery = async {
            let through = loop {
                match self.reader.next().await? {
                    ServerFrame::Deliver(deliver) => {
                        let number = envelopes::number(&deliver.envelope)?;
                        ensure!(number == self.next, "message {number} came where {} was due", self.next);
                        break deliver.number;
                    }
                    ServerFrame::Drained(_) => {}
                    other => bail!("instead of a message came {other:?}"),
                }
            };
            self.reader.send(&ClientFrame::Ack(Ack { incarnation: self.incarnation, through })).await?;
            loop {
                match self.reader.next().await? {
                    ServerFrame::Done => return anyhow::Ok(()),
                    ServerFrame::Drained(_) => {}
                    other => bail!("Ack was answered by {other:?}"),
                }
            }
        };
        tokio::try_join!(answer, delivery)?;
        self.next += 1;
        Ok(())
    }
}

async fn visit(target: &Target, guests: &[Arc<Person>], over: &AtomicBool) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::new();
    for guest in guests.iter().cycle() {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let begun = Instant::now();
        let visit = async {
            let link = Link::signed_in(target, None, guest).await?;
            let time = begun.elapsed();
            link.bye().await?;
            anyhow::Ok(time)
        };
        let time = timeout(LOST, visit).await.with_context(|| format!("no answer after {LOST:?}"))??;
        times.push(time);
        sleep_until((begun + EACH_LOGIN).into()).await;
    }
    Ok(times)
}
