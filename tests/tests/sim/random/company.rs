//! Random histories with live chats and blocks: people ask, answer, leave, block and write, while devices and the server
//! crash. After the last fault everybody knows of every chat that the server holds them busy with, nobody stays busy once
//! those are left, what somebody blocks never comes up on the screen where it was blocked, and everything else arrives.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt;
use rand::seq::IndexedRandom;
use sotto_client::api::{
    ChatCommand, ChatEvent, ClientError, Command, Event, Fate, Reply, Row, RowBody, User,
};
use sotto_proto::frame::ChatId;

use super::seeds;
use crate::world::World;

/// Seeds of the short part.
const FIXED: &[u64] = &[1, 2, 3, 4, 5, 6, 7, 8, 1006];
const NAMES: [&str; 3] = ["alice", "bob", "carol"];
/// Longer than an invitation waits, and than the client waits between two attempts of anything it tries again.
const AFTERWARDS_MS: u64 = 120_000;

/// What a face knows of a chat, from what it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Inviting,
    Invited,
    Accepted,
    Chatting,
}

/// What somebody sees at a device.
#[derive(Default)]
struct Face {
    chats: BTreeMap<ChatId, Stage>,
    /// Commands about chats that were not answered yet.
    asked: BTreeMap<u64, ChatCommand>,
}

/// Two accounts: who writes, and to whom.
type Way = (usize, usize);

struct Company {
    world: World,
    faces: Vec<Face>,
    /// Whom a first device blocks, by account.
    blocked: BTreeSet<(usize, usize)>,
    /// Blocks there ever were, in either direction of a way.
    touched: BTreeSet<Way>,
    written: BTreeMap<Way, Vec<String>>,
    /// Written when the server knew of a block that stands to this day.
    refused: BTreeMap<Way, Vec<String>>,
}

impl Company {
    fn new(seed: u64) -> Self {
        let mut world = World::new(seed);
        for name in NAMES {
            world.person(name);
        }
        if world.rng.random_bool(0.5) {
            world.second_device(1, None);
        }
        let faces = world.devices.iter().map(|_| Face::default()).collect();
        let (blocked, touched) = (BTreeSet::new(), BTreeSet::new());
        let mut company =
            Self { world, faces, blocked, touched, written: BTreeMap::new(), refused: BTreeMap::new() };
        // Only who is known can be blocked at once.
        for (from, to) in ways() {
            company.world.connect(from);
            company.write(from, to, "hello");
            company.settle();
        }
        company
    }

    fn account(&self, device: usize) -> usize {
        self.world.devices[device].account
    }

    fn first_of_account(device: usize) -> bool {
        device < NAMES.len()
    }

    /// Takes what a device has told its face: answers before events, for the server answers a request before anything
    /// comes of it. Only a face that denied by chance what it had not seen yet hears of the invitation afterwards.
    fn look(&mut self, device: usize) {
        let account = self.account(device);
        let (face, seen) = (&mut self.faces[device], &mut self.world.devices[device]);
        let asked = std::mem::take(&mut face.asked);
        let mut denied = BTreeSet::new();
        for (number, command) in asked {
            match seen.replies.remove(&number) {
                None => drop(face.asked.insert(number, command)),
                Some(reply) => {
                    if let (ChatCommand::Deny(chat), Ok(_)) = (&command, &reply) {
                        denied.insert(*chat);
                    }
                    face.answered(&command, reply);
                }
            }
        }
        for event in std::mem::take(&mut seen.events) {
            match event {
                Event::Chat(ChatEvent::Invited { chat, .. }) if denied.contains(&chat) => {}
                Event::Chat(event) => face.told(&event),
                Event::Row(row) if !row.outgoing && Self::first_of_account(device) => {
                    let from = NAMES.iter().position(|name| *name == row.from);
                    let blocked = from.is_some_and(|from| self.blocked.contains(&(account, from)));
                    assert!(!blocked, "device {device} shows what it blocks: {row:?}");
                }
                _ => {}
            }
        }
    }

    /// Gives a device its inputs, all of them where there are not very many.
    fn run(&mut self, device: usize, batch: usize) -> bool {
        let ran = self.world.run_device(device, batch, true);
        self.look(device);
        ran
    }

    fn crash(&mut self, device: usize) {
        self.world.run_device(device, 64, false);
        self.world.crash(device);
        self.faces[device] = Face::default();
    }

    fn settle(&mut self) {
        self.world.drain_server();
        loop {
            let mut busy = self.world.run_server();
            for device in 0..self.faces.len() {
                busy |= self.run(device, 64);
            }
            if !busy {
                return;
            }
        }
    }

