//! Fixed values, the same in every run.

use ed25519_dalek::{Signer, SigningKey};
use serde_bytes::ByteBuf;
use sotto_proto::{
    AccountId, AccountKey, Certificate, DeviceId, DeviceKey, DeviceList, Envelope, FateTag, IdentityKey,
    Incarnation, KeyChain, ListHash, MessageId, PrekeyPublic, QueueNumber, ServerId, Signature,
    SignedCertificate, SignedDeviceList, SubmissionId, Username, VersionRange,
    chain::Successor,
    content::{Body, Content, ListRef, Place, kind},
    device_list::Revocation,
    envelope::{BodyHash, PART1_LENGTH},
    frame::{
        AccountIn, AccountLogin, Ack, Approved, Attach, AuthKey, Block, Bundles, ChatEnd, ChatEnded, ChatId,
        ChatStarted, ClaimBundles, ClientFrame, Deliver, DeviceIn, DeviceLogin, DeviceOutcome, Drained,
        DropPending, ErrorCode, ErrorReply, FateState, Fates, Hello, InChat, Invite, InviteEnd, InviteEnded,
        Invited, Inviting, KeyCounts, ListChanged, ListUsers, Lists, LookupLists, MailboxState, Outcome,
        OutgoingEnvelope, PasswordLogin, PendingDevice, PendingDevices, Presence, PublishKeys, QueryFates,
        QuerySubmission, Refusal, Register, Registration, ReplaceList, RequestDevice, ResetAccount,
        ResetState, ServerFrame, ServerLimits, SetInteractive, SetPassword, StaleDevices, SubmissionState,
        Submit, Submitted, Taken, UsedList, UserEntry, Users, Welcome,
    },
    keys::{ED25519_SPKI_PREFIX, KEM_KEY_LENGTH, KemKey},
    prekey::{
        KemPrekey, OneTimePrekey, PrekeyBundle, PrekeyCounts, PrekeyId, PrekeyUpload, SignedPrekey,
        SignedPrekeyKind, Validity, signing_input,
    },
};

/// An account with its key; devices are named by a number, and all their keys follow from it.
pub(crate) struct Account {
    pub(crate) name: Username,
    pub(crate) number: u8,
    pub(crate) key: SigningKey,
}

pub(crate) fn account(name: &str, number: u8) -> Account {
    Account { name: name.parse().unwrap(), number, key: SigningKey::from_bytes(&[number; 32]) }
}

pub(crate) fn device_id(number: u8) -> DeviceId {
    DeviceId([number; 16])
}

pub(crate) fn device_signing_key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number ^ 0x80; 32])
}

pub(crate) fn device_key(number: u8) -> DeviceKey {
    DeviceKey(device_signing_key(number).verifying_key().to_bytes())
}

pub(crate) fn sign(key: &SigningKey, message: &[u8]) -> Signature {
    Signature(key.sign(message).to_bytes())
}

impl Account {
    pub(crate) fn id(&self) -> AccountId {
        AccountId([self.number; 16])
    }

    pub(crate) fn public(&self) -> AccountKey {
        AccountKey(self.key.verifying_key().to_bytes())
    }

    pub(crate) fn plain_certificate(&self, device: u8) -> Certificate {
        Certificate {
            username: self.name.clone(),
            account: self.id(),
            account_key: self.public(),
            device: device_id(device),
            device_key: device_key(device),
            identity_key: IdentityKey([device; 32]),
            created_ms: 1_700_000_000_000,
        }
    }

    pub(crate) fn certificate(&self, device: u8) -> SignedCertificate {
        let encoded = self.plain_certificate(device).encode();
        let signature = sign(&self.key, &Certificate::signing_input(&encoded));
        SignedCertificate::assemble(&encoded, &signature).unwrap()
    }

    /// The same device with another certificate, as only its own account can make one.
    pub(crate) fn certified_again(&self, device: u8) -> SignedCertificate {
        let certificate = Certificate { created_ms: 1_700_000_000_009, ..self.plain_certificate(device) };
        let encoded = certificate.encode();
        let signature = sign(&self.key, &Certificate::signing_input(&encoded));
        SignedCertificate::assemble(&encoded, &signature).unwrap()
    }

