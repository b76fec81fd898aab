//! Submits: what was sealed, in frames.

use serde_bytes::ByteBuf;
use sotto_proto::{
    SubmissionId,
    frame::{ClientFrame, OutgoingEnvelope, Submit, UsedList},
    limits::{MAX_DEVICE_LIST, MAX_ENVELOPES_PER_SUBMIT, MAX_FRAME},
};

use super::{Core, CoreError, Step, claims::Ready, lists::list_ref, requests::Asked};
use crate::store::{ContactRecord, Copy};

/// Bytes of envelopes in one Submit at the most: what is left of a frame holds the lists and the encoding.
const SUBMIT_BYTES: usize = MAX_FRAME - 2 * MAX_DEVICE_LIST - 1024;
/// Bytes that an envelope takes in a Submit beside its own.
const ENVELOPE_OVERHEAD: usize = 64;

impl Core {
    /// Sends a Submit that was sealed before: after a reconnect, on a stale list, or because a mailbox was full. The
    /// devices may have changed in between.
    pub(super) fn submit_again(
        &mut self,
        step: &mut Step<'_, '_>,
        contact: &ContactRecord,
        own: &ContactRecord,
        user: bool,
        submission: SubmissionId,
    ) -> Result<Option<u64>, CoreError> {
        let entries = step.tx.submission_entries(&submission)?;
        let mut missing = Vec::new();
        for entry in &entries {
            let targets = self.targets(contact, own, entry);
            let copies = step.tx.copies(entry.entry)?;
            let settled = step.tx.fates_of(&entry.message)?;
            for copy in &copies {
                if !targets.iter().any(|target| target.device() == copy.device) {
                    step.tx.remove_copy(entry.entry, &copy.device)?;
                }
            }
            for target in targets {
                let device = target.device();
                let sealed = copies.iter().any(|copy| copy.device == device);
                let stored = entry.user && settled.iter().any(|fate| fate.device == device);
                if sealed || stored {
                    continue;
                }
                if self.given_up(step, &device) {
                    self.left_out.insert(device);
                } else {
                    missing.push((entry, target));
                }
            }
        }
        let mut submission = submission;
        if !missing.is_empty() {
            if let Ready::Later(wake_ms) = self.ready(step, contact, own, &entries)? {
                return Ok(wake_ms);
            }
            for (entry, target) in &missing {
                if self.seal_copy(step, contact, own, entry, target)?.is_none() {
                    return Ok(Some(self.delay(step, (contact.account, user))));
                }
            }
            // Another Submit than before, so another id: under the old one the server may have an answer that does not
            // cover the new devices. What it has stored already is dropped by its recipients as a duplicate.
            let renamed = SubmissionId(step.random());
            step.tx.rename_submission(&submission, &renamed)?;
            submission = renamed;
        }
        self.submit(step, contact, own, user, submission)?;
        Ok(None)
    }

    /// Sends a Submit with everything sealed for it.
    pub(super) fn submit(
        &mut self,
        step: &mut Step<'_, '_>,
        contact: &ContactRecord,
        own: &ContactRecord,
        user: bool,
        submission: SubmissionId,
    ) -> Result<(), CoreError> {
        let mut submission = submission;
        let mut envelopes: Vec<OutgoingEnvelope> = Vec::new();
        let (mut bytes, mut rest) = (0, None);
        for entry in step.tx.submission_entries(&submission)? {
            let copies = step.tx.copies(entry.entry)?;
            if copies.is_empty() {
                // No device could be sealed to yet: fresh again.
                step.tx.set_submission(entry.entry, None)?;
            }
            let copies: Vec<Copy> = copies.into_iter().filter(|copy| copy.refused.is_none()).collect();
            let length: usize = copies.iter().map(|copy| copy.envelope.len() + ENVELOPE_OVERHEAD).sum();
            let full =
                envelopes.len() + copies.len() > MAX_ENVELOPES_PER_SUBMIT || bytes + length > SUBMIT_BYTES;
            if rest.is_none() && full && !envelopes.is_empty() {
                rest = Some(SubmissionId(step.random()));
            }
            if let Some(rest) = &rest {
                step.tx.set_submission(entry.entry, Some(rest))?;
                continue;
            }
            bytes += length;
            for copy in copies {
                envelopes.push(OutgoingEnvelope {
                    account: copy.account,
                    device: copy.device,
                    fate_tag: copy.tag,
                    transient: false,
                    envelope: ByteBuf::from(copy.envelope),
                });
            }
        }
        let lane = (contact.account, user);
        if envelopes.is_empty() {
            for entry in step.tx.submission_entries(&submission)? {
                step.tx.set_submission(entry.entry, None)?;
                self.refresh_fate(step, &entry.message, false)?;
            }
            self.delay(step, lane);
            return Ok(());
        }
        if rest.is_some() {
            // It may have been sent before with what follows now: a Submit that holds less has another id.
            let renamed = SubmissionId(step.random());
            step.tx.rename_submission(&submission, &renamed)?;
            submission = renamed;
        }
        let mut lists = vec![self.used_list(own)];
        if contact.account != own.account {
            lists.push(self.used_list(contact));
        }
        self.lanes.entry(lane).or_default().in_flight = true;
        let frame = ClientFrame::Submit(Submit { submission, lists, envelopes });
        self.send(step, Asked::Submit { lane, submission }, frame);
        Ok(())
    }

    fn used_list(&self, contact: &ContactRecord) -> UsedList {
        let list = list_ref(&contact.list);
        UsedList {
            account: contact.account,
            number: list.number,
            hash: list.hash,
            list: self
                .hand_over
                .contains(&contact.account)
                .then(|| ByteBuf::from(contact.list.as_bytes().to_vec())),
        }
    }
}
