//! What happens before a store is open: the folder is taken, what a crash left behind is removed, mailboxes are counted.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

use tracing::{info, warn};

use super::{
    compaction,
    database::{Database, guarded, random},
    files::{Files, bytes_on_disk},
    folder::{Folder, sync_folder},
    group::Group,
    prekeys,
    record::{AccountRow, decode_invite},
    row::{
        DeviceRow, EnvelopeRow, MailboxRow, decode_ended, decode_owner, decode_tally, directory,
        envelope_place, id_of_key, queue,
    },
    shared::{Mailboxes, Shared},
    writer::{Found, Mailbox, Writer},
};
use crate::{InviteHash, StoreConfig, StoreError};

/// Everything the opening scan finds out.
#[derive(Debug, Default)]
struct Scan {
    found: Found,
    /// Files that rows name.
    files: HashSet<u64>,
    /// Rows of envelopes that were acked, but whose removal was cut short.
    acked: Vec<(u64, Vec<u8>, Vec<u8>)>,
    /// Queues whose device is gone, but whose removal was cut short.
    orphans: HashSet<u64>,
    /// Bytes of all rows that were looked at.
    bytes: u64,
}

/// Opens the store in a folder, making it if there is none, and hands out its writer.
pub(crate) fn open(
    path: &Path,
    config: StoreConfig,
    pretend_full: Arc<AtomicBool>,
) -> Result<Writer, StoreError> {
    let folder = Folder::take(path)?;
    let mut active = folder.active()?;
    folder.remove_others(active)?;
    let files = Files::open(folder.files())?;
    let mut database = match active {
        Some(generation) => Database::open(&folder, generation, &config)?,
        None => create(&folder, &config)?,
    };
    let mut scan = guarded(|| scan(&database, &files))?;
    files.retain(&scan.files)?;
    if let Some(generation) = active.as_mut()
        && worth_compacting(&folder, &database, &scan, &config)?
    {
        database = compaction::compact(&folder, database, generation, &config)?;
        scan = guarded(|| self::scan(&database, &files))?;
    }
    let mut writer = writer(folder, database, files, config, &mut scan, pretend_full)?;
    guarded(|| {
        writer.reserve()?;
        clean(&mut writer, scan)
    })?;
    writer.publish_counts();
    Ok(writer)
}

/// Which version the store in a folder has; `None` where there is none. Nothing is migrated, compacted or removed.
pub(crate) fn version(path: &Path, config: &StoreConfig) -> Result<Option<u32>, StoreError> {
    if !path.is_dir() {
        return Ok(None);
    }
    let folder = Folder::take(path)?;
    let active = folder.active()?;
    active.map(|generation| Database::version(&folder, generation, config)).transpose()
}

fn create(folder: &Folder, config: &StoreConfig) -> Result<Database, StoreError> {
    // Nothing was ever acknowledged from a store that was not finished: also its files are left over.
    let generation = folder.begin()?;
    let database = Database::create(folder, generation, config)?;
    folder.finish(generation)?;
    Ok(database)
}

fn worth_compacting(
    folder: &Folder,
    database: &Database,
    scan: &Scan,
    config: &StoreConfig,
) -> Result<bool, StoreError> {
    let taken = bytes_on_disk(&database.path().join("db"));
    let live = scan.bytes.saturating_add(database.state()?.side_bytes);
    if !mostly_dead(taken, live, config) {
        return Ok(false);
    }
    let room = has_room(taken, folder.free_bytes()?, config);
    if room {
        info!(taken, live, "compacting the store");
    } else {
        warn!(taken, live, "the store should be compacted, but the disk has no room for the copy");
    }
    Ok(room)
}

/// Whether more than three quarters of a file of some size are no live rows.
fn mostly_dead(taken: u64, live: u64, config: &StoreConfig) -> bool {
    taken > config.compact_floor_bytes && taken / 4 > live
}

/// Whether a copy fits: it takes about twice the live bytes, which is at most half of what is taken now.
fn has_room(taken: u64, free: u64, config: &StoreConfig) -> bool {
    free >= (taken / 2).saturating_add(config.disk_reserve_bytes)
}

fn scan(database: &Database, files: &Files) -> Result<Scan, StoreError> {
    let mut scan = Scan::default();
    scan_directory(database, files, &mut scan)?;
    scan_mailboxes(database, &mut scan)?;
    scan_envelopes(database, files, &mut scan)?;
    // A store of before the tally, or one that has held no envelope yet, has none.
    if let Some(tally) = database.trees.queue.get(queue::TALLY)? {
        let (told, found) = (decode_tally(&tally)?, scan.found.totals.load);
        if told != found {
            return Err(StoreError::Damaged(format!(
                "{} of {} waiting envelopes are there",
                found.envelopes, told.envelopes
            )));
        }
    }
    Ok(scan)
}

