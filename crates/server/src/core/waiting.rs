//! Which envelopes that were stored since the start still wait, by fate tag: whose share of a mailbox they take up,
//! and which connection is told when they are taken. In memory only, so that no record on disk names a sender.

use std::collections::{HashMap, VecDeque};

use sotto_proto::{AccountId, DeviceId, FateTag};

use super::io::ConnectionId;

/// Envelopes remembered, some 150 bytes each; beyond this the oldest are forgotten and their senders' shares freed.
const REMEMBERED: usize = 1_000_000;

#[derive(Debug, Clone, Copy)]
struct Entry {
    sender: AccountId,
    device: DeviceId,
    connection: ConnectionId,
}

/// The envelopes that wait.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    entries: HashMap<FateTag, Entry>,
    counts: HashMap<(DeviceId, AccountId), u64>,
    /// In order of storing; holds tags that were taken since.
    order: VecDeque<(u64, FateTag)>,
}

impl Waiting {
    /// How many envelopes of this account wait for this device.
    pub(super) fn count(&self, device: &DeviceId, sender: &AccountId) -> u64 {
        self.counts.get(&(*device, *sender)).copied().unwrap_or(0)
    }

    /// Counts an envelope that is about to be stored. Whether it was not counted already: a Submit that comes again
    /// brings the same tags.
    pub(super) fn add(
        &mut self,
        tag: FateTag,
        sender: AccountId,
        device: DeviceId,
        connection: ConnectionId,
        now_ms: u64,
    ) -> bool {
        if self.entries.contains_key(&tag) {
            return false;
        }
        if self.entries.len() >= REMEMBERED {
            self.forget_oldest();
        }
        self.entries.insert(tag, Entry { sender, device, connection });
        *self.counts.entry((device, sender)).or_insert(0) += 1;
        self.order.push_back((now_ms, tag));
        true
    }

    /// The envelope is gone, or was not stored after all: whom to tell.
    pub(super) fn remove(&mut self, tag: &FateTag) -> Option<ConnectionId> {
        let entry = self.entries.remove(tag)?;
        let key = (entry.device, entry.sender);
        if let Some(count) = self.counts.get_mut(&key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.counts.remove(&key);
            }
        }
        // Amortised: a pass over the order removes at least half of it.
        if self.order.len() > 2 * self.entries.len() + 1024 {
            let entries = &self.entries;
            self.order.retain(|(_, tag)| entries.contains_key(tag));
        }
        Some(entry.connection)
    }

    /// These devices' mailboxes are no more, and what waited in them is not counted in others of the same ids.
    pub(super) fn forget(&mut self, devices: &[DeviceId]) {
        if !self.counts.keys().any(|(device, _)| devices.contains(device)) {
            return;
        }
        self.entries.retain(|_, entry| !devices.contains(&entry.device));
        self.counts.retain(|(device, _), _| !devices.contains(device));
        let entries = &self.entries;
        self.order.retain(|(_, tag)| entries.contains_key(tag));
    }

    /// The clock was set back: what came in its future came now.
    pub(super) fn set_back(&mut self, now_ms: u64) {
        for (stored_ms, _) in self.order.iter_mut().rev().take_while(|(stored_ms, _)| *stored_ms > now_ms) {
            *stored_ms = now_ms;
        }
    }

    /// Forgets what the store's own expiry has removed by `now_ms`.
    pub(super) fn sweep(&mut self, now_ms: u64, retention_ms: u64) {
        while let Some((stored_ms, tag)) = self.order.front().copied() {
            if stored_ms.saturating_add(retention_ms) > now_ms {
                break;
            }
            self.order.pop_front();
            self.remove(&tag);
        }
    }

    fn forget_oldest(&mut self) {
        while let Some((_, tag)) = self.order.pop_front() {
            if self.remove(&tag).is_some() {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(n: u32) -> FateTag {
        let mut bytes = [0; 16];
        for (to, from) in bytes.iter_mut().zip(n.to_be_bytes()) {
            *to = from;
        }
        FateTag(bytes)
    }

    #[test]
    fn shares_are_counted_per_device_and_sender_and_freed() {
        let mut waiting = Waiting::default();
        let (device, alice, bob) = (DeviceId([1; 16]), AccountId([2; 16]), AccountId([3; 16]));
        let connection = ConnectionId(9);
        assert!(waiting.add(tag(1), alice, device, connection, 10));
        assert!(!waiting.add(tag(1), alice, device, connection, 10), "the same Submit again");
        assert!(waiting.add(tag(2), alice, device, connection, 20));
        assert!(waiting.add(tag(3), bob, device, connection, 30));
        assert_eq!((waiting.count(&device, &alice), waiting.count(&device, &bob)), (2, 1));
        assert_eq!(waiting.remove(&tag(1)), Some(connection));
        assert_eq!(waiting.remove(&tag(1)), None);
        assert_eq!(waiting.count(&device, &alice), 1);
        waiting.sweep(120, 100);
        assert_eq!((waiting.count(&device, &alice), waiting.count(&device, &bob)), (0, 1));
    }

    #[test]
    fn a_mailbox_that_is_no_more_leaves_no_shares_to_another_of_its_id() {
        let mut waiting = Waiting::default();
        let (gone, other, alice) = (DeviceId([1; 16]), DeviceId([2; 16]), AccountId([3; 16]));
        waiting.add(tag(1), alice, gone, ConnectionId(1), 0);
        waiting.add(tag(2), alice, other, ConnectionId(1), 0);
        waiting.forget(&[gone]);
        assert_eq!((waiting.count(&gone, &alice), waiting.count(&other, &alice)), (0, 1));
        assert_eq!((waiting.remove(&tag(1)), waiting.order.len()), (None, 1));
        assert!(waiting.add(tag(1), alice, gone, ConnectionId(1), 0), "and the same tag counts again");
    }

    #[test]
    fn taken_envelopes_leave_nothing_behind() {
        let mut waiting = Waiting::default();
        waiting.add(tag(0), AccountId([2; 16]), DeviceId([1; 16]), ConnectionId(1), 0);
        for n in 1..100_000 {
            waiting.add(tag(n), AccountId([2; 16]), DeviceId([1; 16]), ConnectionId(1), 0);
            waiting.remove(&tag(n));
        }
        assert!(waiting.order.len() < 5_000, "{}", waiting.order.len());
    }
}
