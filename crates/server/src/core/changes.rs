//! Changes of accounts' records: those of one account are made one after another, first come, first served.
//!
//! Each is a compare-and-set on what the store has. As only this process changes accounts, and all changes pass here, one
//! meets another record than it expected only where what was known of the account was old; then it is made again. Were
//! they all on their way at once, whoever changes the account without pause would win against everybody else. A
//! connection has one change in the line, for its own requests wait meanwhile; so nobody gets more than each other's turn.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use sotto_proto::{
    AccountId, ListHash, ResetCode, SignedDeviceList,
    frame::{ErrorCode, Submit},
};
use sotto_store::{AccountRecord, ReplaceOutcome};

use super::{
    ATTEMPTS, Core, Question, Refused, StoreCall,
    connection::{Proof, Ticket},
    edit::Edit,
    known::Known,
    lists::followed_by,
    login::disabled,
    reset::waiting_identity,
    step::Step,
};

/// Changes that wait for their turn, an account: far more than it has devices, and contacts who hand over its new list
/// at the same moment. Each holds a device list at most.
const MAX_WAITING: usize = 256;

/// Who wants a change, and is answered.
#[derive(Debug, Clone, Copy)]
pub(super) enum Editor {
    /// A client; its line waits meanwhile.
    Client(Ticket),
    /// The operator.
    Operator(Question),
    /// Nobody: the server notes it for itself.
    Server,
}

/// What is to change.
#[derive(Debug)]
pub(super) enum What {
    /// A part of the record.
    Edit(Edit),
    /// The device list.
    List {
        /// The new one.
        list: Box<SignedDeviceList>,
        /// The one that it was found to follow.
        follows: ListHash,
        /// The Submit that handed it over, to be started again, and how often it was started.
        submit: Option<Box<(Submit, u8)>>,
    },
    /// A new identity is asked for, with this list: it waits or takes effect.
    Reset(Box<SignedDeviceList>),
    /// The operator lets the one that waits take effect, if it has this code.
    ResetNow(ResetCode),
}

/// A change that somebody wants.
#[derive(Debug)]
pub(super) struct Change {
    by: Editor,
    what: What,
    /// How often it was made anew because the record was another one than was known.
    attempts: u8,
}

impl Change {
    pub(super) fn new(by: Editor, what: What) -> Self {
        Self { by, what, attempts: 0 }
    }

    fn noted_day(&mut self) -> Option<&mut sotto_store::Day> {
        match &mut self.what {
            What::Edit(Edit::Seen(day)) => Some(day),
            _ => None,
        }
    }
}

/// What the store is asked for a change.
#[derive(Debug)]
pub(super) enum Effect {
    /// A part of the record, and the record with it.
    Edit(Edit, AccountRecord),
    /// The record with the new list.
    List(AccountRecord),
    /// This list's identity in the place of the old one.
    Reset(Box<SignedDeviceList>),
}

/// A change on its way into the store.
#[derive(Debug)]
pub(super) struct UnderWay {
    change: Change,
    /// What it is made on.
    old: Arc<Known>,
    effect: Effect,
}

impl UnderWay {
    pub(super) fn account(&self) -> AccountId {
        self.old.record.account
    }

    pub(super) fn ticket(&self) -> Option<Ticket> {
        match self.change.by {
            Editor::Client(ticket) => Some(ticket),
            Editor::Operator(_) | Editor::Server => None,
        }
    }

    pub(super) fn question(&self) -> Option<Question> {
        match self.change.by {
            Editor::Operator(question) => Some(question),
            Editor::Client(_) | Editor::Server => None,
        }
    }
}

/// The changes of one account behind the one that is under way.
#[derive(Debug)]
struct Line {
    /// The newest record that was seen.
    known: Arc<Known>,
    /// Those of the operator come first.
    orders: VecDeque<Change>,
    others: VecDeque<Change>,
}

impl Line {
    fn saw(&mut self, known: Arc<Known>) {
        if known.record.revision > self.known.record.revision {
            self.known = known;
        }
    }
}

/// What became of a change that came.
enum Added {
    /// None is under way: it is to be made.
    First,
    /// It waits for its turn.
    Waits,
    /// The line is full.
    Full(Change),
}

/// The accounts that a change is under way for.
#[derive(Debug, Default)]
pub(super) struct Changes {
    lines: HashMap<AccountId, Line>,
}

