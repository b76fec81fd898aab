//! Random events over two devices that keep to the re-send rules, ending in agreement of both sides: every message
//! that the network did not lose stands exactly once, and a new one goes through in both directions at first try.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{collection::vec, prelude::*};
use rand::{SeedableRng, rngs::StdRng};
use sotto_proto::{
    Envelope, SessionId,
    envelope::BodyHash,
    limits::{DAY_MS, MAX_GENERATION, RETENTION_MS},
};

use super::conversation::{End, ends};
use crate::{OpenError, PeerSessions, Purpose};

#[derive(Debug, Clone)]
enum Event {
    /// One side writes a message.
    Send(usize),
    /// The network delivers an envelope, not always the oldest.
    Deliver(usize, usize),
    /// It delivers one and keeps it.
    Double(usize, usize),
    /// It loses one.
    Lose(usize, usize),
    /// It delivers a damaged copy.
    Damage(usize, usize, usize),
    /// A side asks again for what did not open.
    Request(usize),
    /// Hours pass.
    Pass(u64),
    /// A side makes a handshake although it has a session.
    Restart(usize),
    /// A side replaces its signed prekeys.
    Rotate(usize),
    /// A side loses its sessions and all prekeys, and makes new ones.
    LoseKeys(usize),
    /// Who knows a side's private keys plants a session of this generation there under the other's name.
    Plant(usize, u64),
}

fn event() -> impl Strategy<Value = Event> {
    let side = 0usize..2;
    prop_oneof![
        8 => side.clone().prop_map(Event::Send),
        8 => (side.clone(), 0usize..100).prop_map(|(side, at)| Event::Deliver(side, at)),
        2 => (side.clone(), 0usize..100).prop_map(|(side, at)| Event::Double(side, at)),
        1 => (side.clone(), 0usize..100).prop_map(|(side, at)| Event::Lose(side, at)),
        1 => (side.clone(), 0usize..100, 0usize..4_000).prop_map(|(side, at, byte)| Event::Damage(side, at, byte)),
        2 => side.clone().prop_map(Event::Request),
        2 => (1u64..200).prop_map(Event::Pass),
        1 => side.clone().prop_map(Event::Restart),
        1 => side.clone().prop_map(Event::Rotate),
        1 => side.clone().prop_map(Event::LoseKeys),
        1 => (side, prop_oneof![0u64..5, Just(MAX_GENERATION)]).prop_map(|(side, generation)| Event::Plant(side, generation)),
    ]
}

/// What the test sends as content.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Message(u32),
    Request(Vec<BodyHash>),
    Resent(BodyHash, u32),
    Gone(BodyHash),
    Planted,
}

impl Content {
    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Message(id) => [&[0][..], &id.to_be_bytes()].concat(),
            Self::Request(hashes) => {
                let mut bytes = vec![1];
                for hash in hashes {
                    bytes.extend_from_slice(&hash.0);
                }
                bytes
            }
            Self::Resent(hash, id) => [&[2][..], &hash.0, &id.to_be_bytes()].concat(),
            Self::Gone(hash) => [&[3][..], &hash.0].concat(),
            Self::Planted => vec![4],
        }
    }

    fn decode(bytes: &[u8]) -> Self {
        let hash = |bytes: &[u8]| BodyHash(bytes.try_into().unwrap());
        let id = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
        match bytes[0] {
            0 => Self::Message(id(&bytes[1..])),
            1 => Self::Request(bytes[1..].chunks(32).map(hash).collect()),
            2 => Self::Resent(hash(&bytes[1..33]), id(&bytes[33..])),
            3 => Self::Gone(hash(&bytes[1..])),
            _ => Self::Planted,
        }
    }
}

struct Side {
    end: End,
    /// On the way to this side.
    inbox: Vec<Envelope>,
    /// Body hashes that were processed.
    processed: BTreeSet<BodyHash>,
    /// Messages that stand in the history.
    shown: BTreeSet<u32>,
    /// Bodies that did not open, with their sessions.
    rows: BTreeMap<BodyHash, SessionId>,
    /// What this side sealed.
    sealed: BTreeMap<BodyHash, (SessionId, Content)>,
}

