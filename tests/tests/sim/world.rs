//! A server, some devices, and the wires between them.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use sotto_client::{
    api::{ClientError, Command, Event, Fate, Recipient, Reply, Row, RowBody},
    core::{CommandId, Core as ClientCore, CoreOptions, Input as ClientInput, Output as ClientOutput},
    store::{Identity, LocalStore, ServerPin},
};
use sotto_crypto::{AccountSecret, DeviceSecret, Pair, PeerSessions, Purpose};
use sotto_proto::{
    AccountId, Certificate, DeviceId, DeviceList, FateTag, KeyChain, ListHash, MessageId, SignedDeviceList,
    SubmissionId, Username,
    content::{Content, ListRef, Place, kind},
    frame::{AuthKey, ClientFrame, FrameDecoder, OutgoingEnvelope, Register, ServerFrame, Submit, UsedList},
    limits::MAX_FRAME,
    prekey::PrekeyCounts,
};
use sotto_server::core::{
    ConnectionId, Core as ServerCore, CoreConfig, Input as ServerInput, Job, Output as ServerOutput,
    SendClass, StoreCall, StoreReply, WorkResult,
};
use sotto_store::{MemoryStore, Pending, Store, StoreConfig, StoreError};

const SPKI: &[u8] = b"the server's key";

/// An account: its secret stands here because the simulation plays the person who holds the recovery phrase.
pub(crate) struct Account {
    pub(crate) name: Username,
    pub(crate) id: AccountId,
    pub(crate) secret: AccountSecret,
    /// What it registered with.
    first: SignedDeviceList,
    /// The newest.
    pub(crate) list: SignedDeviceList,
}

/// A device: its store, and while it runs its core.
pub(crate) struct Device {
    pub(crate) account: usize,
    pub(crate) id: DeviceId,
    pub(crate) store: LocalStore,
    core: Option<ClientCore>,
    connection: Option<ConnectionId>,
    inbox: VecDeque<ClientInput>,
    decoder: FrameDecoder,
    commands: u64,
    pub(crate) replies: BTreeMap<u64, Result<Reply, ClientError>>,
    pub(crate) events: Vec<Event>,
    pub(crate) closed: Option<(ClientError, bool)>,
    wake_ms: Option<u64>,
}

/// Changes a frame on its way from the server to a device, or drops it: what a hostile server or wire does.
pub(crate) type Tamper = Box<dyn FnMut(usize, ServerFrame) -> Option<ServerFrame>>;

/// Everything.
pub(crate) struct World {
    pub(crate) now_ms: u64,
    pub(crate) rng: StdRng,
    pub(crate) server: Option<ServerCore>,
    pub(crate) store: Arc<MemoryStore>,
    config: CoreConfig,
    pub(crate) accounts: Vec<Account>,
    pub(crate) devices: Vec<Device>,
    /// Frames that devices have sent and the server has not read.
    to_server: VecDeque<(ConnectionId, u32, ClientFrame)>,
    next_connection: u64,
    pub(crate) tamper: Option<Tamper>,
    /// New devices do not connect by themselves.
    absent: bool,
    /// Every byte that the server was sent, for searches.
    pub(crate) seen_by_server: Vec<u8>,
}

