//! Whether an envelope finds room, the same for every engine.

use std::collections::HashMap;

use sotto_proto::{
    DeviceId,
    frame::{Outcome, Refusal},
    limits::{FLOOR_ENVELOPE, MAX_ENVELOPE},
};

use crate::{StoreConfig, mailbox::NewEnvelope};

/// What waits in one mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Load {
    pub(crate) envelopes: u64,
    pub(crate) bytes: u64,
}

impl Load {
    pub(crate) fn add(&mut self, length: usize) {
        self.envelopes = self.envelopes.saturating_add(1);
        self.bytes = self.bytes.saturating_add(length as u64);
    }

    pub(crate) fn remove(&mut self, length: usize) {
        self.envelopes = self.envelopes.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(length as u64);
    }

    /// Why an envelope of this length has no room, if it has none.
    fn refusal(self, config: &StoreConfig, length: usize) -> Option<Refusal> {
        if length > MAX_ENVELOPE {
            return Some(Refusal::TooLarge);
        }
        let places = if length > FLOOR_ENVELOPE {
            config.mailbox_envelopes.saturating_sub(config.mailbox_floor_places)
        } else {
            config.mailbox_envelopes
        };
        let full =
            self.envelopes >= places || self.bytes.saturating_add(length as u64) > config.mailbox_bytes;
        full.then_some(Refusal::MailboxFull)
    }
}

/// Decides over the envelopes of one submission, in order.
#[derive(Debug)]
pub(crate) struct Admission<'a> {
    config: &'a StoreConfig,
    disk_full: bool,
    refused: HashMap<DeviceId, Refusal>,
}

impl<'a> Admission<'a> {
    pub(crate) fn new(config: &'a StoreConfig, disk_full: bool) -> Self {
        Self { config, disk_full, refused: HashMap::new() }
    }

    /// What becomes of the next envelope; its mailbox, if there is one, has this load. Once a device's envelope is
    /// refused every later one is, so that nothing overtakes a refused message.
    pub(crate) fn decide(&mut self, envelope: &NewEnvelope, mailbox: Option<Load>) -> Outcome {
        let earlier = self.refused.get(&envelope.device).copied();
        let Some(load) = mailbox else {
            return match earlier.or(envelope.refused) {
                Some(refusal) => Outcome::Refused(refusal),
                None => Outcome::UnknownDevice,
            };
        };
        let refusal = earlier
            .or(envelope.refused)
            .or_else(|| self.disk_full.then_some(Refusal::DiskFull))
            .or_else(|| load.refusal(self.config, envelope.envelope.len()));
        match refusal {
            None => Outcome::Stored { connected: envelope.connected },
            Some(refusal) => {
                self.refused.insert(envelope.device, refusal);
                Outcome::Refused(refusal)
            }
        }
    }
}
