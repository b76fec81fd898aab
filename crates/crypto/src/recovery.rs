//! The recovery phrase: 24 English words (BIP 39) that spell the account's seed.

use bip39::{Language, Mnemonic};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::account::AccountSecret;

const WORDS: usize = 24;

/// What is wrong with a phrase that was typed. Words are counted from 1; none is repeated here, for it may be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PhraseError {
    /// Not 24 words.
    #[error("a recovery phrase has {WORDS} words, this has {0}")]
    Count(usize),
    /// A word that is not on the list.
    #[error("word {position} is not a word of recovery phrases")]
    UnknownWord {
        /// Which, counted from 1.
        position: usize,
    },
    /// All words are on the list, but they do not belong together: one is wrong or two are swapped.
    #[error("the words do not belong together: one is wrong, or two have changed places")]
    Checksum,
}

/// 24 words, wiped when dropped.
pub struct RecoveryPhrase(Zeroizing<String>);

impl RecoveryPhrase {
    /// The phrase of an account.
    pub fn of(account: &AccountSecret) -> Self {
        let seed = account.seed();
        // 32 bytes are a length that BIP 39 knows; an empty phrase never results.
        let words = Mnemonic::from_entropy_in(Language::English, seed.as_ref());
        let mut text = Zeroizing::new(String::with_capacity(WORDS * 9));
        for word in words.iter().flat_map(Mnemonic::words) {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(word);
        }
        Self(text)
    }

    /// The account that a phrase spells. Case and white space (also line breaks) do not matter.
    pub fn parse(text: &str) -> Result<AccountSecret, PhraseError> {
        let count = text.split_whitespace().count();
        if count != WORDS {
            return Err(PhraseError::Count(count));
        }
        // It has its length at once: a buffer that grew would leave a copy behind.
        let mut normal = Zeroizing::new(String::with_capacity(text.len()));
        normal.extend(text.chars().map(|c| c.to_ascii_lowercase()));
        let mnemonic =
            Mnemonic::parse_in_normalized(Language::English, &normal).map_err(|error| match error {
                bip39::Error::UnknownWord(index) => {
                    PhraseError::UnknownWord { position: index.saturating_add(1) }
                }
                _ => PhraseError::Checksum,
            })?;
        let (entropy, _) = mnemonic.to_entropy_array();
        let entropy = Zeroizing::new(entropy);
        let (seed, _) = entropy.split_first_chunk::<32>().ok_or(PhraseError::Checksum)?;
        Ok(AccountSecret::from_seed(seed))
    }

    /// The words, joined by single spaces: for the one moment in which they are shown.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use proptest::prelude::*;

    use super::*;

    fn error(text: &str) -> Option<PhraseError> {
        RecoveryPhrase::parse(text).err()
    }

    #[test]
    fn published_phrases_of_bip_39() {
        let zeros = format!("{}art", "abandon ".repeat(23));
        assert_eq!(RecoveryPhrase::of(&AccountSecret::from_seed(&[0; 32])).expose(), zeros);
        let ones = format!("{}vote", "zoo ".repeat(23));
        assert_eq!(RecoveryPhrase::of(&AccountSecret::from_seed(&[0xff; 32])).expose(), ones);
        assert_eq!(*RecoveryPhrase::parse(&zeros).ok().unwrap().seed(), [0; 32]);
    }

    #[test]
    fn errors_say_where() {
        assert_eq!(error(""), Some(PhraseError::Count(0)));
        assert_eq!(error(&"abandon ".repeat(12)), Some(PhraseError::Count(12)));
        assert_eq!(error(&"abandon ".repeat(25)), Some(PhraseError::Count(25)));
        assert_eq!(error(&"abandon ".repeat(24)), Some(PhraseError::Checksum));
        let typo = format!("{}abandn {}art", "abandon ".repeat(4), "abandon ".repeat(18));
        assert_eq!(error(&typo), Some(PhraseError::UnknownWord { position: 5 }));
    }

    proptest! {
        #[test]
        fn a_phrase_reads_back_whatever_its_case_and_spacing(seed: [u8; 32], upper: bool) {
            let phrase = RecoveryPhrase::of(&AccountSecret::from_seed(&seed));
            let mut text = phrase.expose().replace(' ', " \t\r\n ");
            if upper {
                text = text.to_uppercase();
            }
            prop_assert_eq!(*RecoveryPhrase::parse(&format!("\n {text} ")).ok().unwrap().seed(), seed);
        }

        #[test]
        fn any_text_is_refused_or_read_but_never_panics(text in "\\PC{0,300}") {
            let _ = RecoveryPhrase::parse(&text).is_ok();
        }
    }
}
