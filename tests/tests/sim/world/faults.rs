//! What fails: the server's disk and its process between any two steps of theirs, and the process of a device.

use std::collections::{BTreeMap, VecDeque};

use rand::RngExt;
use sotto_client::core::Input as ClientInput;
use sotto_server::core::{ConnectionId, Input as ServerInput, Operation, StoreCall};
use sotto_store::StoreError;

use super::World;

/// What becomes of the next change that the server asks its store for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum StoreFault {
    /// It fails, as by a sync that fails: what it was about may be on the disk or not. The server has to end.
    Fails { done: bool },
    /// The server dies before it hears what came of it.
    Dies { done: bool },
}

/// When a device dies while it works on a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    /// It lives on.
    None,
    /// The transaction is not committed: the plug is pulled, or the commit fails.
    BeforeCommit,
    /// After it has performed so many of the batch's outputs.
    After(usize),
}

/// The server's part of what can go wrong.
#[derive(Default)]
pub(crate) struct Faults {
    /// Of the next change.
    pub(crate) store: Option<StoreFault>,
    /// The server dies after so many outputs.
    pub(crate) dies_after: Option<usize>,
    /// Changes wait for the disk until [`World::run_disk`].
    pub(crate) slow_disk: bool,
    waiting: VecDeque<(Operation, StoreCall)>,
    /// Devices that take nothing of what they are sent, and what the server waits to hear that they took.
    slow_readers: BTreeMap<usize, Vec<(ConnectionId, usize, usize)>>,
    /// Connections that broke without the server noticing.
    half_open: Vec<ConnectionId>,
}

/// Whether a call of the store waits in the line of changes; reads never wait for a sync.
fn is_change(call: &StoreCall) -> bool {
    matches!(
        call,
        StoreCall::CreateAccount(_)
            | StoreCall::ReplaceAccount { .. }
            | StoreCall::ResetAccount { .. }
            | StoreCall::RemoveAccount(..)
            | StoreCall::PutPrekeys(..)
            | StoreCall::ClaimPrekeys(..)
            | StoreCall::Append(_)
            | StoreCall::Ack(..)
            | StoreCall::Expire(_)
    )
}

impl World {
    /// The server wants something of its store.
    pub(super) fn store_asked(&mut self, operation: Operation, call: StoreCall) {
        if !is_change(&call) {
            let result = self.store_call(call);
            return self.store_answers(operation, result);
        }
        match self.faults.store.take() {
            Some(StoreFault::Fails { done }) => {
                self.lose_disk_line(done);
                if done {
                    drop(self.store_call(call));
                }
                let result = Err(StoreError::Failed("the disk failed".to_owned()));
                self.store_answers(operation, result);
            }
            Some(StoreFault::Dies { done }) => {
                self.lose_disk_line(done);
                if done {
                    drop(self.store_call(call));
                }
                self.crash_server();
            }
            None if self.faults.slow_disk => self.faults.waiting.push_back((operation, call)),
            None => {
                let result = self.store_call(call);
                self.store_answers(operation, result);
            }
        }
    }

    fn store_answers(
        &mut self,
        operation: Operation,
        result: Result<sotto_server::core::StoreReply, StoreError>,
    ) {
        let now_ms = self.server_clock_ms();
        if let Some(server) = self.server.as_mut() {
            server.handle(now_ms, ServerInput::Stored { operation, result });
        }
    }

    /// The disk takes a group of changes that wait, and then all of them are answered. Whether there were any.
    pub(crate) fn run_disk(&mut self, group: usize) -> bool {
        let group = group.min(self.faults.waiting.len());
        let calls: Vec<_> = self.faults.waiting.drain(..group).collect();
        let done: Vec<_> =
            calls.into_iter().map(|(operation, call)| (operation, self.store_call(call))).collect();
        let any = !done.is_empty();
        for (operation, result) in done {
            if self.server.is_none() {
                break;
            }
            self.store_answers(operation, result);
            self.drain_server();
        }
        any
    }

    /// Changes that wait when the server ends: those at the front may have reached the disk.
    pub(super) fn lose_disk_line(&mut self, all: bool) {
        let mut waiting = std::mem::take(&mut self.faults.waiting);
        if waiting.is_empty() {
            return;
        }
        let kept = if all { waiting.len() } else { self.rng.random_range(0..=waiting.len()) };
        for (_, call) in waiting.drain(..kept) {
            drop(self.store_call(call));
        }
    }

    /// The server sent something that it counts: it is told that the peer has taken it, unless the peer is slow.
    pub(super) fn written(&mut self, connection: ConnectionId, pushes: usize, answers: usize) {
        let reader = self.devices.iter().position(|device| device.connection == Some(connection));
        if let Some(owed) = reader.and_then(|reader| self.faults.slow_readers.get_mut(&reader)) {
            owed.push((connection, pushes, answers));
        } else if !self.faults.half_open.contains(&connection) {
            let now_ms = self.server_clock_ms();
            if let Some(server) = self.server.as_mut() {
                server.handle(now_ms, ServerInput::Written { connection, pushes, answers });
            }
        }
    }

    /// Whether a device's socket takes nothing from now on.
    pub(crate) fn slow_reader(&mut self, index: usize, slow: bool) {
        if slow {
            self.faults.slow_readers.entry(index).or_default();
        } else if let Some(owed) = self.faults.slow_readers.remove(&index) {
            for (connection, pushes, answers) in owed {
                self.written(connection, pushes, answers);
            }
            self.drain_server();
        }
    }

    /// A device's connection breaks and the server does not notice. What was under way to the device after its first `kept`
    /// inputs is lost.
    pub(crate) fn break_unnoticed(&mut self, index: usize, kept: usize) {
        if let Some(connection) = self.devices[index].connection.take() {
            self.lose_frames(index, kept);
            self.devices[index].inbox.push_back(ClientInput::Disconnected);
            self.faults.half_open.push(connection);
        }
    }

    /// The server notices which connections are gone.
    pub(crate) fn notice_broken(&mut self) {
        for connection in std::mem::take(&mut self.faults.half_open) {
            if self.server.is_some() {
                self.server_input(ServerInput::Disconnected { connection });
            }
        }
    }

    /// Frames that were on their way to a device are lost with its connection, all but the first few.
    pub(crate) fn lose_frames(&mut self, index: usize, kept: usize) {
        let mut seen = 0;
        self.devices[index].inbox.retain(|input| {
            seen += usize::from(matches!(input, ClientInput::Frame(_)));
            !matches!(input, ClientInput::Frame(_)) || seen <= kept
        });
    }

    /// Nothing fails any more.
    pub(crate) fn end_faults(&mut self) {
        self.faults.store = None;
        self.faults.dies_after = None;
        self.faults.slow_disk = false;
        self.store.set_disk_full(false);
        while self.run_disk(64) {}
        let slow: Vec<usize> = self.faults.slow_readers.keys().copied().collect();
        for index in slow {
            self.slow_reader(index, false);
        }
        self.notice_broken();
    }

    pub(super) fn forget_connections(&mut self) {
        self.faults.half_open.clear();
        for owed in self.faults.slow_readers.values_mut() {
            owed.clear();
        }
    }
}
