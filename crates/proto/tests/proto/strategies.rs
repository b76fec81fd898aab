//! Random values of every frame, for round trips and as seeds of damaged ones.

use proptest::{
    collection::vec,
    option,
    prelude::{BoxedStrategy, Just, Strategy, any},
    prop_oneof,
};
use serde_bytes::ByteBuf;
use sotto_proto::{
    AccountId, DeviceId, DeviceKey, FateTag, IdentityKey, Incarnation, KeyChain, ListHash, PrekeyPublic,
    QueueNumber, Signature, SubmissionId, VersionRange,
    chain::Successor,
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
    prekey::{
        KemPrekey, OneTimePrekey, PrekeyBundle, PrekeyCounts, PrekeyId, PrekeyUpload, SignedPrekey, Validity,
    },
};

use crate::samples;

fn bytes() -> impl Strategy<Value = ByteBuf> {
    vec(any::<u8>(), 0..200).prop_map(ByteBuf::from)
}

fn text() -> impl Strategy<Value = String> {
    "\\PC{0,40}"
}

fn account() -> impl Strategy<Value = AccountId> {
    any::<[u8; 16]>().prop_map(AccountId)
}

fn device() -> impl Strategy<Value = DeviceId> {
    any::<[u8; 16]>().prop_map(DeviceId)
}

fn tag() -> impl Strategy<Value = FateTag> {
    any::<[u8; 16]>().prop_map(FateTag)
}

fn incarnation() -> impl Strategy<Value = Incarnation> {
    any::<[u8; 16]>().prop_map(Incarnation)
}

fn submission() -> impl Strategy<Value = SubmissionId> {
    any::<[u8; 16]>().prop_map(SubmissionId)
}

fn number() -> impl Strategy<Value = QueueNumber> {
    any::<u64>().prop_map(QueueNumber)
}

fn hash() -> impl Strategy<Value = ListHash> {
    any::<[u8; 32]>().prop_map(ListHash)
}

fn auth() -> impl Strategy<Value = AuthKey> {
    any::<[u8; 32]>().prop_map(AuthKey)
}

fn signature() -> impl Strategy<Value = Signature> {
    (any::<[u8; 32]>(), any::<[u8; 32]>()).prop_map(|(r, s)| {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&r);
        bytes[32..].copy_from_slice(&s);
        Signature(bytes)
    })
}

fn validity() -> impl Strategy<Value = Validity> {
    any::<(u64, u64)>().prop_map(|(created_ms, expires_ms)| Validity { created_ms, expires_ms })
}

fn signed_prekey() -> impl Strategy<Value = SignedPrekey> {
    (any::<u32>(), validity(), any::<[u8; 32]>(), signature()).prop_map(|(id, validity, key, signature)| {
        SignedPrekey { id: PrekeyId(id), validity, key: PrekeyPublic(key), signature }
    })
}

fn kem_prekey() -> impl Strategy<Value = KemPrekey> {
    (any::<u32>(), validity(), any::<u8>(), signature()).prop_map(|(id, validity, byte, signature)| {
        KemPrekey { id: PrekeyId(id), validity, key: samples::kem_key(byte), signature }
    })
}

fn one_time() -> impl Strategy<Value = OneTimePrekey> {
    any::<(u32, [u8; 32])>().prop_map(|(id, key)| OneTimePrekey { id: PrekeyId(id), key: PrekeyPublic(key) })
}

fn counts() -> impl Strategy<Value = PrekeyCounts> {
    any::<(u32, u32, Option<u32>, Option<u32>)>().prop_map(|(one_time, one_time_kem, signed, last_resort)| {
        PrekeyCounts {
            one_time,
            one_time_kem,
            signed: signed.map(PrekeyId),
            last_resort: last_resort.map(PrekeyId),
        }
    })
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        any::<bool>().prop_map(|connected| Outcome::Stored { connected }),
        prop_oneof![
            Just(Refusal::MailboxFull),
            Just(Refusal::SenderShare),
            Just(Refusal::NotAccepted),
            Just(Refusal::TooLarge),
            Just(Refusal::DiskFull),
        ]
        .prop_map(Outcome::Refused),
        Just(Outcome::UnknownDevice),
        Just(Outcome::Passed),
        Just(Outcome::Dropped),
    ]
}

