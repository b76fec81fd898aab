//! What the demo found out.

use std::fs;
use std::path::Path;

use crate::failure::Failure;

/// Checks in the order in which they were first made; one that failed once has failed.
#[derive(Debug, Default)]
pub(super) struct Proof(Vec<(&'static str, bool)>);

impl Proof {
    pub(super) fn check(&mut self, what: &'static str, ok: bool) {
        match self.0.iter_mut().find(|(known, _)| *known == what) {
            Some((_, so_far)) => *so_far &= ok,
            None => self.0.push((what, ok)),
        }
    }

    pub(super) fn checks(&self) -> &[(&'static str, bool)] {
        &self.0
    }
}

/// Whether the bytes hold the text.
pub(super) fn found(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Whether any file below a folder does. A folder without a file in it proves nothing and is an error.
pub(super) fn found_in(folder: &Path, text: &str) -> Result<bool, Failure> {
    let unreadable =
        |error: std::io::Error| Failure::io(format!("{} cannot be searched", folder.display()), &error);
    let mut folders = vec![folder.to_owned()];
    let mut searched = 0;
    let mut seen = false;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let kind = entry.file_type().map_err(unreadable)?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                match fs::read(entry.path()) {
                    Ok(bytes) => {
                        searched += bytes.len();
                        seen |= found(&bytes, text);
                    }
                    // The store may remove a file that it has merged.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(error) => return Err(unreadable(error)),
                }
            }
        }
    }
    if searched == 0 {
        return Err(unreadable(std::io::ErrorKind::NotFound.into()));
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_search_finds_what_is_there_in_any_depth_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        assert!(found_in(dir.path(), "needle").is_err(), "an empty folder proves nothing");
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/b/c"), b"hay\0need\0le").unwrap();
        assert!(!found_in(dir.path(), "needle").unwrap());
        fs::write(dir.path().join("a/b/d"), b"hay\0needle\0").unwrap();
        assert!(found_in(dir.path(), "needle").unwrap());
    }

    #[test]
    fn a_check_that_failed_once_has_failed() {
        let mut proof = Proof::default();
        for ok in [true, false, true] {
            proof.check("x", ok);
        }
        proof.check("y", true);
        assert_eq!(proof.checks(), [("x", false), ("y", true)]);
    }
}
