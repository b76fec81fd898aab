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

/// A change of the password with its keys.
pub(super) struct Change {
    /// Of the password until now.
    pub(super) old: AuthKey,
    /// Of the new one.
    new: AuthKey,
    /// What the store's key is wrapped under.
    password: Password,
}

/// What has become of a command with a password.
pub(super) enum Keyed {
    /// For the core.
    Ready(WithKey),
    /// The old password does not open this store: the server has to say first that it is the account's.
    Unproven(Change),
}

impl Keyring {
    /// Turns passwords into keys. A new password wraps the store's key as well, before the server can hear of it, and not
    /// before the old one was proven.
    pub(super) async fn work(self, command: AccountCommand) -> Result<Keyed, ClientError> {
        self.in_turn(move |keyring| keyring.work_blocking(command)).await
    }

    /// Goes on with a change whose old password the server has taken.
    pub(super) async fn proven(self, change: Change) -> Result<Keyed, ClientError> {
        self.in_turn(move |keyring| keyring.wrap(change).map(Keyed::Ready)).await
    }

    async fn in_turn(
        self,
        work: impl FnOnce(&Self) -> Result<Keyed, ClientError> + Send + 'static,
    ) -> Result<Keyed, ClientError> {
        let Ok(turn) = self.turn.clone().acquire_owned().await else {
            return Err(ClientError::new(ErrorKind::Bug, "nobody computes keys any more"));
        };
        off_thread(move || {
            let _turn = turn;
            work(&self)
        })
        .await
    }

    fn work_blocking(&self, command: AccountCommand) -> Result<Keyed, ClientError> {
        match command {
            AccountCommand::ApproveDevice { code, password } => {
                let code = PendingCode::parse(&code).map_err(|error| {
                    ClientError::new(ErrorKind::Invalid, "a device's code has 16 letters and digits")
                        .cause(error)
                        .hint("it stands on the new device's screen")
                })?;
                Ok(Keyed::Ready(WithKey::Approve { code, key: self.auth_key(&password)? }))
            }
            AccountCommand::RemoveDevice { device, password } => {
                Ok(Keyed::Ready(WithKey::Remove { device, key: self.auth_key(&password)? }))
            }
            AccountCommand::ChangePassword { old, new } => {
                if new.expose().is_empty() {
                    return Err(ClientError::new(ErrorKind::Invalid, "the new password is empty"));
                }
                let opens = Vault::read(&self.dir)?.opens(self.key.expose(), old.expose())?;
                let change = Change { old: self.auth_key(&old)?, new: self.auth_key(&new)?, password: new };
                if opens { self.wrap(change).map(Keyed::Ready) } else { Ok(Keyed::Unproven(change)) }
            }
            AccountCommand::Devices
            | AccountCommand::RenameDevice { .. }
            | AccountCommand::RefuseDevice(_)
            | AccountCommand::RefuseReset => {
                Err(ClientError::new(ErrorKind::Bug, "a command without a password has come to the keys"))
            }
        }
    }

    fn wrap(&self, change: Change) -> Result<WithKey, ClientError> {
        let wrap = Vault::add(&self.dir, self.key.expose(), change.password.expose())?;
        Ok(WithKey::Password { old: change.old, new: change.new, wrap })
    }

    fn auth_key(&self, password: &Password) -> Result<AuthKey, ClientError> {
        let key = auth_key(password.expose(), &self.server, &self.username).map_err(|error| {
            ClientError::new(ErrorKind::Invalid, "the password cannot be worked on").cause(error)
        })?;
        Ok(AuthKey(*key))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::driver::profile::Profile;

    #[test]
    fn the_store_is_wrapped_under_a_new_password_only_by_who_gave_the_old_one() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().to_owned();
        let profile = Profile::create(&dir).unwrap();
        let (_store, key) = profile.make_store("old").unwrap();
        let keyring = Keyring {
            server: ServerId([1; 32]),
            username: "alice".parse().unwrap(),
            dir: dir.clone(),
            key,
            turn: Arc::new(Semaphore::new(1)),
        };
        let password = |text: &str| Password::new(zeroize::Zeroizing::new(text.to_owned()));
        let change = |old| {
            let (old, new) = (password(old), password("new"));
            keyring.work_blocking(AccountCommand::ChangePassword { old, new }).unwrap()
        };
        let opens = |text: &str| Vault::read(&dir).unwrap().open(text).is_ok();
        let before = std::fs::read(Vault::path(&dir)).unwrap();
        assert!(matches!(change("junk"), Keyed::Unproven(_)));
        assert_eq!(std::fs::read(Vault::path(&dir)).unwrap(), before);

        // A key file of somebody's own making, which their password opens.
        let other = tempfile::tempdir().unwrap();
        Vault::make(other.path(), "junk").unwrap();
        std::fs::copy(Vault::path(other.path()), Vault::path(&dir)).unwrap();
        assert!(matches!(change("junk"), Keyed::Unproven(_)));
        assert!(!opens("new"));
        std::fs::write(Vault::path(&dir), &before).unwrap();

        assert!(matches!(change("old"), Keyed::Ready(WithKey::Password { .. })));
        assert!(opens("old") && opens("new"));
        std::fs::write(Vault::path(&dir), &before).unwrap();
        // The account's password was changed on another device, and the server has taken it.
        let Keyed::Unproven(proven) = change("elsewhere") else { unreachable!() };
        keyring.wrap(proven).unwrap();
        assert!(opens("old") && opens("new"));
    }
}