fn scan_directory(database: &Database, files: &Files, scan: &mut Scan) -> Result<(), StoreError> {
    let mut accounts = HashSet::new();
    let mut owners = 0_u64;
    for row in &database.trees.directory {
        let (key, value) = row?;
        scan.bytes += (key.len() + value.len()) as u64;
        match key.first() {
            Some(&directory::ACCOUNT) => {
                accounts.insert(id_of_key::<16>(&key)?);
                if let Some(file) = AccountRow::decode(&value)?.content.file() {
                    present(files, &file)?;
                    scan.files.insert(file.id);
                    scan.found.totals.file_bytes += u64::from(file.length);
                }
            }
            Some(&directory::DEVICE) => {
                let row = DeviceRow::decode(&value)?;
                scan.found.devices.insert(sotto_proto::DeviceId(id_of_key(&key)?), row);
                scan.found.mailboxes.insert(row.queue, Mailbox::default());
            }
            // Rows come in order: accounts before names.
            Some(&directory::NAME) => {
                owners += 1;
                if !accounts.contains(&decode_owner(&value)?.0.0) {
                    return Err(StoreError::Damaged("a name without its account".to_owned()));
                }
            }
            Some(&directory::SKELETON) => {
                decode_owner(&value)?;
            }
            Some(&directory::INVITE) => {
                decode_invite(InviteHash(id_of_key(&key)?), &value)?;
                scan.found.invites += 1;
            }
            Some(&directory::ENDED) => {
                id_of_key::<16>(&key)?;
                decode_ended(&value)?;
            }
            _ => return Err(StoreError::Damaged("an unknown row in the directory".to_owned())),
        }
    }
    scan.found.totals.accounts = accounts.len() as u64;
    if owners != scan.found.totals.accounts {
        return Err(StoreError::Damaged("accounts and names do not match".to_owned()));
    }
    Ok(())
}

fn present(files: &Files, file: &super::row::FileName) -> Result<(), StoreError> {
    if files.holds(file) {
        Ok(())
    } else {
        Err(StoreError::Damaged(format!("the file {:016x} is missing or cut", file.id)))
    }
}

fn scan_mailboxes(database: &Database, scan: &mut Scan) -> Result<(), StoreError> {
    for row in database.trees.queue.scan_prefix([queue::MAILBOX]) {
        let (key, value) = row?;
        let id = key.get(1..).and_then(|id| id.try_into().ok()).map(u64::from_be_bytes);
        let id = id.ok_or_else(|| StoreError::Damaged("a mailbox's key".to_owned()))?;
        if !scan.found.mailboxes.contains_key(&id) {
            scan.orphans.insert(id);
        }
        scan.found.mailboxes.entry(id).or_default().row = MailboxRow::decode(&value)?;
    }
    Ok(())
}

fn scan_envelopes(database: &Database, files: &Files, scan: &mut Scan) -> Result<(), StoreError> {
    for row in database.trees.queue.scan_prefix([queue::ENVELOPE]) {
        let (key, value) = row?;
        scan.bytes += (key.len() + value.len()) as u64;
        let (id, number) = envelope_place(&key)?;
        let row = EnvelopeRow::decode(&value)?;
        if let Some(file) = row.content.file() {
            present(files, &file)?;
            scan.files.insert(file.id);
            scan.found.totals.file_bytes += u64::from(file.length);
        }
        if !scan.found.mailboxes.contains_key(&id) {
            scan.orphans.insert(id);
        }
        let mailbox = scan.found.mailboxes.entry(id).or_default();
        mailbox.load.add(row.content.len());
        scan.found.totals.load.add(row.content.len());
        if number <= mailbox.row.acked {
            scan.acked.push((id, key.to_vec(), value.to_vec()));
        }
    }
    Ok(())
}

fn writer(
    folder: Folder,
    database: Database,
    files: Files,
    config: StoreConfig,
    scan: &mut Scan,
    pretend_full: Arc<AtomicBool>,
) -> Result<Writer, StoreError> {
    let found = std::mem::take(&mut scan.found);
    // Further on by chance: a store that is an old copy gives other numbers than the original did. So a reader of the
    // original has a number that this store has not given for long, which is noticed, or one that is below all that
    // come, and neither hides an envelope from it.
    let next = database.reserved()?.saturating_add(u64::from(u32::from_be_bytes(random()?)));
    let queues: HashMap<_, _> = found
        .mailboxes
        .iter()
        .filter(|(queue, _)| !scan.orphans.contains(queue))
        .map(|(queue, mailbox)| (*queue, mailbox.row))
        .collect();
    let mailboxes = Mailboxes { devices: found.devices.clone(), queues };
    let data_file = database.path().join("db");
    let shared = Shared::new(
        database.trees.clone(),
        files,
        data_file,
        database.salt()?,
        mailboxes,
        next.saturating_sub(1),
    );
    Ok(Writer {
        shared: Arc::new(shared),
        state: database.state()?,
        database,
        folder,
        config,
        devices: found.devices,
        mailboxes: found.mailboxes,
        totals: found.totals,
        invites: found.invites,
        next,
        reserved: next,
        pretend_full,
    })
}

