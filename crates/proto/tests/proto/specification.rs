//! The tables of `docs/spec/wire.md` say what the code does.

use sotto_proto::{
    frame::{ClientFrame, ErrorCode, ServerFrame},
    limits,
    prekey::SignedPrekeyKind,
};

use crate::samples;

fn specification() -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/spec/wire.md");
    std::fs::read_to_string(path).unwrap()
}

/// The cells of every table row.
fn rows(text: &str) -> Vec<Vec<String>> {
    text.lines()
        .filter(|line| line.starts_with("| "))
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect()
}

#[test]
fn every_frame_stands_in_it_with_its_kind() {
    let text = specification();
    let listed: Vec<(String, String)> = rows(&text)
        .into_iter()
        .filter(|row| row[0].starts_with("0x"))
        .map(|row| (row[0].clone(), row[1].clone()))
        .collect();
    let mut frames: Vec<(String, String)> = samples::client_frames()
        .iter()
        .map(|frame| (frame.kind(), frame.name()))
        .chain(samples::server_frames().iter().map(|frame| (frame.kind(), frame.name())))
        .map(|(kind, name)| (format!("{kind:#06x}"), name.to_owned()))
        .collect();
    frames.sort();
    frames.dedup();
    assert_eq!(frames.len(), ClientFrame::KINDS.len() + ServerFrame::KINDS.len());
    for frame in &frames {
        assert!(listed.contains(frame), "{frame:?} is missing or named otherwise");
    }
    assert_eq!(listed.len(), frames.len(), "a frame that is none, or one twice: {listed:?}");
}

#[test]
fn every_body_kind_and_signature_label_stands_in_it() {
    let text = specification();
    let rows = rows(&text);
    for body in samples::bodies() {
        let kind = body.kind().to_string();
        let cells = rows.iter().filter(|row| row[0] == kind && row.len() == 3).count();
        assert_eq!(cells, 1, "body kind {kind}");
    }
    for kind in [SignedPrekeyKind::Curve, SignedPrekeyKind::LastResortKem, SignedPrekeyKind::OneTimeKem] {
        assert!(text.contains(&format!("`{}`", kind.label())), "{kind:?}");
    }
}

#[test]
fn the_error_codes_stand_in_it() {
    let rows = rows(&specification());
    macro_rules! codes {
        ($($name:ident)*) => { [$((stringify!($name), ErrorCode::$name)),*] };
    }
    let codes = codes!(
        UNSUPPORTED MALFORMED VERSION LOGIN_NEEDED BAD_CREDENTIALS NAME_TAKEN NAME_LOOKS_ALIKE BAD_NAME
        UNKNOWN_USER UNKNOWN_DEVICE RATE_LIMITED BUSY LIMIT TOO_MANY_CLIENTS BAD_KEYS REGISTRATION_CLOSED STORE
        OUT_OF_ORDER COLLISION CONFLICT DISK_FULL INCARNATION DISABLED NOT_AVAILABLE NO_SUCH_CHAT NOT_ACCEPTED
    );
    for (name, code) in codes {
        let listed = rows
            .iter()
            .any(|row| row.windows(2).any(|cells| cells[0] == code.0.to_string() && cells[1] == name));
        assert!(listed, "{name} is not listed as {}", code.0);
    }
}

#[test]
fn the_limits_stand_in_it_with_their_values() {
    let rows = rows(&specification());
    macro_rules! values {
        ($($name:ident)*) => { [$((stringify!($name), limits::$name.to_string())),*] };
    }
    let values = values!(
        MAX_NAME_LENGTH MAX_FRAME_BEFORE_LOGIN MAX_FRAME UNFINISHED_FRAMES_BUDGET MAX_CONTENT MAX_ENVELOPE
        PADDING_FLOOR FLOOR_ENVELOPE MAX_DEVICES MAX_REVOCATIONS MAX_DEVICE_LIST MAX_ENVELOPES_PER_SUBMIT MAX_LISTS
        MAX_ONE_TIME_PREKEYS MAX_ONE_TIME_KEM_PREKEYS MAX_PIPELINED MAX_CHAIN MAX_USERS_PER_PAGE
        MAX_FATES_PER_QUERY MAX_HASHES_PER_REQUEST MAILBOX_ENVELOPES MAILBOX_BYTES MAILBOX_FLOOR_PLACES
        RETENTION_MS MAX_INVITED INVITE_TIMEOUT_MS MAX_PENDING_DEVICES PENDING_DEVICE_MS MAX_BLOCKED
        RESET_DELAY_MS SUBMISSION_MEMORY_MS PREKEY_LIFETIME_MS PING_INTERVAL_MS PEER_SILENCE_MS MAX_RETENTION_MS
        RETENTION_MARGIN_MS FATE_MARGIN_MS OUTBOX_LIFETIME_MS PREKEY_ROTATION_MS REFILL_BELOW MAILBOX_SENDER_SHARE
        MAX_GENERATION MAX_SKIPPED_KEYS MAX_SESSIONS_PER_DEVICE UNANSWERED_SESSION_MS KEM_STEP_MESSAGES KEM_STEP_MS
    );
    for (name, value) in values {
        let listed =
            rows.iter().any(|row| row.len() > 1 && row[0].trim_end_matches(" *") == name && row[1] == value);
        assert!(listed, "{name} = {value}");
    }
}
