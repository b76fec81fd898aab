//! Random people at random devices do random things about live chats; after every step what each of them was told is
//! compared with what the server holds.

use std::collections::BTreeMap;

use proptest::{prelude::*, proptest};
use sotto_proto::frame::{ChatId, InChat, InviteEnd, Presence, SetInteractive};

use super::{
    live::{invite, with_two_devices},
    *,
};

const NAMES: [&str; 4] = ["alice", "bob", "carol", "dave"];
const DEVICES: usize = 2;

/// One step. `at` is reduced to the number of devices that it can mean: all of them in SignIn, else those signed in.
#[derive(Debug, Clone)]
enum Act {
    SignIn {
        at: usize,
        interactive: bool,
    },
    Bye {
        at: usize,
    },
    Lose {
        at: usize,
    },
    /// Bits of `whom` choose accounts.
    Invite {
        at: usize,
        whom: u8,
    },
    /// To something that a device was told of; a stray one to anything there is or was, by whoever it is.
    Answer {
        at: usize,
        kind: Answer,
        stray: bool,
    },
    SetInteractive {
        at: usize,
        interactive: bool,
    },
    /// From here on the peer takes nothing.
    Slow {
        at: usize,
    },
    Wait {
        ms: u64,
    },
}

#[derive(Debug, Clone, Copy)]
enum Answer {
    Accept,
    Deny,
    Cancel,
    Quit,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let at = || 0..64_usize;
    let whom = prop_oneof![3 => (0..4_u32).prop_map(|n| 1 << n), 1 => 1..16_u8];
    let answer = prop_oneof![
        4 => Just(Answer::Accept),
        1 => Just(Answer::Deny),
        1 => Just(Answer::Cancel),
        1 => Just(Answer::Quit),
    ];
    let act = prop_oneof![
        6 => (at(), prop::bool::weighted(0.8)).prop_map(|(at, interactive)| Act::SignIn { at, interactive }),
        2 => at().prop_map(|at| Act::Bye { at }),
        2 => at().prop_map(|at| Act::Lose { at }),
        18 => (at(), whom).prop_map(|(at, whom)| Act::Invite { at, whom }),
        24 => (at(), answer, prop::bool::weighted(0.1))
            .prop_map(|(at, kind, stray)| Act::Answer { at, kind, stray }),
        2 => (at(), any::<bool>()).prop_map(|(at, interactive)| Act::SetInteractive { at, interactive }),
        1 => at().prop_map(|at| Act::Slow { at }),
        4 => (1..40_000_u64).prop_map(|ms| Act::Wait { ms }),
    ];
    prop::collection::vec(act, 1..200)
}

/// What a device believes of a chat, from what it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Belief {
    Inviting,
    Invited,
    Accepted,
    Chatting,
}

type Beliefs = BTreeMap<ConnectionId, BTreeMap<ChatId, Belief>>;

struct World {
    bench: Bench,
    users: Vec<User>,
    at: Vec<Option<ConnectionId>>,
    beliefs: Beliefs,
}

