//! Warnings of messages that did not arrive. Whoever wrote them saw them leave or wait, and may have another program open
//! by now, or none.

use std::collections::{BTreeMap, BTreeSet};

use sotto_proto::MessageId;

use super::{
    Core, CoreError, Step,
    due::{MAYBE_COPIED, MAYBE_SENT},
    fates::UNHEARD_OF,
};
use crate::{api::Fate, store::StoredMessage};

/// Lines at once; what is beyond is counted together.
const LINES: usize = 5;
/// As long as more come so soon after each other, milliseconds: what a clock ends in many small steps is said in few lines.
const MORE_MS: u64 = 100;
/// But no longer than this.
const AT_LAST_MS: u64 = 10_000;
/// Messages that are remembered until they are told of: more than a day's work finds at a time.
const REMEMBERED: usize = 20_000;
/// Whoever wrote a message that is refused so soon is told by the program in which they wrote it.
const STILL_THERE_MS: u64 = 5_000;

/// Messages that did not arrive and of which nobody was told, since when there are some, and whether one has just come.
#[derive(Debug, Default)]
pub(super) struct Undelivered {
    messages: BTreeSet<MessageId>,
    since_ms: Option<u64>,
    fresh: bool,
}

impl Undelivered {
    /// A message has come to this.
    pub(super) fn note(&mut self, row: &StoredMessage, fate: Fate, reason: Option<&str>, now_ms: u64) {
        let lost = match fate {
            Fate::Expired => true,
            Fate::Stored => reason == Some(UNHEARD_OF),
            Fate::Refused | Fate::UnknownUser => {
                let left = row.fate >= Some(Fate::Stored);
                left || now_ms.abs_diff(row.received_ms) > STILL_THERE_MS
            }
            _ => false,
        };
        if lost {
            self.look_at(row.message, now_ms);
        }
    }

    /// Something has ended that may have come to this.
    pub(super) fn look_at(&mut self, message: MessageId, now_ms: u64) {
        if self.messages.len() < REMEMBERED && self.messages.insert(message) {
            self.fresh = true;
            self.since_ms.get_or_insert(now_ms);
        }
    }

    /// Whether there is something to be told within moments.
    pub(super) fn untold(&self) -> bool {
        !self.messages.is_empty()
    }

    /// Its sender knows.
    pub(super) fn forget(&mut self, message: &MessageId) {
        self.messages.remove(message);
    }
}

impl Core {
    /// Warns of messages that did not arrive, a line for each conversation and reason. Answers when there is more to say.
    pub(super) fn tell_undelivered(&mut self, step: &mut Step<'_, '_>) -> Result<Option<u64>, CoreError> {
        // The server is asked a page at a time.
        if self.undelivered.messages.is_empty() || self.requests.asks_fates() {
            return Ok(None);
        }
        let since_ms = self.undelivered.since_ms.unwrap_or(step.now_ms);
        let waits = (since_ms..since_ms.saturating_add(AT_LAST_MS)).contains(&step.now_ms);
        if std::mem::take(&mut self.undelivered.fresh) && waits {
            return Ok(Some(step.now_ms.saturating_add(MORE_MS)));
        }
        self.undelivered.since_ms = None;
        let mut lines: BTreeMap<(String, String, String), usize> = BTreeMap::new();
        for message in std::mem::take(&mut self.undelivered.messages) {
            let Some(row) = step.tx.sent_message(&message)? else { continue };
            let Some(became) = became(&row) else { continue };
            // What is still in the outbox may leave yet.
            if step.tx.entry_of(&message)?.is_some() {
                continue;
            }
            let (whom, place) = if row.conversation == self.me.account {
                ("your other devices".to_owned(), "@me".to_owned())
            } else {
                let name = self.conversation_name(step.tx, &row)?;
                let place = if name.starts_with("id:") { name.clone() } else { format!("@{name}") };
                (name, place)
            };
            let why = row.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            *lines.entry((whom, place, format!("{became}{why}"))).or_default() += 1;
        }
        let others: usize = lines.values().skip(LINES).sum();
        for ((whom, place, became), count) in lines.into_iter().take(LINES) {
            let messages = if count == 1 { "a message".to_owned() } else { format!("{count} messages") };
            step.warn(format!("{messages} to {whom} {became}; sotto history {place}"));
        }
        if others > 0 {
            step.warn(format!("{others} more messages did not arrive, or may not have; sotto history"));
        }
        Ok(None)
    }
}

/// In words, if it did not arrive.
fn became(row: &StoredMessage) -> Option<&'static str> {
    let reason = row.reason.as_deref().unwrap_or_default();
    match row.fate? {
        Fate::Expired if [MAYBE_SENT, MAYBE_COPIED].contains(&reason) => Some("may not have arrived"),
        Fate::Expired => Some("did not arrive in time"),
        Fate::Stored if reason == UNHEARD_OF => Some("may not have arrived"),
        Fate::Refused | Fate::UnknownUser => Some("did not arrive"),
        _ => None,
    }
}
