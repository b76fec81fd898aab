//! The writer's work on invites, which stand in the directory: an account and the use that paid for it are one step.

use super::{
    accounts::Row,
    group::Group,
    record::{decode_invite, encode_invite},
    row::{directory, id_of_key},
    writer::Writer,
};
use crate::{Invite, InviteHash, StoreError, invite::MAX_INVITES};

/// What becomes of an invite that is used once more.
pub(crate) struct Redeemed {
    hash: InviteHash,
    left: Option<Invite>,
}

impl Writer {
    /// What is left of an invite after one account more; `None` if it is not valid.
    pub(crate) fn redeem(&self, hash: InviteHash, now_ms: u64) -> Result<Option<Redeemed>, StoreError> {
        let Some(row) = self.shared.trees.directory.get(directory::invite(&hash))? else { return Ok(None) };
        let invite = decode_invite(hash, &row)?;
        Ok(invite.valid(now_ms).then(|| Redeemed { hash, left: invite.used() }))
    }

    pub(crate) fn keep_invite(&mut self, redeemed: &Redeemed) -> Row {
        if redeemed.left.is_none() {
            self.invites = self.invites.saturating_sub(1);
        }
        (directory::invite(&redeemed.hash), redeemed.left.as_ref().map(encode_invite))
    }

    pub(crate) fn create_invite(&mut self, invite: &Invite, group: &mut Group) -> Result<bool, StoreError> {
        if group.disk_full {
            return Err(StoreError::DiskFull);
        }
        let mut rows = Vec::new();
        for row in self.shared.trees.directory.scan_prefix([directory::INVITE]) {
            let (key, value) = row?;
            if !decode_invite(InviteHash(id_of_key(&key)?), &value)?.valid(invite.created_ms) {
                rows.push((key.to_vec(), None));
            }
        }
        let left = self.invites.saturating_sub(rows.len());
        let room = left < MAX_INVITES;
        if room {
            rows.push((directory::invite(&invite.hash), Some(encode_invite(invite))));
        }
        self.invites = left + usize::from(room);
        if !rows.is_empty() {
            self.write_directory(rows, group)?;
        }
        Ok(room)
    }

    pub(crate) fn revoke_invite(&mut self, hash: InviteHash, group: &mut Group) -> Result<bool, StoreError> {
        let key = directory::invite(&hash);
        if !self.shared.trees.directory.contains_key(&key)? {
            return Ok(false);
        }
        self.invites = self.invites.saturating_sub(1);
        self.write_directory(vec![(key, None)], group)?;
        Ok(true)
    }
}