fn submitted() -> impl Strategy<Value = Submitted> {
    (vec((device(), outcome()), 0..5), any::<u64>()).prop_map(|(devices, stored_ms)| Submitted {
        devices: devices.into_iter().map(|(device, outcome)| DeviceOutcome { device, outcome }).collect(),
        stored_ms,
    })
}

fn used_list() -> impl Strategy<Value = UsedList> {
    (account(), any::<u64>(), hash(), option::of(bytes()))
        .prop_map(|(account, number, hash, list)| UsedList { account, number, hash, list })
}

fn outgoing() -> impl Strategy<Value = OutgoingEnvelope> {
    (account(), device(), tag(), any::<bool>(), bytes()).prop_map(
        |(account, device, fate_tag, transient, envelope)| OutgoingEnvelope {
            account,
            device,
            fate_tag,
            transient,
            envelope,
        },
    )
}

/// One strategy for each client frame.
pub(crate) fn client() -> Vec<BoxedStrategy<ClientFrame>> {
    vec![
        (any::<(u16, u16)>(), text())
            .prop_map(|((min, max), software)| {
                ClientFrame::Hello(Hello { versions: VersionRange { min, max }, software })
            })
            .boxed(),
        Just(ClientFrame::Ping).boxed(),
        Just(ClientFrame::Bye).boxed(),
        (option::of(text()), text(), auth(), bytes(), device(), signature())
            .prop_map(|(invite, username, auth_key, list, device, signature)| {
                ClientFrame::Register(Register { invite, username, auth_key, list, device, signature })
            })
            .boxed(),
        (text(), auth())
            .prop_map(|(username, auth_key)| ClientFrame::PasswordLogin(PasswordLogin { username, auth_key }))
            .boxed(),
        (text(), signature())
            .prop_map(|(username, signature)| ClientFrame::AccountLogin(AccountLogin { username, signature }))
            .boxed(),
        (account(), device(), signature(), any::<bool>())
            .prop_map(|(account, device, signature, interactive)| {
                ClientFrame::DeviceLogin(DeviceLogin { account, device, signature, interactive })
            })
            .boxed(),
        (option::of(auth()), auth())
            .prop_map(|(old, new)| ClientFrame::SetPassword(SetPassword { old, new }))
            .boxed(),
        (vec(text(), 0..5), vec(account(), 0..5))
            .prop_map(|(names, accounts)| ClientFrame::LookupLists(LookupLists { names, accounts }))
            .boxed(),
        (hash(), bytes())
            .prop_map(|(expected, list)| ClientFrame::ReplaceList(ReplaceList { expected, list }))
            .boxed(),
        (
            option::of(signed_prekey()),
            option::of(kem_prekey()),
            vec(one_time(), 0..4),
            vec(kem_prekey(), 0..3),
        )
            .prop_map(|(signed, last_resort, one_time, one_time_kem)| {
                let upload = PrekeyUpload { signed, last_resort, one_time, one_time_kem };
                ClientFrame::PublishKeys(PublishKeys { upload })
            })
            .boxed(),
        (account(), vec(device(), 0..5), any::<bool>())
            .prop_map(|(account, devices, one_time)| {
                ClientFrame::ClaimBundles(ClaimBundles { account, devices, one_time })
            })
            .boxed(),
        (device(), device_key(), identity_key())
            .prop_map(|(device, device_key, identity_key)| {
                ClientFrame::RequestDevice(RequestDevice { device, device_key, identity_key })
            })
            .boxed(),
        Just(ClientFrame::ListPending).boxed(),
        device().prop_map(|device| ClientFrame::DropPending(DropPending { device })).boxed(),
        (account(), any::<bool>())
            .prop_map(|(account, blocked)| ClientFrame::Block(Block { account, blocked }))
            .boxed(),
        bytes().prop_map(|list| ClientFrame::ResetAccount(ResetAccount { list })).boxed(),
        Just(ClientFrame::RefuseReset).boxed(),
        any::<bool>()
            .prop_map(|interactive| ClientFrame::SetInteractive(SetInteractive { interactive }))
            .boxed(),
        vec(text(), 0..4).prop_map(|users| ClientFrame::Invite(Invite { users })).boxed(),
        chat().prop_map(|chat| ClientFrame::Accept(InChat { chat })).boxed(),
        chat().prop_map(|chat| ClientFrame::Deny(InChat { chat })).boxed(),
        chat().prop_map(|chat| ClientFrame::Cancel(InChat { chat })).boxed(),
        chat().prop_map(|chat| ClientFrame::Quit(InChat { chat })).boxed(),
        (option::of(text()), any::<u16>())
            .prop_map(|(after, limit)| ClientFrame::ListUsers(ListUsers { after, limit }))
            .boxed(),
        (incarnation(), number())
            .prop_map(|(incarnation, after)| ClientFrame::Attach(Attach { incarnation, after }))
            .boxed(),
        (incarnation(), number())
            .prop_map(|(incarnation, through)| ClientFrame::Ack(Ack { incarnation, through }))
            .boxed(),
        vec(tag(), 0..9).prop_map(|tags| ClientFrame::QueryFates(QueryFates { tags })).boxed(),
        submission()
            .prop_map(|submission| ClientFrame::QuerySubmission(QuerySubmission { submission }))
            .boxed(),
        (submission(), vec(used_list(), 0..4), vec(outgoing(), 0..4))
            .prop_map(|(submission, lists, envelopes)| {
                ClientFrame::Submit(Submit { submission, lists, envelopes })
            })
            .boxed(),
    ]
}

