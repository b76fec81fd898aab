//! How long the server keeps what nobody fetches, as far as this client has to count with it.

use sotto_proto::limits::{FATE_MARGIN_MS, MAX_RETENTION_MS, RETENTION_MARGIN_MS, RETENTION_MS};

use super::{CoreError, Step};

/// The names of the numbers in `meta`: the longest time that the server has said and that still counts, milliseconds; and
/// when it said so last, Unix milliseconds. Absent while it never said more than the default.
const LONGEST: &str = "retention";
const SAID: &str = "retention said";

/// The same: what it says now; since when, Unix milliseconds by its clock; and the shortest that it said not long before.
const TOLD: &str = "retention told";
const SINCE: &str = "retention since";
const BEFORE: &str = "retention before";

/// What Welcome says. What was stored while the server said more may wait for as long as it said then.
pub(super) fn note_retention(step: &Step<'_, '_>, told_ms: u64, server_ms: u64) -> Result<(), CoreError> {
    let told_ms = told_ms.min(MAX_RETENTION_MS);
    let known_ms = step.tx.number(TOLD)?;
    if known_ms != told_ms {
        if known_ms != 0 {
            let before_ms = shortest_retention_ms(step, server_ms)?;
            step.tx.set_number(BEFORE, before_ms)?;
            step.tx.set_number(SINCE, server_ms)?;
        }
        step.tx.set_number(TOLD, told_ms)?;
    }
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

/// The shortest retention time that the server may have counted with for what it still remembers, milliseconds.
pub(super) fn shortest_retention_ms(step: &Step<'_, '_>, server_ms: u64) -> Result<u64, CoreError> {
    let told_ms = step.tx.number(TOLD)?;
    let before_ms = step.tx.number(BEFORE)?;
    let over_ms = step.tx.number(SINCE)?.saturating_add(MAX_RETENTION_MS + FATE_MARGIN_MS);
    Ok(if server_ms < over_ms { told_ms.min(before_ms) } else { told_ms })
}

/// How long private keys, and what was sent, are kept after they are out of use, milliseconds.
pub(super) fn kept_ms(step: &Step<'_, '_>) -> Result<u64, CoreError> {
    Ok(retention_ms(step)? + RETENTION_MARGIN_MS)
}
