//! Accounts that were needed lately, so that a Submit does not ask the store for the same device lists each time.
//! Only this process changes the store, and every change passes here, so an entry is never older than the store's.

use std::{collections::HashMap, sync::Arc};

use sotto_proto::{AccountId, DeviceId, ListHash, SignedDeviceList, Username, device_list::DeviceListError};
use sotto_store::AccountRecord;

/// Bytes of accounts in each of the two generations, as [`Known::weight`] counts them: some ten thousand usual accounts of
/// 3 KiB, and of those with the longest lists and the most blocks a hundred. In bytes, for anybody can make an account large.
pub(super) const GENERATION: usize = 32 << 20;
/// What an account takes besides what is counted: keys, hashes, the entries of the maps.
const ENTRY: usize = 1024;

/// An account by name or by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AccountRef {
    Name(Username),
    Id(AccountId),
}

/// An account's record, its device list read.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) record: AccountRecord,
    pub(super) list: SignedDeviceList,
    pub(super) hash: ListHash,
}

impl Known {
    /// Reads the record's list, which was verified before it was stored; an error means a damaged record.
    pub(super) fn new(record: AccountRecord) -> Result<Self, DeviceListError> {
        let list = SignedDeviceList::parse(&record.list)?;
        Ok(Self::with(record, list))
    }

    /// The same with its list read and verified already.
    pub(super) fn with(record: AccountRecord, list: SignedDeviceList) -> Self {
        let hash = list.hash();
        Self { record, list, hash }
    }

    /// About how many bytes it takes: the list is there as received twice, and read.
    pub(super) fn weight(&self) -> usize {
        let record = &self.record;
        let waiting = record.reset.as_ref().map_or(0, |reset| reset.list.len());
        ENTRY + 3 * record.list.len() + waiting + size_of_val(record.blocked.as_slice())
    }

    pub(super) fn number(&self) -> u64 {
        self.list.list().number
    }

    /// Whether what that account sends is refused.
    pub(super) fn blocks(&self, account: &AccountId) -> bool {
        self.record.blocked.binary_search(account).is_ok()
    }

    pub(super) fn has_device(&self, device: &DeviceId) -> bool {
        self.list.list().device(device).is_some()
    }
}

#[derive(Debug, Default)]
struct Generation {
    accounts: HashMap<AccountId, Arc<Known>>,
    names: HashMap<Username, AccountId>,
    /// Bytes of the accounts.
    weight: usize,
}

impl Generation {
    fn insert(&mut self, known: Arc<Known>) {
        let account = known.record.account;
        self.names.insert(known.record.username.clone(), account);
        self.weight += known.weight();
        if let Some(before) = self.accounts.insert(account, known) {
            self.weight -= before.weight();
        }
    }

    fn remove(&mut self, account: &AccountId) {
        if let Some(known) = self.accounts.remove(account) {
            self.weight -= known.weight();
        }
        self.names.retain(|_, known| known != account);
    }
}

/// The accounts: two generations, the older is dropped whole when the younger is full.
#[derive(Debug, Default)]
pub(super) struct KnownAccounts {
    young: Generation,
    old: Generation,
    /// How many accounts were forgotten because they are no more.
    forgotten: u64,
}

impl KnownAccounts {
    /// The account, if it is known here.
    pub(super) fn find(&mut self, wanted: &AccountRef) -> Option<Arc<Known>> {
        let id = match wanted {
            AccountRef::Id(id) => *id,
            AccountRef::Name(name) => *self.young.names.get(name).or_else(|| self.old.names.get(name))?,
        };
        if let Some(known) = self.young.accounts.get(&id) {
            return Some(Arc::clone(known));
        }
        let known = Arc::clone(self.old.accounts.get(&id)?);
        self.keep(Arc::clone(&known));
        Some(known)
    }

    /// Takes what the store has. An answer that was overtaken by a change is dropped; the newest is returned.
    pub(super) fn insert(&mut self, known: Known) -> Arc<Known> {
        let held = self.find(&AccountRef::Id(known.record.account));
        match held {
            Some(held) if held.record.revision >= known.record.revision => held,
            _ => {
                let known = Arc::new(known);
                self.keep(Arc::clone(&known));
                known
            }
        }
    }

    /// The account is no more. Answers to look-ups that began before this must not be taken in.
    pub(super) fn forget(&mut self, account: &AccountId) {
        self.forgotten += 1;
        for generation in [&mut self.young, &mut self.old] {
            generation.remove(account);
        }
    }

    /// Rises with each account that is forgotten.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn keep(&mut self, known: Arc<Known>) {
        if self.young.weight >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(known);
    }

    /// Bytes of both generations.
    #[cfg(test)]
    pub(super) fn weight(&self) -> usize {
        self.young.weight + self.old.weight
    }
}
