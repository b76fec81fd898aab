//! The limits fit each other: what one of them promises, the others leave room for.

use serde_bytes::ByteBuf;
use sotto_proto::{
    AccountId, DeviceId, Envelope, FateTag, ListHash, PrekeyPublic, QueueNumber, Signature, SubmissionId,
    Username,
    chain::KeyChain,
    content::MAX_TEXT,
    device_list::Revocation,
    envelope::PART1_LENGTH,
    frame::{
        AuthKey, Bundles, ClientFrame, Deliver, DeviceOutcome, Lists, Outcome, OutgoingEnvelope, Presence,
        PublishKeys, QueryFates, Register, ReplaceList, ServerFrame, Submit, Submitted, UsedList, UserEntry,
        Users,
    },
    limits::{
        CERTIFICATE_PADDED, DAY_MS, FLOOR_ENVELOPE, MAX_CHAIN, MAX_CONTENT, MAX_DEVICE_LIST, MAX_DEVICES,
        MAX_ENVELOPE, MAX_ENVELOPES_PER_SUBMIT, MAX_FATES_PER_QUERY, MAX_FRAME, MAX_FRAME_BEFORE_LOGIN,
        MAX_LISTS, MAX_NAME_LENGTH, MAX_ONE_TIME_KEM_PREKEYS, MAX_ONE_TIME_PREKEYS, MAX_RETENTION_MS,
        MAX_REVOCATIONS, MAX_USERS_PER_PAGE, PADDING_FLOOR, RETENTION_MS, session_kept_ms,
    },
    prekey::{OneTimePrekey, PrekeyBundle, PrekeyId, PrekeyUpload, SignedPrekeyKind, Validity},
};

use crate::samples::{account, chain, device_id, server_keys};

fn body_length(frame: &[u8]) -> usize {
    frame.len() - 4
}

fn longest_name() -> String {
    "w".repeat(MAX_NAME_LENGTH)
}

fn largest_submit(envelopes: usize, size: usize) -> ClientFrame {
    let list = || UsedList {
        account: AccountId([1; 16]),
        number: u64::MAX,
        hash: ListHash([2; 32]),
        list: Some(ByteBuf::from(vec![3; MAX_DEVICE_LIST])),
    };
    ClientFrame::Submit(Submit {
        submission: SubmissionId([4; 16]),
        lists: vec![list(), list()],
        envelopes: (0..envelopes)
            .map(|_| OutgoingEnvelope {
                account: AccountId([5; 16]),
                device: DeviceId([6; 16]),
                fate_tag: FateTag([7; 16]),
                transient: false,
                envelope: ByteBuf::from(vec![8; size]),
            })
            .collect(),
    })
}

#[test]
fn the_floor_envelope_is_what_an_envelope_with_a_floor_body_really_takes() {
    let tag = 16;
    let floor = Envelope {
        ephemeral: PrekeyPublic([1; 32]),
        part1: vec![2; PART1_LENGTH],
        part2: vec![3; PADDING_FLOOR + tag],
    };
    assert_eq!(PART1_LENGTH, CERTIFICATE_PADDED + tag);
    assert_eq!(floor.encode().len(), FLOOR_ENVELOPE);
}

#[test]
fn the_longest_certificate_fits_its_padding() {
    let longest = account(&longest_name(), 1).certificate(1);
    assert_eq!(longest.as_bytes().len(), 241);
    assert!(longest.as_bytes().len() <= CERTIFICATE_PADDED);
}

#[test]
fn register_fits_a_frame_before_login() {
    let owner = account(&longest_name(), 1);
    let frame = ClientFrame::Register(Register {
        invite: Some("i".repeat(1024)),
        username: longest_name(),
        auth_key: AuthKey([1; 32]),
        list: ByteBuf::from(owner.list(u64::MAX, [1; 32], &[1], &[]).as_bytes().to_vec()),
        device: DeviceId([1; 16]),
        signature: Signature([1; 64]),
    });
    assert!(body_length(&frame.encode(1).unwrap()) <= MAX_FRAME_BEFORE_LOGIN);
}

#[test]
fn the_longest_key_chain_fits_a_frame_before_login() {
    let keys = server_keys(MAX_CHAIN);
    let longest: KeyChain = chain(&keys);
    let frame = ServerFrame::Chain(longest).encode(0).unwrap();
    assert!(body_length(&frame) <= MAX_FRAME_BEFORE_LOGIN, "{} bytes", body_length(&frame));
}

#[test]
fn one_message_to_all_devices_of_two_accounts_fits_one_submit_at_any_size() {
    let devices = 2 * MAX_DEVICES;
    assert!(devices <= MAX_ENVELOPES_PER_SUBMIT);
    assert!(largest_submit(devices, MAX_ENVELOPE).encode(1).is_ok());
}

#[test]
fn a_full_submit_of_floor_envelopes_fits() {
    assert!(largest_submit(MAX_ENVELOPES_PER_SUBMIT, FLOOR_ENVELOPE).encode(1).is_ok());
    let answer = ServerFrame::Submitted(Submitted {
        devices: vec![
            DeviceOutcome {
                device: DeviceId([1; 16]),
                outcome: Outcome::Stored { connected: true }
            };
            MAX_ENVELOPES_PER_SUBMIT
        ],
        stored_ms: u64::MAX,
    });
    assert!(answer.encode(1).is_ok());
}

