//! `sotto contact`.

use sotto_client::api::{Command, Reply};

use super::Context;
use crate::args::Contact;
use crate::failure::Failure;
use crate::output::{Output, Printed};
use crate::recipient::username;
use crate::record::{Record, trust_words};
use crate::session::{Session, unexpected};

/// Prints the people this account has written with.
pub(crate) async fn run(action: &Contact, mut context: Context, out: &mut Output) -> Result<(), Failure> {
    match action {
        Contact::List => {}
        Contact::Block { user } => return block(user, true, context, out).await,
        Contact::Unblock { user } => return block(user, false, context, out).await,
    }
    let session = Session::local(&mut context).await?;
    let reply = session.ask(Command::Contacts).await;
    session.finish(out).await;
    let Reply::Contacts(contacts) = reply? else { return Err(unexpected()) };
    if contacts.is_empty() {
        out.people(|lines| lines.line("No contacts yet."))?;
    }
    let width = contacts.iter().map(|contact| contact.name.chars().count()).max().unwrap_or_default();
    for contact in &contacts {
        let printed = out.record(&Record::from(contact), |lines| {
            let trust = trust_words(contact.trust);
            let foreign = match contact.impostors {
                0 => String::new(),
                count => format!(", {count} under a foreign key"),
            };
            let blocked = if contact.blocked { ", blocked" } else { "" };
            lines.line(&format!(
                "{:width$}  {trust}, {} messages{foreign}{blocked}",
                contact.name, contact.rows
            ));
        })?;
        if printed == Printed::ReaderGone {
            break;
        }
    }
    Ok(())
}

/// Refuses what somebody sends, or no longer does, on all devices of the account.
async fn block(user: &str, blocked: bool, mut context: Context, out: &mut Output) -> Result<(), Failure> {
    let user = username(user)?;
    let session = Session::open(&mut context).await?;
    // Somebody new has to be looked up; the server is told with the next connection if there is none.
    let _ = session.settled().await;
    let reply = session.ask(Command::Block { user: user.clone(), blocked }).await;
    session.finish(out).await;
    let Reply::Done = reply? else { return Err(unexpected()) };
    out.record(&Record::Blocked { name: user.to_string(), blocked }, |lines| {
        let what = if blocked { "blocked: nothing that they send is taken" } else { "no longer blocked" };
        lines.line(&format!("{user}: {what}"));
    })?;
    Ok(())
}