fn wait<T>(pending: Pending<T>) -> Result<T, StoreError> {
    use std::{future::Future, pin::pin, task};
    let mut pending = pin!(pending);
    match pending.as_mut().poll(&mut task::Context::from_waker(task::Waker::noop())) {
        task::Poll::Ready(result) => result,
        task::Poll::Pending => panic!("the memory store answers at once"),
    }
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self::with(seed, CoreConfig::default(), StoreConfig::default())
    }

    pub(crate) fn with(seed: u64, config: CoreConfig, store: StoreConfig) -> Self {
        let mut world = Self {
            now_ms: 1_790_000_000_000,
            rng: StdRng::seed_from_u64(seed),
            server: None,
            store: Arc::new(MemoryStore::new(store)),
            config,
            accounts: Vec::new(),
            devices: Vec::new(),
            to_server: VecDeque::new(),
            next_connection: 0,
            tamper: None,
            absent: false,
            seen_by_server: Vec::new(),
        };
        world.start_server();
        world
    }

    fn chain() -> KeyChain {
        KeyChain { first: SPKI.to_vec(), successors: Vec::new() }
    }

    pub(crate) fn start_server(&mut self) {
        self.server = Some(ServerCore::new(self.config, &Self::chain(), "$none".to_owned()).unwrap());
    }

    /// What was in the server's memory is gone; what its store said is stored is there.
    pub(crate) fn crash_server(&mut self) {
        self.server = None;
        self.to_server.clear();
        for index in 0..self.devices.len() {
            self.disconnect(index);
        }
    }

    pub(crate) fn random<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    // People and devices.

    /// An account with its first device, registered and connected.
    pub(crate) fn person(&mut self, name: &str) -> usize {
        let secret = AccountSecret::generate(&mut self.rng);
        let name: Username = name.parse().unwrap();
        let id = AccountId(self.random());
        let device = DeviceSecret::generate(&mut self.rng);
        let device_id = DeviceId(self.random());
        let certificate = secret
            .sign_certificate(&Certificate {
                username: name.clone(),
                account: id,
                account_key: secret.public(),
                device: device_id,
                device_key: device.device_key(),
                identity_key: device.identity_key(),
                created_ms: self.now_ms,
            })
            .unwrap();
        let list = secret
            .sign_device_list(&DeviceList {
                username: name.clone(),
                account: id,
                account_key: secret.public(),
                number: self.now_ms / 1000,
                previous: ListHash([0; 32]),
                devices: vec![certificate.clone()],
                revocations: Vec::new(),
            })
            .unwrap();
        self.register(&name, &list);
        self.accounts.push(Account { name, id, secret, first: list.clone(), list });
        self.add_device(self.accounts.len() - 1, &device, device_id, certificate)
    }

    fn register(&mut self, name: &Username, list: &SignedDeviceList) {
        let connection = self.connect_server();
        let register = Register {
            invite: None,
            username: name.to_string(),
            auth_key: AuthKey([7; 32]),
            list: list.as_bytes().to_vec().into(),
        };
        let hello = sotto_proto::frame::Hello {
            versions: sotto_proto::VersionRange::OURS,
            software: "simulation".to_owned(),
        };
        self.to_server.push_back((connection, 1, ClientFrame::Hello(hello)));
        self.to_server.push_back((connection, 2, ClientFrame::Register(register)));
        self.settle();
        self.server_input(ServerInput::Disconnected { connection });
        assert!(
            wait(self.store.account_by_name(name)).unwrap().is_some(),
            "{name} could not register with the simulated server"
        );
    }

    /// The server's store is empty, as if it came back from a backup from before anybody registered.
    pub(crate) fn forget_everything(&mut self) {
        self.crash_server();
        self.store = Arc::new(MemoryStore::new(StoreConfig::default()));
        self.start_server();
    }

    /// A device's account enrols again at a server that lost it.
    pub(crate) fn register_again(&mut self, index: usize) {
        let account = self.devices[index].account;
        let (name, first) = (self.accounts[account].name.clone(), self.accounts[account].first.clone());
        self.register(&name, &first);
        self.put_list(account);
    }

    /// A second machine of an account, added by the recovery phrase; `revoke` is taken out in the same list.
    pub(crate) fn second_device(&mut self, account: usize, revoke: Option<DeviceId>) -> usize {
        let device = DeviceSecret::generate(&mut self.rng);
        let device_id = DeviceId(self.random());
        let now_ms = self.now_ms;
        let known = &mut self.accounts[account];
        let certificate = known
            .secret
            .sign_certificate(&Certificate {
                username: known.name.clone(),
                account: known.id,
                account_key: known.secret.public(),
                device: device_id,
                device_key: device.device_key(),
                identity_key: device.identity_key(),
                created_ms: now_ms,
            })
            .unwrap();
        let mut list = known.list.list().clone();
        list.previous = known.list.hash();
        list.number = DeviceList::next_number(list.number, now_ms / 1000);
        list.devices.retain(|signed| Some(signed.certificate().device) != revoke);
        list.devices.push(certificate.clone());
        if let Some(device) = revoke {
            list.revocations.push(sotto_proto::device_list::Revocation { device, revoked_ms: now_ms });
        }
        known.list = known.secret.sign_device_list(&list).unwrap();
        self.put_list(account);
        self.add_device(account, &device, device_id, certificate)
    }

    /// A list of an account's own signing in which its first device has another certificate.
    pub(crate) fn recertified(&mut self, account: usize) -> SignedDeviceList {
        let known = &self.accounts[account];
        let mut list = known.list.list().clone();
        let mut certificate = list.devices[0].certificate().clone();
        certificate.created_ms += 1;
        list.devices[0] = known.secret.sign_certificate(&certificate).unwrap();
        list.previous = known.list.hash();
        list.number += 1;
        known.secret.sign_device_list(&list).unwrap()
    }

    /// A list under another's name that an account has signed with its own key and id.
    pub(crate) fn list_under(&mut self, account: usize, name: &str) -> SignedDeviceList {
        let known = &self.accounts[account];
        let mut list = known.list.list().clone();
        list.username = name.parse().unwrap();
        let mut certificate = list.devices[0].certificate().clone();
        certificate.username = list.username.clone();
        list.devices[0] = known.secret.sign_certificate(&certificate).unwrap();
        known.secret.sign_device_list(&list).unwrap()
    }

    /// An account whose device has not been there yet since it registered, so that it has published no keys.
    pub(crate) fn person_without_keys(&mut self, name: &str) -> usize {
        self.absent = true;
        let index = self.person(name);
        self.absent = false;
        index
    }

    /// Puts an account's newest list into the server's store, as its ReplaceList would.
    fn put_list(&mut self, account: usize) {
        let known = &self.accounts[account];
        let record = wait(self.store.account(known.id)).unwrap().unwrap();
        let mut new = record.clone();
        new.list = known.list.as_bytes().to_vec();
        new.devices = known.list.list().devices.iter().map(|signed| signed.certificate().device).collect();
        wait(self.store.replace_account(&record, new)).unwrap();
        // The server caches accounts; as after any restart, it reads them again.
        self.crash_server();
        self.start_server();
    }

    fn add_device(
        &mut self,
        account: usize,
        secret: &DeviceSecret,
        id: DeviceId,
        certificate: sotto_proto::SignedCertificate,
    ) -> usize {
        let mut store = LocalStore::in_memory().unwrap();
        let known = &self.accounts[account];
        let chain = Self::chain();
        store
            .transaction(|tx| {
                tx.save_identity(&Identity {
                    username: known.name.clone(),
                    account: known.id,
                    account_key: known.secret.public(),
                    account_seed: None,
                    device: id,
                    device_secret: secret.to_bytes(),
                    certificate,
                    registered: true,
                })?;
                tx.pin(&known.list, true)?;
                tx.set_server(&ServerPin {
                    address: "localhost".parse().unwrap(),
                    server_id: chain.server_id(),
                    newest: chain.newest().0,
                    number: 0,
                })
            })
            .unwrap();
        self.devices.push(Device {
            account,
            id,
            store,
            core: None,
            connection: None,
            inbox: VecDeque::new(),
            decoder: FrameDecoder::new(MAX_FRAME),
            commands: 0,
            replies: BTreeMap::new(),
            events: Vec::new(),
            closed: None,
            wake_ms: None,
        });
        let index = self.devices.len() - 1;
        self.start(index);
        if !self.absent {
            self.connect(index);
        }
        self.settle();
        index
    }

    // Devices come and go.

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
        device.inbox.push_back(ClientInput::Connected { spki: SPKI.to_vec(), exporter: [9; 32] });
        // The chain is already on its way: the connection is known to its device only now.
        self.drain_server();
    }

    fn connect_server(&mut self) -> ConnectionId {
        self.next_connection += 1;
        let connection = ConnectionId(self.next_connection);
        let challenge = self.random();
        let peer = "127.0.0.1:1".parse().unwrap();
        let input = ServerInput::Connected { connection, peer, challenge, exporter: [9; 32] };
        let now_ms = self.now_ms;
        self.server.as_mut().unwrap().handle(now_ms, input);
        connection
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

    // Time and work.

    fn server_input(&mut self, input: ServerInput) {
        let now_ms = self.now_ms;
        self.server.as_mut().unwrap().handle(now_ms, input);
        self.drain_server();
    }

    fn drain_server(&mut self) {
        while let Some(server) = self.server.as_mut() {
            let Some(output) = server.next_output() else { return };
            match output {
                ServerOutput::Send { connection, bytes, class } => {
                    let length = bytes.len();
                    self.pass_on(connection, &bytes);
                    if class == SendClass::Push {
                        let input = ServerInput::Written { connection, bytes: length };
                        let now_ms = self.now_ms;
                        self.server.as_mut().unwrap().handle(now_ms, input);
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
                ServerOutput::Store { operation, call } => {
                    let result = self.store_call(call);
                    let now_ms = self.now_ms;
                    self.server.as_mut().unwrap().handle(now_ms, ServerInput::Stored { operation, result });
                }
                ServerOutput::Work { operation, job } => {
                    let result = match job {
                        Job::HashPassword(_) => WorkResult::Hashed("$simulated".to_owned()),
                        Job::VerifyPassword { .. } => WorkResult::Verified(true),
                        Job::VerifyPrekeys { account, device, device_key, upload, now_ms } => {
                            let verified = upload.verify(&account, &device, &device_key, now_ms);
                            WorkResult::Prekeys(verified.map(|()| upload).map_err(|error| error.to_string()))
                        }
                    };
                    let now_ms = self.now_ms;
                    self.server.as_mut().unwrap().handle(now_ms, ServerInput::Worked { operation, result });
                }
                ServerOutput::Failed(text) => panic!("the server failed: {text}"),
                ServerOutput::FrameLimit { .. }
                | ServerOutput::Log(_)
                | ServerOutput::Operator { .. }
                | ServerOutput::Ordered { .. } => {}
            }
        }
    }

    fn store_call(&self, call: StoreCall) -> Result<StoreReply, StoreError> {
        let store = &self.store;
        Ok(match call {
            StoreCall::CreateAccount(account) => StoreReply::Created(wait(store.create_account(account))?),
            StoreCall::AccountByName(name) => StoreReply::Account(wait(store.account_by_name(&name))?),
            StoreCall::Account(account) => StoreReply::Account(wait(store.account(account))?),
            StoreCall::ReplaceAccount { expected, new } => {
                StoreReply::Replaced(wait(store.replace_account(&expected, new))?)
            }
            StoreCall::Names { after, limit } => StoreReply::Names(wait(store.names(after, limit))?),
            StoreCall::PutPrekeys(device, upload) => {
                StoreReply::PrekeyCounts(wait(store.put_prekeys(device, upload))?)
            }
            StoreCall::PrekeyCounts(device) => StoreReply::PrekeyCounts(wait(store.prekey_counts(device))?),
            StoreCall::ClaimPrekeys(devices, one_time) => {
                StoreReply::Bundles(wait(store.claim_prekeys(devices, one_time))?)
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

    fn pass_on(&mut self, connection: ConnectionId, bytes: &[u8]) {
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

    fn perform(&mut self, index: usize, output: ClientOutput) {
        let device = &mut self.devices[index];
        match output {
            ClientOutput::Send { request, frame } => {
                if let Some(connection) = device.connection {
                    self.seen_by_server.extend(frame.encode(request).unwrap());
                    self.to_server.push_back((connection, request, frame));
                }
            }
            ClientOutput::Reply(CommandId(id), reply) => {
                device.replies.insert(id, reply);
            }
            ClientOutput::Event(event) => device.events.push(event),
            ClientOutput::Close { error, reconnect } => {
                device.closed = Some((error, reconnect));
                self.disconnect(index);
            }
            ClientOutput::WakeAt(wake_ms) => device.wake_ms = Some(wake_ms),
        }
    }

    /// The server takes one frame.
    pub(crate) fn run_server(&mut self) -> bool {
        let Some((connection, request, frame)) = self.to_server.pop_front() else { return false };
        if self.server.is_some() {
            self.server_input(ServerInput::Frame { connection, request, size: 0, frame });
        }
        true
    }

    /// Runs until nothing is left to do at this time.
    pub(crate) fn settle(&mut self) {
        self.drain_server();
        for _ in 0..1_000_000 {
            let mut busy = self.run_server();
            for index in 0..self.devices.len() {
                busy |= self.run_device(index, 64, true);
            }
            if !busy {
                return;
            }
        }
        panic!("the world does not come to rest");
    }

    /// Lets time pass, in steps, and everything happen that is due.
    pub(crate) fn pass(&mut self, ms: u64) {
        let until_ms = self.now_ms + ms;
        self.settle();
        while self.now_ms < until_ms {
            self.reconnect();
            let next =
                self.devices.iter().filter(|device| device.core.is_some()).filter_map(|d| d.wake_ms).min();
            self.now_ms = next.unwrap_or(until_ms).clamp(self.now_ms + 1, until_ms);
            if self.server.is_some() {
                self.server_input(ServerInput::Tick);
            }
            self.settle();
        }
    }

    /// As the driver does: a connection that was given up for now is made again after a while.
    fn reconnect(&mut self) {
        for index in 0..self.devices.len() {
            if self.devices[index].closed.as_ref().is_some_and(|(_, reconnect)| *reconnect) {
                self.connect(index);
            }
        }
        self.settle();
    }

    // What people do and see.

    pub(crate) fn command(&mut self, index: usize, command: Command) -> Result<Reply, ClientError> {
        let device = &mut self.devices[index];
        device.commands += 1;
        let id = device.commands;
        device.inbox.push_back(ClientInput::Command(CommandId(id), command));
        self.settle();
        self.devices[index].replies.remove(&id).expect("every command is answered")
    }

    /// Writes a text; the world goes on only when something is run.
    pub(crate) fn write(&mut self, index: usize, to: &str, text: &str) {
        let device = &mut self.devices[index];
        device.commands += 1;
        let command = Command::Send { to: Recipient::User(to.parse().unwrap()), text: text.to_owned() };
        device.inbox.push_back(ClientInput::Command(CommandId(device.commands), command));
    }

    pub(crate) fn send(&mut self, index: usize, to: &str, text: &str) -> MessageId {
        let to = Recipient::User(to.parse().unwrap());
        match self.command(index, Command::Send { to, text: text.to_owned() }) {
            Ok(Reply::Queued { message, .. }) => message,
            other => panic!("not queued: {other:?}"),
        }
    }

    pub(crate) fn fate(&mut self, index: usize, message: MessageId) -> Fate {
        match self.command(index, Command::Fate(message)) {
            Ok(Reply::Fate(fate)) => fate.fate,
            other => panic!("no fate: {other:?}"),
        }
    }

    pub(crate) fn rows(&mut self, index: usize) -> Vec<Row> {
        let mut all = Vec::new();
        let mut before = None;
        loop {
            match self.command(index, Command::History { with: None, limit: 1_000, before }) {
                Ok(Reply::Rows(rows)) if rows.is_empty() => return all,
                Ok(Reply::Rows(rows)) => {
                    before = Some(rows[0].message);
                    all.splice(0..0, rows);
                }
                other => panic!("no history: {other:?}"),
            }
        }
    }

    /// `sender: text` of every row, or why it cannot be read.
    pub(crate) fn screen(&mut self, index: usize) -> Vec<String> {
        let line = |row: Row| match row.body {
            RowBody::Text(text) => format!("{}: {text}", row.from),
            RowBody::Undecryptable(reason) => format!("{}? {reason}", row.from),
            RowBody::Newer(kind) => format!("{}: kind {kind}", row.from),
        };
        self.rows(index).into_iter().map(line).collect()
    }

    /// Somebody registered writes to a device under another's name, with a certificate that only they have signed.
    pub(crate) fn impostor(&mut self, name: &str, account: Option<AccountId>, to: usize, text: &str) {
        let mallory = match self.accounts.iter().position(|account| account.name.as_str() == "mallory") {
            Some(known) => self.devices.iter().position(|device| device.account == known).unwrap(),
            None => self.person("mallory"),
        };
        let account = account.unwrap_or_else(|| AccountId(self.random()));
        let secret = AccountSecret::generate(&mut self.rng);
        let device = Arc::new(DeviceSecret::generate(&mut self.rng));
        let mine = secret
            .sign_certificate(&Certificate {
                username: name.parse().unwrap(),
                account,
                account_key: secret.public(),
                device: DeviceId(self.random()),
                device_key: device.device_key(),
                identity_key: device.identity_key(),
                created_ms: self.now_ms,
            })
            .unwrap();
        let (recipient, recipient_device) = (self.devices[to].account, self.devices[to].id);
        let list = self.accounts[recipient].list.clone();
        let pair = Pair::new(&device, &mine, list.list().device(&recipient_device).unwrap()).unwrap();
        let bundle = wait(self.store.claim_prekeys(vec![recipient_device], true)).unwrap().remove(0).unwrap();
        let none = ListRef { number: 0, hash: ListHash([0; 32]) };
        let content = Content {
            message: MessageId(self.random()),
            clock_ms: self.now_ms,
            place: Place::Account(list.list().account),
            sender_list: none,
            recipient_list: none,
            kind: kind::TEXT,
            body: text.as_bytes().to_vec(),
        };
        let purpose = Purpose::Message;
        let sealed = PeerSessions::new()
            .start(&mut self.rng, &pair, &bundle, purpose, self.now_ms)
            .unwrap()
            .seal(&mut self.rng, &pair, &content.encode().unwrap(), purpose, self.now_ms)
            .unwrap();
        let used = |list: &SignedDeviceList| UsedList {
            account: list.list().account,
            number: list.list().number,
            hash: list.hash(),
            list: None,
        };
        let submit = Submit {
            submission: SubmissionId(self.random()),
            lists: vec![used(&list), used(&self.accounts[self.devices[mallory].account].list)],
            envelopes: vec![OutgoingEnvelope {
                account: list.list().account,
                device: recipient_device,
                fate_tag: FateTag(self.random()),
                transient: false,
                envelope: sealed.envelope.encode().into(),
            }],
        };
        let connection = self.devices[mallory].connection.unwrap();
        let stored = wait(self.store.usage()).unwrap().envelopes;
        self.disconnect(to);
        self.to_server.push_back((connection, 1_000_000, ClientFrame::Submit(submit)));
        self.settle();
        assert_eq!(wait(self.store.usage()).unwrap().envelopes, stored + 1, "the server took it");
    }

    /// What the server has of a device's prekeys.
    pub(crate) fn published(&self, device: DeviceId) -> PrekeyCounts {
        wait(self.store.prekey_counts(device)).unwrap()
    }

    /// Everything that waits in a device's outbox, messages and what devices tell each other.
    #[allow(
        clippy::redundant_closure_for_method_calls,
        reason = "the method is for one lifetime, the closure for all"
    )]
    pub(crate) fn outbox_length(&mut self, index: usize) -> u64 {
        self.devices[index].store.transaction(|tx| tx.outbox_length()).unwrap()
    }

    /// Claims a device's one-time keys until none is left.
    pub(crate) fn drain_one_time_keys(&mut self, device: DeviceId) {
        for _ in 0..200 {
            wait(self.store.claim_prekeys(vec![device], true)).unwrap();
        }
        let left = wait(self.store.prekey_counts(device)).unwrap();
        assert_eq!((left.one_time, left.one_time_kem), (0, 0));
    }

    pub(crate) fn warnings(&self, index: usize) -> String {
        let texts = self.devices[index].events.iter().filter_map(|event| match event {
            Event::Warning(text) => Some(text.as_str()),
            _ => None,
        });
        texts.collect::<Vec<_>>().join("\n")
    }
}

/// Why a transaction was not committed: `None` where the simulation pulled the plug.
struct Failure(Option<sotto_client::core::CoreError>);

impl From<sotto_client::core::CoreError> for Failure {
    fn from(error: sotto_client::core::CoreError) -> Self {
        Self(Some(error))
    }
}

impl From<sotto_client::store::StoreError> for Failure {
    fn from(error: sotto_client::store::StoreError) -> Self {
        Self(Some(error.into()))
    }
}
