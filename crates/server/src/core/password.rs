//! SetPassword: a new password, on the word of the account key or of the old password.

use std::sync::Arc;

use sotto_proto::frame::{AuthKey, ErrorCode, ServerFrame, SetPassword};
use sotto_store::{AccountRecord, ReplaceOutcome};

use super::{
    ATTEMPTS, Core, Found, Job, Refused, StoreCall,
    connection::{Proof, Ticket},
    known::{AccountRef, Known},
    step::{Step, Toil},
};

impl Core {
    pub(super) fn set_password(
        &mut self,
        now_ms: u64,
        ticket: Ticket,
        set: SetPassword,
        found: &Found<'_>,
    ) -> Result<(), Refused> {
        let Some(connection) = self.connections.get(&ticket.connection) else { return Ok(()) };
        let proven = connection.proven;
        let account = connection
            .session
            .as_ref()
            .map(|session| session.account)
            .or(proven.map(|(account, _)| account))
            .ok_or((ErrorCode::LOGIN_NEEDED, "log in first".into()))?;
        let known = found
            .find(&mut self.known, &AccountRef::Id(account))
            .ok_or((ErrorCode::UNKNOWN_USER, "this server has no such account".into()))?;
        if proven == Some((account, Proof::AccountKey)) {
            self.toil(Toil::NewPassword { ticket, known }, Job::HashPassword(set.new))?;
        } else {
            let old = set.old.ok_or((ErrorCode::LOGIN_NEEDED, "the old password is needed".into()))?;
            let name = known.record.username.clone();
            if !self.may_try(now_ms, ticket, &name) {
                return Ok(());
            }
            let job = Job::VerifyPassword { auth_key: old, hash: known.record.password_hash.clone() };
            let toil = Toil::OldPassword { ticket, known, new: set.new };
            if let Err(refused) = self.toil(toil, job) {
                self.not_checked(ticket, &name);
                return Err(refused);
            }
        }
        self.block(ticket.connection);
        Ok(())
    }

    pub(super) fn old_password_verified(
        &mut self,
        now_ms: u64,
        ticket: Ticket,
        known: Arc<Known>,
        new: AuthKey,
        right: bool,
    ) {
        let result = if right {
            self.right_password(ticket, &known.record.username.clone());
            self.toil(Toil::NewPassword { ticket, known }, Job::HashPassword(new))
        } else {
            Err((ErrorCode::BAD_CREDENTIALS, "the old password is wrong".into()))
        };
        if let Err(refused) = result {
            self.refuse(ticket, refused);
            self.unblock(now_ms, ticket.connection);
        }
    }

    pub(super) fn replace_password(&mut self, ticket: Ticket, known: &Known, hash: String, attempts: u8) {
        let new = AccountRecord { password_hash: hash, ..known.record.clone() };
        let step = Step::SetPassword { ticket, new: Box::new(new.clone()), attempts };
        let call = StoreCall::ReplaceAccount { expected: known.record.clone(), new };
        self.call(step, call);
    }

    pub(super) fn password_set(
        &mut self,
        now_ms: u64,
        ticket: Ticket,
        new: AccountRecord,
        attempts: u8,
        outcome: ReplaceOutcome,
    ) {
        match outcome {
            ReplaceOutcome::Replaced(revision) => {
                self.remember(AccountRecord { revision, ..new });
                self.answer(ticket, &ServerFrame::Done, "password changed");
            }
            ReplaceOutcome::Conflict(newest) if attempts < ATTEMPTS => {
                if let Some(known) = self.remember(newest) {
                    return self.replace_password(ticket, &known, new.password_hash, attempts + 1);
                }
                self.refuse(ticket, (ErrorCode::STORE, "the account's record is damaged".into()));
            }
            ReplaceOutcome::Conflict(_) => {
                self.refuse(ticket, (ErrorCode::BUSY, "the account changes all the time; try again".into()));
            }
            ReplaceOutcome::Unknown | ReplaceOutcome::Collision => {
                self.refuse(ticket, (ErrorCode::UNKNOWN_USER, "this server has no such account".into()));
            }
        }
        self.unblock(now_ms, ticket.connection);
    }
}
