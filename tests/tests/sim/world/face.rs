//! What people do and see.

use sotto_client::{
    api::{ChatEvent, ClientError, Command, Event, Fate, Recipient, Reply, Row, RowBody},
    core::{CommandId, Input as ClientInput, WithKey},
    store::{Cursor, StoreError},
};
use sotto_crypto::PeerSessions;
use sotto_proto::{MessageId, SessionId, Username};

use super::World;

impl World {
    pub(crate) fn command(&mut self, index: usize, command: Command) -> Result<Reply, ClientError> {
        let device = &mut self.devices[index];
        device.commands += 1;
        let id = device.commands;
        device.inbox.push_back(ClientInput::Command(CommandId(id), command));
        self.settle();
        self.devices[index].replies.remove(&id).expect("every command is answered")
    }

    /// Puts such a command in without letting the world go on; answers its number.
    pub(crate) fn ask_with_key(&mut self, index: usize, command: WithKey) -> u64 {
        let device = &mut self.devices[index];
        device.commands += 1;
        device.inbox.push_back(ClientInput::WithKey(CommandId(device.commands), command));
        device.commands
    }

    /// A command whose password has become a key.
    pub(crate) fn with_key(&mut self, index: usize, command: WithKey) -> Result<Reply, ClientError> {
        let device = &mut self.devices[index];
        device.commands += 1;
        let id = device.commands;
        device.inbox.push_back(ClientInput::WithKey(CommandId(id), command));
        self.settle();
        self.devices[index].replies.remove(&id).expect("every command is answered")
    }

    /// Puts a command in without letting the world go on; answers its number.
    pub(crate) fn ask(&mut self, index: usize, command: Command) -> u64 {
        let device = &mut self.devices[index];
        device.commands += 1;
        device.inbox.push_back(ClientInput::Command(CommandId(device.commands), command));
        device.commands
    }

    /// What happened about live chats since the last look.
    pub(crate) fn chat_events(&mut self, index: usize) -> Vec<ChatEvent> {
        let events = std::mem::take(&mut self.devices[index].events);
        let chats = events.into_iter().filter_map(|event| match event {
            Event::Chat(chat) => Some(chat),
            _ => None,
        });
        chats.collect()
    }

    /// Whether a person sits at a device's faces.
    pub(crate) fn interactive(&mut self, index: usize, interactive: bool) {
        self.devices[index].inbox.push_back(ClientInput::Interactive(interactive));
        self.settle();
    }

    /// Gives a device an input without letting the world go on.
    pub(crate) fn tell(&mut self, index: usize, input: ClientInput) {
        self.devices[index].inbox.push_back(input);
    }

    /// Writes a text; the world goes on only when something is run.
    pub(crate) fn write(&mut self, index: usize, to: &str, text: &str) {
        let device = &mut self.devices[index];
        device.commands += 1;
        let command = Command::Send { to: Recipient::User(to.parse().unwrap()), text: text.to_owned() };
        device.inbox.push_back(ClientInput::Command(CommandId(device.commands), command));
    }

    pub(crate) fn send(&mut self, index: usize, to: &str, text: &str) -> MessageId {
        let to = Recipient::User(to.parse().unwrap());
        match self.command(index, Command::Send { to, text: text.to_owned() }) {
            Ok(Reply::Queued { message, .. }) => message,
            other => panic!("not queued: {other:?}"),
        }
    }

    pub(crate) fn fate(&mut self, index: usize, message: MessageId) -> Fate {
        match self.command(index, Command::Fate(message)) {
            Ok(Reply::Fate(fate)) => fate.fate,
            other => panic!("no fate: {other:?}"),
        }
    }

    /// Why a message has the fate that it has.
    pub(crate) fn fate_reason(&mut self, index: usize, message: MessageId) -> Option<String> {
        match self.command(index, Command::Fate(message)) {
            Ok(Reply::Fate(fate)) => fate.reason,
            other => panic!("no fate: {other:?}"),
        }
    }

