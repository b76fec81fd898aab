//! What the line client says and does, without doing it: typed lines, events and answers go in; lines to print, questions
//! for the client and the end come out. So every conversation with a person can be tested as a transcript.

mod answers;
mod chats;
mod lines;
mod rows;
mod sending;
mod slash;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use sotto_client::api::{AccountCommand, ClientError, Command, Connection, Event, MessageFate, Reply};
use sotto_proto::frame::{ChatEnd, ChatId, InviteEnd, ResetState};
use sotto_proto::{MessageId, Username};

use self::sending::Written;
use crate::alarm;
use crate::output::{Lines, Tone};

pub(super) use self::slash::COMMANDS;

/// Contexts remembered to say for what an old line was meant: more than change while somebody types one line.
const PAST: usize = 16;
/// Rows that are remembered, until they are shown, to have been said as a warning; of more, the row says it again.
const MAX_WARNED: usize = 16;

/// What happened.
#[derive(Debug)]
pub(super) enum Input {
    /// Logged in, and everything that waited in the mailbox is in the store.
    Ready,
    /// A line, and the context in which its first key was pressed.
    Line { text: String, begun: u64 },
    /// A line that cannot be one, and why.
    Bad(String),
    /// There will be no more lines.
    End,
    /// Nothing, but a line may have come.
    Idle,
    /// Something happened without being asked.
    Event(Event),
    /// Some events were dropped.
    Lagged,
    /// Another program kept the profile, and ended; answers that were awaited never come.
    Again,
    /// It has been leaving for long enough.
    TimeUp,
    /// The answer to something that was asked.
    Answer(Ask, Result<Reply, ClientError>),
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Output {
    /// Whole lines, safe to show. They are on the screen before anything that follows is done.
    Print(String),
    /// Ask the client, and bring the answer back with this.
    Ask(Ask, Box<Command>),
    /// Let the user notice something, in a few words.
    Ring(String),
    /// Names that can be completed.
    Names(Vec<String>),
    /// End with this error, which the shell of the program prints.
    Fail(Box<ClientError>),
    /// End well.
    Exit,
}

/// Why something was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ask {
    /// Rows that were not printed.
    Fetch,
    /// A row is marked as printed.
    Printed,
    /// The users of the server.
    Users(UsersFor),
    /// An invitation.
    Invite(Username),
    /// Yes to one.
    Accept(ChatId),
    /// No to one. Whoever asked hears it from the server.
    Deny(ChatId),
    /// One's own is taken back.
    Cancel(ChatId),
    /// A live chat is left.
    Quit(ChatId),
    /// What was said before a live chat.
    Earlier(ChatId),
    /// A message.
    Send(Written),
    /// The safety number.
    Safety,
    /// What waits.
    Outbox,
    /// Nothing to say about a good answer but this.
    Other(&'static str),
}

/// What the list of users is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UsersFor {
    /// To complete names.
    Names,
    /// To be shown, with the menu behind it.
    Menu,
    /// To be shown in between.
    Show,
    /// To choose somebody for a live chat.
    Chat,
    /// To choose somebody for a message.
    Message,
}

/// What a line means now.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Mode {
    /// What waited is being printed.
    Starting,
    /// A choice of the menu.
    Menu,
    /// A name of these, for a live chat.
    Choosing(Vec<String>),
    /// An invitation is on its way, or stands.
    Inviting { user: Username, chat: Option<ChatId>, cancelled: bool },
    /// Yes was said; the chat is about to begin.
    Accepting { chat: ChatId, from: String },
    /// A live chat.
    Live(Live),
    /// A name, for a message.
    MessageTo,
    /// The text of a message.
    MessageText(Username),
}

/// A live chat.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Live {
    chat: ChatId,
    /// The other one, as the server spells it.
    with: String,
    /// The same, to write to.
    to: Username,
    /// The welcome has been printed.
    welcomed: bool,
    /// `Quit` was typed.
    quitting: Quitting,
    /// Rows up to this one were on the screen before the chat.
    since: u64,
    /// It is over, and what was said before is still being fetched.
    over: Option<Over>,
}

