//! This device's published prekeys, and what is done once a day.

use sotto_crypto::{KemPrekeySecret, KemUse, OneTimePrekeySecret, SignedPrekeySecret};
use sotto_proto::{
    frame::{ClientFrame, PublishKeys},
    limits::{
        DAY_MS, MAX_ONE_TIME_KEM_PREKEYS, MAX_ONE_TIME_PREKEYS, PREKEY_LIFETIME_MS, PREKEY_ROTATION_MS,
        REFILL_BELOW,
    },
    prekey::{PrekeyCounts, PrekeyId, PrekeyUpload},
};

use super::{
    Core, CoreError, Drained, Step,
    lists::Sought,
    receive::count_nobodys,
    requests::Asked,
    restore::Restoring,
    retention::{kept_ms, retention_ms},
};
use crate::store::{PrekeySlot, StoreError};

/// The name of the number in `meta` that says when the daily work was last done, Unix milliseconds.
const UPKEEP: &str = "upkeep";

/// The number of days in a row on which private keys were due to be wiped and were not, for something that waits had not been read,
/// and the most.
/// Days on which this device does not run do not count: a device that was away has to see what waits before its keys go.
pub(super) const PUT_OFF: &str = "wipe put off";
const MAX_PUT_OFF: u64 = 60;

/// How long a connection has to stand before what waits for a list is given up: the list is asked for every minute.
const ASKED_FOR_MS: u64 = 60 * 60_000;

/// Between two uploads of prekeys, at least, milliseconds.
const REFILL_AFTER_MS: u64 = 60_000;
/// After how long an upload that the server refused is tried again at first, milliseconds; then after twice as long each
/// time. Well below the time after which others go on without a device whose keys have expired.
const REFUSED_AGAIN_MS: u64 = 20_000;
/// How often that time is doubled: to ten minutes, for each try leaves new keys in the profile.
const DOUBLINGS: u32 = 5;

impl Core {
    /// The server says what is left of this device's keys. Makes new ones where few are left or the signed ones are
    /// old; the private halves are committed before the public ones leave. With `refill` false, only what is
    /// indispensable: an answer to a refill must not start another.
    pub(super) fn key_counts(
        &mut self,
        step: &mut Step<'_, '_>,
        counts: &PrekeyCounts,
        refill: bool,
    ) -> Result<(), CoreError> {
        for (slot, id) in [(PrekeySlot::Signed, counts.signed), (PrekeySlot::LastResort, counts.last_resort)]
        {
            if let Some(id) = id {
                step.tx.note_published(slot, id, step.now_ms)?;
            }
        }
        if let Some(id) = counts.signed {
            self.note_expired_keys(step, id)?;
        }
        if !refill {
            return Ok(());
        }
        let newest = step.tx.newest_prekey(PrekeySlot::Signed)?;
        let old = newest.as_ref().is_none_or(|key| {
            step.now_ms >= key.created_ms.saturating_add(PREKEY_ROTATION_MS)
                // A clock that was set back must not keep a key for ever.
                || key.created_ms > step.now_ms.saturating_add(DAY_MS)
        });
        let published =
            newest.is_some_and(|key| counts.signed == Some(key.id)) && counts.last_resort.is_some();
        // A server that says again and again that nothing is left must not make this device work without end.
        if self.refilled_ms > 0 && step.now_ms.saturating_sub(self.refilled_ms) < self.refill_after_ms() {
            if old || !published || is_short(counts) {
                // The upload may have been refused, or lost with the server's data.
                self.recount_later(step);
            }
            return Ok(());
        }
        let mut upload = PrekeyUpload::default();
        if old || !published || self.restoring != Restoring::No {
            self.new_signed_keys(step, &mut upload)?;
        }
        self.new_one_time_keys(step, counts, &mut upload)?;
        if upload != PrekeyUpload::default() {
            self.refilled_ms = step.now_ms;
            self.send(step, Asked::Publish, ClientFrame::PublishKeys(PublishKeys { upload }));
        }
        Ok(())
    }

    /// Says so where this device was away for so long that the keys which the server has of it are no good any more.
    fn note_expired_keys(&mut self, step: &mut Step<'_, '_>, published: PrekeyId) -> Result<(), CoreError> {
        let before_ms = step.now_ms.saturating_sub(PREKEY_LIFETIME_MS);
        if step.tx.is_old_prekey(PrekeySlot::Signed, published, before_ms)? {
            let text = "this device was away for so long that its keys have expired; who wrote since then had to leave it out, \
                        so messages may be missing here";
            self.daily_row(step, "expired keys row", text)?;
        }
        Ok(())
    }

