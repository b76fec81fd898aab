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

/// Adds one-time keys above the highest id that was ever taken, as far as there is room.
fn add<T: serde::Serialize>(
    tree: &::sled::Tree,
    batch: &mut ::sled::Batch,
    device: &DeviceId,
    (kind, highest_kind, limit): (PrekeyRow, PrekeyRow, usize),
    keys: &mut [T],
    id: fn(&T) -> PrekeyId,
) -> Result<u64, StoreError> {
    keys.sort_by_key(id);
    let highest_key = prekey(device, highest_kind, PrekeyId(0));
    let mut highest = tree.get(&highest_key)?.map(|row| decode_id(&row)).transpose()?;
    let mut added = 0;
    let mut room = limit.saturating_sub(count(tree, device, kind)?);
    for key in keys {
        if room == 0 {
            break;
        }
        if Some(id(key)) > highest {
            highest = Some(id(key));
            let value = encode_prekey(key)?;
            added += value.len() as u64;
            batch.insert(prekey(device, kind, id(key)), value);
            room -= 1;
        }
    }
    if let Some(highest) = highest {
        batch.insert(highest_key, encode_id(highest));
    }
    Ok(added)
}

/// Stores an upload in one step; answers the counts, and the bytes of the one-time keys that were added.
pub(crate) fn put(
    tree: &::sled::Tree,
    device: &DeviceId,
    mut upload: PrekeyUpload,
) -> Result<(PrekeyCounts, u64), StoreError> {
    let mut batch = ::sled::Batch::default();
    if let Some(key) = &upload.signed {
        batch.insert(prekey(device, PrekeyRow::Signed, PrekeyId(0)), encode_prekey(key)?);
    }
    if let Some(key) = &upload.last_resort {
        batch.insert(prekey(device, PrekeyRow::LastResort, PrekeyId(0)), encode_prekey(key)?);
    }
    let curve = (PrekeyRow::OneTime, PrekeyRow::Highest, MAX_ONE_TIME_PREKEYS);
    let mut added = add(tree, &mut batch, device, curve, &mut upload.one_time, |key: &OneTimePrekey| key.id)?;
    let kem = (PrekeyRow::OneTimeKem, PrekeyRow::HighestKem, MAX_ONE_TIME_KEM_PREKEYS);
    added += add(tree, &mut batch, device, kem, &mut upload.one_time_kem, |key: &KemPrekey| key.id)?;
    tree.apply_batch(batch)?;
    Ok((counts(tree, device)?, added))
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
            *taken += value.len() as u64;
            return decode_prekey(&value).map(Some);
        }
    }
    Ok(None)
}

/// What a handshake with the device needs; `None` if it has not published both signed keys. Adds the bytes of the
/// one-time keys that were removed to `taken`.
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

/// Removes everything of a device; answers about how many bytes that were.
pub(crate) fn remove_all(tree: &::sled::Tree, device: &DeviceId) -> Result<u64, StoreError> {
    let (mut batch, mut removed) = (::sled::Batch::default(), 0);
    for row in tree.scan_prefix(device.0) {
        let (key, value) = row?;
        removed += value.len() as u64;
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

/// Drops every one-time key of every device, as after a restore: some may have been handed out since the copy.
pub(crate) fn remove_one_time(tree: &::sled::Tree) -> Result<(), StoreError> {
    for device in devices(tree)? {
        let mut batch = ::sled::Batch::default();
        for kind in [PrekeyRow::OneTime, PrekeyRow::OneTimeKem] {
            for row in tree.range(all_of(&device, kind)) {
                batch.remove(row?.0);
            }
        }
        tree.apply_batch(batch)?;
    }
    Ok(())
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
