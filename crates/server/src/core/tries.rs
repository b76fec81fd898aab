//! Delays after wrong passwords, per name and per address, growing to a cap. Only password logins wait: a device that
//! signs in by its key never does.

use std::{collections::HashMap, hash::Hash, net::IpAddr};

use sotto_proto::Username;

/// Wrong passwords in a row for one name before there is any delay: typing errors.
const FREE_FOR_NAME: u32 = 2;
/// Wrong passwords in a row from one address before there is any delay: a class behind one router.
const FREE_FOR_ADDRESS: u32 = 20;
/// The first delay; each further wrong password doubles it.
const FIRST_DELAY_MS: u64 = 1_000;
/// The longest delay: at most 1,440 guesses a day for a name.
const LONGEST_DELAY_MS: u64 = 60_000;
/// Wrong passwords are forgotten after this long without another.
const MEMORY_MS: u64 = 60 * 60 * 1000;
/// Names and addresses remembered each; beyond this the ones that are quiet longest are forgotten.
const REMEMBERED: usize = 50_000;

#[derive(Debug, Clone, Copy)]
struct Row {
    wrong: u32,
    last_ms: u64,
}

#[derive(Debug)]
struct Rows<K> {
    rows: HashMap<K, Row>,
    free: u32,
}

impl<K: Hash + Eq + Clone> Rows<K> {
    fn new(free: u32) -> Self {
        Self { rows: HashMap::new(), free }
    }

    /// How long until the next attempt, 0 for none.
    fn wait_ms(&self, key: &K, now_ms: u64) -> u64 {
        let Some(row) = self.rows.get(key) else { return 0 };
        let Some(over) = row.wrong.checked_sub(self.free + 1) else { return 0 };
        let delay =
            FIRST_DELAY_MS.checked_shl(over.min(16)).unwrap_or(LONGEST_DELAY_MS).min(LONGEST_DELAY_MS);
        (row.last_ms + delay).saturating_sub(now_ms)
    }

    fn add(&mut self, key: K, now_ms: u64) {
        if self.rows.len() >= REMEMBERED && !self.rows.contains_key(&key) {
            self.forget_half();
        }
        let row = self.rows.entry(key).or_insert(Row { wrong: 0, last_ms: now_ms });
        row.wrong = row.wrong.saturating_add(1);
        row.last_ms = now_ms;
    }

    /// One attempt counts no longer.
    fn take_back(&mut self, key: &K) {
        if let Some(row) = self.rows.get_mut(key) {
            row.wrong = row.wrong.saturating_sub(1);
        }
    }

    fn forget_half(&mut self) {
        let mut times: Vec<u64> = self.rows.values().map(|row| row.last_ms).collect();
        let middle = times.len() / 2;
        let (_, median, _) = times.select_nth_unstable(middle);
        let median = *median;
        self.rows.retain(|_, row| row.last_ms > median);
    }

    fn set_back(&mut self, now_ms: u64) {
        for row in self.rows.values_mut() {
            row.last_ms = row.last_ms.min(now_ms);
        }
    }

    fn forget_old(&mut self, now_ms: u64) {
        self.rows.retain(|_, row| row.last_ms + MEMORY_MS > now_ms);
    }
}

/// Wrong passwords of late.
#[derive(Debug)]
pub(super) struct Tries {
    names: Rows<Username>,
    addresses: Rows<IpAddr>,
    /// Wrong invites, by address: a token cannot be guessed, and this keeps who tries from asking the store all day.
    invites: Rows<IpAddr>,
}

impl Tries {
    pub(super) fn new() -> Self {
        Self {
            names: Rows::new(FREE_FOR_NAME),
            addresses: Rows::new(FREE_FOR_ADDRESS),
            invites: Rows::new(FREE_FOR_ADDRESS),
        }
    }

    /// Before a password is checked. It counts as wrong until [`Self::right`] or [`Self::not_checked`] says otherwise, so
    /// many guesses at once gain nothing. `Err` holds the milliseconds to wait.
    pub(super) fn begin(&mut self, name: &Username, address: IpAddr, now_ms: u64) -> Result<(), u64> {
        let wait_ms = self.names.wait_ms(name, now_ms).max(self.addresses.wait_ms(&address, now_ms));
        if wait_ms > 0 {
            return Err(wait_ms);
        }
        self.names.add(name.clone(), now_ms);
        self.addresses.add(address, now_ms);
        Ok(())
    }

