//! `sotto outbox`.

use sotto_client::api::{Command, OutboxEntry, Reply};
use sotto_proto::MessageId;

use super::Context;
use crate::args::Outbox;
use crate::failure::Failure;
use crate::output::{Lines, Output, Printed};
use crate::record::Record;
use crate::session::{Session, unexpected};
use crate::time::local_minute;

/// Lists what waits, or gives one of them up. Needs no connection, and makes none: nothing leaves meanwhile.
pub(crate) async fn run(action: &Outbox, mut context: Context, out: &mut Output) -> Result<(), Failure> {
    let session = Session::local(&mut context).await?;
    let result = match action {
        Outbox::List => list(&session, out).await,
        Outbox::Drop { id } => drop(*id, &session, out).await,
    };
    session.finish(out).await;
    result
}

async fn list(session: &Session, out: &mut Output) -> Result<(), Failure> {
    let Reply::Outbox(entries) = session.ask(Command::Outbox).await? else { return Err(unexpected()) };
    if entries.is_empty() {
        out.people(|lines| lines.line("Nothing waits."))?;
    }
    for entry in &entries {
        let printed = out.record(&Record::from(entry), |lines| show(entry, lines))?;
        if printed == Printed::ReaderGone {
            break;
        }
    }
    Ok(())
}

/// One that waits, and why.
pub(super) fn show(entry: &OutboxEntry, lines: &mut Lines) {
    let reason = entry.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let head = format!("{}  {}  to {}: ", entry.message, local_minute(entry.created_ms), entry.to);
    lines.message(&head, &entry.text, &format!("[{}{reason}]", entry.fate.as_str()));
}

async fn drop(id: MessageId, session: &Session, out: &mut Output) -> Result<(), Failure> {
    let Reply::Done = session.ask(Command::DropOutbox(id)).await? else { return Err(unexpected()) };
    out.record(&Record::Dropped { id: id.to_string() }, |lines| lines.line("dropped"))?;
    Ok(())
}
