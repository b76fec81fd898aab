//! Looking for a planted sentence in files and in the memory of a process.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use memchr::memmem;

/// Bytes read from a process at once.
const CHUNK: usize = 1 << 20;

/// How often the sentence occurs in these bytes.
pub fn count(haystack: &[u8], sentence: &str) -> usize {
    memmem::find_iter(haystack, sentence.as_bytes()).count()
}

/// The files below a folder that hold the sentence in their bytes or their name.
pub fn files_with(dir: &Path, sentence: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        let kind = fs::symlink_metadata(&path)?.file_type();
        let in_name = path.to_string_lossy().contains(sentence);
        if kind.is_dir() {
            found.extend(files_with(&path, sentence)?);
        } else if in_name || (kind.is_file() && count(&fs::read(&path)?, sentence) > 0) {
            found.push(path);
        }
    }
    Ok(found)
}

/// How often the sentence occurs in the memory of a process, and how many bytes were searched. Needs the right to trace
/// the process: the same user or root.
pub fn in_memory(process: u32, sentence: &str) -> anyhow::Result<(usize, u64)> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps"))?;
    let memory = File::open(format!("/proc/{process}/mem"))?;
    let (mut hits, mut searched) = (0, 0);
    for line in maps.lines() {
        let Some((start, end)) = readable_range(line) else { continue };
        let (found, bytes) = search_range(&memory, start, end, sentence);
        hits += found;
        searched += bytes;
    }
    Ok((hits, searched))
}

/// `7f0000000000-7f0000001000 rw-p …`, from `proc(5)`.
fn readable_range(line: &str) -> Option<(u64, u64)> {
    let (range, rest) = line.split_once(' ')?;
    // The kernel's own pages cannot be read this way.
    if !rest.starts_with('r') || line.ends_with("[vvar]") || line.ends_with("[vsyscall]") {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    Some((u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?))
}

fn search_range(memory: &File, start: u64, end: u64, sentence: &str) -> (usize, u64) {
    let overlap = sentence.len() as u64 - 1;
    let mut chunk = vec![0; CHUNK];
    let (mut hits, mut searched, mut at) = (0, 0, start);
    while at < end {
        let wanted = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
        let Some(part) = chunk.get_mut(..wanted) else { break };
        let read = match memory.read_at(part, at) {
            // Gone since the list was read, or a page without backing: nothing to find there.
            Err(_) | Ok(0) => break,
            Ok(read) => read,
        };
        hits += count(part.get(..read).unwrap_or_default(), sentence);
        searched += read as u64;
        if at + read as u64 >= end {
            break;
        }
        // A sentence that lies across two chunks is in the overlap, and too short to be in both.
        at += (read as u64).saturating_sub(overlap).max(1);
    }
    (hits, searched)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    /// Not in the program's constants as a whole, so that each hit is one that this test made.
    fn sentence(number: u32) -> String {
        ["the", "heron", "flies", "at", &number.to_string(), "o'clock"].join(" ")
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn own_memory_holds_what_was_put_there() {
        let planted = sentence(5);
        let mut page = vec![b'x'; 3 * CHUNK];
        let at = 2 * CHUNK - 7;
        page.splice(at..at + planted.len(), planted.bytes());
        let (hits, searched) = in_memory(std::process::id(), &planted).unwrap();
        assert!(hits >= 2, "the sentence and its copy in the page, found {hits}");
        assert!(searched > 3 * CHUNK as u64);
        drop(page);
    }

    #[test]
    fn files_are_found_by_content_and_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let planted = sentence(6);
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(dir.path().join("sub/a"), format!("xx{planted}xx")).unwrap();
        fs::write(dir.path().join(&planted), "").unwrap();
        fs::write(dir.path().join("b"), "nothing").unwrap();
        assert_eq!(files_with(dir.path(), &planted).unwrap().len(), 2);
    }
}
