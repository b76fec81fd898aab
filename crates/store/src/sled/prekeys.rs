//! Prekeys in the tree `prekey`: each one-time key is handed out once.

use sotto_proto::{
    DeviceId,
    limits::{MAX_ONE_TIME_KEM_PREKEYS, MAX_ONE_TIME_PREKEYS},
    prekey::{KemPrekey, OneTimePrekey, PrekeyBundle, PrekeyCounts, PrekeyId, PrekeyUpload, SignedPrekey},
};

use super::row::{PrekeyRow, decode_id, decode_prekey, encode_id, encode_prekey, prekey};
use crate::StoreError;

/// Every id of one kind.
fn all_of(device: &DeviceId, kind: PrekeyRow) -> std::ops::RangeInclusive<Vec<u8>> {
    prekey(device, kind, PrekeyId(0))..=prekey(device, kind, PrekeyId(u32::MAX))
}

fn single<T: serde::de::DeserializeOwned>(
    tree: &::sled::Tree,
    device: &DeviceId,
    kind: PrekeyRow,
) -> Result<Option<T>, StoreError> {
    tree.get(prekey(device, kind, PrekeyId(0)))?.map(|row| decode_prekey(&row)).transpose()
}

fn count(tree: &::sled::Tree, device: &DeviceId, kind: PrekeyRow) -> Result<usize, StoreError> {
    tree.range(all_of(device, kind))
        .try_fold(0, |count, row| row.map(|_| count + 1))
        .map_err(StoreError::from)
}

pub(crate) fn counts(tree: &::sled::Tree, device: &DeviceId) -> Result<PrekeyCounts, StoreError> {
    let number = |kind| count(tree, device, kind).map(|count| u32::try_from(count).unwrap_or(u32::MAX));
    Ok(PrekeyCounts {
        one_time: number(PrekeyRow::OneTime)?,
        one_time_kem: number(PrekeyRow::OneTimeKem)?,
        signed: single::<SignedPrekey>(tree, device, PrekeyRow::Signed)?.map(|key| key.id),
        last_resort: single::<KemPrekey>(tree, device, PrekeyRow::LastResort)?.map(|key| key.id),
    })
}

/// Bytes of rows that came and went, with their keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Bytes {
    pub(crate) added: u64,
    pub(crate) removed: u64,
}

fn bytes(key: &[u8], value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64
}

/// Puts a row in the place of the one that may be there.
fn replace(
    tree: &::sled::Tree,
    batch: &mut ::sled::Batch,
    (key, value): (Vec<u8>, Vec<u8>),
    tally: &mut Bytes,
) -> Result<(), StoreError> {
    tally.removed += tree.get(&key)?.map_or(0, |old| bytes(&key, &old));
    tally.added += bytes(&key, &value);
    batch.insert(key, value);
    Ok(())
}

/// Adds one-time keys above the highest id that was ever taken, as far as there is room.
fn add<T: serde::Serialize>(
    tree: &::sled::Tree,
    batch: &mut ::sled::Batch,
    device: &DeviceId,
    (kind, highest_kind, limit): (PrekeyRow, PrekeyRow, usize),
    keys: &mut [T],
    id: fn(&T) -> PrekeyId,
    tally: &mut Bytes,
) -> Result<(), StoreError> {
    keys.sort_by_key(id);
    let highest_key = prekey(device, highest_kind, PrekeyId(0));
    let mut highest = tree.get(&highest_key)?.map(|row| decode_id(&row)).transpose()?;
    let mut room = limit.saturating_sub(count(tree, device, kind)?);
    for key in keys {
        if room == 0 {
            break;
        }
        if Some(id(key)) > highest {
            highest = Some(id(key));
            let row = (prekey(device, kind, id(key)), encode_prekey(key)?);
            tally.added += bytes(&row.0, &row.1);
            batch.insert(row.0, row.1);
            room -= 1;
        }
    }
    if let Some(highest) = highest {
        replace(tree, batch, (highest_key, encode_id(highest)), tally)?;
    }
    Ok(())
}

/// Stores an upload in one step; answers the counts, and what came and went.
pub(crate) fn put(
    tree: &::sled::Tree,
    device: &DeviceId,
    mut upload: PrekeyUpload,
) -> Result<(PrekeyCounts, Bytes), StoreError> {
    let (mut batch, mut tally) = (::sled::Batch::default(), Bytes::default());
    if let Some(key) = &upload.signed {
        let row = (prekey(device, PrekeyRow::Signed, PrekeyId(0)), encode_prekey(key)?);
        replace(tree, &mut batch, row, &mut tally)?;
    }
    if let Some(key) = &upload.last_resort {
        let row = (prekey(device, PrekeyRow::LastResort, PrekeyId(0)), encode_prekey(key)?);
        replace(tree, &mut batch, row, &mut tally)?;
    }
    let curve = (PrekeyRow::OneTime, PrekeyRow::Highest, MAX_ONE_TIME_PREKEYS);
    let id = |key: &OneTimePrekey| key.id;
    add(tree, &mut batch, device, curve, &mut upload.one_time, id, &mut tally)?;
    let kem = (PrekeyRow::OneTimeKem, PrekeyRow::HighestKem, MAX_ONE_TIME_KEM_PREKEYS);
    add(tree, &mut batch, device, kem, &mut upload.one_time_kem, |key: &KemPrekey| key.id, &mut tally)?;
    tree.apply_batch(batch)?;
    Ok((counts(tree, device)?, tally))
}

