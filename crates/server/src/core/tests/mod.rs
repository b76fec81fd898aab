//! The core with a store in memory, clients that are a few keys, and a clock that stands still unless told otherwise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod accounts;
mod blocks;
mod cache;
mod changes;
mod clock;
mod delivery;
mod devices;
mod directory;
mod limits;
mod lists;
mod live;
mod live_random;
mod opening;
mod orders;
mod pace;
mod pending;
mod prekeys;
mod reset;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use ed25519_dalek::{Signer as _, SigningKey};
use sotto_proto::{
    Certificate, DeviceList, FateTag, IdentityKey, Incarnation, KemKey, ListHash, PrekeyPublic, QueueNumber,
    Signature, SignedCertificate, SignedDeviceList, SubmissionId, Username, VersionRange,
    device_list::Revocation,
    frame::{
        Ack, Attach, AuthKey, ClaimBundles, ClientFrame, Deliver, DeviceIn, DeviceLogin, DeviceOutcome,
        FrameDecoder, Hello, Outcome, OutgoingEnvelope, Register, ReplaceList, Submit, Submitted, UsedList,
    },
    keys::ED25519_SPKI_PREFIX,
    keys::{AccountKey, DeviceKey},
    limits::DAY_MS,
    login,
    prekey::{
        KemPrekey, OneTimePrekey, PrekeyId, PrekeyUpload, SignedPrekey, SignedPrekeyKind, Validity,
        signing_input,
    },
};
use sotto_store::{MemoryStore, Store, StoreConfig};

use super::*;

/// When the tests take place, Unix milliseconds.
const NOW: u64 = 1_800_000_000_000;

fn chain() -> KeyChain {
    let mut first = ED25519_SPKI_PREFIX.to_vec();
    first.extend_from_slice(&[9; 32]);
    KeyChain { first, successors: Vec::new() }
}

/// The server under test.
struct Bench {
    core: Core,
    store: Arc<MemoryStore>,
    now_ms: u64,
    /// Frames to each connection that nobody has looked at yet.
    inbox: BTreeMap<ConnectionId, VecDeque<(u32, ServerFrame)>>,
    closed: Vec<ConnectionId>,
    log: Vec<String>,
    failed: Option<String>,
    /// What orders of the operator came to.
    ordered: Vec<Result<(), String>>,
    connections: u64,
    /// Whether pushes are reported as written at once.
    writes: bool,
    /// Store calls that wait until they are let go, while the store is held.
    held: Option<VecDeque<(Operation, StoreCall)>>,
    answers: Vec<(ConnectionId, u32)>,
    /// Jobs that nobody works on, while the workers are held.
    jobs: Option<Vec<(Operation, Job)>>,
}

impl Bench {
    fn new() -> Self {
        Self::with(CoreConfig::default(), StoreConfig::default())
    }

    fn with(config: CoreConfig, store: StoreConfig) -> Self {
        let core = Core::new(config, &chain(), "hash of nobody".to_owned()).unwrap();
        Self {
            core,
            store: Arc::new(MemoryStore::new(store)),
            now_ms: NOW,
            inbox: BTreeMap::new(),
            closed: Vec::new(),
            log: Vec::new(),
            failed: None,
            ordered: Vec::new(),
            connections: 0,
            writes: true,
            held: None,
            answers: Vec::new(),
            jobs: None,
        }
    }

    fn input(&mut self, input: Input) {
        self.core.handle(self.now_ms, input);
        while let Some(output) = self.core.next_output() {
            self.perform(output);
        }
    }