impl Changes {
    fn add(&mut self, known: Arc<Known>, mut change: Change) -> Added {
        let account = known.record.account;
        let Some(line) = self.lines.get_mut(&account) else {
            let line = Line { known, orders: VecDeque::new(), others: VecDeque::from([change]) };
            self.lines.insert(account, line);
            return Added::First;
        };
        line.saw(known);
        if let Some(day) = change.noted_day() {
            // One note of the newest day is enough.
            if let Some(noted) = line.others.iter_mut().find_map(Change::noted_day) {
                *noted = (*day).max(*noted);
                return Added::Waits;
            }
        } else if line.orders.len() + line.others.len() >= MAX_WAITING {
            return Added::Full(change);
        }
        match change.by {
            Editor::Operator(_) => line.orders.push_back(change),
            Editor::Client(_) | Editor::Server => line.others.push_back(change),
        }
        Added::Waits
    }

    /// The next change and the record to make it on. Without one the account has no line any more.
    fn next(&mut self, account: &AccountId) -> Option<(Arc<Known>, Change)> {
        let line = self.lines.get_mut(account)?;
        if let Some(change) = line.orders.pop_front().or_else(|| line.others.pop_front()) {
            return Some((Arc::clone(&line.known), change));
        }
        self.lines.remove(account);
        None
    }

    fn saw(&mut self, known: Arc<Known>) {
        if let Some(line) = self.lines.get_mut(&known.record.account) {
            line.saw(known);
        }
    }

    /// Puts a change back to the head of its line.
    fn again(&mut self, account: &AccountId, change: Change) {
        if let Some(line) = self.lines.get_mut(account) {
            match change.by {
                Editor::Operator(_) => line.orders.push_front(change),
                Editor::Client(_) | Editor::Server => line.others.push_front(change),
            }
        }
    }

    /// Whether none is under way.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

impl Core {
    /// Makes a change when its turn comes, and answers; a client's line goes on when it is done.
    pub(super) fn change(&mut self, now_ms: u64, known: Arc<Known>, change: Change) {
        let account = known.record.account;
        if let Editor::Client(ticket) = change.by {
            self.block(ticket.connection);
        }
        match self.changes.add(known, change) {
            Added::First => self.next_change(now_ms, account),
            Added::Waits => {}
            Added::Full(change) => {
                let message = "too many changes of this account wait; try again";
                self.change_refused(now_ms, change, (ErrorCode::BUSY, message.into()));
            }
        }
    }

    /// Begins the account's next changes, up to one that the store is asked for.
    pub(super) fn next_change(&mut self, now_ms: u64, account: AccountId) {
        while let Some((known, change)) = self.changes.next(&account) {
            if let Some(under_way) = self.begin_change(now_ms, known, change) {
                let expected = under_way.old.record.clone();
                let call = match &under_way.effect {
                    Effect::Edit(_, new) | Effect::List(new) => {
                        StoreCall::ReplaceAccount { expected, new: new.clone() }
                    }
                    Effect::Reset(list) => {
                        StoreCall::ResetAccount { expected, list: list.as_ref().clone(), now_ms }
                    }
                };
                self.call(Step::Change(Box::new(under_way)), call);
                return;
            }
        }
    }

    /// What the store is to be asked for a change, as things stand now; `None` if it was answered already.
    fn begin_change(&mut self, now_ms: u64, old: Arc<Known>, change: Change) -> Option<UnderWay> {
        let effect = self.may_change(&old.record, &change).and_then(|()| match &change.what {
            What::Edit(edit) => {
                edit.of(&old.record).map(|new| new.map(|new| Effect::Edit(edit.clone(), new)))
            }
            What::List { list, follows, .. } => {
                followed_by(&old, list, follows).map(|new| new.map(Effect::List))
            }
            What::Reset(list) => self.reset_effect(now_ms, list, &old),
            What::ResetNow(code) => {
                waiting_identity(&old.record, *code).map(|list| Some(Effect::Reset(list)))
            }
        });
        match effect {
            Ok(Some(effect)) => Some(UnderWay { change, old, effect }),
            Ok(None) => {
                self.as_it_should_be(now_ms, change, &old);
                None
            }
            Err(refused) => {
                self.change_refused(now_ms, change, refused);
                None
            }
        }
    }

    /// Whether who asked for a change may still have it: others may have come before it.
    fn may_change(&self, record: &AccountRecord, change: &Change) -> Result<(), Refused> {
        let Editor::Client(ticket) = change.by else { return Ok(()) };
        let ended =
            || (ErrorCode::LOGIN_NEEDED, "what was proven on this connection counts no longer".into());
        // Nobody hears this where the connection is gone.
        let connection = self.connections.get(&ticket.connection).ok_or_else(ended)?;
        let signed_in = connection.session.as_ref().map(|session| session.account);
        let own = Some(record.account);
        let proven = connection.proven.map(|(account, _)| account);
        let may = match &change.what {
            What::List { submit: Some(_), .. } => return signed_in.map(drop).ok_or_else(ended),
            What::Edit(Edit::Password { old: Some(old), .. }) => {
                if *old != record.password_hash {
                    return Err((ErrorCode::BAD_CREDENTIALS, "the password was changed meanwhile".into()));
                }
                signed_in == own || proven == own
            }
            What::Edit(Edit::Password { old: None, .. }) => {
                connection.proven == Some((record.account, Proof::AccountKey))
            }
            What::Edit(_) => signed_in == own,
            What::List { submit: None, .. } | What::Reset(_) | What::ResetNow(_) => proven == own,
        };
        if record.disabled {
            return Err(disabled());
        }
        may.then_some(()).ok_or_else(ended)
    }

