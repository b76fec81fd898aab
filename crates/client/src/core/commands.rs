//! What a face asks, answered from the store, or by way of the server.

use sotto_crypto::SafetyNumber;
use sotto_proto::{
    AccountId, AccountKey, MessageId, Username,
    content::{Body, MAX_TEXT, kind},
    frame::{ClientFrame, ListUsers, Presence, Users},
    limits::MAX_USERS_PER_PAGE,
};

use super::{
    CommandId, Core, CoreError, Output, Step,
    blocks::BLOCKED,
    lanes::LANE_LIMIT,
    lists::{Sought, unresolved},
    receive::NOBODYS,
    requests::Asked,
    restore::FOR_BEFORE,
    rows::trust,
};
use crate::{
    api::{
        ClientError, Command, Contact, ErrorKind, Event, Fate, Finding, OutboxEntry, Recipient, Reply,
        Safety, Trust, User, Whoami,
    },
    store::{ContactRecord, NewEntry, NewMessage},
};

/// Entries that may wait in the outbox: a runaway script must not fill the disk unseen.
const MAX_OUTBOX: u64 = 100_000;
/// Why a message expired that its sender took out of the outbox.
const GIVEN_UP: &str = "given up by its sender";
/// The same where it had left once, and no answer came.
const GIVEN_UP_MAYBE_SENT: &str = "given up by its sender; the server may have taken it before";
/// Rows in one answer: what travels over the local socket stays small.
const MAX_ROWS: u32 = 1_000;
/// Names of the directory in one answer.
const MAX_USERS: usize = 100_000;

type Answer = Result<Reply, ClientError>;

/// What a command does once a user's list is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitsFor {
    /// Shows the safety number.
    Safety,
    /// Blocks the user, or no longer does.
    Block(bool),
}

impl Core {
    pub(super) fn command(
        &mut self,
        step: &mut Step<'_, '_>,
        id: CommandId,
        command: Command,
    ) -> Result<(), CoreError> {
        let answer = match command {
            Command::Whoami => self.whoami(step)?,
            Command::Connection => Ok(Reply::Connection(self.connection.clone())),
            Command::Send { to, text } => self.write(step, &to, text)?,
            Command::Fate(message) => match self.message_fate(step.tx, &message)? {
                Some(fate) => Ok(Reply::Fate(fate)),
                None => Err(no_message(&message)),
            },
            Command::Unprinted { after, limit } => {
                let rows = step.tx.arrived_after(after, true, limit.min(MAX_ROWS))?;
                Ok(Reply::Rows(self.rows(step.tx, rows)?))
            }
            Command::PrintedAfter { after, limit } => {
                let rows = step.tx.arrived_after(after, false, limit.min(MAX_ROWS))?;
                Ok(Reply::Rows(self.rows(step.tx, rows)?))
            }
            Command::Printed(print) => {
                step.tx.set_printed(print)?;
                Ok(Reply::Done)
            }
            Command::History { with, limit, before } => self.history(step, with.as_ref(), limit, before)?,
            Command::Outbox => self.outbox(step)?,
            Command::DropOutbox(message) => self.drop_outbox(step, &message)?,
            Command::Users if self.up() => {
                self.ask_users(step, id, Vec::new());
                return Ok(());
            }
            Command::Users => Err(offline()),
            Command::Contacts => self.contacts(step)?,
            Command::Safety(user) => {
                if step.tx.contact_by_name(&user)?.is_some() {
                    self.safety(step, &user)?
                } else if self.up() {
                    self.wait_for_list(step, id, user, WaitsFor::Safety);
                    return Ok(());
                } else {
                    Err(offline())
                }
            }
            Command::Block { user, blocked } => {
                if user == self.me.username || step.tx.contact_by_name(&user)?.is_some() {
                    self.block(step, &user, blocked)?
                } else if self.up() {
                    self.wait_for_list(step, id, user, WaitsFor::Block(blocked));
                    return Ok(());
                } else {
                    Err(offline())
                }
            }
            Command::Chat(_) if !self.up() => Err(offline()),
            Command::Chat(command) => match self.chat_command(step, id, command)? {
                Some(error) => Err(error),
                None => return Ok(()),
            },
            Command::Account(command) => match self.account_command(step, id, command)? {
                Some(answer) => answer,
                None => return Ok(()),
            },
            Command::Trust { user, number } => self.trust(step, &user, &number)?,
            Command::Doctor => self.doctor(step)?,
        };
        step.out.push(Output::Reply(id, answer));
        Ok(())
    }

    fn wait_for_list(&mut self, step: &mut Step<'_, '_>, id: CommandId, user: Username, what: WaitsFor) {
        self.waiting.push((id, user.clone(), what));
        self.look_up(step, vec![Sought::Name(user)]);
    }

