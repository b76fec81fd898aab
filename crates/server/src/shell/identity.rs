//! The server's own key, certificate and key chain, kept in its data folder.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ED25519, PublicKeyData as _, SigningKey as _};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::NoServerSessionStorage,
};
use sotto_proto::{
    KeyChain, Signature,
    chain::{Successor, successor_input},
    codec,
    limits::MAX_CHAIN,
};
use thiserror::Error;
use zeroize::Zeroizing;

/// The application protocol.
pub(crate) const ALPN: &[u8] = b"sotto/1";

pub(crate) const KEY_FILE: &str = "key.pem";
pub(crate) const CHAIN_FILE: &str = "chain";
/// A key that takes the place of the one in [`KEY_FILE`] as soon as the chain ends in it.
const NEXT_KEY_FILE: &str = "key.next.pem";

/// Why a server cannot show who it is.
#[derive(Debug, Error)]
pub(crate) enum IdentityError {
    /// A file cannot be read or written.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// There is no key yet.
    #[error("there is no server in {0} yet; start it once with `sottod`")]
    None(PathBuf),
    /// The key is gone, the chain is there: a new key would look like another server.
    #[error("{0}: the key is missing, though this server had one; restore it from a backup")]
    KeyLost(PathBuf),
    /// The key cannot be read.
    #[error("{path}: {problem}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The chain has no room for a successor.
    #[error("this server has replaced its key {MAX_CHAIN} times, which is as often as clients accept")]
    ChainFull,
    /// The certificate or the TLS configuration could not be made.
    #[error("TLS: {0}")]
    Tls(String),
}

/// Who the server is.
#[derive(Debug)]
pub(crate) struct Identity {
    key: KeyPair,
    /// Its key chain, which ends in its key.
    pub(crate) chain: KeyChain,
    /// Whether the key stands in [`NEXT_KEY_FILE`]: a rotation was cut short when all but its last step was done.
    unsettled: bool,
}

fn at(path: &Path) -> impl Fn(io::Error) -> IdentityError + '_ {
    move |error| IdentityError::File { path: path.to_owned(), error }
}

/// Makes a folder that only its owner may enter, and what is missing above it; all of it on stable storage.
pub(crate) fn make_folder(path: &Path) -> Result<(), IdentityError> {
    let parent =
        path.parent().map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent });
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {
            // A start that was cut short may have made it; a folder that others made need not let us read its parent.
            drop(parent.map(sync_folder));
            return Ok(());
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_folder(parent.ok_or(error).map_err(at(path))?)?;
            fs::DirBuilder::new().mode(0o700).create(path).map_err(at(path))?;
        }
        Err(error) => return Err(at(path)(error)),
    }
    parent.map_or(Ok(()), sync_folder)
}

fn sync_folder(path: &Path) -> Result<(), IdentityError> {
    fs::File::open(path).and_then(|folder| folder.sync_all()).map_err(at(path))
}

/// Writes a whole file or nothing, and comes back when it is on stable storage.
pub(crate) fn write_file(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), IdentityError> {
    let path = folder.join(name);
    let new = folder.join(format!("{name}.new"));
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&new).map_err(at(&new))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(at(&new))?;
    fs::rename(&new, &path).map_err(at(&path))?;
    sync_folder(folder)
}

fn read_file(path: &Path) -> Result<Option<Vec<u8>>, IdentityError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at(path)(error)),
    }
}

fn damaged(path: &Path, problem: &dyn std::fmt::Display) -> IdentityError {
    IdentityError::Damaged { path: path.to_owned(), problem: problem.to_string() }
}

fn read_key(path: &Path) -> Result<Option<KeyPair>, IdentityError> {
    let Some(pem) = read_file(path)?.map(Zeroizing::new) else { return Ok(None) };
    let pem = std::str::from_utf8(&pem).map_err(|_| damaged(path, &"not a PEM file"))?;
    let key = KeyPair::from_pem_and_sign_algo(pem, &PKCS_ED25519).map_err(|error| damaged(path, &error))?;
    Ok(Some(key))
}

