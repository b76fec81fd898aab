//! What has a bound, what must be empty, and what the server never had.

use memchr::memmem;
use sotto_client::store::StoreError;
use sotto_crypto::PeerSessions;
use sotto_proto::limits::{
    MAX_ONE_TIME_KEM_PREKEYS, MAX_ONE_TIME_PREKEYS, MAX_SESSIONS_PER_DEVICE, REFILL_BELOW,
};

use super::steps::{MARKER, Town};

/// Nothing waits any more at the devices that are left, and nothing has grown beyond its limit.
pub(super) fn check_bounds(town: &mut Town) {
    for index in town.listed() {
        let device = &mut town.world.devices[index];
        let (waits, held, peers) = device
            .store
            .transaction(|tx| {
                let peers = tx.session_devices()?;
                let peers = peers.into_iter().map(|(account, device)| tx.sessions(&account, &device));
                let peers = peers.collect::<Result<Vec<_>, _>>()?;
                Ok::<_, StoreError>((tx.entries_before(u64::MAX >> 1, 8)?, tx.all_held()?, peers))
            })
            .unwrap();
        assert!(waits.is_empty() && held == 0, "device {index}: {held} are held, and there waits {waits:?}");
        for bytes in peers.into_iter().flatten() {
            let sessions = PeerSessions::from_bytes(&bytes).unwrap().sessions().count();
            assert!(
                sessions <= MAX_SESSIONS_PER_DEVICE,
                "device {index}: {sessions} sessions with one device"
            );
        }
        let published = town.world.published(town.world.devices[index].id);
        let counts = [published.one_time as usize, published.one_time_kem as usize];
        assert!(counts[0] <= MAX_ONE_TIME_PREKEYS, "{published:?}");
        assert!(counts[1] <= MAX_ONE_TIME_KEM_PREKEYS, "{published:?}");
        assert!(counts.iter().all(|count| *count >= REFILL_BELOW), "device {index}: {published:?}");
    }
}

/// Nothing that the server was sent since the last look holds a text.
pub(super) fn check_secrecy(town: &mut Town) {
    let sent = std::mem::take(&mut town.world.seen_by_server);
    town.searched |= memmem::find(&sent, &town.world.accounts[0].id.0).is_some();
    assert!(memmem::find(&sent, MARKER.as_bytes()).is_none(), "the server was sent a text");
}

/// The same search finds the texts where they are to be read.
pub(super) fn check_search(town: &mut Town) {
    let screens: Vec<String> =
        (0..town.world.devices.len()).flat_map(|device| town.world.screen(device)).collect();
    let written =
        town.typed.iter().any(|typed| town.world.devices[typed.device].replies.contains_key(&typed.command));
    let found = memmem::find(screens.concat().as_bytes(), MARKER.as_bytes()).is_some();
    assert!(found || !written, "a search that finds nothing");
    // And in what the server was sent it has found what had to be there.
    assert!(town.searched, "nothing was kept of what devices sent");
}