#[test]
fn the_largest_content_leaves_room_for_handshake_kem_step_and_padding() {
    // Body kind, session id, a handshake header with ids, keys and KEM ciphertext, a ratchet header with KEM offer and
    // answer, the tag; rounded up. Padme adds at most an eighth, at this size a twentieth.
    let headers = 1 + 16 + (64 + 4 * 36 + 1088 + 32) + (64 + 1184 + 32 + 1088) + 64;
    let padded = (MAX_CONTENT + headers) * 21 / 20;
    assert!(FLOOR_ENVELOPE - PADDING_FLOOR + padded <= 40 * 1024);
    const { assert!(40 * 1024 <= MAX_ENVELOPE) };
    const { assert!(MAX_TEXT >= 32_000, "a text of 32,000 bytes is a message") };
}

#[test]
fn a_full_upload_and_a_full_set_of_bundles_fit_a_frame() {
    let alice = account("alice", 1);
    let validity = Validity::from(0);
    let kem = alice.kem_prekey(1, SignedPrekeyKind::OneTimeKem, validity);
    let one_time = OneTimePrekey { id: PrekeyId(1), key: PrekeyPublic([1; 32]) };
    let upload = PrekeyUpload {
        signed: Some(alice.signed_prekey(1, validity)),
        last_resort: Some(kem.clone()),
        one_time: vec![one_time.clone(); MAX_ONE_TIME_PREKEYS],
        one_time_kem: vec![kem.clone(); MAX_ONE_TIME_KEM_PREKEYS],
    };
    assert!(ClientFrame::PublishKeys(PublishKeys { upload }).encode(1).is_ok());
    let bundle = PrekeyBundle {
        device: device_id(1),
        signed: alice.signed_prekey(1, validity),
        kem,
        kem_one_time: true,
        one_time: Some(one_time),
    };
    let bundles = Bundles { bundles: vec![bundle; MAX_DEVICES], missing: vec![] };
    assert!(ServerFrame::Bundles(bundles).encode(1).is_ok());
}

#[test]
fn the_longest_device_list_and_as_many_as_are_asked_for_fit() {
    let owner = account(&longest_name(), 1);
    let mut list = owner.plain_list(u64::MAX, [1; 32], &[1, 2, 3, 4, 5, 6, 7, 8], &[]);
    assert_eq!(list.devices.len(), MAX_DEVICES);
    list.revocations = (0..MAX_REVOCATIONS)
        .map(|number| {
            let mut id = [0xff; 16];
            id[..8].copy_from_slice(&(number as u64).to_be_bytes());
            Revocation { device: DeviceId(id), revoked_ms: u64::MAX }
        })
        .collect();
    let signed = owner.sign_list(&list).unwrap();
    let bytes = ByteBuf::from(signed.as_bytes().to_vec());
    assert!(bytes.len() <= MAX_DEVICE_LIST);
    let lists = Lists { lists: vec![Some(ByteBuf::from(vec![0; MAX_DEVICE_LIST])); MAX_LISTS] };
    assert!(ServerFrame::Lists(lists).encode(1).is_ok());
    let replace = ClientFrame::ReplaceList(ReplaceList { expected: signed.hash(), list: bytes });
    let length = body_length(&replace.encode(1).unwrap());
    assert!(length > MAX_FRAME_BEFORE_LOGIN, "so an account login must raise the limit of a frame");
}

#[test]
fn a_page_of_users_and_a_question_after_fates_fit() {
    let users = Users {
        users: vec![
            UserEntry { name: longest_name(), presence: Presence::Busy(vec![longest_name(); 8]) };
            MAX_USERS_PER_PAGE
        ],
        more: true,
    };
    assert!(ServerFrame::Users(users).encode(1).is_ok());
    let tags = vec![FateTag([1; 16]); MAX_FATES_PER_QUERY];
    assert!(ClientFrame::QueryFates(QueryFates { tags }).encode(1).is_ok());
}

#[test]
fn the_largest_envelope_can_be_delivered() {
    let deliver = ServerFrame::Deliver(Deliver {
        number: QueueNumber(u64::MAX),
        lost_through: QueueNumber(u64::MAX),
        stored_ms: u64::MAX,
        envelope: ByteBuf::from(vec![1; MAX_ENVELOPE]),
    });
    assert!(body_length(&deliver.encode(0).unwrap()) <= MAX_FRAME);
}

#[test]
fn no_name_is_longer_than_the_limit_in_bytes() {
    assert_eq!(Username::parse(&longest_name()).map(|name| name.as_str().len()), Ok(MAX_NAME_LENGTH));
}

#[test]
fn sessions_are_kept_for_as_long_as_something_may_come_in_them() {
    // Retention and outbox twice, a week in which it is answered, a week for clocks.
    assert_eq!(session_kept_ms(RETENTION_MS), 102 * DAY_MS);
    assert_eq!(session_kept_ms(MAX_RETENTION_MS), 342 * DAY_MS);
}
