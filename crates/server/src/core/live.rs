//! Live chats: inviting, answering, leaving, and what becomes of them when somebody goes.
//!
//! Whoever was told of an invitation or a chat is told its end, once. The connection whose own request ended it has the
//! answer to that request instead of a push.

use std::{collections::HashSet, fmt::Write as _, sync::Arc};

use sotto_proto::{
    AccountId, Username,
    frame::{
        ChatEnd, ChatEnded, ChatId, ChatStarted, ErrorCode, InChat, Invite, InviteEnd, InviteEnded, Invited,
        Inviting, PUSH, ServerFrame, SetInteractive,
    },
    limits::{INVITE_TIMEOUT_MS, MAX_INVITED},
};

use super::{
    ConnectionId, Core, Event, Found, Refused, SendClass,
    chats::{Chat, Member},
    connection::{Session, Ticket},
    known::{AccountRef, Known},
    reader::UNWRITTEN_LIMIT,
    register::parse_name,
};

/// Invitations of one account at once; enough for a person who asks around.
pub(super) const INVITE_BURST: u64 = 10;
/// After the burst, how often one more: nobody can be asked faster than they can say no.
pub(super) const INVITE_REFILL_MS: u64 = 2_000;
/// Bytes of pushes that may wait for a peer when it is to be told about a live chat. What the mailbox pushes ends far
/// below it, so only a peer that reads nothing while it is told hundreds of times gets here. It is closed: a push left
/// out would let it believe in a chat that is over.
const LIVE_LIMIT: usize = 2 * UNWRITTEN_LIMIT;

impl Core {
    pub(super) fn invite(
        &mut self,
        now_ms: u64,
        ticket: Ticket,
        invite: &Invite,
        found: &Found<'_>,
    ) -> Result<(), Refused> {
        self.time_out_invitations(now_ms);
        let session = self.person(ticket.connection)?;
        let (account, name) = (session.account, session.name.clone());
        let users = self.named(&account, invite, found)?;
        if let Some(chat) = self.chats.of(&account) {
            let inviter = chat.inviter().map(|inviter| inviter.account);
            let mutual = matches!(users.as_slice(), [only] if Some(only.record.account) == inviter);
            if !(mutual && chat.asks(&account) && chat.members.len() == 2) {
                return Err((ErrorCode::OUT_OF_ORDER, engaged(chat, &account).into()));
            }
            // Each has asked the other: there is nothing left to answer.
            let inviting = Inviting { chat: chat.id, expires_in_ms: chat.left_ms(now_ms) };
            self.accepted(ticket, account, &ServerFrame::Inviting(inviting));
            return Ok(());
        }
        for user in &users {
            self.may_be_invited(account, user)?;
        }
        if self.stopping {
            return Err((ErrorCode::BUSY, "the server is stopping; come back in a moment".into()));
        }
        if let Err(wait_ms) = self.invitations.take(account, 1, now_ms) {
            let message = format!("too many invitations; try again in {} s", wait_ms.div_ceil(1000));
            self.refuse_until(ticket, (ErrorCode::RATE_LIMITED, message.into()), Some(wait_ms));
            return Ok(());
        }
        let from = Member { account, name, connection: Some(ticket.connection) };
        let asked = users.iter().map(|user| Member {
            account: user.record.account,
            name: user.record.username.clone(),
            connection: None,
        });
        let due_ms = now_ms.saturating_add(INVITE_TIMEOUT_MS);
        let Some(chat) = self.chats.invite(from, asked, due_ms) else {
            return Err((ErrorCode::NOT_AVAILABLE, "somebody of these is in a chat".into()));
        };
        let inviting = Inviting { chat: chat.id, expires_in_ms: chat.left_ms(now_ms) };
        let frames: Vec<(AccountId, ServerFrame)> = chat
            .members
            .iter()
            .filter(|member| chat.asks(&member.account))
            .map(|member| (member.account, invited_frame(chat, &member.account, now_ms)))
            .collect();
        let names: Vec<&str> = users.iter().map(|user| user.record.username.as_str()).collect();
        let action = format!("invites [ {} ]", names.join(", "));
        self.answer(ticket, &ServerFrame::Inviting(inviting), action);
        let pushes = frames
            .into_iter()
            .flat_map(|(account, frame)| self.people(&account).into_iter().map(move |id| (id, frame.clone())))
            .collect();
        self.tell(pushes);
        Ok(())
    }

