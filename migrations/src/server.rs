//! The server's store: which trees a sled database holds, and the numbered steps from one version of them to the next.
//!
//! One row says both: the row [`LAYOUT_KEY`] of the tree [`META_TREE`] holds the version and the active tree of each
//! role. A step writes new trees beside the old ones, under names of its own (`queue-2` beside `queue-1`), and then
//! flips the row: one write, so that a crash leaves either the old store whole or the new one. What a step left half
//! written is removed before it runs again; the tree it replaced stays until the next version, so that the flip can be
//! undone by hand. Released steps are never edited; a step keeps the record types it reads frozen inside itself.

use std::{collections::BTreeMap, io};

use thiserror::Error;

/// The version this program reads and writes.
pub const SERVER_VERSION: u32 = 2;
/// The tree that is never replaced.
pub const META_TREE: &str = "meta";
/// The row of [`META_TREE`] that holds the [`Layout`].
pub const LAYOUT_KEY: &str = "layout";

/// Names, accounts and devices; replaced together.
pub const DIRECTORY: &str = "directory";
/// Envelopes, mailboxes, submissions, fates and expiry; replaced together.
pub const QUEUE: &str = "queue";
/// Prekeys.
pub const PREKEY: &str = "prekey";
/// Every role of a new store.
pub const ROLES: [&str; 3] = [DIRECTORY, QUEUE, PREKEY];

/// A step: reads the trees of the layout it is given, writes new ones, answers the layout it leads to.
type Step = fn(&sled::Db, &Layout) -> Result<Layout, ServerMigrationError>;

/// Step n leads from version n + 1 to version n + 2: version 1 is the first, and is made, not migrated to. Each with what
/// it does, in words for the operator.
const STEPS: &[(&str, Step)] =
    &[("invites, and accounts that say which form their record has", accounts_say_their_form)];

/// A step that a store has before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepAhead {
    /// The version it leads from.
    pub from: u32,
    /// The version it leads to.
    pub to: u32,
    /// What it does.
    pub about: &'static str,
}

/// The steps that [`migrate`] takes with a store of this version.
pub fn steps_from(version: u32) -> Vec<StepAhead> {
    let steps = (1..).zip(STEPS).map(|(from, (about, _))| StepAhead { from, to: from + 1, about });
    steps.filter(|step| step.from >= version).collect()
}

/// To version 2: account records hold more, and invites stand in the directory. Each account's row says by its own
/// version byte which form it has, and is written in the new one when it next changes: its content may be a file, which
/// a step could not rewrite together with the row. So no tree is replaced; the version keeps programs out that would
/// read neither.
#[allow(clippy::unnecessary_wraps)] // A step's type.
fn accounts_say_their_form(_: &sled::Db, old: &Layout) -> Result<Layout, ServerMigrationError> {
    Ok(Layout { version: 2, trees: old.trees.clone() })
}

/// Which version a store has, and which tree has which role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The version.
    pub version: u32,
    /// Role to tree name.
    pub trees: BTreeMap<String, String>,
}

/// Why a store cannot be used.
#[derive(Debug, Error)]
pub enum ServerMigrationError {
    /// Written by a newer program; untouched.
    #[error("the store is of version {found}, this program knows up to {SERVER_VERSION}")]
    TooNew {
        /// What stands in the store.
        found: u32,
    },
    /// The row that says the version is missing or unreadable.
    #[error("the store does not say its version: {0}")]
    Unreadable(&'static str),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sled::Error),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] io::Error),
}

impl Layout {
    /// The layout of a new store.
    pub fn new() -> Self {
        let trees = ROLES.iter().map(|role| ((*role).to_owned(), format!("{role}-1"))).collect();
        Self { version: SERVER_VERSION, trees }
    }

    /// The tree of a role.
    pub fn tree(&self, db: &sled::Db, role: &str) -> Result<sled::Tree, ServerMigrationError> {
        let name = self.trees.get(role).ok_or(ServerMigrationError::Unreadable("a tree has no name"))?;
        Ok(db.open_tree(name)?)
    }

