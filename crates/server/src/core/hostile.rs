//! What the hostile server of the tests asks the core.

use sotto_proto::{AccountId, ListHash};

use super::{ConnectionId, Core, known::AccountRef};

impl Core {
    /// Whose device has signed in on a connection.
    pub fn name_of(&self, connection: ConnectionId) -> Option<String> {
        Some(self.session(connection).ok()?.name.as_str().to_owned())
    }

    /// Number and hash of an account's list, if it was needed lately.
    pub fn newest_list(&mut self, account: &AccountId) -> Option<(u64, ListHash)> {
        let known = self.known.find(&AccountRef::Id(*account))?;
        Some((known.number(), known.hash))
    }
}