/// Finishes removals that a crash cut short.
fn clean(writer: &mut Writer, scan: Scan) -> Result<(), StoreError> {
    let mut group = Group::default();
    for (queue, key, value) in scan.acked {
        writer.remove_envelope(queue, &key, &value, &mut group)?;
        writer.write_large_batch(&mut group)?;
    }
    for queue in scan.orphans {
        writer.close_mailbox(queue, &mut group)?;
    }
    for device in prekeys::devices(&writer.shared.trees.prekey)? {
        if !writer.devices.contains_key(&device) {
            let removed = prekeys::remove_all(&writer.shared.trees.prekey, &device)?;
            writer.state.side_bytes = writer.state.side_bytes.saturating_sub(removed);
            group.dirty = true;
        }
    }
    writer.commit(&mut group)?;
    Ok(sync_folder(writer.shared.files.folder())?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        AccountRecord, SledStore, Store,
        conformance::{Person, envelope, put},
        sled::row::MAX_INLINE,
    };

    #[test]
    fn a_file_is_compacted_when_three_quarters_of_it_are_dead_and_a_copy_fits() {
        let config =
            StoreConfig { compact_floor_bytes: 1_000, disk_reserve_bytes: 50, ..StoreConfig::default() };
        for (taken, live, expected) in [
            (1_000, 0, false),
            (1_001, 0, true),
            (4_000, 1_000, false),
            (4_000, 999, true),
            (8_000, 1_999, true),
            (8_000, 2_000, false),
        ] {
            assert_eq!(mostly_dead(taken, live, &config), expected, "{taken} {live}");
        }
        for (taken, free, expected) in [(4_000, 2_050, true), (4_000, 2_049, false), (8_001, 4_050, true)] {
            assert_eq!(has_room(taken, free, &config), expected, "{taken} {free}");
        }
    }

    /// A closed store with two large values, of a list and of an envelope, beside small ones.
    fn filled(path: &Path, config: &StoreConfig) {
        let store = SledStore::open(path, *config).unwrap();
        let alice = Person::new("alice", 1);
        let first = alice.register(&store);
        let long = AccountRecord { list: vec![7; MAX_INLINE + 1_000], ..first.clone() };
        store.replace_account(&first, long).wait().unwrap();
        let envelopes = [100, MAX_INLINE + 1, 300].into_iter().zip(0..);
        let envelopes = envelopes.map(|(length, n)| envelope(alice.device, n, length)).collect();
        put(&store, 1, 1, envelopes);
        store.close().wait().unwrap();
    }

    #[test]
    fn what_is_there_is_counted_to_the_byte() {
        let spare = tempfile::tempdir().unwrap();
        let (path, config) = (spare.path().join("store"), StoreConfig::default());
        filled(&path, &config);
        let folder = Folder::take(&path).unwrap();
        let database = Database::open(&folder, folder.active().unwrap().unwrap(), &config).unwrap();
        let files = Files::open(folder.files()).unwrap();
        let scan = scan(&database, &files).unwrap();
        let envelopes = database.trees.queue.scan_prefix([queue::ENVELOPE]);
        let rows = database.trees.directory.iter().chain(envelopes).map(|row| row.unwrap());
        let bytes: usize = rows.map(|(key, value)| key.len() + value.len()).sum();
        assert_eq!(scan.bytes, bytes as u64);
        let lengths =
            fs::read_dir(folder.files()).unwrap().map(|file| file.unwrap().metadata().unwrap().len());
        let lengths: Vec<_> = lengths.collect();
        assert_eq!((lengths.len(), scan.files.len()), (2, 2));
        assert_eq!(scan.found.totals.file_bytes, lengths.iter().sum::<u64>());
    }

    #[test]
    fn a_store_with_a_large_value_missing_or_cut_does_not_open() {
        let config = StoreConfig::default();
        for place in 0..2 {
            for cut in [true, false] {
                let spare = tempfile::tempdir().unwrap();
                let path = spare.path().join("store");
                filled(&path, &config);
                let mut large: Vec<_> =
                    fs::read_dir(path.join("files")).unwrap().map(|file| file.unwrap().path()).collect();
                large.sort_unstable();
                if cut {
                    fs::write(&large[place], [7; 9]).unwrap();
                } else {
                    fs::remove_file(&large[place]).unwrap();
                }
                let opened = SledStore::open(&path, config);
                assert!(matches!(opened, Err(StoreError::Damaged(what)) if what.contains("missing or cut")));
            }
        }
    }
}