    /// The store answered.
    pub(super) fn change_stored(&mut self, now_ms: u64, under_way: UnderWay, outcome: ReplaceOutcome) {
        let UnderWay { change, old, effect } = under_way;
        let account = old.record.account;
        match outcome {
            ReplaceOutcome::Replaced(revision) => self.changed(now_ms, change, &old, effect, revision),
            ReplaceOutcome::Conflict(newest) => self.change_met_another(now_ms, change, *newest),
            ReplaceOutcome::Unknown => {
                let message = "this server has no such account";
                self.change_refused(now_ms, change, (ErrorCode::UNKNOWN_USER, message.into()));
            }
            ReplaceOutcome::Collision => {
                let message = match effect {
                    Effect::Reset(_) => "the new account's or device's id is in use; make new ones",
                    Effect::Edit(..) | Effect::List(_) => "the new device's id is in use; make another",
                };
                self.change_refused(now_ms, change, (ErrorCode::COLLISION, message.into()));
            }
        }
        self.next_change(now_ms, account);
    }

    /// It is on stable storage: what follows from it, and the answer.
    fn changed(&mut self, now_ms: u64, change: Change, old: &Known, effect: Effect, revision: u64) {
        let by = change.by;
        match (effect, change.what) {
            (Effect::Edit(edit, new), _) => {
                let new = AccountRecord { revision, ..new };
                self.saw(new.clone(), None);
                self.edited(now_ms, by, &edit, old, &new);
            }
            (Effect::List(new), What::List { list, submit, .. }) => {
                self.saw(AccountRecord { revision, ..new }, Some(list.as_ref().clone()));
                self.list_replaced(now_ms, by, old, &list, submit);
            }
            (Effect::Reset(list), _) => self.reset_done(now_ms, by, old, &list),
            // A list is replaced for nothing else.
            (Effect::List(_), _) => {}
        }
    }

    /// The record was another one than was known: the change is made anew on it, if its time has not come too often.
    fn change_met_another(&mut self, now_ms: u64, change: Change, newest: AccountRecord) {
        let account = newest.account;
        let refused: Refused = match self.saw(newest, None) {
            None => (ErrorCode::STORE, "the account's record is damaged".into()),
            Some(()) if change.attempts < ATTEMPTS => {
                let attempts = change.attempts + 1;
                return self.changes.again(&account, Change { attempts, ..change });
            }
            Some(()) => (ErrorCode::BUSY, "the account changes all the time; try again".into()),
        };
        self.change_refused(now_ms, change, refused);
    }

    /// Takes a record as the newest of its account.
    fn saw(&mut self, record: AccountRecord, list: Option<SignedDeviceList>) -> Option<()> {
        let known = self.remember(record, list)?;
        self.changes.saw(known);
        Some(())
    }

    /// The store needs not be asked for a change.
    fn as_it_should_be(&mut self, now_ms: u64, change: Change, old: &Arc<Known>) {
        match (change.by, change.what) {
            (by, What::Edit(edit)) => self.edited(now_ms, by, &edit, old, &old.record),
            (Editor::Client(ticket), What::List { submit, .. }) => {
                self.list_not_replaced(now_ms, ticket, submit, Ok(()));
            }
            (Editor::Client(ticket), What::Reset(list)) => self.reset_stands(now_ms, ticket, old, &list),
            // Those always change something.
            (_, What::List { .. } | What::Reset(_) | What::ResetNow(_)) => {}
        }
    }

    fn change_refused(&mut self, now_ms: u64, change: Change, refused: Refused) {
        match (change.by, change.what) {
            (Editor::Client(ticket), What::List { submit, .. }) => {
                self.list_not_replaced(now_ms, ticket, submit, Err(refused));
            }
            (Editor::Client(ticket), _) => {
                self.refuse(ticket, refused);
                self.unblock(now_ms, ticket.connection);
            }
            (Editor::Operator(question), _) => self.ordered(question, Err(refused.1.into_owned())),
            (Editor::Server, _) => {}
        }
    }
}
