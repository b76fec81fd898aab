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
    limits::{self, DAY_MS, MAX_FRAME},
};
use sotto_server::core::{ConnectionId, Input as ServerInput};

use super::{Death, EXPORTER, World};

/// The kind of the frame that says what became of copies.
const FATES: u16 = 0x0140;

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
    /// When it wants to be woken, by its own clock.
    pub(super) wake_ms: Option<u64>,
    /// How far its clock is off, milliseconds.
    pub(crate) skew_ms: i64,
    /// When it last heard something of the server, and from when to when it heard nothing for more than a day.
    pub(super) heard_ms: u64,
    pub(crate) silences: Vec<(u64, u64)>,
    /// When it was told what became of its copies.
    pub(crate) fates_told_ms: Vec<u64>,
    /// How the last change of the password was settled.
    pub(crate) password_changed: Option<bool>,
}

impl Device {
    /// A moment by this device's clock.
    pub(crate) fn clock_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_add_signed(self.skew_ms)
    }

    /// When it wants to be woken.
    pub(super) fn wakes_at_ms(&self) -> Option<u64> {
        self.wake_ms.map(|wake_ms| wake_ms.saturating_add_signed(-self.skew_ms))
    }

    fn hears(&mut self, now_ms: u64, fates: bool) {
        self.fates_told_ms.extend(fates.then_some(now_ms));
        if now_ms.saturating_sub(self.heard_ms) > DAY_MS {
            self.silences.push((self.heard_ms, now_ms));
        }
        self.heard_ms = now_ms;
    }

    /// How many commands it was given: the number of the last one.
    pub(crate) fn commands(&self) -> u64 {
        self.commands
    }
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
        if self.server.is_none() {
            // It died over the end of the old connection.
            return;
        }
        let (connection, spki) = (self.connect_server(), self.spki());
        let device = &mut self.devices[index];
        device.connection = Some(connection);
        device.decoder = FrameDecoder::new(MAX_FRAME);
        device.closed = None;
        device.inbox.push_back(ClientInput::Connected { spki, exporter: EXPORTER });
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

    /// Sets a device's clock so many days off, as its driver notices.
    pub(crate) fn set_clock(&mut self, index: usize, days: i64) {
        let device = &mut self.devices[index];
        device.skew_ms = days * i64::try_from(DAY_MS).unwrap();
        if device.core.is_some() {
            device.inbox.push_back(ClientInput::Tick);
        }
    }

    pub(crate) fn connected(&self, index: usize) -> bool {
        self.devices[index].connection.is_some()
    }

    pub(crate) fn running(&self, index: usize) -> bool {
        self.devices[index].core.is_some()
    }

    /// Whether who closes a device's program has to wait for something.
    pub(crate) fn busy(&self, index: usize) -> bool {
        self.devices[index].core.as_ref().is_some_and(ClientCore::is_busy)
    }

    /// Gives a device up to `batch` of its inputs, in one transaction. With `commit` false it crashes before that.
    pub(crate) fn run_device(&mut self, index: usize, batch: usize, commit: bool) -> bool {
        self.run_device_until(index, batch, if commit { Death::None } else { Death::BeforeCommit })
    }

    /// The same, with any end.
    pub(crate) fn run_device_until(&mut self, index: usize, batch: usize, death: Death) -> bool {
        let now_ms = self.devices[index].clock_ms(self.now_ms);
        let commit = death != Death::BeforeCommit;
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
        let hears = commit && inputs.iter().any(|input| matches!(input, ClientInput::Frame(_)));
        let told =
            inputs.iter().any(|input| matches!(input, ClientInput::Frame(frame) if frame.kind == FATES));
        let mut out = Vec::new();
        let result: Result<(), Failure> = device.store.transaction(|tx| {
            for input in inputs {
                core.handle(now_ms, rng, tx, input, &mut out)?;
            }
            core.flush(now_ms, rng, tx, &mut out)?;
            if commit { Ok(()) } else { Err(Failure(None)) }
        });
        match result {
            Ok(()) if hears => device.hears(self.now_ms, told),
            Ok(()) => {}
            Err(Failure(None)) => {
                self.crash(index);
                return true;
            }
            Err(Failure(Some(error))) => panic!("device {index}: {error}"),
        }
        let performed = if let Death::After(outputs) = death { outputs } else { out.len() };
        for output in out.into_iter().take(performed) {
            self.perform(index, output);
        }
        if death != Death::None {
            self.crash(index);
        }
        true
    }

    pub(super) fn perform(&mut self, index: usize, output: ClientOutput) {
        let device = &mut self.devices[index];
        match output {
            ClientOutput::Send { request, frame } => {
                if let Some(connection) = device.connection {
                    self.seen_by_server.extend(frame.encode(request).unwrap());
                    check_bounds(&frame);
                    if let ClientFrame::Submit(submit) = &frame {
                        self.note_submit(index, submit);
                    }
                    let device = &mut self.devices[index];
                    device.asked.push(frame.name());
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

/// A client asks for no more at a time than a server answers.
fn check_bounds(frame: &ClientFrame) {
    let within =
        |what: &str, count: usize, most: usize| assert!(count <= most, "{count} {what} in one request");
    match frame {
        ClientFrame::Submit(submit) => {
            within("envelopes", submit.envelopes.len(), limits::MAX_ENVELOPES_PER_SUBMIT);
            within("lists", submit.lists.len(), limits::MAX_LISTS);
            for outgoing in &submit.envelopes {
                within("bytes of an envelope", outgoing.envelope.len(), limits::MAX_ENVELOPE);
            }
        }
        ClientFrame::LookupLists(lookup) => {
            within("lists", lookup.names.len() + lookup.accounts.len(), limits::MAX_LISTS);
        }
        ClientFrame::ClaimBundles(claim) => within("devices", claim.devices.len(), limits::MAX_DEVICES),
        ClientFrame::QueryFates(query) => within("tags", query.tags.len(), limits::MAX_FATES_PER_QUERY),
        ClientFrame::PublishKeys(publish) => {
            let upload = &publish.upload;
            within("one-time keys", upload.one_time.len(), limits::MAX_ONE_TIME_PREKEYS);
            within("one-time ML-KEM keys", upload.one_time_kem.len(), limits::MAX_ONE_TIME_KEM_PREKEYS);
        }
        ClientFrame::ListUsers(list) => within("names", list.limit.into(), limits::MAX_USERS_PER_PAGE),
        _ => {}
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
