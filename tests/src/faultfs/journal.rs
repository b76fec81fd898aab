//! Changes of names that no `fsync` of their folder made durable yet.

use std::collections::BTreeSet;
use std::ffi::OsString;

use rand::RngExt;
use rand::rngs::StdRng;

use super::tree::Ino;

/// One change of the name space. A rename is one change: it survives a power cut whole or not at all.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Set { dir: Ino, name: OsString, ino: Ino },
    Clear { dir: Ino, name: OsString },
    Move { from_dir: Ino, from: OsString, to_dir: Ino, to: OsString, ino: Ino },
}

impl Change {
    fn dirs(&self) -> [Ino; 2] {
        match self {
            Self::Set { dir, .. } | Self::Clear { dir, .. } => [*dir, *dir],
            Self::Move { from_dir, to_dir, .. } => [*from_dir, *to_dir],
        }
    }

    /// The change as single steps: in which folder which name stands for which file from now on.
    pub(super) fn steps(self) -> Vec<(Ino, OsString, Option<Ino>)> {
        match self {
            Self::Set { dir, name, ino } => vec![(dir, name, Some(ino))],
            Self::Clear { dir, name } => vec![(dir, name, None)],
            Self::Move { from_dir, from, to_dir, to, ino } => {
                vec![(from_dir, from, None), (to_dir, to, Some(ino))]
            }
        }
    }

    /// The file a change keeps alive.
    pub(super) fn ino(&self) -> Option<Ino> {
        match self {
            Self::Set { ino, .. } | Self::Move { ino, .. } => Some(*ino),
            Self::Clear { .. } => None,
        }
    }
}

/// The un-synced changes, oldest first.
#[derive(Debug, Default, Clone)]
pub(super) struct Journal(Vec<Change>);

impl Journal {
    pub(super) fn push(&mut self, change: Change) {
        self.0.push(change);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Change> {
        self.0.iter()
    }

    /// Takes out what an `fsync` of `dir` makes durable: its changes, and those other folders' changes that a rename
    /// between the two needs to have happened before.
    pub(super) fn take_for(&mut self, dir: Ino) -> Vec<Change> {
        let mut dirs = BTreeSet::from([dir]);
        let mut taken = Vec::new();
        let mut left = Vec::new();
        for change in self.0.drain(..).rev() {
            if change.dirs().iter().any(|touched| dirs.contains(touched)) {
                dirs.extend(change.dirs());
                taken.push(change);
            } else {
                left.push(change);
            }
        }
        taken.reverse();
        left.reverse();
        self.0 = left;
        taken
    }

    /// What of the journal survives a power cut: nothing without `rng`; else, by the seed, everything up to a point (a
    /// file system that writes its journal in order) or an arbitrary subset (one that promises nothing).
    pub(super) fn after_cut(&self, rng: Option<&mut StdRng>) -> Vec<Change> {
        let Some(rng) = rng else { return Vec::new() };
        if rng.random_bool(0.5) {
            let kept = rng.random_range(0..=self.0.len());
            return self.0.iter().take(kept).cloned().collect();
        }
        self.0.iter().filter(|_| rng.random_bool(0.5)).cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
