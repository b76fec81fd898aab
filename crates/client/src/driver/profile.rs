//! A profile's folder: 0700, its files 0600, one owner at a time.

use std::{
    ffi::OsString,
    fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use sotto_crypto::{AccountSecret, RecoveryPhrase, VaultKey, auth_key};
use sotto_proto::frame::AuthKey;
use zeroize::Zeroizing;

use super::vault::Vault;
use crate::{
    api::{ClientError, ErrorKind},
    store::LocalStore,
};

const LOCK: &str = "profile.lock";
const STORE: &str = "store.db";
/// What SQLite may leave beside its file.
const STORE_COMPANIONS: [&str; 3] = ["store.db-wal", "store.db-shm", "store.db-journal"];

/// A profile that this process owns until the value is dropped. The kernel holds the lock, so it ends with the process
/// however that ends.
#[derive(Debug)]
pub struct Profile {
    dir: PathBuf,
    lock: File,
}

/// The key of an open store: a new password wraps it again without the old one being asked for.
#[derive(Clone)]
pub(crate) struct StoreKey(Arc<VaultKey>);

impl StoreKey {
    pub(super) fn expose(&self) -> &VaultKey {
        &self.0
    }
}

impl std::fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoreKey(…)")
    }
}

/// An owned profile whose store is open and holds an account.
#[derive(Debug)]
pub struct OpenProfile {
    /// Dropped after the store: fields drop in order.
    pub(super) store: LocalStore,
    pub(super) key: StoreKey,
    pub(super) profile: Profile,
}

impl Profile {
    /// Whether something was begun in this folder: it has a key file. Needs neither lock nor password.
    pub fn exists(dir: &Path) -> bool {
        Vault::path(dir).exists()
    }

    /// Takes the profile. [`ErrorKind::ProfileInUse`] names the process that has it; [`ErrorKind::LoginNeeded`] if
    /// nothing was ever begun there.
    pub fn lock(dir: &Path) -> Result<Self, ClientError> {
        if Self::exists(dir) { Self::lock_folder(dir) } else { Err(no_account()) }
    }

    /// Takes the profile, and makes the folder if there is none.
    pub(crate) fn create(dir: &Path) -> Result<Self, ClientError> {
        make_folder(dir)?;
        Self::lock_folder(dir)
    }