/// Takes the first key of a kind out. Only the writer claims, and `remove` answers `Some` to exactly one in any case.
fn take<T: serde::de::DeserializeOwned>(
    tree: &::sled::Tree,
    device: &DeviceId,
    kind: PrekeyRow,
    taken: &mut u64,
) -> Result<Option<T>, StoreError> {
    while let Some(row) = tree.range(all_of(device, kind)).next() {
        let (key, _) = row?;
        if let Some(value) = tree.remove(&key)? {
            *taken += bytes(&key, &value);
            return decode_prekey(&value).map(Some);
        }
    }
    Ok(None)
}

/// What a handshake with the device needs; `None` if it has not published both signed keys. Adds the bytes of the
/// rows that were removed to `taken`.
pub(crate) fn claim(
    tree: &::sled::Tree,
    device: DeviceId,
    one_time: bool,
    now_ms: u64,
    taken: &mut u64,
) -> Result<Option<PrekeyBundle>, StoreError> {
    let signed = single(tree, &device, PrekeyRow::Signed)?;
    let last_resort = single(tree, &device, PrekeyRow::LastResort)?;
    let (Some(signed), Some(last_resort)) = (signed, last_resort) else { return Ok(None) };
    let (mut kem, mut curve) = (None, None);
    if one_time {
        kem = take::<KemPrekey>(tree, &device, PrekeyRow::OneTimeKem, taken)?;
        // One that expired goes for good: nobody could use it, and it would hold the place of a new one.
        while kem.as_ref().is_some_and(|key| key.validity.expires_ms <= now_ms) {
            kem = take(tree, &device, PrekeyRow::OneTimeKem, taken)?;
        }
        curve = take(tree, &device, PrekeyRow::OneTime, taken)?;
    }
    Ok(Some(PrekeyBundle {
        device,
        signed,
        kem_one_time: kem.is_some(),
        kem: kem.unwrap_or(last_resort),
        one_time: curve,
    }))
}

/// Removes everything of a device; answers how many bytes that were.
pub(crate) fn remove_all(tree: &::sled::Tree, device: &DeviceId) -> Result<u64, StoreError> {
    let (mut batch, mut removed) = (::sled::Batch::default(), 0);
    for row in tree.scan_prefix(device.0) {
        let (key, value) = row?;
        removed += bytes(&key, &value);
        batch.remove(key);
    }
    tree.apply_batch(batch)?;
    Ok(removed)
}

/// Devices that have rows, each found by one step over the rows of the one before.
pub(crate) fn devices(tree: &::sled::Tree) -> Result<Vec<DeviceId>, StoreError> {
    let mut found = Vec::new();
    let mut from = Vec::new();
    while let Some(row) = tree.range(from..).next() {
        let (key, _) = row?;
        let device = key.get(..16).and_then(|id| DeviceId::from_slice(id).ok());
        let device = device.ok_or_else(|| StoreError::Damaged("a prekey's key".to_owned()))?;
        found.push(device);
        // Behind whatever kinds of rows the device has, also those that only a newer program knows.
        let Some(next) = u128::from_be_bytes(device.0).checked_add(1) else { break };
        from = next.to_be_bytes().to_vec();
    }
    Ok(found)
}

/// Drops every one-time key of every device, as after a restore: some may have been handed out since the copy. Answers how
/// many bytes that were.
pub(crate) fn remove_one_time(tree: &::sled::Tree) -> Result<u64, StoreError> {
    let mut removed = 0;
    for device in devices(tree)? {
        let mut batch = ::sled::Batch::default();
        for kind in [PrekeyRow::OneTime, PrekeyRow::OneTimeKem] {
            for row in tree.range(all_of(&device, kind)) {
                let (key, value) = row?;
                removed += bytes(&key, &value);
                batch.remove(key);
            }
        }
        tree.apply_batch(batch)?;
    }
    Ok(removed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A row of a kind behind the known ones was found again and again.
    #[test]
    fn each_device_is_found_once_whatever_its_rows() {
        let db = ::sled::Config::new().temporary(true).open().unwrap();
        let ids = [[0; 16], [1; 16], [u8::MAX; 16]];
        for id in ids {
            for kind in [PrekeyRow::Signed as u8, PrekeyRow::HighestKem as u8 + 1, u8::MAX] {
                db.insert([&id[..], &[kind], &[u8::MAX; 40]].concat(), vec![1]).unwrap();
            }
        }
        assert_eq!(devices(&db).unwrap(), ids.map(DeviceId));
        db.insert([2; 15], vec![1]).unwrap();
        assert!(matches!(devices(&db), Err(StoreError::Damaged(_))));
    }
}
