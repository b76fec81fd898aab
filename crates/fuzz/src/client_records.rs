//! What the client reads back from its disk: records of the local store, secrets, the key file, and what travels between
//! processes of one profile.

use std::cell::RefCell;

use sha2::{Digest, Sha256};
use sotto_client::{
    api::Fate,
    driver,
    store::{
        BlockRecord, ClaimedIdentity, Copy, CopyFate, Cursor, Identity, LocalStore, NewEntry, NewMessage,
        PasswordChange, PrekeySlot, SentBody, ServerPin, StoreError, Tx, WaitingDevice, WantedBody, WrapId,
        fuzzing,
    },
};
use sotto_crypto::{
    AccountSecret, DeviceSecret, KemPrekeySecret, OneTimePrekeySecret, PeerSessions, SignedPrekeySecret,
    VaultError, VaultKey,
};
use sotto_proto::{
    AccountId, DeviceId, DeviceList, FateTag, Incarnation, ListHash, MessageId, QueueNumber, ServerId,
    SessionId, SubmissionId, Username, frame::AuthKey, prekey::PrekeyId,
};
use zeroize::Zeroizing;

use crate::{
    input::Input,
    world::{NOW_MS, devices},
};

const ME: AccountId = AccountId([1; 16]);
const DEVICE: DeviceId = DeviceId([2; 16]);
const MESSAGE: MessageId = MessageId([3; 16]);
const REFERENCE: [u8; 32] = [4; 32];
const TAG: FateTag = FateTag([5; 16]);
const SUBMISSION: SubmissionId = SubmissionId([6; 16]);
const SERVER: ServerId = ServerId([7; 32]);
const CLAIMED: ClaimedIdentity = ClaimedIdentity([8; 32]);

/// Names of the table `meta` and what reads and writes them: a reader, and whether what was read is written again as it was.
type Record = (&'static str, fn(&Tx<'_>) -> Result<bool, StoreError>);

const RECORDS: &[Record] = &[
    ("identity", |tx| tx.identity()?.map(|identity| tx.save_identity(&identity)).transpose().map(|_| false)),
    ("server", |tx| tx.server()?.map(|pin| tx.set_server(&pin)).transpose().map(|_| false)),
    ("cursor", |tx| tx.cursor()?.map(|cursor| tx.set_cursor(&cursor)).transpose().map(|_| true)),
    ("password change", |tx| {
        tx.password_change()?.map(|change| tx.begin_password_change(&change)).transpose().map(|_| true)
    }),
    ("waiting device", |tx| {
        tx.waiting_device()?.map(|waiting| tx.save_waiting_device(&waiting)).transpose().map(|_| false)
    }),
    ("reset", |tx| tx.reset_asked()?.map(|server| tx.set_reset_asked(&server)).transpose().map(|_| true)),
    ("wrap", |tx| tx.right_wrap().map(|_| false)),
    ("certified", |tx| tx.certified(&DEVICE).map(|_| false)),
    ("print", |tx| tx.number("print").and_then(|number| tx.set_number("print", number)).map(|()| true)),
    ("next prekey 1", |tx| tx.next_prekey_id(PrekeySlot::Signed).map(|_| false)),
];

/// A record, a column, a secret, a key file, or a message between processes.
pub fn client_records(data: &[u8]) {
    let mut input = Input::new(data);
    match input.u8() % 5 {
        0 => record(&mut input),
        1 => column(&mut input),
        2 => secret(&mut input),
        3 => vault(input.rest()),
        _ => socket(input.rest()),
    }
}

/// Whoever ends a transaction so, undoes it.
struct Undone;

impl From<StoreError> for Undone {
    fn from(error: StoreError) -> Self {
        panic!("the sample store fails: {error}");
    }
}