fn chat() -> impl Strategy<Value = ChatId> {
    any::<u64>().prop_map(ChatId)
}

fn device_key() -> impl Strategy<Value = DeviceKey> {
    any::<[u8; 32]>().prop_map(DeviceKey)
}

fn identity_key() -> impl Strategy<Value = IdentityKey> {
    any::<[u8; 32]>().prop_map(IdentityKey)
}

fn pending() -> impl Strategy<Value = PendingDevice> {
    (device(), device_key(), identity_key(), any::<u64>()).prop_map(
        |(device, device_key, identity_key, requested_ms)| PendingDevice {
            device,
            device_key,
            identity_key,
            requested_ms,
        },
    )
}

fn mailbox() -> impl Strategy<Value = MailboxState> {
    (incarnation(), number(), number()).prop_map(|(incarnation, acked, lost_through)| MailboxState {
        incarnation,
        acked,
        lost_through,
    })
}

fn bundle() -> impl Strategy<Value = PrekeyBundle> {
    (device(), signed_prekey(), kem_prekey(), any::<bool>(), option::of(one_time())).prop_map(
        |(device, signed, kem, kem_one_time, one_time)| PrekeyBundle {
            device,
            signed,
            kem,
            kem_one_time,
            one_time,
        },
    )
}

fn presence() -> impl Strategy<Value = Presence> {
    prop_oneof![
        Just(Presence::Offline),
        Just(Presence::Available),
        vec(text(), 0..4).prop_map(Presence::Busy),
    ]
}

fn welcome() -> impl Strategy<Value = Welcome> {
    let registration =
        prop_oneof![Just(Registration::Open), Just(Registration::Invite), Just(Registration::Closed)];
    (any::<(u16, [u8; 32], u64)>(), registration, any::<(u32, u16, u64)>()).prop_map(
        |((version, challenge, now_ms), registration, (max_frame, max_pipelined, retention_ms))| Welcome {
            version,
            challenge,
            now_ms,
            registration,
            limits: ServerLimits { max_frame, max_pipelined, retention_ms },
        },
    )
}

fn fate() -> impl Strategy<Value = FateState> {
    prop_oneof![
        Just(FateState::Waiting),
        Just(FateState::Taken),
        Just(FateState::Expired),
        Just(FateState::Unknown),
    ]
}

fn key_chain() -> impl Strategy<Value = KeyChain> {
    (bytes(), vec((bytes(), signature()), 0..4)).prop_map(|(first, successors)| KeyChain {
        first: first.into_vec(),
        successors: successors
            .into_iter()
            .map(|(spki, signature)| Successor { spki: spki.into_vec(), signature })
            .collect(),
    })
}

