//! Device lists and pins: what the server serves for a name, what is believed of it, and what the user is told.

use serde_bytes::ByteBuf;
use sha2::{Digest, Sha256};
use sotto_proto::{
    AccountId, SignedDeviceList, Username,
    content::ListRef,
    device_list::SuccessionError,
    frame::{ClientFrame, DeviceIn, ErrorReply, LookupLists},
    limits::MAX_LISTS,
    wire::labelled,
};

use super::{Core, CoreError, Output, Step, commands::WaitsFor, requests::Asked};
use crate::{
    api::{ClientError, ErrorKind, Fate},
    store::{ContactRecord, PinState},
};

/// What a list is looked for by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sought {
    Name(Username),
    Account(AccountId),
}

/// After how long a list may be asked for again on the same connection, milliseconds: a withheld list must not make
/// this client ask without end.
pub(super) const ASK_AGAIN_MS: u64 = 60_000;

/// Marks the alarm that nothing but a newer list settles.
pub(crate) const FORK: &str = "under one number";

/// The place of a conversation with a name that has not been looked up: no account id, for those are random.
pub(crate) fn unresolved(username: &Username) -> AccountId {
    let hash = Sha256::digest(labelled("sotto v1 unresolved", &[username.as_str().as_bytes()]));
    let mut id = [0; 16];
    for (to, from) in id.iter_mut().zip(hash) {
        *to = from;
    }
    AccountId(id)
}

/// The number and hash of a list, as content names it.
pub(crate) fn list_ref(list: &SignedDeviceList) -> ListRef {
    ListRef { number: list.list().number, hash: list.hash() }
}

impl Core {
    /// Asks for lists that were not asked for lately. Answers when the next may be asked for, if one had to wait.
    pub(super) fn look_up(&mut self, step: &mut Step<'_, '_>, sought: Vec<Sought>) -> Option<u64> {
        let mut wake_ms: Option<u64> = None;
        let (mut names, mut accounts) = (Vec::new(), Vec::new());
        for sought in sought {
            match self.lookups.get(&sought) {
                Some(&u64::MAX) => continue,
                Some(&again_ms) if again_ms > step.now_ms => {
                    wake_ms = Some(wake_ms.map_or(again_ms, |wake_ms| wake_ms.min(again_ms)));
                    continue;
                }
                _ => {}
            }
            self.lookups.insert(sought.clone(), u64::MAX);
            match sought {
                Sought::Name(name) => names.push(name),
                Sought::Account(account) => accounts.push(account),
            }
            if names.len() + accounts.len() >= MAX_LISTS {
                self.ask_lists(step, std::mem::take(&mut names), std::mem::take(&mut accounts));
            }
        }
        if !names.is_empty() || !accounts.is_empty() {
            self.ask_lists(step, names, accounts);
        }
        wake_ms
    }

    fn ask_lists(&mut self, step: &mut Step<'_, '_>, names: Vec<Username>, accounts: Vec<AccountId>) {
        let frame = ClientFrame::LookupLists(LookupLists {
            names: names.iter().map(ToString::to_string).collect(),
            accounts: accounts.clone(),
        });
        self.send(step, Asked::Lists { names, accounts }, frame);
    }

    /// Whether a list was asked for on this connection, and answered.
    pub(super) fn was_answered(&self, sought: &Sought) -> bool {
        self.lookups.get(sought).is_some_and(|again_ms| *again_ms != u64::MAX)
    }

    /// Whether the answer to a lookup is still to come.
    pub(super) fn looking_up(&self) -> bool {
        self.lookups.values().any(|again_ms| *again_ms == u64::MAX)
    }

    pub(super) fn lookup_failed(
        &mut self,
        step: &mut Step<'_, '_>,
        names: &[Username],
        accounts: &[AccountId],
        error: &ErrorReply,
        told: &ClientError,
    ) {
        let again_ms = step.now_ms.saturating_add(error.retry_after_ms.unwrap_or(5_000));
        for name in names {
            self.lookups.insert(Sought::Name(name.clone()), again_ms);
            self.answer_waiting(step, name, &Err(told.clone()));
        }
        for account in accounts {
            self.lookups.insert(Sought::Account(*account), again_ms);
        }
    }

    /// Lists that were asked for.
    pub(super) fn served_lists(
        &mut self,
        step: &mut Step<'_, '_>,
        names: &[Username],
        accounts: &[AccountId],
        lists: &[Option<ByteBuf>],
    ) -> Result<(), CoreError> {
        let again_ms = step.now_ms.saturating_add(ASK_AGAIN_MS);
        let sought =
            names.iter().cloned().map(Sought::Name).chain(accounts.iter().copied().map(Sought::Account));
        for (sought, bytes) in sought.zip(lists.iter().chain(std::iter::repeat(&None))) {
            self.lookups.insert(sought.clone(), again_ms);
            let list = match bytes.as_ref().map(|bytes| SignedDeviceList::parse(bytes)).transpose() {
                Ok(list) => list,
                Err(error) => {
                    step.warn(format!("the server served a device list that does not hold: {error}"));
                    self.unanswered(step, &sought);
                    continue;
                }
            };
            match (sought, list) {
                (Sought::Name(name), Some(list)) if list.list().username == name => {
                    self.served(step, &list)?;
                }
                (Sought::Account(account), Some(list)) if list.list().account == account => {
                    self.served(step, &list)?;
                }
                (sought, Some(_)) => {
                    step.warn("the server served somebody else's device list");
                    self.unanswered(step, &sought);
                }
                (Sought::Name(name), None) => self.nobody(step, &name)?,
                (Sought::Account(_), None) => {}
            }
        }
        Ok(())
    }

