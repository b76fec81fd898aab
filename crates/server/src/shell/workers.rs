//! What takes too long for the core's task: Argon2, and the signatures of prekeys and device lists.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread::Builder,
};

use argon2::{
    ARGON2ID_IDENT, Algorithm, Argon2, Block, Params, Version,
    password_hash::{
        self,
        phc::{Output, ParamsString, PasswordHash, Salt},
    },
};
use rand::{TryRng, rngs::SysRng};
use tokio::sync::mpsc;
use tracing::warn;

use super::priority::{BEHIND_ALL, BEHIND_INSIDERS, stand_back};
use crate::core::{Input, Job, Operation, WorkResult};

/// The server's Argon2id: 19 MiB, two passes, one lane (OWASP's first choice); what it hashes is no password but the
/// client's own Argon2id of 64 MiB.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// glibc keeps for the next one what is freed, up to blocks of 32 MiB, and an aligned block seldom fits where the last one
/// was: hashing would in time hold many times its budget. What is larger comes from the system and goes back to it.
const GIVEN_BACK: usize = 33 * 1024 * 1024;
/// Bytes of a salt.
const SALT: usize = 16;

/// Runs jobs on a few threads of their own, in the order in which they came; the core bounds how many wait.
#[derive(Debug)]
pub(super) struct Workers {
    hashing: Sender<(Operation, Job)>,
    /// Apart, so that keys and passwords do not wait for each other.
    signatures: Sender<(Operation, Job)>,
    finished: mpsc::UnboundedSender<Input>,
}

impl Workers {
    /// `memory` bytes for Argon2, at least enough for one.
    pub(super) fn new(memory: usize, finished: mpsc::UnboundedSender<Input>) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            hashing: threads("hash", places(memory, processors), BEHIND_ALL, &finished),
            // Half, for the same reason: these are verified all the time.
            signatures: threads("signatures", (processors / 2).max(1), BEHIND_INSIDERS, &finished),
            finished,
        }
    }

    pub(super) fn start(&self, operation: Operation, job: Job) {
        let line = match job {
            Job::HashPassword(_) | Job::VerifyPassword { .. } => &self.hashing,
            Job::Verify(_) => &self.signatures,
        };
        if line.send((operation, job)).is_err() {
            let result = WorkResult::Failed("there is no thread to work".to_owned());
            drop(self.finished.send(Input::Worked { operation, result }));
        }
    }
}

/// How many passwords are hashed at a time in so many bytes. One processor is left to others where there are more: whoever
/// wakes up on one that is taken waits for some milliseconds, whatever the priorities are.
fn places(memory: usize, processors: usize) -> usize {
    let each = usize::try_from(MEMORY_KIB).unwrap_or(usize::MAX).saturating_mul(1024);
    (memory / each).clamp(1, processors.saturating_sub(1).max(1))
}

/// Starts threads that take from one line, and end when nobody can put anything into it any more.
fn threads(
    name: &str,
    count: usize,
    nice: i32,
    finished: &mpsc::UnboundedSender<Input>,
) -> Sender<(Operation, Job)> {
    let (sender, line) = channel();
    let line = Arc::new(Mutex::new(line));
    for _ in 0..count {
        let (line, finished) = (Arc::clone(&line), finished.clone());
        let thread = Builder::new().name(name.to_owned()).spawn(move || work(&line, nice, &finished));
        if let Err(error) = thread {
            warn!("a thread for passwords and keys could not be started: {error}");
        }
    }
    sender
}

fn work(line: &Mutex<Receiver<(Operation, Job)>>, nice: i32, finished: &mpsc::UnboundedSender<Input>) {
    stand_back(nice);
    loop {
        // Who waits holds the line; a thread that works has let go of it.
        let next = line.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((operation, job)) = next else { return };
        let result = catch_unwind(AssertUnwindSafe(|| run(job)))
            .unwrap_or_else(|_| WorkResult::Failed("a job panicked".to_owned()));
        drop(finished.send(Input::Worked { operation, result }));
    }
}

fn run(job: Job) -> WorkResult {
    match job {
        Job::HashPassword(auth_key) => hash(&auth_key.0).map_or_else(WorkResult::Failed, WorkResult::Hashed),
        Job::VerifyPassword { auth_key, hash } => verify(&auth_key.0, &hash),
        Job::Verify(verification) => verification.run(),
    }
}

