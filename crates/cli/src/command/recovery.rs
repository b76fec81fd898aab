//! `sotto recovery`.

use sotto_client::api::{AccountCommand, Command, ErrorKind, Reply};
use sotto_client::driver::Profile;

use super::Context;
use crate::args::Recovery;
use crate::failure::Failure;
use crate::output::{Lines, Output, Tone};
use crate::record::{Phrase, Record};
use crate::secret::Ask;
use crate::session::{Session, must_exist, unexpected};

/// Words in a row of the printed phrase.
const WORDS_IN_ROW: usize = 6;

/// Prints the phrase, or checks one that was written down. It never travels over the local socket, so the profile
/// must not be in use.
pub(crate) async fn run(action: &Recovery, mut context: Context, out: &mut Output) -> Result<(), Failure> {
    if let Recovery::RefuseReset = action {
        return refuse_reset(context, out).await;
    }
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
        Recovery::RefuseReset => {}
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

/// Any device of the account can refuse a reset; it needs no phrase, and goes through the socket like other commands.
async fn refuse_reset(mut context: Context, out: &mut Output) -> Result<(), Failure> {
    let session = Session::connected(&mut context).await?;
    let reply = session.ask(Command::Account(AccountCommand::RefuseReset)).await;
    session.finish(out).await;
    let Reply::Done = reply? else { return Err(unexpected()) };
    out.record(&Record::ResetRefused, |lines| {
        lines.toned(Tone::Good, "the reset is refused");
        lines.line("Whoever asked for it knows the password. Change it: sotto password change");
    })?;
    Ok(())
}

/// The words in numbered rows, as they are copied to paper.
pub(super) fn show_words(phrase: &str, lines: &mut Lines) {
    let words: Vec<&str> = phrase.split(' ').collect();
    for (row, words) in words.chunks(WORDS_IN_ROW).enumerate() {
        lines.line(&format!("{:>4}  {}", row * WORDS_IN_ROW + 1, words.join(" ")));
    }
}
