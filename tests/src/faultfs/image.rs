//! The bytes of one file: what programs see, what the disk holds for sure, and what lies between.

use rand::RngExt;
use rand::rngs::StdRng;

/// The smallest unit a disk writes whole.
const SECTOR: usize = 512;
/// The unit of the page cache, in which most file systems write back.
const PAGE: usize = 4096;

/// A change that reached the page cache but was not synced.
#[derive(Debug, Clone)]
enum Change {
    Write { offset: usize, data: Vec<u8> },
    Resize(usize),
}

/// The content of a file before and after a power cut.
#[derive(Debug, Default, Clone)]
pub(super) struct Image {
    live: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

/// What a power cut did to one file.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Loss {
    pub(super) dropped: usize,
    pub(super) torn: usize,
    pub(super) kept: usize,
}

impl Image {
    /// A file that is wholly on the disk.
    pub(super) fn durable(content: Vec<u8>) -> Self {
        Self { live: content.clone(), durable: content, pending: Vec::new() }
    }

    /// Bytes a program sees.
    pub(super) fn len(&self) -> usize {
        self.live.len()
    }

    /// Up to `len` bytes from `offset` on; fewer at the end of the file.
    pub(super) fn read(&self, offset: usize, len: usize) -> &[u8] {
        let start = offset.min(self.live.len());
        let end = start.saturating_add(len).min(self.live.len());
        self.live.get(start..end).unwrap_or_default()
    }

    /// Writes into the page cache.
    pub(super) fn write(&mut self, offset: usize, data: &[u8]) {
        overwrite(&mut self.live, offset, data);
        self.pending.push(Change::Write { offset, data: data.to_vec() });
    }

    /// Cuts the file off or fills it up with zeros.
    pub(super) fn resize(&mut self, len: usize) {
        if len != self.live.len() {
            self.live.resize(len, 0);
            self.pending.push(Change::Resize(len));
        }
    }

    /// Brings everything to the disk.
    pub(super) fn sync(&mut self) {
        for change in self.pending.drain(..) {
            match change {
                Change::Write { offset, data } => overwrite(&mut self.durable, offset, &data),
                Change::Resize(len) => self.durable.resize(len, 0),
            }
        }
    }

    /// What the disk holds after a power cut: the synced bytes, and with `rng` an arbitrary part of the changes since.
    pub(super) fn after_cut(&self, rng: Option<&mut StdRng>) -> (Vec<u8>, Loss) {
        let mut disk = self.durable.clone();
        let mut loss = Loss::default();
        // A quarter of the files loses everything, so that no run is all half-measures.
        let rng = rng.and_then(|rng| if rng.random_bool(0.25) { None } else { Some(rng) });
        let Some(rng) = rng else {
            loss.dropped = self.pending.len();
            return (disk, loss);
        };
        let unit = if rng.random_bool(0.5) { SECTOR } else { PAGE };
        let mut shrink_lost = false;
        for change in &self.pending {
            match change {
                // Sizes go through the journal in order: without the cut-off, what was written after it has no place.
                _ if shrink_lost => loss.dropped += 1,
                Change::Resize(len) if rng.random_bool(0.5) => {
                    disk.resize(*len, 0);
                    loss.kept += 1;
                }
                Change::Resize(len) => {
                    shrink_lost = *len < disk.len();
                    loss.dropped += 1;
                }
                Change::Write { offset, data } => match rng.random_range(0..5) {
                    0 | 1 => {
                        overwrite(&mut disk, *offset, data);
                        loss.kept += 1;
                    }
                    2 | 3 => loss.dropped += 1,
                    _ => {
                        tear(&mut disk, *offset, data, unit, rng);
                        loss.torn += 1;
                    }
                },
            }
        }
        (disk, loss)
    }
}

fn overwrite(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    if let Some(place) = bytes.get_mut(offset..end) {
        place.copy_from_slice(data);
    }
}

/// Writes an arbitrary subset of the units that `data` covers.
fn tear(disk: &mut Vec<u8>, offset: usize, data: &[u8], unit: usize, rng: &mut StdRng) {
    let mut at = 0;
    while at < data.len() {
        let end = (at + unit - (offset + at) % unit).min(data.len());
        if let (true, Some(part)) = (rng.random_bool(0.5), data.get(at..end)) {
            overwrite(disk, offset + at, part);
        }
        at = end;
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn a_cut_without_seed_leaves_exactly_what_was_synced() {
        let mut image = Image::default();
        image.write(0, b"synced");
        image.sync();
        image.write(0, b"SYNCED and more");
        image.resize(3);
        assert_eq!(image.read(0, 99), b"SYN");
        let (disk, loss) = image.after_cut(None);
        assert_eq!(disk, b"synced");
        assert_eq!(loss.dropped, 2);
    }

    #[test]
    fn a_cut_keeps_whole_sectors_or_none_of_them() {
        let mut torn = 0;
        for seed in 0..200 {
            let mut image = Image::default();
            image.write(0, &[1; 4 * PAGE]);
            image.sync();
            image.write(100, &[2; 3 * PAGE]);
            let (disk, loss) = image.after_cut(Some(&mut StdRng::seed_from_u64(seed)));
            torn += loss.torn;
            assert_eq!(disk.len(), 4 * PAGE);
            for sector in disk.chunks(SECTOR).skip(1).take(3 * PAGE / SECTOR - 1) {
                assert!(sector.iter().all(|byte| Some(byte) == sector.first()), "seed {seed}");
            }
        }
        assert!(torn > 10, "only {torn} torn writes in 200 cuts");
    }

    #[test]
    fn nothing_survives_behind_a_lost_truncation() {
        for seed in 0..200 {
            let mut image = Image::durable(b"old content".to_vec());
            image.resize(0);
            image.write(0, b"new");
            let (disk, _) = image.after_cut(Some(&mut StdRng::seed_from_u64(seed)));
            let whole: [&[u8]; 4] = [b"old content", b"new", b"", b"\0\0\0"];
            assert!(whole.contains(&disk.as_slice()), "seed {seed}: {disk:?}");
        }
    }
}
