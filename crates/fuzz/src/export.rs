//! Dumps of the server's store, and stores that are made of them.

use std::{
    fs,
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};

use sha2::{Digest, Sha256};
use sotto_store::{SERVER_VERSION, SledStore, Store, StoreConfig, StoreError, dump, fuzzing};

use crate::input::Input;

const ROLES: [&str; 6] = ["directory", "file", "meta", "prekey", "queue", "other"];
/// Rows of one dump.
const MAX_ROWS: u8 = 12;

/// Bytes, a dump whose checksum holds, or a store that is made of one.
pub fn export(data: &[u8]) {
    let mut input = Input::new(data);
    match input.u8() % 3 {
        0 => {
            let bytes = input.rest();
            if let Ok(summary) = fuzzing::verify(bytes) {
                assert_eq!(summary.bytes, bytes.len() as u64);
                assert!(summary.version <= SERVER_VERSION);
            }
        }
        1 => {
            let (bytes, rows) = drawn(&mut input);
            assert_eq!(fuzzing::verify(&bytes[..]).unwrap().rows, rows);
            let forged = input.forged(&bytes);
            assert!(forged == bytes || fuzzing::verify(&forged[..]).is_err(), "a damaged dump is accepted");
        }
        _ => {
            let (bytes, _) = drawn(&mut input);
            store_of(&bytes);
        }
    }
}

/// A dump with these rows, and how many they are.
pub(crate) fn written(rows: &[(&str, Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = b"sotto store dump".to_vec();
    bytes.extend(1_u32.to_be_bytes());
    bytes.extend(SERVER_VERSION.to_be_bytes());
    for (role, key, value) in rows {
        bytes.push(1);
        bytes.push(u8::try_from(role.len()).unwrap());
        bytes.extend(role.as_bytes());
        for part in [key, value] {
            bytes.extend(u32::try_from(part.len()).unwrap().to_be_bytes());
            bytes.extend(part);
        }
    }
    bytes.push(0);
    bytes.extend((rows.len() as u64).to_be_bytes());
    bytes.extend(Sha256::digest(&bytes));
    bytes
}

fn drawn(input: &mut Input<'_>) -> (Vec<u8>, u64) {
    let mut rows = Vec::new();
    for _ in 0..input.u8() % (MAX_ROWS + 1) {
        let role = ROLES[input.below(ROLES.len())];
        let key_length = usize::from(input.u8());
        let key = input.take(key_length).to_vec();
        let value_length = usize::from(input.u16() % 1024);
        rows.push((role, key, input.take(value_length).to_vec()));
    }
    (written(&rows), rows.len() as u64)
}

/// Imports a dump and uses the store: it opens, or says why not. What it exports is whole.
fn store_of(bytes: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let (dumped, again) = (folder.path().join("dump"), folder.path().join("again"));
    fs::write(&dumped, bytes).unwrap();
    let config = StoreConfig { cache_bytes: 1024 * 1024, disk_reserve_bytes: 0, ..StoreConfig::default() };
    let place = folder.path().join("store");
    fs::create_dir(&place).unwrap();
    if let Err(error) = dump::import(&dumped, &place, &config) {
        assert!(matches!(error, StoreError::Damaged(_)), "{error}");
        // Nothing that looks like a store is left.
        assert_eq!(SledStore::version(&place, &config).unwrap(), None);
        return;
    }
    match SledStore::open(&place, config) {
        Ok(store) => {
            let exported = block_on(store.export(again.clone()));
            block_on(store.close()).unwrap();
            match exported {
                Ok(_) => assert!(dump::verify(&again).is_ok()),
                Err(error) => assert!(matches!(error, StoreError::Damaged(_)), "{error}"),
            }
        }
        Err(error) => assert!(matches!(error, StoreError::Damaged(_)), "{error}"),
    }
}

struct Waking(Thread);

impl Wake for Waking {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for an answer of the store's threads.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Waking(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        thread::park();
    }
}