    fn lock_folder(dir: &Path) -> Result<Self, ClientError> {
        restrict(dir, 0o700)?;
        let path = dir.join(LOCK);
        let failed = |error: &io::Error| file_error("lock", &path, error);
        let mut lock = private_file().read(true).open(&path).map_err(|error| failed(&error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use(dir, &mut lock)),
            Err(TryLockError::Error(error)) => return Err(failed(&error)),
        }
        // For the eyes of whoever comes second; the lock itself is the kernel's.
        let owner = format!("{} {}\n", std::process::id(), program());
        lock.set_len(0).and_then(|()| lock.write_all(owner.as_bytes())).map_err(|error| failed(&error))?;
        Ok(Self { dir: dir.to_owned(), lock })
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Opens the store of a registered account. Blocks for about 0.2 s (Argon2id), once in the life of a profile that
    /// an older version made for as long again. [`ErrorKind::LocalStore`] for a
    /// wrong password or damage, [`ErrorKind::LoginNeeded`] if the registration was never finished.
    pub fn unlock(self, password: &str) -> Result<OpenProfile, ClientError> {
        let (mut store, key) = self.open_store(password)?;
        let registered = store.transaction::<_, ClientError>(|tx| {
            Ok(tx.identity()?.is_some_and(|identity| identity.registered))
        })?;
        if !registered {
            return Err(no_account());
        }
        keep_auth_key(&mut store, password)?;
        Ok(OpenProfile { store, key, profile: self })
    }

    /// [`Self::unlock`], off the async threads.
    pub async fn unlock_async(self, password: Zeroizing<String>) -> Result<OpenProfile, ClientError> {
        off_thread(move || self.unlock(&password)).await
    }

    /// Opens the store whatever is in it.
    pub(crate) fn open_store(&self, password: &str) -> Result<(LocalStore, StoreKey), ClientError> {
        self.open_with(Vault::read(&self.dir)?.open(password)?)
    }

    fn open_with(&self, key: VaultKey) -> Result<(LocalStore, StoreKey), ClientError> {
        let path = self.dir.join(STORE);
        // SQLite gives its log the mode of the file it belongs to, so the file is made here, empty and private.
        private_file().open(&path).map_err(|error| file_error("make", &path, &error))?;
        sync_folder(&self.dir)?;
        restrict(&path, 0o600)?;
        let store = LocalStore::open(&path, key.expose())?;
        Ok((store, StoreKey(Arc::new(key))))
    }

    /// Makes a new key, wraps it, and makes the store under it: the first step of a new profile. A store without its key
    /// would be lost, so there must be none yet.
    pub(crate) fn make_store(&self, password: &str) -> Result<(LocalStore, StoreKey), ClientError> {
        if self.has_store() {
            return Err(ClientError::new(
                ErrorKind::LocalStore,
                "the profile has a store but its key file is missing",
            )
            .cause(self.dir.display())
            .hint("bring the file `vault` back from a copy, or use another --profile"));
        }
        self.open_with(Vault::make(&self.dir, password)?)
    }

    /// Whether there is a store: without one, a key file alone is worth nothing.
    pub(crate) fn has_store(&self) -> bool {
        self.dir.join(STORE).metadata().is_ok_and(|file| file.len() > 0)
    }

    /// Removes key and store of a registration that the server refused. The store goes first: a key without store is
    /// replaced by the next attempt, a store without key would block it.
    pub(crate) fn discard(&self) -> Result<(), ClientError> {
        let vault = Vault::path(&self.dir);
        let companions = STORE_COMPANIONS.iter().map(|name| self.dir.join(name));
        for path in std::iter::once(self.dir.join(STORE)).chain(companions).chain([vault]) {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(file_error("remove", &path, &error));
                }
                _ => {}
            }
        }
        sync_folder(&self.dir)
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        // The next reader of the lock file should not see the name of a process that has ended.
        if let Err(error) = self.lock.set_len(0) {
            tracing::debug!(%error, "lock file not cleared");
        }
    }
}

impl OpenProfile {
    /// The profile and its store, apart.
    pub(crate) fn new(profile: Profile, store: LocalStore, key: StoreKey) -> Self {
        Self { store, key, profile }
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        self.profile.dir()
    }

    /// The account's recovery phrase; [`ErrorKind::NotFound`] on a device that was added without it.
    pub fn recovery_phrase(&mut self) -> Result<RecoveryPhrase, ClientError> {
        let seed = self.store.transaction::<_, ClientError>(|tx| {
            Ok(tx.identity()?.and_then(|identity| identity.account_seed))
        })?;
        let seed = seed.ok_or_else(|| {
            ClientError::new(ErrorKind::NotFound, "this device does not hold the account's key")
                .hint("ask on the device that the account was made on")
        })?;
        Ok(RecoveryPhrase::of(&AccountSecret::from_seed(&seed)))
    }
}

/// A profile of a version that did not keep the key which proves the password to the server gets it now, while the
/// password is at hand.
fn keep_auth_key(store: &mut LocalStore, password: &str) -> Result<(), ClientError> {
    let missing = store.transaction::<_, ClientError>(|tx| {
        let (Some(identity), Some(server)) = (tx.identity()?, tx.server()?) else { return Ok(None) };
        let known = tx.auth_key(&server.server_id)?.is_some();
        Ok((!known).then_some((server.server_id, identity.username)))
    })?;
    let Some((server, username)) = missing else { return Ok(()) };
    let key = auth_key(password, &server, &username).map_err(|error| {
        ClientError::new(ErrorKind::Invalid, "the password cannot be worked on").cause(error)
    })?;
    store.transaction::<_, ClientError>(|tx| Ok(tx.set_auth_key(&server, &AuthKey(*key))?))
}

/// There is no account in this profile.
fn no_account() -> ClientError {
    ClientError::new(ErrorKind::LoginNeeded, "there is no account in this profile yet")
        .hint("sotto register SERVER USER, or sotto login SERVER USER")
}

