//! What became of every message: its sender always sees it.

use sotto_proto::{
    AccountId, DeviceId, FateTag, MessageId,
    frame::{ClientFrame, FateState, QueryFates, Refusal},
    limits::{DAY_MS, FATE_MARGIN_MS, MAX_FATES_PER_QUERY, RETENTION_MS},
};

use super::{
    Core, CoreError, RESTORED, Step,
    due::{MAYBE_COPIED, MAYBE_SENT},
    requests::Asked,
    restore::Restoring,
    retention::{retention_ms, shortest_retention_ms},
    submitted::refusal_text,
};
use crate::{
    api::{Event, Fate, MessageFate},
    store::{CopyFate, StoredMessage, Tx},
};

/// Why a message stays `stored`.
pub(super) const UNHEARD_OF: &str =
    "this device was away for longer than the server remembers whether it was fetched";
/// When everything is asked for again that was to be while it was being asked for, milliseconds.
const WALK_AGAIN_MS: u64 = 1_000;
/// The name of the number in `meta` that says when that was last looked for, the server's Unix milliseconds.
const UNHEARD_MS: &str = "unheard_ms";
/// Messages of which that is said in one day's work; the rest the next day.
const NOTED_AT_ONCE: u32 = 10_000;

impl Core {
    /// Asks the server after everything without a receipt that it can still know of, by its own clock, a page at a time.
    pub(super) fn ask_fates(
        &mut self,
        step: &mut Step<'_, '_>,
        after: Option<&FateTag>,
    ) -> Result<(), CoreError> {
        if after.is_none() {
            if self.requests.asks_fates() {
                // One walk at a time: the end of each acts on all that it has found.
                self.fates_again_ms = Some(step.now_ms.saturating_add(WALK_AGAIN_MS));
                return Ok(());
            }
            self.lost.clear();
        }
        let now_ms = self.server_now_ms(step.now_ms).unwrap_or(step.now_ms);
        let since_ms = now_ms.saturating_sub(retention_ms(step)? + FATE_MARGIN_MS);
        let limit = u32::try_from(MAX_FATES_PER_QUERY).unwrap_or(u32::MAX);
        let tags: Vec<FateTag> =
            step.tx.open_fates(since_ms, after, limit)?.into_iter().map(|fate| fate.tag).collect();
        if tags.is_empty() {
            match self.restoring {
                Restoring::UnderWay => {
                    self.restoring = Restoring::No;
                    self.send_lost(step)?;
                    step.tx.set_number(RESTORED, 0)?;
                }
                Restoring::No if !self.lost.is_empty() => self.put_back(step)?,
                Restoring::No | Restoring::Noticed => {}
            }
            self.note_unheard_of(step)?;
        } else {
            let frame = ClientFrame::QueryFates(QueryFates { tags: tags.clone() });
            self.send(step, Asked::Fates { tags }, frame);
        }
        Ok(())
    }

    pub(super) fn fates(
        &mut self,
        step: &mut Step<'_, '_>,
        tags: &[FateTag],
        states: &[FateState],
    ) -> Result<(), CoreError> {
        for (tag, state) in tags.iter().zip(states) {
            match state {
                FateState::Taken => self.fate_by_tag(step, tag, Fate::Taken)?,
                FateState::Expired => self.fate_by_tag(step, tag, Fate::Expired)?,
                FateState::Unknown
                    if self.restoring == Restoring::UnderWay || self.should_be_known(step, tag)? =>
                {
                    self.lost.push(*tag);
                }
                FateState::Waiting => self.still_waits(step, tag)?,
                FateState::Unknown => {}
            }
        }
        self.ask_fates(step, tags.last())
    }

    /// The server knows of a copy that it has not been fetched. Where this device's clock was set forward on a connection, it may
    /// have said that nothing would be heard of it any more.
    fn still_waits(&mut self, step: &mut Step<'_, '_>, tag: &FateTag) -> Result<(), CoreError> {
        let Some(copy) = step.tx.fate_by_tag(tag)? else { return Ok(()) };
        match step.tx.sent_message(&copy.message)? {
            Some(row)
                if row.reason.as_deref() == Some(UNHEARD_OF)
                    && for_recipient(&copy, &row, &self.me.account) =>
            {
                self.set_fate(step, &row, Fate::Stored, None, false)
            }
            _ => Ok(()),
        }
    }

