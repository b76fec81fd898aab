//! The directory: who has an account, and who is there.

use sotto_proto::{
    AccountId, Username,
    frame::{ErrorCode, ListUsers, Presence, ServerFrame, UserEntry, Users},
    limits::MAX_USERS_PER_PAGE,
};

use super::{
    Core, OnlineDevice, Refused, Roster, StoreCall, connection::Ticket, register::parse_name, step::Step,
};

impl Core {
    pub(super) fn list_users(&mut self, ticket: Ticket, list: &ListUsers) -> Result<(), Refused> {
        self.session(ticket.connection)?;
        let after = list.after.as_deref().map(parse_name).transpose()?;
        let limit = usize::from(list.limit).min(MAX_USERS_PER_PAGE);
        if limit == 0 {
            return Err((ErrorCode::LIMIT, "a page has at least one name".into()));
        }
        // One more than asked for shows whether there are more.
        self.call(Step::Names { ticket, limit }, StoreCall::Names { after, limit: limit + 1 });
        Ok(())
    }

    pub(super) fn names(&mut self, ticket: Ticket, limit: usize, names: Vec<(Username, AccountId)>) {
        let more = names.len() > limit;
        let users: Vec<UserEntry> = names
            .into_iter()
            .take(limit)
            .map(|(name, account)| UserEntry { name: name.into(), presence: self.presence(&account) })
            .collect();
        let action = format!("{} users listed", users.len());
        self.answer(ticket, &ServerFrame::Users(Users { users, more }), action);
    }

    fn presence(&self, account: &AccountId) -> Presence {
        if self.interactive.contains_key(account) { Presence::Available } else { Presence::Offline }
    }

    pub(super) fn roster(&self) -> Roster {
        let devices = self
            .connections
            .values()
            .filter_map(|connection| {
                let session = connection.session.as_ref()?;
                Some(OnlineDevice {
                    name: session.name.as_str().to_owned(),
                    address: connection.peer,
                    interactive: session.interactive,
                })
            })
            .collect();
        Roster { connections: self.connections.len(), devices }
    }
}
