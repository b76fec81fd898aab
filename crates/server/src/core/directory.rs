//! The directory: who has an account, and who is there.

use sotto_proto::{
    AccountId, Username,
    frame::{ErrorCode, ListUsers, Presence, ServerFrame, UserEntry, Users},
    limits::MAX_USERS_PER_PAGE,
};

use super::{
    Core, OnlineDevice, Refused, Roster, StoreCall, connection::Ticket, live::texts, register::parse_name,
    step::Step,
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

    pub(super) fn presence(&self, account: &AccountId) -> Presence {
        match self.chats.of(account).filter(|chat| chat.started()) {
            Some(chat) => Presence::Busy(texts(&chat.others(account))),
            None if self.interactive.contains_key(account) => Presence::Available,
            None => Presence::Offline,
        }
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
        let busy = self
            .chats
            .started()
            .flat_map(|chat| chat.members.iter().map(move |member| (chat, member)))
            .map(|(chat, member)| (member.name.to_string(), texts(&chat.others(&member.account))))
            .collect();
        Roster { connections: self.connections.len(), devices, busy }
    }
}