    /// Whether a server that has lost nothing would know what became of a copy. It forgets by the retention time of when it was
    /// stored; more than the default is not counted on.
    fn should_be_known(&self, step: &Step<'_, '_>, tag: &FateTag) -> Result<bool, CoreError> {
        let (Some(copy), Some(server_ms)) = (step.tx.fate_by_tag(tag)?, self.server_now_ms(step.now_ms))
        else {
            return Ok(false);
        };
        let retention_ms = shortest_retention_ms(step, server_ms)?.min(RETENTION_MS);
        // A day for what is not exact about clocks.
        Ok(server_ms < copy.stored_ms.saturating_add(retention_ms + FATE_MARGIN_MS - DAY_MS))
    }

    /// Says, once a day, of which messages nothing will be heard any more from the server: this device was away for longer
    /// than the server remembers. A receipt may still come.
    fn note_unheard_of(&mut self, step: &mut Step<'_, '_>) -> Result<(), CoreError> {
        let Some(server_ms) = self.server_now_ms(step.now_ms) else { return Ok(()) };
        let last_ms = step.tx.number(UNHEARD_MS)?;
        if (last_ms..last_ms.saturating_add(DAY_MS)).contains(&server_ms) {
            return Ok(());
        }
        step.tx.set_number(UNHEARD_MS, server_ms)?;
        // A day more than what is still asked for: nothing is said of that before it was answered.
        let before_ms = server_ms.saturating_sub(retention_ms(step)? + FATE_MARGIN_MS + DAY_MS);
        for message in step.tx.unheard_of(&self.me.account, before_ms, UNHEARD_OF, NOTED_AT_ONCE)? {
            let Some(row) = step.tx.sent_message(&message)? else { continue };
            self.set_fate(step, &row, Fate::Stored, Some(UNHEARD_OF), false)?;
        }
        Ok(())
    }

    /// Asks once more, where the server could not say. Answers until when that is put off.
    pub(super) fn ask_fates_again(&mut self, step: &mut Step<'_, '_>) -> Result<Option<u64>, CoreError> {
        if self.fates_again_ms.is_some_and(|again_ms| again_ms <= step.now_ms) {
            self.fates_again_ms = None;
            self.ask_fates(step, None)?;
        }
        Ok(self.fates_again_ms)
    }

    /// What became of the copy with this tag.
    pub(super) fn fate_by_tag(
        &mut self,
        step: &mut Step<'_, '_>,
        tag: &FateTag,
        state: Fate,
    ) -> Result<(), CoreError> {
        match step.tx.fate_by_tag(tag)? {
            Some(fate) => self.device_fate(step, &fate.message, fate.account, fate.device, state),
            None => Ok(()),
        }
    }

    /// What became of a device's copy.
    pub(super) fn device_fate(
        &mut self,
        step: &mut Step<'_, '_>,
        message: &MessageId,
        account: AccountId,
        device: DeviceId,
        state: Fate,
    ) -> Result<(), CoreError> {
        if step.tx.raise_fate(message, &account, &device, state)? {
            self.refresh_fate(step, message, false)?;
        }
        Ok(())
    }

    /// Works out what became of a message from what became of its copies, and tells if that is news.
    pub(super) fn refresh_fate(
        &mut self,
        step: &mut Step<'_, '_>,
        message: &MessageId,
        connected: bool,
    ) -> Result<(), CoreError> {
        self.refresh_doubtful_fate(step, message, connected, None)
    }

