//! Two devices and the network between them, driven by the input.
//!
//! What arrives undamaged opens to what was sent, once; what is damaged, or comes again, is refused and changes nothing. What
//! the bounds drop is refused as gone. Storing and reading back changes nothing at any moment. In the end both send in one
//! session.

use std::collections::BTreeSet;

use rand::{SeedableRng, rngs::StdRng};
use sotto_crypto::{OpenError, PeerSessions, Purpose, SealError, fuzzing, open_sender};
use sotto_proto::{
    Envelope, SessionId,
    limits::{DAY_MS, MAX_SESSIONS_PER_DEVICE, MAX_SKIPPED_KEYS, RETENTION_MS},
};

use crate::{
    input::Input,
    world::{BUNDLES, Device, NOW_MS, Prekeys, devices},
};

/// Steps of one run, and messages: enough for more sessions than are kept, and for two KEM steps.
const MAX_STEPS: usize = 100;
const MAX_SEALED: usize = 150;
/// Reading back is the slowest part of a step.
const READ_BACK_EVERY: usize = 4;
/// Below the prekeys' lifetime of 180 days.
const MAX_DAYS: u64 = 150;
/// Envelopes on the way to one side.
const MAX_ON_THE_WAY: usize = 64;

struct OnTheWay {
    envelope: Envelope,
    content: Vec<u8>,
    session: SessionId,
    sealed_ms: u64,
    opened: bool,
}

struct Side {
    device: &'static Device,
    prekeys: Prekeys,
    sessions: PeerSessions,
    /// Every session that was ever there.
    seen: BTreeSet<SessionId>,
    inbox: Vec<OnTheWay>,
    bundles: usize,
    stored: usize,
}

struct World {
    rng: StdRng,
    now_ms: u64,
    sides: [Side; 2],
    sealed: usize,
    condemned: bool,
}

/// A run.
pub fn session(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new();
    for _ in 0..MAX_STEPS {
        if input.is_empty() || world.sealed >= MAX_SEALED {
            break;
        }
        world.step(&mut input);
    }
    world.end();
}

impl World {
    fn new() -> Self {
        let sides = devices().each_ref().map(|device| Side {
            device,
            prekeys: Prekeys::of(device),
            sessions: PeerSessions::new(),
            seen: BTreeSet::new(),
            inbox: Vec::new(),
            bundles: 0,
            stored: 0,
        });
        Self { rng: StdRng::seed_from_u64(9), now_ms: NOW_MS, sides, sealed: 0, condemned: false }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let decision = input.u8();
        let side = usize::from(decision & 1);
        match (decision >> 1) % 12 {
            0..=2 => {
                let content = input.take(usize::from(decision >> 5)).to_vec();
                self.send(side, content);
            }
            3..=5 => {
                let at = usize::from(input.u8());
                self.deliver(side, at, false);
            }
            6 => {
                let at = usize::from(input.u8());
                self.deliver(side, at, true);
            }
            7 => {
                let at = usize::from(input.u8());
                let inbox = &mut self.sides[side].inbox;
                if !inbox.is_empty() {
                    inbox.remove(at % inbox.len());
                }
            }
            8 => self.damage(side, input),
            9 => {
                let hours = u64::from(input.u8());
                self.now_ms = (self.now_ms + hours * DAY_MS / 24).min(NOW_MS + MAX_DAYS * DAY_MS);
                for side in &mut self.sides {
                    let pruned = side.sessions.prune(self.now_ms, RETENTION_MS);
                    side.store(pruned);
                    // The server keeps nothing longer.
                    side.inbox.retain(|sent| self.now_ms - sent.sealed_ms < RETENTION_MS);
                }
            }
            10 => self.start(side),
            _ if decision & 0x80 == 0 => {
                for _ in 0..input.u8() % 60 {
                    self.send(side, vec![decision]);
                }
            }
            _ => self.condemn(side, input),
        }
    }

    fn start(&mut self, from: usize) {
        let [first, second] = &mut self.sides;
        let (from, to) = if from == 0 { (first, second) } else { (second, first) };
        // The one-time keys of a device are used up at some time.
        let bundle = if to.bundles < BUNDLES {
            to.bundles += 1;
            &to.device.bundles[to.bundles - 1]
        } else {
            &to.device.last_resort
        };
        let next =
            from.sessions.start(&mut self.rng, &from.device.pair, bundle, Purpose::Message, self.now_ms);
        from.store(next.unwrap());
    }

    fn send(&mut self, from: usize, content: Vec<u8>) {
        if self.sides[1 - from].inbox.len() >= MAX_ON_THE_WAY {
            return;
        }
        if self.sides[from].sessions.needs_bundle(Purpose::Message, self.now_ms).is_some() {
            let side = &self.sides[from];
            let refused =
                side.sessions.seal(&mut self.rng, &side.device.pair, &content, Purpose::Message, self.now_ms);
            assert!(matches!(refused.err(), Some(SealError::NeedsBundle(_))));
            self.start(from);
        }
        let side = &mut self.sides[from];
        let sealed = side
            .sessions
            .seal(&mut self.rng, &side.device.pair, &content, Purpose::Message, self.now_ms)
            .unwrap();
        assert_eq!(side.sessions.sending_session(self.now_ms), Some(sealed.session));
        side.store(sealed.next);
        self.sealed += 1;
        self.sides[1 - from].inbox.push(OnTheWay {
            envelope: Envelope::parse(&sealed.envelope.encode()).unwrap(),
            content,
            session: sealed.session,
            sealed_ms: self.now_ms,
            opened: false,
        });
    }

