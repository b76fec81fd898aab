//! Changes of a part of one account's record, and what follows from them.

use std::sync::Arc;

use sotto_proto::{
    AccountId,
    frame::{Block, ErrorCode, ResetState, ServerFrame},
    limits::MAX_BLOCKED,
};
use sotto_store::{AccountRecord, Day, WaitingReset};

use super::{
    ConnectionId, Core, Event, Found, Refused,
    changes::{Change, Editor, What},
    connection::{Proof, Ticket},
    known::{AccountRef, Known},
};

/// Blocks of one account at once, each of which writes its record: a person who tidies up, or a script that brings a
/// list of names.
pub(super) const BLOCK_BURST: u64 = 200;
/// After the burst, how often one more.
pub(super) const BLOCK_REFILL_MS: u64 = 1_000;

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
    /// A new password. A reset that waits was asked for with the old one, and waits no longer.
    Password {
        /// Its hash.
        hash: String,
        /// The hash of the old one, where its knowledge is what allows the change.
        old: Option<String>,
    },
}

impl Edit {
    /// The record with the change in it; `None` if it is as it should be.
    pub(super) fn of(&self, record: &AccountRecord) -> Result<Option<AccountRecord>, Refused> {
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
            Self::Password { hash, .. } => {
                new.password_hash.clone_from(hash);
                new.reset = None;
            }
        }
        Ok(Some(new))
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
        if let Err(wait_ms) = self.blocks.take(account, 1, now_ms) {
            let message = format!("too many blocks at once; try again in {} s", wait_ms.div_ceil(1000));
            self.refuse_until(ticket, (ErrorCode::RATE_LIMITED, message.into()), Some(wait_ms));
            return Ok(());
        }
        self.edit(now_ms, Editor::Client(ticket), known, Edit::Block(block));
        Ok(())
    }

    /// The record of the account that a connection has proven or signed in for.
    pub(super) fn own(&mut self, found: &Found<'_>, account: AccountId) -> Result<Arc<Known>, Refused> {
        found
            .find(&mut self.known, &AccountRef::Id(account))
            .ok_or((ErrorCode::UNKNOWN_USER, "this server has no such account".into()))
    }

    /// Makes a change when its turn comes, and answers; the client's line goes on when it is done.
    pub(super) fn edit(&mut self, now_ms: u64, editor: Editor, known: Arc<Known>, edit: Edit) {
        self.change(now_ms, known, Change::new(editor, What::Edit(edit)));
    }

    /// It is on stable storage, or was before: what follows from it, and the answer.
    pub(super) fn edited(
        &mut self,
        now_ms: u64,
        editor: Editor,
        edit: &Edit,
        old: &Known,
        new: &AccountRecord,
    ) {
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
            Edit::RefuseReset | Edit::Password { .. } => {
                if old.record.waiting_reset().is_some() {
                    self.tell_reset(new, ResetState::None);
                }
                action = "reset refused";
                if matches!(edit, Edit::Password { .. }) {
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
}
