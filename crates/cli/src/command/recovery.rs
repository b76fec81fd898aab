//! `sotto recovery`.

use sotto_client::api::ErrorKind;
use sotto_client::driver::Profile;

use super::Context;
use crate::args::Recovery;
use crate::failure::Failure;
use crate::output::{Lines, Output, Tone};
use crate::record::{Phrase, Record};
use crate::secret::Ask;
use crate::session::must_exist;

/// Words in a row of the printed phrase.
const WORDS_IN_ROW: usize = 6;

/// Prints the phrase, or checks one that was written down. It never travels over the local socket, so the profile
/// must not be in use.
pub(crate) async fn run(action: &Recovery, mut context: Context, out: &mut Output) -> Result<(), Failure> {
    let dir = context.place.dir();
    must_exist(&dir)?;
    let profile = Profile::lock(&dir)?;
    let password = context.secrets.password(Ask::Once).await?;
    let mut open = profile.unlock_async(password).await?;
    let phrase = open.recovery_phrase()?;
    match action {
        Recovery::Show => {
            let record = Record::RecoveryPhrase { recovery_phrase: Phrase::new(phrase.expose()) };
            out.record(&record, |lines| show_words(phrase.expose(), lines))?;
        }
        Recovery::Check => {
            let typed = context.secrets.recovery_phrase().await?;
            let ok = typed.eq_ignore_ascii_case(phrase.expose());
            if !ok {
                return Err(Failure::new(
                    ErrorKind::Invalid,
                    "this is not the recovery phrase of this account",
                )
                .hint("compare it word by word with: sotto recovery show"));
            }
            out.record(&Record::RecoveryCheck { ok }, |lines| {
                lines.toned(Tone::Good, "this is the recovery phrase of this account");
            })?;
        }
    }
    Ok(())
}

/// The words in numbered rows, as they are copied to paper.
pub(super) fn show_words(phrase: &str, lines: &mut Lines) {
    let words: Vec<&str> = phrase.split(' ').collect();
    for (row, words) in words.chunks(WORDS_IN_ROW).enumerate() {
        lines.line(&format!("{:>4}  {}", row * WORDS_IN_ROW + 1, words.join(" ")));
    }
}
