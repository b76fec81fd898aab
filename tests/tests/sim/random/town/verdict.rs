//! What must be true once everything has come to rest. It is worked out from what was typed and from what was seen at the
//! wires and at the server's store, never from what the clients believe.

use std::collections::{BTreeMap, BTreeSet};

use sotto_client::{
    api::{Fate, Reply, Row, RowBody},
    store::{CopyFate, StoreError},
};
use sotto_proto::{
    DeviceId, MessageId,
    content::kind,
    limits::{DAY_MS, FATE_MARGIN_MS, OUTBOX_LIFETIME_MS},
};

use super::steps::{MARKER, Town, Typed};
use crate::world::{Place, SeenEnvelope};

/// What the client says of a mailbox that lost something.
const HOLE: &str = "messages waited on the server for longer than it keeps them";
/// What it says of news of the own account.
const NEWS: [&str; 2] = ["a device was added to your account", "a device was removed from your account"];
/// What it says once others may have had no keys to write to it with.
const LEFT_OUT: &str = "this device was away for so long that its keys have expired";
/// What it says of a message from a device that was removed.
const REMOVED: &str = "it comes from a device that ";
/// A receipt may miss its message's sender where one of the two was away for so long: it waited longer than an outbox
/// keeps it. Clocks may differ by less than a day.
const LONG_MS: u64 = OUTBOX_LIFETIME_MS - DAY_MS;

/// A message as its sender has it.
struct Sent {
    row: Row,
    reason: Option<String>,
    /// What became of each copy.
    fates: BTreeMap<DeviceId, CopyFate>,
}

pub(super) struct Verdict<'t> {
    town: &'t Town,
    screens: Vec<Vec<Row>>,
    /// By sender, in the order of the sender's screen, what stands in its history of what was typed on it.
    sent: BTreeMap<usize, Vec<(Typed, Sent)>>,
    envelopes: BTreeMap<(usize, MessageId, DeviceId), Vec<SeenEnvelope>>,
    /// Devices that the server's list has.
    listed: BTreeSet<usize>,
}

/// Looks at everything, and says what is wrong by panicking.
pub(super) fn judge(town: &mut Town) -> Vec<Vec<String>> {
    let devices = town.world.devices.len();
    let listed: BTreeSet<usize> = town.listed().collect();
    for device in &listed {
        assert!(
            town.world.connected(*device),
            "device {device} is not there: {:?}",
            town.world.devices[*device].closed
        );
    }
    let screens: Vec<Vec<Row>> = (0..devices).map(|device| town.world.rows(device)).collect();
    let sent = sent(town, &screens);
    let mut envelopes: BTreeMap<_, Vec<SeenEnvelope>> = BTreeMap::new();
    for seen in town.world.observed.as_ref().unwrap().envelopes.values() {
        envelopes.entry((seen.from, seen.message, seen.to)).or_default().push(seen.clone());
    }
    let verdict = Verdict { town, screens, sent, envelopes, listed };
    verdict.check_typed();
    for (device, rows) in verdict.screens.iter().enumerate() {
        verdict.check_screen(device, rows);
    }
    for (from, messages) in &verdict.sent {
        for (typed, sent) in messages {
            verdict.check_message(*from, typed, sent);
        }
        verdict.check_order(*from);
    }
    verdict.summary()
}

fn text(row: &Row) -> &str {
    match &row.body {
        RowBody::Text(text) => text,
        RowBody::Undecryptable(_) | RowBody::Newer(_) => "",
    }
}

/// What stands in the senders' histories of what was typed, each with its copies.
fn sent(town: &mut Town, screens: &[Vec<Row>]) -> BTreeMap<usize, Vec<(Typed, Sent)>> {
    let typed: BTreeMap<&str, &Typed> = town.typed.iter().map(|typed| (typed.text.as_str(), typed)).collect();
    let mut sent: BTreeMap<usize, Vec<(Typed, Sent)>> = BTreeMap::new();
    for (device, rows) in screens.iter().enumerate() {
        for row in rows.iter().filter(|row| row.outgoing) {
            let Some(typed) = typed.get(text(row)).filter(|typed| typed.device == device) else { continue };
            let known: Result<_, StoreError> = town.world.devices[device].store.transaction(|tx| {
                let said = tx.sent_message(&row.message)?;
                Ok((tx.fates_of(&row.message)?, said.and_then(|said| said.reason)))
            });
            let (fates, reason) = known.unwrap();
            let fates: BTreeMap<DeviceId, CopyFate> =
                fates.into_iter().map(|fate| (fate.device, fate)).collect();
            sent.entry(device)
                .or_default()
                .push(((*typed).clone(), Sent { row: row.clone(), reason, fates }));
        }
    }
    sent
}