/// Works on a store with a row in every table, and undoes everything.
fn with(work: impl FnOnce(&Tx<'_>)) {
    thread_local! {
        static STORE: RefCell<LocalStore> = RefCell::new(sample().unwrap());
    }
    STORE.with_borrow_mut(|store| {
        let undone = store.transaction(|tx| -> Result<(), Undone> {
            work(tx);
            Err(Undone)
        });
        assert!(undone.is_err());
    });
}

fn record(input: &mut Input<'_>) {
    let (name, again) = RECORDS[input.below(RECORDS.len())];
    let forged = input.flag();
    with(|tx| {
        let real = fuzzing::meta(tx, name).unwrap().unwrap_or_default();
        let value = if forged { input.forged(&real) } else { input.rest().to_vec() };
        fuzzing::set_meta(tx, name, &value).unwrap();
        match again(tx) {
            Ok(one_spelling) => {
                let written = fuzzing::meta(tx, name).unwrap().unwrap();
                assert!(!one_spelling || *written == value, "{name} has two spellings");
                assert!(again(tx).is_ok(), "{name} does not read back");
            }
            Err(error) => {
                // Prekeys have numbers of 32 bits.
                let used_up = name == "next prekey 1" && matches!(error, StoreError::Failed(_));
                let said = matches!(error, StoreError::Damaged(_) | StoreError::TooNew(_));
                assert!(said || used_up, "{error}");
            }
        }
    });
}

/// A value that this program never wrote, in any column.
fn column(input: &mut Input<'_>) {
    thread_local! {
        static COLUMNS: Vec<(String, String)> = fuzzing::columns(&sample().unwrap()).unwrap();
    }
    let (table, column) = COLUMNS.with(|columns| columns[input.below(columns.len())].clone());
    with(|tx| {
        if fuzzing::overwrite(tx, &table, &column, input.rest()) {
            read_all(tx);
        }
    });
}

/// Everything that is read by anybody; errors say that the store is damaged.
fn read_all(tx: &Tx<'_>) {
    let name = Username::parse("alice").unwrap();
    let results = [
        tx.contacts().map(drop),
        tx.contact_by_name(&name).map(drop),
        tx.lanes().map(drop),
        tx.user_entries(10).map(drop),
        tx.entry_of(&MESSAGE).map(drop),
        tx.entries_for_name(&name).map(drop),
        tx.unresolved_names().map(drop),
        tx.copies(1).map(drop),
        tx.refusing_devices(&ME, true).map(drop),
        tx.submission_entries(&SUBMISSION).map(drop),
        tx.history(None, None, 10).map(drop),
        tx.arrived_after(0, true, 10).map(drop),
        tx.sent_message(&MESSAGE).map(drop),
        tx.sent_body(&REFERENCE).map(drop),
        tx.bodies_to_ask((u64::MAX >> 1, u64::MAX >> 1), &[DEVICE], 10).map(drop),
        tx.wanted_body(&REFERENCE).map(drop),
        tx.receipt_devices().map(drop),
        tx.held_identities().map(drop),
        tx.first_held(&CLAIMED).map(drop),
        tx.take_held(&CLAIMED).map(drop),
        tx.fates_of(&MESSAGE).map(drop),
        tx.fate_by_tag(&TAG).map(drop),
        tx.open_fates(0, None, 10).map(drop),
        tx.session_devices().map(drop),
        tx.newest_prekey(PrekeySlot::Signed).map(drop),
        tx.prekey(PrekeySlot::Signed, PrekeyId(1)).map(drop),
        tx.blocked().map(drop),
        tx.block(&ME).map(drop),
        tx.device_names().map(drop),
        tx.auth_key(&SERVER).map(drop),
    ];
    for error in results.into_iter().filter_map(Result::err) {
        assert!(!matches!(error, StoreError::DiskFull), "{error}");
    }
    if let Ok(Some(state)) = tx.sessions(&ME, &DEVICE) {
        let _ = PeerSessions::from_bytes(&state).is_ok();
    }
}

/// Secrets that are stored as `sotto-crypto` writes them.
fn secret(input: &mut Input<'_>) {
    let kind = input.u8() % 4;
    let bytes = input.rest();
    let again = match kind {
        0 => DeviceSecret::from_bytes(bytes).map(|secret| secret.to_bytes()),
        1 => SignedPrekeySecret::from_bytes(bytes).map(|secret| secret.to_bytes()),
        2 => OneTimePrekeySecret::from_bytes(bytes).map(|secret| secret.to_bytes()),
        _ => KemPrekeySecret::from_bytes(bytes).map(|secret| secret.to_bytes()),
    };
    if let Ok(again) = again {
        assert_eq!(*again, bytes, "a secret has two spellings");
    }
}

/// Bytes of a wrap in front of its salt: version, memory (KiB), passes, lanes.
const COST: std::ops::Range<usize> = 1..13;
const CHECKSUM: usize = 8;

fn vault(bytes: &[u8]) {
    let Ok(again) = driver::fuzzing::vault(bytes) else { return };
    assert_eq!(driver::fuzzing::vault(&again).unwrap(), again);
    // Version 1 had no ids of wraps.
    assert!(again == bytes || bytes[0] == 1, "a key file has two spellings");
    for mut wrap in driver::fuzzing::wraps(bytes).unwrap() {
        assert!(matches!(VaultKey::open(&wrap, "password").err(), None | Some(VaultError::Damaged(_))));
        // With the right checksum, the cost is what a damaged file says: tried only where it is low.
        let Some(cost) = wrap.get(COST) else { continue };
        let [memory_kib, passes, lanes] =
            [0, 4, 8].map(|at| u32::from_be_bytes([cost[at], cost[at + 1], cost[at + 2], cost[at + 3]]));
        let affordable = memory_kib <= 64 && passes <= 2 && lanes <= 4;
        // Above what any program writes it is refused without being tried.
        let absurd = memory_kib > 1024 * 1024 || passes > 64 || lanes > 16;
        let body = wrap.len().saturating_sub(CHECKSUM);
        if affordable || absurd {
            let sum = Sha256::digest(&wrap[..body]);
            wrap.truncate(body);
            wrap.extend_from_slice(&sum[..CHECKSUM]);
            let opened = VaultKey::open(&wrap, "password");
            assert!(!absurd || matches!(opened.err(), Some(VaultError::Damaged(_))));
        }
    }
}

fn socket(bytes: &[u8]) {
    for read in [driver::fuzzing::to_owner, driver::fuzzing::to_face] {
        if let Some(written) = read(bytes) {
            assert_eq!(read(&written).as_ref(), Some(&written));
        }
    }
}

/// The values of the sample's records, for the seeds.
pub(crate) fn examples() -> Vec<(u8, Vec<u8>)> {
    let mut examples = Vec::new();
    with(|tx| {
        for (number, (name, _)) in (0..).zip(RECORDS) {
            let value = fuzzing::meta(tx, name).unwrap().unwrap_or_default();
            examples.push((number, value.to_vec()));
        }
    });
    examples
}

/// A store with a row in every table.
fn sample() -> Result<LocalStore, StoreError> {
    let mut store = LocalStore::in_memory()?;
    store.transaction(|tx| {
        records(tx)?;
        rows(tx)
    })?;
    Ok(store)
}

fn records(tx: &Tx<'_>) -> Result<(), StoreError> {
    let [alice, _] = devices();
    let own = alice.certificate.certificate();
    tx.save_identity(&Identity {
        username: own.username.clone(),
        account: own.account,
        account_key: own.account_key,
        account_seed: Some(Zeroizing::new([9; 32])),
        device: own.device,
        device_secret: alice.secret.to_bytes(),
        certificate: alice.certificate.clone(),
        registered: true,
    })?;
    let address = "chat.example:7000".parse().unwrap();
    tx.set_server(&ServerPin { address, server_id: SERVER, newest: [10; 32], number: 1 })?;
    tx.set_cursor(&Cursor { incarnation: Incarnation([11; 16]), number: QueueNumber(12) })?;
    tx.begin_password_change(&PasswordChange {
        old: AuthKey([13; 32]),
        new: AuthKey([14; 32]),
        wrap: WrapId([15; 8]),
    })?;
    fuzzing::set_meta(tx, "wrap", &[15; 8])?;
    tx.save_waiting_device(&WaitingDevice {
        username: own.username.clone(),
        account: own.account,
        account_key: own.account_key,
        device: own.device,
        device_secret: alice.secret.to_bytes(),
    })?;
    tx.set_reset_asked(&SERVER)?;
    tx.keep_certified(&alice.certificate)?;
    tx.set_auth_key(&SERVER, &AuthKey([16; 32]))?;
    let id = tx.next_prekey_id(PrekeySlot::Signed)?;
    tx.add_prekey(PrekeySlot::Signed, id, &[17; 32], NOW_MS)
}

fn rows(tx: &Tx<'_>) -> Result<(), StoreError> {
    let name = Username::parse("alice").unwrap();
    tx.pin(&list(), true)?;
    tx.save_sessions(&ME, &DEVICE, &PeerSessions::new().to_bytes())?;
    tx.first_sight(&[18; 16])?;
    tx.add_message(&NewMessage {
        conversation: ME,
        name: Some(&name),
        sender: ME,
        message: MESSAGE,
        arrived: true,
        outgoing: true,
        kind: 1,
        body: b"hello",
        problem: Some("none"),
        failed: Some(REFERENCE),
        sent_ms: NOW_MS,
        received_ms: NOW_MS,
        fate: Some(Fate::Stored),
    })?;
    let entry = tx.enqueue(&NewEntry {
        account: Some(ME),
        username: Some(&name),
        device: Some(DEVICE),
        message: MESSAGE,
        user: true,
        kind: 1,
        body: b"hello",
        clock_ms: NOW_MS,
        now_ms: NOW_MS,
    })?;
    tx.set_submission(entry, Some(&SUBMISSION))?;
    tx.add_copy(
        entry,
        &Copy {
            account: ME,
            device: DEVICE,
            tag: TAG,
            envelope: vec![19; 100],
            reference: REFERENCE,
            session: SessionId([20; 16]),
            refused: Some("full".to_owned()),
        },
    )?;
    let sent = SentBody {
        account: ME,
        device: DEVICE,
        session: SessionId([20; 16]),
        conversation: ME,
        message: MESSAGE,
    };
    tx.add_sent_body(&REFERENCE, &sent, NOW_MS)?;
    let session = Some(SessionId([20; 16]));
    tx.want_body(&WantedBody { reference: REFERENCE, account: ME, device: DEVICE, session })?;
    tx.add_receipt(&ME, &DEVICE, &MESSAGE)?;
    tx.hold(&CLAIMED, &name, &[21; 100], NOW_MS)?;
    tx.add_fate(&CopyFate {
        message: MESSAGE,
        account: ME,
        device: DEVICE,
        tag: TAG,
        state: Fate::Stored,
        stored_ms: NOW_MS,
    })?;
    tx.set_block(&BlockRecord { account: ME, blocked: true, clock_ms: NOW_MS })?;
    tx.set_device_name(&DEVICE, "laptop", NOW_MS).map(drop)
}

fn list() -> sotto_proto::SignedDeviceList {
    let secret = AccountSecret::from_seed(&[22; 32]);
    let mut certificate = devices()[0].certificate.certificate().clone();
    certificate.account = ME;
    certificate.account_key = secret.public();
    certificate.device = DEVICE;
    let list = DeviceList {
        username: certificate.username.clone(),
        account: ME,
        account_key: secret.public(),
        number: 1,
        previous: ListHash([0; 32]),
        devices: vec![secret.sign_certificate(&certificate).unwrap()],
        revocations: Vec::new(),
    };
    secret.sign_device_list(&list).unwrap()
}