    pub(super) fn accept(&mut self, now_ms: u64, ticket: Ticket, accept: InChat) -> Result<(), Refused> {
        self.time_out_invitations(now_ms);
        let account = self.person(ticket.connection)?.account;
        self.chats
            .of(&account)
            .filter(|chat| chat.id == accept.chat && chat.asks(&account))
            .ok_or_else(invitation_over)?;
        self.accepted(ticket, account, &ServerFrame::Done);
        Ok(())
    }

    pub(super) fn deny(&mut self, now_ms: u64, ticket: Ticket, deny: InChat) -> Result<(), Refused> {
        self.time_out_invitations(now_ms);
        let session = self.person(ticket.connection)?;
        let (account, name) = (session.account, session.name.to_string());
        // Who has accepted may still change their mind, on the device that accepted, until all have.
        let invited = |chat: &Chat| {
            let invited = chat.inviter().is_some_and(|inviter| inviter.account != account);
            let free = chat.asks(&account) || chat.binds(ticket.connection);
            chat.id == deny.chat && !chat.started() && invited && free
        };
        self.chats.of(&account).filter(|chat| invited(chat)).ok_or_else(invitation_over)?;
        self.answer(ticket, &ServerFrame::Done, "denied");
        self.end_invitation(deny.chat, &InviteEnd::Denied(name), Some((account, ticket.connection)));
        Ok(())
    }

    pub(super) fn cancel(&mut self, now_ms: u64, ticket: Ticket, cancel: InChat) -> Result<(), Refused> {
        self.time_out_invitations(now_ms);
        let account = self.session(ticket.connection)?.account;
        let chat = self.chats.of(&account).filter(|chat| chat.id == cancel.chat);
        let chat = chat.ok_or_else(invitation_over)?;
        if chat.started() {
            let message = "all have accepted already, and the chat has started; Quit leaves it";
            return Err((ErrorCode::NO_SUCH_CHAT, message.into()));
        }
        if chat.inviter().is_none_or(|inviter| inviter.connection != Some(ticket.connection)) {
            return Err((ErrorCode::NO_SUCH_CHAT, "this device did not invite to it".into()));
        }
        self.answer(ticket, &ServerFrame::Done, "cancelled");
        self.end_invitation(cancel.chat, &InviteEnd::Cancelled, Some((account, ticket.connection)));
        Ok(())
    }

    pub(super) fn quit(&mut self, ticket: Ticket, quit: InChat) -> Result<(), Refused> {
        let session = self.session(ticket.connection)?;
        let (account, name) = (session.account, session.name.to_string());
        self.chats
            .of(&account)
            .filter(|chat| chat.id == quit.chat && chat.started() && chat.binds(ticket.connection))
            .ok_or((ErrorCode::NO_SUCH_CHAT, "this device is not in that chat".into()))?;
        self.answer(ticket, &ServerFrame::Done, "left the chat");
        self.end_chat(quit.chat, &ChatEnd::Quit(name), Some(ticket.connection));
        Ok(())
    }