    /// `version u32`, then for each tree role and name, each as a length byte and UTF-8.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.version.to_be_bytes().to_vec();
        for text in self.trees.iter().flat_map(|(role, name)| [role, name]) {
            bytes.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes
    }

    /// Reads what [`Self::encode`] wrote. Of a newer version only the version is read.
    pub fn decode(bytes: &[u8]) -> Result<Self, ServerMigrationError> {
        let unreadable = || ServerMigrationError::Unreadable("the layout is damaged");
        let (version, mut rest) = bytes.split_first_chunk::<4>().ok_or_else(unreadable)?;
        let version = u32::from_be_bytes(*version);
        if version > SERVER_VERSION {
            return Err(ServerMigrationError::TooNew { found: version });
        }
        let mut texts = Vec::new();
        while let Some((length, after)) = rest.split_first() {
            let (text, after) = after.split_at_checked(usize::from(*length)).ok_or_else(unreadable)?;
            texts.push(String::from_utf8(text.to_vec()).map_err(|_| unreadable())?);
            rest = after;
        }
        let mut trees = BTreeMap::new();
        let mut texts = texts.into_iter();
        while let Some(role) = texts.next() {
            trees.insert(role, texts.next().ok_or_else(unreadable)?);
        }
        if version == 0 || trees.is_empty() {
            return Err(unreadable());
        }
        Ok(Self { version, trees })
    }
}

impl Default for Layout {
    fn default() -> Self {
        Self::new()
    }
}

/// Writes the layout of a new store. The caller makes it durable.
pub fn create(db: &sled::Db) -> Result<Layout, ServerMigrationError> {
    let layout = Layout::new();
    db.open_tree(META_TREE)?.insert(LAYOUT_KEY, layout.encode())?;
    Ok(layout)
}

/// Reads the layout, whatever its version; touches nothing.
pub fn read(db: &sled::Db) -> Result<Layout, ServerMigrationError> {
    // Opening a tree that is not there would make it.
    if !db.tree_names().iter().any(|name| name.as_ref() == META_TREE.as_bytes()) {
        return Err(ServerMigrationError::Unreadable("there is no meta tree"));
    }
    let row = db.open_tree(META_TREE)?.get(LAYOUT_KEY)?;
    Layout::decode(&row.ok_or(ServerMigrationError::Unreadable("there is no layout"))?)
}

/// Brings an opened store to [`SERVER_VERSION`]; refuses what a newer program wrote before anything is touched. `sync`
/// makes everything written so far durable.
pub fn migrate(
    db: &sled::Db,
    sync: &mut dyn FnMut() -> Result<(), ServerMigrationError>,
) -> Result<Layout, ServerMigrationError> {
    let steps: Vec<Step> = STEPS.iter().map(|(_, step)| *step).collect();
    migrate_by(db, &steps, sync)
}

fn migrate_by(
    db: &sled::Db,
    steps: &[Step],
    sync: &mut dyn FnMut() -> Result<(), ServerMigrationError>,
) -> Result<Layout, ServerMigrationError> {
    let mut layout = read(db)?;
    let done = usize::try_from(layout.version).unwrap_or(usize::MAX).saturating_sub(1);
    for step in steps.iter().skip(done) {
        let next = step(db, &layout)?;
        sync()?;
        db.open_tree(META_TREE)?.insert(LAYOUT_KEY, next.encode())?;
        sync()?;
        layout = next;
    }
    Ok(layout)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn database() -> sled::Db {
        sled::Config::new().temporary(true).flush_every_ms(None).open().unwrap()
    }

    #[test]
    fn a_layout_reads_back_and_no_cut_of_it_is_misread() {
        let layout = Layout::new();
        let bytes = layout.encode();
        assert_eq!(Layout::decode(&bytes).unwrap(), layout);
        for length in 0..bytes.len() {
            match Layout::decode(&bytes[..length]) {
                Ok(read) => assert!(read.trees.len() < layout.trees.len()),
                Err(error) => assert!(matches!(error, ServerMigrationError::Unreadable(_))),
            }
        }
    }

    #[test]
    fn data_of_a_newer_program_is_refused_untouched() {
        let db = database();
        create(&db).unwrap();
        let mut newer = Layout::new();
        newer.version = SERVER_VERSION + 1;
        db.open_tree(META_TREE).unwrap().insert(LAYOUT_KEY, newer.encode()).unwrap();
        let mut sync = || panic!("nothing to write");
        let found = migrate(&db, &mut sync);
        assert!(
            matches!(found, Err(ServerMigrationError::TooNew { found }) if found == SERVER_VERSION + 1),
            "{found:?}"
        );
    }

    #[test]
    fn an_empty_database_is_no_store() {
        let db = database();
        assert!(matches!(read(&db), Err(ServerMigrationError::Unreadable(_))));
        assert_eq!(db.tree_names().len(), 1, "nothing was made");
    }

    #[test]
    fn a_store_of_version_1_becomes_one_of_version_2_with_its_trees() {
        let db = database();
        let first = Layout { version: 1, ..Layout::new() };
        db.open_tree(META_TREE).unwrap().insert(LAYOUT_KEY, first.encode()).unwrap();
        first.tree(&db, DIRECTORY).unwrap().insert("a", "1").unwrap();
        let mut syncs = 0;
        let mut sync = || {
            syncs += 1;
            Ok(())
        };
        let second = migrate(&db, &mut sync).unwrap();
        assert_eq!(second, Layout { version: 2, trees: first.trees });
        assert_eq!((read(&db).unwrap(), syncs), (second.clone(), 2));
        assert_eq!(second.tree(&db, DIRECTORY).unwrap().get("a").unwrap().unwrap().as_ref(), b"1");
        assert_eq!(migrate(&db, &mut || panic!("nothing left to do")).unwrap(), second);
    }

    #[test]
    fn the_steps_ahead_lead_from_a_store_s_version_to_this_program_s() {
        for version in 1..=SERVER_VERSION {
            let steps = steps_from(version);
            let versions: Vec<_> = steps.iter().map(|step| (step.from, step.to)).collect();
            assert_eq!(versions, (version..SERVER_VERSION).map(|from| (from, from + 1)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_step_flips_the_tree_once_its_rows_are_durable() {
        let db = database();
        let first = Layout { version: 1, ..Layout::new() };
        db.open_tree(META_TREE).unwrap().insert(LAYOUT_KEY, first.encode()).unwrap();
        first.tree(&db, PREKEY).unwrap().insert("a", "1").unwrap();
        // Writes other values under another name; a row of an earlier, broken run must not show.
        let step: Step = |db, old| {
            db.drop_tree("prekey-2")?;
            let new = db.open_tree("prekey-2")?;
            for row in &old.tree(db, PREKEY)? {
                let (key, value) = row?;
                new.insert(key, [&*value, b"!"].concat())?;
            }
            let mut layout = Layout { version: 2, trees: old.trees.clone() };
            layout.trees.insert(PREKEY.to_owned(), "prekey-2".to_owned());
            Ok(layout)
        };
        db.open_tree("prekey-2").unwrap().insert("left over", "").unwrap();
        let mut syncs = 0;
        let mut sync = || {
            syncs += 1;
            Ok(())
        };
        let second = migrate_by(&db, &[step], &mut sync).unwrap();
        let row = db.open_tree(META_TREE).unwrap().get(LAYOUT_KEY).unwrap().unwrap();
        assert_eq!(row, second.encode());
        assert_eq!(syncs, 2, "before the flip and after it");
        let tree = second.tree(&db, PREKEY).unwrap();
        assert_eq!((tree.len(), tree.get("a").unwrap().unwrap().as_ref()), (1, &b"1!"[..]));
        assert_eq!(first.tree(&db, PREKEY).unwrap().get("a").unwrap().unwrap().as_ref(), b"1");
        assert_eq!(second.trees[QUEUE], "queue-1");
    }
}