impl Identity {
    /// Reads it; a folder without one is an error.
    pub(crate) fn load(folder: &Path) -> Result<Self, IdentityError> {
        let key_path = folder.join(KEY_FILE);
        let chain_path = folder.join(CHAIN_FILE);
        let chain = read_file(&chain_path)?;
        let chain: Option<KeyChain> = chain
            .map(|bytes| codec::decode(&bytes).map_err(|error| damaged(&chain_path, &error)))
            .transpose()?;
        if let Some(chain) = &chain
            && let Some(key) = read_key(&folder.join(NEXT_KEY_FILE))?
            && chain.verify(&key.subject_public_key_info()).is_ok()
        {
            return Ok(Self { key, chain: chain.clone(), unsettled: true });
        }
        let Some(key) = read_key(&key_path)? else {
            return Err(match chain {
                Some(_) => IdentityError::KeyLost(key_path),
                None => IdentityError::None(folder.to_owned()),
            });
        };
        let spki = key.subject_public_key_info();
        // Without a chain the first start ended between the two files: the key is the chain's first.
        let chain = chain.unwrap_or_else(|| KeyChain { first: spki.clone(), successors: Vec::new() });
        chain.verify(&spki).map_err(|error| damaged(&chain_path, &error))?;
        Ok(Self { key, chain, unsettled: false })
    }

    /// Reads it, after a rotation that was cut short has been finished or undone. For who holds the folder.
    pub(crate) fn settle(folder: &Path) -> Result<Self, IdentityError> {
        let mut identity = Self::load(folder)?;
        let next = folder.join(NEXT_KEY_FILE);
        if identity.unsettled {
            // The new key takes the place of the old one, which is gone with that.
            let key = folder.join(KEY_FILE);
            fs::rename(&next, &key).map_err(at(&key))?;
            identity.unsettled = false;
        } else {
            match fs::remove_file(&next) {
                // A rotation that had not come to the chain: nobody has seen its key.
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(identity),
                Err(error) => return Err(at(&next)(error)),
            }
        }
        sync_folder(folder)?;
        Ok(identity)
    }

    /// Gives the server a new key, signed by the old one, which is removed. For who holds the folder. A crash at any point
    /// leaves the old key or the new one with its chain, which [`Self::settle`] sorts out: it is the chain that decides.
    pub(crate) fn rotate(folder: &Path) -> Result<Self, IdentityError> {
        let new = Self::settle(folder)?.successor()?;
        new.write_next(folder)?;
        new.write_chain(folder)?;
        Self::settle(folder)
    }

    /// With a new key at the end of the chain.
    fn successor(mut self) -> Result<Self, IdentityError> {
        if self.chain.successors.len() >= MAX_CHAIN {
            return Err(IdentityError::ChainFull);
        }
        let broken = |error: rcgen::Error| IdentityError::Tls(error.to_string());
        let key = KeyPair::generate_for(&PKCS_ED25519).map_err(broken)?;
        let (old, spki) = (self.key.subject_public_key_info(), key.subject_public_key_info());
        let number = self.chain.newest().1.saturating_add(1);
        let signature = self.key.sign(&successor_input(&old, &spki, number)).map_err(broken)?;
        let signature =
            signature.try_into().map_err(|_| IdentityError::Tls("a signature's length".into()))?;
        self.chain.successors.push(Successor { spki, signature: Signature(signature) });
        Ok(Self { key, chain: self.chain, unsettled: true })
    }

    fn write_next(&self, folder: &Path) -> Result<(), IdentityError> {
        let pem = Zeroizing::new(self.key.serialize_pem());
        write_file(folder, NEXT_KEY_FILE, pem.as_bytes())
    }

    fn write_chain(&self, folder: &Path) -> Result<(), IdentityError> {
        let bytes = codec::encode(&self.chain).map_err(|error| IdentityError::Tls(error.to_string()))?;
        write_file(folder, CHAIN_FILE, &bytes)
    }

    /// Reads it, or makes it at the first start. Only one process may do this at a time.
    pub(crate) fn load_or_make(folder: &Path) -> Result<Self, IdentityError> {
        let identity = match Self::settle(folder) {
            Err(IdentityError::None(_)) => {
                let key = KeyPair::generate_for(&PKCS_ED25519)
                    .map_err(|error| IdentityError::Tls(error.to_string()))?;
                let pem = Zeroizing::new(key.serialize_pem());
                write_file(folder, KEY_FILE, pem.as_bytes())?;
                let chain = KeyChain { first: key.subject_public_key_info(), successors: Vec::new() };
                Self { key, chain, unsettled: false }
            }
            other => other?,
        };
        if !folder.join(CHAIN_FILE).exists() {
            identity.write_chain(folder)?;
        }
        Ok(identity)
    }