fn argon2() -> Result<Argon2<'static>, String> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|error| error.to_string())?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// Fills `output` in memory that is there only meanwhile.
fn derive(argon2: &Argon2<'_>, auth_key: &[u8; 32], salt: &[u8], output: &mut [u8]) -> Result<(), String> {
    let blocks = argon2.params().block_count();
    // Its pages that are not touched cost nothing.
    let mut memory = Vec::with_capacity(blocks.max(GIVEN_BACK / Block::SIZE));
    memory.resize(blocks, Block::new());
    argon2.hash_password_into_with_memory(auth_key, salt, output, memory).map_err(|error| error.to_string())
}

/// Argon2id with a fresh salt, as a PHC string.
pub(super) fn hash(auth_key: &[u8; 32]) -> Result<String, String> {
    let mut salt = [0; SALT];
    SysRng.try_fill_bytes(&mut salt).map_err(|error| error.to_string())?;
    let argon2 = argon2()?;
    let mut output = [0; Params::DEFAULT_OUTPUT_LEN];
    derive(&argon2, auth_key, &salt, &mut output)?;
    let hash = || {
        password_hash::Result::Ok(PasswordHash {
            algorithm: ARGON2ID_IDENT,
            version: Some(Version::V0x13.into()),
            params: ParamsString::try_from(argon2.params())?,
            salt: Some(Salt::new(&salt)?),
            hash: Some(Output::new(&output)?),
        })
    };
    hash().map(|hash| hash.to_string()).map_err(|error| error.to_string())
}

fn verify(auth_key: &[u8; 32], hash: &str) -> WorkResult {
    match same(auth_key, hash) {
        Ok(same) => WorkResult::Verified(same),
        Err(problem) => WorkResult::Failed(problem),
    }
}

/// Whether a PHC string is this key's; an error if it is none of Argon2.
fn same(auth_key: &[u8; 32], hash: &str) -> Result<bool, String> {
    let stored = PasswordHash::new(hash).map_err(|error| error.to_string())?;
    let argon2 = || {
        let algorithm = Algorithm::try_from(stored.algorithm.as_str())?;
        let version = stored.version.map(Version::try_from).transpose()?.unwrap_or_default();
        password_hash::Result::Ok(Argon2::new(algorithm, version, Params::try_from(&stored)?))
    };
    let argon2 = argon2().map_err(|error| error.to_string())?;
    let (Some(salt), Some(expected)) = (&stored.salt, &stored.hash) else {
        return Err("a password hash without salt or hash".to_owned());
    };
    let mut output = vec![0; expected.len()];
    derive(&argon2, auth_key, salt.as_ref(), &mut output)?;
    let output = Output::new(&output).map_err(|error| error.to_string())?;
    // In constant time, as `Output` compares.
    Ok(output == *expected)
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
    use sotto_proto::frame::AuthKey;

    use super::*;

    #[test]
    fn passwords_are_hashed_within_the_budget_and_the_processors() {
        let mebibyte = 1024 * 1024;
        for (memory, processors, expected) in [
            (0, 8, 1),
            (19, 8, 1),
            (37, 8, 1),
            (38, 8, 2),
            (128, 2, 1),
            (128, 4, 3),
            (128, 8, 6),
            (128, 1, 1),
        ] {
            assert_eq!(places(memory * mebibyte, processors), expected, "{memory} MiB, {processors}");
        }
    }

    /// As the library itself made them, with 8 MiB and one pass: what is stored stays good.
    #[test]
    fn a_hash_is_verified_with_the_costs_that_it_names() {
        use argon2::password_hash::PasswordHasher as _;
        let params = Params::new(8 * 1024, 1, 1, None).unwrap();
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let stored = argon2.hash_password_with_salt(&[7; 32], &[1; SALT]).unwrap().to_string();
        assert!(matches!(verify(&[7; 32], &stored), WorkResult::Verified(true)));
        assert!(matches!(verify(&[8; 32], &stored), WorkResult::Verified(false)));
    }

    #[test]
    fn jobs_are_answered_each_once_also_those_that_fail() {
        let (finished, mut done) = mpsc::unbounded_channel();
        let workers = Workers::new(0, finished);
        for n in 1..=3 {
            let job = Job::VerifyPassword { auth_key: AuthKey([7; 32]), hash: "junk".to_owned() };
            workers.start(Operation(n), job);
        }
        drop(workers);
        let mut answered = Vec::new();
        while let Some(Input::Worked { operation, result: WorkResult::Failed(_) }) = done.blocking_recv() {
            answered.push(operation.0);
        }
        assert_eq!(answered, [1, 2, 3], "with the memory for one: in order");
    }

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
