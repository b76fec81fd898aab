//! Byte snapshots: one line a value, `name hex`. `UPDATE_SNAPSHOTS=1` writes them anew; a released line never changes.

use std::{fmt::Write as _, path::PathBuf};

use sotto_proto::{
    frame::{AuthKey, ClientFrame, ServerFrame},
    login, prekey,
    prekey::{PrekeyId, SignedPrekeyKind, Validity},
};

use crate::samples;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn compare(file: &str, lines: &[String]) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(file);
    let now = lines.join("\n") + "\n";
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, now).unwrap();
        return;
    }
    let then = std::fs::read_to_string(&path).unwrap();
    for (then, now) in then.lines().zip(now.lines()) {
        assert_eq!(then, now, "{file} differs; a frame that was released never changes its bytes");
    }
    assert_eq!(then.lines().count(), now.lines().count(), "{file} has another number of lines");
}

#[test]
fn every_frame_keeps_its_bytes() {
    const REQUEST: u32 = 0x0102_0304;
    let mut lines = Vec::new();
    for frame in samples::client_frames() {
        let bytes = frame.encode(REQUEST).unwrap();
        lines.push(format!("client {:#06x} {} {}", frame.kind(), frame.name(), hex(&bytes)));
    }
    for frame in samples::server_frames() {
        let bytes = frame.encode(REQUEST).unwrap();
        lines.push(format!("server {:#06x} {} {}", frame.kind(), frame.name(), hex(&bytes)));
    }
    for kind in ClientFrame::KINDS {
        assert!(lines.iter().any(|line| line.starts_with(&format!("client {kind:#06x} "))), "{kind:#06x}");
    }
    for kind in ServerFrame::KINDS {
        assert!(lines.iter().any(|line| line.starts_with(&format!("server {kind:#06x} "))), "{kind:#06x}");
    }
    compare("frames.txt", &lines);
}

#[test]
fn everything_signed_hashed_or_sealed_keeps_its_bytes() {
    let alice = samples::account("alice", 1);
    let certificate = alice.certificate(1);
    let list = alice.list(1_800_000_000, [3; 32], &[1, 2], &[9]);
    let device = samples::device_id(1);
    let validity = Validity { created_ms: 5, expires_ms: 6 };
    let server = samples::server_id();
    let mut lines = vec![
        format!("certificate {}", hex(certificate.as_bytes())),
        format!("certificate-hash {}", hex(&certificate.hash())),
        format!("device-list {}", hex(list.as_bytes())),
        format!("device-list-hash {}", hex(list.hash().as_bytes())),
        format!("envelope {}", hex(&samples::envelope().encode())),
        format!("envelope-body-hash {}", hex(&samples::envelope().body_hash().0)),
        format!("content {}", hex(&samples::content().encode().unwrap())),
        format!("device-login {}", hex(&login::device_login(&server, &[2; 32], &[3; 32]))),
        format!(
            "register {}",
            hex(&login::registration(&server, &[2; 32], &[3; 32], &list.hash(), &AuthKey([4; 32])))
        ),
        format!("account-login {}", hex(&login::account_login(&server, &[2; 32], &[3; 32]))),
        format!("auth-salt {}", hex(&login::auth_salt(&server, &"alice".parse().unwrap()))),
        format!("successor {}", hex(&sotto_proto::chain::successor_input(b"old", b"new", 1))),
    ];
    for kind in [SignedPrekeyKind::Curve, SignedPrekeyKind::LastResortKem, SignedPrekeyKind::OneTimeKem] {
        let input = prekey::signing_input(kind, &alice.id(), &device, PrekeyId(4), validity, &[7; 3]);
        lines.push(format!("prekey-{kind:?} {}", hex(&input)));
    }
    for body in samples::bodies() {
        lines.push(format!("body-{} {}", body.kind(), hex(&body.encode())));
    }
    compare("signed.txt", &lines);
}
