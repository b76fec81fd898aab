//! The local half of both: taking the profile, finding what an interrupted attempt left, and putting a new device on
//! the disk before the server hears of it.

use std::{path::Path, sync::Arc};

use sotto_crypto::{AccountSecret, DeviceSecret};
use sotto_proto::{
    AccountId, Certificate, DeviceId, MessageId, SignedDeviceList, Username, content::Body, frame::AuthKey,
};
use zeroize::Zeroizing;

use crate::{
    api::{ClientError, ErrorKind},
    driver::{OpenProfile, Profile, StoreKey, now_ms, off_thread, os_rng},
    store::{Identity, LocalStore, NewEntry, ServerPin, StoreError, Tx, WaitingDevice},
};

/// A device that is on this disk, and of which the server has not said yet that it knows it.
pub(super) struct Unfinished {
    pub(super) identity: Identity,
    pub(super) server: ServerPin,
    /// The account's list with this device in it.
    pub(super) list: SignedDeviceList,
    /// Whether it is the first device of a new identity that the server was asked for.
    pub(super) reset: bool,
}

/// A profile without an account.
pub(super) struct Begun {
    profile: Profile,
    store: Option<(LocalStore, StoreKey)>,
    pub(super) unfinished: Option<Unfinished>,
    /// The device that waits to be approved.
    pub(super) waiting: Option<(WaitingDevice, ServerPin)>,
}

impl Begun {
    /// Takes the profile. One that has an account is left alone.
    pub(super) async fn begin(dir: &Path, password: &Arc<Zeroizing<String>>) -> Result<Self, ClientError> {
        let (dir, password) = (dir.to_owned(), password.clone());
        off_thread(move || Self::begin_blocking(&dir, &password)).await
    }

    fn begin_blocking(dir: &Path, password: &str) -> Result<Self, ClientError> {
        let profile = Profile::create(dir)?;
        if !Profile::exists(dir) || !profile.has_store() {
            return Ok(Self { profile, store: None, unfinished: None, waiting: None });
        }
        let (mut store, key) = profile.open_store(password).map_err(|error| {
            error.hint("the profile exists already: use the password it was begun with, or another --profile")
        })?;
        let found = store.transaction::<_, ClientError>(|tx| {
            let server = tx.server()?;
            let Some(identity) = tx.identity()? else { return Ok((None, tx.waiting_device()?.zip(server))) };
            let list = tx.contact(&identity.account)?.map(|own| own.list);
            Ok((Some((identity, server, list, tx.reset_asked()?)), None))
        })?;
        let (found, waiting) = found;
        let unfinished = match found {
            Some((identity, server, ..)) if identity.registered => {
                let server = server.map_or_else(String::new, |pin| format!(" at {}", pin.address));
                return Err(ClientError::new(
                    ErrorKind::Invalid,
                    format!("this profile has an account already: {}{server}", identity.username),
                )
                .hint("use another one: --profile NAME"));
            }
            Some((identity, Some(server), Some(list), reset)) => {
                Some(Unfinished { identity, server, list, reset: reset.is_some() })
            }
            _ => None,
        };
        Ok(Self { profile, store: Some((store, key)), unfinished, waiting })
    }

    /// Whether a new identity of the account was asked for from here: nothing else may take the place of its keys.
    pub(super) fn free_of_reset(&self) -> Result<(), ClientError> {
        if self.unfinished.as_ref().is_some_and(|unfinished| unfinished.reset) {
            let text = "a new identity of an account was asked for from this profile, and is not there yet";
            return Err(ClientError::new(ErrorKind::Invalid, text)
                .hint("go on with it: sotto login SERVER USER --reset; or use another --profile"));
        }
        Ok(())
    }

    /// The server of an interrupted attempt.
    pub(super) fn known_server(&self) -> Option<ServerPin> {
        let unfinished = self.unfinished.as_ref().map(|unfinished| unfinished.server.clone());
        unfinished.or_else(|| self.waiting.as_ref().map(|(_, server)| server.clone()))
    }

    /// The device of an interrupted attempt, if it stands in this list already.
    pub(super) fn take_listed(&mut self, server: &ServerPin, list: &SignedDeviceList) -> Option<Unfinished> {
        let listed = |unfinished: &Unfinished| {
            let identity = &unfinished.identity;
            unfinished.server.server_id == server.server_id
                && list.list().device(&identity.device) == Some(&identity.certificate)
        };
        let found = self.unfinished.take_if(|unfinished| listed(unfinished))?;
        Some(Unfinished { server: server.clone(), list: list.clone(), ..found })
    }

    /// Puts a device that is going to wait on the disk, in place of what an earlier attempt left.
    pub(super) async fn keep_waiting(
        self,
        password: &Arc<Zeroizing<String>>,
        waiting: WaitingDevice,
        server: &ServerPin,
    ) -> Result<(Self, WaitingDevice), ClientError> {
        let (password, server) = (password.clone(), server.clone());
        off_thread(move || {
            let Self { profile, store, .. } = self;
            let (mut store, key) = opened(&profile, store, &password)?;
            store.transaction::<_, StoreError>(|tx| {
                tx.forget_unregistered()?;
                tx.set_server(&server)?;
                tx.save_waiting_device(&waiting)
            })?;
            Ok((Self { profile, store: Some((store, key)), unfinished: None, waiting: None }, waiting))
        })
        .await
    }

