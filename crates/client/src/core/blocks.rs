//! Blocks: whom this account takes nothing from. Kept here, told to the server, which refuses the account's envelopes
//! and invitations from then on, and to one's own other devices.

use sotto_proto::{
    AccountId, Username,
    content::Body,
    frame::{Block, ClientFrame, ErrorCode, ErrorReply},
    limits::{DAY_MS, MAX_BLOCKED},
};

use super::{Core, CoreError, Step, lists::Sought, requests::Asked};
use crate::{
    api::{ClientError, ErrorKind, Reply},
    store::{BlockRecord, ContactRecord},
};

/// Blocks that are told to the server at a time: a long list must not crowd out what people write.
const TELL_AT_ONCE: usize = 8;
/// After how long one that the server could not take is told again, where it does not say, milliseconds.
const AGAIN_MS: u64 = 5_000;
/// How far ahead of the server's a device's clock may be before what it says counts as said that long from now. Without a
/// bound, one device with a broken clock, or in a thief's hands, could say what no other could ever take back.
const AHEAD_MS: u64 = DAY_MS;
/// The number in `meta` of envelopes that were dropped because their sender is blocked.
pub(super) const BLOCKED: &str = "blocked envelopes";

impl Core {
    /// Blocks a user who is known, or no longer does.
    pub(super) fn block(
        &mut self,
        step: &mut Step<'_, '_>,
        user: &Username,
        blocked: bool,
    ) -> Result<Result<Reply, ClientError>, CoreError> {
        if *user == self.me.username {
            let text = "you cannot block yourself";
            return Ok(Err(ClientError::new(ErrorKind::Invalid, text)));
        }
        let Some(contact) = step.tx.contact_by_name(user)? else {
            return Ok(Err(ClientError::new(ErrorKind::NotFound, format!("{user} is not known here"))));
        };
        if contact.blocked == blocked {
            return Ok(Ok(Reply::Done));
        }
        let most = u64::try_from(MAX_BLOCKED).unwrap_or(u64::MAX);
        if blocked && step.tx.count_blocked()? >= most {
            let text = format!("{MAX_BLOCKED} users are blocked, and more are not possible");
            return Ok(Err(ClientError::new(ErrorKind::Limit, text).hint("sotto contact unblock USER")));
        }
        self.block_account(step, &contact.account, blocked)?;
        Ok(Ok(Reply::Done))
    }

    /// Keeps a decision that was made here, and tells one's other devices; the server is told when there is a connection.
    pub(super) fn block_account(
        &mut self,
        step: &mut Step<'_, '_>,
        account: &AccountId,
        blocked: bool,
    ) -> Result<(), CoreError> {
        // What the user said last counts, also where another device's clock ran ahead.
        let last_ms = step.tx.block(account)?.map_or(0, |known| known.clock_ms);
        let clock_ms = said_now(step.now_ms, last_ms);
        step.tx.decide_block(&BlockRecord { account: *account, blocked, clock_ms })?;
        self.tell_own(step, None, &Body::SyncBlock { account: *account, blocked }, clock_ms)
    }

    /// Another own device has blocked somebody, or no longer does.
    pub(super) fn synced_block(
        &mut self,
        step: &mut Step<'_, '_>,
        block: &BlockRecord,
    ) -> Result<(), CoreError> {
        if block.account == self.me.account {
            return Ok(());
        }
        let most = u64::try_from(MAX_BLOCKED).unwrap_or(u64::MAX);
        if block.blocked && step.tx.block(&block.account)?.is_none() && step.tx.count_blocked()? >= most {
            step.warn(format!(
                "another device of yours has blocked somebody, but here {MAX_BLOCKED} users are blocked already"
            ));
            return Ok(());
        }
        let known = step.tx.block(&block.account)?;
        let news = if known.is_some_and(|known| is_unbounded(step.now_ms, known.clock_ms)) {
            step.tx.decide_block(block)?;
            true
        } else {
            step.tx.set_block(block)?
        };
        if news && step.tx.contact(&block.account)?.is_none() && self.up() {
            // For its name.
            self.look_up(step, vec![Sought::Account(block.account)]);
        }
        Ok(())
    }

    /// Tells the server what it has not confirmed. Answers when to look again.
    pub(super) fn tell_blocks(&mut self, step: &mut Step<'_, '_>) -> Result<Option<u64>, CoreError> {
        if !self.up() {
            return Ok(None);
        }
        if self.blocks_again_ms > step.now_ms {
            return Ok(Some(self.blocks_again_ms).filter(|again_ms| *again_ms != u64::MAX));
        }
        let room = TELL_AT_ONCE.saturating_sub(self.blocking.len());
        if room == 0 {
            return Ok(None);
        }
        let limit = u32::try_from(TELL_AT_ONCE).unwrap_or(u32::MAX);
        let untold = step.tx.untold_blocks(limit)?;
        let fresh: Vec<_> =
            untold.into_iter().filter(|block| !self.blocking.contains(&block.account)).take(room).collect();
        for block in fresh {
            // One at a time for each account: answers may come in any order, and the last word must be the last.
            self.blocking.insert(block.account);
            let frame = ClientFrame::Block(Block { account: block.account, blocked: block.blocked });
            self.send(step, Asked::Block { block }, frame);
        }
        Ok(None)
    }

