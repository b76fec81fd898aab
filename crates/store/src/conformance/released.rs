//! What stands in the fixture of every released version.

use sotto_proto::{frame::Refusal, limits::DAY_MS};

use super::fixture::{Person, envelope, put, upload};
use crate::{AccountRecord, NewEnvelope, Store, StoreConfig};

/// Fills an empty store; what each version's check expects is exactly this.
pub fn fill(store: &impl Store) {
    let (alice, bob, carol) = (Person::new("alice", 1), Person::new("b.ob-2", 2), Person::new("carol", 3));
    let first = alice.register(store);
    let second = bob.register(store);
    carol.register(store);
    let disabled =
        AccountRecord { disabled: true, ..bob.with_devices(&second, &[bob.device, bob.device(1)]) };
    store.replace_account(&second, disabled).wait().unwrap();
    // A list that is kept as a file.
    let long = AccountRecord { list: vec![7; 7_000], ..first.clone() };
    store.replace_account(&first, long).wait().unwrap();
    store.put_prekeys(bob.device, upload(5, 1..8, 1..4)).wait().unwrap();
    store.claim_prekeys(vec![bob.device], true).wait().unwrap();
    let early = vec![envelope(alice.device, 1, 100), envelope(bob.device, 2, 200)];
    put(store, 1, DAY_MS, early);
    let appended =
        put(store, 2, 2 * DAY_MS, vec![envelope(alice.device, 3, 2441), envelope(alice.device, 4, 7_000)]);
    store.ack(alice.device, appended.numbers[0].unwrap()).wait().unwrap();
    // Bob's first envelope expires, with its submission's record.
    while store.expire(DAY_MS + StoreConfig::default().retention_ms).wait().unwrap() > 0 {}
    let refused = NewEnvelope { refused: Some(Refusal::NotAccepted), ..envelope(carol.device, 6, 10) };
    put(store, 3, 32 * DAY_MS, vec![envelope(bob.device, 5, 300), refused, envelope(carol.device(9), 7, 1)]);
}