    fn whoami(&self, step: &Step<'_, '_>) -> Result<Answer, CoreError> {
        let own = step.tx.contact(&self.me.account)?;
        let devices = own.map(|own| {
            let devices = own.list.list().devices.iter();
            devices.map(|device| device.certificate().device.to_string()).collect()
        });
        let server = step.tx.server()?.map_or_else(String::new, |pin| {
            let address = sotto_proto::Address { fingerprint: Some(pin.newest), ..pin.address };
            address.to_string()
        });
        Ok(Ok(Reply::Whoami(Whoami {
            username: self.me.username.clone(),
            account: self.me.account.to_string(),
            device: self.me.device.to_string(),
            devices: devices.unwrap_or_default(),
            server,
            connection: self.connection.clone(),
        })))
    }

    /// Writes a message: in the history and in the outbox, in one transaction.
    fn write(&mut self, step: &mut Step<'_, '_>, to: &Recipient, text: String) -> Result<Answer, CoreError> {
        if text.is_empty() {
            return Ok(Err(ClientError::new(ErrorKind::Invalid, "an empty message is not sent")));
        }
        if text.len() > MAX_TEXT {
            let message = format!("the message has {} bytes, the most is {MAX_TEXT}", text.len());
            return Ok(Err(ClientError::new(ErrorKind::Invalid, message).hint("send it in parts")));
        }
        if step.tx.waiting_messages()? >= MAX_OUTBOX {
            return Ok(Err(
                ClientError::new(ErrorKind::Limit, "the outbox is full").hint("sotto outbox list")
            ));
        }
        let name = match to {
            Recipient::Me => self.me.username.clone(),
            Recipient::User(name) => name.clone(),
        };
        let contact = step.tx.contact_by_name(&name)?;
        if name == self.me.username && contact.as_ref().is_none_or(|own| own.list.list().devices.len() < 2) {
            let message = "this account has no other device that a note to yourself could go to";
            return Ok(Err(ClientError::new(ErrorKind::Invalid, message)));
        }
        let fate = match contact.as_ref().and_then(Self::held_trust) {
            Some(_) => Fate::Held,
            None => Fate::Waiting,
        };
        let message = MessageId(step.random());
        let body = Body::Text(text).encode();
        let account = contact.as_ref().map(|contact| contact.account);
        step.tx.enqueue(&NewEntry {
            account,
            username: account.is_none().then_some(&name),
            device: None,
            message,
            user: true,
            kind: kind::TEXT,
            body: &body,
            clock_ms: step.now_ms,
            now_ms: step.now_ms,
        })?;
        let row = step.tx.add_message(&NewMessage {
            conversation: account.unwrap_or_else(|| unresolved(&name)),
            name: Some(&name),
            sender: self.me.account,
            message,
            arrived: false,
            outgoing: true,
            kind: kind::TEXT,
            body: &body,
            problem: None,
            failed: None,
            sent_ms: step.now_ms,
            received_ms: step.now_ms,
            fate: Some(fate),
        })?;
        if let Some(row) = row {
            let row = self.row(step.tx, row)?;
            step.event(Event::Row(row));
        }
        if fate == Fate::Held
            && let Some(contact) = &contact
        {
            self.hold_lane(step, contact)?;
        }
        Ok(Ok(Reply::Queued { message, fate }))
    }

    fn history(
        &self,
        step: &Step<'_, '_>,
        with: Option<&Recipient>,
        limit: u32,
        before: Option<MessageId>,
    ) -> Result<Answer, CoreError> {
        let before = match before {
            None => None,
            Some(message) => match step.tx.place_of(&message)? {
                Some(place) => Some(place),
                None => return Ok(Err(no_message(&message))),
            },
        };
        let conversation = match with {
            None => None,
            Some(Recipient::Me) => Some(self.me.account),
            Some(Recipient::User(name)) => match step.tx.contact_by_name(name)? {
                Some(contact) => Some(contact.account),
                None => Some(unresolved(name)),
            },
        };
        let rows = step.tx.history(conversation.as_ref(), before, limit.min(MAX_ROWS))?;
        Ok(Ok(Reply::Rows(self.rows(step.tx, rows)?)))
    }

    fn outbox(&self, step: &Step<'_, '_>) -> Result<Answer, CoreError> {
        let mut waiting = Vec::new();
        for entry in step.tx.user_entries(MAX_ROWS)? {
            let row = step.tx.sent_message(&entry.message)?;
            let to = match (&entry.username, &row) {
                (Some(name), _) => name.clone(),
                (None, Some(row)) => self.row(step.tx, row.clone())?.conversation,
                (None, None) => String::new(),
            };
            waiting.push(OutboxEntry {
                message: entry.message,
                to,
                fate: row.as_ref().and_then(|row| row.fate).unwrap_or(Fate::Waiting),
                reason: row.and_then(|row| row.reason),
                created_ms: entry.created_ms,
                text: String::from_utf8(entry.body).unwrap_or_default(),
            });
        }
        Ok(Ok(Reply::Outbox(waiting)))
    }

