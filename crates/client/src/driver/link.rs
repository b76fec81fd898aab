//! The connection from the loop's side: whether there is one, and what waits to leave through it.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use sotto_proto::frame::RawFrame;
use tokio::sync::{mpsc, oneshot};

use super::connection::{Connection, End, ping};
use crate::api::ClientError;

/// For the server to say anything after the machine slept, before the connection is taken to be dead.
const PROBE: Duration = Duration::from_secs(10);

/// For the server's chain and the login. A server that lets a connection stand without a word must not keep anybody
/// waiting for as long as one that was heard before.
const LOGIN: Duration = Duration::from_secs(30);

/// The connection.
pub(super) enum Link {
    /// None; the next attempt is at this time.
    Waiting(Instant),
    /// An attempt is under way.
    Dialing(oneshot::Receiver<Result<Connection, ClientError>>),
    /// TLS stands.
    Up(Up),
    /// None any more, and why; the core has still to take what came before the end, which may say more.
    Lost(ClientError),
    /// None, and none is wanted.
    Parked,
}

/// A connection that stands.
pub(super) struct Up {
    pub(super) connection: Connection,
    writes: mpsc::Sender<Vec<u8>>,
    /// What the writing task has no room for. The core bounds it: it waits for answers before it asks more. Reading goes
    /// on meanwhile, for a server that waits to be read would never read.
    backlog: VecDeque<Vec<u8>>,
    /// After a sleep: what had been heard then, and until when more has to come.
    probe: Option<(u64, Instant)>,
    /// Until when the login has to be done, if it is not.
    login: Option<Instant>,
}

impl Up {
    pub(super) fn new(connection: Connection, now: Instant) -> Self {
        let writes = connection.writes();
        Self { connection, writes, backlog: VecDeque::new(), probe: None, login: Some(now + LOGIN) }
    }

    /// Puts an encoded frame behind those that wait.
    pub(super) fn push(&mut self, frame: Vec<u8>) {
        self.backlog.push_back(frame);
    }

    /// Gives the writing task what it has room for.
    pub(super) fn feed(&mut self) {
        while let Some(frame) = self.backlog.pop_front() {
            match self.writes.try_send(frame) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(frame)) => {
                    self.backlog.push_front(frame);
                    return;
                }
                // The end of the frames says why.
                Err(mpsc::error::TrySendError::Closed(_)) => self.backlog.clear(),
            }
        }
    }

    /// The next frame, or `None` when the writing task has room again. With `reading` false nothing is
    /// read. Cancel safe.
    pub(super) async fn next(&mut self, reading: bool) -> Option<Result<RawFrame, End>> {
        let blocked = !self.backlog.is_empty() && !self.writes.is_closed();
        tokio::select! {
            frame = self.connection.next(), if reading => Some(frame),
            _ = self.writes.reserve(), if blocked => None,
            else => std::future::pending().await,
        }
    }

    /// Asks for a sign of life, for the machine slept and the peer may have gone meanwhile.
    pub(super) fn probe(&mut self, now: Instant) {
        if self.probe.is_none() {
            self.probe = Some((self.connection.heard(), now + PROBE));
            if let Some(ping) = ping() {
                self.push(ping);
            }
        }
    }

    /// The login is done.
    pub(super) fn logged_in(&mut self) {
        self.login = None;
    }

    /// Whether login or sign of life did not come in time.
    pub(super) fn is_dead(&mut self, now: Instant) -> bool {
        if self.login.is_some_and(|until| now >= until) {
            return true;
        }
        let Some((heard, until)) = self.probe else { return false };
        if self.connection.heard() != heard {
            self.probe = None;
        }
        self.probe.is_some() && now >= until
    }

    /// When [`Self::is_dead`] can change by itself.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.probe.map(|(_, until)| until).into_iter().chain(self.login).min()
    }

    /// Lets what waits leave, and ends the connection; answers with what the server said until then. Takes at most as
    /// long as [`Connection::close`].
    pub(super) fn close(self) -> impl Future<Output = Vec<RawFrame>> + Send + 'static {
        let Self { connection, writes, backlog, .. } = self;
        drop(writes);
        connection.close(backlog)
    }
}