impl Verdict<'_> {
    /// What was answered is in the history, and what was refused is not.
    fn check_typed(&self) {
        for typed in &self.town.typed {
            let there = self
                .sent
                .get(&typed.device)
                .is_some_and(|sent| sent.iter().any(|(other, _)| other.command == typed.command));
            match self.town.world.devices[typed.device].replies.get(&typed.command) {
                Some(Ok(Reply::Queued { .. })) => assert!(there, "{typed:?} was accepted and is not there"),
                Some(other) => panic!("{typed:?} was answered {other:?}"),
                // The device died before it answered: either way.
                None => {}
            }
        }
    }

    /// No row twice, and none that says nothing.
    fn check_screen(&self, device: usize, rows: &[Row]) {
        let mut seen = BTreeSet::new();
        let holes = rows.iter().filter(|row| says(row, HOLE)).count();
        let revoked = self.town.world.devices.len() > self.listed.len();
        for row in rows {
            match &row.body {
                RowBody::Text(text) => {
                    assert!(text.starts_with(MARKER), "device {device}: {row:?}");
                    assert!(seen.insert(text), "device {device} has twice: {text}");
                }
                RowBody::Undecryptable(text) => {
                    let news = [HOLE, LEFT_OUT].iter().chain(&NEWS).any(|news| text.starts_with(news));
                    let removed = revoked && text.starts_with(REMOVED);
                    assert!(news || removed, "device {device} cannot read: {row:?}");
                }
                RowBody::Newer(_) => panic!("device {device}: {row:?}"),
            }
        }
        if self.listed.contains(&device) {
            let id = self.town.world.devices[device].id;
            let expired = self.seen_to(id).any(|seen| matches!(seen.place, Place::Expired { .. }));
            assert!(holes == 0 || expired, "device {device} shows {holes} holes, and nothing has expired");
            let waits = self.seen_to(id).find(|seen| matches!(seen.place, Place::Waiting { .. }));
            assert!(waits.is_none(), "device {device} has not taken: {waits:?}");
        }
    }

    fn seen_to(&self, device: DeviceId) -> impl Iterator<Item = &SeenEnvelope> {
        self.envelopes.range(..).filter(move |((_, _, to), _)| *to == device).flat_map(|(_, seen)| seen)
    }

    fn copies(&self, from: usize, message: MessageId, to: usize) -> &[SeenEnvelope] {
        let key = (from, message, self.town.world.devices[to].id);
        self.envelopes.get(&key).map_or(&[][..], Vec::as_slice)
    }

    fn check_message(&self, from: usize, typed: &Typed, sent: &Sent) {
        let own = self.town.account(from);
        let mut best = None;
        for to in 0..self.screens.len() {
            let account = self.town.account(to);
            if to == from || (account != typed.to && account != own) {
                continue;
            }
            let fate = sent.fates.get(&self.town.world.devices[to].id).map(|fate| fate.state);
            if account == typed.to {
                best = best.max(fate);
            }
            self.check_copy(from, to, typed, sent, fate);
        }
        // A device that was added and never came is in the list as well.
        let strangers = sent
            .fates
            .values()
            .filter(|fate| !self.town.world.devices.iter().any(|device| device.id == fate.device));
        best = best.max(strangers.map(|fate| Some(fate.state)).max().flatten());
        if !self.listed.contains(&from) {
            return;
        }
        let fate = sent.row.fate.unwrap();
        if let Some(best) = best {
            assert_eq!(fate, best, "device {from}: {typed:?} has {:?}", sent.fates);
            let reason = sent.reason.as_deref().unwrap_or_default();
            let said = reason.contains("longer than the server remembers");
            assert_eq!(best == Fate::Stored, said, "device {from}: {typed:?}: {reason}, {:?}", sent.fates);
        } else {
            let waited = self.waited_ms(from, sent);
            assert!(
                fate == Fate::Expired && waited >= OUTBOX_LIFETIME_MS,
                "device {from}: {typed:?} is {fate:?} after {waited} ms, and no copy was stored"
            );
        }
    }

    /// For how long a message has been written, by its sender's clock.
    fn waited_ms(&self, from: usize, sent: &Sent) -> u64 {
        let clock_ms = self.town.world.devices[from].clock_ms(self.town.world.now_ms);
        clock_ms.saturating_sub(sent.row.received_ms)
    }

    /// One device's copy of a message.
    fn check_copy(&self, from: usize, to: usize, typed: &Typed, sent: &Sent, fate: Option<Fate>) {
        let copies = self.copies(from, sent.row.message, to);
        let shown = self.screens[to].iter().any(|row| text(row) == typed.text);
        let taken = copies.iter().any(|copy| matches!(copy.place, Place::Taken { .. }));
        let expired = copies.iter().any(|copy| matches!(copy.place, Place::Expired { .. }));
        let context =
            || format!("{typed:?} at device {to}: {:?}, {:?}, {copies:?}", sent.row.fate, sent.fates);
        let stored = copies.iter().any(|copy| copy.place != Place::Sent);
        assert!(!shown || stored, "it is shown and was not stored: {}", context());
        if matches!(fate, Some(Fate::Delivered | Fate::Read)) {
            assert!(shown, "it is not shown: {}", context());
        }
        if !self.listed.contains(&to) {
            return;
        }
        if !self.listed.contains(&from) {
            let rows = &self.screens[to];
            let removed = rows.iter().any(|row| says(row, REMOVED));
            assert!(!taken || shown || removed, "it was fetched and is not shown: {}", context());
            return;
        }
        assert!(!taken || shown, "it was fetched and is not shown: {}", context());
        let hole = self.screens[to].iter().any(|row| says(row, HOLE));
        assert!(shown || !expired || hole, "its reader is not told: {}", context());
        if !shown && !expired && self.is_due(from, to, sent) {
            let waited = self.waited_ms(from, sent);
            // With no good keys of a device, its sender does not wait for it.
            let left_out =
                fate == Some(Fate::Expired) && self.screens[to].iter().any(|row| says(row, LEFT_OUT));
            let why = format!("it was not stored after {waited} ms: {}", context());
            assert!(waited >= OUTBOX_LIFETIME_MS || left_out, "{why}");
            // Where nobody has it, that is said of the whole message.
            let reached =
                sent.fates.values().any(|fate| fate.account == self.town.world.accounts[typed.to].id);
            let told = fate.or_else(|| sent.row.fate.filter(|_| !reached));
            assert_eq!(told, Some(Fate::Expired), "its sender is not told: {}", context());
        }
        if self.town.account(to) == typed.to {
            self.check_fate(from, to, sent, (shown, expired, fate), &context);
        }
    }

    fn check_fate(
        &self,
        from: usize,
        to: usize,
        sent: &Sent,
        (shown, expired, fate): (bool, bool, Option<Fate>),
        context: &dyn Fn() -> String,
    ) {
        match fate {
            Some(Fate::Delivered) => assert!(shown, "it is not shown: {}", context()),
            Some(Fate::Taken) if shown => {
                let lost =
                    self.receipts_lost(to, from) || self.silent(from, LONG_MS) || self.silent(to, LONG_MS);
                assert!(lost, "the receipt is missing: {}", context());
            }
            // The server forgets 14 days after it would have removed it, and this device did not ask in time.
            Some(Fate::Stored) => {
                let told = self.could_be_told(from, to, sent);
                assert!(!told, "the server could have told: {}", context());
            }
            // Its reader had it and could not say so to the server in time: only the receipt can tell.
            Some(Fate::Expired) if shown => {
                let lost =
                    self.receipts_lost(to, from) || self.silent(from, LONG_MS) || self.silent(to, LONG_MS);
                let told = (expired && lost) || self.unknowable(from, sent);
                assert!(told, "it was fetched: {}", context());
            }
            Some(Fate::Expired) => {}
            None if self.unknowable(from, sent) => {}
            None => assert!(!shown && !expired, "its sender is told nothing: {}", context()),
            _ => panic!("its sender is told something else: {}", context()),
        }
    }

    /// Whether a device was once told what became of its copies while the server knew it of this one.
    fn could_be_told(&self, from: usize, to: usize, sent: &Sent) -> bool {
        let told_ms = &self.town.world.devices[from].fates_told_ms;
        let retention_ms = self.town.world.config.retention_ms;
        self.copies(from, sent.row.message, to).iter().any(|copy| {
            let (stored_ms, since_ms) = match copy.place {
                // After a sleep of all machines it may have been taken later still.
                Place::Taken { stored_ms, taken_ms } => (stored_ms, taken_ms.max(stored_ms + retention_ms)),
                // The sweep comes after the end of the retention time, and after a sleep of all machines later still.
                Place::Expired { stored_ms, removed_ms } => (stored_ms, removed_ms),
                Place::Waiting { .. } | Place::Sent => return false,
            };
            let known = since_ms + 1..stored_ms + retention_ms + FATE_MARGIN_MS;
            told_ms.iter().any(|told_ms| known.contains(told_ms))
        })
    }

    /// Whether the sender cannot know any more that the server had a message, or a copy of it: the answer was lost, and it was
    /// away for longer than the server remembers. It has to say so.
    fn unknowable(&self, from: usize, sent: &Sent) -> bool {
        let reason = sent.reason.as_deref().unwrap_or_default();
        (reason.contains("cannot be known any more") || reason.contains("longer than the server remembers"))
            && self.silent(from, LONG_MS)
            && self.waited_ms(from, sent) >= self.town.world.config.retention_ms + FATE_MARGIN_MS
    }

    /// Whether a copy must have been made for a device: its keys were there when the sender's connection began on which
    /// something of the message was stored.
    fn is_due(&self, from: usize, to: usize, sent: &Sent) -> bool {
        let keyed = &self.town.world.observed.as_ref().unwrap().keyed;
        let Some(keyed) = keyed.get(&self.town.world.devices[to].id) else { return false };
        self.envelopes
            .iter()
            .filter(|((other, message, _), _)| *other == from && *message == sent.row.message)
            .flat_map(|(_, copies)| copies)
            .any(|copy| copy.user && copy.place != Place::Sent && copy.connection > *keyed)
    }

    fn receipts_lost(&self, from: usize, to: usize) -> bool {
        let id = self.town.world.devices[to].id;
        self.seen_to(id).any(|seen| {
            seen.from == from && seen.kind == kind::DELIVERED && !matches!(seen.place, Place::Taken { .. })
        })
    }

    /// Whether a device has once heard nothing of the server for so long.
    fn silent(&self, device: usize, ms: u64) -> bool {
        self.town.world.devices[device].silences.iter().any(|(since_ms, until_ms)| until_ms - since_ms >= ms)
    }

    /// What one device wrote stands on each screen in the order in which it was written.
    fn check_order(&self, from: usize) {
        let written: Vec<&str> = self.sent[&from].iter().map(|(typed, _)| typed.text.as_str()).collect();
        let place: BTreeMap<&str, usize> =
            written.iter().enumerate().map(|(place, text)| (*text, place)).collect();
        for (device, rows) in self.screens.iter().enumerate() {
            let mut last = BTreeMap::new();
            for row in rows {
                if let Some(here) = place.get(text(row)) {
                    let conversation = &row.conversation;
                    let before = last.insert(conversation, *here);
                    assert!(before < Some(*here), "device {device}, of {from}: {row:?} is out of order");
                }
            }
        }
    }

    fn summary(&self) -> Vec<Vec<String>> {
        let line = |row: &Row| format!("{:?} {:?} {:?}", row.from, row.body, row.fate);
        self.screens.iter().map(|rows| rows.iter().map(line).collect()).collect()
    }
}

fn says(row: &Row, what: &str) -> bool {
    matches!(&row.body, RowBody::Undecryptable(text) if text.starts_with(what))
}
