//! Changes of one account's record: each is made on what the store has, and again where another one came before it.

use std::sync::Arc;

use sotto_proto::{
    AccountId,
    frame::{Block, ErrorCode, ResetState, ServerFrame},
    limits::MAX_BLOCKED,
};
use sotto_store::{AccountRecord, Day, ReplaceOutcome, StoreError, WaitingReset};

use super::{
    ConnectionId, Core, Event, Found, Question, Refused, StoreCall,
    connection::{Proof, Ticket},
    known::{AccountRef, Known},
    step::Step,
};

/// How often a change is made anew because the record changed under it: more often than an account has devices that
/// could all be changing it at once.
const EDITS: u8 = 16;

/// What is to change.
#[derive(Debug, Clone)]
pub(super) enum Edit {
    /// Whose envelopes and invitations are refused.
    Block(Block),
    /// A device was signed in on this day.
    Seen(Day),
    /// A reset waits from now on.
    Reset(WaitingReset),
    /// The reset that waits does so no longer; its asker has yet to hear it.
    RefuseReset,
    /// Its asker hears that it was refused.
    ForgetReset,
    /// Whether the operator lets nobody sign in.
    Disable(bool),
    /// The hash of a new password. A reset that waits was asked for with the old one, and waits no longer.
    Password(String),
}

impl Edit {
    /// The record with the change in it; `None` if it is as it should be.
    fn of(&self, record: &AccountRecord) -> Result<Option<AccountRecord>, Refused> {
        let mut new = record.clone();
        match self {
            Self::Block(block) => match (new.blocked.binary_search(&block.account), block.blocked) {
                (Ok(place), false) => {
                    new.blocked.remove(place);
                }
                (Err(place), true) => {
                    if new.blocked.len() >= MAX_BLOCKED {
                        let message = format!("an account can block {MAX_BLOCKED} others, not more");
                        return Err((ErrorCode::LIMIT, message.into()));
                    }
                    new.blocked.insert(place, block.account);
                }
                _ => return Ok(None),
            },
            Self::Seen(day) => match new.seen {
                Some(seen) if seen >= *day => return Ok(None),
                _ => new.seen = Some(*day),
            },
            Self::Reset(reset) => new.reset = Some(reset.clone()),
            Self::RefuseReset => match &mut new.reset {
                Some(reset) if !reset.refused => reset.refused = true,
                _ => return Ok(None),
            },
            Self::ForgetReset => new.reset = None,
            Self::Disable(disabled) => {
                if new.disabled == *disabled {
                    return Ok(None);
                }
                new.disabled = *disabled;
            }
            Self::Password(hash) => {
                new.password_hash.clone_from(hash);
                new.reset = None;
            }
        }
        Ok(Some(new))
    }
}

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

/// A change on its way into the store.
#[derive(Debug)]
pub(super) struct Editing {
    editor: Editor,
    edit: Edit,
    /// What it was made on.
    old: Arc<Known>,
    new: AccountRecord,
    attempts: u8,
}

impl Editing {
    pub(super) fn ticket(&self) -> Option<Ticket> {
        match self.editor {
            Editor::Client(ticket) => Some(ticket),
            Editor::Operator(_) | Editor::Server => None,
        }
    }
}

impl Core {
    pub(super) fn set_blocked(
        &mut self,
        now_ms: u64,
        ticket: Ticket,
        block: Block,
        found: &Found<'_>,
    ) -> Result<(), Refused> {
        let account = self.session(ticket.connection)?.account;
        if block.account == account {
            return Err((ErrorCode::OUT_OF_ORDER, "an account cannot block itself".into()));
        }
        let known = self.own(found, account)?;
        self.edit(now_ms, Editor::Client(ticket), known, Edit::Block(block));
        Ok(())
    }

    /// The record of the account that a connection has proven or signed in for.
    pub(super) fn own(&mut self, found: &Found<'_>, account: AccountId) -> Result<Arc<Known>, Refused> {
        found
            .find(&mut self.known, &AccountRef::Id(account))
            .ok_or((ErrorCode::UNKNOWN_USER, "this server has no such account".into()))
    }

    /// Makes a change and answers; the client's line goes on when it is done.
    pub(super) fn edit(&mut self, now_ms: u64, editor: Editor, known: Arc<Known>, edit: Edit) {
        if let Editor::Client(ticket) = editor {
            self.block(ticket.connection);
        }
        self.try_edit(now_ms, editor, known, edit, 0);
    }

    fn try_edit(&mut self, now_ms: u64, editor: Editor, known: Arc<Known>, edit: Edit, attempts: u8) {
        match edit.of(&known.record) {
            Ok(Some(new)) => {
                let call = StoreCall::ReplaceAccount { expected: known.record.clone(), new: new.clone() };
                let editing = Editing { editor, edit, old: known, new, attempts };
                self.call(Step::Edit(Box::new(editing)), call);
            }
            Ok(None) => self.edited(now_ms, editor, &edit, &known, &known.record.clone()),
            Err(refused) => self.edit_refused(now_ms, editor, refused),
        }
    }