    /// Lets time pass, as a running server sees it.
    fn pass(&mut self, ms: u64) {
        let until_ms = self.now_ms + ms;
        while self.now_ms < until_ms {
            self.now_ms = until_ms.min(self.now_ms + DAY_MS / 2);
            self.input(Input::Tick);
        }
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Send { connection, bytes, class } => {
                let size = bytes.len();
                let mut decoder = FrameDecoder::new(sotto_proto::limits::MAX_FRAME);
                decoder.push(&bytes);
                while let Some(raw) = decoder.next_frame().unwrap() {
                    let frame = ServerFrame::decode(raw.kind, &raw.payload).unwrap().unwrap();
                    if matches!(class, SendClass::Answer { .. } | SendClass::LongAnswer { .. }) {
                        self.answers.push((connection, raw.request));
                    }
                    self.inbox.entry(connection).or_default().push_back((raw.request, frame));
                }
                if self.writes {
                    let (pushes, answers) = match class {
                        SendClass::Push => (size, 0),
                        SendClass::LongAnswer { length, .. } => (0, length),
                        SendClass::Answer { .. } | SendClass::Notice => return,
                    };
                    self.input(Input::Written { connection, pushes, answers });
                }
            }
            Output::SignedIn { .. } | Output::Operator { .. } => {}
            Output::Ordered { result, .. } => self.ordered.push(result),
            Output::Close { connection } => self.closed.push(connection),
            Output::Store { operation, call } => match &mut self.held {
                Some(held) => held.push_back((operation, call)),
                None => self.call(operation, call),
            },
            Output::Work { operation, job } => match &mut self.jobs {
                Some(jobs) => jobs.push((operation, job)),
                None => self.work(operation, job),
            },
            Output::Log(event) => self.log.push(event.to_string()),
            Output::Failed(what) => self.failed = Some(what),
        }
    }

    fn call(&mut self, operation: Operation, call: StoreCall) {
        let store: &dyn Store = self.store.as_ref();
        let mut answer = crate::shell::calls::enqueue(store, call);
        // The memory engine answers before it returns.
        match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => self.input(Input::Stored { operation, result }),
            Poll::Pending => panic!("the memory store does not wait"),
        }
    }

    /// Lets the store answer nothing until [`Self::release`].
    fn hold(&mut self) {
        self.held = Some(VecDeque::new());
    }

    fn release(&mut self) {
        for (operation, call) in self.held.take().unwrap_or_default() {
            self.call(operation, call);
        }
    }

    /// Lets the store answer the oldest call that is held; whether there was one.
    fn step(&mut self) -> bool {
        let Some((operation, call)) = self.held.as_mut().and_then(VecDeque::pop_front) else { return false };
        self.call(operation, call);
        true
    }

    /// A connection that the account key has proven.
    fn by_key(&mut self, user: &User) -> ConnectionId {
        let id = self.greet();
        let input = login::account_login(&chain().server_id(), &[1; 32], &[2; 32]);
        let login = sotto_proto::frame::AccountLogin {
            username: user.name.to_string(),
            signature: signature(&user.key, &input),
        };
        assert!(matches!(self.ask(id, ClientFrame::AccountLogin(login)), ServerFrame::AccountIn(_)));
        id
    }

    fn work(&mut self, operation: Operation, job: Job) {
        let result = work(job);
        self.input(Input::Worked { operation, result });
    }

    /// Does the jobs that are held; what comes of them is held again.
    fn work_held(&mut self) {
        for (operation, job) in self.jobs.as_mut().map(std::mem::take).unwrap_or_default() {
            self.work(operation, job);
        }
    }

    fn connect(&mut self) -> ConnectionId {
        self.connections += 1;
        let id = ConnectionId(self.connections);
        let peer = format!("127.0.0.1:{}", 1000 + self.connections).parse().unwrap();
        self.input(Input::Connected { connection: id, peer, challenge: [1; 32], exporter: [2; 32] });
        id
    }

    fn send(&mut self, connection: ConnectionId, request: u32, frame: ClientFrame) {
        self.input(Input::Frame { connection, request, size: 10, frame });
    }

    /// Sends, and takes the answer.
    fn ask(&mut self, connection: ConnectionId, frame: ClientFrame) -> ServerFrame {
        self.send(connection, 77, frame);
        self.answer(connection, 77)
    }

    fn answer(&mut self, connection: ConnectionId, request: u32) -> ServerFrame {
        let inbox = self.inbox.entry(connection).or_default();
        let place = inbox.iter().position(|(id, _)| *id == request).expect("an answer");
        inbox.remove(place).unwrap().1
    }

    fn refused(&mut self, connection: ConnectionId, frame: ClientFrame) -> ErrorReply {
        match self.ask(connection, frame) {
            ServerFrame::Error(reply) => reply,
            other => panic!("not refused: {other:?}"),
        }
    }

    /// Takes everything that was pushed.
    fn pushes(&mut self, connection: ConnectionId) -> Vec<ServerFrame> {
        let inbox = self.inbox.entry(connection).or_default();
        inbox.drain(..).map(|(_, frame)| frame).collect()
    }

    fn deliveries(&mut self, connection: ConnectionId) -> Vec<Deliver> {
        let deliver = |frame| match frame {
            ServerFrame::Deliver(deliver) => Some(deliver),
            _ => None,
        };
        self.pushes(connection).into_iter().filter_map(deliver).collect()
    }

    /// A connection that has said Hello.
    fn greet(&mut self) -> ConnectionId {
        let id = self.connect();
        let hello = Hello { versions: VersionRange::OURS, software: "test".to_owned() };
        assert!(matches!(self.ask(id, ClientFrame::Hello(hello)), ServerFrame::Welcome(_)));
        assert!(matches!(self.pushes(id)[..], [ServerFrame::Chain(_)]));
        id
    }

    fn register(&mut self, user: &User) {
        let id = self.greet();
        assert_eq!(self.ask(id, user.register()), ServerFrame::Done);
        self.input(Input::Disconnected { connection: id });
    }

    fn sign_in(&mut self, user: &User, device: usize) -> (ConnectionId, DeviceIn) {
        let id = self.greet();
        match self.ask(id, user.device_login(device, true)) {
            ServerFrame::DeviceIn(device_in) => (id, device_in),
            other => panic!("not signed in: {other:?}"),
        }
    }

    /// An account with a list as long as they come: of eight devices.
    fn register_large(&mut self) {
        let mut large = User::new("large", 1);
        for device in 2..=8 {
            large.add_device(device);
        }
        let id = self.greet();
        assert_eq!(self.ask(id, large.register()), ServerFrame::Done);
    }

    /// A registered account, its first device signed in.
    fn online(&mut self, name: &str, seed: u8) -> (User, ConnectionId) {
        let user = User::new(name, seed);
        self.register(&user);
        let (id, _) = self.sign_in(&user, 0);
        self.pushes(id);
        (user, id)
    }

    /// Signs in and starts delivery after `after`.
    fn attach(&mut self, user: &User, device: usize, after: u64) -> (ConnectionId, Incarnation) {
        let (id, device_in) = self.sign_in(user, device);
        let incarnation = device_in.mailbox.incarnation;
        let attach = Attach { incarnation, after: QueueNumber(after) };
        assert_eq!(self.ask(id, ClientFrame::Attach(attach)), ServerFrame::Done);
        (id, incarnation)
    }

    fn ack(&mut self, id: ConnectionId, incarnation: Incarnation, through: QueueNumber) -> ServerFrame {
        self.ask(id, ClientFrame::Ack(Ack { incarnation, through }))
    }

    fn submitted(&mut self, id: ConnectionId, submit: Submit) -> Submitted {
        match self.ask(id, ClientFrame::Submit(submit)) {
            ServerFrame::Submitted(submitted) => submitted,
            other => panic!("not submitted: {other:?}"),
        }
    }

    /// What the store has under a name.
    fn record(&self, name: &str) -> Option<AccountRecord> {
        self.store.account_by_name(&Username::parse(name).unwrap()).wait().unwrap()
    }

    fn record_of(&self, account: AccountId) -> Option<AccountRecord> {
        self.store.account(account).wait().unwrap()
    }

    /// An order of the operator, and what came of it.
    fn order(&mut self, order: Order) -> Result<(), String> {
        self.input(Input::Order { question: Question(7), order });
        self.ordered.pop().expect("an answer")
    }

    fn claim(&mut self, id: ConnectionId, whom: &User, device: usize) -> ServerFrame {
        let claim =
            ClaimBundles { account: whom.account, devices: vec![whom.devices[device].id], one_time: true };
        self.ask(id, ClientFrame::ClaimBundles(claim))
    }
}

