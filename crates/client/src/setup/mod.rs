//! Making an account, and adding this machine to one. Both are crash-safe: what this machine needs is on its disk
//! before the server is told, and running the same command again goes on with the same keys.

mod begin;
mod greet;
mod login;
mod register;
mod reset;
mod session;
mod waiting;

use std::{path::PathBuf, sync::Arc, time::Duration};

use sotto_crypto::auth_key;
use sotto_proto::{Address, ServerId, Username, frame::AuthKey};
use zeroize::Zeroizing;

use crate::{
    api::{ClientError, ErrorKind},
    driver::{Client, ClientOptions, OpenProfile, off_thread},
};

pub use greet::{Greeting, greet};
pub use login::{check_password, login};
pub use register::{create, register};
pub use reset::{Reset, reset};
pub use sotto_crypto::RecoveryPhrase;

/// For the keys of a new device to reach the server: a login and an upload, by a busy server.
const PUBLISH: Duration = Duration::from_secs(20);

/// A server as it showed itself at first contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerIdentity {
    /// The address as it was given.
    pub address: Address,
    /// SHA-256 of its newest key's DER SubjectPublicKeyInfo.
    pub fingerprint: [u8; 32],
    /// The address with the fingerprint: what another machine should be given.
    pub full: Address,
}

/// What only a person can answer at first contact with a server whose fingerprint was not given.
pub trait Questions: Send + Sync {
    /// The server is on this machine and its key was pinned: say so.
    fn pinned(&self, server: &ServerIdentity);

    /// Whether the fingerprint is the right one. May wait for a person; no connection is held open meanwhile. Where
    /// nobody can be asked, the error says how to do without.
    fn trust(&self, server: &ServerIdentity) -> Result<bool, ClientError>;

    /// This machine waits to be added to its account: the code has to be typed on a device that holds the account's key.
    /// Called once; it does not wait for anybody.
    fn waiting(&self, code: &str);

    /// The server says that another device has added this machine, and shows the list that the account it named has signed.
    /// Whether that is the user's account, only the user can tell: who has typed the code elsewhere before this.
    fn added(&self, username: &Username);
}

/// What a new account needs.
pub struct RegisterOptions {
    /// The profile's folder; made if it is not there.
    pub dir: PathBuf,
    /// The server.
    pub server: Address,
    /// As typed.
    pub username: String,
    /// For the account, and for this machine's store.
    pub password: Zeroizing<String>,
    /// Where the server asks for one.
    pub invite: Option<String>,
    /// What this device is called, on all devices of the account; at most [`sotto_proto::content::MAX_DEVICE_NAME`] bytes
    /// of it are kept. May be empty.
    pub name: String,
}

/// What a further device of an account needs.
pub struct LoginOptions {
    /// The profile's folder; made if it is not there.
    pub dir: PathBuf,
    /// The server.
    pub server: Address,
    /// As typed.
    pub username: String,
    /// The account's; also for this machine's store.
    pub password: Zeroizing<String>,
    /// 24 words. Without them this machine waits for another device to approve it.
    pub recovery: Option<Zeroizing<String>>,
    /// As in [`RegisterOptions`].
    pub name: String,
}

/// What a new identity of an account needs.
pub struct ResetOptions {
    /// The profile's folder; made if it is not there.
    pub dir: PathBuf,
    /// The server.
    pub server: Address,
    /// As typed.
    pub username: String,
    /// The account's; also for this machine's store.
    pub password: Zeroizing<String>,
    /// As in [`RegisterOptions`].
    pub name: String,
}

/// A new account.
pub struct Registered {
    /// Its name.
    pub username: Username,
    /// The server's address with fingerprint.
    pub server: Address,
    /// To be written down.
    pub recovery_phrase: RecoveryPhrase,
    /// Whether others can write to it already. The account exists in any case; if this is an error, the keys follow at
    /// the next connection.
    pub published: Result<(), ClientError>,
}

/// A new account whose first client has not been started yet.
pub struct NewAccount {
    /// Its name.
    pub username: Username,
    /// The server's address with fingerprint.
    pub server: Address,
    /// To be written down.
    pub recovery_phrase: RecoveryPhrase,
    /// The profile.
    pub open: OpenProfile,
}

/// A new device of an account.
pub struct LoggedIn {
    /// The account's name.
    pub username: Username,
    /// The server's address with fingerprint.
    pub server: Address,
    /// As in [`Registered`].
    pub published: Result<(), ClientError>,
}

fn parse_name(text: &str) -> Result<Username, ClientError> {
    Username::parse(text).map_err(|error| ClientError::new(ErrorKind::Invalid, error.to_string()))
}

/// The key that stands for the password, computed off the async threads.
async fn password_key(
    password: &Arc<Zeroizing<String>>,
    server: ServerId,
    username: &Username,
) -> Result<AuthKey, ClientError> {
    let (password, username) = (password.clone(), username.clone());
    off_thread(move || {
        let key = auth_key(&password, &server, &username).map_err(|error| {
            ClientError::new(ErrorKind::Invalid, "the password cannot be worked on").cause(error)
        })?;
        Ok(AuthKey(*key))
    })
    .await
}

/// Connects once as the new device, so that others can write to it at once.
async fn publish(open: OpenProfile) -> Result<(), ClientError> {
    let client = Client::start(open, ClientOptions::default()).await?;
    let published = tokio::time::timeout(PUBLISH, client.wait_published()).await;
    client.close().await;
    published.unwrap_or_else(|_| {
        Err(ClientError::new(ErrorKind::Timeout, "the server did not take this device's keys in time"))
    })
}