fn in_use(dir: &Path, lock: &mut File) -> ClientError {
    let mut owner = String::new();
    // The text is only for people; whatever cannot be read is left out.
    let read = lock.take(256).read_to_string(&mut owner);
    let mut words = owner.split_whitespace();
    let owner = match (read, words.next().and_then(|pid| pid.parse::<u32>().ok()), words.next()) {
        (Ok(_), Some(pid), Some(program)) => {
            let program: String = program.chars().filter(char::is_ascii_graphic).collect();
            format!("{program} (process {pid})")
        }
        _ => "another program".to_owned(),
    };
    ClientError::new(ErrorKind::ProfileInUse, format!("the profile is in use by {owner}"))
        .cause(dir.display())
        .hint("end that program, or use another --profile")
}

fn program() -> String {
    let name = std::env::args_os()
        .next()
        .map_or_else(OsString::new, |path| Path::new(&path).file_name().unwrap_or_default().to_owned());
    let name = name.to_string_lossy().replace(char::is_whitespace, "_");
    if name.is_empty() { "sotto".to_owned() } else { name }
}

/// Read and write for the owner only; made if it is not there, left as it is if it is.
fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    options
}

/// Takes rights away that a file should not give; what has fewer already stays.
fn restrict(path: &Path, mode: u32) -> Result<(), ClientError> {
    let failed = |error: &io::Error| file_error("protect", path, error);
    let now = path.metadata().map_err(|error| failed(&error))?.permissions().mode() & 0o7777;
    if now & !mode == 0 {
        return Ok(());
    }
    std::fs::set_permissions(path, Permissions::from_mode(now & mode)).map_err(|error| failed(&error))
}

/// Makes a folder and what is missing above it. Each name that is new, and the folder's own in any case (an earlier start
/// may have been killed before it came to that), is durable in the folder above: a power cut does not take a profile away.
fn make_folder(dir: &Path) -> Result<(), ClientError> {
    let above = dir.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !above.is_dir() {
        make_folder(above)?;
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| file_error("make", dir, &error))?;
    sync_folder(above)
}

/// Makes names in the folder as durable as what they name.
pub(super) fn sync_folder(dir: &Path) -> Result<(), ClientError> {
    File::open(dir).and_then(|folder| folder.sync_all()).map_err(|error| file_error("write", dir, &error))
}

/// A file operation that failed, sorted by who can mend it.
pub(super) fn file_error(what: &str, path: &Path, error: &io::Error) -> ClientError {
    let (kind, hint) = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            (ErrorKind::DiskFull, "free some space and run the command again")
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            (ErrorKind::Invalid, "let this user write there, or use another --data-dir")
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            (ErrorKind::Invalid, "make room for a folder there, or use another --data-dir")
        }
        _ => (ErrorKind::LocalStore, "look at this machine's disk, then run the command again"),
    };
    ClientError::new(kind, format!("cannot {what} {}", path.display())).cause(error).hint(hint)
}