    /// The password was right.
    pub(super) fn right(&mut self, name: &Username, address: IpAddr) {
        self.names.rows.remove(name);
        self.addresses.take_back(&address);
    }

    /// The password was never checked: only this attempt is taken back, or who keeps the workers busy could guess on
    /// without delay.
    pub(super) fn not_checked(&mut self, name: &Username, address: IpAddr) {
        self.names.take_back(name);
        self.addresses.take_back(&address);
    }

    /// Before an invite is looked up; as [`Self::begin`].
    pub(super) fn begin_invite(&mut self, address: IpAddr, now_ms: u64) -> Result<(), u64> {
        match self.invites.wait_ms(&address, now_ms) {
            0 => {
                self.invites.add(address, now_ms);
                Ok(())
            }
            wait_ms => Err(wait_ms),
        }
    }

    /// The invite was good.
    pub(super) fn right_invite(&mut self, address: IpAddr) {
        self.invites.take_back(&address);
    }

    /// The clock was set back: what was wrong in its future was wrong now.
    pub(super) fn set_back(&mut self, now_ms: u64) {
        self.names.set_back(now_ms);
        self.addresses.set_back(now_ms);
        self.invites.set_back(now_ms);
    }

    /// Drops what has been quiet for an hour.
    pub(super) fn sweep(&mut self, now_ms: u64) {
        self.names.forget_old(now_ms);
        self.addresses.forget_old(now_ms);
        self.invites.forget_old(now_ms);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn delays_double_up_to_the_cap_and_a_right_password_ends_them() {
        let mut tries = Tries::new();
        let name = Username::parse("bob").unwrap();
        let mut now_ms = 1_000_000;
        let mut waits = Vec::new();
        for _ in 0..12 {
            if let Err(wait_ms) = tries.begin(&name, HOME, now_ms) {
                waits.push(wait_ms);
                now_ms += wait_ms;
                tries.begin(&name, HOME, now_ms).unwrap();
            }
        }
        assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);
        tries.right(&name, HOME);
        assert_eq!(tries.begin(&name, HOME, now_ms), Ok(()));
    }

    #[test]
    fn a_password_that_was_not_checked_takes_back_only_itself() {
        let mut tries = Tries::new();
        let name = Username::parse("bob").unwrap();
        for _ in 0..=FREE_FOR_NAME {
            tries.begin(&name, HOME, 0).unwrap();
        }
        for round in 1..=10 {
            let now_ms = round * FIRST_DELAY_MS;
            assert_eq!(tries.begin(&name, HOME, now_ms), Ok(()));
            tries.not_checked(&name, HOME);
            assert_eq!(
                tries.begin(&name, HOME, now_ms),
                Err(FIRST_DELAY_MS),
                "the delay neither grows nor ends"
            );
        }
    }

    #[test]
    fn one_address_that_tries_many_names_is_delayed_and_others_are_not() {
        let mut tries = Tries::new();
        for n in 0..=FREE_FOR_ADDRESS {
            tries.begin(&Username::parse(&format!("user{n}")).unwrap(), HOME, 5).unwrap();
        }
        let next = Username::parse("next").unwrap();
        assert_eq!(tries.begin(&next, HOME, 5), Err(FIRST_DELAY_MS));
        assert_eq!(tries.begin(&next, "10.0.0.1".parse().unwrap(), 5), Ok(()));
    }

    #[test]
    fn memory_is_bounded() {
        let mut tries = Tries::new();
        for n in 0..(REMEMBERED + 10) {
            tries.names.add(Username::parse(&format!("u{n}")).unwrap(), u64::try_from(n).unwrap());
        }
        assert!(tries.names.rows.len() <= REMEMBERED);
        tries.sweep(MEMORY_MS * 2);
        assert!(tries.names.rows.is_empty());
    }
}