    /// Asks once more after a while what is left.
    pub(super) fn recount_later(&mut self, step: &Step<'_, '_>) {
        self.recount_ms = Some(step.now_ms.saturating_add(self.refill_after_ms()));
    }

    /// The server has not taken an upload.
    pub(super) fn keys_refused(&mut self, step: &Step<'_, '_>) {
        self.keys_refused = self.keys_refused.saturating_add(1);
        self.recount_later(step);
    }

    /// How long after an upload the next one may follow.
    fn refill_after_ms(&self) -> u64 {
        match self.keys_refused {
            0 => REFILL_AFTER_MS,
            refused => REFUSED_AGAIN_MS << (refused - 1).min(DOUBLINGS),
        }
    }

    /// Asks what is left of this device's keys, if that was put off until now. Answers until when it is.
    pub(super) fn recount(&mut self, step: &mut Step<'_, '_>) -> Option<u64> {
        if self.recount_ms.is_some_and(|due_ms| due_ms <= step.now_ms) {
            self.recount_ms = None;
            self.ask_counts(step);
        }
        self.recount_ms
    }

    /// An upload of nothing is answered with the counts, and they lead to new keys where those are due.
    fn ask_counts(&mut self, step: &mut Step<'_, '_>) {
        let nothing = PublishKeys { upload: PrekeyUpload::default() };
        self.send(step, Asked::Counts, ClientFrame::PublishKeys(nothing));
    }

    fn new_signed_keys(&self, step: &mut Step<'_, '_>, upload: &mut PrekeyUpload) -> Result<(), CoreError> {
        let (me, now_ms) = (&self.me, step.now_ms);
        let id = step.tx.next_prekey_id(PrekeySlot::Signed)?;
        let secret = SignedPrekeySecret::generate(&mut step.rng, id, now_ms);
        step.tx.add_prekey(PrekeySlot::Signed, id, &secret.to_bytes(), now_ms)?;
        upload.signed = Some(secret.publish(&me.secret, &me.account, &me.device));
        let id = step.tx.next_prekey_id(PrekeySlot::LastResort)?;
        let secret = KemPrekeySecret::generate(&mut step.rng, KemUse::LastResort, id, now_ms);
        step.tx.add_prekey(PrekeySlot::LastResort, id, &secret.to_bytes(), now_ms)?;
        upload.last_resort =
            Some(secret.publish(&me.secret, &me.account, &me.device).map_err(StoreError::from)?);
        Ok(())
    }

    fn new_one_time_keys(
        &self,
        step: &mut Step<'_, '_>,
        counts: &PrekeyCounts,
        upload: &mut PrekeyUpload,
    ) -> Result<(), CoreError> {
        let (me, now_ms) = (&self.me, step.now_ms);
        let left = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        if left(counts.one_time) < REFILL_BELOW {
            for _ in left(counts.one_time)..MAX_ONE_TIME_PREKEYS {
                let id = step.tx.next_prekey_id(PrekeySlot::OneTime)?;
                let secret = OneTimePrekeySecret::generate(&mut step.rng, id);
                step.tx.add_prekey(PrekeySlot::OneTime, id, &secret.to_bytes(), now_ms)?;
                upload.one_time.push(secret.publish());
            }
        }
        if left(counts.one_time_kem) < REFILL_BELOW {
            for _ in left(counts.one_time_kem)..MAX_ONE_TIME_KEM_PREKEYS {
                let id = step.tx.next_prekey_id(PrekeySlot::OneTimeKem)?;
                let secret = KemPrekeySecret::generate(&mut step.rng, KemUse::OneTime, id, now_ms);
                step.tx.add_prekey(PrekeySlot::OneTimeKem, id, &secret.to_bytes(), now_ms)?;
                let public = secret.publish(&me.secret, &me.account, &me.device).map_err(StoreError::from)?;
                upload.one_time_kem.push(public);
            }
        }
        Ok(())
    }

    /// When to look for envelopes that have waited too long for the list that confirms their sender: daily, and only on a
    /// connection that has stood for a while, for a device that was away could not ask for the list.
    pub(super) fn held_due_ms(&self) -> Option<u64> {
        let (_, since_ms) = self.server_ms.filter(|_| self.up())?;
        Some(since_ms.saturating_add(ASKED_FOR_MS).max(self.held_looked_ms.saturating_add(DAY_MS)))
    }

