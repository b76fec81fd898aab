//! The account's password, and a reset that somebody asked for.

use sotto_crypto::PendingCode;
use sotto_proto::{
    DeviceId,
    frame::{AuthKey, ClientFrame, ErrorCode, ErrorReply, PasswordLogin, ResetState, SetPassword},
};
use subtle::ConstantTimeEq;

use super::{CommandId, Core, CoreError, Output, Step, requests::Asked};
use crate::{
    api::{ClientError, ErrorKind, Event, Reply},
    store::{PasswordChange, WrapId},
};

/// The number in `meta` that says when the reset is due of which the user was told; 0 for none.
const RESET: &str = "reset due";
/// The numbers in `meta` of when a row last told of a reset that waits, and of one that is done.
const RESET_ROW: &str = "reset row";
const RESET_DONE_ROW: &str = "reset done row";

/// A command with the key that stands for the password, which is all that the core and the server ever see of it.
#[derive(Debug)]
pub enum WithKey {
    /// Adds the waiting device that shows this code.
    Approve {
        /// As typed.
        code: PendingCode,
        /// Of the account's password.
        key: AuthKey,
    },
    /// Removes a device.
    Remove {
        /// Which.
        device: DeviceId,
        /// Of the account's password.
        key: AuthKey,
    },
    /// Asks the server whether this is the account's password. Answered with [`Output::PasswordProven`], or with why not.
    Prove {
        /// Of the password.
        key: AuthKey,
    },
    /// Changes the password. The store's key is wrapped under both already.
    Password {
        /// Of the password until now.
        old: AuthKey,
        /// Of the new one.
        new: AuthKey,
        /// The wrap under the new one.
        wrap: WrapId,
    },
}

/// How sure it is that a change of the password did not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// It was just asked for: a refusal is a refusal.
    First(CommandId),
    /// An earlier one was not answered. A refusal may mean that it happened.
    Again,
    /// Whether the new password is the right one.
    Check,
}

/// When the server is asked again about a change that it could not settle. It belongs to a connection: the next one asks at
/// once.
#[derive(Debug, Default)]
pub(crate) struct AskAgain {
    /// When, and what. A check goes on as a check: asking with the old password once more would be one more wrong try,
    /// and the server slows those down.
    next: Option<(u64, Attempt)>,
    wait_ms: u64,
}

/// The first such wait, milliseconds; each next one is twice as long.
const AGAIN_MS: u64 = 5_000;
/// The longest: a server whose store is broken is not asked much, one that is mended settles it soon.
const AGAIN_MOST_MS: u64 = 600_000;

impl AskAgain {
    fn later(&mut self, attempt: Attempt, now_ms: u64, at_least_ms: Option<u64>) {
        self.wait_ms = self.wait_ms.saturating_mul(2).clamp(AGAIN_MS, AGAIN_MOST_MS);
        self.next = Some((now_ms.saturating_add(self.wait_ms.max(at_least_ms.unwrap_or(0))), attempt));
    }
}

impl Core {
    pub(super) fn with_key(
        &mut self,
        step: &mut Step<'_, '_>,
        id: CommandId,
        command: WithKey,
    ) -> Result<(), CoreError> {
        match command {
            WithKey::Approve { code, key } => self.approve(step, id, code, key),
            WithKey::Remove { device, key } => self.remove_device(step, id, device, key),
            WithKey::Prove { key } => {
                if self.up() {
                    let username = self.me.username.to_string();
                    let login = PasswordLogin { username, auth_key: key.clone() };
                    self.send(
                        step,
                        Asked::OldPassword { command: id, key },
                        ClientFrame::PasswordLogin(login),
                    );
                } else {
                    step.out.push(Output::Reply(id, Err(super::commands::offline())));
                }
                Ok(())
            }
            WithKey::Password { old, new, wrap } => self.change_password(step, id, old, new, wrap),
        }
    }

    // The password.

