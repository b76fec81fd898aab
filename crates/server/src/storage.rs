//! Opening the store.

use std::{path::Path, sync::Arc};

use sotto_store::{MemoryStore, Store, StoreConfig, StoreError};

use crate::config::Config;

/// Opens the engine in `folder`.
pub(crate) fn open(folder: &Path, config: &Config) -> Result<Arc<dyn Store>, StoreError> {
    let _ = folder;
    let store = StoreConfig {
        mailbox_envelopes: config.mailbox_envelopes,
        mailbox_bytes: config.mailbox_bytes,
        retention_ms: config.retention_ms,
        ..StoreConfig::default()
    };
    Ok(Arc::new(MemoryStore::new(store)))
}