/// One strategy for each server frame.
pub(crate) fn server() -> Vec<BoxedStrategy<ServerFrame>> {
    vec![
        Just(ServerFrame::Done).boxed(),
        (any::<u16>(), text(), any::<Option<u64>>())
            .prop_map(|(code, message, retry_after_ms)| {
                ServerFrame::Error(ErrorReply { code: ErrorCode(code), message, retry_after_ms })
            })
            .boxed(),
        welcome().prop_map(ServerFrame::Welcome).boxed(),
        Just(ServerFrame::Pong).boxed(),
        (account(), bytes())
            .prop_map(|(account, list)| ServerFrame::AccountIn(AccountIn { account, list }))
            .boxed(),
        (any::<u64>(), hash(), mailbox(), counts())
            .prop_map(|(list_number, list_hash, mailbox, prekeys)| {
                ServerFrame::DeviceIn(DeviceIn { list_number, list_hash, mailbox, prekeys })
            })
            .boxed(),
        vec(option::of(bytes()), 0..5).prop_map(|lists| ServerFrame::Lists(Lists { lists })).boxed(),
        counts().prop_map(|counts| ServerFrame::KeyCounts(KeyCounts { counts })).boxed(),
        (vec(bundle(), 0..3), vec(device(), 0..3))
            .prop_map(|(bundles, missing)| ServerFrame::Bundles(Bundles { bundles, missing }))
            .boxed(),
        (vec((text(), presence()), 0..5), any::<bool>())
            .prop_map(|(users, more)| {
                let users = users.into_iter().map(|(name, presence)| UserEntry { name, presence }).collect();
                ServerFrame::Users(Users { users, more })
            })
            .boxed(),
        vec(fate(), 0..9).prop_map(|states| ServerFrame::Fates(Fates { states })).boxed(),
        option::of(submitted())
            .prop_map(|submitted| ServerFrame::SubmissionState(SubmissionState { submitted }))
            .boxed(),
        submitted().prop_map(ServerFrame::Submitted).boxed(),
        (vec(bytes(), 0..4), vec(account(), 0..4))
            .prop_map(|(lists, wanted)| ServerFrame::StaleDevices(StaleDevices { lists, wanted }))
            .boxed(),
        vec(pending(), 0..3)
            .prop_map(|devices| ServerFrame::PendingDevices(PendingDevices { devices }))
            .boxed(),
        prop_oneof![
            Just(ResetState::None),
            any::<u64>().prop_map(ResetState::Pending),
            Just(ResetState::Done)
        ]
        .prop_map(ServerFrame::Reset)
        .boxed(),
        (chat(), any::<u64>())
            .prop_map(|(chat, expires_in_ms)| ServerFrame::Inviting(Inviting { chat, expires_in_ms }))
            .boxed(),
        bytes().prop_map(|list| ServerFrame::Approved(Approved { list })).boxed(),
        bytes().prop_map(|list| ServerFrame::ListChanged(ListChanged { list })).boxed(),
        (chat(), text(), vec(text(), 0..4), any::<u64>())
            .prop_map(|(chat, from, with, expires_in_ms)| {
                ServerFrame::Invited(Invited { chat, from, with, expires_in_ms })
            })
            .boxed(),
        (
            chat(),
            prop_oneof![
                text().prop_map(InviteEnd::Denied),
                Just(InviteEnd::Cancelled),
                Just(InviteEnd::TimedOut),
                text().prop_map(InviteEnd::Gone),
                Just(InviteEnd::Elsewhere),
            ],
        )
            .prop_map(|(chat, why)| ServerFrame::InviteEnded(InviteEnded { chat, why }))
            .boxed(),
        (chat(), vec(text(), 0..4))
            .prop_map(|(chat, with)| ServerFrame::ChatStarted(ChatStarted { chat, with }))
            .boxed(),
        (chat(), prop_oneof![text().prop_map(ChatEnd::Quit), text().prop_map(ChatEnd::Lost)])
            .prop_map(|(chat, why)| ServerFrame::ChatEnded(ChatEnded { chat, why }))
            .boxed(),
        key_chain().prop_map(ServerFrame::Chain).boxed(),
        (number(), number())
            .prop_map(|(through, lost_through)| ServerFrame::Drained(Drained { through, lost_through }))
            .boxed(),
        vec(tag(), 0..9).prop_map(|tags| ServerFrame::Taken(Taken { tags })).boxed(),
        Just(ServerFrame::Replaced).boxed(),
        Just(ServerFrame::Stopping).boxed(),
        (number(), number(), any::<u64>(), bytes())
            .prop_map(|(number, lost_through, stored_ms, envelope)| {
                ServerFrame::Deliver(Deliver { number, lost_through, stored_ms, envelope })
            })
            .boxed(),
    ]
}
