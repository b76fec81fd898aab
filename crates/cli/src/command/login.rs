//! `sotto login`.

use std::sync::Arc;

use sotto_client::setup::{self, LoginOptions, Reset, ResetOptions};

use super::Context;
use super::register::address;
use crate::failure::Failure;
use crate::output::{Output, Tone};
use crate::place::device_name;
use crate::recipient::username;
use crate::record::Record;
use crate::secret::Ask;
use crate::time::{local_minute, rfc3339};
use crate::trust_question::AtTerminal;

/// Makes this machine a further device of an account.
pub(crate) async fn run(
    server: &str,
    user: &str,
    anew: bool,
    mut context: Context,
    out: &mut Output,
) -> Result<(), Failure> {
    let user = username(user)?;
    let questions = Arc::new(AtTerminal { remarks: out.remarks(), may_ask: context.secrets.may_ask() });
    if anew {
        let options = ResetOptions {
            dir: context.place.dir(),
            server: address(server)?,
            username: user.to_string(),
            password: context.secrets.password(Ask::Once).await?,
            name: device_name(),
        };
        return reset(options, questions, out).await;
    }
    let options = LoginOptions {
        dir: context.place.dir(),
        server: address(server)?,
        username: user.to_string(),
        password: context.secrets.password(Ask::Once).await?,
        recovery: context.secrets.recovery_phrase_or_none().await?,
        name: device_name(),
    };
    join(options, questions, out).await
}

/// Makes this machine a device of the account, and says so.
pub(super) async fn join(
    options: LoginOptions,
    questions: Arc<AtTerminal>,
    out: &mut Output,
) -> Result<(), Failure> {
    let logged_in = setup::login(options, questions).await?;
    let record =
        Record::LoggedIn { username: logged_in.username.to_string(), server: logged_in.server.to_string() };
    out.record(&record, |lines| {
        lines.toned(
            Tone::Good,
            &format!("this machine is a device of {} at {}", logged_in.username, logged_in.server),
        );
    })?;
    if let Err(error) = logged_in.published {
        out.warning(&format!(
            "the keys are not on the server yet ({error}); the next command brings them there"
        ));
    }
    Ok(())
}

/// A new identity of an account whose phrase and devices are lost.
async fn reset(options: ResetOptions, questions: Arc<AtTerminal>, out: &mut Output) -> Result<(), Failure> {
    match setup::reset(options, questions).await? {
        Reset::Done(registered) => super::register::show(registered, out).map(|_| ()),
        Reset::Waits { due_ms, code } => {
            let record = Record::ResetWaits { due_at: rfc3339(due_ms), code: code.to_string() };
            out.record(&record, |lines| {
                lines.line(&format!("the new identity waits until {}", local_minute(due_ms)));
                lines.line("The devices of the account are told, and can refuse it. Run the same command again then.");
                lines.line(&format!("The server's operator can let it take effect at once, by its code: {code}"));
            })?;
            Ok(())
        }
    }
}
