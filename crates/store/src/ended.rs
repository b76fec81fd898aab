//! Accounts that are no more. Their ids are remembered for a while: a client brings an account that its server lost back
//! by itself, and what the operator removed, or a new identity replaced, was not lost.

use sotto_proto::{AccountId, limits::DAY_MS};

use crate::Day;

/// How long the end of an account is remembered: two years, longer than a machine lies in a drawer, and not for ever.
pub const ENDED_MS: u64 = 2 * 365 * DAY_MS;
/// Ends that are remembered, the oldest go first: about a megabyte, more than an operator removes by hand, and few enough
/// to look through at each removal.
pub const ENDED_ACCOUNTS: usize = 10_000;

/// Why an account is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The operator removed it.
    Removed,
    /// A reset put a new identity under its name.
    Replaced,
}

/// The end of an account: why, and on which day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) why: Ending,
    pub(crate) day: Day,
}

impl Ended {
    pub(crate) fn new(why: Ending, now_ms: u64) -> Self {
        Self { why, day: Day::of(now_ms) }
    }

    /// Why, if that is to be remembered still.
    pub(crate) fn remembered(self, now_ms: u64) -> Option<Ending> {
        (now_ms < self.day.end_ms().saturating_add(ENDED_MS)).then_some(self.why)
    }
}

/// Which ends have to go when one more comes, so that there are at most `limit` afterwards.
pub(crate) fn outdated(
    ends: impl IntoIterator<Item = (AccountId, Ended)>,
    now_ms: u64,
    limit: usize,
) -> Vec<AccountId> {
    let (mut keep, old): (Vec<_>, Vec<_>) =
        ends.into_iter().partition(|(_, ended)| ended.remembered(now_ms).is_some());
    keep.sort_unstable_by_key(|(account, ended)| (ended.day, *account));
    let too_many = (keep.len() + 1).saturating_sub(limit);
    keep.truncate(too_many);
    old.into_iter().chain(keep).map(|(account, _)| account).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_remembered_for_730_days_after_its_own() {
        let ended = Ended::new(Ending::Removed, DAY_MS + 5);
        assert_eq!(ended.remembered(732 * DAY_MS - 1), Some(Ending::Removed));
        assert_eq!(ended.remembered(732 * DAY_MS), None);
    }
}