/// Puts a user's new list in the place of an old one.
fn replace(old: &User, new: &User) -> ClientFrame {
    let list = new.list.as_bytes().to_vec().into();
    ClientFrame::ReplaceList(ReplaceList { expected: old.list.hash(), list })
}

/// The workers, without the cost of Argon2.
fn work(job: Job) -> WorkResult {
    match job {
        Job::HashPassword(auth_key) => WorkResult::Hashed(format!("hash {:?}", auth_key.0)),
        Job::VerifyPassword { auth_key, hash } => {
            WorkResult::Verified(hash == format!("hash {:?}", auth_key.0))
        }
        Job::Verify(verification) => verification.run(),
    }
}

/// A device's keys.
struct Device {
    id: DeviceId,
    key: SigningKey,
    certificate: SignedCertificate,
}

/// An account's keys and its current list.
struct User {
    name: Username,
    account: AccountId,
    key: SigningKey,
    devices: Vec<Device>,
    list: SignedDeviceList,
}

fn signature(key: &SigningKey, input: &[u8]) -> Signature {
    Signature(key.sign(input).to_bytes())
}

fn sign_list(key: &SigningKey, list: &DeviceList) -> SignedDeviceList {
    let encoded = list.encode();
    let signature = signature(key, &DeviceList::signing_input(&encoded));
    SignedDeviceList::assemble(&encoded, &signature).unwrap()
}