    /// What became of one device's copy of it.
    pub(crate) fn copy_fate(&mut self, index: usize, message: MessageId, device: usize) -> Option<Fate> {
        let device = self.devices[device].id.to_string();
        match self.command(index, Command::Fate(message)) {
            Ok(Reply::Fate(fate)) => {
                fate.devices.into_iter().find(|(of, _)| *of == device).map(|(_, fate)| fate)
            }
            other => panic!("no fate: {other:?}"),
        }
    }

    pub(crate) fn rows(&mut self, index: usize) -> Vec<Row> {
        let mut all = Vec::new();
        let mut before = None;
        loop {
            match self.command(index, Command::History { with: None, limit: 1_000, before }) {
                Ok(Reply::Rows(rows)) if rows.is_empty() => return all,
                Ok(Reply::Rows(rows)) => {
                    before = Some(rows[0].message);
                    all.splice(0..0, rows);
                }
                other => panic!("no history: {other:?}"),
            }
        }
    }

    /// `sender: text` of every row, or why it cannot be read.
    pub(crate) fn screen(&mut self, index: usize) -> Vec<String> {
        let line = |row: Row| match row.body {
            RowBody::Text(text) => format!("{}: {text}", row.from),
            RowBody::Undecryptable(reason) => format!("{}? {reason}", row.from),
            RowBody::Newer(kind) => format!("{}: kind {kind}", row.from),
        };
        self.rows(index).into_iter().map(line).collect()
    }

    /// The screen without the rows that tell of a new device of one's own.
    pub(crate) fn said(&mut self, index: usize) -> Vec<String> {
        let mut lines = self.screen(index);
        lines.retain(|line| !line.starts_with("? a device was added to your account"));
        lines
    }

    /// Everything that waits in a device's outbox, messages and what devices tell each other.
    #[allow(
        clippy::redundant_closure_for_method_calls,
        reason = "the method is for one lifetime, the closure for all"
    )]
    pub(crate) fn outbox_length(&mut self, index: usize) -> u64 {
        self.devices[index].store.transaction(|tx| tx.outbox_length()).unwrap()
    }

    /// How far a device has read its mailbox.
    #[allow(
        clippy::redundant_closure_for_method_calls,
        reason = "the method is for one lifetime, the closure for all"
    )]
    pub(crate) fn cursor(&mut self, index: usize) -> Option<Cursor> {
        let cursor: Result<_, StoreError> = self.devices[index].store.transaction(|tx| tx.cursor());
        cursor.unwrap()
    }

    /// Rows that could not be read at first, also those that were healed since.
    pub(crate) fn unreadable(&self, index: usize) -> usize {
        let unreadable =
            |event: &&Event| matches!(event, Event::Row(Row { body: RowBody::Undecryptable(_), .. }));
        self.devices[index].events.iter().filter(unreadable).count()
    }

    /// Takes the new identity that the server shows under a name, as somebody does who has compared its number.
    pub(crate) fn accept_identity(&mut self, index: usize, name: &str) {
        let user: Username = name.parse().unwrap();
        let Ok(Reply::Safety(safety)) = self.command(index, Command::Safety(user.clone())) else {
            panic!("no safety number with {name}")
        };
        let number = safety.new_number.expect("another identity is shown");
        self.command(index, Command::Trust { user, number }).unwrap();
    }

    /// The session in which a device would write to another one.
    pub(crate) fn sending_session(&mut self, from: usize, to: usize) -> Option<SessionId> {
        let (account, device) = (self.accounts[self.devices[to].account].id, self.devices[to].id);
        let clock_ms = self.devices[from].clock_ms(self.now_ms);
        let bytes = self.devices[from].store.transaction(|tx| tx.sessions(&account, &device));
        let bytes: Result<_, StoreError> = bytes;
        PeerSessions::from_bytes(&bytes.unwrap()?).unwrap().sending_session(clock_ms)
    }

    pub(crate) fn warnings(&self, index: usize) -> String {
        let texts = self.devices[index].events.iter().filter_map(|event| match event {
            Event::Warning(text) => Some(text.as_str()),
            _ => None,
        });
        texts.collect::<Vec<_>>().join("\n")
    }
}
