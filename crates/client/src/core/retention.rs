//! How long the server keeps what nobody fetches, as far as this client has to count with it.

use sotto_proto::limits::{MAX_RETENTION_MS, RETENTION_MARGIN_MS, RETENTION_MS};

use super::{CoreError, Step};

/// The names of the numbers in `meta`: the longest time that the server has said and that still counts, milliseconds; and
/// when it said so last, Unix milliseconds. Absent while it never said more than the default.
const LONGEST: &str = "retention";
const SAID: &str = "retention said";

/// What Welcome says. What was stored while the server said more may wait for as long as it said then.
pub(super) fn note_retention(step: &Step<'_, '_>, told_ms: u64) -> Result<(), CoreError> {
    let told_ms = told_ms.min(MAX_RETENTION_MS);
    let longest_ms = step.tx.number(LONGEST)?;
    let over_ms = step.tx.number(SAID)?.saturating_add(longest_ms);
    if told_ms.max(RETENTION_MS) < longest_ms && step.now_ms <= over_ms {
        return Ok(());
    }
    if told_ms > RETENTION_MS {
        step.tx.set_number(LONGEST, told_ms)?;
        step.tx.set_number(SAID, step.now_ms)?;
    } else if longest_ms > 0 {
        step.tx.forget_number(LONGEST)?;
        step.tx.forget_number(SAID)?;
    }
    Ok(())
}

/// How long what the server stored may wait there, milliseconds: the default at least, for a server that says less may say
/// so only since today.
pub(super) fn retention_ms(step: &Step<'_, '_>) -> Result<u64, CoreError> {
    Ok(step.tx.number(LONGEST)?.clamp(RETENTION_MS, MAX_RETENTION_MS))
}

/// How long private keys, and what was sent, are kept after they are out of use, milliseconds.
pub(super) fn kept_ms(step: &Step<'_, '_>) -> Result<u64, CoreError> {
    Ok(retention_ms(step)? + RETENTION_MARGIN_MS)
}
