//! The connection: made, lost, given up, and tried again.

use std::time::Instant;

use sotto_proto::frame::{ClientFrame, RawFrame};
use tokio::sync::oneshot;

use super::{BATCH, Driver, Told};
use crate::{
    api::{ClientError, Connection as Standing, ErrorKind},
    core::Input,
    driver::{
        connection::{Connection, End},
        link::{Link, Up},
        os_rng,
    },
};

impl Driver {
    pub(super) fn send(&mut self, request: u32, frame: &ClientFrame) {
        // Without a connection the core is about to learn so, and sends again when there is one.
        let Link::Up(up) = &mut self.link else { return };
        match frame.encode(request) {
            Ok(bytes) => up.push(bytes),
            Err(cause) => {
                let error = ClientError::new(ErrorKind::Bug, format!("a {} cannot be encoded", frame.name()));
                self.closed(error.cause(cause), false);
                return;
            }
        }
        if matches!(frame, ClientFrame::PublishKeys(_)) {
            self.publishing = Some(request);
            self.faces.state.send_modify(|state| state.publishing = true);
        }
    }

    pub(super) fn frames(&mut self, first: Result<RawFrame, End>) {
        let mut next = Some(first);
        while let Some(frame) = next {
            match frame {
                Ok(frame) => {
                    if self.publishing == Some(frame.request) {
                        self.publishing = None;
                        self.faces.state.send_modify(|state| state.publishing = false);
                    }
                    self.inbox.push_back(Input::Frame(frame));
                }
                Err(end) => return self.lost(end.into()),
            }
            next = match &mut self.link {
                Link::Up(up) if self.inbox.len() < BATCH => up.connection.try_next(),
                _ => None,
            };
        }
    }

    pub(super) fn dial(&mut self) {
        let (answer, dialed) = oneshot::channel();
        let server = self.server.clone();
        let stop = self.faces.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                // The loop has gone if this fails.
                result = Connection::open(&server) => drop(answer.send(result)),
                () = stop.cancelled() => {}
            }
        });
        self.link = Link::Dialing(dialed);
        self.stand(Standing::Connecting);
    }

    pub(super) fn dialed(&mut self, dialed: Result<Connection, ClientError>) {
        // Ended tasks are collected here and at the end.
        while self.tasks.try_join_next().is_some() {}
        match dialed {
            Ok(connection) => {
                self.inbox.push_back(Input::Connected {
                    spki: connection.spki.clone(),
                    exporter: connection.exporter,
                });
                self.link = Link::Up(Up::new(connection, Instant::now()));
            }
            Err(error) => self.retry_later(error),
        }
    }

    /// The connection ended by itself. What had arrived before is still taken: it may say why.
    pub(super) fn lost(&mut self, error: ClientError) {
        self.hang_up();
        self.link = Link::Lost(error);
    }

    /// The core wants no more of this connection.
    pub(super) fn closed(&mut self, error: ClientError, reconnect: bool) {
        if matches!(self.link, Link::Up(_)) {
            self.inbox.retain(|input| !matches!(input, Input::Frame(_)));
            self.hang_up();
        }
        if reconnect {
            self.link = Link::Lost(error);
        } else {
            self.link = Link::Parked;
            self.stand(Standing::Offline { error, retry_in_ms: None });
        }
    }

    fn hang_up(&mut self) {
        if let Link::Up(up) = std::mem::replace(&mut self.link, Link::Parked) {
            // What the core sent before it closed leaves first.
            self.tasks.spawn(async move { drop(up.close().await) });
            self.inbox.push_back(Input::Disconnected);
            self.told = Told::Waiting;
        }
        self.publishing = None;
        self.faces.state.send_modify(|state| {
            state.drained = false;
            state.publishing = false;
        });
    }

    pub(super) fn retry_later(&mut self, error: ClientError) {
        let now = Instant::now();
        let wait = self.backoff.failed(now, &mut os_rng());
        self.failed = now;
        self.link = Link::Waiting(now + wait);
        let retry_in_ms = u64::try_from(wait.as_millis()).ok();
        self.stand(Standing::Offline { error, retry_in_ms });
    }

    /// The machine slept, or its clock was set.
    pub(super) fn slept(&mut self, now: Instant) {
        match &mut self.link {
            Link::Waiting(until) => {
                self.backoff.reset();
                *until = now;
            }
            Link::Up(up) => up.probe(now),
            _ => {}
        }
    }
}
