//! What the fixture stores hold: at least one row of every table of the newest version. The example `fixture` writes it, the
//! test `fixture` reads it back; released fixtures are never written again.

use sotto_client::{
    api::Fate,
    store::{
        BlockRecord, ClaimedIdentity, Copy, CopyFate, Cursor, Identity, LocalStore, NO_MESSAGE, NewEntry,
        NewMessage, PasswordChange, PrekeySlot, SentBody, ServerPin, StoreError, Tx, WantedBody, WrapId,
    },
};
use sotto_crypto::{AccountSecret, DeviceSecret, PeerSessions};
use sotto_proto::{
    AccountId, Certificate, DeviceId, DeviceList, FateTag, Incarnation, ListHash, MessageId, QueueNumber,
    ServerId, SessionId, SignedDeviceList, SubmissionId, content::kind, frame::AuthKey,
};

/// The key that the fixtures are encrypted under; they hold nothing that is secret.
pub const KEY: [u8; 32] = [0x5a; 32];
/// When everything in them happened.
pub const NOW_MS: u64 = 1_790_000_000_000;
/// The text of the first message.
pub const TEXT: &str = "a message of version 1";

/// Whose store it is.
pub fn account() -> AccountId {
    AccountId([1; 16])
}

/// With whom.
pub fn contact() -> AccountId {
    AccountId([2; 16])
}

/// The contact's device.
pub fn device() -> DeviceId {
    DeviceId([0x22; 16])
}

/// A message's id.
pub fn message(number: u8) -> MessageId {
    MessageId([number; 16])
}

/// The device list of `name`, signed by a key made of `seed`, with one device; and that device.
pub fn list(name: &str, id: AccountId, device: DeviceId, seed: u8) -> (SignedDeviceList, DeviceSecret) {
    let secret = AccountSecret::from_seed(&[seed; 32]);
    let keys = DeviceSecret::from_bytes(&device_bytes(seed)).expect("device");
    let certificate = Certificate {
        username: name.parse().expect("name"),
        account: id,
        account_key: secret.public(),
        device,
        device_key: keys.device_key(),
        identity_key: keys.identity_key(),
        created_ms: NOW_MS,
    };
    let list = DeviceList {
        username: name.parse().expect("name"),
        account: id,
        account_key: secret.public(),
        number: NOW_MS / 1000,
        previous: ListHash([0; 32]),
        devices: vec![secret.sign_certificate(&certificate).expect("certificate")],
        revocations: Vec::new(),
    };
    (secret.sign_device_list(&list).expect("list"), keys)
}

fn device_bytes(seed: u8) -> Vec<u8> {
    let mut bytes = vec![1];
    bytes.extend([seed; 64]);
    bytes
}

/// Writes everything.
pub fn fill(store: &mut LocalStore) -> Result<(), StoreError> {
    store.transaction(|tx| {
        people(tx)?;
        history(tx)?;
        outbox(tx)?;
        tx.first_sight(&[3; 16])?;
        tx.want_body(&WantedBody {
            reference: [4; 32],
            account: contact(),
            device: device(),
            session: None,
        })?;
        tx.add_receipt(&contact(), &device(), &message(1))?;
        let name = "bob".parse().expect("name");
        let (theirs, _) = list("bob", contact(), device(), 9);
        let identity = ClaimedIdentity::new(&theirs.list().devices[0]);
        tx.hold(&identity, &name, b"an envelope", NOW_MS)
    })
}

fn people(tx: &Tx<'_>) -> Result<(), StoreError> {
    let (own, keys) = list("alice", account(), DeviceId([0x11; 16]), 1);
    let (theirs, _) = list("bob", contact(), device(), 2);
    let certificate = own.list().devices[0].clone();
    tx.save_identity(&Identity {
        username: "alice".parse().expect("name"),
        account: account(),
        account_key: own.list().account_key,
        account_seed: Some(zeroize::Zeroizing::new([1; 32])),
        device: DeviceId([0x11; 16]),
        device_secret: keys.to_bytes(),
        certificate,
        registered: true,
    })?;
    tx.set_server(&ServerPin {
        address: "chat.example:7777".parse().expect("address"),
        server_id: ServerId([6; 32]),
        newest: [7; 32],
        number: 1,
    })?;
    tx.set_auth_key(&ServerId([6; 32]), &AuthKey([0x0a; 32]))?;
    tx.set_block(&BlockRecord { account: contact(), blocked: true, clock_ms: NOW_MS })?;
    tx.set_device_name(&DeviceId([0x11; 16]), "laptop", NOW_MS)?;
    tx.begin_password_change(&PasswordChange {
        old: AuthKey([0x0a; 32]),
        new: AuthKey([0x0c; 32]),
        wrap: WrapId([0x0d; 8]),
    })?;
    tx.set_cursor(&Cursor { incarnation: Incarnation([8; 16]), number: QueueNumber(42) })?;
    tx.pin(&own, true)?;
    tx.pin(&theirs, false)?;
    let id = tx.next_prekey_id(PrekeySlot::Signed)?;
    tx.add_prekey(PrekeySlot::Signed, id, b"a private key", NOW_MS)?;
    tx.save_sessions(&contact(), &device(), &PeerSessions::new().to_bytes())
}

fn history(tx: &Tx<'_>) -> Result<(), StoreError> {
    let received = NewMessage {
        conversation: contact(),
        name: None,
        sender: contact(),
        message: message(1),
        arrived: true,
        outgoing: false,
        kind: kind::TEXT,
        body: TEXT.as_bytes(),
        problem: None,
        failed: None,
        sent_ms: NOW_MS,
        received_ms: NOW_MS,
        fate: None,
    };
    tx.add_message(&received)?;
    tx.add_message(&NewMessage {
        message: message(2),
        kind: 0,
        body: &[],
        problem: Some("cannot be read"),
        failed: Some([4; 32]),
        ..received.clone()
    })?;
    tx.add_message(&NewMessage {
        sender: account(),
        message: message(3),
        arrived: false,
        outgoing: true,
        body: b"sent",
        fate: Some(Fate::Stored),
        ..received
    })?;
    tx.add_fate(&CopyFate {
        message: message(3),
        account: contact(),
        device: device(),
        tag: FateTag([3; 16]),
        state: Fate::Stored,
        stored_ms: NOW_MS,
    })?;
    let sent = SentBody {
        account: contact(),
        device: device(),
        session: SessionId([5; 16]),
        conversation: contact(),
        message: message(3),
    };
    tx.add_sent_body(&[5; 32], &sent, NOW_MS)?;
    tx.add_sent_body(&[6; 32], &SentBody { message: NO_MESSAGE, ..sent }, NOW_MS)?;
    tx.add_sent_receipts(&[6; 32], &[message(1), message(2)])
}

fn outbox(tx: &Tx<'_>) -> Result<(), StoreError> {
    let entry = tx.enqueue(&NewEntry {
        account: Some(contact()),
        username: None,
        device: None,
        message: message(4),
        user: true,
        kind: kind::TEXT,
        body: b"waiting",
        clock_ms: NOW_MS,
        now_ms: NOW_MS,
    })?;
    tx.set_submission(entry, Some(&SubmissionId([6; 16])))?;
    tx.add_copy(
        entry,
        &Copy {
            account: contact(),
            device: device(),
            tag: FateTag([4; 16]),
            envelope: b"sealed".to_vec(),
            reference: [6; 32],
            session: SessionId([5; 16]),
            refused: None,
        },
    )
}
