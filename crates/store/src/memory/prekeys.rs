//! A device's prekeys.

use std::collections::BTreeMap;

use sotto_proto::{
    DeviceId,
    limits::{MAX_ONE_TIME_KEM_PREKEYS, MAX_ONE_TIME_PREKEYS},
    prekey::{KemPrekey, OneTimePrekey, PrekeyBundle, PrekeyCounts, PrekeyId, PrekeyUpload, SignedPrekey},
};

#[derive(Debug, Clone, Default)]
pub(super) struct Prekeys {
    pub(super) signed: Option<SignedPrekey>,
    pub(super) last_resort: Option<KemPrekey>,
    pub(super) one_time: BTreeMap<PrekeyId, OneTimePrekey>,
    pub(super) one_time_kem: BTreeMap<PrekeyId, KemPrekey>,
    /// Ids up to these were used before.
    pub(super) highest: Option<PrekeyId>,
    pub(super) highest_kem: Option<PrekeyId>,
}

impl Prekeys {
    pub(super) fn counts(&self) -> PrekeyCounts {
        PrekeyCounts {
            one_time: u32::try_from(self.one_time.len()).unwrap_or(u32::MAX),
            one_time_kem: u32::try_from(self.one_time_kem.len()).unwrap_or(u32::MAX),
            signed: self.signed.as_ref().map(|key| key.id),
            last_resort: self.last_resort.as_ref().map(|key| key.id),
        }
    }

    pub(super) fn put(&mut self, mut upload: PrekeyUpload) {
        if upload.signed.is_some() {
            self.signed = upload.signed;
        }
        if upload.last_resort.is_some() {
            self.last_resort = upload.last_resort;
        }
        upload.one_time.sort_by_key(|key| key.id);
        for key in upload.one_time {
            if Some(key.id) > self.highest && self.one_time.len() < MAX_ONE_TIME_PREKEYS {
                self.highest = Some(key.id);
                self.one_time.insert(key.id, key);
            }
        }
        upload.one_time_kem.sort_by_key(|key| key.id);
        for key in upload.one_time_kem {
            if Some(key.id) > self.highest_kem && self.one_time_kem.len() < MAX_ONE_TIME_KEM_PREKEYS {
                self.highest_kem = Some(key.id);
                self.one_time_kem.insert(key.id, key);
            }
        }
    }

    pub(super) fn claim(&mut self, device: DeviceId, one_time: bool, now_ms: u64) -> Option<PrekeyBundle> {
        let signed = self.signed.clone()?;
        let last_resort = self.last_resort.clone()?;
        let (mut kem, mut curve) = (None, None);
        if one_time {
            kem = std::iter::from_fn(|| self.one_time_kem.pop_first())
                .map(|(_, key)| key)
                .find(|key| now_ms < key.validity.expires_ms);
            curve = self.one_time.pop_first().map(|(_, key)| key);
        }
        Some(PrekeyBundle {
            device,
            signed,
            kem_one_time: kem.is_some(),
            kem: kem.unwrap_or(last_resort),
            one_time: curve,
        })
    }
}
