//! The writer's work on names, accounts, devices and prekeys.

use sotto_proto::{
    AccountId, DeviceId,
    prekey::{PrekeyBundle, PrekeyCounts, PrekeyUpload},
};

use super::{
    files::read_content,
    group::{Group, Publish},
    prekeys,
    request::Replacement,
    row::{
        Content, DeviceRow, account_bytes, account_of, decode_content, decode_owner, directory,
        encode_content, encode_owner,
    },
    writer::{Mailbox, Writer},
};
use crate::{AccountRecord, CreateOutcome, NewAccount, ReplaceOutcome, StoreError};

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
        let owner = encode_owner(&record.account, &record.username);
        let content = self.content(account_bytes(&record)?, group)?;
        let mut rows = vec![
            (directory::account(&record.account), Some(encode_content(&content))),
            (directory::skeleton(&record.username), Some(owner.clone())),
            (directory::name(&record.username), Some(owner)),
        ];
        for device in &record.devices {
            rows.push(self.open_mailbox(record.account, *device, group)?);
        }
        self.write_directory(rows, group)?;
        self.totals.accounts = self.totals.accounts.saturating_add(1);
        Ok(CreateOutcome::Created)
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
            return Ok(ReplaceOutcome::Conflict(current));
        }
        let next = current.succeeded_by(replacement.new);
        let known = |device: &DeviceId| self.devices.get(device).copied();
        let foreign = |device: &DeviceId| known(device).is_some_and(|row| row.account != next.account);
        if next.devices.iter().any(foreign) {
            return Ok(ReplaceOutcome::Collision);
        }
        let added: Vec<_> = next.devices.iter().filter(|device| known(device).is_none()).copied().collect();
        let gone: Vec<_> = current
            .devices
            .iter()
            .filter(|device| !next.devices.contains(device))
            .filter_map(|device| known(device).map(|row| (*device, row)))
            .collect();
        if group.disk_full && !added.is_empty() {
            return Err(StoreError::DiskFull);
        }
        let content = self.content(account_bytes(&next)?, group)?;
        self.drop_content(&old_content, group);
        let mut rows = vec![(directory::account(&next.account), Some(encode_content(&content)))];
        for device in added {
            rows.push(self.open_mailbox(next.account, device, group)?);
        }
        rows.extend(gone.iter().map(|(device, _)| (directory::device(device), None)));
        // First the directory, in one step: a mailbox whose device is not in it is removed at the next opening.
        self.write_directory(rows, group)?;
        for (device, row) in gone {
            self.devices.remove(&device);
            self.close_mailbox(row.queue, group)?;
            let removed = prekeys::remove_all(&self.shared.trees.prekey, &device)?;
            self.state.side_bytes = self.state.side_bytes.saturating_sub(removed);
            group.publish.push(Publish::Close(device, row.queue));
        }
        Ok(ReplaceOutcome::Replaced(next.revision))
    }

    /// The newest record, committed or not, and where it stands.
    fn record(&self, account: AccountId) -> Result<Option<(AccountRecord, Content)>, StoreError> {
        let Some(row) = self.shared.trees.directory.get(directory::account(&account))? else {
            return Ok(None);
        };
        let content = decode_content(&row)?;
        let record = account_of(&read_content(&self.shared.files, &content)?)?;
        Ok(Some((record, content)))
    }

    /// The device's row; its queue's id is given once, so that one that comes back gets another.
    fn open_mailbox(
        &mut self,
        account: AccountId,
        device: DeviceId,
        group: &mut Group,
    ) -> Result<(Vec<u8>, Option<Vec<u8>>), StoreError> {
        let row = DeviceRow { account, queue: self.number()? };
        self.devices.insert(device, row);
        self.mailboxes.insert(row.queue, Mailbox::default());
        group.publish.push(Publish::Open(device, row));
        Ok((directory::device(&device), Some(row.encode())))
    }

    /// Writes rows of the directory in one step. Readers go by the old ones until the group is committed.
    fn write_directory(
        &mut self,
        rows: Vec<(Vec<u8>, Option<Vec<u8>>)>,
        group: &mut Group,
    ) -> Result<(), StoreError> {
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
        let (counts, added) = prekeys::put(&self.shared.trees.prekey, &device, upload)?;
        self.state.side_bytes = self.state.side_bytes.saturating_add(added);
        Ok(counts)
    }

    pub(crate) fn claim(
        &mut self,
        devices: Vec<DeviceId>,
        one_time: bool,
        group: &mut Group,
    ) -> Result<Vec<Option<PrekeyBundle>>, StoreError> {
        let mut taken = 0;
        let tree = &self.shared.trees.prekey;
        let bundles: Result<Vec<_>, _> =
            devices.into_iter().map(|device| prekeys::claim(tree, device, one_time, &mut taken)).collect();
        group.dirty |= taken > 0;
        self.state.side_bytes = self.state.side_bytes.saturating_sub(taken);
        bundles
    }
}