    pub(super) fn set_interactive(
        &mut self,
        now_ms: u64,
        ticket: Ticket,
        set: SetInteractive,
    ) -> Result<(), Refused> {
        self.time_out_invitations(now_ms);
        let id = ticket.connection;
        let session = self.session(id)?;
        let (account, name, before) = (session.account, session.name.clone(), session.interactive);
        if let Some(session) = self.connections.get_mut(&id).and_then(|state| state.session.as_mut()) {
            session.interactive = set.interactive;
        }
        let action = if set.interactive { "a person is there" } else { "no person is there" };
        self.answer(ticket, &ServerFrame::Done, action);
        match (before, set.interactive) {
            (false, true) => {
                self.person_came(id, account);
                self.tell_invitation(now_ms, id, account);
            }
            (true, false) => self.person_left(id, account, &name, ChatEnd::Quit),
            _ => {}
        }
        Ok(())
    }

    /// A person sits at this connection from here on.
    pub(super) fn person_came(&mut self, id: ConnectionId, account: AccountId) {
        self.interactive.entry(account).or_default().insert(id);
    }

    /// Shows a person who came while an invitation waits that it does.
    pub(super) fn tell_invitation(&mut self, now_ms: u64, id: ConnectionId, account: AccountId) {
        let there = self.interactive.get(&account).is_some_and(|there| there.contains(&id));
        let chat = self.chats.of(&account).filter(|chat| there && chat.asks(&account));
        if let Some(chat) = chat {
            let frame = invited_frame(chat, &account, now_ms);
            self.tell(vec![(id, frame)]);
        }
    }

    /// No person sits at this connection any more: what it is bound to ends, and so does an invitation that no device is
    /// left to answer.
    pub(super) fn person_left(
        &mut self,
        id: ConnectionId,
        account: AccountId,
        name: &Username,
        why: fn(String) -> ChatEnd,
    ) {
        if let Some(there) = self.interactive.get_mut(&account) {
            there.remove(&id);
            if there.is_empty() {
                self.interactive.remove(&account);
            }
        }
        let Some(chat) = self.chats.of(&account) else { return };
        let unanswerable = chat.asks(&account) && !self.interactive.contains_key(&account);
        if !chat.binds(id) && !unanswerable {
            return;
        }
        if chat.started() {
            self.end_chat(chat.id, &why(name.to_string()), Some(id));
        } else {
            self.end_invitation(chat.id, &InviteEnd::Gone(name.to_string()), Some((account, id)));
        }
    }

    /// Ends the invitations that nobody has answered in time.
    pub(super) fn time_out_invitations(&mut self, now_ms: u64) {
        while let Some(chat) = self.chats.overdue(now_ms) {
            self.end_invitation(chat, &InviteEnd::TimedOut, None);
        }
    }

    /// The session of an interactive device.
    fn person(&self, id: ConnectionId) -> Result<&Session, Refused> {
        let session = self.session(id)?;
        if session.interactive {
            return Ok(session);
        }
        let message = "nobody sits at this device: a live chat needs an interactive one";
        Err((ErrorCode::OUT_OF_ORDER, message.into()))
    }

    /// The connections at which people of this account sit.
    fn people(&self, account: &AccountId) -> Vec<ConnectionId> {
        self.interactive.get(account).into_iter().flatten().copied().collect()
    }

    /// The accounts that an invitation names.
    fn named(
        &mut self,
        own: &AccountId,
        invite: &Invite,
        found: &Found<'_>,
    ) -> Result<Vec<Arc<Known>>, Refused> {
        if invite.users.is_empty() || invite.users.len() > MAX_INVITED {
            let message = format!("an invitation names 1 to {MAX_INVITED} users");
            return Err((ErrorCode::LIMIT, message.into()));
        }
        let mut seen = HashSet::new();
        let mut users = Vec::with_capacity(invite.users.len());
        for text in &invite.users {
            let name = parse_name(text)?;
            let known = found
                .find(&mut self.known, &AccountRef::Name(name.clone()))
                .ok_or_else(|| (ErrorCode::UNKNOWN_USER, format!("there is no user {name}").into()))?;
            if known.record.account == *own {
                return Err((ErrorCode::NOT_AVAILABLE, "you cannot invite yourself".into()));
            }
            if !seen.insert(known.record.account) {
                return Err((ErrorCode::MALFORMED, format!("{name} is named twice").into()));
            }
            users.push(known);
        }
        Ok(users)
    }