    pub(crate) fn plain_list(
        &self,
        number: u64,
        previous: [u8; 32],
        devices: &[u8],
        revoked: &[u8],
    ) -> DeviceList {
        DeviceList {
            username: self.name.clone(),
            account: self.id(),
            account_key: self.public(),
            number,
            previous: ListHash(previous),
            devices: devices.iter().map(|device| self.certificate(*device)).collect(),
            revocations: revoked
                .iter()
                .map(|device| Revocation { device: device_id(*device), revoked_ms: 1_700_000_000_001 })
                .collect(),
        }
    }

    pub(crate) fn sign_list(
        &self,
        list: &DeviceList,
    ) -> Result<SignedDeviceList, sotto_proto::device_list::DeviceListError> {
        let encoded = list.encode();
        let signature = sign(&self.key, &DeviceList::signing_input(&encoded));
        SignedDeviceList::assemble(&encoded, &signature)
    }

    pub(crate) fn list(
        &self,
        number: u64,
        previous: [u8; 32],
        devices: &[u8],
        revoked: &[u8],
    ) -> SignedDeviceList {
        self.sign_list(&self.plain_list(number, previous, devices, revoked)).unwrap()
    }

    pub(crate) fn signed_prekey(&self, device: u8, validity: Validity) -> SignedPrekey {
        let key = PrekeyPublic([0x31; 32]);
        let id = PrekeyId(7);
        let input =
            signing_input(SignedPrekeyKind::Curve, &self.id(), &device_id(device), id, validity, &key.0);
        SignedPrekey { id, validity, key, signature: sign(&device_signing_key(device), &input) }
    }

    pub(crate) fn kem_prekey(&self, device: u8, kind: SignedPrekeyKind, validity: Validity) -> KemPrekey {
        let key = kem_key(0x32);
        let id = PrekeyId(8);
        let input = signing_input(kind, &self.id(), &device_id(device), id, validity, key.as_bytes());
        KemPrekey { id, validity, key, signature: sign(&device_signing_key(device), &input) }
    }
}

pub(crate) fn kem_key(byte: u8) -> KemKey {
    KemKey::from_slice(&[byte; KEM_KEY_LENGTH]).unwrap()
}

pub(crate) fn server_id() -> ServerId {
    ServerId([0x51; 32])
}

pub(crate) fn spki(key: &SigningKey) -> Vec<u8> {
    [&ED25519_SPKI_PREFIX[..], &key.verifying_key().to_bytes()[..]].concat()
}

/// The keys of a server that rotated `links` times.
pub(crate) fn server_keys(links: usize) -> Vec<SigningKey> {
    (0..=links)
        .map(|number| {
            let mut seed = [0x77; 32];
            seed[..8].copy_from_slice(&(number as u64).to_be_bytes());
            SigningKey::from_bytes(&seed)
        })
        .collect()
}

/// A valid chain through `keys`.
pub(crate) fn chain(keys: &[SigningKey]) -> KeyChain {
    let successors = keys
        .windows(2)
        .zip(1u64..)
        .map(|(pair, number)| {
            let input = sotto_proto::chain::successor_input(&spki(&pair[0]), &spki(&pair[1]), number);
            Successor { spki: spki(&pair[1]), signature: sign(&pair[0], &input) }
        })
        .collect();
    KeyChain { first: spki(&keys[0]), successors }
}

pub(crate) fn envelope() -> Envelope {
    Envelope { ephemeral: PrekeyPublic([0x41; 32]), part1: vec![0x42; PART1_LENGTH], part2: vec![0x43; 40] }
}

pub(crate) fn content() -> Content {
    Content {
        message: MessageId([0x61; 16]),
        clock_ms: 1_700_000_000_002,
        place: Place::Account(AccountId([0x62; 16])),
        sender_list: ListRef { number: 1, hash: ListHash([0x63; 32]) },
        recipient_list: ListRef { number: 2, hash: ListHash([0x64; 32]) },
        kind: kind::TEXT,
        body: b"hi".to_vec(),
    }
}