    /// Puts a device on the disk, with the key that proves the password, in place of what an earlier attempt left.
    pub(super) async fn keep(
        self,
        password: &Arc<Zeroizing<String>>,
        device: Unfinished,
        auth_key: &AuthKey,
    ) -> Result<(Self, SignedDeviceList), ClientError> {
        let (password, auth_key) = (password.clone(), auth_key.clone());
        off_thread(move || {
            let Self { profile, store, .. } = self;
            let (mut store, key) = opened(&profile, store, &password)?;
            store.transaction::<_, StoreError>(|tx| {
                tx.forget_unregistered()?;
                tx.set_server(&device.server)?;
                tx.set_auth_key(&device.server.server_id, &auth_key)?;
                if device.reset {
                    tx.set_reset_asked(&device.server.server_id)?;
                }
                tx.save_identity(&device.identity)?;
                tx.pin(&device.list, true)
            })?;
            let list = device.list.clone();
            let begun = Self { profile, store: Some((store, key)), unfinished: Some(device), waiting: None };
            Ok((begun, list))
        })
        .await
    }

    /// The server knows the device: the profile has an account. The device's name goes to the account's other devices.
    pub(super) async fn finish(self, name: &str) -> Result<OpenProfile, ClientError> {
        let name = name.to_owned();
        off_thread(move || {
            let Self { profile, store, .. } = self;
            let (mut store, key) =
                store.ok_or_else(|| ClientError::new(ErrorKind::Bug, "nothing was kept"))?;
            store.transaction::<_, StoreError>(|tx| registered(tx, &name))?;
            Ok(OpenProfile::new(profile, store, key))
        })
        .await
    }

    /// The server will never know the device: nothing stays that the next attempt would meet.
    pub(super) async fn discard(self) -> Result<(), ClientError> {
        off_thread(move || {
            let Self { profile, store, .. } = self;
            drop(store);
            profile.discard()
        })
        .await
    }
}

/// The store of the profile; a new one where there is none.
fn opened(
    profile: &Profile,
    store: Option<(LocalStore, StoreKey)>,
    password: &str,
) -> Result<(LocalStore, StoreKey), ClientError> {
    store.map_or_else(|| profile.make_store(password), Ok)
}

/// The server has confirmed this device.
fn registered(tx: &Tx<'_>, name: &str) -> Result<(), StoreError> {
    tx.set_registered()?;
    tx.forget_setup()?;
    let Some(identity) = tx.identity()? else { return Ok(()) };
    if name.is_empty() {
        return Ok(());
    }
    let now_ms = now_ms();
    tx.set_device_name(&identity.device, name, now_ms)?;
    let (name, clock_ms) = tx.device_name(&identity.device)?;
    let Some(own) = tx.contact(&identity.account)? else { return Ok(()) };
    let body = Body::SyncDeviceName { device: identity.device, name };
    for other in own.list.list().devices.iter().map(|signed| signed.certificate().device) {
        if other != identity.device {
            tx.enqueue(&NewEntry {
                account: Some(identity.account),
                username: None,
                device: Some(other),
                message: MessageId(random_id()),
                user: false,
                kind: body.kind(),
                body: &body.encode(),
                clock_ms,
                now_ms,
            })?;
        }
    }
    Ok(())
}

/// A new device of an account: its keys and its certificate.
pub(super) fn new_device(
    account_secret: &AccountSecret,
    username: &Username,
    account: AccountId,
    now_ms: u64,
) -> Result<Identity, ClientError> {
    let mut rng = os_rng();
    let device_secret = DeviceSecret::generate(&mut rng);
    let device = DeviceId(random_id());
    let certificate = Certificate {
        username: username.clone(),
        account,
        account_key: account_secret.public(),
        device,
        device_key: device_secret.device_key(),
        identity_key: device_secret.identity_key(),
        created_ms: now_ms,
    };
    let certificate = account_secret.sign_certificate(&certificate).map_err(bug)?;
    Ok(Identity {
        username: username.clone(),
        account,
        account_key: account_secret.public(),
        account_seed: Some(account_secret.seed()),
        device,
        device_secret: device_secret.to_bytes(),
        certificate,
        registered: false,
    })
}

/// 16 random bytes.
pub(super) fn random_id() -> [u8; 16] {
    use rand::Rng;
    let mut id = [0; 16];
    os_rng().fill_bytes(&mut id);
    id
}

/// What was just made does not verify.
pub(super) fn bug(error: impl std::fmt::Display) -> ClientError {
    ClientError::new(ErrorKind::Bug, "the new device's keys do not hold").cause(error)
}