    /// The server shows that another device has changed one's own list.
    pub(super) fn own_list_pushed(&mut self, step: &mut Step<'_, '_>, bytes: &[u8]) -> Result<(), CoreError> {
        let list = match SignedDeviceList::parse(bytes) {
            Ok(list) if list.list().username == self.me.username => list,
            Ok(_) => {
                step.warn("the server showed somebody else's device list as this account's own");
                return Ok(());
            }
            Err(error) => {
                step.warn(format!("the server showed a device list that does not hold: {error}"));
                return Ok(());
            }
        };
        // It is older than what an answer, or another device, has shown in the meantime: no sign of anything.
        if list.list().number < self.own_contact(step)?.list.list().number {
            return Ok(());
        }
        self.served(step, &list)
    }

    fn own_contact(&self, step: &Step<'_, '_>) -> Result<ContactRecord, CoreError> {
        let own = step.tx.contact(&self.me.account)?;
        own.ok_or_else(|| CoreError::Bug("the profile does not hold its own device list".to_owned()))
    }

    /// What was asked for did not come.
    fn unanswered(&mut self, step: &mut Step<'_, '_>, sought: &Sought) {
        if let Sought::Name(name) = sought {
            let error =
                ClientError::new(ErrorKind::Unreachable, format!("the server served no list for {name}"));
            self.answer_waiting(step, name, &Err(error));
        }
    }

    /// There is no such user, says the server.
    fn nobody(&mut self, step: &mut Step<'_, '_>, name: &Username) -> Result<(), CoreError> {
        let error = ClientError::new(ErrorKind::NotFound, format!("there is no user {name} on this server"));
        self.answer_waiting(step, name, &Err(error));
        for entry in step.tx.entries_for_name(name)? {
            step.tx.remove_entry(entry.entry)?;
            self.settle(step, &entry.message, Fate::UnknownUser, Some("there is no such user"))?;
        }
        self.drop_held(step, name)?;
        if let Some(gone) = step.tx.contact_by_name(name)? {
            let doubted = self.doubted.remove(&gone.account);
            if (doubted || self.missing.contains_key(&gone.account)) && Self::lately_restored(step)? {
                return self.wait_for_missing(step, &gone);
            }
            step.warn(format!("the server says that there is no user {name} any more"));
            if self.missing.remove(&gone.account).is_some() || doubted {
                for entry in step.tx.lane(&gone.account, true, super::lanes::LANE_LIMIT)? {
                    step.tx.remove_entry(entry.entry)?;
                    self.settle(
                        step,
                        &entry.message,
                        Fate::UnknownUser,
                        Some("there is no such user any more"),
                    )?;
                }
            }
        }
        Ok(())
    }

    /// The server serves this list for the name in it. Only from here is a name ever pinned, or an identity changed.
    pub(super) fn served(
        &mut self,
        step: &mut Step<'_, '_>,
        list: &SignedDeviceList,
    ) -> Result<(), CoreError> {
        let says = list.list();
        let name = says.username.clone();
        if step.tx.contact(&says.account)?.is_some_and(|other| other.username != name) {
            // An account id belongs to one name: such a list would lead what is meant for one contact to another.
            step.warn(format!("the server serves somebody else's account as {name}; it is not believed"));
            let error = ClientError::new(
                ErrorKind::IdentityChanged,
                format!("the server's list for {name} is forged"),
            );
            self.answer_waiting(step, &name, &Err(error));
            return Ok(());
        }
        match step.tx.contact_by_name(&name)? {
            None => {
                step.tx.pin(list, false)?;
                step.tx.resolve_conversation(&unresolved(&name), &says.account)?;
            }
            Some(known) if known.account != says.account || known.account_key != says.account_key => {
                self.doubted.remove(&known.account);
                self.missing.remove(&known.account);
                self.identity_changed(step, &known, list)?;
            }
            Some(known) => {
                self.missing.remove(&known.account);
                if self.doubted.remove(&known.account) {
                    // It serves the list and does not know the account: not without end.
                    self.delay_lanes(step, known.account, ASK_AGAIN_MS);
                }
                self.same_identity(step, &known, list)?;
            }
        }
        step.tx.resolve_name(&name, &says.account)?;
        self.answer_waiting(step, &name, &Ok(()));
        self.release_held(step, &name)
    }