/// Runs blocking work off the async threads.
pub(crate) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ClientError> + Send + 'static,
) -> Result<T, ClientError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(ClientError::new(ErrorKind::Bug, "a task ended early").cause(error)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{
        driver::os_rng,
        store::{Identity, ServerPin, StoreError},
    };

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_second_owner_is_told_who_the_first_is_and_the_lock_ends_with_its_owner() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/b");
        let first = Profile::create(&dir).unwrap();
        assert_eq!(mode(&dir), 0o700);
        assert_eq!(mode(&dir.join(LOCK)), 0o600);
        let error = Profile::create(&dir).unwrap_err();
        assert_eq!(error.kind, ErrorKind::ProfileInUse);
        assert!(error.message.contains(&format!("process {}", std::process::id())), "{}", error.message);
        drop(first);
        Profile::create(&dir).unwrap();
    }

    #[test]
    fn an_empty_folder_has_no_account_and_looking_makes_nothing() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("none");
        assert_eq!(Profile::lock(&dir).unwrap_err().kind, ErrorKind::LoginNeeded);
        assert!(!dir.exists());
    }

    #[test]
    fn a_folder_that_others_can_read_is_closed() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("p");
        std::fs::create_dir(&dir).unwrap();
        std::fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
        drop(Profile::create(&dir).unwrap());
        assert_eq!(mode(&dir), 0o700);
    }

    #[test]
    fn password_damage_and_unfinished_registration_are_told_apart() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("p");
        let profile = Profile::create(&dir).unwrap();
        drop(profile.make_store("right").unwrap());
        assert_eq!(mode(&dir.join(STORE)), 0o600);
        drop(profile);

        let error = Profile::lock(&dir).unwrap().unlock("wrong").unwrap_err();
        assert_eq!(error.kind, ErrorKind::LocalStore);
        assert!(error.message.contains("password"), "{}", error.message);
        assert_eq!(Profile::lock(&dir).unwrap().unlock("right").unwrap_err().kind, ErrorKind::LoginNeeded);

        let store = dir.join(STORE);
        let mut bytes = std::fs::read(&store).unwrap();
        for byte in &mut bytes {
            *byte ^= 0x55;
        }
        std::fs::write(&store, bytes).unwrap();
        let error = Profile::lock(&dir).unwrap().unlock("right").unwrap_err();
        assert_eq!(error.kind, ErrorKind::LocalStore);
        assert!(!error.message.contains("password"), "{}", error.message);
    }

    #[test]
    fn a_profile_without_the_key_that_proves_the_password_gets_it_when_it_is_opened() {
        use sotto_crypto::DeviceSecret;
        use sotto_proto::{AccountId, Certificate, DeviceId, ServerId, Username};

        let root = tempfile::tempdir().unwrap();
        let profile = Profile::create(root.path()).unwrap();
        let (mut store, _) = profile.make_store("right").unwrap();
        let (secret, device) = (AccountSecret::from_seed(&[1; 32]), DeviceSecret::generate(&mut os_rng()));
        let username: Username = "alice".parse().unwrap();
        let certificate = secret
            .sign_certificate(&Certificate {
                username: username.clone(),
                account: AccountId([2; 16]),
                account_key: secret.public(),
                device: DeviceId([3; 16]),
                device_key: device.device_key(),
                identity_key: device.identity_key(),
                created_ms: 4,
            })
            .unwrap();
        let server = ServerId([5; 32]);
        store
            .transaction::<_, StoreError>(|tx| {
                tx.save_identity(&Identity {
                    username: username.clone(),
                    account: AccountId([2; 16]),
                    account_key: secret.public(),
                    account_seed: None,
                    device: DeviceId([3; 16]),
                    device_secret: device.to_bytes(),
                    certificate,
                    registered: true,
                })?;
                let address = "chat.example:7777".parse().unwrap();
                tx.set_server(&ServerPin { address, server_id: server, newest: [6; 32], number: 0 })
            })
            .unwrap();
        drop((store, profile));

        let mut open = Profile::lock(root.path()).unwrap().unlock("right").unwrap();
        let kept = open.store.transaction::<_, StoreError>(|tx| tx.auth_key(&server)).unwrap();
        assert_eq!(kept, Some(AuthKey(*auth_key("right", &server, &username).unwrap())));
        // Another one, as after a change of the password, is left alone.
        let changed = AuthKey([7; 32]);
        open.store.transaction::<_, StoreError>(|tx| tx.set_auth_key(&server, &changed)).unwrap();
        drop(open);
        let mut again = Profile::lock(root.path()).unwrap().unlock("right").unwrap();
        let kept = again.store.transaction::<_, StoreError>(|tx| tx.auth_key(&server)).unwrap();
        assert_eq!(kept, Some(changed));
    }

    #[test]
    fn a_discarded_profile_can_be_begun_again_and_a_store_never_loses_its_key() {
        let root = tempfile::tempdir().unwrap();
        let profile = Profile::create(root.path()).unwrap();
        drop(profile.make_store("one").unwrap());
        assert_eq!(profile.make_store("two").err().unwrap().kind, ErrorKind::LocalStore);
        profile.discard().unwrap();
        assert!(!Profile::exists(root.path()));
        drop(profile.make_store("two").unwrap());
        drop(profile.open_store("two").unwrap());
    }
}