    /// The server knows.
    pub(super) fn block_told(
        &mut self,
        step: &mut Step<'_, '_>,
        block: &BlockRecord,
    ) -> Result<(), CoreError> {
        self.blocking.remove(&block.account);
        Ok(step.tx.set_told(block)?)
    }

    /// The server did not take it.
    pub(super) fn block_refused(
        &mut self,
        step: &mut Step<'_, '_>,
        block: &BlockRecord,
        error: &ErrorReply,
    ) -> Result<(), CoreError> {
        self.blocking.remove(&block.account);
        match error.code {
            ErrorCode::UNKNOWN_USER => step.tx.set_told(block)?,
            ErrorCode::BUSY | ErrorCode::RATE_LIMITED | ErrorCode::STORE | ErrorCode::DISK_FULL => {
                self.blocks_again_ms = step.now_ms.saturating_add(error.retry_after_ms.unwrap_or(AGAIN_MS));
            }
            _ => {
                // Not again on this connection: this device drops what comes from them all the same.
                self.blocks_again_ms = u64::MAX;
                step.warn(format!(
                    "the server does not keep who is blocked ({}); what they send is dropped on this device",
                    error.message
                ));
            }
        }
        Ok(())
    }

    /// Something from somebody who is blocked: dropped for good, and counted.
    pub(super) fn drop_blocked(step: &mut Step<'_, '_>) -> Result<(), CoreError> {
        let known = step.tx.number(BLOCKED)?;
        Ok(step.tx.set_number(BLOCKED, known.saturating_add(1))?)
    }

    /// Under a new identity they are the same person: the block goes along.
    pub(super) fn block_follows(
        &mut self,
        step: &mut Step<'_, '_>,
        old: &ContactRecord,
        account: &AccountId,
    ) -> Result<(), CoreError> {
        if old.blocked && old.account != *account {
            self.block_account(step, account, true)?;
        }
        Ok(())
    }
}

/// The clock of what another own device said in an envelope that the server took at this time. All devices come to the same
/// one, for it hangs on the server's time, within what this device takes for possible.
pub(super) fn said_then(now_ms: u64, stored_ms: u64, clock_ms: u64) -> u64 {
    clock_ms.min(stored_ms.min(now_ms.saturating_add(AHEAD_MS)).saturating_add(AHEAD_MS))
}

/// The clock of what the user says here: later than all that this device knows.
pub(super) fn said_now(now_ms: u64, last_ms: u64) -> u64 {
    if is_unbounded(now_ms, last_ms) {
        now_ms.saturating_add(AHEAD_MS)
    } else {
        now_ms.max(last_ms.saturating_add(1))
    }
}

/// Whether a clock that was kept here is later than any that is taken: then every word counts more.
pub(super) fn is_unbounded(now_ms: u64, clock_ms: u64) -> bool {
    clock_ms > now_ms.saturating_add(3 * AHEAD_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_clock_runs_so_far_ahead_that_the_next_word_is_not_later() {
        const NOW_MS: u64 = 1_790_000_000_000;
        for (stored_ms, clock_ms) in [(NOW_MS, u64::MAX), (u64::MAX, u64::MAX), (NOW_MS, NOW_MS + 5)] {
            let heard_ms = said_then(NOW_MS, stored_ms, clock_ms);
            let said_ms = said_now(NOW_MS, heard_ms);
            assert!(said_ms > heard_ms, "{stored_ms} {clock_ms}");
            assert_eq!(said_then(NOW_MS, NOW_MS, NOW_MS + 5), NOW_MS + 5);
        }
        assert_eq!(said_now(NOW_MS, u64::MAX), NOW_MS + AHEAD_MS);
        assert_eq!(said_now(NOW_MS, 0), NOW_MS);
    }

    #[test]
    fn what_was_taken_stays_in_bounds_where_this_devices_clock_is_then_set_back_by_a_day() {
        const NOW_MS: u64 = 1_790_000_000_000;
        let heard_ms = said_then(NOW_MS, u64::MAX, u64::MAX);
        assert!(!is_unbounded(NOW_MS - DAY_MS, heard_ms));
        assert!(is_unbounded(NOW_MS, u64::MAX));
    }
}
