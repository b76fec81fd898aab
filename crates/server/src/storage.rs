//! Opening the store.

use std::path::Path;

use sotto_store::{SledStore, StoreConfig, StoreError};

use crate::config::Config;

/// Opens the engine in `folder`, and makes it at the first start. Blocks.
pub(crate) fn open(folder: &Path, config: &Config) -> Result<SledStore, StoreError> {
    let config = StoreConfig {
        mailbox_envelopes: config.mailbox_envelopes,
        mailbox_bytes: config.mailbox_bytes,
        retention_ms: config.retention_ms,
        ..StoreConfig::default()
    };
    SledStore::open(folder, config)
}