    fn write(&mut self, from: usize, to: usize, text: &str) {
        let text = format!("{from} to {to}: {text}");
        self.world.write(from, NAMES[to], &text);
        if self.run(from, 64) {
            self.written.entry((from, to)).or_default().push(text.clone());
            if self.blocked.contains(&(to, from)) && self.said_last(to) {
                self.refused.entry((from, to)).or_default().push(text);
            }
        }
    }

    /// Whether the server has confirmed whom an account blocks, and will be told nothing else: a second device may still
    /// have to tell what it has heard of late.
    fn said_last(&mut self, account: usize) -> bool {
        let alone = self.faces.len() == NAMES.len() || account != 1;
        let untold = self.world.devices[account].store.transaction(|tx| tx.untold_blocks(1)).unwrap();
        alone && untold.is_empty()
    }

    fn block(&mut self, by: usize, whom: usize, blocked: bool) {
        if !blocked {
            // From here on it may be anything, as far as the face can know.
            self.blocked.remove(&(by, whom));
            self.refused.remove(&(whom, by));
        }
        let command = Command::Block { user: NAMES[whom].parse().unwrap(), blocked };
        let number = self.world.ask(by, command);
        self.run(by, 64);
        assert_eq!(self.world.devices[by].replies.remove(&number), Some(Ok(Reply::Done)));
        if blocked {
            self.blocked.insert((by, whom));
            self.touched.extend([(by, whom), (whom, by)]);
        }
    }

    fn ask(&mut self, device: usize, command: ChatCommand) {
        let number = self.world.ask(device, Command::Chat(command.clone()));
        self.faces[device].asked.insert(number, command);
    }

    /// Something about live chats that a face would offer, now and then something that it would not.
    fn chat(&mut self, device: usize) {
        let me = self.account(device);
        let rng = &mut self.world.rng;
        let known: Vec<(ChatId, Stage)> =
            self.faces[device].chats.iter().map(|(id, stage)| (*id, *stage)).collect();
        let command = match known.choose(rng) {
            _ if rng.random_bool(0.05) => {
                let chat = ChatId(rng.random_range(1..12));
                let stray = [ChatCommand::Accept, ChatCommand::Deny, ChatCommand::Cancel, ChatCommand::Quit];
                stray[rng.random_range(0..4)](chat)
            }
            Some((chat, Stage::Invited)) if rng.random_bool(0.9) => ChatCommand::Accept(*chat),
            Some((chat, Stage::Invited | Stage::Accepted)) => ChatCommand::Deny(*chat),
            Some((chat, Stage::Inviting)) if rng.random_bool(0.2) => ChatCommand::Cancel(*chat),
            Some((chat, Stage::Chatting)) if rng.random_bool(0.2) => ChatCommand::Quit(*chat),
            _ => {
                let mut others: Vec<usize> = (0..NAMES.len()).filter(|other| *other != me).collect();
                if rng.random_bool(0.7) {
                    others.remove(rng.random_range(0..2));
                }
                ChatCommand::Invite(others.iter().map(|other| NAMES[*other].parse().unwrap()).collect())
            }
        };
        self.ask(device, command);
    }

    fn step(&mut self, step: usize) {
        let device = self.world.rng.random_range(0..self.faces.len());
        match self.world.rng.random_range(0..100) {
            0..=11 => {
                let to = self.world.rng.random_range(0..NAMES.len());
                // One device an account writes, so that the order of what the account said is defined.
                if Self::first_of_account(device) && to != device && self.world.connected(device) {
                    self.write(device, to, &step.to_string());
                }
            }
            12..=14 => {
                let whom = self.world.rng.random_range(0..NAMES.len());
                let block = !self.blocked.contains(&(device, whom));
                // Most of the time nobody is blocked, or nobody could be asked.
                let now = !block || self.world.rng.random_bool(0.2);
                if now && Self::first_of_account(device) && whom != device && self.world.running(device) {
                    self.block(device, whom, block);
                }
            }
            15..=34 => {
                if self.world.connected(device)
                    || self.world.rng.random_bool(0.05) && self.world.running(device)
                {
                    self.chat(device);
                }
            }
            35 if self.world.rng.random_bool(0.5) => self.world.disconnect(device),
            35 if self.world.rng.random_bool(0.5) => self.crash(device),
            35..=46 => {
                if self.world.server.is_none() {
                    self.world.start_server();
                }
                if !self.world.running(device) {
                    self.world.start(device);
                }
                if !self.world.connected(device) || self.world.rng.random_bool(0.02) {
                    self.world.connect(device);
                }
            }
            47 => {
                if self.world.rng.random_bool(0.1) {
                    self.world.crash_server();
                }
            }
            48..=72 => {
                let frames = self.world.rng.random_range(1..12);
                (0..frames).all(|_| self.world.run_server());
            }
            73..=97 => {
                let batch = self.world.rng.random_range(1..30);
                self.run(device, batch);
            }
            _ => self.world.now_ms += self.world.rng.random_range(0..10_000),
        }
    }