impl User {
    fn new(name: &str, seed: u8) -> Self {
        let name = Username::parse(name).unwrap();
        let (account, key) = (AccountId([seed; 16]), SigningKey::from_bytes(&[seed; 32]));
        let device = make_device(&name, account, &key, [seed; 16], seed);
        let list = DeviceList {
            username: name.clone(),
            account,
            account_key: AccountKey(key.verifying_key().to_bytes()),
            number: NOW / 1000,
            previous: ListHash([0; 32]),
            devices: vec![device.certificate.clone()],
            revocations: Vec::new(),
        };
        let list = sign_list(&key, &list);
        Self { name, account, key, devices: vec![device], list }
    }

    fn auth_key(&self) -> AuthKey {
        AuthKey([self.account.0[0]; 32])
    }

    fn register(&self) -> ClientFrame {
        ClientFrame::Register(self.registration(0, &[1; 32]))
    }

    /// Signed by one of the devices, over a challenge.
    fn registration(&self, device: usize, challenge: &[u8; 32]) -> Register {
        let (device, auth_key) = (&self.devices[device], self.auth_key());
        let input =
            login::registration(&chain().server_id(), challenge, &[2; 32], &self.list.hash(), &auth_key);
        Register {
            invite: None,
            username: self.name.to_string(),
            auth_key,
            list: self.list.as_bytes().to_vec().into(),
            device: device.id,
            signature: signature(&device.key, &input),
        }
    }

    fn device_login(&self, device: usize, interactive: bool) -> ClientFrame {
        let device = &self.devices[device];
        let input = login::device_login(&chain().server_id(), &[1; 32], &[2; 32]);
        ClientFrame::DeviceLogin(DeviceLogin {
            account: self.account,
            device: device.id,
            signature: signature(&device.key, &input),
            interactive,
        })
    }

    /// The list that follows, changed by `change`; becomes the current one.
    fn next_list(&mut self, change: impl FnOnce(&mut DeviceList)) -> &SignedDeviceList {
        let mut list = self.list.list().clone();
        list.number += 1;
        list.previous = self.list.hash();
        change(&mut list);
        self.list = sign_list(&self.key, &list);
        &self.list
    }

    /// A further device, in a new list.
    fn add_device(&mut self, id: u8) {
        let device = make_device(&self.name, self.account, &self.key, [id; 16], id);
        let certificate = device.certificate.clone();
        self.devices.push(device);
        self.next_list(|list| list.devices.push(certificate));
    }