    /// Whether an account may be asked now.
    fn may_be_invited(&self, from: AccountId, user: &Known) -> Result<(), Refused> {
        let name = &user.record.username;
        if !self.sees(&from, &user.record.account) {
            // The same for everybody, there or not, and whether they block or not.
            let message = format!(
                "on this server one invites only people one shares a conversation with: write to {name} first; \
                 once their client has received it, invite them"
            );
            return Err((ErrorCode::NOT_ACCEPTED, message.into()));
        }
        if !Self::accepts(from, user) {
            let message = format!("{name} does not accept invitations from you");
            return Err((ErrorCode::NOT_ACCEPTED, message.into()));
        }
        let account = user.record.account;
        let why = match self.chats.of(&account) {
            Some(chat) if chat.started() => "is in a chat",
            Some(_) => "is answering another invitation",
            None if !self.interactive.contains_key(&account) => "is offline",
            None => return Ok(()),
        };
        Err((ErrorCode::NOT_AVAILABLE, format!("{name} {why}").into()))
    }

    /// Whether `by` takes invitations from this account.
    fn accepts(from: AccountId, by: &Known) -> bool {
        !by.blocks(&from)
    }

    /// An account that is asked accepts, on the ticket's connection.
    fn accepted(&mut self, ticket: Ticket, account: AccountId, answer: &ServerFrame) {
        let people = self.people(&account);
        let Some(chat) = self.chats.accept(&account, ticket.connection) else { return };
        let elsewhere = ServerFrame::InviteEnded(InviteEnded { chat: chat.id, why: InviteEnd::Elsewhere });
        let mut pushes: Vec<(ConnectionId, ServerFrame)> = people
            .into_iter()
            .filter(|id| *id != ticket.connection)
            .map(|id| (id, elsewhere.clone()))
            .collect();
        let action = if chat.started() {
            pushes.extend(chat.members.iter().filter_map(|member| {
                let started = ChatStarted { chat: chat.id, with: texts(&chat.others(&member.account)) };
                Some((member.connection?, ServerFrame::ChatStarted(started)))
            }));
            format!("accepted: {} are busy", listed(chat.members.iter().map(|member| &member.name)))
        } else {
            let waiting = chat.members.iter().filter(|member| member.connection.is_none());
            format!("accepted, waits for {}", listed(waiting.map(|member| &member.name)))
        };
        self.answer(ticket, answer, action);
        self.tell(pushes);
    }

    /// Ends an invitation. `by` is the account that ended it and the connection that did, which is told already; its
    /// other devices have nothing to answer any more.
    fn end_invitation(&mut self, id: ChatId, why: &InviteEnd, by: Option<(AccountId, ConnectionId)>) {
        let Some(chat) = self.chats.end(id) else { return };
        let mut pushes = Vec::new();
        for member in &chat.members {
            let ended_it = by.is_some_and(|(account, _)| account == member.account);
            let why = if ended_it { InviteEnd::Elsewhere } else { why.clone() };
            let frame = ServerFrame::InviteEnded(InviteEnded { chat: id, why });
            let told = member.connection.map_or_else(|| self.people(&member.account), |bound| vec![bound]);
            let told = told.into_iter().filter(|told| by.is_none_or(|(_, connection)| connection != *told));
            pushes.extend(told.map(|told| (told, frame.clone())));
        }
        let inviter = chat.inviter().map(|inviter| inviter.name.as_str()).unwrap_or_default();
        let why = match why {
            InviteEnd::Denied(name) => format!("{name} denied"),
            InviteEnd::Cancelled => "cancelled".to_owned(),
            InviteEnd::TimedOut => "not all answered in time".to_owned(),
            InviteEnd::Gone(name) => format!("{name} is gone"),
            InviteEnd::Elsewhere => "answered elsewhere".to_owned(),
        };
        self.log(Event::LiveChat(format!("invitation of {inviter} ended: {why}")));
        self.tell(pushes);
    }

