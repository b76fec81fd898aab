//! `sotto whoami`.

use sotto_client::api::{Command, Connection, Reply};

use super::Context;
use crate::failure::Failure;
use crate::output::Output;
use crate::record::Record;
use crate::session::{Session, unexpected};

/// Prints who and where this profile is. Needs no connection.
pub(crate) async fn run(mut context: Context, out: &mut Output) -> Result<(), Failure> {
    let session = Session::local(&mut context).await?;
    let reply = session.ask(Command::Whoami).await;
    session.finish(out).await;
    let Reply::Whoami(whoami) = reply? else { return Err(unexpected()) };
    out.record(&Record::from(&whoami), |lines| {
        lines.line(&format!("user     {}", whoami.username));
        lines.line(&format!("account  {}", whoami.account));
        lines.line(&format!("device   {}", whoami.device));
        lines.line(&format!("devices  {}", whoami.devices.len()));
        lines.line(&format!("server   {}", whoami.server));
        let connection = match &whoami.connection {
            Connection::Online => "online",
            Connection::Connecting => "connecting",
            Connection::Offline { .. } => "not connected",
        };
        lines.line(&format!("state    {connection}"));
    })?;
    Ok(())
}
