//! What needs the account's password: the key that stands for it is computed here, off the async threads, and only the
//! key goes on to the core.

use std::{path::PathBuf, sync::Arc};

use sotto_crypto::{PendingCode, auth_key};
use sotto_proto::{ServerId, Username, frame::AuthKey};
use tokio::sync::Semaphore;

use super::{
    profile::{StoreKey, off_thread},
    vault::Vault,
};
use crate::{
    api::{AccountCommand, ClientError, ErrorKind, Password},
    core::WithKey,
};

/// Whose password it is, and where the store's key lies that it wraps.
#[derive(Debug, Clone)]
pub(super) struct Keyring {
    pub(super) server: ServerId,
    pub(super) username: Username,
    pub(super) dir: PathBuf,
    pub(super) key: StoreKey,
    /// One computation at a time: each takes 64 MiB.
    pub(super) turn: Arc<Semaphore>,
}

/// Whether a command has a password in it.
pub(super) fn has_password(command: &AccountCommand) -> bool {
    match command {
        AccountCommand::ApproveDevice { .. }
        | AccountCommand::RemoveDevice { .. }
        | AccountCommand::ChangePassword { .. } => true,
        AccountCommand::Devices
        | AccountCommand::RenameDevice { .. }
        | AccountCommand::RefuseDevice(_)
        | AccountCommand::RefuseReset => false,
    }
}

impl Keyring {
    /// Turns passwords into keys. A new password wraps the store's key as well, before the server can hear of it.
    pub(super) async fn work(self, command: AccountCommand) -> Result<WithKey, ClientError> {
        let Ok(turn) = self.turn.clone().acquire_owned().await else {
            return Err(ClientError::new(ErrorKind::Bug, "nobody computes keys any more"));
        };
        off_thread(move || {
            let _turn = turn;
            self.work_blocking(command)
        })
        .await
    }

    fn work_blocking(&self, command: AccountCommand) -> Result<WithKey, ClientError> {
        match command {
            AccountCommand::ApproveDevice { code, password } => {
                let code = PendingCode::parse(&code).map_err(|error| {
                    ClientError::new(ErrorKind::Invalid, "a device's code has 16 letters and digits")
                        .cause(error)
                        .hint("it stands on the new device's screen")
                })?;
                Ok(WithKey::Approve { code, key: self.auth_key(&password)? })
            }
            AccountCommand::RemoveDevice { device, password } => {
                Ok(WithKey::Remove { device, key: self.auth_key(&password)? })
            }
            AccountCommand::ChangePassword { old, new } => {
                if new.expose().is_empty() {
                    return Err(ClientError::new(ErrorKind::Invalid, "the new password is empty"));
                }
                let (old, key) = (self.auth_key(&old)?, self.auth_key(&new)?);
                let wrap = Vault::add(&self.dir, self.key.expose(), new.expose())?;
                Ok(WithKey::Password { old, new: key, wrap })
            }
            AccountCommand::Devices
            | AccountCommand::RenameDevice { .. }
            | AccountCommand::RefuseDevice(_)
            | AccountCommand::RefuseReset => {
                Err(ClientError::new(ErrorKind::Bug, "a command without a password has come to the keys"))
            }
        }
    }

    fn auth_key(&self, password: &Password) -> Result<AuthKey, ClientError> {
        let key = auth_key(password.expose(), &self.server, &self.username).map_err(|error| {
            ClientError::new(ErrorKind::Invalid, "the password cannot be worked on").cause(error)
        })?;
        Ok(AuthKey(*key))
    }
}
