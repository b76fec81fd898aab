//! Those who attack: tasks of a runtime of their own, whose threads stand back for everybody else. Attackers of a real
//! server have machines of their own; here they take only what processor time the server and its honest clients leave.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// The lowest priority there is.
const NICE: i32 = 19;
/// Attackers of one address, where an attack comes from many: below what a server takes from one.
pub(super) const PER_ADDRESS: usize = 400;

/// The attackers' runtime.
pub(super) struct Crew {
    runtime: Option<Runtime>,
    handle: Handle,
    time: Duration,
    strength: usize,
}

impl Crew {
    /// Attackers who are at it for so long, in so many of a hundred of their full number.
    pub(super) fn gather(time: Duration, strength: usize) -> anyhow::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .enable_all()
            .thread_name("attacker")
            .on_thread_start(|| {
                // The calling thread's own, on Linux. Where it is refused, the figures are only worse.
                let _was_it_refused = rustix::process::setpriority_process(None, NICE);
            })
            .build()
            .context("starting the attackers' runtime")?;
        let handle = runtime.handle().clone();
        Ok(Self { runtime: Some(runtime), handle, time, strength })
    }

    /// How many attackers there are where the full number is `all`.
    pub(super) fn count(&self, all: usize) -> usize {
        (all * self.strength).div_ceil(100)
    }

    /// How long an attack lasts.
    pub(super) fn time(&self) -> Duration {
        self.time
    }

    /// When an attack that begins now is over.
    pub(super) fn until(&self) -> Instant {
        Instant::now() + self.time
    }

    /// Lets so many attackers loose, each with its number; what each has to tell. The first error ends it.
    pub(super) async fn all<F, T>(
        &self,
        count: usize,
        mut work: impl FnMut(usize) -> F,
    ) -> anyhow::Result<Vec<T>>
    where
        F: Future<Output = anyhow::Result<T>> + Send + 'static,
        T: Send + 'static,
    {
        let mut tasks = JoinSet::new();
        for number in 0..count {
            tasks.spawn_on(work(number), &self.handle);
        }
        let mut told = Vec::with_capacity(count);
        while let Some(done) = tasks.join_next().await {
            told.push(done.context("an attacker failed")??);
        }
        Ok(told)
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        // In an asynchronous context a runtime must not wait for its threads.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// An address that no honest client has; there are some 60,000.
pub(super) fn address(number: usize) -> IpAddr {
    let [_, _, high, low] = u32::try_from(number % 0xffff + 1).unwrap_or(1).to_be_bytes();
    Ipv4Addr::new(127, 66, high, low).into()
}

/// What came of something that attackers did many times.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Tally {
    /// How often it was done, or asked for.
    pub(super) tried: u64,
    /// How often the server granted it.
    pub(super) granted: u64,
    /// How often the server refused.
    pub(super) refused: u64,
}

impl Tally {
    pub(super) fn sum(tallies: impl IntoIterator<Item = Self>) -> Self {
        tallies.into_iter().fold(Self::default(), |sum, one| Self {
            tried: sum.tried + one.tried,
            granted: sum.granted + one.granted,
            refused: sum.refused + one.refused,
        })
    }
}