    fn same_identity(
        &mut self,
        step: &mut Step<'_, '_>,
        known: &ContactRecord,
        list: &SignedDeviceList,
    ) -> Result<(), CoreError> {
        let name = &known.username;
        if known.changed.is_some() {
            step.tx.set_changed(&known.account, None)?;
            step.warn(format!("the server shows the pinned key of {name} again; what was held is sent"));
        }
        let alarm = match list.follows(&known.list) {
            Ok(()) => {
                if list.as_bytes() == known.list.as_bytes() {
                    // The same list again does not settle that there is another one of its number.
                    known.alarm.clone().filter(|alarm| alarm.contains(FORK))
                } else {
                    step.tx.update_list(list)?;
                    if known.account == self.me.account {
                        self.own_list_changed(step, &known.list, list)?;
                    }
                    None
                }
            }
            Err(SuccessionError::Older) => {
                self.hand_over.insert(known.account);
                Some(format!(
                    "the server served an old device list of {name}; the newer one is kept and was handed to it"
                ))
            }
            Err(SuccessionError::Fork) => Some(format!(
                "there are two different device lists of {name} {FORK}; compare the safety number, and ask {name} whether \
                 all of the account's devices are theirs"
            )),
            Err(SuccessionError::Recertified) => Some(format!(
                "the server serves a device list of {name} in which a device has other keys than before; it is not used"
            )),
            Err(SuccessionError::RevocationLost) => Some(format!(
                "the server serves a device list of {name} in which a removed device is back; it is not used"
            )),
            Err(SuccessionError::Identity) => {
                Some(format!("the server serves a foreign device list for {name}"))
            }
        };
        let number = alarm.as_ref().map_or(list.list().number, |_| known.list.list().number);
        let alarm = alarm.or_else(|| {
            (number < known.wanted).then(|| {
                format!(
                    "{name} has a newer device list than the server serves (number {} of {number}): messages to {name} \
                     are held until it does",
                    known.wanted
                )
            })
        });
        if alarm != known.alarm {
            step.tx.set_alarm(&known.account, alarm.as_deref())?;
            if let Some(alarm) = alarm {
                step.warn(alarm);
            }
        }
        Ok(())
    }

    fn identity_changed(
        &mut self,
        step: &mut Step<'_, '_>,
        known: &ContactRecord,
        list: &SignedDeviceList,
    ) -> Result<(), CoreError> {
        if known.changed.as_ref().is_some_and(|changed| changed.as_bytes() == list.as_bytes()) {
            return Ok(());
        }
        if known.account == self.me.account {
            step.warn(
                "the server shows another identity under your own name: it was reset, or the server is lying. Nothing \
                 of it is believed",
            );
            return Ok(());
        }
        step.tx.set_changed(&known.account, Some(list))?;
        step.warn(format!(
            "the identity of {0} has changed: either {0} made a new one, or the server is lying. Messages to {0} are \
             held. Compare the numbers: sotto verify {0}",
            known.username
        ));
        self.hold_lane(step, known)
    }

    /// Marks what waits for a changed contact as held.
    pub(super) fn hold_lane(
        &mut self,
        step: &mut Step<'_, '_>,
        contact: &ContactRecord,
    ) -> Result<(), CoreError> {
        let reason = match (&contact.state, &contact.alarm) {
            (PinState::Changed, _) => format!("the identity of {} has changed", contact.username),
            (_, Some(alarm)) => alarm.clone(),
            (_, None) => format!("{} has a newer device list than the server has shown", contact.username),
        };
        for entry in step.tx.lane(&contact.account, true, super::lanes::LANE_LIMIT)? {
            self.settle(step, &entry.message, Fate::Held, Some(&reason))?;
        }
        Ok(())
    }

    /// What DeviceIn says of one's own list.
    pub(super) fn compare_own_list(
        &mut self,
        step: &mut Step<'_, '_>,
        device: &DeviceIn,
    ) -> Result<(), CoreError> {
        let mine = list_ref(&self.own_contact(step)?.list);
        if device.list_hash != mine.hash {
            if device.list_number < mine.number {
                // It goes along with the next Submit, without any proof; at once, where this device has the account's key,
                // for the newer list may remove a device. The password's key does not leave for it: a server that shows
                // an old list would have it of every device for the asking.
                self.hand_over.insert(self.me.account);
                if let Some(proof) = self.account_proof(step)? {
                    self.send(step, Asked::Prove, proof);
                }
            } else {
                self.look_up(step, vec![Sought::Name(self.me.username.clone())]);
            }
        }
        Ok(())
    }

    /// Answers the commands that wait for a name's list.
    fn answer_waiting(&mut self, step: &mut Step<'_, '_>, name: &Username, result: &Result<(), ClientError>) {
        let (ready, waiting) =
            std::mem::take(&mut self.waiting).into_iter().partition(|(_, sought, _)| sought == name);
        self.waiting = waiting;
        let ready: Vec<(super::CommandId, Username, WaitsFor)> = ready;
        for (command, name, what) in ready {
            let reply = match (result, what) {
                (Ok(()), WaitsFor::Safety) => self.safety(step, &name),
                (Ok(()), WaitsFor::Block(blocked)) => self.block(step, &name, blocked),
                (Err(error), _) => Ok(Err(error.clone())),
            };
            let reply = reply.unwrap_or_else(|error| Err(error.into()));
            step.out.push(Output::Reply(command, reply));
        }
    }
}