    fn drop_outbox(&mut self, step: &mut Step<'_, '_>, message: &MessageId) -> Result<Answer, CoreError> {
        let Some(entry) = step.tx.entry_of(message)? else {
            let text = format!("no message {message} waits in the outbox");
            return Ok(Err(ClientError::new(ErrorKind::NotFound, text).hint("sotto outbox list")));
        };
        let lane = entry.account.map(|account| (account, true));
        if entry.submission.is_some()
            && lane.is_some_and(|lane| self.lanes.get(&lane).is_some_and(|lane| lane.in_flight))
        {
            let text = "the message is leaving at this moment; the server's answer decides";
            return Ok(Err(ClientError::new(ErrorKind::Invalid, text).hint("sotto outbox list")));
        }
        // What was in a Submit may be on the server all the same. A receipt would tell.
        let reason = if entry.submission.is_some() { GIVEN_UP_MAYBE_SENT } else { GIVEN_UP };
        self.give_up(step, &entry, (reason, None))?;
        self.undelivered.forget(message);
        Ok(Ok(Reply::Done))
    }

    fn ask_users(&mut self, step: &mut Step<'_, '_>, command: CommandId, so_far: Vec<User>) {
        let limit = u16::try_from(MAX_USERS_PER_PAGE).unwrap_or(u16::MAX);
        let after = so_far.last().map(|user| user.name.clone());
        let frame = ClientFrame::ListUsers(ListUsers { after, limit });
        self.send(step, Asked::Users { command, so_far }, frame);
    }

    pub(super) fn users_page(
        &mut self,
        step: &mut Step<'_, '_>,
        command: CommandId,
        mut so_far: Vec<User>,
        page: Users,
    ) {
        let more = page.more && !page.users.is_empty() && so_far.len() < MAX_USERS;
        so_far.extend(page.users.into_iter().map(|user| {
            let (presence, with) = match user.presence {
                Presence::Offline => ("offline", Vec::new()),
                Presence::Available => ("available", Vec::new()),
                Presence::Busy(with) => ("busy", with),
            };
            User { name: user.name, presence: presence.to_owned(), with }
        }));
        if more {
            self.ask_users(step, command, so_far);
        } else {
            so_far.retain(|user| user.name != self.me.username.as_str());
            step.out.push(Output::Reply(command, Ok(Reply::Users(so_far))));
        }
    }

    fn contacts(&self, step: &Step<'_, '_>) -> Result<Answer, CoreError> {
        let mut contacts = Vec::new();
        for contact in step.tx.contacts()? {
            if contact.account != self.me.account {
                contacts.push(Contact {
                    name: contact.username.to_string(),
                    trust: trust(&contact),
                    rows: step.tx.conversation_rows(&contact.account)?,
                    impostors: contact.impostors,
                    blocked: contact.blocked,
                });
            }
        }
        Ok(Ok(Reply::Contacts(contacts)))
    }

    fn number_with(&self, own: &ContactRecord, key: &AccountKey, name: &Username) -> SafetyNumber {
        SafetyNumber::of((&own.account_key, &self.me.username), (key, name))
    }

    pub(super) fn safety(&self, step: &Step<'_, '_>, user: &Username) -> Result<Answer, CoreError> {
        if *user == self.me.username {
            let text = "there is no safety number with yourself";
            return Ok(Err(ClientError::new(ErrorKind::Invalid, text)));
        }
        let (Some(contact), Some(own)) = (step.tx.contact_by_name(user)?, step.tx.contact(&self.me.account)?)
        else {
            return Ok(Err(ClientError::new(ErrorKind::NotFound, format!("{user} is not known here"))));
        };
        let new_number = contact
            .changed
            .as_ref()
            .map(|list| self.number_with(&own, &list.list().account_key, &contact.username).to_string());
        Ok(Ok(Reply::Safety(Safety {
            user: contact.username.to_string(),
            trust: trust(&contact),
            number: self.number_with(&own, &contact.account_key, &contact.username).to_string(),
            new_number,
            held: if Self::may_send(&contact) { 0 } else { step.tx.waiting_for(&contact.account)? },
        })))
    }

