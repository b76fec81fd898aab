//! What the loop is asked, and where its answers go.

use tokio::sync::{mpsc, oneshot};

use crate::api::{ClientError, Command, Reply};

/// The answer to a command.
pub(super) type Outcome = Result<Reply, ClientError>;

/// What the loop is asked.
#[derive(Debug)]
pub(super) enum Request {
    /// For the core.
    Command(Command, Answer),
    /// A face came that wants a connection: try now if a wait is under way. Answered when the state shows it.
    Connect(oneshot::Sender<()>),
}

/// Where an answer goes.
#[derive(Debug)]
pub(super) enum Answer {
    /// To a face in this process.
    Here(oneshot::Sender<Outcome>),
    /// To a face on the local socket, under its own number; its place in the row of answers is taken already.
    Socket(u64, mpsc::OwnedPermit<(u64, Outcome)>),
}

impl Answer {
    pub(super) fn give(self, outcome: Outcome) {
        // A face that has gone needs no answer.
        match self {
            Self::Here(to) => drop(to.send(outcome)),
            Self::Socket(number, to) => drop(to.send((number, outcome))),
        }
    }
}