    /// The fingerprint of the newest key.
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        self.chain.newest().0
    }

    /// TLS 1.3 only, post-quantum key exchange first, a self-signed certificate: clients check its key, not its
    /// dates or names. It is made anew at every start, since nothing but the key in it matters.
    pub(crate) fn tls(&self) -> Result<Arc<ServerConfig>, IdentityError> {
        let broken = |error: &dyn std::fmt::Display| IdentityError::Tls(error.to_string());
        let mut params = CertificateParams::new(vec!["sotto".to_owned()]).map_err(|error| broken(&error))?;
        params.distinguished_name.push(DnType::CommonName, "sotto");
        let certificate = params.self_signed(&self.key).map_err(|error| broken(&error))?;
        let certificate = CertificateDer::from(certificate.der().to_vec());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| broken(&error))?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .map_err(|error| broken(&error))?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        // Connections are long; tickets and their store would only cost memory.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Arc::new(config))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_first_start_makes_it_and_later_ones_keep_it() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(Identity::load(folder.path()), Err(IdentityError::None(_))));
        let first = Identity::load_or_make(folder.path()).unwrap();
        let mode = |name| fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(KEY_FILE), mode(CHAIN_FILE)), (0o600, 0o600));
        first.tls().unwrap();
        let second = Identity::load_or_make(folder.path()).unwrap();
        assert_eq!(first.chain, second.chain);
        fs::remove_file(folder.path().join(CHAIN_FILE)).unwrap();
        assert_eq!(Identity::load_or_make(folder.path()).unwrap().chain, first.chain, "a crash in between");
        fs::remove_file(folder.path().join(KEY_FILE)).unwrap();
        assert!(matches!(Identity::load_or_make(folder.path()), Err(IdentityError::KeyLost(_))));
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_new_key_is_signed_by_the_old_one_which_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let first = Identity::load_or_make(folder.path()).unwrap();
        let old = fs::read(folder.path().join(KEY_FILE)).unwrap();
        for number in 1..=3 {
            let rotated = Identity::rotate(folder.path()).unwrap();
            assert_eq!(rotated.chain.newest().1, number);
            assert_eq!(rotated.chain.server_id(), first.chain.server_id());
            assert_eq!(rotated.chain.position(&first.fingerprint()), Some(0));
            rotated.chain.verify(&rotated.key.subject_public_key_info()).unwrap();
            assert_eq!(Identity::load(folder.path()).unwrap().chain, rotated.chain);
            assert_eq!(names(folder.path()), [CHAIN_FILE, KEY_FILE]);
            let mode = fs::metadata(folder.path().join(KEY_FILE)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert_ne!(fs::read(folder.path().join(KEY_FILE)).unwrap(), old);
        let mut full = Identity::load(folder.path()).unwrap();
        while full.chain.successors.len() < MAX_CHAIN {
            full = full.successor().unwrap();
        }
        full.chain.verify(&full.key.subject_public_key_info()).unwrap();
        assert!(matches!(full.successor(), Err(IdentityError::ChainFull)));
    }

    #[test]
    fn a_rotation_that_is_cut_short_anywhere_leaves_the_old_key_or_the_new_one() {
        for steps in 0..=3 {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path();
            let old = Identity::load_or_make(path).unwrap().chain;
            let new = Identity::load(path).unwrap().successor().unwrap();
            // What a cut before the rename of each file leaves lying.
            fs::write(path.join("key.next.pem.new"), "half").unwrap();
            fs::write(path.join("chain.new"), "half").unwrap();
            if steps > 0 {
                new.write_next(path).unwrap();
            }
            if steps > 1 {
                new.write_chain(path).unwrap();
            }
            if steps > 2 {
                fs::rename(path.join(NEXT_KEY_FILE), path.join(KEY_FILE)).unwrap();
            }
            let expected = if steps > 1 { &new.chain } else { &old };
            // Who only reads sees the same as who starts.
            assert_eq!(Identity::load(path).unwrap().chain, *expected, "{steps}");
            let settled = Identity::load_or_make(path).unwrap();
            assert_eq!(settled.chain, *expected, "{steps}");
            settled.tls().unwrap();
            assert!(!path.join(NEXT_KEY_FILE).exists(), "{steps}");
            let again = Identity::rotate(path).unwrap();
            assert_eq!(again.chain.newest().1, expected.newest().1 + 1, "{steps}");
        }
    }

    #[test]
    fn a_chain_of_another_key_is_refused() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        Identity::load_or_make(one.path()).unwrap();
        Identity::load_or_make(two.path()).unwrap();
        fs::copy(one.path().join(CHAIN_FILE), two.path().join(CHAIN_FILE)).unwrap();
        assert!(matches!(Identity::load(two.path()), Err(IdentityError::Damaged { .. })));
    }
}