    /// The user has compared a number: the identity that it belongs to is pinned, and what was held may leave.
    fn trust(&mut self, step: &mut Step<'_, '_>, user: &Username, number: &str) -> Result<Answer, CoreError> {
        let Ok(number) = SafetyNumber::parse(number) else {
            let text = "a safety number has 60 digits";
            return Ok(Err(ClientError::new(ErrorKind::Invalid, text).hint(format!("sotto verify {user}"))));
        };
        let (Some(contact), Some(own)) = (step.tx.contact_by_name(user)?, step.tx.contact(&self.me.account)?)
        else {
            let text = format!("{user} is not known here");
            return Ok(Err(ClientError::new(ErrorKind::NotFound, text).hint(format!("sotto verify {user}"))));
        };
        match &contact.changed {
            Some(list) if self.number_with(&own, &list.list().account_key, user) == number => {
                if step.tx.contact(&list.list().account)?.is_some_and(|other| other.username != *user) {
                    let text = format!("the identity shown for {user} claims somebody else's account");
                    return Ok(Err(ClientError::new(ErrorKind::IdentityChanged, text)));
                }
                self.accept_identity(step, &contact, list)?;
            }
            None if self.number_with(&own, &contact.account_key, user) == number => {
                step.tx.set_compared(&contact.account)?;
            }
            _ => {
                let text = format!("this is not the number of the identity that the server shows for {user}");
                return Ok(Err(ClientError::new(ErrorKind::IdentityChanged, text)
                    .hint(format!("compare again with {user}: sotto verify {user}"))));
            }
        }
        self.safety(step, user)
    }

    fn accept_identity(
        &mut self,
        step: &mut Step<'_, '_>,
        old: &ContactRecord,
        new: &sotto_proto::SignedDeviceList,
    ) -> Result<(), CoreError> {
        let account = new.list().account;
        self.block_follows(step, old, &account)?;
        // What the old identity was sent is not for the new one to ask for.
        step.tx.forget_sent_to(&old.account)?;
        if account == old.account {
            // By the account's id alone nobody could tell any more for which identity a copy was.
            let nobody = AccountId(step.random());
            step.tx.set_open_fates_aside(&account, &nobody)?;
        }
        for entry in step.tx.lane(&old.account, true, LANE_LIMIT)?.iter().filter(|entry| entry.was_lost()) {
            step.tx.remove_entry(entry.entry)?;
            self.settle(step, &entry.message, Fate::Refused, Some(FOR_BEFORE))?;
        }
        step.tx.unseal_lanes(&old.account)?;
        step.tx.forget_sessions(&old.account)?;
        self.sessions.forget(&old.account);
        step.tx.pin(new, true)?;
        if account != old.account {
            step.tx.move_entries(&old.account, &account)?;
            step.tx.resolve_conversation(&old.account, &account)?;
        }
        for entry in step.tx.lane(&account, true, LANE_LIMIT)? {
            self.settle(step, &entry.message, Fate::Waiting, None)?;
        }
        self.lanes.remove(&(account, true));
        self.release_held(step, &old.username)
    }

    fn doctor(&self, step: &Step<'_, '_>) -> Result<Answer, CoreError> {
        let finding = |ok, what: &str, found: String| Finding { ok, what: what.to_owned(), found };
        let nobodys = step.tx.number(NOBODYS)?;
        let waiting = step.tx.outbox_length()?;
        let held = step.tx.all_held()?;
        let mut findings = vec![
            finding(true, "account", format!("{} on device {}", self.me.username, self.me.device)),
            finding(
                self.up(),
                "connection",
                if self.up() { "online".to_owned() } else { "offline".to_owned() },
            ),
            finding(true, "outbox", format!("{waiting} waiting")),
            finding(held == 0, "messages whose sender is not confirmed", format!("{held} held")),
            finding(
                nobodys == 0,
                "envelopes that could be attributed to nobody",
                format!("{nobodys}; damaged on their way, or forged"),
            ),
        ];
        let blocked = step.tx.count_blocked()?;
        if blocked > 0 {
            let dropped = step.tx.number(BLOCKED)?;
            let text = format!("{blocked} blocked; {dropped} envelopes of theirs were dropped here");
            findings.push(finding(true, "blocked users", text));
        }
        for contact in step.tx.contacts()? {
            if trust(&contact) == Trust::Changed {
                let name = &contact.username;
                findings.push(finding(false, "identity", format!("{name} has changed: sotto verify {name}")));
            }
            if let Some(alarm) = contact.alarm {
                findings.push(finding(false, "device list", alarm));
            }
        }
        Ok(Ok(Reply::Doctor(findings)))
    }
}

fn no_message(message: &MessageId) -> ClientError {
    ClientError::new(ErrorKind::NotFound, format!("there is no message {message} here"))
}

pub(super) fn offline() -> ClientError {
    ClientError::new(ErrorKind::Unreachable, "there is no connection to the server")
        .hint("the client keeps trying; run the command again")
}