    /// Ends a chat. `but` is the connection that did it.
    fn end_chat(&mut self, id: ChatId, why: &ChatEnd, but: Option<ConnectionId>) {
        let Some(chat) = self.chats.end(id) else { return };
        let frame = ServerFrame::ChatEnded(ChatEnded { chat: id, why: why.clone() });
        let bound = chat.members.iter().filter_map(|member| member.connection);
        let pushes = bound.filter(|id| Some(*id) != but).map(|id| (id, frame.clone())).collect();
        let there = chat.members.iter().filter(|member| self.interactive.contains_key(&member.account));
        let there: Vec<&Username> = there.map(|member| &member.name).collect();
        let mut line = match why {
            ChatEnd::Quit(name) => format!("chat ended, {name} left"),
            ChatEnd::Lost(name) => format!("chat ended, the connection of {name} was lost"),
        };
        if !there.is_empty() {
            let are = if there.len() == 1 { "is" } else { "are" };
            // Writing to a String cannot fail.
            let _ok = write!(line, ": {} {are} available", listed(there.iter().copied()));
        }
        self.log(Event::LiveChat(line));
        self.tell(pushes);
    }

    /// Pushes what must not be missed. Who takes nothing is closed, which ends what it is in; after all have been told,
    /// so that nobody is told an end before its beginning.
    fn tell(&mut self, pushes: Vec<(ConnectionId, ServerFrame)>) {
        let mut slow = Vec::new();
        for (id, frame) in pushes {
            match self.connections.get(&id) {
                Some(state) if state.unwritten > LIVE_LIMIT => slow.push((id, state.peer)),
                Some(_) => self.send(id, PUSH, &frame, SendClass::Push),
                None => {}
            }
        }
        for (id, peer) in slow {
            if self.connections.contains_key(&id) {
                self.log(Event::Refused { peer, reason: "too slow to be told about live chats".into() });
                self.close(id);
            }
        }
    }
}

/// What an invited account is shown.
fn invited_frame(chat: &Chat, account: &AccountId, now_ms: u64) -> ServerFrame {
    let inviter = chat.inviter();
    let also = chat.members.iter().skip(1).filter(|member| member.account != *account);
    ServerFrame::Invited(Invited {
        chat: chat.id,
        from: inviter.map(|inviter| inviter.name.to_string()).unwrap_or_default(),
        with: also.map(|member| member.name.to_string()).collect(),
        expires_in_ms: chat.left_ms(now_ms),
    })
}

/// Why somebody who stands in an entry cannot invite.
fn engaged(chat: &Chat, account: &AccountId) -> String {
    let inviter = chat.inviter();
    if chat.started() {
        format!("you are in a chat with {}; leave it first", listed(chat.others(account)))
    } else if inviter.is_some_and(|inviter| inviter.account == *account) {
        format!("you are waiting for {}; cancel that first", listed(chat.others(account)))
    } else if chat.asks(account) {
        let from = inviter.map(|inviter| inviter.name.as_str()).unwrap_or_default();
        format!("{from} is asking you for a chat; answer that first")
    } else {
        "you have accepted an invitation that others have not answered yet".to_owned()
    }
}

fn invitation_over() -> Refused {
    (ErrorCode::NO_SUCH_CHAT, "this invitation is over, or was answered already".into())
}

pub(super) fn texts(names: &[&Username]) -> Vec<String> {
    names.iter().map(|name| (*name).to_string()).collect()
}

/// `a`, `a and b`, `a, b and c`.
fn listed<'a>(names: impl IntoIterator<Item = &'a Username>) -> String {
    let names: Vec<&str> = names.into_iter().map(Username::as_str).collect();
    match names.split_last() {
        None => String::new(),
        Some((only, [])) => (*only).to_owned(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}
