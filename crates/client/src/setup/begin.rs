//! The local half of both: taking the profile, finding what an interrupted attempt left, and putting a new device on
//! the disk before the server hears of it.

use std::{path::Path, sync::Arc};

use sotto_crypto::{AccountSecret, DeviceSecret};
use sotto_proto::{AccountId, Certificate, DeviceId, SignedDeviceList, Username, frame::AuthKey};
use zeroize::Zeroizing;

use crate::{
    api::{ClientError, ErrorKind},
    driver::{OpenProfile, Profile, off_thread, os_rng},
    store::{Identity, LocalStore, ServerPin, StoreError},
};

/// A device that is on this disk, and of which the server has not said yet that it knows it.
pub(super) struct Unfinished {
    pub(super) identity: Identity,
    pub(super) server: ServerPin,
    /// The account's list with this device in it.
    pub(super) list: SignedDeviceList,
}

/// A profile without an account.
pub(super) struct Begun {
    profile: Profile,
    store: Option<LocalStore>,
    pub(super) unfinished: Option<Unfinished>,
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
            return Ok(Self { profile, store: None, unfinished: None });
        }
        let mut store = profile.open_store(password).map_err(|error| {
            error.hint("the profile exists already: use the password it was begun with, or another --profile")
        })?;
        let found = store.transaction::<_, ClientError>(|tx| {
            let Some(identity) = tx.identity()? else { return Ok(None) };
            let server = tx.server()?;
            let list = tx.contact(&identity.account)?.map(|own| own.list);
            Ok(Some((identity, server, list)))
        })?;
        let unfinished = match found {
            Some((identity, server, _)) if identity.registered => {
                let server = server.map_or_else(String::new, |pin| format!(" at {}", pin.address));
                return Err(ClientError::new(
                    ErrorKind::Invalid,
                    format!("this profile has an account already: {}{server}", identity.username),
                )
                .hint("use another one: --profile NAME"));
            }
            Some((identity, Some(server), Some(list))) => Some(Unfinished { identity, server, list }),
            _ => None,
        };
        Ok(Self { profile, store: Some(store), unfinished })
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
            let mut store = if let Some(store) = store {
                store
            } else {
                profile.make_key(&password)?;
                profile.open_store(&password)?
            };
            store.transaction::<_, StoreError>(|tx| {
                tx.forget_unregistered()?;
                tx.set_server(&device.server)?;
                tx.set_auth_key(&device.server.server_id, &auth_key)?;
                tx.save_identity(&device.identity)?;
                tx.pin(&device.list, true)
            })?;
            let list = device.list.clone();
            Ok((Self { profile, store: Some(store), unfinished: Some(device) }, list))
        })
        .await
    }

    /// The server knows the device: the profile has an account.
    pub(super) async fn finish(self) -> Result<OpenProfile, ClientError> {
        off_thread(move || {
            let Self { profile, store, .. } = self;
            let mut store = store.ok_or_else(|| ClientError::new(ErrorKind::Bug, "nothing was kept"))?;
            #[expect(
                clippy::redundant_closure_for_method_calls,
                reason = "the method alone is not general enough"
            )]
            store.transaction::<_, StoreError>(|tx| tx.set_registered())?;
            Ok(OpenProfile::new(profile, store))
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