    /// No more faults.
    fn recover(&mut self) {
        if self.world.server.is_none() {
            self.world.start_server();
        }
        for device in 0..self.faces.len() {
            if !self.world.running(device) {
                self.world.start(device);
            }
            if !self.world.connected(device) {
                self.world.connect(device);
            }
        }
        self.settle();
        self.world.pass(AFTERWARDS_MS);
        (0..self.faces.len()).for_each(|device| self.look(device));
    }

    /// Everybody signs in once more: a server that was started again has forgotten whom to tell that something was taken,
    /// and is asked.
    fn sign_in_again(&mut self) {
        (0..self.faces.len()).for_each(|device| self.world.connect(device));
        self.settle();
    }

    /// How the server says that everybody stands.
    fn users(&mut self) -> Vec<User> {
        let mut all = Vec::new();
        for asking in [0, 1] {
            match self.world.command(asking, Command::Users) {
                Ok(Reply::Users(users)) => all.extend(users),
                other => panic!("{other:?}"),
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all.dedup();
        assert_eq!(all.len(), NAMES.len(), "{all:?}");
        all
    }

    /// Everybody is busy with the chats that their faces show, and with nothing once those are left.
    fn check_chats(&mut self) {
        let users = self.users();
        for (device, face) in self.faces.iter().enumerate() {
            let open = face.chats.iter().filter(|(_, stage)| **stage != Stage::Chatting).collect::<Vec<_>>();
            assert!(open.is_empty(), "device {device} believes in invitations that are over: {open:?}");
            assert_eq!(face.asked, BTreeMap::new(), "device {device} has no answers");
        }
        for (account, name) in NAMES.iter().enumerate() {
            let chatting: usize = (0..self.faces.len())
                .filter(|device| self.account(*device) == account)
                .map(|device| self.faces[device].chats.len())
                .sum();
            let user = users.iter().find(|user| user.name == *name).unwrap();
            let expected = if chatting == 0 { "available" } else { "busy" };
            assert!(chatting <= 1 && user.presence == expected, "{chatting} chats: {user:?}");
        }
        while let Some((device, chat)) = self
            .faces
            .iter()
            .enumerate()
            .find_map(|(device, face)| face.chats.keys().next().map(|chat| (device, *chat)))
        {
            self.ask(device, ChatCommand::Quit(chat));
            self.settle();
            assert!(!self.faces.iter().any(|face| face.chats.contains_key(&chat)), "{chat:?} does not end");
        }
        let users = self.users();
        assert!(users.iter().all(|user| user.presence == "available"), "{users:?}");
    }

    /// All devices and the server agree on who is blocked.
    fn check_blocks(&mut self) {
        for device in 0..self.faces.len() {
            let account = self.account(device);
            let expected: BTreeSet<usize> =
                self.blocked.iter().filter(|(by, _)| *by == account).map(|(_, whom)| *whom).collect();
            let Ok(Reply::Contacts(contacts)) = self.world.command(device, Command::Contacts) else {
                panic!()
            };
            let here: BTreeSet<usize> = contacts
                .iter()
                .filter(|contact| contact.blocked)
                .map(|contact| NAMES.iter().position(|name| *name == contact.name).unwrap())
                .collect();
            assert_eq!(here, expected, "device {device}");
            let at_server: BTreeSet<usize> = self
                .world
                .blocked_by(account)
                .iter()
                .map(|id| self.world.accounts.iter().position(|account| account.id == *id).unwrap())
                .collect();
            assert_eq!(at_server, expected, "the server, of {}", NAMES[account]);
        }
    }

    fn check_messages(&mut self) {
        let rows: Vec<Vec<Row>> = (0..self.faces.len())
            .map(|device| {
                let mut rows = self.world.rows(device);
                let added = "a device was added to your account";
                rows.retain(
                    |row| !matches!(&row.body, RowBody::Undecryptable(text) if text.starts_with(added)),
                );
                rows
            })
            .collect();
        for (device, rows) in rows.iter().enumerate() {
            for row in rows {
                assert!(matches!(row.body, RowBody::Text(_)), "device {device}: {row:?}");
            }
        }
        for (way, written) in &self.written {
            let (from, to) = *way;
            let own = |row: &&Row| row.outgoing && row.conversation == NAMES[to];
            let fates: BTreeMap<&str, Fate> =
                rows[from].iter().filter(own).map(|row| (text(row), row.fate.unwrap())).collect();
            for (device, rows) in rows.iter().enumerate() {
                let account = self.account(device);
                if account == from {
                    assert_eq!(rows.iter().filter(own).map(text).collect::<Vec<_>>(), *written, "{device}");
                } else if account == to {
                    let seen =
                        rows.iter().filter(|row| row.from == NAMES[from]).map(text).collect::<Vec<_>>();
                    let mut order = written.iter();
                    // Once and in order; whole where nobody has ever blocked anybody.
                    assert!(
                        seen.iter().all(|seen| order.any(|text| text == seen)),
                        "device {device} from {from}: {seen:?} of {written:?}"
                    );
                    if !self.touched.contains(way) {
                        assert_eq!(seen, *written, "device {device} from {from}");
                        assert!(fates.values().all(|fate| *fate == Fate::Delivered), "{way:?}: {fates:?}");
                    }
                }
            }
            for (text, fate) in &fates {
                let devices = (0..rows.len()).filter(|device| self.account(*device) == to);
                let shown = devices.clone().filter(|device| shows(&rows[*device], NAMES[from], text)).count();
                match fate {
                    Fate::Delivered => assert!(shown > 0, "{text} was not shown"),
                    Fate::Refused => assert_eq!(shown, 0, "{text} was refused"),
                    // Dropped without a word, or the receipt came to somebody who had blocked its sender.
                    Fate::Taken => assert!(self.touched.contains(way), "{text}"),
                    other => panic!("{text} is {other:?} in the end"),
                }
            }
            for text in self.refused.get(way).into_iter().flatten() {
                assert_eq!(
                    fates.get(text.as_str()),
                    Some(&Fate::Refused),
                    "{text} was written to who blocks"
                );
            }
        }
    }
}

impl Face {
    fn answered(&mut self, command: &ChatCommand, reply: Result<Reply, ClientError>) {
        match (command, reply) {
            (ChatCommand::Invite(_), Ok(Reply::Inviting { chat, .. })) => {
                self.chats.insert(chat, Stage::Inviting);
            }
            (ChatCommand::Accept(chat), Ok(_)) => {
                self.chats.insert(*chat, Stage::Accepted);
            }
            (ChatCommand::Deny(chat) | ChatCommand::Cancel(chat) | ChatCommand::Quit(chat), Ok(_)) => {
                self.chats.remove(chat);
            }
            // Who is refused goes by what is pushed.
            (_, Ok(_) | Err(_)) => {}
        }
    }

    fn told(&mut self, event: &ChatEvent) {
        match event {
            ChatEvent::Invited { chat, .. } => drop(self.chats.insert(*chat, Stage::Invited)),
            ChatEvent::Started { chat, .. } => drop(self.chats.insert(*chat, Stage::Chatting)),
            ChatEvent::InviteEnded { chat, .. } | ChatEvent::Ended { chat, .. } => {
                self.chats.remove(chat);
            }
            ChatEvent::AllLost => self.chats.clear(),
        }
    }
}

/// Every way that a message can take.
fn ways() -> impl Iterator<Item = Way> {
    (0..NAMES.len())
        .flat_map(|from| (0..NAMES.len()).map(move |to| (from, to)))
        .filter(|(from, to)| from != to)
}

fn text(row: &Row) -> &str {
    match &row.body {
        RowBody::Text(text) => text,
        RowBody::Undecryptable(_) | RowBody::Newer(_) => "",
    }
}

fn shows(rows: &[Row], from: &str, what: &str) -> bool {
    rows.iter().any(|row| row.from == from && text(row) == what)
}

fn run(seed: u64) {
    eprintln!("seed {seed}, in company");
    let mut company = Company::new(seed);
    for step in 0..600 {
        company.step(step);
    }
    company.recover();
    company.check_chats();
    company.check_blocks();
    company.sign_in_again();
    company.check_messages();
}

#[test]
fn nobody_stays_busy_and_who_is_blocked_is_not_heard() {
    seeds(FIXED).for_each(run);
}
