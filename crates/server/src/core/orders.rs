//! What the operator does to accounts. It passes through the core, which knows the accounts and has their connections.

use sotto_proto::{
    AccountId, ResetCode, Username,
    frame::{ErrorReply, PUSH, ServerFrame},
};
use sotto_store::{AccountRecord, Ending, StoreError};

use super::{
    ConnectionId, Core, Event, Output, Question, Refused, SendClass, StoreCall,
    changes::{Change, Editor, What},
    edit::Edit,
    known::{AccountRef, Known},
    register::ended,
    step::Step,
};

/// An order of the operator.
#[derive(Debug, Clone)]
pub enum Order {
    /// Lets nobody sign in, and ends the account's connections.
    Disable(Username),
    /// Lets its devices sign in again.
    Enable(Username),
    /// Removes the account and all it has; its name is free.
    Delete(Username),
    /// Sets a password, by its hash (a PHC string).
    SetPassword(Username, String),
    /// Lets a reset that waits take effect, if it is the one with this code.
    ResetNow(Username, ResetCode),
}

impl Order {
    fn name(&self) -> &Username {
        match self {
            Self::Disable(name)
            | Self::Enable(name)
            | Self::Delete(name)
            | Self::SetPassword(name, _)
            | Self::ResetNow(name, _) => name,
        }
    }
}

impl Core {
    pub(super) fn order(&mut self, question: Question, order: Order) {
        let call = StoreCall::AccountByName(order.name().clone());
        let forgotten = self.known.forgotten();
        self.call(Step::Order { question, order, forgotten }, call);
    }

    pub(super) fn order_found(
        &mut self,
        now_ms: u64,
        (question, order, forgotten): (Question, Order, u64),
        record: Option<AccountRecord>,
    ) {
        let Some(record) = record else {
            return self.ordered(question, Err(format!("there is no account {}", order.name())));
        };
        if forgotten != self.known.forgotten() {
            // The answer may be older than the end of the account.
            return self.order(question, order);
        }
        let Some(known) = self.remember(record, None) else {
            return self.ordered(question, Err("the account's record is damaged".to_owned()));
        };
        let editor = Editor::Operator(question);
        match order {
            Order::Disable(_) => self.edit(now_ms, editor, known, Edit::Disable(true)),
            Order::Enable(_) => self.edit(now_ms, editor, known, Edit::Disable(false)),
            Order::SetPassword(_, hash) => {
                self.edit(now_ms, editor, known, Edit::Password { hash, old: None });
            }
            Order::ResetNow(_, code) => {
                self.change(now_ms, known, Change::new(editor, What::ResetNow(code)));
            }
            Order::Delete(_) => {
                let call = StoreCall::RemoveAccount(known.record.account, now_ms);
                self.call(Step::Remove { question, known }, call);
            }
        }
    }

    pub(super) fn removed(&mut self, question: Question, known: &Known, was: bool) {
        let name = known.record.username.clone();
        self.forget_account(&known.record.account, ended(Ending::Removed));
        if was {
            self.log(Event::Operator { name, action: "removed" });
            self.ordered(question, Ok(()));
        } else {
            self.ordered(question, Err(format!("there is no account {name}")));
        }
    }

    /// Answers the operator.
    pub(super) fn ordered(&mut self, question: Question, result: Result<(), String>) {
        self.outputs.push_back(Output::Ordered { question, result });
    }

    pub(super) fn order_failed(&mut self, question: Question, error: &StoreError) {
        self.ordered(question, Err(error.to_string()));
    }

    /// Ends every connection that an account has proven or signed in on, and says why.
    pub(super) fn close_account(&mut self, account: &AccountId, (code, message): Refused) {
        let connections: Vec<_> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.account().as_ref() == Some(account))
            .map(|(id, _)| *id)
            .collect();
        for id in connections {
            self.close_with(id, (code, message.clone()));
        }
    }

    /// Ends a connection, and says why.
    pub(super) fn close_with(&mut self, id: ConnectionId, (code, message): Refused) {
        let reply = ErrorReply { code, message: message.into_owned(), retry_after_ms: None };
        self.send(id, PUSH, &ServerFrame::Error(reply), SendClass::Notice);
        self.close(id);
    }

    /// The account is gone from the store: nothing of it stays here.
    pub(super) fn forget_account(&mut self, account: &AccountId, reason: Refused) {
        if let Some(known) = self.known.find(&AccountRef::Id(*account)) {
            self.waiting.forget(&known.record.devices);
        }
        self.known.forget(account);
        for connection in self.connections.values_mut() {
            for queued in &mut connection.queue {
                queued
                    .found
                    .retain(|(_, known)| known.as_ref().is_none_or(|known| known.record.account != *account));
            }
        }
        self.pending.forget(account);
        self.partners.forget(account);
        self.close_account(account, reason);
    }
}