    pub(super) fn edit_stored(&mut self, now_ms: u64, editing: Editing, outcome: ReplaceOutcome) {
        let Editing { editor, edit, old, new, attempts } = editing;
        match outcome {
            ReplaceOutcome::Replaced(revision) => {
                let new = AccountRecord { revision, ..new };
                self.remember(new.clone());
                self.edited(now_ms, editor, &edit, &old, &new);
            }
            ReplaceOutcome::Conflict(newest) => match self.remember(*newest) {
                Some(known) if attempts < EDITS => self.try_edit(now_ms, editor, known, edit, attempts + 1),
                Some(_) => {
                    let message = "the account changes all the time; try again";
                    self.edit_refused(now_ms, editor, (ErrorCode::BUSY, message.into()));
                }
                None => {
                    let message = "the account's record is damaged";
                    self.edit_refused(now_ms, editor, (ErrorCode::STORE, message.into()));
                }
            },
            ReplaceOutcome::Unknown | ReplaceOutcome::Collision => {
                let message = "this server has no such account";
                self.edit_refused(now_ms, editor, (ErrorCode::UNKNOWN_USER, message.into()));
            }
        }
    }

    pub(super) fn edit_refused(&mut self, now_ms: u64, editor: Editor, refused: Refused) {
        match editor {
            Editor::Client(ticket) => {
                self.refuse(ticket, refused);
                self.unblock(now_ms, ticket.connection);
            }
            Editor::Operator(question) => self.ordered(question, Err(refused.1.into_owned())),
            Editor::Server => {}
        }
    }

    /// It is on stable storage, or was before: what follows from it, and the answer.
    fn edited(&mut self, now_ms: u64, editor: Editor, edit: &Edit, old: &Known, new: &AccountRecord) {
        let (mut answer, mut action) = (ServerFrame::Done, "done");
        match edit {
            Edit::Block(block) if block.blocked => {
                // In a closed directory they do not see each other any more.
                self.partners.part(&new.account, &block.account);
                action = "blocked";
            }
            Edit::Block(_) => action = "unblocked",
            Edit::Seen(_) => self.seen_noted(new),
            Edit::Disable(false) => {}
            Edit::Reset(reset) => {
                let state = ResetState::Pending(reset.due_ms);
                self.tell_reset(new, state);
                (answer, action) = (ServerFrame::Reset(state), "a new identity waits");
            }
            Edit::RefuseReset | Edit::Password(_) => {
                if old.record.waiting_reset().is_some() {
                    self.tell_reset(new, ResetState::None);
                }
                action = "reset refused";
                if matches!(edit, Edit::Password(_)) {
                    action = "password changed";
                    let own = match editor {
                        Editor::Client(ticket) => Some(ticket.connection),
                        Editor::Operator(_) | Editor::Server => None,
                    };
                    self.drop_old_proofs(&new.account, own);
                }
            }
            Edit::ForgetReset => {
                (answer, action) = (ServerFrame::Reset(ResetState::None), "told that a device refused");
            }
            Edit::Disable(true) => self.close_account(&new.account, super::login::disabled()),
        }
        match editor {
            Editor::Client(ticket) => {
                self.answer(ticket, &answer, action);
                self.unblock(now_ms, ticket.connection);
            }
            Editor::Operator(question) => {
                let action = match edit {
                    Edit::Disable(true) => "disabled",
                    Edit::Disable(false) => "enabled",
                    _ => action,
                };
                self.log(Event::Operator { name: new.username.clone(), action });
                self.ordered(question, Ok(()));
            }
            Editor::Server => {}
        }
    }

    /// The password changed: what its predecessor proved on other connections counts no longer, or who knows only that
    /// could go on asking for resets and devices.
    fn drop_old_proofs(&mut self, account: &AccountId, own: Option<ConnectionId>) {
        let proven = Some((*account, Proof::Password));
        let others: Vec<_> = self
            .connections
            .iter()
            .filter(|(id, connection)| connection.proven == proven && Some(**id) != own)
            .map(|(id, connection)| (*id, connection.session.is_some()))
            .collect();
        for (id, signed_in) in others {
            if signed_in {
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.proven = None;
                }
                continue;
            }
            self.withdraw_own(id);
            let message = "the password was changed; log in with the new one";
            self.close_with(id, (ErrorCode::BAD_CREDENTIALS, message.into()));
        }
    }

    /// The store could not make a change.
    pub(super) fn edit_failed(&mut self, editing: &Editing, error: &StoreError) {
        if let Editor::Operator(question) = editing.editor {
            self.ordered(question, Err(error.to_string()));
        }
    }
}