    /// A new list without the device.
    fn revoke(&mut self, device: usize) {
        let id = self.devices[device].id;
        self.next_list(|list| {
            list.devices.retain(|signed| signed.certificate().device != id);
            list.revocations.push(Revocation { device: id, revoked_ms: NOW });
        });
    }

    fn used(&self) -> UsedList {
        UsedList {
            account: self.account,
            number: self.list.list().number,
            hash: self.list.hash(),
            list: None,
        }
    }

    /// One envelope to each of these devices.
    fn submit(&self, id: u8, to: &[(&User, usize)]) -> Submit {
        let mut lists = vec![self.used()];
        let mut envelopes = Vec::new();
        for (n, (user, device)) in (0u8..).zip(to) {
            if lists.iter().all(|used| used.account != user.account) {
                lists.push(user.used());
            }
            envelopes.push(user.envelope(*device, id, n, vec![id; 100]));
        }
        Submit { submission: SubmissionId([id; 16]), lists, envelopes }
    }

    /// One envelope to a device of somebody's, whose list is handed over with it.
    fn handing_over(&self, id: u8, of: &User, device: usize) -> Submit {
        let mut submit = self.submit(id, &[(of, device)]);
        submit.lists[1].list = Some(of.list.as_bytes().to_vec().into());
        submit
    }

    fn envelope(&self, device: usize, id: u8, n: u8, bytes: Vec<u8>) -> OutgoingEnvelope {
        let mut tag = [id; 16];
        tag[0] = n;
        OutgoingEnvelope {
            account: self.account,
            device: self.devices[device].id,
            fate_tag: FateTag(tag),
            transient: false,
            envelope: bytes.into(),
        }
    }

    fn prekeys(&self, device: usize, one_time: std::ops::Range<u32>) -> PrekeyUpload {
        let device = &self.devices[device];
        let validity = Validity::from(NOW);
        let kem = |id: u32, kind| {
            let key = KemKey::from_slice(&[u8::try_from(id).unwrap(); 1184]).unwrap();
            let input =
                signing_input(kind, &self.account, &device.id, PrekeyId(id), validity, key.as_bytes());
            KemPrekey { id: PrekeyId(id), validity, key, signature: signature(&device.key, &input) }
        };
        let curve = [3; 32];
        let kind = SignedPrekeyKind::Curve;
        let input = signing_input(kind, &self.account, &device.id, PrekeyId(1), validity, &curve);
        PrekeyUpload {
            signed: Some(SignedPrekey {
                id: PrekeyId(1),
                validity,
                key: PrekeyPublic(curve),
                signature: signature(&device.key, &input),
            }),
            last_resort: Some(kem(1, SignedPrekeyKind::LastResortKem)),
            one_time: one_time
                .clone()
                .map(|id| OneTimePrekey { id: PrekeyId(id), key: PrekeyPublic([4; 32]) })
                .collect(),
            one_time_kem: one_time.map(|id| kem(id, SignedPrekeyKind::OneTimeKem)).collect(),
        }
    }
}

fn make_device(name: &Username, account: AccountId, key: &SigningKey, id: [u8; 16], seed: u8) -> Device {
    let device_key = SigningKey::from_bytes(&[seed.wrapping_add(100); 32]);
    let certificate = Certificate {
        username: name.clone(),
        account,
        account_key: AccountKey(key.verifying_key().to_bytes()),
        device: DeviceId(id),
        device_key: DeviceKey(device_key.verifying_key().to_bytes()),
        identity_key: IdentityKey([seed; 32]),
        created_ms: NOW,
    };
    let encoded = certificate.encode();
    let signature = signature(key, &Certificate::signing_input(&encoded));
    let certificate = SignedCertificate::assemble(&encoded, &signature).unwrap();
    Device { id: DeviceId(id), key: device_key, certificate }
}

fn outcomes(submitted: &Submitted) -> Vec<Outcome> {
    submitted.devices.iter().map(|DeviceOutcome { outcome, .. }| *outcome).collect()
}
