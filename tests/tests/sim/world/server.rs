//! The server: its core, its store, and what it sends.

use std::sync::Arc;

use sotto_client::core::Input as ClientInput;
use sotto_proto::{
    DeviceId, QueueNumber,
    frame::{Deliver, FrameDecoder, PUSH, ServerFrame},
    limits::MAX_FRAME,
    prekey::{PrekeyBundle, PrekeyCounts},
};
use sotto_server::core::{
    ConnectionId, Core as ServerCore, Input as ServerInput, Job, Output as ServerOutput, SendClass,
    StoreCall, StoreReply, WorkResult,
};
use sotto_store::{MemoryStore, Pending, Store, StoreConfig, StoreError};

use super::{EXPORTER, World, observed::Noted};

pub(super) fn wait<T>(pending: Pending<T>) -> Result<T, StoreError> {
    use std::{future::Future, pin::pin, task};
    let mut pending = pin!(pending);
    match pending.as_mut().poll(&mut task::Context::from_waker(task::Waker::noop())) {
        task::Poll::Ready(result) => result,
        task::Poll::Pending => panic!("the memory store answers at once"),
    }
}

impl World {
    pub(crate) fn start_server(&mut self) {
        self.server = Some(ServerCore::new(self.config, &self.chain, "$none".to_owned()).unwrap());
        // As its driver does: what is past its time goes before anybody connects.
        self.tick_server();
    }

    /// What was in the server's memory is gone; what its store said is stored is there.
    pub(crate) fn crash_server(&mut self) {
        self.server = None;
        self.to_server.clear();
        self.lose_disk_line(false);
        self.forget_connections();
        self.faults.dies_after = None;
        for index in 0..self.devices.len() {
            self.disconnect(index);
        }
    }

    /// The server's store is empty, as if it came back from a backup from before anybody registered.
    pub(crate) fn forget_everything(&mut self) {
        self.crash_server();
        self.store = Arc::new(MemoryStore::new(StoreConfig::default()));
        // Its mailboxes are others than before, as random as those of a real store.
        self.losses += 1;
        for _ in 0..self.losses {
            self.store.restored();
        }
        self.start_server();
    }

    /// The server goes on with a copy of its data from some time ago.
    pub(crate) fn put_back(&mut self, copy: MemoryStore) {
        self.crash_server();
        self.store = Arc::new(copy);
        self.start_server();
    }

    /// The server's data comes back from before an account's newest list.
    pub(crate) fn restore_first_list(&mut self, account: usize) {
        let known = &self.accounts[account];
        let record = wait(self.store.account(known.id)).unwrap().unwrap();
        let mut old = record.clone();
        old.list = known.first.as_bytes().to_vec();
        old.devices = known.first.list().devices.iter().map(|signed| signed.certificate().device).collect();
        wait(self.store.replace_account(&record, old)).unwrap();
        self.crash_server();
        self.store.restored();
        self.start_server();
    }

    /// Somebody else enrols an account at a server that lost it.
    pub(crate) fn register_again(&mut self, index: usize) {
        let account = self.devices[index].account;
        let first = self.accounts[account].first.clone();
        let device = Arc::clone(&self.accounts[account].first_device);
        self.register(&first, &device);
        self.put_list(account);
    }

    pub(super) fn connect_server(&mut self) -> ConnectionId {
        let challenge = self.random();
        self.connect_with(challenge)
    }

    pub(super) fn connect_with(&mut self, challenge: [u8; 32]) -> ConnectionId {
        self.next_connection += 1;
        let connection = ConnectionId(self.next_connection);
        let peer = "127.0.0.1:1".parse().unwrap();
        let input = ServerInput::Connected { connection, peer, challenge, exporter: EXPORTER };
        let now_ms = self.server_clock_ms();
        self.server.as_mut().unwrap().handle(now_ms, input);
        connection
    }

    pub(super) fn server_input(&mut self, input: ServerInput) {
        let now_ms = self.server_clock_ms();
        self.server.as_mut().unwrap().handle(now_ms, input);
        self.drain_server();
    }

