//! The switches: which operation on which path fails, and with what.

use fuser::Errno;

/// Kinds of operations a fault can hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum On {
    /// Opening an existing file or listing a folder.
    Open,
    /// Reading bytes of a file.
    Read,
    /// Writing bytes of a file or changing its length.
    Write,
    /// `fsync`, `fdatasync`, and `fsync` of a folder. What was written since the last good sync stays un-synced.
    Sync,
    /// Creating, renaming or removing a name.
    Name,
}

/// What the operation answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// `EIO`: the disk is broken.
    Io,
    /// `ENOSPC`: the disk is full.
    NoSpace,
    /// `EACCES`: not allowed.
    Access,
    /// `EROFS`: mounted read-only.
    ReadOnly,
}

impl Answer {
    pub(super) fn errno(self) -> Errno {
        match self {
            Self::Io => Errno::EIO,
            Self::NoSpace => Errno::ENOSPC,
            Self::Access => Errno::EACCES,
            Self::ReadOnly => Errno::EROFS,
        }
    }
}

#[derive(Debug)]
struct Rule {
    on: On,
    path_part: String,
    answer: Answer,
}

/// The faults that are switched on.
#[derive(Debug, Default)]
pub(super) struct Faults {
    rules: Vec<Rule>,
    read_only: bool,
    hits: u64,
}

impl Faults {
    pub(super) fn add(&mut self, on: On, path_part: &str, answer: Answer) {
        self.rules.push(Rule { on, path_part: path_part.to_owned(), answer });
    }

    pub(super) fn set_read_only(&mut self, read_only: bool) {
        self.read_only = read_only;
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.read_only
    }

    pub(super) fn clear(&mut self) {
        self.rules.clear();
        self.read_only = false;
    }

    pub(super) fn hits(&self) -> u64 {
        self.hits
    }

    /// Whether an operation on a path may go on. `path` is only asked for when a rule could match.
    pub(super) fn check(&mut self, on: On, path: impl FnOnce() -> String) -> Result<(), Errno> {
        if self.read_only && matches!(on, On::Write | On::Name) {
            self.hits += 1;
            return Err(Errno::EROFS);
        }
        if !self.rules.iter().any(|rule| rule.on == on) {
            return Ok(());
        }
        let path = path();
        match self.rules.iter().find(|rule| rule.on == on && path.contains(&rule.path_part)) {
            Some(rule) => {
                self.hits += 1;
                Err(rule.answer.errno())
            }
            None => Ok(()),
        }
    }
}
