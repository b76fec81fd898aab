//! What takes too long for the core's task: Argon2, and the signatures of an upload of prekeys.

use std::sync::Arc;

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier},
};
use rand::{TryRng, rngs::SysRng};
use tokio::sync::{Semaphore, mpsc};

use crate::core::{Input, Job, Operation, WorkResult};

/// The server's Argon2id: 19 MiB, two passes, one lane (OWASP's first choice); what it hashes is no password but the
/// client's own Argon2id of 64 MiB.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Bytes of a salt.
const SALT: usize = 16;

/// Runs jobs on threads that may block, as many at a time as the memory for them allows.
#[derive(Debug)]
pub(super) struct Workers {
    hashing: Arc<Semaphore>,
    /// Apart, so that uploads of keys and logins do not wait for each other.
    signatures: Arc<Semaphore>,
    finished: mpsc::UnboundedSender<Input>,
}

impl Workers {
    /// `memory` bytes for Argon2, at least enough for one.
    pub(super) fn new(memory: usize, finished: mpsc::UnboundedSender<Input>) -> Self {
        let each = usize::try_from(MEMORY_KIB).unwrap_or(usize::MAX).saturating_mul(1024);
        // More at a time than there are processors only takes memory.
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let places = (memory / each).clamp(1, processors);
        let (hashing, signatures) = (Semaphore::new(places), Semaphore::new(processors));
        Self { hashing: Arc::new(hashing), signatures: Arc::new(signatures), finished }
    }

    pub(super) fn start(&self, operation: Operation, job: Job) {
        let places = Arc::clone(match job {
            Job::HashPassword(_) | Job::VerifyPassword { .. } => &self.hashing,
            Job::VerifyPrekeys { .. } => &self.signatures,
        });
        let finished = self.finished.clone();
        tokio::spawn(async move {
            // The semaphore is fair: jobs start in the order in which they came.
            let place = places.acquire_owned().await;
            let result = tokio::task::spawn_blocking(move || run(job)).await;
            drop(place);
            let result = result.unwrap_or_else(|error| WorkResult::Failed(error.to_string()));
            drop(finished.send(Input::Worked { operation, result }));
        });
    }
}

fn run(job: Job) -> WorkResult {
    match job {
        Job::HashPassword(auth_key) => hash(&auth_key.0).map_or_else(WorkResult::Failed, WorkResult::Hashed),
        Job::VerifyPassword { auth_key, hash } => verify(&auth_key.0, &hash),
        Job::VerifyPrekeys { account, device, device_key, upload, now_ms } => {
            let verified = upload.verify(&account, &device, &device_key, now_ms);
            WorkResult::Prekeys(verified.map(|()| upload).map_err(|error| error.to_string()))
        }
    }
}

fn argon2() -> Result<Argon2<'static>, String> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|error| error.to_string())?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// Argon2id with a fresh salt, as a PHC string.
pub(super) fn hash(auth_key: &[u8; 32]) -> Result<String, String> {
    let mut salt = [0; SALT];
    SysRng.try_fill_bytes(&mut salt).map_err(|error| error.to_string())?;
    argon2()?
        .hash_password_with_salt(auth_key, &salt)
        .map(|hash| hash.to_string())
        .map_err(|error| error.to_string())
}

fn verify(auth_key: &[u8; 32], hash: &str) -> WorkResult {
    use argon2::password_hash::Error;
    match argon2().map(|argon2| argon2.verify_password(auth_key, hash)) {
        Ok(Ok(())) => WorkResult::Verified(true),
        Ok(Err(Error::PasswordInvalid)) => WorkResult::Verified(false),
        Ok(Err(error)) => WorkResult::Failed(error.to_string()),
        Err(error) => WorkResult::Failed(error),
    }
}

/// A hash of something that nobody knows, with the cost of the real ones.
pub(super) fn nobody() -> Result<String, String> {
    let mut secret = zeroize::Zeroizing::new([0; 32]);
    SysRng.try_fill_bytes(secret.as_mut()).map_err(|error| error.to_string())?;
    hash(&secret)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_has_the_cost_of_the_specification_and_only_its_key_verifies() {
        let stored = hash(&[7; 32]).unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert!(matches!(verify(&[7; 32], &stored), WorkResult::Verified(true)));
        assert!(matches!(verify(&[8; 32], &stored), WorkResult::Verified(false)));
        assert!(matches!(verify(&[8; 32], "junk"), WorkResult::Failed(_)));
        assert_ne!(stored, hash(&[7; 32]).unwrap(), "each hash has a salt of its own");
    }
}
