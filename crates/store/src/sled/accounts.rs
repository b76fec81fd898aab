//! The writer's work on names, accounts, devices and prekeys.

use sotto_proto::{
    AccountId, DeviceId,
    prekey::{PrekeyBundle, PrekeyCounts, PrekeyUpload},
};

use super::{
    files::read_content,
    group::{Group, Publish},
    prekeys,
    record::{AccountRow, account_bytes},
    request::{Replacement, Reset},
    row::{Content, DeviceRow, decode_owner, directory, encode_owner},
    writer::{Mailbox, Writer},
};
use crate::{AccountRecord, CreateOutcome, Ending, NewAccount, ReplaceOutcome, StoreError};

/// A row of the directory and what is to stand in it, or nothing.
pub(crate) type Row = (Vec<u8>, Option<Vec<u8>>);

impl Writer {
    pub(crate) fn create(
        &mut self,
        new: &NewAccount,
        group: &mut Group,
    ) -> Result<CreateOutcome, StoreError> {
        if group.disk_full {
            return Err(StoreError::DiskFull);
        }
        let list = new.list.list();
        if let Some(why) = self.ended(&list.account, new.now_ms)? {
            return Ok(CreateOutcome::Ended(why));
        }
        if let Some(row) = self.shared.trees.directory.get(directory::skeleton(&list.username))? {
            let (account, name) = decode_owner(&row)?;
            if name != list.username {
                return Ok(CreateOutcome::LooksLike(name));
            }
            let same = account == list.account
                && self.record(account)?.is_some_and(|(record, _)| {
                    record.account_key == list.account_key && record.list == new.list.as_bytes()
                });
            return Ok(if same { CreateOutcome::Created } else { CreateOutcome::NameTaken });
        }
        let record = AccountRecord::first(new);
        let in_use = record.devices.iter().any(|device| self.devices.contains_key(device));
        if in_use || self.shared.trees.directory.contains_key(directory::account(&record.account))? {
            return Ok(CreateOutcome::Collision);
        }
        let redeemed = match new.invite {
            Some(hash) => match self.redeem(hash, new.now_ms)? {
                Some(row) => Some(row),
                None => return Ok(CreateOutcome::NotInvited),
            },
            None => None,
        };
        let mut rows = self.new_account(&record, group)?;
        // In one step with the account: the last use of an invite makes one, whatever happens.
        rows.extend(redeemed.map(|redeemed| self.keep_invite(&redeemed)));
        self.write_directory(rows, group)?;
        self.totals.accounts = self.totals.accounts.saturating_add(1);
        Ok(CreateOutcome::Created)
    }

    /// The rows of an account that is not there yet; opens its mailboxes.
    fn new_account(&mut self, record: &AccountRecord, group: &mut Group) -> Result<Vec<Row>, StoreError> {
        let owner = encode_owner(&record.account, &record.username);
        let content = self.content(account_bytes(record)?, group)?;
        let mut rows = vec![
            (directory::account(&record.account), Some(AccountRow::new(content).encode())),
            (directory::skeleton(&record.username), Some(owner.clone())),
            (directory::name(&record.username), Some(owner)),
        ];
        for device in &record.devices {
            rows.push(self.open_mailbox(record.account, *device, group)?);
        }
        Ok(rows)
    }

    pub(crate) fn replace(
        &mut self,
        replacement: Replacement,
        group: &mut Group,
    ) -> Result<ReplaceOutcome, StoreError> {
        let Some((current, old_content)) = self.record(replacement.account)? else {
            return Ok(ReplaceOutcome::Unknown);
        };
        if current.revision != replacement.revision {
            return Ok(ReplaceOutcome::Conflict(Box::new(current)));
        }
        let next = current.succeeded_by(replacement.new);
        let known = |device: &DeviceId| self.devices.get(device).copied();
        let foreign = |device: &DeviceId| known(device).is_some_and(|row| row.account != next.account);
        if next.devices.iter().any(foreign) {
            return Ok(ReplaceOutcome::Collision);
        }
        let added: Vec<_> = next.devices.iter().filter(|device| known(device).is_none()).copied().collect();
        let gone = current.devices.iter().filter(|device| !next.devices.contains(device));
        let gone: Vec<_> = gone.filter_map(|device| known(device).map(|row| (*device, row))).collect();
        if group.disk_full && !added.is_empty() {
            return Err(StoreError::DiskFull);
        }
        let content = self.content(account_bytes(&next)?, group)?;
        self.drop_content(&old_content, group);
        let mut rows = vec![(directory::account(&next.account), Some(AccountRow::new(content).encode()))];
        for device in added {
            rows.push(self.open_mailbox(next.account, device, group)?);
        }
        rows.extend(gone.iter().map(|(device, _)| (directory::device(device), None)));
        // First the directory, in one step: a mailbox whose device is not in it is removed at the next opening.
        self.write_directory(rows, group)?;
        self.close_devices(gone, group)?;
        Ok(ReplaceOutcome::Replaced(next.revision))
    }

    /// Removes mailboxes and prekeys of devices that the directory does not have any more.
    fn close_devices(
        &mut self,
        gone: Vec<(DeviceId, DeviceRow)>,
        group: &mut Group,
    ) -> Result<(), StoreError> {
        for (device, row) in gone {
            self.devices.remove(&device);
            self.close_mailbox(row.queue, group)?;
            let removed = prekeys::remove_all(&self.shared.trees.prekey, &device)?;
            self.state.side_bytes = self.state.side_bytes.saturating_sub(removed);
            group.publish.push(Publish::Close(device, row.queue));
        }
        Ok(())
    }

