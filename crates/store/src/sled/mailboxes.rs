//! The writer's work on queues: append, ack, expire.

use sotto_proto::{
    DeviceId, FateTag, QueueNumber,
    frame::{DeviceOutcome, Outcome, Refusal, Submitted},
    limits::{FATE_MARGIN_MS, SUBMISSION_MEMORY_MS},
};

use super::{
    group::{Group, Publish},
    row::{
        EnvelopeRow, Expiring, FateRow, MAX_OUTCOMES, MailboxRow, SubmissionRow, decode_expiring,
        envelope_place, queue,
    },
    writer::Writer,
};
use crate::{
    AckOutcome, Appended, NewEnvelope, StoreError, Submission, memory::EXPIRE_ROWS, quota::Admission,
};

impl Writer {
    pub(crate) fn append(
        &mut self,
        submission: Submission,
        group: &mut Group,
    ) -> Result<Appended, StoreError> {
        let Submission { key, envelopes, now_ms } = submission;
        if let Some(submitted) = self.known(&submission.key, group)? {
            return Ok(Appended { submitted, numbers: vec![None; envelopes.len()] });
        }
        if envelopes.len() > MAX_OUTCOMES {
            return Ok(refuse_all(&envelopes, now_ms));
        }
        let config = self.config;
        let mut admission = Admission::new(&config, group.disk_full);
        let (mut devices, mut numbers) = (Vec::new(), Vec::new());
        for envelope in envelopes {
            let row = self.devices.get(&envelope.device).copied();
            let load = row.and_then(|row| self.mailboxes.get(&row.queue)).map(|mailbox| mailbox.load);
            let outcome = admission.decide(&envelope, load);
            devices.push(DeviceOutcome { device: envelope.device, outcome });
            numbers.push(match (outcome, row) {
                (Outcome::Stored { .. }, Some(row)) => Some(self.store(envelope, row.queue, now_ms, group)?),
                _ => None,
            });
        }
        let submitted = Submitted { devices, stored_ms: now_ms };
        if !group.disk_full {
            let mark = self.number()?;
            let row = SubmissionRow { mark, submitted: submitted.clone() };
            self.insert_side(queue::submission(&key), row.encode(), group);
            let end_ms = now_ms.saturating_add(SUBMISSION_MEMORY_MS);
            group.expiring.entry(end_ms).or_default().push(Expiring::Submission(key));
            group.submissions.insert(key, submitted.clone());
        }
        Ok(Appended { submitted, numbers })
    }

    fn known(&self, key: &crate::SubmissionKey, group: &Group) -> Result<Option<Submitted>, StoreError> {
        if let Some(submitted) = group.submissions.get(key) {
            return Ok(Some(submitted.clone()));
        }
        match self.shared.trees.queue.get(queue::submission(key))? {
            Some(row) => Ok(Some(SubmissionRow::decode(&row)?.submitted)),
            None => Ok(None),
        }
    }

    fn store(
        &mut self,
        envelope: NewEnvelope,
        queue: u64,
        now_ms: u64,
        group: &mut Group,
    ) -> Result<QueueNumber, StoreError> {
        let number = self.number()?;
        let length = envelope.envelope.len();
        let content = self.content(envelope.envelope, group)?;
        let row = EnvelopeRow { stored_ms: now_ms, tag: envelope.fate_tag, content };
        group.insert(queue::envelope(queue, number), row.encode());
        let fate = FateRow { queue, number, expired_at: 0 };
        self.insert_side(queue::fate(&envelope.fate_tag), fate.encode(), group);
        group.staged_queues.insert(queue);
        let expires_ms = now_ms.saturating_add(self.config.retention_ms);
        group.expiring.entry(expires_ms).or_default().push(Expiring::Envelope { queue, number });
        let forget_ms = expires_ms.saturating_add(FATE_MARGIN_MS);
        let fate = Expiring::Fate { tag: envelope.fate_tag, number };
        group.expiring.entry(forget_ms).or_default().push(fate);
        if let Some(mailbox) = self.mailboxes.get_mut(&queue) {
            mailbox.load.add(length);
        }
        self.totals.load.add(length);
        Ok(QueueNumber(number))
    }

    pub(crate) fn ack(
        &mut self,
        device: DeviceId,
        through: u64,
        group: &mut Group,
    ) -> Result<AckOutcome, StoreError> {
        let nothing = Ok(AckOutcome::Removed(Vec::new()));
        let Some(queue) = self.devices.get(&device).map(|row| row.queue) else { return nothing };
        if through >= self.next {
            return self.begin_anew(queue, group);
        }
        let Some(mailbox) = self.mailboxes.get_mut(&queue) else { return nothing };
        let before = mailbox.row.acked;
        if through <= before {
            return nothing;
        }
        mailbox.row.acked = through;
        let row = mailbox.row;
        if group.staged_queues.contains(&queue) {
            self.write_batch(group)?;
        }
        // First the number: rows at or below it are never delivered, and removed at the next opening.
        group.insert(queue::mailbox(queue), row.encode());
        group.publish.push(Publish::Mailbox(queue, row));
        let mut tags = Vec::new();
        let range = queue::envelope(queue, before.saturating_add(1))..=queue::envelope(queue, through);
        let rows = self.shared.trees.queue.range(range);
        for found in rows {
            let (key, value) = found?;
            tags.push(self.remove_envelope(queue, &key, &value, group)?.tag);
            self.write_large_batch(group)?;
        }
        Ok(AckOutcome::Removed(tags))
    }

