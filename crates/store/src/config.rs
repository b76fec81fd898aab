//! What an operator may set about the store.

use sotto_proto::limits::{MAILBOX_BYTES, MAILBOX_ENVELOPES, MAILBOX_FLOOR_PLACES, RETENTION_MS};

use crate::ended::ENDED_ACCOUNTS;

/// Room that is left on the disk for acks, expiry and compaction, which need to write before they can free, and for
/// everything else that the machine does: 256 MiB.
pub const DISK_RESERVE_BYTES: u64 = 256 * 1024 * 1024;
/// The engine's page cache. Its memory is up to three times this, so a small machine keeps most of its own.
pub const CACHE_BYTES: u64 = 64 * 1024 * 1024;
/// Below this size no folder is worth compacting: 64 MiB is what a store with a few hundred users takes anyway.
pub const COMPACT_FLOOR_BYTES: u64 = 64 * 1024 * 1024;

/// Limits and sizes of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreConfig {
    /// Envelopes one mailbox holds.
    pub mailbox_envelopes: u64,
    /// Bytes of envelopes one mailbox holds.
    pub mailbox_bytes: u64,
    /// Of a mailbox's places, those that only envelopes up to [`sotto_proto::limits::FLOOR_ENVELOPE`] may take.
    pub mailbox_floor_places: u64,
    /// How long an envelope waits, milliseconds.
    pub retention_ms: u64,
    /// With less than this free on the disk, in bytes, nothing new is taken.
    pub disk_reserve_bytes: u64,
    /// The engine's page cache, bytes.
    pub cache_bytes: u64,
    /// A folder above this, in bytes, is compacted when it is opened, if it is more than four times its live bytes.
    pub compact_floor_bytes: u64,
    /// How many ended accounts are remembered.
    pub ended_accounts: usize,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            mailbox_envelopes: MAILBOX_ENVELOPES,
            mailbox_bytes: MAILBOX_BYTES,
            mailbox_floor_places: MAILBOX_FLOOR_PLACES,
            retention_ms: RETENTION_MS,
            disk_reserve_bytes: DISK_RESERVE_BYTES,
            cache_bytes: CACHE_BYTES,
            compact_floor_bytes: COMPACT_FLOOR_BYTES,
            ended_accounts: ENDED_ACCOUNTS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sizes_are_those_of_the_specification() {
        let StoreConfig { disk_reserve_bytes, cache_bytes, compact_floor_bytes, .. } = StoreConfig::default();
        assert_eq!(
            (disk_reserve_bytes, cache_bytes, compact_floor_bytes),
            (268_435_456, 67_108_864, 67_108_864)
        );
    }
}
