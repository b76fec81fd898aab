//! A device: how it comes and goes, and takes its inputs.

use std::collections::{BTreeMap, VecDeque};

use sotto_client::{
    api::{ClientError, Event, Reply},
    core::{
        CommandId, Core as ClientCore, CoreError, CoreOptions, Input as ClientInput, Output as ClientOutput,
    },
    store::{LocalStore, StoreError as LocalError},
};
use sotto_proto::{
    DeviceId, SignedDeviceList,
    frame::{ClientFrame, FrameDecoder},
    limits::MAX_FRAME,
};
use sotto_server::core::{ConnectionId, Input as ServerInput};

use super::{EXPORTER, SPKI, World};

/// A device: its store, and while it runs its core.
pub(crate) struct Device {
    pub(crate) account: usize,
    pub(crate) id: DeviceId,
    pub(crate) store: LocalStore,
    pub(super) core: Option<ClientCore>,
    pub(super) connection: Option<ConnectionId>,
    pub(super) inbox: VecDeque<ClientInput>,
    pub(super) decoder: FrameDecoder,
    pub(super) commands: u64,
    pub(crate) replies: BTreeMap<u64, Result<Reply, ClientError>>,
    pub(crate) events: Vec<Event>,
    /// The kinds of the requests it sent.
    pub(crate) asked: Vec<&'static str>,
    pub(crate) closed: Option<(ClientError, bool)>,
    pub(super) wake_ms: Option<u64>,
    /// How the last change of the password was settled.
    pub(crate) password_changed: Option<bool>,
}

impl World {
    pub(crate) fn start(&mut self, index: usize) {
        let device = &mut self.devices[index];
        let core = device.store.transaction(|tx| ClientCore::open(tx, CoreOptions { interactive: true }));
        device.core = Some(core.unwrap());
    }

    /// What was in the device's memory is gone, and so is every input it had not committed.
    pub(crate) fn crash(&mut self, index: usize) {
        self.disconnect(index);
        let device = &mut self.devices[index];
        device.core = None;
        device.inbox.clear();
        device.wake_ms = None;
    }

    pub(crate) fn connect(&mut self, index: usize) {
        if self.server.is_none() || self.devices[index].core.is_none() {
            return;
        }
        self.disconnect(index);
        let connection = self.connect_server();
        let device = &mut self.devices[index];
        device.connection = Some(connection);
        device.decoder = FrameDecoder::new(MAX_FRAME);
        device.closed = None;
        device.inbox.push_back(ClientInput::Connected { spki: SPKI.to_vec(), exporter: EXPORTER });
        // The chain is already on its way: the connection is known to its device only now.
        self.drain_server();
    }

    pub(crate) fn disconnect(&mut self, index: usize) {
        let Some(connection) = self.devices[index].connection.take() else { return };
        self.devices[index].inbox.push_back(ClientInput::Disconnected);
        self.to_server.retain(|(other, _, _)| *other != connection);
        if self.server.is_some() {
            self.server_input(ServerInput::Disconnected { connection });
        }
    }

    pub(crate) fn connected(&self, index: usize) -> bool {
        self.devices[index].connection.is_some()
    }

    pub(crate) fn running(&self, index: usize) -> bool {
        self.devices[index].core.is_some()
    }

    /// Gives a device up to `batch` of its inputs, in one transaction. With `commit` false it crashes before that.
    pub(crate) fn run_device(&mut self, index: usize, batch: usize, commit: bool) -> bool {
        let now_ms = self.now_ms;
        let (device, rng) = (&mut self.devices[index], &mut self.rng);
        let Some(core) = device.core.as_mut() else { return false };
        let due = device.wake_ms.is_some_and(|wake_ms| wake_ms <= now_ms);
        if device.inbox.is_empty() && !due {
            return false;
        }
        if due {
            device.wake_ms = None;
            device.inbox.push_back(ClientInput::Tick);
        }
        let inputs: Vec<ClientInput> = (0..batch).map_while(|_| device.inbox.pop_front()).collect();
        let mut out = Vec::new();
        let result: Result<(), Failure> = device.store.transaction(|tx| {
            for input in inputs {
                core.handle(now_ms, rng, tx, input, &mut out)?;
            }
            core.flush(now_ms, rng, tx, &mut out)?;
            if commit { Ok(()) } else { Err(Failure(None)) }
        });
        match result {
            Ok(()) => {}
            Err(Failure(None)) => {
                self.crash(index);
                return true;
            }
            Err(Failure(Some(error))) => panic!("device {index}: {error}"),
        }
        for output in out {
            self.perform(index, output);
        }
        true
    }

    pub(super) fn perform(&mut self, index: usize, output: ClientOutput) {
        let device = &mut self.devices[index];
        match output {
            ClientOutput::Send { request, frame } => {
                if let Some(connection) = device.connection {
                    device.asked.push(frame.name());
                    self.seen_by_server.extend(frame.encode(request).unwrap());
                    if let ClientFrame::ReplaceList(replace) = &frame {
                        self.lists_sent.push(SignedDeviceList::parse(&replace.list).unwrap());
                    }
                    self.to_server.push_back((connection, request, frame));
                }
            }
            ClientOutput::Reply(CommandId(id), reply) => {
                device.replies.insert(id, reply);
            }
            // The driver's part: here a change begins with its keys.
            ClientOutput::PasswordProven(_) => {}
            ClientOutput::PasswordSettled { changed } => device.password_changed = Some(changed),
            ClientOutput::Event(event) => device.events.push(event),
            ClientOutput::Close { error, reconnect } => {
                device.closed = Some((error, reconnect));
                self.disconnect(index);
            }
            ClientOutput::WakeAt(wake_ms) => device.wake_ms = Some(wake_ms),
        }
    }
}

/// Why a transaction was not committed: `None` where the simulation pulled the plug.
struct Failure(Option<CoreError>);

impl From<CoreError> for Failure {
    fn from(error: CoreError) -> Self {
        Self(Some(error))
    }
}

impl From<LocalError> for Failure {
    fn from(error: LocalError) -> Self {
        Self(Some(error.into()))
    }
}