/// One body of every kind, and both places of a sync.
pub(crate) fn bodies() -> Vec<Body> {
    vec![
        Body::Text("hi é".to_owned()),
        Body::Delivered(vec![MessageId([1; 16]), MessageId([2; 16])]),
        Body::Read(vec![MessageId([3; 16])]),
        Body::ResendRequest(vec![BodyHash([4; 32])]),
        Body::Resent { failed: BodyHash([5; 32]), kind: kind::TEXT, body: b"again".to_vec() },
        Body::Gone(vec![BodyHash([6; 32]), BodyHash([7; 32])]),
        Body::NoMessage(vec![BodyHash([10; 32])]),
        Body::SyncSent {
            place: Place::Account(AccountId([8; 16])),
            kind: kind::TEXT,
            body: b"mine".to_vec(),
        },
        Body::SyncSent { place: Place::Room([9; 16]), kind: kind::TEXT, body: b"ours".to_vec() },
        Body::SyncBlock { account: AccountId([10; 16]), blocked: true },
        Body::SyncBlock { account: AccountId([11; 16]), blocked: false },
        Body::SyncDeviceName { device: DeviceId([12; 16]), name: "läptop".to_owned() },
    ]
}

fn upload() -> PrekeyUpload {
    let alice = account("alice", 1);
    let validity = Validity::from(1_700_000_000_000);
    PrekeyUpload {
        signed: Some(alice.signed_prekey(1, validity)),
        last_resort: Some(alice.kem_prekey(1, SignedPrekeyKind::LastResortKem, validity)),
        one_time: vec![OneTimePrekey { id: PrekeyId(1), key: PrekeyPublic([0x33; 32]) }],
        one_time_kem: vec![alice.kem_prekey(1, SignedPrekeyKind::OneTimeKem, validity)],
    }
}

fn signature() -> Signature {
    Signature([0x22; 64])
}

/// At least one of every client frame; where a field is optional, with and without it.
pub(crate) fn client_frames() -> Vec<ClientFrame> {
    let account = AccountId([0x11; 16]);
    let device = DeviceId([0x12; 16]);
    let incarnation = Incarnation([0x13; 16]);
    vec![
        ClientFrame::Hello(Hello { versions: VersionRange { min: 1, max: 2 }, software: "sotto 0.1".into() }),
        ClientFrame::Ping,
        ClientFrame::Bye,
        ClientFrame::Register(Register {
            invite: None,
            username: "alice".into(),
            auth_key: AuthKey([0x14; 32]),
            list: ByteBuf::from(b"list".to_vec()),
            device,
            signature: signature(),
        }),
        ClientFrame::Register(Register {
            invite: Some("token".into()),
            username: "alice".into(),
            auth_key: AuthKey([0x14; 32]),
            list: ByteBuf::new(),
            device,
            signature: signature(),
        }),
        ClientFrame::PasswordLogin(PasswordLogin { username: "alice".into(), auth_key: AuthKey([0x15; 32]) }),
        ClientFrame::AccountLogin(AccountLogin { username: "alice".into(), signature: signature() }),
        ClientFrame::DeviceLogin(DeviceLogin { account, device, signature: signature(), interactive: true }),
        ClientFrame::SetPassword(SetPassword { old: None, new: AuthKey([0x16; 32]) }),
        ClientFrame::SetPassword(SetPassword { old: Some(AuthKey([0x17; 32])), new: AuthKey([0x16; 32]) }),
        ClientFrame::LookupLists(LookupLists { names: vec!["bob".into()], accounts: vec![account] }),
        ClientFrame::ReplaceList(ReplaceList {
            expected: ListHash([0x18; 32]),
            list: ByteBuf::from(b"list".to_vec()),
        }),
        ClientFrame::PublishKeys(PublishKeys { upload: upload() }),
        ClientFrame::PublishKeys(PublishKeys { upload: PrekeyUpload::default() }),
        ClientFrame::ClaimBundles(ClaimBundles { account, devices: vec![device], one_time: true }),
        ClientFrame::RequestDevice(RequestDevice {
            device,
            device_key: DeviceKey([0x51; 32]),
            identity_key: IdentityKey([0x52; 32]),
        }),
        ClientFrame::ListPending,
        ClientFrame::DropPending(DropPending { device }),
        ClientFrame::Block(Block { account, blocked: true }),
        ClientFrame::Block(Block { account, blocked: false }),
        ClientFrame::ResetAccount(ResetAccount { list: ByteBuf::from(b"list".to_vec()) }),
        ClientFrame::RefuseReset,
        ClientFrame::ListUsers(ListUsers { after: None, limit: 500 }),
        ClientFrame::ListUsers(ListUsers { after: Some("alice".into()), limit: 1 }),
        ClientFrame::SetInteractive(SetInteractive { interactive: true }),
        ClientFrame::SetInteractive(SetInteractive { interactive: false }),
        ClientFrame::Attach(Attach { incarnation, after: QueueNumber(3) }),
        ClientFrame::Ack(Ack { incarnation, through: QueueNumber(4) }),
        ClientFrame::QueryFates(QueryFates { tags: vec![FateTag([0x19; 16])] }),
        ClientFrame::QuerySubmission(QuerySubmission { submission: SubmissionId([0x1a; 16]) }),
        ClientFrame::Invite(Invite { users: vec!["bob".into(), "carol".into()] }),
        ClientFrame::Accept(InChat { chat: ChatId(5) }),
        ClientFrame::Deny(InChat { chat: ChatId(5) }),
        ClientFrame::Cancel(InChat { chat: ChatId(5) }),
        ClientFrame::Quit(InChat { chat: ChatId(5) }),
        ClientFrame::Submit(Submit {
            submission: SubmissionId([0x1a; 16]),
            lists: vec![
                UsedList { account, number: 5, hash: ListHash([0x1b; 32]), list: None },
                UsedList {
                    account,
                    number: 6,
                    hash: ListHash([0x1c; 32]),
                    list: Some(ByteBuf::from(b"newer".to_vec())),
                },
            ],
            envelopes: vec![OutgoingEnvelope {
                account,
                device,
                fate_tag: FateTag([0x1d; 16]),
                transient: false,
                envelope: ByteBuf::from(b"envelope".to_vec()),
            }],
        }),
    ]
}

