//! The directory: who has an account, who is there, and who may know.

use sotto_proto::{
    AccountId, Username,
    frame::{ErrorCode, ListUsers, Presence, ServerFrame, UserEntry, Users},
    limits::MAX_USERS_PER_PAGE,
};
use sotto_store::AccountRecord;

use super::{
    Core, Directory, OnlineDevice, Refused, Roster, StoreCall, connection::Ticket, live::texts,
    register::parse_name, step::Step,
};

impl Core {
    pub(super) fn list_users(&mut self, ticket: Ticket, list: &ListUsers) -> Result<(), Refused> {
        let session = self.session(ticket.connection)?;
        let (account, name) = (session.account, session.name.clone());
        let after = list.after.as_deref().map(parse_name).transpose()?;
        let limit = usize::from(list.limit).min(MAX_USERS_PER_PAGE);
        if limit == 0 {
            return Err((ErrorCode::LIMIT, "a page has at least one name".into()));
        }
        if self.config.directory == Directory::Closed {
            let partners = self.partners.of(&account).map(|(name, account)| (name.clone(), account));
            let beyond = |(name, _): &(Username, AccountId)| after.as_ref().is_none_or(|after| name > after);
            let mut names: Vec<_> = partners.chain([(name, account)]).filter(beyond).collect();
            names.sort_unstable();
            names.truncate(limit + 1);
            self.names(ticket, limit, names);
            return Ok(());
        }
        // As many rows as other requests have none: one at a time.
        self.block(ticket.connection);
        // One more than asked for shows whether there are more.
        self.call(Step::Names { ticket, limit }, StoreCall::Names { after, limit: limit + 1 });
        Ok(())
    }

    pub(super) fn names(&mut self, ticket: Ticket, limit: usize, names: Vec<(Username, AccountId)>) {
        let more = names.len() > limit;
        // Who has gone meanwhile is not answered any more.
        let Ok(asker) = self.session(ticket.connection).map(|session| session.account) else { return };
        let users: Vec<UserEntry> = names
            .into_iter()
            .take(limit)
            .map(|(name, account)| UserEntry { name: name.into(), presence: self.presence(&asker, &account) })
            .collect();
        let action = format!("{} users listed", users.len());
        self.answer(ticket, &ServerFrame::Users(Users { users, more }), action);
    }

    /// How an account is shown to another one, which may not see everybody with whom it is busy.
    pub(super) fn presence(&self, asker: &AccountId, account: &AccountId) -> Presence {
        match self.chats.of(account).filter(|chat| chat.started()) {
            Some(chat) => {
                let others = chat.members.iter().filter(|member| member.account != *account);
                let seen = others.filter(|member| self.sees(asker, &member.account));
                Presence::Busy(seen.map(|member| member.name.to_string()).collect())
            }
            None if self.interactive.contains_key(account) => Presence::Available,
            None => Presence::Offline,
        }
    }

    /// Whether an account may know whether another one is there.
    pub(super) fn sees(&self, asker: &AccountId, other: &AccountId) -> bool {
        let closed = self.config.directory == Directory::Closed;
        !closed || asker == other || self.partners.share(asker, other)
    }

    /// An envelope of one account came to stable storage for another.
    pub(super) fn met(&mut self, from: AccountId, to: &AccountRecord) {
        if self.config.directory == Directory::Closed {
            self.partners.wrote(from, to.account, &to.username);
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
