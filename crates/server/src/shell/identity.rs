//! The server's own key, certificate and key chain, kept in its data folder.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ED25519, PublicKeyData as _};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::NoServerSessionStorage,
};
use sotto_proto::{KeyChain, codec};
use thiserror::Error;
use zeroize::Zeroizing;

/// The application protocol.
pub(crate) const ALPN: &[u8] = b"sotto/1";

pub(crate) const KEY_FILE: &str = "key.pem";
pub(crate) const CHAIN_FILE: &str = "chain";

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

impl Identity {
    /// Reads it; a folder without one is an error.
    pub(crate) fn load(folder: &Path) -> Result<Self, IdentityError> {
        let key_path = folder.join(KEY_FILE);
        let chain_path = folder.join(CHAIN_FILE);
        let chain = read_file(&chain_path)?;
        let Some(pem) = read_file(&key_path)?.map(Zeroizing::new) else {
            return Err(match chain {
                Some(_) => IdentityError::KeyLost(key_path),
                None => IdentityError::None(folder.to_owned()),
            });
        };
        let damaged = |path: &Path, problem: &str| IdentityError::Damaged {
            path: path.to_owned(),
            problem: problem.to_owned(),
        };
        let pem = std::str::from_utf8(&pem).map_err(|_| damaged(&key_path, "not a PEM file"))?;
        let key = KeyPair::from_pem_and_sign_algo(pem, &PKCS_ED25519)
            .map_err(|error| damaged(&key_path, &error.to_string()))?;
        let spki = key.subject_public_key_info();
        let chain = match chain {
            // The first start ended between the two files: the key is the chain's first.
            None => KeyChain { first: spki.clone(), successors: Vec::new() },
            Some(bytes) => codec::decode(&bytes).map_err(|error| damaged(&chain_path, &error.to_string()))?,
        };
        chain.verify(&spki).map_err(|error| damaged(&chain_path, &error.to_string()))?;
        Ok(Self { key, chain })
    }

    /// Reads it, or makes it at the first start. Only one process may do this at a time.
    pub(crate) fn load_or_make(folder: &Path) -> Result<Self, IdentityError> {
        let identity = match Self::load(folder) {
            Err(IdentityError::None(_)) => {
                let key = KeyPair::generate_for(&PKCS_ED25519)
                    .map_err(|error| IdentityError::Tls(error.to_string()))?;
                let pem = Zeroizing::new(key.serialize_pem());
                write_file(folder, KEY_FILE, pem.as_bytes())?;
                let chain = KeyChain { first: key.subject_public_key_info(), successors: Vec::new() };
                Self { key, chain }
            }
            other => other?,
        };
        if !folder.join(CHAIN_FILE).exists() {
            let bytes =
                codec::encode(&identity.chain).map_err(|error| IdentityError::Tls(error.to_string()))?;
            write_file(folder, CHAIN_FILE, &bytes)?;
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

    #[test]
    fn a_chain_of_another_key_is_refused() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        Identity::load_or_make(one.path()).unwrap();
        Identity::load_or_make(two.path()).unwrap();
        fs::copy(one.path().join(CHAIN_FILE), two.path().join(CHAIN_FILE)).unwrap();
        assert!(matches!(Identity::load(two.path()), Err(IdentityError::Damaged { .. })));
    }
}