fn submitted() -> Submitted {
    let outcomes = [
        Outcome::Stored { connected: true },
        Outcome::Stored { connected: false },
        Outcome::Refused(Refusal::MailboxFull),
        Outcome::Refused(Refusal::SenderShare),
        Outcome::Refused(Refusal::NotAccepted),
        Outcome::Refused(Refusal::TooLarge),
        Outcome::Refused(Refusal::DiskFull),
        Outcome::UnknownDevice,
        Outcome::Passed,
        Outcome::Dropped,
    ];
    Submitted {
        devices: outcomes
            .into_iter()
            .map(|outcome| DeviceOutcome { device: DeviceId([0x12; 16]), outcome })
            .collect(),
        stored_ms: 1_700_000_000_003,
    }
}

/// At least one of every server frame; where a field has variants, each of them.
pub(crate) fn server_frames() -> Vec<ServerFrame> {
    let counts =
        PrekeyCounts { one_time: 20, one_time_kem: 21, signed: Some(PrekeyId(7)), last_resort: None };
    let alice = account("alice", 1);
    let validity = Validity::from(1_700_000_000_000);
    let mut frames = vec![
        ServerFrame::Done,
        ServerFrame::Error(ErrorReply {
            code: ErrorCode::RATE_LIMITED,
            message: "wait".into(),
            retry_after_ms: Some(1000),
        }),
        ServerFrame::Pong,
        ServerFrame::AccountIn(AccountIn { account: alice.id(), list: ByteBuf::from(b"list".to_vec()) }),
        ServerFrame::DeviceIn(DeviceIn {
            list_number: 9,
            list_hash: ListHash([0x23; 32]),
            mailbox: MailboxState {
                incarnation: Incarnation([0x13; 16]),
                acked: QueueNumber(10),
                lost_through: QueueNumber(9),
            },
            prekeys: counts,
        }),
        ServerFrame::Lists(Lists { lists: vec![None, Some(ByteBuf::from(b"list".to_vec()))] }),
        ServerFrame::KeyCounts(KeyCounts { counts }),
        ServerFrame::Bundles(Bundles {
            bundles: vec![PrekeyBundle {
                device: device_id(1),
                signed: alice.signed_prekey(1, validity),
                kem: alice.kem_prekey(1, SignedPrekeyKind::OneTimeKem, validity),
                kem_one_time: true,
                one_time: Some(OneTimePrekey { id: PrekeyId(1), key: PrekeyPublic([0x33; 32]) }),
            }],
            missing: vec![device_id(2)],
        }),
        ServerFrame::Users(Users {
            users: [Presence::Offline, Presence::Available, Presence::Busy(vec!["bob".into()])]
                .into_iter()
                .map(|presence| UserEntry { name: "alice".into(), presence })
                .collect(),
            more: true,
        }),
        ServerFrame::Fates(Fates {
            states: vec![FateState::Waiting, FateState::Taken, FateState::Expired, FateState::Unknown],
        }),
        ServerFrame::SubmissionState(SubmissionState { submitted: None }),
        ServerFrame::SubmissionState(SubmissionState { submitted: Some(submitted()) }),
        ServerFrame::Submitted(submitted()),
        ServerFrame::StaleDevices(StaleDevices {
            lists: vec![ByteBuf::from(b"list".to_vec())],
            wanted: vec![alice.id()],
        }),
        ServerFrame::PendingDevices(PendingDevices {
            devices: vec![PendingDevice {
                device: device_id(3),
                device_key: DeviceKey([0x51; 32]),
                identity_key: IdentityKey([0x52; 32]),
                requested_ms: 1_700_000_000_006,
            }],
        }),
        ServerFrame::Reset(ResetState::None),
        ServerFrame::Reset(ResetState::Pending(1_700_000_000_007)),
        ServerFrame::Reset(ResetState::Done),
        ServerFrame::Inviting(Inviting { chat: ChatId(5), expires_in_ms: 60_000 }),
        ServerFrame::Approved(Approved { list: ByteBuf::from(b"list".to_vec()) }),
        ServerFrame::ListChanged(ListChanged { list: ByteBuf::from(b"list".to_vec()) }),
        ServerFrame::Invited(Invited {
            chat: ChatId(5),
            from: "alice".into(),
            with: vec!["carol".into()],
            expires_in_ms: 60_000,
        }),
        ServerFrame::ChatStarted(ChatStarted { chat: ChatId(5), with: vec!["alice".into(), "carol".into()] }),
        ServerFrame::Chain(chain(&server_keys(1))),
        ServerFrame::Drained(Drained { through: QueueNumber(11), lost_through: QueueNumber(9) }),
        ServerFrame::Taken(Taken { tags: vec![FateTag([0x19; 16])] }),
        ServerFrame::Replaced,
        ServerFrame::Stopping,
        ServerFrame::Deliver(Deliver {
            number: QueueNumber(12),
            lost_through: QueueNumber(9),
            stored_ms: 1_700_000_000_004,
            envelope: ByteBuf::from(b"envelope".to_vec()),
        }),
    ];
    for why in [
        InviteEnd::Denied("bob".into()),
        InviteEnd::Cancelled,
        InviteEnd::TimedOut,
        InviteEnd::Gone("bob".into()),
        InviteEnd::Elsewhere,
    ] {
        frames.push(ServerFrame::InviteEnded(InviteEnded { chat: ChatId(5), why }));
    }
    for why in [ChatEnd::Quit("bob".into()), ChatEnd::Lost("bob".into())] {
        frames.push(ServerFrame::ChatEnded(ChatEnded { chat: ChatId(5), why }));
    }
    for registration in [Registration::Open, Registration::Invite, Registration::Closed] {
        frames.push(ServerFrame::Welcome(Welcome {
            version: 1,
            challenge: [0x24; 32],
            now_ms: 1_700_000_000_005,
            registration,
            limits: ServerLimits { max_frame: 1_048_576, max_pipelined: 64, retention_ms: 2_592_000_000 },
        }));
    }
    frames
}
