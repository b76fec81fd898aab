//! Usernames: 1 to 32 of `a-z 0-9 . _ -`, starting with a letter or digit, lower-cased first.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::limits::MAX_NAME_LENGTH;

/// Why a name cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("Username can't be empty")]
    Empty,
    /// More than 32 characters.
    #[error("the name is longer than {MAX_NAME_LENGTH} characters")]
    TooLong,
    /// The first character is not a letter or digit.
    #[error("a name starts with a letter or digit")]
    Start,
    /// A character outside of the allowed set.
    #[error("a name holds only the letters a to z, digits, '.', '_' and '-'")]
    Character,
}

/// A valid username, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Username(String);

impl Username {
    /// Lower-cases ASCII letters, then checks.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.chars().count() > MAX_NAME_LENGTH {
            return Err(NameError::TooLong);
        }
        let name = text.to_ascii_lowercase();
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
        if !name.chars().all(allowed) {
            return Err(NameError::Character);
        }
        if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return Err(NameError::Start);
        }
        Ok(Self(name))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the name looks like at a glance: `o` as `0`, `l` and `i` as `1`, without `.`, `_` and `-`. Two names with
    /// one skeleton cannot both exist, so nobody can pose as a look-alike.
    pub fn skeleton(&self) -> String {
        self.0
            .chars()
            .filter_map(|c| match c {
                'o' => Some('0'),
                'l' | 'i' => Some('1'),
                '.' | '_' | '-' => None,
                other => Some(other),
            })
            .collect()
    }
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Username {
    type Error = NameError;

    /// Accepts only what is already in its normal form, so one name has one encoding.
    fn try_from(text: String) -> Result<Self, NameError> {
        let name = Self::parse(&text)?;
        if name.0 == text { Ok(name) } else { Err(NameError::Character) }
    }
}

impl From<Username> for String {
    fn from(name: Username) -> Self {
        name.0
    }
}

impl std::str::FromStr for Username {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_cased_and_bad_ones_say_why() {
        assert_eq!(Username::parse("Alice.B-1_").map(|n| n.to_string()), Ok("alice.b-1_".to_owned()));
        assert_eq!(Username::parse(""), Err(NameError::Empty));
        assert_eq!(Username::parse(&"a".repeat(33)), Err(NameError::TooLong));
        assert!(Username::parse(&"a".repeat(32)).is_ok());
        assert_eq!(Username::parse(".a"), Err(NameError::Start));
        for bad in ["a b", "a\n", "a\u{1b}", "é", "a/b", "а"] {
            assert_eq!(Username::parse(bad), Err(NameError::Character), "{bad:?}");
        }
        assert!(Username::try_from("Alice".to_owned()).is_err());
        assert_eq!(Username::try_from("alice".to_owned()).map(String::from), Ok("alice".to_owned()));
    }

    #[test]
    fn look_alikes_share_a_skeleton() {
        let skeleton = |text| Username::parse(text).map(|name| name.skeleton());
        for (a, b) in [("bob", "b0b"), ("lily", "1i1y"), ("a.b", "ab"), ("a_b-c", "abc")] {
            assert_eq!(skeleton(a), skeleton(b), "{a} {b}");
        }
        assert_ne!(skeleton("bob"), skeleton("bab"));
    }
}
