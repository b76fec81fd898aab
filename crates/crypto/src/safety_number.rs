//! The safety number of two accounts: what two people compare to be sure of each other's keys.

use std::fmt;

use sotto_proto::{AccountKey, Username, wire::Writer};
use subtle::ConstantTimeEq;
use thiserror::Error;

use crate::{kdf::hkdf, secret::Secret};

const GROUPS: usize = 12;
const DIGITS: usize = 5 * GROUPS;

/// A text that is no safety number: not 60 digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a safety number has {DIGITS} digits")]
pub struct NotASafetyNumber;

/// 60 decimal digits, the same on both sides. Compared in constant time.
#[derive(Clone, Copy)]
pub struct SafetyNumber([u8; DIGITS]);

impl SafetyNumber {
    /// Of two accounts, in either order: HKDF over both account keys and names in sorted order, 12 groups of 5 bytes,
    /// each big-endian and modulo 100,000.
    pub fn of(a: (&AccountKey, &Username), b: (&AccountKey, &Username)) -> Self {
        let entry = |(key, name): (&AccountKey, &Username)| {
            Writer::new().bytes(&key.0).bytes(name.as_str().as_bytes()).finish()
        };
        let mut entries = [entry(a), entry(b)];
        entries.sort();
        let [first, second] = &entries;
        let output: Secret<DIGITS> = hkdf(&[0; 32], &[first, second], b"sotto v1 safety number");
        let mut digits = [b'0'; DIGITS];
        for (group, bytes) in digits.chunks_mut(5).zip(output.expose().chunks(5)) {
            let mut rest = bytes.iter().fold(0u64, |value, byte| (value << 8) | u64::from(*byte));
            for digit in group.iter_mut().rev() {
                *digit = b'0'.saturating_add(u8::try_from(rest % 10).unwrap_or_default());
                rest /= 10;
            }
        }
        Self(digits)
    }

    /// Reads 60 digits; white space anywhere is ignored.
    pub fn parse(text: &str) -> Result<Self, NotASafetyNumber> {
        let mut digits = [0; DIGITS];
        let mut typed = text.chars().filter(|c| !c.is_whitespace());
        for slot in &mut digits {
            let digit = typed.next().filter(char::is_ascii_digit).ok_or(NotASafetyNumber)?;
            *slot = u8::try_from(digit).map_err(|_| NotASafetyNumber)?;
        }
        if typed.next().is_some() { Err(NotASafetyNumber) } else { Ok(Self(digits)) }
    }

    /// The 12 groups of 5 digits.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.0.chunks(5).map(|group| std::str::from_utf8(group).unwrap_or_default())
    }
}

impl PartialEq for SafetyNumber {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SafetyNumber {}

/// The groups, joined by single spaces.
impl fmt::Display for SafetyNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, group) in self.groups().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(group)?;
        }
        Ok(())
    }
}

impl fmt::Debug for SafetyNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SafetyNumber({self})")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn both_sides_see_one_number_and_another_key_or_name_gives_another(a: [u8; 32], b: [u8; 32], flip in 0usize..32) {
            let (alice, bob) = (Username::parse("alice").unwrap(), Username::parse("bob").unwrap());
            let number = SafetyNumber::of((&AccountKey(a), &alice), (&AccountKey(b), &bob));
            prop_assert_eq!(number, SafetyNumber::of((&AccountKey(b), &bob), (&AccountKey(a), &alice)));
            prop_assert_eq!(Ok(number), SafetyNumber::parse(&number.to_string()));
            prop_assert_eq!(Ok(number), SafetyNumber::parse(&number.to_string().replace(' ', "")));
            let mut other = a;
            other[flip] ^= 1;
            prop_assert_ne!(number, SafetyNumber::of((&AccountKey(other), &alice), (&AccountKey(b), &bob)));
            prop_assert_ne!(number, SafetyNumber::of((&AccountKey(a), &bob), (&AccountKey(b), &alice)));
        }

        #[test]
        fn any_text_is_refused_or_read(text in "\\PC{0,80}") {
            if let Ok(number) = SafetyNumber::parse(&text) {
                prop_assert_eq!(number.to_string().len(), 71);
            }
        }
    }

    #[test]
    fn a_number_has_sixty_digits() {
        let digits = "01234 56789 ".repeat(6);
        assert_eq!(SafetyNumber::parse(&digits).unwrap().to_string(), digits.trim());
        for bad in ["", "1", &"1".repeat(59), &"1".repeat(61), &format!("{}x", "1".repeat(59))] {
            assert_eq!(SafetyNumber::parse(bad), Err(NotASafetyNumber), "{bad}");
        }
    }
}