    pub(crate) fn drain_server(&mut self) {
        while let Some(server) = self.server.as_mut() {
            let Some(output) = server.next_output() else { return };
            match self.faults.dies_after.as_mut() {
                Some(0) => return self.crash_server(),
                Some(left) => *left -= 1,
                None => {}
            }
            match output {
                ServerOutput::Send { connection, bytes, class } => {
                    self.pass_on(connection, &bytes);
                    let (pushes, answers) = match class {
                        SendClass::Push => (bytes.len(), 0),
                        SendClass::LongAnswer { length, .. } => (0, length),
                        SendClass::Answer { .. } | SendClass::Notice => (0, 0),
                    };
                    if pushes + answers > 0 {
                        self.written(connection, pushes, answers);
                    }
                }
                ServerOutput::Close { connection } => {
                    for device in &mut self.devices {
                        if device.connection == Some(connection) {
                            device.connection = None;
                            device.inbox.push_back(ClientInput::Disconnected);
                        }
                    }
                }
                ServerOutput::Store { operation, call } => self.store_asked(operation, call),
                ServerOutput::Work { operation, job } => {
                    let result = match job {
                        Job::HashPassword(key) => WorkResult::Hashed(format!("$simulated {:?}", key.0)),
                        Job::VerifyPassword { auth_key, hash } => {
                            WorkResult::Verified(hash == format!("$simulated {:?}", auth_key.0))
                        }
                        Job::Verify(verification) => verification.run(),
                    };
                    let now_ms = self.server_clock_ms();
                    self.server.as_mut().unwrap().handle(now_ms, ServerInput::Worked { operation, result });
                }
                ServerOutput::Failed(text) => {
                    assert_eq!(
                        text,
                        sotto_store::StoreError::Failed("the disk failed".to_owned()).to_string()
                    );
                    return self.crash_server();
                }
                ServerOutput::SignedIn { .. }
                | ServerOutput::Log(_)
                | ServerOutput::Operator { .. }
                | ServerOutput::Ordered { .. } => {}
            }
        }
    }

    pub(super) fn store_call(&mut self, call: StoreCall) -> Result<StoreReply, StoreError> {
        let noted = Noted::of(&call, self.retention_ms);
        let reply = self.call(call)?;
        self.note_stored(&noted, &reply);
        Ok(reply)
    }

    fn call(&self, call: StoreCall) -> Result<StoreReply, StoreError> {
        let store = &self.store;
        Ok(match call {
            StoreCall::CreateAccount(account) => StoreReply::Created(wait(store.create_account(account))?),
            StoreCall::AccountByName(name) => StoreReply::Account(wait(store.account_by_name(&name))?),
            StoreCall::Account(account) => StoreReply::Account(wait(store.account(account))?),
            StoreCall::ReplaceAccount { expected, new } => {
                StoreReply::Replaced(wait(store.replace_account(&expected, new))?)
            }
            StoreCall::ResetAccount { expected, list, now_ms } => {
                StoreReply::Replaced(wait(store.reset_account(&expected, list, now_ms))?)
            }
            StoreCall::RemoveAccount(account, now_ms) => {
                StoreReply::Removed(wait(store.remove_account(account, now_ms))?)
            }
            StoreCall::Ended(account, now_ms) => StoreReply::Ended(wait(store.ended(account, now_ms))?),
            StoreCall::Invite(hash) => StoreReply::Invite(wait(store.invite(hash))?),
            StoreCall::Names { after, limit } => StoreReply::Names(wait(store.names(after, limit))?),
            StoreCall::PutPrekeys(device, upload) => {
                StoreReply::PrekeyCounts(wait(store.put_prekeys(device, upload))?)
            }
            StoreCall::PrekeyCounts(device) => StoreReply::PrekeyCounts(wait(store.prekey_counts(device))?),
            StoreCall::ClaimPrekeys(devices, one_time, now_ms) => {
                StoreReply::Bundles(wait(store.claim_prekeys(devices, one_time, now_ms))?)
            }
            StoreCall::Append(submission) => StoreReply::Appended(wait(store.append(submission))?),
            StoreCall::Submission(key) => StoreReply::Submission(wait(store.submission(key))?),
            StoreCall::Mailbox(device) => StoreReply::Mailbox(wait(store.mailbox(device))?),
            StoreCall::Read { device, after, max_bytes } => {
                StoreReply::Deliveries(wait(store.read(device, after, max_bytes))?)
            }
            StoreCall::Ack(device, through) => StoreReply::Acked(wait(store.ack(device, through))?),
            StoreCall::Fates(tags) => StoreReply::Fates(wait(store.fates(tags))?),
            StoreCall::Expire(now_ms) => StoreReply::Expired(wait(store.expire(now_ms))?),
        })
    }

