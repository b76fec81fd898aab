//! Stores of every released version are opened, brought to the newest, and read back through today's types.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

#[path = "support/fixture.rs"]
#[allow(dead_code, unreachable_pub)]
mod fixture;

use std::path::Path;

use sotto_client::{
    api::Fate,
    store::{LocalStore, StoreError, WrapId},
};
use sotto_proto::{FateTag, QueueNumber, ServerId, frame::AuthKey};

fn read_back(store: &mut LocalStore, version: u32) {
    store.check().unwrap();
    let (contact, device) = (fixture::contact(), fixture::device());
    store
        .transaction(|tx| {
            let identity = tx.identity()?.expect("identity");
            assert_eq!((identity.username.as_str(), identity.account), ("alice", fixture::account()));
            assert!(identity.registered && identity.account_seed.is_some());
            sotto_crypto::DeviceSecret::from_bytes(&identity.device_secret).expect("device secret");
            let server = tx.server()?.expect("server");
            assert_eq!(server.address.to_string(), "chat.example:7777");
            let auth_key = tx.auth_key(&server.server_id)?;
            assert_eq!(auth_key, (version >= 2).then_some(AuthKey([0x0a; 32])), "kept from version 2 on");
            assert_eq!(tx.auth_key(&ServerId([7; 32]))?, None, "for no other server");
            assert_eq!(tx.cursor()?.expect("cursor").number, QueueNumber(42));
            let known = tx.contact(&contact)?.expect("contact");
            assert_eq!(known.list.as_bytes(), fixture::list("bob", contact, device, 2).0.as_bytes());
            let new = version >= 2;
            assert_eq!((known.blocked, tx.count_blocked()?), (new, u64::from(new)));
            assert_eq!(tx.untold_blocks(9)?.len(), usize::from(new));
            assert_eq!(tx.device_name(&identity.device)?.0, if new { "laptop" } else { "" });
            let change = tx.password_change()?.map(|change| (change.new.clone(), change.wrap));
            assert_eq!(change, new.then_some((AuthKey([0x0c; 32]), WrapId([0x0d; 8]))));
            let sessions = tx.sessions(&contact, &device)?.expect("sessions");
            sotto_crypto::PeerSessions::from_bytes(&sessions).expect("sessions");
            let rows = tx.history(Some(&contact), None, 10)?;
            assert_eq!(rows.len(), 3);
            assert_eq!(rows[0].body, fixture::TEXT.as_bytes());
            assert_eq!(rows[1].problem.as_deref(), Some("cannot be read"));
            assert_eq!(rows[2].fate, Some(Fate::Stored));
            assert_eq!(tx.arrived_after(0, true, 10)?.len(), 2);
            assert_eq!(tx.fate_by_tag(&FateTag([3; 16]))?.expect("fate").state, Fate::Stored);
            assert_eq!(tx.sent_body(&[5; 32])?.expect("sent body").message, fixture::message(3));
            let receipts =
                if version >= 3 { vec![fixture::message(1), fixture::message(2)] } else { Vec::new() };
            assert_eq!(tx.sent_receipts(&[6; 32])?, receipts);
            let entry = tx.entry_of(&fixture::message(4))?.expect("entry");
            assert_eq!(entry.body, b"waiting");
            assert_eq!(tx.copies(entry.entry)?[0].envelope, b"sealed");
            assert!(!tx.first_sight(&[3; 16])?);
            assert!(tx.wanted_body(&[4; 32])?.is_some());
            assert_eq!(tx.take_receipts(&contact, &device, 10)?, [fixture::message(1)]);
            assert_eq!(tx.held_identities()?.len(), 1);
            assert!(tx.newest_prekey(sotto_client::store::PrekeySlot::Signed)?.is_some());
            Ok::<(), StoreError>(())
        })
        .unwrap();
}

#[test]
fn what_was_just_written_reads_back() {
    let mut store = LocalStore::in_memory().unwrap();
    fixture::fill(&mut store).unwrap();
    read_back(&mut store, sotto_migrations::client::CLIENT_VERSION);
}

#[test]
fn every_released_version_opens_and_reads_back() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations/fixtures");
    let scratch = tempfile::tempdir().unwrap();
    for version in 1..=sotto_migrations::client::CLIENT_VERSION {
        let name = format!("client-v{version}.db");
        let copy = scratch.path().join(&name);
        std::fs::copy(folder.join(&name), &copy).unwrap();
        let mut store = LocalStore::open(&copy, &fixture::KEY).unwrap();
        read_back(&mut store, version);
        let replaced = AuthKey([0x0b; 32]);
        store.transaction(|tx| tx.set_auth_key(&ServerId([6; 32]), &replaced)).unwrap();
        let kept = store.transaction(|tx| tx.auth_key(&ServerId([6; 32]))).unwrap();
        assert_eq!(kept, Some(replaced));
    }
}

#[test]
fn a_damaged_or_foreign_file_is_refused_and_left_as_it_is() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations/fixtures");
    let good = std::fs::read(folder.join("client-v1.db")).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("store.db");
    std::fs::write(&path, &good).unwrap();
    assert!(matches!(LocalStore::open(&path, &[0; 32]), Err(StoreError::Damaged(_))), "another key");
    let mut flipped = good.clone();
    flipped[100] ^= 1;
    std::fs::write(&path, &flipped).unwrap();
    assert!(matches!(LocalStore::open(&path, &fixture::KEY), Err(StoreError::Damaged(_))), "a flipped bit");
    assert_eq!(std::fs::read(&path).unwrap(), flipped);
    std::fs::write(&path, &good[..good.len() / 2]).unwrap();
    let cut = LocalStore::open(&path, &fixture::KEY).and_then(|store| store.check());
    assert!(cut.is_err(), "half a file");
}