    fn change_password(
        &mut self,
        step: &mut Step<'_, '_>,
        id: CommandId,
        old: AuthKey,
        new: AuthKey,
        wrap: WrapId,
    ) -> Result<(), CoreError> {
        if !self.up() {
            step.out.push(Output::PasswordSettled { changed: false });
            step.out.push(Output::Reply(id, Err(super::commands::offline())));
            return Ok(());
        }
        step.tx.begin_password_change(&PasswordChange { old: old.clone(), new: new.clone(), wrap })?;
        self.set_password(step, Attempt::First(id), old, new);
        Ok(())
    }

    fn set_password(&mut self, step: &mut Step<'_, '_>, attempt: Attempt, old: AuthKey, new: AuthKey) {
        let frame = ClientFrame::SetPassword(SetPassword { old: Some(old), new });
        self.send(step, Asked::SetPassword { attempt }, frame);
    }

    /// Whether the new password is the account's already.
    fn check_password(&mut self, step: &mut Step<'_, '_>, new: AuthKey) {
        self.set_password(step, Attempt::Check, new.clone(), new);
    }

    /// Asks again about a change that the server could not settle, when it is time to. Answers when that is.
    pub(super) fn ask_again_for_password(
        &mut self,
        step: &mut Step<'_, '_>,
    ) -> Result<Option<u64>, CoreError> {
        let Some((again_ms, attempt)) = self.password_again.next.filter(|_| self.up()) else {
            return Ok(None);
        };
        if again_ms > step.now_ms {
            return Ok(Some(again_ms));
        }
        self.password_again.next = None;
        match (attempt, step.tx.password_change()?) {
            (Attempt::Check, Some(change)) => self.check_password(step, change.new),
            _ => self.resume_password_change(step)?,
        }
        Ok(None)
    }

    /// A change that was not settled is settled now, if it can be.
    pub(super) fn resume_password_change(&mut self, step: &mut Step<'_, '_>) -> Result<(), CoreError> {
        if let Some(change) = step.tx.password_change()? {
            self.set_password(step, Attempt::Again, change.old, change.new);
        }
        Ok(())
    }

    /// The server has the new password.
    pub(super) fn password_set(
        &mut self,
        step: &mut Step<'_, '_>,
        attempt: Attempt,
    ) -> Result<(), CoreError> {
        if let (Some(change), Some(server)) = (step.tx.password_change()?, step.tx.server()?) {
            step.tx.set_auth_key(&server.server_id, &change.new)?;
        }
        step.tx.end_password_change(true)?;
        step.out.push(Output::PasswordSettled { changed: true });
        match attempt {
            Attempt::First(id) => step.out.push(Output::Reply(id, Ok(Reply::Done))),
            Attempt::Again | Attempt::Check => self.settled(
                step,
                "the change of the password that was interrupted is done: only the new one opens this device now",
            )?,
        }
        Ok(())
    }

    /// The server has not, or not now.
    pub(super) fn password_refused(
        &mut self,
        step: &mut Step<'_, '_>,
        attempt: Attempt,
        error: &ErrorReply,
        told: ClientError,
    ) -> Result<(), CoreError> {
        let Some(change) = step.tx.password_change()? else { return Ok(()) };
        match (attempt, error.code) {
            (Attempt::First(id), ErrorCode::STORE) => {
                step.out.push(Output::Reply(id, Err(unsettled().cause(&error.message))));
                self.password_again.later(Attempt::Again, step.now_ms, error.retry_after_ms);
                return Ok(());
            }
            (Attempt::First(id), code) => {
                let wrong = code == ErrorCode::BAD_CREDENTIALS;
                let answer = if wrong { Self::wrong_password(step, &change.old)? } else { told };
                step.out.push(Output::Reply(id, Err(answer)));
            }
            (Attempt::Again, ErrorCode::BAD_CREDENTIALS) => {
                // Perhaps because it was changed before the answer was lost.
                self.check_password(step, change.new);
                return Ok(());
            }
            (Attempt::Check, ErrorCode::BAD_CREDENTIALS) => self.settled(
                step,
                "the change of the password that was interrupted did not happen, and the password was changed on another \
                 device meanwhile: this device opens with its old one",
            )?,
            (Attempt::Again | Attempt::Check, _) => {
                self.password_again.later(attempt, step.now_ms, error.retry_after_ms);
                return Ok(());
            }
        }
        step.tx.end_password_change(false)?;
        step.out.push(Output::PasswordSettled { changed: false });
        Ok(())
    }

