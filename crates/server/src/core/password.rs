//! SetPassword: a new password, on the word of the account key or of the old password.

use std::sync::Arc;

use sotto_proto::frame::{AuthKey, ErrorCode, SetPassword};

use super::{
    Core, Found, Job, Refused,
    changes::Editor,
    connection::{Proof, Ticket},
    edit::Edit,
    known::{AccountRef, Known},
    toil::Toil,
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
        let known = self.own(found, account)?;
        if proven == Some((account, Proof::AccountKey)) {
            self.toil(Toil::NewPassword { ticket, known, by_old: false }, Job::HashPassword(set.new))?;
        } else {
            let old = set.old.ok_or((ErrorCode::LOGIN_NEEDED, "the old password is needed".into()))?;
            let name = known.record.username.clone();
            if !self.may_try(now_ms, ticket, &name) {
                return Ok(());
            }
            let job = Job::VerifyPassword { auth_key: old, hash: known.record.password_hash.clone() };
            let forgotten = self.known.forgotten();
            let toil = Toil::OldPassword { ticket, known, new: set.new, forgotten };
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
        (known, forgotten): (Arc<Known>, u64),
        new: AuthKey,
        right: bool,
    ) {
        let wrong = (ErrorCode::BAD_CREDENTIALS, "the old password is wrong".into());
        let name = &known.record.username;
        // Another change may have come before this one.
        let checked = if right { self.same_password(&known, forgotten) } else { Ok(None) };
        let result = match checked.and_then(|known| known.ok_or(wrong)) {
            Ok(known) => {
                self.right_password(ticket, name);
                self.toil(Toil::NewPassword { ticket, known, by_old: true }, Job::HashPassword(new))
            }
            Err(refused) => {
                if refused.0 == ErrorCode::BUSY {
                    self.not_checked(ticket, name);
                }
                Err(refused)
            }
        };
        if let Err(refused) = result {
            self.refuse(ticket, refused);
            self.unblock(now_ms, ticket.connection);
        }
    }

    pub(super) fn password_hashed(
        &mut self,
        now_ms: u64,
        ticket: Ticket,
        (known, by_old): (Arc<Known>, bool),
        hash: String,
    ) {
        // The record may have changed while the password was hashed: not so that the old one is another now.
        let old = by_old.then(|| known.record.password_hash.clone());
        let known = self.known.find(&AccountRef::Id(known.record.account)).unwrap_or(known);
        self.edit(now_ms, Editor::Client(ticket), known, Edit::Password { hash, old });
    }
}