    /// The devices of a record that have mailboxes.
    fn devices_of(&self, record: &AccountRecord) -> Vec<(DeviceId, DeviceRow)> {
        let row = |device: &DeviceId| self.devices.get(device).map(|row| (*device, *row));
        record.devices.iter().filter_map(row).collect()
    }

    pub(crate) fn reset(&mut self, reset: &Reset, group: &mut Group) -> Result<ReplaceOutcome, StoreError> {
        if group.disk_full {
            return Err(StoreError::DiskFull);
        }
        let Some((current, old_content)) = self.record(reset.account)? else {
            return Ok(ReplaceOutcome::Unknown);
        };
        if current.revision != reset.revision {
            return Ok(ReplaceOutcome::Conflict(Box::new(current)));
        }
        let next = current.reset_to(&reset.list, reset.now_ms);
        let in_use = next.devices.iter().any(|device| self.devices.contains_key(device))
            || self.shared.trees.directory.contains_key(directory::account(&next.account))?
            || self.ended(&next.account, reset.now_ms)?.is_some();
        if in_use || next.username != current.username {
            return Ok(ReplaceOutcome::Collision);
        }
        let gone = self.devices_of(&current);
        self.drop_content(&old_content, group);
        let mut rows = vec![(directory::account(&current.account), None)];
        rows.extend(gone.iter().map(|(device, _)| (directory::device(device), None)));
        // The name's rows take the place of the old ones.
        rows.extend(self.new_account(&next, group)?);
        rows.extend(self.ending(current.account, Ending::Replaced, reset.now_ms)?);
        self.write_directory(rows, group)?;
        self.close_devices(gone, group)?;
        Ok(ReplaceOutcome::Replaced(next.revision))
    }

    pub(crate) fn remove(
        &mut self,
        account: AccountId,
        now_ms: u64,
        group: &mut Group,
    ) -> Result<bool, StoreError> {
        let Some((record, content)) = self.record(account)? else { return Ok(false) };
        let gone = self.devices_of(&record);
        self.drop_content(&content, group);
        let mut rows = vec![
            (directory::account(&account), None),
            (directory::skeleton(&record.username), None),
            (directory::name(&record.username), None),
        ];
        rows.extend(gone.iter().map(|(device, _)| (directory::device(device), None)));
        rows.extend(self.ending(account, Ending::Removed, now_ms)?);
        self.write_directory(rows, group)?;
        self.totals.accounts = self.totals.accounts.saturating_sub(1);
        self.close_devices(gone, group)?;
        Ok(true)
    }

    /// The newest record, committed or not, and where it stands.
    fn record(&self, account: AccountId) -> Result<Option<(AccountRecord, Content)>, StoreError> {
        let Some(row) = self.shared.trees.directory.get(directory::account(&account))? else {
            return Ok(None);
        };
        let row = AccountRow::decode(&row)?;
        let record = row.record(&read_content(&self.shared.files, &row.content)?)?;
        Ok(Some((record, row.content)))
    }

    /// The device's row; its queue's id is given once, so that one that comes back gets another.
    fn open_mailbox(
        &mut self,
        account: AccountId,
        device: DeviceId,
        group: &mut Group,
    ) -> Result<Row, StoreError> {
        let row = DeviceRow { account, queue: self.number()? };
        self.devices.insert(device, row);
        self.mailboxes.insert(row.queue, Mailbox::default());
        group.publish.push(Publish::Open(device, row));
        Ok((directory::device(&device), Some(row.encode())))
    }

    /// Writes rows of the directory in one step. Readers go by the old ones until the group is committed.
    pub(crate) fn write_directory(&mut self, rows: Vec<Row>, group: &mut Group) -> Result<(), StoreError> {
        self.sync_files(group)?;
        let tree = &self.shared.trees.directory;
        let mut batch = ::sled::Batch::default();
        for (key, value) in rows {
            let old = tree.get(&key)?;
            self.shared.before_mut().entry(key.clone()).or_insert(old);
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        group.dirty = true;
        Ok(tree.apply_batch(batch)?)
    }

    pub(crate) fn put_prekeys(
        &mut self,
        device: DeviceId,
        upload: PrekeyUpload,
        group: &mut Group,
    ) -> Result<PrekeyCounts, StoreError> {
        if group.disk_full {
            return Err(StoreError::DiskFull);
        }
        if !self.devices.contains_key(&device) {
            return Ok(PrekeyCounts::default());
        }
        group.dirty = true;
        let (counts, tally) = prekeys::put(&self.shared.trees.prekey, &device, upload)?;
        let side_bytes = self.state.side_bytes.saturating_add(tally.added);
        self.state.side_bytes = side_bytes.saturating_sub(tally.removed);
        Ok(counts)
    }

    pub(crate) fn claim(
        &mut self,
        devices: Vec<DeviceId>,
        one_time: bool,
        now_ms: u64,
        group: &mut Group,
    ) -> Result<Vec<Option<PrekeyBundle>>, StoreError> {
        let mut taken = 0;
        let tree = &self.shared.trees.prekey;
        let claim = |device| prekeys::claim(tree, device, one_time, now_ms, &mut taken);
        let bundles: Result<Vec<_>, _> = devices.into_iter().map(claim).collect();
        group.dirty |= taken > 0;
        self.state.side_bytes = self.state.side_bytes.saturating_sub(taken);
        bundles
    }
}
