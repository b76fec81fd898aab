//! Gives disk space back: sled's file never shrinks, so the live rows are copied into a fresh generation.

use sotto_migrations::server::{LAYOUT_KEY, META_TREE};

use super::{
    database::{Database, guarded},
    folder::{Folder, Generation},
};
use crate::{
    StoreConfig, StoreError,
    dump::{Digest, roles},
};

/// Rows between two flushes of a copy, so that sled's buffers stay small.
const FLUSH_ROWS: u64 = 10_000;

/// Copies everything into a new generation and makes it the active one; a crash at any point leaves the old one or the
/// new one, whole. Large values stay where they are: all generations name the same files.
pub(crate) fn compact(
    folder: &Folder,
    old: Database,
    active: &mut Generation,
    config: &StoreConfig,
) -> Result<Database, StoreError> {
    let generation = folder.begin()?;
    let new = Database::bare(folder, generation, config)?;
    let copied = guarded(|| copy(&old, &new))?;
    // What is about to replace the old rows is read back first.
    if guarded(|| digest(&new))? != copied {
        return Err(StoreError::Failed("the copy of the store differs from it".to_owned()));
    }
    folder.finish(generation)?;
    new.witness.write(new.state()?.commit)?;
    *active = generation;
    old.close()?;
    folder.remove_others(Some(generation))?;
    Ok(new)
}

fn copy(old: &Database, new: &Database) -> Result<Digest, StoreError> {
    let mut digest = Digest::new();
    for role in roles(&old.layout) {
        let (Some(from), Some(to)) = (old.role(&role), new.role(&role)) else { continue };
        for row in from {
            let (key, value) = row?;
            if role == META_TREE && *key == *LAYOUT_KEY.as_bytes() {
                continue;
            }
            digest.row(&role, &key, &value);
            to.insert(key, value)?;
            if digest.rows().is_multiple_of(FLUSH_ROWS) {
                new.sync()?;
            }
        }
    }
    new.sync()?;
    Ok(digest)
}

fn digest(database: &Database) -> Result<Digest, StoreError> {
    let mut digest = Digest::new();
    for role in roles(&database.layout) {
        let Some(tree) = database.role(&role) else { continue };
        for row in tree {
            let (key, value) = row?;
            if role != META_TREE || *key != *LAYOUT_KEY.as_bytes() {
                digest.row(&role, &key, &value);
            }
        }
    }
    Ok(digest)
}
