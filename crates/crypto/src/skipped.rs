//! Keys of messages that have been overtaken.

use std::sync::Arc;

use sotto_proto::{
    PrekeyPublic,
    limits::MAX_SKIPPED_KEYS,
    wire::{Reader, WireError},
};
use zeroize::Zeroize;

use crate::{message_key::MessageKey, secret::Secret, secret_writer::SecretWriter};

#[derive(Zeroize)]
pub(crate) struct SkippedKey {
    pub(crate) number: u32,
    pub(crate) key: [u8; 32],
}

/// Keys that were skipped in one go, in rising order.
pub(crate) struct SkippedRun {
    pub(crate) remote: PrekeyPublic,
    pub(crate) kem_digest: [u8; 32],
    pub(crate) since_ms: u64,
    pub(crate) keys: Vec<SkippedKey>,
}

impl Drop for SkippedRun {
    fn drop(&mut self) {
        self.keys.zeroize();
    }
}

impl SkippedRun {
    fn copy_of(&self, keep: impl Fn(usize) -> bool) -> Self {
        let mut keys = Vec::with_capacity(self.keys.len());
        for (index, key) in self.keys.iter().enumerate() {
            if keep(index) {
                keys.push(SkippedKey { number: key.number, key: key.key });
            }
        }
        Self { remote: self.remote, kem_digest: self.kem_digest, since_ms: self.since_ms, keys }
    }
}

/// All runs of a session, oldest first, at most [`MAX_SKIPPED_KEYS`] keys together. Runs are shared between a state
/// and the next one, for most messages touch none of them.
#[derive(Default)]
pub(crate) struct SkippedKeys {
    runs: Vec<Arc<SkippedRun>>,
}

impl SkippedKeys {
    pub(crate) fn duplicate(&self) -> Self {
        Self { runs: self.runs.clone() }
    }

    pub(crate) fn len(&self) -> usize {
        self.runs.iter().map(|run| run.keys.len()).sum()
    }

    /// The key of a skipped message, and what is left without it.
    pub(crate) fn take(
        &self,
        remote: &PrekeyPublic,
        kem_digest: &[u8; 32],
        number: u32,
    ) -> Option<(MessageKey, Self)> {
        let (at, run, index) = self.runs.iter().enumerate().find_map(|(at, run)| {
            if run.remote != *remote || run.kem_digest != *kem_digest {
                return None;
            }
            run.keys.binary_search_by_key(&number, |key| key.number).ok().map(|index| (at, run, index))
        })?;
        let key = MessageKey::new(Secret::build(|out| {
            if let Some(found) = run.keys.get(index) {
                out.copy_from_slice(&found.key);
            }
        }));
        let mut rest = self.duplicate();
        if run.keys.len() == 1 {
            rest.runs.remove(at);
        } else if let Some(slot) = rest.runs.get_mut(at) {
            *slot = Arc::new(run.copy_of(|other| other != index));
        }
        Some((key, rest))
    }

    /// Adds a run; the oldest keys make room.
    pub(crate) fn push(&mut self, run: SkippedRun) {
        self.runs.push(Arc::new(run));
        let mut excess = self.len().saturating_sub(MAX_SKIPPED_KEYS);
        while excess > 0 {
            let Some(oldest) = self.runs.first_mut() else { return };
            let dropped = excess.min(oldest.keys.len());
            if dropped == oldest.keys.len() {
                self.runs.remove(0);
            } else {
                *oldest = Arc::new(oldest.copy_of(|index| index >= dropped));
            }
            excess = excess.saturating_sub(dropped);
        }
    }

    /// Drops what was skipped before `oldest_ms`.
    pub(crate) fn prune(&mut self, oldest_ms: u64) {
        self.runs.retain(|run| run.since_ms >= oldest_ms);
    }

    pub(crate) fn write(&self, out: &mut SecretWriter) {
        out.count(self.runs.len());
        for run in &self.runs {
            out.raw(&run.remote.0).raw(&run.kem_digest).u64(run.since_ms).count(run.keys.len());
            for key in &run.keys {
                out.u32(key.number).raw(&key.key);
            }
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let mut left = MAX_SKIPPED_KEYS;
        let count = reader.count(left)?;
        let mut runs = Vec::with_capacity(count);
        for _ in 0..count {
            let remote = PrekeyPublic(reader.array()?);
            let kem_digest = reader.array()?;
            let since_ms = reader.u64()?;
            let count = reader.count(left)?;
            left = left.saturating_sub(count);
            let mut run = SkippedRun { remote, kem_digest, since_ms, keys: Vec::with_capacity(count) };
            for _ in 0..count {
                let number = reader.u32()?;
                if run.keys.last().is_some_and(|last| last.number >= number) {
                    return Err(WireError::Invalid("skipped keys"));
                }
                run.keys.push(SkippedKey { number, key: reader.array()? });
            }
            if count == 0 {
                return Err(WireError::Invalid("skipped keys"));
            }
            runs.push(Arc::new(run));
        }
        Ok(Self { runs })
    }
}