/// Why a live chat is over.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Over {
    /// Somebody ended it, or was lost.
    Ended(ChatEnd),
    /// This client has no connection any more.
    Lost,
}

/// How far the end of a live chat is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quitting {
    No,
    /// What was typed before is still on its way to the server.
    Soon,
    /// The server was asked.
    Asked,
}

/// A question that somebody else asks.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    chat: ChatId,
    from: String,
}

/// For what a line could have been meant.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Meant {
    /// A message to this user.
    Live(String),
    Other,
}

/// Whether rows are being asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fetching {
    No,
    UnderWay,
    /// And something has arrived since.
    Again,
}

/// How the program is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaving {
    No,
    /// No more lines come; what was typed is being settled.
    Wanted,
    /// The end was put out.
    Done,
}

/// The line client.
#[derive(Debug)]
pub(super) struct Machine {
    me: String,
    colour: bool,
    /// Lines come from a pipe: they wait for what they depend on.
    piped: bool,
    mode: Mode,
    asked: Option<Asked>,
    /// Counts up when the meaning of a line changes without the user's doing.
    context: u64,
    past: VecDeque<(u64, Meant)>,
    online: bool,
    leaving: Leaving,
    /// Answers without which the next line has no meaning.
    awaited: usize,
    /// The last row that is on the screen.
    after: u64,
    fetching: Fetching,
    written: HashMap<MessageId, Written>,
    /// Sends without an answer, and fates that overtook it.
    sends: usize,
    early: Vec<MessageFate>,
    early_ends: Vec<(ChatId, InviteEnd)>,
    unread: BTreeMap<String, u32>,
    /// The last event, if it was a warning; and the rows whose words were said as one.
    warning: Option<String>,
    warned: BTreeSet<u64>,
    said: Lines,
    out: Vec<Output>,
}

impl Machine {
    /// Somebody's client.
    pub(super) fn new(me: &Username, colour: bool, piped: bool) -> Self {
        Self {
            me: me.to_string(),
            colour,
            piped,
            mode: Mode::Starting,
            asked: None,
            context: 0,
            past: VecDeque::new(),
            online: true,
            leaving: Leaving::No,
            awaited: 0,
            after: 0,
            fetching: Fetching::No,
            written: HashMap::new(),
            sends: 0,
            early: Vec::new(),
            early_ends: Vec::new(),
            unread: BTreeMap::new(),
            warning: None,
            warned: BTreeSet::new(),
            said: Lines::new(colour),
            out: Vec::new(),
        }
    }

    /// Whether lines come from a pipe.
    pub(super) fn is_piped(&self) -> bool {
        self.piped
    }

    /// Whether what waited is still being printed.
    pub(super) fn starting(&self) -> bool {
        self.mode == Mode::Starting
    }

    /// To be remembered with the first key of a line.
    pub(super) fn context(&self) -> u64 {
        self.context
    }

    /// Whether a line can be taken now. Until then it waits where it came from.
    pub(super) fn takes(&self, line: &str) -> bool {
        if self.leaving != Leaving::No {
            return false;
        }
        if lines::is_exit(line.trim()) {
            return true;
        }
        if self.awaited > 0 || self.mode == Mode::Starting {
            return false;
        }
        match &self.mode {
            Mode::Accepting { .. } => false,
            Mode::Live(chat) if !chat.welcomed || chat.quitting != Quitting::No || chat.over.is_some() => {
                false
            }
            // A script types ahead what it will say in the chat.
            Mode::Inviting { .. } if self.piped => lines::about_the_wait(line),
            _ => !self.piped || self.settled(),
        }
    }

