//! The table of live chats: invitations that wait for answers and chats that go on. In memory only.
//!
//! An account that is in neither stands in no entry, and no account stands in two. Each entry is bound to a connection
//! of whoever invited, and no connection is in two entries, so there are never more entries than connections.

use std::collections::{BTreeSet, HashMap};

use sotto_proto::{AccountId, Username, frame::ChatId};

use super::io::ConnectionId;

/// An account's part in an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) account: AccountId,
    pub(super) name: Username,
    /// The connection that invited, or that accepted; `None` until the account has answered.
    pub(super) connection: Option<ConnectionId>,
}

/// An invitation, or the chat that it led to.
#[derive(Debug)]
pub(super) struct Chat {
    pub(super) id: ChatId,
    /// Who invited first, then the invited in the order of the invitation.
    pub(super) members: Vec<Member>,
    /// Until when the invitation waits for answers, Unix milliseconds; `None` once all have accepted.
    due_ms: Option<u64>,
}

impl Chat {
    /// Whether all have accepted.
    pub(super) fn started(&self) -> bool {
        self.due_ms.is_none()
    }

    /// How much longer the invitation waits.
    pub(super) fn left_ms(&self, now_ms: u64) -> u64 {
        self.due_ms.unwrap_or(0).saturating_sub(now_ms)
    }

    pub(super) fn member(&self, account: &AccountId) -> Option<&Member> {
        self.members.iter().find(|member| member.account == *account)
    }

    /// Who invited.
    pub(super) fn inviter(&self) -> Option<&Member> {
        self.members.first()
    }

    /// Whether this account was invited, and has not answered.
    pub(super) fn asks(&self, account: &AccountId) -> bool {
        !self.started() && self.member(account).is_some_and(|member| member.connection.is_none())
    }

    /// Whether this connection invited or accepted.
    pub(super) fn binds(&self, connection: ConnectionId) -> bool {
        self.members.iter().any(|member| member.connection == Some(connection))
    }

    /// The names of the others.
    pub(super) fn others(&self, account: &AccountId) -> Vec<&Username> {
        self.members.iter().filter(|member| member.account != *account).map(|member| &member.name).collect()
    }
}

/// All invitations and live chats.
#[derive(Debug, Default)]
pub(super) struct Chats {
    entries: HashMap<ChatId, Chat>,
    /// In which entry each account stands.
    engaged: HashMap<AccountId, ChatId>,
    /// The invitations, by when they end.
    due: BTreeSet<(u64, ChatId)>,
    last: u64,
}

impl Chats {
    /// The entry in which this account stands.
    pub(super) fn of(&self, account: &AccountId) -> Option<&Chat> {
        self.entries.get(self.engaged.get(account)?)
    }

    /// The chats that go on.
    pub(super) fn started(&self) -> impl Iterator<Item = &Chat> {
        self.entries.values().filter(|chat| chat.started())
    }

    /// When the next invitation ends, Unix milliseconds.
    pub(super) fn next_ms(&self) -> u64 {
        self.due.first().map_or(u64::MAX, |(due_ms, _)| *due_ms)
    }

    /// An invitation that has waited long enough.
    pub(super) fn overdue(&self, now_ms: u64) -> Option<ChatId> {
        self.due.first().filter(|(due_ms, _)| *due_ms <= now_ms).map(|(_, chat)| *chat)
    }

    /// No invitation waits for longer than until then.
    pub(super) fn end_by(&mut self, latest_ms: u64) {
        for (due_ms, id) in std::mem::take(&mut self.due) {
            let due_ms = due_ms.min(latest_ms);
            if let Some(chat) = self.entries.get_mut(&id) {
                chat.due_ms = Some(due_ms);
            }
            self.due.insert((due_ms, id));
        }
    }

    /// Makes an invitation; `None` if any of them stands in an entry already.
    pub(super) fn invite(
        &mut self,
        from: Member,
        asked: impl IntoIterator<Item = Member>,
        due_ms: u64,
    ) -> Option<&Chat> {
        let members: Vec<Member> = std::iter::once(from).chain(asked).collect();
        if members.iter().any(|member| self.engaged.contains_key(&member.account)) {
            return None;
        }
        self.last += 1;
        let id = ChatId(self.last);
        self.engaged.extend(members.iter().map(|member| (member.account, id)));
        self.due.insert((due_ms, id));
        let chat = self.entries.entry(id).or_insert(Chat { id, members, due_ms: Some(due_ms) });
        Some(chat)
    }

