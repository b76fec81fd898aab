//! `sotto login`.

use std::sync::Arc;

use sotto_client::setup::{self, LoginOptions};

use super::Context;
use super::register::address;
use crate::failure::Failure;
use crate::output::{Output, Tone};
use crate::recipient::username;
use crate::record::Record;
use crate::secret::Ask;
use crate::trust_question::AtTerminal;

/// Makes this machine a further device of an account.
pub(crate) async fn run(
    server: &str,
    user: &str,
    mut context: Context,
    out: &mut Output,
) -> Result<(), Failure> {
    let user = username(user)?;
    let options = LoginOptions {
        dir: context.place.dir(),
        server: address(server)?,
        username: user.to_string(),
        password: context.secrets.password(Ask::Once).await?,
        recovery: Some(context.secrets.recovery_phrase().await?),
        name: String::new(),
    };
    let questions = Arc::new(AtTerminal { remarks: out.remarks(), may_ask: context.secrets.may_ask() });
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
