//! Honest clients, whose times are what an attack is judged by: pairs that talk, and guests who sign in on new connections.
//!
//! They do so by the clock, and times count from when something was due: who waits for an answer before the next message
//! says little while a server stands still, and most of the pause would not be in the times ("coordinated omission").

use std::collections::VecDeque;
use std::fs::File;
use std::future::Future;
use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use sotto_proto::{
    Incarnation,
    frame::{Ack, ClientFrame, Outcome, ServerFrame},
    limits::FLOOR_ENVELOPE,
};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval_at, sleep_until, timeout_at};

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
const BETWEEN_LOGINS: Duration = Duration::from_millis(50);
/// Guests, in turn: a device that is connected twice would lose its first connection.
const GUESTS: usize = 4;
/// From one login of a guest to its next.
const EACH_LOGIN: Duration = BETWEEN_LOGINS.saturating_mul(4);
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
    /// Of a thread that makes bytes durable and has nothing to do with the server: what the machine itself does to everybody.
    pub(super) writes: Vec<Duration>,
}

/// The honest clients of one server.
pub(super) struct Honest {
    target: Target,
    /// Of the throw-away data.
    folder: PathBuf,
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
    /// And of the next that the other hears.
    heard: u64,
}

impl Honest {
    /// Registers them; the pairs stay connected. The disk of this folder is measured beside them.
    pub(super) async fn arrive(target: &Target, folder: &Path) -> anyhow::Result<Self> {
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
            pairs.push(Pair { from, to, sender, reader, incarnation, next: 0, heard: 0 });
        }
        Ok(Self { target: target.clone(), folder: folder.to_owned(), pairs, guests })
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
        let mut visits = JoinSet::new();
        let writes = tokio::task::spawn_blocking({
            let (path, over) = (self.folder.join("writes"), Arc::clone(&over));
            move || write(&path, &over)
        });
        let mut first = Instant::now();
        for guest in &self.guests {
            let (target, guest, over) = (self.target.clone(), Arc::clone(guest), Arc::clone(&over));
            visits
                .spawn(async move { visit(&target, &guest, first, &over).await.context("an honest login") });
            first += BETWEEN_LOGINS;
        }
        let result = meanwhile.await;
        over.store(true, Ordering::Relaxed);
        let (mut messages, mut logins) = (Vec::new(), Vec::new());
        while let Some(done) = visits.join_next().await {
            logins.extend(done??);
        }
        while let Some(done) = talks.join_next().await {
            let (pair, times) = done??;
            self.pairs.push(pair);
            messages.extend(times);
        }
        let mut writes = writes.await?.context("the disk beside the server")?;
        for times in [&mut messages, &mut logins, &mut writes] {
            times.sort_unstable();
        }
        Ok((Times { messages, logins, writes }, result?))
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
    /// Says something whenever it is due, until it is over and all of it has come through.
    async fn talk(&mut self, over: &AtomicBool) -> anyhow::Result<Vec<Duration>> {
        let mut times = Vec::new();
        let mut said = Said::default();
        let mut due = interval_at(Instant::now().into(), EACH_MESSAGE);
        due.set_missed_tick_behavior(MissedTickBehavior::Burst);
        while !over.load(Ordering::Relaxed) || !said.due.is_empty() {
            let lost = said.due.front().map_or_else(Instant::now, |due| *due) + LOST;
            tokio::select! {
                due = due.tick(), if !over.load(Ordering::Relaxed) => {
                    let frame = envelopes::submit(REQUEST, &self.from, &self.to, [self.next])?;
                    self.sender.write(&frame).await?;
                    self.next += 1;
                    said.due.push_back(due.into());
                }
                frame = self.sender.next() => match frame? {
                    ServerFrame::Submitted(submitted) => {
                        let stored = submitted.devices.first().map(|device| device.outcome);
                        ensure!(matches!(stored, Some(Outcome::Stored { .. })), "not stored: {stored:?}");
                        said.answered += 1;
                    }
                    ServerFrame::Taken(_) => {}
                    other => bail!("Submit was answered by {other:?}"),
                },
                frame = self.reader.next() => match frame? {
                    ServerFrame::Deliver(deliver) => {
                        let number = envelopes::number(&deliver.envelope)?;
                        ensure!(number == self.heard, "message {number} came where {} was due", self.heard);
                        self.heard += 1;
                        let ack = Ack { incarnation: self.incarnation, through: deliver.number };
                        self.reader.send(&ClientFrame::Ack(ack)).await?;
                    }
                    ServerFrame::Done => said.acked += 1,
                    ServerFrame::Drained(_) => {}
                    other => bail!("instead of a message came {other:?}"),
                },
                () = sleep_until(lost.into()) => bail!("a message was not there after {LOST:?}"),
            }
            times.extend(said.through().map(|due| due.elapsed()));
        }
        Ok(times)
    }
}

/// What a pair has said that has not come through: stored, delivered and its ack answered, each in order.
#[derive(Default)]
struct Said {
    /// When each was due.
    due: VecDeque<Instant>,
    /// How many of these are answered as stored.
    answered: usize,
    /// The acks of how many of these are answered.
    acked: usize,
}

impl Said {
    /// Takes those that have come through.
    fn through(&mut self) -> impl Iterator<Item = Instant> {
        let through = self.answered.min(self.acked).min(self.due.len());
        self.answered -= through;
        self.acked -= through;
        self.due.drain(..through)
    }
}

/// A guest signs in whenever it is due; later only if its last visit takes longer.
async fn visit(
    target: &Target,
    guest: &Person,
    first: Instant,
    over: &AtomicBool,
) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::new();
    let mut due = first;
    while !over.load(Ordering::Relaxed) {
        sleep_until(due.into()).await;
        let visit = async {
            let link = Link::signed_in(target, None, guest).await?;
            let time = due.elapsed();
            link.bye().await?;
            anyhow::Ok(time)
        };
        let time = timeout_at((due + LOST).into(), visit).await;
        times.push(time.with_context(|| format!("no answer after {LOST:?}"))??);
        due += EACH_LOGIN;
    }
    Ok(times)
}

/// Makes a few bytes durable as often as a pair says something, in a file that does not grow.
fn write(path: &Path, over: &AtomicBool) -> anyhow::Result<Vec<Duration>> {
    let bytes = [0xa5; FLOOR_ENVELOPE];
    let mut file = File::create(path)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    let mut times = Vec::new();
    let mut due = Instant::now();
    while !over.load(Ordering::Relaxed) {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        file.rewind()?;
        file.write_all(&bytes)?;
        file.sync_data()?;
        times.push(due.elapsed());
        due += EACH_MESSAGE;
    }
    Ok(times)
}