    /// Delivers one of the envelopes on the way; `keep` leaves it there, to come again. Answers in which session it came, if that
    /// one was dropped.
    fn deliver(&mut self, to: usize, at: usize, keep: bool) -> Option<SessionId> {
        let side = &mut self.sides[to];
        if side.inbox.is_empty() {
            return None;
        }
        let at = at % side.inbox.len();
        let gone = side.receive(at, self.now_ms);
        if !keep {
            side.inbox.remove(at);
        }
        gone
    }

    /// The same, and its sender is asked for what came in a dropped session: it sends in that one no more.
    fn deliver_and_ask(&mut self, to: usize) {
        if let Some(gone) = self.deliver(to, 0, false) {
            let from = &mut self.sides[1 - to];
            from.store(from.sessions.condemn(gone, SessionId([0; 16])));
        }
    }

    fn damage(&mut self, to: usize, input: &mut Input<'_>) {
        let side = &self.sides[to];
        if side.inbox.is_empty() {
            return;
        }
        let sent = &side.inbox[input.below(side.inbox.len())];
        let real = sent.envelope.encode();
        let forged = input.forged(&real);
        if forged == real {
            return;
        }
        let before = side.sessions.to_bytes();
        let Ok(envelope) = Envelope::parse(&forged) else { return };
        let body = open_sender(&side.device.secret, &envelope)
            .and_then(|opening| opening.open_body(&side.device.pair));
        assert!(body.is_err_and(|error| error.is_nobodys()), "a damaged envelope opened");
        // Behind the seal: what only the peer could do.
        let body = open_sender(&side.device.secret, &sent.envelope).unwrap();
        let body = body.open_body(&side.device.pair).unwrap();
        let message = fuzzing::message(&body);
        let forged = input.forged(message);
        if forged != message {
            let body = fuzzing::body(body.kind(), body.session(), forged);
            let opened = side.sessions.open(&side.device.pair, &body, &side.prekeys, self.now_ms);
            assert!(opened.is_err(), "a damaged message opened");
        }
        assert_eq!(*side.sessions.to_bytes(), *before, "a damaged message changed the state");
    }

    /// A side will not send in one of its sessions any more, because the peer cannot read it.
    fn condemn(&mut self, side: usize, input: &mut Input<'_>) {
        let side = &mut self.sides[side];
        let sessions: Vec<SessionId> = side.sessions.sessions().collect();
        if let Some(session) = sessions.get(input.below(sessions.len())) {
            let next = side.sessions.condemn(*session, SessionId([0; 16]));
            assert_ne!(next.sending_session(self.now_ms), Some(*session));
            side.store(next);
            self.condemned = true;
        }
    }

    /// Everything arrives, in order; then a few messages back and forth, and both are in one session.
    fn end(&mut self) {
        for to in [0, 1] {
            while !self.sides[to].inbox.is_empty() {
                self.deliver_and_ask(to);
            }
        }
        for round in 0..3_u8 {
            for from in [0, 1] {
                self.send(from, vec![round]);
                self.deliver_and_ask(1 - from);
            }
        }
        let [first, second] = self.sides.each_ref().map(|side| side.sessions.sending_session(self.now_ms));
        if !self.condemned {
            assert_eq!(first, second, "the sides do not find together");
            assert!(first.is_some());
        }
    }
}

impl Side {
    /// Takes the next state, now and then through the store.
    fn store(&mut self, next: PeerSessions) {
        self.stored += 1;
        self.sessions = if self.stored.is_multiple_of(READ_BACK_EVERY) {
            let bytes = next.to_bytes();
            let read = PeerSessions::from_bytes(&bytes).unwrap();
            assert_eq!(*read.to_bytes(), *bytes, "storing changed the state");
            read
        } else {
            next
        };
        let sessions: Vec<SessionId> = self.sessions.sessions().collect();
        assert!(sessions.len() <= MAX_SESSIONS_PER_DEVICE);
        assert!(fuzzing::skipped_keys(&self.sessions) <= MAX_SKIPPED_KEYS * sessions.len());
        self.seen.extend(sessions);
    }

    /// Takes one of the envelopes. Answers in which session it came, if that one was dropped.
    fn receive(&mut self, at: usize, now_ms: u64) -> Option<SessionId> {
        let sent = &mut self.inbox[at];
        let opening = open_sender(&self.device.secret, &sent.envelope).unwrap();
        assert_eq!(opening.certificate(), self.device.pair.theirs());
        let body = opening.open_body(&self.device.pair).unwrap();
        assert_eq!(body.session(), sent.session);
        let here = self.sessions.sessions().any(|session| session == sent.session);
        let dropped = !here && self.seen.contains(&sent.session);
        match self.sessions.open(&self.device.pair, &body, &self.prekeys, now_ms) {
            Ok(opened) => {
                assert!(!sent.opened, "a message opened twice");
                assert!(!dropped);
                assert_eq!(*opened.content, sent.content);
                assert_eq!(opened.session, sent.session);
                sent.opened = true;
                self.prekeys.consume(&opened.consumed);
                self.store(opened.next);
                None
            }
            Err(error) => {
                assert!(sent.opened || dropped, "an undamaged message was refused: {error}");
                assert_eq!(matches!(error, OpenError::GoneSession), dropped, "{error}");
                dropped.then_some(sent.session)
            }
        }
    }
}
