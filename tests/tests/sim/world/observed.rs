//! What happened at the wires and at the server's store, noted beside the cores: what a verdict goes by.

use std::collections::BTreeMap;

use sotto_proto::{DeviceId, FateTag, MessageId, frame::Outcome, frame::Submit};
use sotto_server::core::{StoreCall, StoreReply};
use sotto_store::AckOutcome;

use super::World;

/// What became of an envelope at the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// It was sent, and not stored.
    Sent,
    /// It waits in the mailbox since.
    Waiting { stored_ms: u64 },
    /// It was acked.
    Taken { stored_ms: u64, taken_ms: u64 },
    /// It was removed past its time.
    Expired { stored_ms: u64, removed_ms: u64 },
}

/// An envelope that some device has sent.
#[derive(Debug, Clone)]
pub(crate) struct SeenEnvelope {
    /// The index of its sender.
    pub(crate) from: usize,
    /// Its recipient.
    pub(crate) to: DeviceId,
    /// The message it is a copy of.
    pub(crate) message: MessageId,
    /// Whether it is a message of the user's.
    pub(crate) user: bool,
    /// The content's kind.
    pub(crate) kind: u16,
    /// On which connection of its sender it was last sent before it was stored; they are numbered as they began.
    pub(crate) connection: u64,
    /// Where it is.
    pub(crate) place: Place,
}

/// Everything that was noted.
#[derive(Default)]
pub(crate) struct Observed {
    /// By fate tag.
    pub(crate) envelopes: BTreeMap<FateTag, SeenEnvelope>,
    /// The last connection that began before a device's keys were at the server.
    pub(crate) keyed: BTreeMap<DeviceId, u64>,
}

impl World {
    /// A device sends a Submit: which envelope is a copy of what stands in its store.
    pub(super) fn note_submit(&mut self, index: usize, submit: &Submit) {
        let device = &mut self.devices[index];
        let connection = device.connection.map_or(0, |connection| connection.0);
        let Some(observed) = self.observed.as_mut() else { return };
        let entries = device.store.transaction(|tx| {
            let entries = tx.submission_entries(&submit.submission)?;
            entries
                .into_iter()
                .map(|entry| Ok((tx.copies(entry.entry)?, entry)))
                .collect::<Result<Vec<_>, _>>()
        });
        let entries: Vec<_> =
            entries.map_err(|error: sotto_client::store::StoreError| error.to_string()).unwrap();
        for (copies, entry) in entries {
            for copy in copies {
                let again = |seen: &mut SeenEnvelope| {
                    if seen.place == Place::Sent {
                        seen.connection = connection;
                    }
                };
                observed.envelopes.entry(copy.tag).and_modify(again).or_insert(SeenEnvelope {
                    from: index,
                    to: copy.device,
                    message: entry.message,
                    user: entry.user,
                    kind: entry.kind,
                    connection,
                    place: Place::Sent,
                });
            }
        }
    }

    /// What the store has done.
    pub(super) fn note_stored(&mut self, call: &Noted, reply: &StoreReply) {
        let (now_ms, connection) = (self.now_ms, self.next_connection);
        let Some(observed) = self.observed.as_mut() else { return };
        match (call, reply) {
            (Noted::Append(tags), StoreReply::Appended(appended)) => {
                let outcomes = appended.submitted.devices.iter().zip(&appended.numbers);
                for (tag, (outcome, number)) in tags.iter().zip(outcomes) {
                    if number.is_some()
                        && matches!(outcome.outcome, Outcome::Stored { .. })
                        && let Some(seen) = observed.envelopes.get_mut(tag)
                    {
                        seen.place = Place::Waiting { stored_ms: now_ms };
                    }
                }
            }
            (Noted::Keys(device), StoreReply::PrekeyCounts(counts)) if counts.signed.is_some() => {
                observed.keyed.entry(*device).or_insert(connection);
            }
            (Noted::Other, StoreReply::Acked(AckOutcome::Removed(tags))) => {
                for tag in tags {
                    if let Some(seen) = observed.envelopes.get_mut(tag)
                        && let Place::Waiting { stored_ms } | Place::Expired { stored_ms, .. } = seen.place
                    {
                        seen.place = Place::Taken { stored_ms, taken_ms: now_ms };
                    }
                }
            }
            (Noted::Expire { retention_ms }, StoreReply::Expired(count)) if *count > 0 => {
                for seen in observed.envelopes.values_mut() {
                    if let Place::Waiting { stored_ms } = seen.place
                        && stored_ms + retention_ms <= now_ms
                    {
                        seen.place = Place::Expired { stored_ms, removed_ms: now_ms };
                    }
                }
            }
            _ => {}
        }
    }
}

/// What of a call of the store has to be known when it is answered.
pub(super) enum Noted {
    Append(Vec<FateTag>),
    Keys(DeviceId),
    Expire { retention_ms: u64 },
    Other,
}

impl Noted {
    pub(super) fn of(call: &StoreCall, retention_ms: u64) -> Self {
        match call {
            StoreCall::Append(submission) => {
                Self::Append(submission.envelopes.iter().map(|envelope| envelope.fate_tag).collect())
            }
            StoreCall::PutPrekeys(device, _) => Self::Keys(*device),
            StoreCall::Expire(_) => Self::Expire { retention_ms },
            _ => Self::Other,
        }
    }
}