    /// Takes an input, and says what is to be done.
    pub(super) fn handle(&mut self, input: Input) -> Vec<Output> {
        match input {
            Input::Ready | Input::Lagged => self.fetch(),
            Input::Line { text, begun } => self.line(&text, begun),
            Input::Bad(why) => self.said.toned(Tone::Bad, &format!("Not taken: {why}")),
            Input::End => self.leave(),
            Input::Idle => {}
            Input::Event(event) => self.event(event),
            Input::Again => self.again(),
            Input::TimeUp => self.time_up(),
            Input::Answer(ask, answer) => self.answer(ask, answer),
        }
        self.go_on();
        self.flush();
        std::mem::take(&mut self.out)
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Row(row) => return self.came(&row),
            Event::Drained => self.fetch(),
            Event::Fate(fate) => self.fate(fate),
            Event::Connection(connection) => self.connection(&connection),
            Event::Chat(event) => self.chat_event(event),
            event @ (Event::Warning(_) | Event::DevicesWait(_) | Event::Reset(_)) => {
                self.alarm(&event);
                if let Event::Warning(text) = event {
                    self.warning = Some(text);
                    return;
                }
            }
            Event::Stopped(error) => self.end(Output::Fail(Box::new(error))),
        }
        self.warning = None;
    }

    fn connection(&mut self, connection: &Connection) {
        match connection {
            Connection::Online => {
                if !self.online {
                    self.online = true;
                    self.said.toned(Tone::Good, "Connected again.");
                    self.fetch();
                }
            }
            Connection::Connecting => {}
            Connection::Offline { error, retry_in_ms } => {
                self.disconnected();
                if retry_in_ms.is_none() {
                    self.problem(error);
                }
            }
        }
    }

    /// Says once that the connection is gone, and ends what needs one.
    fn disconnected(&mut self) {
        if std::mem::take(&mut self.online) {
            self.said.toned(
                Tone::Bad,
                "The connection to the server is lost; trying again. What you write waits.",
            );
            self.written_waits();
            self.all_lost();
        }
    }

    /// What was asked and not answered is asked no more.
    fn again(&mut self) {
        if self.sends > 0 {
            let sends = self.sends;
            self.said.toned(
                Tone::Bad,
                &format!(
                    "It is not known whether {sends} messages were kept; see /outbox, and sotto history."
                ),
            );
        }
        (self.awaited, self.sends, self.fetching) = (0, 0, Fetching::No);
        self.disconnected();
        self.fetch();
        if !matches!(self.mode, Mode::Menu | Mode::Live(_)) {
            self.turn();
            self.menu();
        }
    }

    /// Something that the user must know, whatever they are doing.
    fn alarm(&mut self, event: &Event) {
        if let Event::Reset(ResetState::None) = event {
            self.said.toned(Tone::Good, "No reset of this account waits any more.");
        }
        if let Some(words) = alarm::words(event) {
            self.said.toned(Tone::Bad, &format!("warning: {words}"));
            if !matches!(event, Event::Warning(_)) {
                self.ring("your account needs your attention");
            }
        }
    }

    /// Whether everything that was typed is on the server, or was said to wait.
    fn settled(&self) -> bool {
        self.awaited == 0 && self.sent_or_waiting()
    }

    /// The same for messages only.
    fn sent_or_waiting(&self) -> bool {
        self.sends == 0 && (!self.online || self.written.values().all(|one| one.said_to_wait))
    }

    /// Does what waited for something else.
    fn go_on(&mut self) {
        if self.leaving == Leaving::Wanted {
            self.take_leave();
        }
        self.quit_when_sent();
        if self.leaving == Leaving::Wanted && self.settled() && !self.engaged() {
            self.end(Output::Exit);
        }
    }

    /// Whether the program is about to end, and only waits for what was typed.
    pub(super) fn leaving(&self) -> bool {
        self.leaving != Leaving::No
    }

    /// The server did not answer in time to somebody who leaves.
    fn time_up(&mut self) {
        let open = self.sends + self.written.values().filter(|one| !one.said_to_wait).count();
        if open > 0 {
            self.said.toned(
                Tone::Bad,
                &format!("The server has not answered: {open} messages wait in the outbox, and leave with the next connection."),
            );
        }
        self.end(Output::Exit);
    }

    /// No more lines are taken; what was begun is ended first.
    fn leave(&mut self) {
        if self.leaving == Leaving::No {
            self.leaving = Leaving::Wanted;
        }
    }

    fn end(&mut self, how: Output) {
        if self.leaving != Leaving::Done {
            self.leaving = Leaving::Done;
            self.flush();
            self.out.push(how);
        }
    }

    fn ask(&mut self, ask: Ask, command: Command) {
        match ask {
            Ask::Fetch | Ask::Printed | Ask::Users(UsersFor::Names) => {}
            Ask::Send(_) => self.sends += 1,
            _ => self.awaited += 1,
        }
        self.flush();
        self.out.push(Output::Ask(ask, Box::new(command)));
    }

    /// What was said so far goes out before what follows.
    fn flush(&mut self) {
        let said = std::mem::replace(&mut self.said, Lines::new(self.colour)).into_text();
        if !said.is_empty() {
            self.out.push(Output::Print(said));
        }
    }

    fn ring(&mut self, why: &str) {
        self.flush();
        self.out.push(Output::Ring(why.to_owned()));
    }

    /// An error in the words that commands use too.
    fn problem(&mut self, error: &ClientError) {
        self.said.labelled(Tone::Bad, "error", &error.message);
        if let Some(cause) = &error.cause {
            self.said.labelled(Tone::Plain, "cause", cause);
        }
        if let Some(hint) = &error.hint {
            self.said.labelled(Tone::Good, "hint", hint);
        }
    }

    /// The meaning of a line has changed while one may be under way.
    fn turn(&mut self) {
        let meant = match &self.mode {
            Mode::Live(live) => Meant::Live(live.with.clone()),
            _ => Meant::Other,
        };
        if self.past.len() >= PAST {
            self.past.pop_front();
        }
        self.past.push_back((self.context, meant));
        self.context += 1;
    }

    /// Back at the menu.
    fn menu(&mut self) {
        self.mode = Mode::Menu;
        self.question();
    }

    /// What is asked now.
    fn question(&mut self) {
        if self.leaving != Leaving::No {
            return;
        }
        if let Some(asked) = &self.asked {
            let question = format!("{} asks for a live chat. Accept? (yes/no)", asked.from);
            self.said.toned(Tone::Good, &question);
            return;
        }
        match &self.mode {
            Mode::Menu => {
                if !self.unread.is_empty() {
                    let unread: Vec<String> =
                        self.unread.iter().map(|(name, count)| format!("{name} ({count})")).collect();
                    self.said.toned(Tone::Good, &format!("New messages: {}", unread.join(", ")));
                    self.unread.clear();
                }
                for line in ["1. List users", "2. Chat", "3. Exit", "4. Group chat", "Enter your choice:"] {
                    self.said.line(line);
                }
            }
            Mode::Choosing(_) => self.said.line("With whom do you want to chat? (a name, or cancel)"),
            Mode::Inviting { user, .. } => {
                let line = format!("Waiting for {user}. (cancel takes the invitation back)");
                self.said.line(&line);
            }
            Mode::MessageTo => self.said.line("To whom? (a name, or cancel)"),
            Mode::MessageText(user) => {
                let line = format!("Your message to {user}: (an empty line cancels)");
                self.said.line(&line);
            }
            Mode::Starting | Mode::Accepting { .. } | Mode::Live(_) => {}
        }
    }

    /// The question again after something was said in between; the menu only needs its last line.
    fn question_again(&mut self) {
        if self.asked.is_none() && self.mode == Mode::Menu && self.leaving == Leaving::No {
            self.said.line("Enter your choice:");
        } else {
            self.question();
        }
    }

    fn refuse_reset(&mut self) {
        self.ask(
            Ask::Other("The reset is refused. Change your password now: sotto password change"),
            Command::Account(AccountCommand::RefuseReset),
        );
    }
}