    /// Says how a change was settled that nobody waited for any more: in the history too, for whoever comes later has to know
    /// which password opens this device.
    fn settled(&mut self, step: &mut Step<'_, '_>, text: &str) -> Result<(), CoreError> {
        step.warn(text);
        self.notice_row(step, text)
    }

    /// The server takes this password: it is the account's, whatever this store knew.
    pub(super) fn password_known(step: &mut Step<'_, '_>, key: &AuthKey) -> Result<(), CoreError> {
        let Some(server) = step.tx.server()? else { return Ok(()) };
        let known = step.tx.auth_key(&server.server_id)?;
        if known.is_some_and(|known| !same(&known, key)) {
            step.tx.set_auth_key(&server.server_id, key)?;
            step.warn(
                "the account's password was changed on another device; this device still opens with the old one. To open \
                 it with the new one, give that as the old and as the new one: sotto password change",
            );
        }
        Ok(())
    }

    /// What is said of a password that the server refuses.
    pub(super) fn wrong_password(step: &Step<'_, '_>, key: &AuthKey) -> Result<ClientError, CoreError> {
        let server = step.tx.server()?;
        let known = server.map(|server| step.tx.auth_key(&server.server_id)).transpose()?.flatten();
        let error = ClientError::new(ErrorKind::LoginNeeded, "the password is wrong");
        Ok(if known.is_some_and(|known| same(&known, key)) {
            // It was right once.
            error.hint(
                "it opens this device, but the account's password was changed on another one: give the account's \
                 newest password",
            )
        } else {
            error
        })
    }

    // A reset.

    /// How a reset of the account stands, says the server.
    pub(super) fn reset_state(
        &mut self,
        step: &mut Step<'_, '_>,
        state: ResetState,
    ) -> Result<(), CoreError> {
        let known_ms = step.tx.number(RESET)?;
        match state {
            ResetState::None => {
                if known_ms == 0 {
                    return Ok(());
                }
                step.tx.set_number(RESET, 0)?;
            }
            ResetState::Pending(due_ms) => {
                let due_ms = due_ms.max(1);
                if known_ms != due_ms {
                    step.tx.set_number(RESET, due_ms)?;
                    let hours = due_ms.saturating_sub(step.now_ms).div_ceil(3_600_000);
                    let text = format!(
                        "somebody who knows the password of this account has asked for a new identity of it, which takes \
                         effect in {hours} h: all devices, this one too, then lose the account. If that was not you, \
                         refuse it: sotto recovery refuse-reset, and change the password"
                    );
                    step.warn(text.clone());
                    self.daily_row(step, RESET_ROW, &text)?;
                }
            }
            ResetState::Done => {
                step.tx.set_number(RESET, 0)?;
                let text = "the account has a new identity: this device does not belong to it any more";
                step.warn(text);
                self.daily_row(step, RESET_DONE_ROW, text)?;
            }
        }
        step.event(Event::Reset(state));
        Ok(())
    }

    /// The reset will not be.
    pub(super) fn reset_refused(step: &mut Step<'_, '_>, command: CommandId) -> Result<(), CoreError> {
        let waited = step.tx.number(RESET)? != 0;
        step.tx.set_number(RESET, 0)?;
        step.out.push(Output::Reply(command, Ok(Reply::Done)));
        if waited {
            step.event(Event::Reset(ResetState::None));
        }
        Ok(())
    }
}

/// What is said of a change whose answer did not come.
pub(super) fn unsettled() -> ClientError {
    ClientError::new(ErrorKind::Unreachable, "the server did not say whether it changed the password")
        .hint("this program keeps asking; until it is settled both passwords open this device")
}

/// Whether two keys are the same, in constant time.
fn same(a: &AuthKey, b: &AuthKey) -> bool {
    a.0.ct_eq(&b.0).into()
}