    /// Gives a mailbox a new incarnation: its reader knows numbers that this store never gave, so the store is an old
    /// copy, and what waits in it may be unread though the reader's number is higher.
    fn begin_anew(&mut self, queue: u64, group: &mut Group) -> Result<AckOutcome, StoreError> {
        let begun = self.number()?;
        if let Some(mailbox) = self.mailboxes.get_mut(&queue) {
            // What was lost up to here was told to the reader when it came to its number.
            mailbox.row = MailboxRow { begun, lost_through: 0, ..mailbox.row };
            group.insert(queue::mailbox(queue), mailbox.row.encode());
            group.publish.push(Publish::Mailbox(queue, mailbox.row));
        }
        Ok(AckOutcome::BegunAnew)
    }

    /// Removes an envelope's row, and its file once that is durable.
    pub(crate) fn remove_envelope(
        &mut self,
        queue: u64,
        key: &[u8],
        value: &[u8],
        group: &mut Group,
    ) -> Result<EnvelopeRow, StoreError> {
        let row = EnvelopeRow::decode(value)?;
        group.remove(key.to_vec());
        group.staged_queues.insert(queue);
        self.drop_content(&row.content, group);
        if let Some(mailbox) = self.mailboxes.get_mut(&queue) {
            mailbox.load.remove(row.content.len());
        }
        self.totals.load.remove(row.content.len());
        Ok(row)
    }

    /// Marks a tag as expired, if it still stands for this envelope.
    fn mark_expired(&mut self, tag: &FateTag, number: u64, group: &mut Group) -> Result<(), StoreError> {
        let key = queue::fate(tag);
        let Some(value) = self.shared.trees.queue.get(&key)? else { return Ok(()) };
        let fate = FateRow::decode(&value)?;
        if fate.number == number {
            let expired_at = self.number()?;
            group.insert(key, FateRow { expired_at, ..fate }.encode());
        }
        Ok(())
    }

    /// Removes a mailbox whose device is gone; what waited in it has expired.
    pub(crate) fn close_mailbox(&mut self, queue: u64, group: &mut Group) -> Result<(), StoreError> {
        self.write_batch(group)?;
        let acked = self.mailboxes.get(&queue).map_or(0, |mailbox| mailbox.row.acked);
        let rows =
            self.shared.trees.queue.range(queue::envelope(queue, 0)..=queue::envelope(queue, u64::MAX));
        for found in rows {
            let (key, value) = found?;
            let row = self.remove_envelope(queue, &key, &value, group)?;
            let (_, number) = envelope_place(&key)?;
            if number > acked {
                self.mark_expired(&row.tag, number, group)?;
            }
            self.write_large_batch(group)?;
        }
        group.remove(queue::mailbox(queue));
        self.mailboxes.remove(&queue);
        Ok(())
    }

    pub(crate) fn expire(&mut self, now_ms: u64, group: &mut Group) -> Result<usize, StoreError> {
        self.write_batch(group)?;
        let mut done = 0;
        let rows = self.shared.trees.queue.range(queue::expiry(0, 0)..=queue::expiry(now_ms, u64::MAX));
        for found in rows {
            if done >= EXPIRE_ROWS {
                break;
            }
            let (key, value) = found?;
            for entry in decode_expiring(&value)? {
                self.end(entry, group)?;
                done += 1;
            }
            self.remove_side(key.to_vec(), &value, group);
        }
        Ok(done)
    }

    fn end(&mut self, entry: Expiring, group: &mut Group) -> Result<(), StoreError> {
        match entry {
            Expiring::Envelope { queue, number } => {
                let key = queue::envelope(queue, number);
                let Some(value) = self.shared.trees.queue.get(&key)? else { return Ok(()) };
                let row = self.remove_envelope(queue, &key, &value, group)?;
                let Some(mailbox) = self.mailboxes.get_mut(&queue) else { return Ok(()) };
                if number <= mailbox.row.acked {
                    return Ok(());
                }
                mailbox.row.lost_through = mailbox.row.lost_through.max(number);
                let state = mailbox.row;
                group.insert(queue::mailbox(queue), state.encode());
                group.publish.push(Publish::Mailbox(queue, state));
                self.mark_expired(&row.tag, number, group)
            }
            Expiring::Submission(key) => {
                let key = queue::submission(&key);
                if let Some(value) = self.shared.trees.queue.get(&key)? {
                    self.remove_side(key, &value, group);
                }
                Ok(())
            }
            Expiring::Fate { tag, number } => {
                let key = queue::fate(&tag);
                let value = self.shared.trees.queue.get(&key)?;
                let fate = value.as_deref().map(FateRow::decode).transpose()?;
                match value.filter(|_| fate.is_some_and(|fate| fate.number == number)) {
                    Some(value) => self.remove_side(key, &value, group),
                    // A later one with the same tag has taken its place, and may be gone already: each was counted.
                    None => self.uncount_side(&key, &FateRow { queue: 0, number, expired_at: 0 }.encode()),
                }
                Ok(())
            }
        }
    }
}

fn refuse_all(envelopes: &[NewEnvelope], now_ms: u64) -> Appended {
    let outcome = Outcome::Refused(Refusal::TooLarge);
    let devices =
        envelopes.iter().map(|envelope| DeviceOutcome { device: envelope.device, outcome }).collect();
    Appended { submitted: Submitted { devices, stored_ms: now_ms }, numbers: vec![None; envelopes.len()] }
}
