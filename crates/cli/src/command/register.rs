//! `sotto register`.

use std::sync::Arc;

use sotto_client::api::ErrorKind;
use sotto_client::setup::{self, RegisterOptions};
use sotto_proto::Address;

use super::Context;
use crate::failure::Failure;
use crate::output::{Output, Printed, Tone};
use crate::recipient::username;
use crate::record::{Phrase, Record};
use crate::secret::Ask;
use crate::trust_question::AtTerminal;

/// Makes an account with this machine as its first device, and prints the recovery phrase.
pub(crate) async fn run(
    server: &str,
    user: &str,
    mut context: Context,
    out: &mut Output,
) -> Result<(), Failure> {
    let user = username(user)?;
    let options = RegisterOptions {
        dir: context.place.dir(),
        server: address(server)?,
        username: user.to_string(),
        password: context.secrets.password(Ask::Twice).await?,
        invite: None,
        name: String::new(),
    };
    let questions = Arc::new(AtTerminal { remarks: out.remarks(), may_ask: context.secrets.may_ask() });
    let registered = setup::register(options, questions).await?;
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
    Ok(())
}

/// Reads a server's address.
pub(super) fn address(text: &str) -> Result<Address, Failure> {
    text.parse().map_err(|error| {
        Failure::new(ErrorKind::Invalid, format!("{text:?} is not a server's address")).cause(error)
    })
}