    pub(super) fn pass_on(&mut self, connection: ConnectionId, bytes: &[u8]) {
        let Some(index) = self.devices.iter().position(|device| device.connection == Some(connection)) else {
            return;
        };
        self.devices[index].decoder.push(bytes);
        while let Some(raw) = self.devices[index].decoder.next_frame().unwrap() {
            let raw = match self.tamper.as_mut() {
                None => Some(raw),
                Some(tamper) => {
                    let request = raw.request;
                    let frame = ServerFrame::decode(raw.kind, &raw.payload).unwrap().unwrap();
                    tamper(index, frame).map(|frame| {
                        let mut decoder = FrameDecoder::new(MAX_FRAME);
                        decoder.push(&frame.encode(request).unwrap());
                        decoder.next_frame().unwrap().unwrap()
                    })
                }
            };
            if let Some(raw) = raw {
                self.devices[index].inbox.push_back(ClientInput::Frame(raw));
            }
        }
    }

    /// A device is told something that nobody asked for: by the server, or by whoever it takes for the server.
    pub(crate) fn push(&mut self, index: usize, frame: &ServerFrame) {
        let mut decoder = FrameDecoder::new(MAX_FRAME);
        decoder.push(&frame.encode(PUSH).unwrap());
        let raw = decoder.next_frame().unwrap().unwrap();
        self.devices[index].inbox.push_back(ClientInput::Frame(raw));
    }

    /// A device's mailbox seems to hold this next.
    pub(crate) fn arrive(&mut self, index: usize, envelope: &[u8]) {
        let number = QueueNumber(self.cursor(index).unwrap().number.0 + 1);
        let (stored_ms, lost_through) = (self.now_ms, QueueNumber(0));
        let envelope = envelope.to_vec().into();
        self.push(index, &ServerFrame::Deliver(Deliver { number, lost_through, stored_ms, envelope }));
        self.settle();
    }

    /// The server takes one frame.
    pub(crate) fn run_server(&mut self) -> bool {
        let Some((connection, request, frame)) = self.to_server.pop_front() else { return false };
        if self.server.is_some() {
            self.server_input(ServerInput::Frame { connection, request, size: 0, frame });
        }
        true
    }

    /// The server takes the first frame of the connection that the frame at `place` came by: connections are not ordered
    /// among each other.
    pub(crate) fn run_server_at(&mut self, place: usize) -> bool {
        if self.to_server.is_empty() {
            return false;
        }
        let place = place % self.to_server.len();
        let connection = self.to_server[place].0;
        let first = self.to_server.iter().position(|(other, ..)| *other == connection).unwrap_or(place);
        let Some((connection, request, frame)) = self.to_server.remove(first) else { return false };
        if self.server.is_some() {
            self.server_input(ServerInput::Frame { connection, request, size: 0, frame });
        }
        true
    }

    /// The time by the server's clock.
    pub(super) fn server_clock_ms(&self) -> u64 {
        self.now_ms.saturating_add_signed(self.server_skew_ms)
    }

    /// The server's clock has moved on.
    pub(crate) fn tick_server(&mut self) {
        if self.server.is_some() {
            self.server_input(ServerInput::Tick);
        }
    }

    /// What the server has of a device's prekeys.
    pub(crate) fn published(&self, device: DeviceId) -> PrekeyCounts {
        wait(self.store.prekey_counts(device)).unwrap()
    }

    /// Claims keys of a device, as somebody who means to write to it.
    pub(crate) fn claim(&self, index: usize) -> PrekeyBundle {
        wait(self.store.claim_prekeys(vec![self.devices[index].id], true, self.now_ms))
            .unwrap()
            .remove(0)
            .unwrap()
    }

    /// Claims a device's one-time keys until none is left.
    pub(crate) fn drain_one_time_keys(&mut self, device: DeviceId) {
        for _ in 0..200 {
            wait(self.store.claim_prekeys(vec![device], true, self.now_ms)).unwrap();
        }
        let left = wait(self.store.prekey_counts(device)).unwrap();
        assert_eq!((left.one_time, left.one_time_kem), (0, 0));
    }
}