    /// Binds an account that is asked to the connection that accepts; the chat starts with the last of them.
    pub(super) fn accept(&mut self, account: &AccountId, connection: ConnectionId) -> Option<&Chat> {
        let chat = self.entries.get_mut(self.engaged.get(account)?)?;
        if !chat.asks(account) {
            return None;
        }
        for member in chat.members.iter_mut().filter(|member| member.account == *account) {
            member.connection = Some(connection);
        }
        if chat.members.iter().all(|member| member.connection.is_some())
            && let Some(due_ms) = chat.due_ms.take()
        {
            self.due.remove(&(due_ms, chat.id));
        }
        Some(chat)
    }

    /// Takes an entry off the table: its accounts are free.
    pub(super) fn end(&mut self, id: ChatId) -> Option<Chat> {
        let chat = self.entries.remove(&id)?;
        for member in &chat.members {
            self.engaged.remove(&member.account);
        }
        if let Some(due_ms) = chat.due_ms {
            self.due.remove(&(due_ms, id));
        }
        Some(chat)
    }

    /// All entries, after a look at whether the three indexes agree.
    #[cfg(test)]
    pub(super) fn checked(&self) -> impl Iterator<Item = &Chat> {
        let seats: usize = self.entries.values().map(|chat| chat.members.len()).sum();
        assert_eq!(seats, self.engaged.len(), "each account stands in one entry");
        for chat in self.entries.values() {
            assert!(chat.members.iter().all(|member| self.engaged.get(&member.account) == Some(&chat.id)));
            assert_eq!(chat.started(), chat.members.iter().all(|member| member.connection.is_some()));
            assert!(chat.due_ms.is_none_or(|due_ms| self.due.contains(&(due_ms, chat.id))));
        }
        let open = self.entries.values().filter(|chat| !chat.started()).count();
        assert_eq!(open, self.due.len());
        self.entries.values()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn member(seed: u8, connection: Option<u64>) -> Member {
        let name = Username::parse(&format!("user{seed}")).unwrap();
        Member { account: AccountId([seed; 16]), name, connection: connection.map(ConnectionId) }
    }

    #[test]
    fn the_last_to_accept_starts_the_chat_and_its_end_frees_all() {
        let mut chats = Chats::default();
        let [one, two, three] = [1, 2, 3].map(|seed| AccountId([seed; 16]));
        let id = chats.invite(member(1, Some(1)), [member(2, None), member(3, None)], 500).unwrap().id;
        assert_eq!((chats.next_ms(), chats.overdue(499), chats.overdue(500)), (500, None, Some(id)));
        assert!(chats.of(&two).unwrap().asks(&two) && !chats.of(&one).unwrap().asks(&one));
        assert!(chats.accept(&one, ConnectionId(9)).is_none(), "who invites does not accept");
        assert!(!chats.accept(&three, ConnectionId(3)).unwrap().started());
        assert!(chats.accept(&three, ConnectionId(4)).is_none(), "the first answer stands");
        assert_eq!(chats.of(&one).unwrap().left_ms(440), 60);
        assert!(chats.accept(&two, ConnectionId(2)).unwrap().started());
        assert_eq!((chats.next_ms(), chats.started().count()), (u64::MAX, 1));
        let ended = chats.end(id).unwrap();
        assert!(ended.binds(ConnectionId(3)) && !ended.binds(ConnectionId(4)));
        assert_eq!(ended.others(&two), [&member(1, None).name, &member(3, None).name]);
        assert!(chats.end(id).is_none() && chats.of(&one).is_none() && chats.checked().count() == 0);
    }

    #[test]
    fn nobody_stands_in_two_entries() {
        let mut chats = Chats::default();
        let first = chats.invite(member(1, Some(1)), [member(2, None)], 500).unwrap().id;
        for (inviter, invited) in [(1, 3), (3, 1), (3, 2), (2, 3)] {
            assert!(chats.invite(member(inviter, Some(9)), [member(invited, None)], 600).is_none());
        }
        assert!(chats.of(&AccountId([3; 16])).is_none());
        assert!(chats.invite(member(3, Some(3)), [member(4, None)], 400).unwrap().id > first);
        assert_eq!(chats.next_ms(), 400, "the nearest end, not the oldest invitation");
        assert_eq!(chats.checked().count(), 2);
    }
}