    /// Drops them, and says so.
    fn forget_held(&mut self, step: &mut Step<'_, '_>) -> Result<(), CoreError> {
        if self.held_due_ms().is_none_or(|due_ms| step.now_ms < due_ms) {
            return Ok(());
        }
        self.held_looked_ms = step.now_ms;
        let kept_ms = kept_ms(step)?;
        let dropped = step.tx.forget_held(step.now_ms.saturating_sub(kept_ms))?;
        count_nobodys(step, dropped)?;
        if dropped > 0 {
            let text = format!(
                "messages came from devices that the server has not confirmed for {} days; they were dropped",
                kept_ms / DAY_MS
            );
            self.daily_row(step, "held row", &text)?;
        }
        Ok(())
    }

    /// What is due once a day and at the start: wipes what is out of use.
    pub(super) fn upkeep(&mut self, step: &mut Step<'_, '_>) -> Result<(), CoreError> {
        self.forget_held(step)?;
        // More than a day away it is only where the clock was set back meanwhile.
        if (self.upkeep_ms.saturating_sub(DAY_MS)..self.upkeep_ms).contains(&step.now_ms) {
            return Ok(());
        }
        // Once a day however often the client is started; a clock that was set back does not put it off for ever.
        let last_ms = step.tx.number(UPKEEP)?;
        let due_ms = last_ms.saturating_add(DAY_MS);
        if step.now_ms < due_ms && last_ms <= step.now_ms {
            self.upkeep_ms = due_ms;
            return Ok(());
        }
        step.tx.set_number(UPKEEP, step.now_ms)?;
        self.upkeep_ms = step.now_ms.saturating_add(DAY_MS);
        if self.up() {
            self.ask_counts(step);
            // A push of one's own list may have been left out, or kept back.
            self.look_up(step, vec![Sought::Name(self.me.username.clone())]);
            if self.restoring == Restoring::No {
                // That something has expired nobody tells by themselves, and a connection may stand for months.
                self.fates_again_ms = Some(step.now_ms);
            }
        }
        step.tx.set_number(PUT_OFF, step.tx.number(PUT_OFF)?.saturating_add(1))?;
        self.wipe_due = true;
        let before_ms = step.now_ms.saturating_sub(kept_ms(step)?);
        step.tx.forget_sent_bodies(before_ms)?;
        Ok(step.tx.forget_unblocked(before_ms)?)
    }

    /// Wipes private keys that nothing can be sealed to any more that still arrives: once all that waited in the mailbox has been
    /// opened, however old it is. But no server can keep the keys from being wiped.
    pub(super) fn wipe_keys(&mut self, step: &mut Step<'_, '_>) -> Result<(), CoreError> {
        if !self.wipe_due {
            return Ok(());
        }
        let unread = self.drained == Drained::No || step.tx.all_held()? > 0;
        if unread && step.tx.number(PUT_OFF)? <= MAX_PUT_OFF {
            return Ok(());
        }
        self.wipe_due = false;
        step.tx.set_number(PUT_OFF, 0)?;
        let before_ms = step.now_ms.saturating_sub(kept_ms(step)?);
        // Signed keys go only when the server has handed out others for as long as what was sealed to them may wait there.
        step.tx.wipe_prekeys(before_ms, before_ms.saturating_sub(PREKEY_LIFETIME_MS))?;
        let retention_ms = retention_ms(step)?;
        for (account, device) in step.tx.session_devices()? {
            let sessions = self.sessions.with(step.tx, account, device)?;
            let pruned = sessions.prune(step.now_ms, retention_ms);
            self.sessions.replace(account, device, pruned);
            self.sessions.save(step.tx)?;
        }
        Ok(())
    }
}

/// Whether the server has too few of a device's keys for others to write to it.
fn is_short(counts: &PrekeyCounts) -> bool {
    let few = |count: u32| usize::try_from(count).unwrap_or(usize::MAX) < REFILL_BELOW;
    counts.signed.is_none()
        || counts.last_resort.is_none()
        || few(counts.one_time)
        || few(counts.one_time_kem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_short_of_keys_from_one_below_the_bound_on() {
        let bound = u32::try_from(REFILL_BELOW).unwrap_or(u32::MAX);
        let id = Some(PrekeyId(1));
        let enough = PrekeyCounts { one_time: bound, one_time_kem: bound, signed: id, last_resort: id };
        assert!(!is_short(&enough));
        for few in [0, bound - 1] {
            assert!(is_short(&PrekeyCounts { one_time: few, ..enough }), "{few}");
            assert!(is_short(&PrekeyCounts { one_time_kem: few, ..enough }), "{few}");
        }
        assert!(is_short(&PrekeyCounts { signed: None, ..enough }));
        assert!(is_short(&PrekeyCounts { last_resort: None, ..enough }));
    }
}
