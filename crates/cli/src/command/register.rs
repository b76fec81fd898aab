//! `sotto register`.

use std::sync::Arc;

use sotto_client::api::ErrorKind;
use sotto_client::setup::{self, RecoveryPhrase, RegisterOptions, Registered};
use sotto_proto::Address;

use super::Context;
use crate::failure::Failure;
use crate::output::{Output, Printed, Tone};
use crate::place::device_name;
use crate::recipient::username;
use crate::record::{Phrase, Record};
use crate::secret::Ask;
use crate::trust_question::AtTerminal;

/// Makes an account with this machine as its first device, and prints the recovery phrase.
pub(crate) async fn run(
    server: &str,
    user: &str,
    invite: Option<String>,
    mut context: Context,
    out: &mut Output,
) -> Result<(), Failure> {
    let user = username(user)?;
    let options = RegisterOptions {
        dir: context.place.dir(),
        server: address(server)?,
        username: user.to_string(),
        password: context.secrets.password(Ask::Twice).await?,
        invite,
        name: device_name(),
    };
    let questions = Arc::new(AtTerminal { remarks: out.remarks(), may_ask: context.secrets.may_ask() });
    create(options, questions, out).await.map(|_| ())
}

/// Makes the account and prints its phrase, which is handed back too.
pub(super) async fn create(
    options: RegisterOptions,
    questions: Arc<AtTerminal>,
    out: &mut Output,
) -> Result<RecoveryPhrase, Failure> {
    let registered = setup::register(options, questions).await?;
    show(registered, out)
}

/// Prints a new account, or a new identity of one, with its phrase.
pub(super) fn show(registered: Registered, out: &mut Output) -> Result<RecoveryPhrase, Failure> {
    let phrase = Phrase::new(registered.recovery_phrase.expose());
    let record = Record::Registered {
        username: registered.username.to_string(),
        server: registered.server.to_string(),
        recovery_phrase: phrase,
    };
    let printed = out.record(&record, |lines| {
        lines.toned(Tone::Good, &format!("{} is registered at {}", registered.username, registered.server));
        lines.line("");
        lines.line("Recovery phrase: write it on paper. It opens the account on a new machine;");
        lines.line("whoever has it has the account, and nobody can give it back to you.");
        lines.line("");
        super::recovery::show_words(registered.recovery_phrase.expose(), lines);
    })?;
    if printed == Printed::ReaderGone {
        out.warning("nobody read the recovery phrase; print it again: sotto recovery show");
    }
    if let Err(error) = registered.published {
        out.warning(&format!(
            "the keys are not on the server yet ({error}); the next command brings them there"
        ));
    }
    Ok(registered.recovery_phrase)
}

/// Reads a server's address.
pub(super) fn address(text: &str) -> Result<Address, Failure> {
    text.parse().map_err(|error| {
        Failure::new(ErrorKind::Invalid, format!("{text:?} is not a server's address")).cause(error)
    })
}