struct World {
    rng: StdRng,
    now_ms: u64,
    sides: [Side; 2],
    next_message: u32,
    /// Who was to get which message, until the network lost it.
    expected: [BTreeSet<u32>; 2],
    /// Messages that the network lost at least once: they need not arrive.
    lost: BTreeSet<u32>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let now_ms = 1_700_000_000_000;
        let (a, b) = ends(&mut rng, now_ms);
        let sides = [a, b].map(|end| Side {
            end,
            inbox: Vec::new(),
            processed: BTreeSet::new(),
            shown: BTreeSet::new(),
            rows: BTreeMap::new(),
            sealed: BTreeMap::new(),
        });
        Self { rng, now_ms, sides, next_message: 0, expected: Default::default(), lost: BTreeSet::new() }
    }

    fn send(&mut self, from: usize, content: &Content, purpose: Purpose<'_>) {
        let [first, second] = &mut self.sides;
        let (from, to) = if from == 0 { (first, second) } else { (second, first) };
        let sealed =
            from.end.send(&mut self.rng, &mut to.end.device, &content.encode(), purpose, self.now_ms);
        from.sealed.insert(sealed.envelope.body_hash(), (sealed.session, content.clone()));
        to.inbox.push(sealed.envelope);
    }

    fn message(&mut self, from: usize) -> u32 {
        let id = self.next_message;
        self.next_message += 1;
        self.expected[1 - from].insert(id);
        self.send(from, &Content::Message(id), Purpose::Message);
        id
    }

    fn request(&mut self, from: usize) {
        let side = &self.sides[from];
        if side.rows.is_empty() {
            return;
        }
        let failed_in: Vec<SessionId> = side.rows.values().copied().collect();
        let hashes = side.rows.keys().copied().collect();
        self.send(from, &Content::Request(hashes), Purpose::ResendRequest { failed_in: &failed_in });
    }

    /// Delivers an envelope as a client would process it; whether it opened or was none of ours.
    fn deliver(&mut self, to: usize, envelope: &Envelope) -> bool {
        let side = &mut self.sides[to];
        let hash = envelope.body_hash();
        if side.processed.contains(&hash) {
            return true;
        }
        let Ok(body) = side.end.body(envelope) else { return true };
        side.processed.insert(hash);
        let opened = match side.end.receive(envelope, self.now_ms).unwrap() {
            Ok(opened) => opened,
            Err(OpenError::Source(error)) => panic!("{error}"),
            Err(_) => {
                side.rows.insert(hash, body.session());
                return false;
            }
        };
        let content = Content::decode(&opened.content);
        match content {
            Content::Message(id) => assert!(side.shown.insert(id), "message {id} stands twice"),
            Content::Resent(failed, id) => {
                // The row of a body that carried a message again may be the second one for that message: then it
                // goes, for the message stands already.
                if side.rows.remove(&failed).is_some() {
                    side.shown.insert(id);
                }
            }
            Content::Gone(failed) => {
                side.rows.remove(&failed);
            }
            Content::Planted => {}
            Content::Request(hashes) => self.answer(to, &hashes, opened.session),
        }
        true
    }

    fn answer(&mut self, by: usize, hashes: &[BodyHash], came_in: SessionId) {
        for hash in hashes {
            let side = &mut self.sides[by];
            let answer = match side.sealed.get(hash) {
                Some((session, content)) => {
                    let condemned = side.end.sessions.condemn(*session, came_in);
                    let answer = match content {
                        Content::Message(id) | Content::Resent(_, id) => Content::Resent(*hash, *id),
                        _ => Content::Gone(*hash),
                    };
                    side.end.store(&condemned);
                    answer
                }
                None => Content::Gone(*hash),
            };
            self.send(by, &answer, Purpose::Message);
        }
    }

    fn pick(&self, to: usize, at: usize) -> Option<usize> {
        at.checked_rem(self.sides[to].inbox.len())
    }

    fn happen(&mut self, event: &Event) {
        match *event {
            Event::Send(from) => {
                self.message(from);
            }
            Event::Deliver(to, at) => {
                if let Some(at) = self.pick(to, at) {
                    let envelope = self.sides[to].inbox.remove(at);
                    self.deliver(to, &envelope);
                }
            }
            Event::Double(to, at) => {
                if let Some(at) = self.pick(to, at) {
                    let envelope = self.sides[to].inbox[at].clone();
                    self.deliver(to, &envelope);
                }
            }
            Event::Lose(to, at) => {
                if let Some(at) = self.pick(to, at) {
                    let envelope = self.sides[to].inbox.remove(at);
                    let sealed = self.sides[1 - to].sealed.get(&envelope.body_hash());
                    if let Some((_, Content::Message(id))) = sealed {
                        self.lost.insert(*id);
                    }
                }
            }
            Event::Damage(to, at, byte) => {
                if let Some(at) = self.pick(to, at) {
                    let mut envelope = self.sides[to].inbox[at].clone();
                    let byte = byte % envelope.part2.len();
                    envelope.part2[byte] ^= 4;
                    let before = self.sides[to].end.sessions.to_bytes();
                    self.deliver(to, &envelope);
                    assert_eq!(*self.sides[to].end.sessions.to_bytes(), *before);
                }
            }
            Event::Request(from) => self.request(from),
            Event::Pass(hours) => {
                self.now_ms += hours * DAY_MS / 24;
                for side in &mut self.sides {
                    let pruned = side.end.sessions.prune(self.now_ms, RETENTION_MS);
                    side.end.store(&pruned);
                }
            }
            Event::Restart(from) => {
                let bundle = self.sides[1 - from].end.device.bundle(&mut self.rng, true, self.now_ms);
                let end = &mut self.sides[from].end;
                let next =
                    end.sessions.start(&mut self.rng, &end.pair, &bundle, Purpose::Message, self.now_ms);
                end.store(&next.unwrap());
            }
            Event::Rotate(side) => self.sides[side].end.device.rotate(&mut self.rng, self.now_ms),
            Event::LoseKeys(side) => {
                let end = &mut self.sides[side].end;
                end.sessions = PeerSessions::new();
                end.device.prekeys = super::device::Prekeys::default();
                end.device.rotate(&mut self.rng, self.now_ms);
            }
            Event::Plant(at, generation) => {
                let record = [&[1][..], &generation.saturating_sub(1).to_be_bytes(), &[0; 12]].concat();
                let forger = PeerSessions::from_bytes(&record).unwrap();
                let [first, second] = &mut self.sides;
                let (victim, other) = if at == 0 { (first, second) } else { (second, first) };
                let real = std::mem::replace(&mut other.end.sessions, forger);
                let planted = other.end.send(
                    &mut self.rng,
                    &mut victim.end.device,
                    &Content::Planted.encode(),
                    Purpose::Message,
                    self.now_ms,
                );
                other.end.sessions = real;
                victim.end.take(&planted.envelope, self.now_ms);
            }
        }
    }

    /// Delivers everything, in order, and answers and asks daily, until nothing is left to do.
    fn settle(&mut self) {
        // Handshakes of the prekeys' lifetime are not at issue here.
        for side in &mut self.sides {
            side.end.device.rotate(&mut self.rng, self.now_ms);
        }
        for _day in 0..12 {
            while self.sides.iter().any(|side| !side.inbox.is_empty()) {
                for to in 0..2 {
                    let inbox = std::mem::take(&mut self.sides[to].inbox);
                    for envelope in inbox {
                        self.deliver(to, &envelope);
                    }
                }
            }
            if self.sides.iter().all(|side| side.rows.is_empty()) {
                return;
            }
            self.now_ms += DAY_MS;
            self.request(0);
            self.request(1);
        }
        panic!("rows are left after twelve days: {:?}", self.sides.each_ref().map(|side| side.rows.len()));
    }

    /// A new message goes through in both directions; at first try once the sides have found together.
    fn agree(&mut self) {
        for from in [0, 1, 0, 1, 0, 1] {
            let id = self.message(from);
            self.settle();
            assert!(self.sides[1 - from].shown.contains(&id), "message {id} was shown");
        }
        for from in [0, 1] {
            self.message(from);
            let envelope = self.sides[1 - from].inbox.pop().unwrap();
            assert!(self.deliver(1 - from, &envelope), "the sides agree on a session");
        }
    }
}

/// Some seconds' worth, or as many as `PROPTEST_CASES` says.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(64)
}

proptest! {
    // Each step of shrinking plays a whole world; a few hundred say enough.
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 300, ..ProptestConfig::default() })]

    #[test]
    fn both_sides_agree_in_the_end(seed: u64, events in vec(event(), 1..80)) {
        let mut world = World::new(seed);
        for event in &events {
            world.happen(event);
        }
        world.settle();
        world.agree();
        for (side, expected) in world.sides.iter().zip(&world.expected) {
            let missing: Vec<_> = expected.difference(&side.shown).filter(|id| !world.lost.contains(id)).collect();
            prop_assert!(missing.is_empty(), "messages {missing:?} are missing");
            prop_assert!(side.shown.is_subset(expected), "a message that nobody sent is shown");
        }
    }
}
