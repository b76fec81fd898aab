//! A hundred live chats at the same time, between two hundred people at clients of their own, on one server.
//!
//! Not more of them, for each account takes its client twice Argon2 with 64 MiB (the wrap of the store's key, and the key
//! that stands for the password): two thirds of the minute or so of processor time that all this takes. And few register at a
//! time, for the memory.

mod person;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use sotto_client::api::{ChatCommand, ChatEvent, User};
use sotto_proto::Address;
use sotto_proto::frame::{ChatEnd, ChatId};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::person::Person;
use crate::town::Town;

const CHATS: usize = 100;
/// What each of the two says in a chat.
const LINES: usize = 6;
/// People who register at the same time: as much memory for Argon2 as a few ordinary clients take when they start.
const MAKING: usize = 4;

/// Two who chat.
struct Pair {
    number: usize,
    left: Person,
    right: Person,
    chat: Option<ChatId>,
}

impl Pair {
    async fn come(server: &Address, dir: &Path, number: usize) -> Self {
        let left = Person::come(server, dir, &format!("left-{number:03}")).await;
        let right = Person::come(server, dir, &format!("right-{number:03}")).await;
        Self { number, left, right, chat: None }
    }

    /// One asks, the other accepts.
    async fn meet(mut self) -> Self {
        let chat = self.left.invite(self.right.name()).await;
        match self.right.chat_event().await {
            ChatEvent::Invited { chat: asked, from, with, .. } => {
                assert_eq!((asked, from.as_str(), with.len()), (chat, self.left.name(), 0));
            }
            other => panic!("{}: {other:?}", self.right.name()),
        }
        self.right.does(ChatCommand::Accept(chat)).await;
        let (left, right) = (self.left.name().to_owned(), self.right.name().to_owned());
        assert_eq!(self.left.chat_event().await, ChatEvent::Started { chat, with: vec![right] });
        assert_eq!(self.right.chat_event().await, ChatEvent::Started { chat, with: vec![left] });
        self.chat = Some(chat);
        self
    }

    /// Both say all of theirs at once, and read the other's.
    async fn talk(mut self) -> Self {
        let (left, right) = (self.left.name().to_owned(), self.right.name().to_owned());
        let (by_left, by_right) = (self.lines(&left), self.lines(&right));
        tokio::join!(
            self.left.talk(&right, &by_left, &by_right),
            self.right.talk(&left, &by_right, &by_left)
        );
        self
    }

    /// What somebody says in this chat, and nobody in another one.
    fn lines(&self, name: &str) -> Vec<String> {
        (0..LINES).map(|line| format!("{name} in chat {}: line {line}", self.number)).collect()
    }

    /// One leaves, which ends it for the other.
    async fn part(mut self) -> Self {
        let chat = self.chat.take().unwrap();
        let (leaves, stays) = match self.number % 2 {
            0 => (&mut self.left, &mut self.right),
            _ => (&mut self.right, &mut self.left),
        };
        leaves.does(ChatCommand::Quit(chat)).await;
        let ended = ChatEvent::Ended { chat, why: ChatEnd::Quit(leaves.name().to_owned()) };
        assert_eq!(stays.chat_event().await, ended, "{}", stays.name());
        self
    }

    /// What stands in both histories in the end is what was said in this chat, once and in order.
    async fn remember(self) -> Self {
        let (left, right) = (self.left.name().to_owned(), self.right.name().to_owned());
        let (by_left, by_right) = (self.lines(&left), self.lines(&right));
        self.left.remembers(&right, &by_left, &by_right).await;
        self.right.remembers(&left, &by_right, &by_left).await;
        self
    }
}

/// Does something in all chats at once.
async fn all<Doing>(pairs: Vec<Pair>, what: impl Fn(Pair) -> Doing) -> Vec<Pair>
where
    Doing: Future<Output = Pair> + Send + 'static,
{
    let mut doing: JoinSet<Pair> = pairs.into_iter().map(what).collect();
    let mut done = Vec::new();
    // Not `join_all`: of several that fail, and of those that wait for them, the first is to be heard at once.
    while let Some(pair) = doing.join_next().await {
        done.push(pair.unwrap());
    }
    done.sort_by_key(|pair| pair.number);
    done
}

/// How everybody stands, as two of them see it, for nobody sees themselves.
async fn everybody(pairs: &[Pair]) -> Vec<User> {
    let (first, last) = (&pairs[0].left, &pairs[CHATS - 1].right);
    let mut users = first.users().await;
    users.extend(last.users().await.into_iter().filter(|user| user.name == first.name()));
    assert_eq!(users.len(), 2 * CHATS);
    users
}

#[test]
fn in_a_hundred_chats_at_once_every_word_is_heard_where_it_was_said_and_nowhere_else() {
    let town = Town::new().unwrap();
    let server: Address = town.server.address().parse().unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let places = Arc::new(Semaphore::new(MAKING));
        let mut coming = JoinSet::new();
        for number in 0..CHATS {
            let (server, dir, places) = (server.clone(), town.dir().to_owned(), places.clone());
            coming.spawn(async move {
                let _place = places.acquire().await.unwrap();
                Pair::come(&server, &dir, number).await
            });
        }
        let mut pairs = Vec::new();
        while let Some(pair) = coming.join_next().await {
            pairs.push(pair.unwrap());
        }

        let pairs = all(pairs, Pair::meet).await;
        let chats: HashSet<ChatId> = pairs.iter().filter_map(|pair| pair.chat).collect();
        assert_eq!(chats.len(), CHATS);
        let users = everybody(&pairs).await;
        for pair in &pairs {
            for (me, other) in [(&pair.left, &pair.right), (&pair.right, &pair.left)] {
                let user = users.iter().find(|user| user.name == me.name()).unwrap();
                assert_eq!(
                    (user.presence.as_str(), &user.with[..]),
                    ("busy", &[other.name().to_owned()][..])
                );
            }
        }

        let pairs = all(pairs, Pair::talk).await;
        let users = everybody(&pairs).await;
        assert!(users.iter().all(|user| user.presence == "busy"), "{users:?}");

        let pairs = all(pairs, Pair::part).await;
        let users = everybody(&pairs).await;
        assert!(users.iter().all(|user| user.presence == "available"), "{users:?}");

        let pairs = all(pairs, Pair::remember).await;
        let mut going: JoinSet<()> =
            pairs.into_iter().flat_map(|pair| [pair.left, pair.right]).map(Person::go).collect();
        while let Some(gone) = going.join_next().await {
            gone.unwrap();
        }
    });
}
