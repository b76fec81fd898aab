//! What a face is told without asking, and how it learns where things stand.

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::api::{ClientError, Connection, Event};

/// Where things stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The connection.
    pub connection: Connection,
    /// Whether all that waited in the mailbox when this connection came about is in the store.
    pub drained: bool,
    /// Whether keys of this device are on their way to the server.
    pub publishing: bool,
    /// Why the client has ended, if it has.
    pub ended: Option<ClientError>,
}

impl State {
    pub(super) fn new() -> Self {
        Self { connection: Connection::Connecting, drained: false, publishing: false, ended: None }
    }

    /// What keeps this from becoming online, as far as it is known: why it ended, or why the last attempt failed.
    pub(super) fn failure(&self) -> Option<&ClientError> {
        match (&self.ended, &self.connection) {
            (Some(error), _) | (None, Connection::Offline { error, .. }) => Some(error),
            _ => None,
        }
    }

    pub(super) fn online(&self) -> bool {
        self.connection == Connection::Online
    }
}

/// An event, or word that some were missed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Something happened.
    Event(Event),
    /// This face was too slow and events were dropped: what it shows has to be read again from the store.
    Lagged,
}

/// A face's own, bounded row of events.
#[derive(Debug)]
pub struct Events {
    receiver: Option<broadcast::Receiver<Notice>>,
}

impl Events {
    pub(super) fn new(receiver: Option<broadcast::Receiver<Notice>>) -> Self {
        Self { receiver }
    }

    /// The next one; `None` when the client has ended and everything was handed out. Cancel safe.
    pub async fn next(&mut self) -> Option<Notice> {
        match self.receiver.as_mut()?.recv().await {
            Ok(notice) => Some(notice),
            Err(broadcast::error::RecvError::Lagged(_)) => Some(Notice::Lagged),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }

    /// The next one, if it has happened already.
    pub fn next_already(&mut self) -> Option<Notice> {
        match self.receiver.as_mut()?.try_recv() {
            Ok(notice) => Some(notice),
            Err(broadcast::error::TryRecvError::Lagged(_)) => Some(Notice::Lagged),
            Err(broadcast::error::TryRecvError::Empty | broadcast::error::TryRecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn a_slow_face_is_told_and_goes_on_and_learns_of_the_end() {
        let (sender, receiver) = broadcast::channel(2);
        let mut events = Events::new(Some(receiver));
        for number in 0..5 {
            sender.send(Notice::Event(Event::Warning(number.to_string()))).unwrap();
        }
        let event = |number: u32| Some(Notice::Event(Event::Warning(number.to_string())));
        assert_eq!(events.next().await, Some(Notice::Lagged));
        assert_eq!(events.next().await, event(3));
        assert_eq!(events.next_already(), event(4));
        assert_eq!(events.next_already(), None);
        drop(sender);
        assert_eq!(events.next().await, None);
        assert_eq!(Events::new(None).next().await, None);
    }
}