    /// The same, where it cannot be known any more whether some device's copy was stored. That stays said for as long as
    /// no receipt has cleared it up.
    pub(super) fn refresh_doubtful_fate(
        &mut self,
        step: &mut Step<'_, '_>,
        message: &MessageId,
        connected: bool,
        doubt: Option<&str>,
    ) -> Result<(), CoreError> {
        let Some(row) = step.tx.sent_message(message)? else { return Ok(()) };
        let mut fates = step.tx.fates_of(message)?;
        fates.retain(|fate| for_recipient(fate, &row, &self.me.account));
        let settled = fates.iter().map(|fate| fate.state).max();
        let was = row.reason.as_deref();
        let doubt = doubt.or(was.filter(|was| [MAYBE_SENT, MAYBE_COPIED].contains(was)));
        let doubt = match settled {
            Some(Fate::Expired) => doubt,
            // Some device has it after all.
            _ => doubt.filter(|_| fates.iter().any(|fate| fate.state == Fate::Expired)).map(|_| MAYBE_COPIED),
        };
        let refused = match step.tx.entry_of(message)? {
            None => None,
            Some(entry) => step
                .tx
                .copies(entry.entry)?
                .into_iter()
                .filter(|copy| copy.account == row.conversation)
                .find_map(|copy| copy.refused),
        };
        let (fate, reason) = match (settled, refused.or_else(|| doubt.map(str::to_owned))) {
            (Some(Fate::UnknownUser) | None, Some(reason)) => (Fate::Refused, Some(reason)),
            (Some(Fate::Expired), reason) => {
                let expired = "the server removed it unfetched after its retention time";
                let known = was.filter(|_| row.fate == Some(Fate::Expired)).unwrap_or(expired);
                (Fate::Expired, Some(reason.unwrap_or_else(|| known.to_owned())))
            }
            // The one refusal that is final.
            (Some(Fate::Refused), reason) => {
                (Fate::Refused, Some(reason.unwrap_or_else(|| refusal_text(Refusal::NotAccepted).to_owned())))
            }
            // Nothing new was heard of it.
            (Some(Fate::Stored), None) if was == Some(UNHEARD_OF) => {
                (Fate::Stored, Some(UNHEARD_OF.to_owned()))
            }
            (Some(fate), reason) => (fate, reason),
            (None, None) => return Ok(()),
        };
        self.set_fate(step, &row, fate, reason.as_deref(), connected)
    }

    /// Says what became of a message of which no copy was stored for its recipient; what was stored has a fate already.
    pub(super) fn settle(
        &mut self,
        step: &mut Step<'_, '_>,
        message: &MessageId,
        fate: Fate,
        reason: Option<&str>,
    ) -> Result<(), CoreError> {
        let Some(row) = step.tx.sent_message(message)? else { return Ok(()) };
        if step.tx.reached(message, &row.conversation)? {
            return Ok(());
        }
        self.set_fate(step, &row, fate, reason, false)
    }

    /// Keeps what became of a message, and tells it if that is news.
    fn set_fate(
        &mut self,
        step: &mut Step<'_, '_>,
        row: &StoredMessage,
        fate: Fate,
        reason: Option<&str>,
        connected: bool,
    ) -> Result<(), CoreError> {
        if !step.tx.set_message_fate(&row.message, fate, reason, connected)? {
            return Ok(());
        }
        if let Some(fate) = self.message_fate(step.tx, &row.message)? {
            step.event(Event::Fate(fate));
        }
        self.undelivered.note(row, fate, reason, step.now_ms);
        Ok(())
    }

    /// What became of a message, for a face.
    pub(super) fn message_fate(
        &self,
        tx: &Tx<'_>,
        message: &MessageId,
    ) -> Result<Option<MessageFate>, CoreError> {
        tx.sent_message(message)?.map(|row| fate_of(tx, &row, &self.me.account)).transpose()
    }
}

/// Whether a copy is for the other side and not for one's own devices. An identity that was accepted since leaves it with
/// the account that it was for.
pub(super) fn for_recipient(copy: &CopyFate, row: &StoredMessage, me: &AccountId) -> bool {
    (copy.account == *me) == (row.conversation == *me)
}

/// What became of a message of this account's.
pub(super) fn fate_of(tx: &Tx<'_>, row: &StoredMessage, me: &AccountId) -> Result<MessageFate, CoreError> {
    let devices = tx
        .fates_of(&row.message)?
        .into_iter()
        .filter(|fate| for_recipient(fate, row, me))
        .map(|fate| (fate.device.to_string(), fate.state))
        .collect();
    Ok(MessageFate {
        message: row.message,
        fate: row.fate.unwrap_or(Fate::Waiting),
        reason: row.reason.clone(),
        connected: row.connected,
        devices,
    })
}
