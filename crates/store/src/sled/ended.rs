//! The writer's work on the ends of accounts, which stand in the directory: an account goes and its end comes in one step.

use sotto_proto::AccountId;

use super::{
    accounts::Row,
    row::{decode_ended, directory, encode_ended, id_of_key},
    writer::Writer,
};
use crate::{
    StoreError,
    ended::{Ended, Ending, outdated},
};

impl Writer {
    /// The rows that remember the end of an account, and drop what need not be remembered any more.
    pub(crate) fn ending(
        &self,
        account: AccountId,
        why: Ending,
        now_ms: u64,
    ) -> Result<Vec<Row>, StoreError> {
        let mut others = Vec::new();
        for row in self.shared.trees.directory.scan_prefix([directory::ENDED]) {
            let (key, value) = row?;
            let other = AccountId(id_of_key(&key)?);
            if other != account {
                others.push((other, decode_ended(&value)?));
            }
        }
        let outdated = outdated(others, now_ms, self.config.ended_accounts);
        let mut rows: Vec<Row> = outdated.iter().map(|account| (directory::ended(account), None)).collect();
        rows.push((directory::ended(&account), Some(encode_ended(Ended::new(why, now_ms)))));
        Ok(rows)
    }

    /// How an account ended, committed or not, if that is remembered.
    pub(crate) fn ended(&self, account: &AccountId, now_ms: u64) -> Result<Option<Ending>, StoreError> {
        let row = self.shared.trees.directory.get(directory::ended(account))?;
        let ended = row.map(|row| decode_ended(&row)).transpose()?;
        Ok(ended.and_then(|ended| ended.remembered(now_ms)))
    }
}
