//! Who shares a conversation with whom, for a server whose directory is closed: accounts whose envelopes were stored for
//! each other, in both directions. In memory only, so that no record on disk says who writes to whom.

use std::collections::{BTreeMap, HashMap};

use sotto_proto::{AccountId, Username};

/// People that one account has written to and that are remembered, those of the longest ago forgotten first: as many as
/// an account can block, and more than anybody writes to in the time between two starts of a server.
const REMEMBERED_OF_ONE: usize = 1_000;
/// The same for all accounts together, at some 200 bytes each: less than 40 MiB, and a hundred each for two thousand.
const REMEMBERED: usize = 200_000;

/// That one account wrote to another.
#[derive(Debug)]
struct Row {
    /// Who was written to.
    name: Username,
    /// When, on a clock that counts such messages.
    last: u64,
}

/// Who wrote to whom.
#[derive(Debug, Default)]
pub(super) struct Partners {
    /// Who wrote, then to whom.
    written: HashMap<AccountId, HashMap<AccountId, Row>>,
    /// All rows, by when they were last written.
    order: BTreeMap<u64, (AccountId, AccountId)>,
    clock: u64,
}

impl Partners {
    /// An envelope of `from` was stored for the account `to` of this name.
    pub(super) fn wrote(&mut self, from: AccountId, to: AccountId, name: &Username) {
        if from == to {
            return;
        }
        self.remove(&from, &to);
        let full = self.written.get(&from).filter(|rows| rows.len() >= REMEMBERED_OF_ONE);
        let oldest = full.and_then(|rows| rows.iter().min_by_key(|(_, row)| row.last).map(|(to, _)| *to));
        if let Some(oldest) = oldest {
            self.remove(&from, &oldest);
        }
        if self.order.len() >= REMEMBERED
            && let Some((_, (from, to))) = self.order.first_key_value().map(|(last, row)| (*last, *row))
        {
            self.remove(&from, &to);
        }
        self.clock += 1;
        self.order.insert(self.clock, (from, to));
        let row = Row { name: name.clone(), last: self.clock };
        self.written.entry(from).or_default().insert(to, row);
    }

    /// Whether both have written to each other.
    pub(super) fn share(&self, one: &AccountId, other: &AccountId) -> bool {
        self.has_written(one, other) && self.has_written(other, one)
    }

    /// Everybody with whom this account shares a conversation.
    pub(super) fn of<'a>(
        &'a self,
        account: &'a AccountId,
    ) -> impl Iterator<Item = (&'a Username, AccountId)> + 'a {
        let rows = self.written.get(account).into_iter().flatten();
        rows.filter(|(to, _)| self.has_written(to, account)).map(|(to, row)| (&row.name, *to))
    }

    /// These two share nothing any more, until both write again.
    pub(super) fn part(&mut self, one: &AccountId, other: &AccountId) {
        self.remove(one, other);
        self.remove(other, one);
    }

    /// The account is no more.
    pub(super) fn forget(&mut self, account: &AccountId) {
        let rows = self.order.values().filter(|(from, to)| from == account || to == account);
        for (from, to) in rows.copied().collect::<Vec<_>>() {
            self.remove(&from, &to);
        }
    }

    fn has_written(&self, from: &AccountId, to: &AccountId) -> bool {
        self.written.get(from).is_some_and(|rows| rows.contains_key(to))
    }

    fn remove(&mut self, from: &AccountId, to: &AccountId) {
        let Some(rows) = self.written.get_mut(from) else { return };
        if let Some(row) = rows.remove(to) {
            self.order.remove(&row.last);
        }
        if rows.is_empty() {
            self.written.remove(from);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn id(number: usize) -> AccountId {
        let mut id = [0; 16];
        for (to, from) in id.iter_mut().zip(number.to_be_bytes()) {
            *to = from;
        }
        AccountId(id)
    }

    fn name() -> Username {
        Username::parse("somebody").unwrap()
    }

    #[test]
    fn an_account_s_people_are_bounded_and_those_of_the_longest_ago_go_first() {
        let mut partners = Partners::default();
        let name = name();
        for number in 1..=REMEMBERED_OF_ONE {
            partners.wrote(id(0), id(number), &name);
            partners.wrote(id(number), id(0), &name);
        }
        partners.wrote(id(0), id(1), &name);
        partners.wrote(id(0), id(REMEMBERED_OF_ONE + 1), &name);
        assert!(partners.share(&id(0), &id(1)), "written to again since");
        assert!(!partners.share(&id(0), &id(2)), "the one of the longest ago");
        assert_eq!(partners.of(&id(0)).count(), REMEMBERED_OF_ONE - 1, "the newest has not answered");
        assert_eq!(partners.order.len(), 2 * REMEMBERED_OF_ONE);
    }

    #[test]
    fn all_together_are_bounded_and_what_is_forgotten_leaves_nothing() {
        let mut partners = Partners::default();
        let name = name();
        for number in 0..REMEMBERED {
            partners.wrote(id(number / 100), id(1_000_000 + number), &name);
        }
        partners.wrote(id(5), id(6), &name);
        assert_eq!(partners.order.len(), REMEMBERED);
        assert!(!partners.has_written(&id(0), &id(1_000_000)), "the oldest went");
        assert!(partners.has_written(&id(0), &id(1_000_001)));
        partners.wrote(id(7), id(6), &name);
        partners.forget(&id(6));
        assert!(!partners.has_written(&id(5), &id(6)) && !partners.has_written(&id(7), &id(6)));
        for number in 0..=20 {
            partners.forget(&id(number));
        }
        let rows: usize = partners.written.values().map(HashMap::len).sum();
        assert_eq!(rows, partners.order.len());
        assert!(!partners.written.contains_key(&id(20)));
    }
}