impl World {
    fn new() -> Self {
        let mut bench = Bench::new();
        let users: Vec<User> =
            (1..).zip(NAMES).map(|(seed, name)| with_two_devices(&mut bench, name, seed)).collect();
        let mut at = vec![None; NAMES.len() * DEVICES];
        for (n, user) in users.iter().enumerate() {
            at[n * DEVICES] = Some(bench.sign_in(user, 0).0);
        }
        Self { bench, users, at, beliefs: Beliefs::new() }
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::SignIn { at, interactive } => {
                let at = at % self.at.len();
                let id = self.bench.greet();
                let login = self.users[at / DEVICES].device_login(at % DEVICES, interactive);
                assert!(matches!(self.bench.ask(id, login), ServerFrame::DeviceIn(_)));
                self.at[at] = Some(id);
            }
            Act::Wait { ms } => {
                self.bench.now_ms += ms;
                self.bench.input(Input::Tick);
            }
            Act::Bye { at } | Act::Lose { at } | Act::Slow { at } => {
                let Some(id) = self.online(at) else { return };
                if matches!(act, Act::Slow { .. }) {
                    let connection = self.bench.core.connections.get_mut(&id).unwrap();
                    connection.unwritten = 2 * reader::UNWRITTEN_LIMIT + 1;
                    return;
                }
                if matches!(act, Act::Bye { .. }) {
                    assert_eq!(self.bench.ask(id, ClientFrame::Bye), ServerFrame::Done);
                }
                self.bench.input(Input::Disconnected { connection: id });
                self.gone(id);
            }
            Act::Invite { at, whom } => {
                let Some(id) = self.online(at) else { return };
                let names = NAMES.iter().enumerate().filter(|(n, _)| whom & (1 << n) != 0);
                let names: Vec<&str> = names.map(|(_, name)| *name).collect();
                if let ServerFrame::Inviting(inviting) = self.bench.ask(id, invite(&names)) {
                    let beliefs = self.beliefs.entry(id).or_default();
                    let crossed = beliefs.get(&inviting.chat) == Some(&Belief::Invited);
                    let belief = if crossed { Belief::Accepted } else { Belief::Inviting };
                    beliefs.insert(inviting.chat, belief);
                }
            }
            Act::Answer { at, kind, stray } => {
                let told: Vec<(ConnectionId, ChatId)> = self
                    .beliefs
                    .iter()
                    .flat_map(|(id, beliefs)| beliefs.keys().map(|chat| (*id, *chat)))
                    .collect();
                if !stray && !told.is_empty() {
                    let (id, chat) = told[at % told.len()];
                    self.answer(id, kind, chat);
                } else if let Some(id) = self.online(at) {
                    let chats = self.bench.core.chats.checked().map(|chat| chat.id);
                    let chats: Vec<ChatId> = chats.chain([ChatId(1), ChatId(999)]).collect();
                    self.answer(id, kind, chats[at % chats.len()]);
                }
            }
            Act::SetInteractive { at, interactive } => {
                let Some(id) = self.online(at) else { return };
                let set = ClientFrame::SetInteractive(SetInteractive { interactive });
                assert_eq!(self.bench.ask(id, set), ServerFrame::Done);
                if !interactive {
                    self.beliefs.remove(&id);
                }
            }
        }
    }

    /// One of the devices that are signed in.
    fn online(&self, at: usize) -> Option<ConnectionId> {
        let online: Vec<ConnectionId> = self.at.iter().copied().flatten().collect();
        online.get(at % online.len().max(1)).copied()
    }

    fn answer(&mut self, id: ConnectionId, kind: Answer, chat: ChatId) {
        let named = InChat { chat };
        let (frame, fits): (_, &[Belief]) = match kind {
            Answer::Accept => (ClientFrame::Accept(named), &[Belief::Invited]),
            Answer::Deny => (ClientFrame::Deny(named), &[Belief::Invited, Belief::Accepted]),
            Answer::Cancel => (ClientFrame::Cancel(named), &[Belief::Inviting]),
            Answer::Quit => (ClientFrame::Quit(named), &[Belief::Chatting]),
        };
        let belief = self.beliefs.get(&id).and_then(|beliefs| beliefs.get(&chat));
        let fits = belief.is_some_and(|belief| fits.contains(belief));
        let answer = self.bench.ask(id, frame);
        // What was told is always enough to know what can be done.
        assert_eq!(answer == ServerFrame::Done, fits, "{kind:?}: {answer:?}");
        if fits {
            match kind {
                Answer::Accept => self.believe(id, chat, Belief::Accepted),
                _ => drop(self.beliefs.entry(id).or_default().remove(&chat)),
            }
        }
    }

    fn gone(&mut self, id: ConnectionId) {
        self.beliefs.remove(&id);
        for at in self.at.iter_mut().filter(|at| **at == Some(id)) {
            *at = None;
        }
    }

    fn believe(&mut self, id: ConnectionId, chat: ChatId, belief: Belief) {
        self.beliefs.entry(id).or_default().insert(chat, belief);
    }

    /// Lets every device take in what it was told. Each push has to fit what the device believes.
    fn settle(&mut self) {
        for id in std::mem::take(&mut self.bench.closed) {
            self.gone(id);
        }
        for id in self.at.clone().into_iter().flatten() {
            for push in self.bench.pushes(id) {
                let beliefs = self.beliefs.entry(id).or_default();
                match push {
                    ServerFrame::Invited(invited) => {
                        assert_eq!(beliefs.insert(invited.chat, Belief::Invited), None, "told twice");
                    }
                    ServerFrame::InviteEnded(ended) => {
                        let before = beliefs.remove(&ended.chat);
                        assert!(!matches!(before, None | Some(Belief::Chatting)), "{before:?}, {ended:?}");
                        if ended.why == InviteEnd::Elsewhere {
                            assert_eq!(before, Some(Belief::Invited));
                        }
                    }
                    ServerFrame::ChatStarted(started) => {
                        let before = beliefs.insert(started.chat, Belief::Chatting);
                        assert!(matches!(before, Some(Belief::Inviting | Belief::Accepted)), "{before:?}");
                    }
                    ServerFrame::ChatEnded(ended) => {
                        assert_eq!(beliefs.remove(&ended.chat), Some(Belief::Chatting), "{ended:?}");
                    }
                    _ => {}
                }
            }
        }
    }

    fn check(&self) {
        let core = &self.bench.core;
        let mut people: BTreeMap<AccountId, BTreeSet<ConnectionId>> = BTreeMap::new();
        for (id, connection) in &core.connections {
            if let Some(session) = connection.session.as_ref().filter(|session| session.interactive) {
                people.entry(session.account).or_default().insert(*id);
            }
        }
        assert_eq!(core.interactive.clone().into_iter().collect::<BTreeMap<_, _>>(), people);
        let mut expected = Beliefs::new();
        for chat in core.chats.checked() {
            assert!(chat.started() || chat.left_ms(self.bench.now_ms) > 0, "{chat:?} outlived its time");
            for (n, member) in chat.members.iter().enumerate() {
                let there = people.get(&member.account).cloned().unwrap_or_default();
                let told = member.connection.map_or_else(|| there.clone(), |bound| BTreeSet::from([bound]));
                assert!(!told.is_empty() && told.is_subset(&there), "{member:?} is not there");
                let belief = match (n, member.connection) {
                    _ if chat.started() => Belief::Chatting,
                    (0, _) => Belief::Inviting,
                    (_, Some(_)) => Belief::Accepted,
                    (_, None) => Belief::Invited,
                };
                for id in told {
                    expected.entry(id).or_default().insert(chat.id, belief);
                }
            }
        }
        let beliefs = self.beliefs.iter().filter(|(_, beliefs)| !beliefs.is_empty());
        assert_eq!(beliefs.map(|(id, beliefs)| (*id, beliefs.clone())).collect::<Beliefs>(), expected);
        for user in &self.users {
            let others = core.chats.of(&user.account).filter(|chat| chat.started());
            let others =
                others.map(|chat| chat.others(&user.account).iter().map(ToString::to_string).collect());
            let free =
                if people.contains_key(&user.account) { Presence::Available } else { Presence::Offline };
            assert_eq!(core.presence(&user.account, &user.account), others.map_or(free, Presence::Busy));
        }
    }

    /// Everybody leaves what they are in, and goes.
    fn end(&mut self) {
        while let Some((id, chat, belief)) = self
            .beliefs
            .iter()
            .find_map(|(id, beliefs)| beliefs.first_key_value().map(|(chat, belief)| (*id, *chat, *belief)))
        {
            let kind = match belief {
                Belief::Inviting => Answer::Cancel,
                Belief::Invited | Belief::Accepted => Answer::Deny,
                Belief::Chatting => Answer::Quit,
            };
            self.answer(id, kind, chat);
            self.settle();
            assert!(self.beliefs.get(&id).is_none_or(|beliefs| !beliefs.contains_key(&chat)));
            self.check();
        }
        assert_eq!(self.bench.core.chats.checked().count(), 0, "nobody stays engaged");
        for id in self.at.clone().into_iter().flatten() {
            self.bench.input(Input::Disconnected { connection: id });
        }
        assert!(self.bench.core.interactive.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_all_know_the_same_and_nobody_stays_busy(acts in acts()) {
        let mut world = World::new();
        for act in &acts {
            world.act(act);
            world.settle();
            world.check();
        }
        world.end();
    }
}
