//! `sotto password`.

use sotto_client::api::{AccountCommand, Command, Password, Reply};

use super::Context;
use crate::args::Password as Action;
use crate::failure::Failure;
use crate::output::{Output, Tone};
use crate::record::Record;
use crate::secret::Ask;
use crate::session::{Session, unexpected};

/// Sets another password, on the server and for this machine's store.
pub(crate) async fn run(action: &Action, mut context: Context, out: &mut Output) -> Result<(), Failure> {
    let Action::Change = action;
    let old = context.secrets.password(Ask::Once).await?;
    let mut stdin = context.stdin()?;
    let new = context.secrets.next_password(&mut stdin).await?;
    let session = Session::connected_by(&context, &old).await?;
    let change = AccountCommand::ChangePassword { old: Password::new(old), new: Password::new(new) };
    let reply = session.ask(Command::Account(change)).await;
    session.finish(out).await;
    let Reply::Done = reply? else { return Err(unexpected()) };
    out.record(&Record::PasswordChanged, |lines| {
        lines.toned(Tone::Good, "the password is changed");
        lines.line("Other devices of yours still open with the old one, and say so.");
    })?;
    Ok(())
}
