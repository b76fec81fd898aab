//! Opening the store.

use std::path::Path;

use sotto_store::{SledStore, StoreConfig, StoreError};

use crate::config::Config;

/// Opens the engine in `folder`, and makes it at the first start. Blocks.
pub(crate) fn open(folder: &Path, config: &Config) -> Result<SledStore, StoreError> {
    SledStore::open(folder, self::config(config))
}

/// The store's part of the configuration.
pub(crate) fn config(config: &Config) -> StoreConfig {
    StoreConfig {
        mailbox_envelopes: config.mailbox_envelopes,
        mailbox_bytes: config.mailbox_bytes,
        retention_ms: config.retention_ms,
        ..StoreConfig::default()
    }
}
