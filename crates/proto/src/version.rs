//! Protocol versions.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The protocol version this program speaks.
pub const PROTOCOL: u16 = 1;

/// The versions a program speaks, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRange {
    /// The lowest.
    pub min: u16,
    /// The highest.
    pub max: u16,
}

impl VersionRange {
    /// What this program speaks.
    pub const OURS: Self = Self { min: PROTOCOL, max: PROTOCOL };

    /// The highest version in both ranges.
    pub fn common(&self, other: &Self) -> Option<u16> {
        let best = self.max.min(other.max);
        (best >= self.min && best >= other.min).then_some(best)
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.min, self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_common_version_is_taken() {
        let range = |min, max| VersionRange { min, max };
        assert_eq!(range(1, 3).common(&range(2, 5)), Some(3));
        assert_eq!(range(1, 1).common(&range(1, 1)), Some(1));
        assert_eq!(range(1, 2).common(&range(3, 4)), None);
        assert_eq!(range(3, 4).common(&range(1, 2)), None);
        assert_eq!(
            range(5, 1).common(&range(1, 9)),
            None,
            "an inverted range has nothing in common with any"
        );
    }
}
