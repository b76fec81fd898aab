//! `sotto contact`.

use sotto_client::api::{Command, Reply};

use super::Context;
use crate::args::Contact;
use crate::failure::Failure;
use crate::output::{Output, Printed};
use crate::record::{Record, trust_words};
use crate::session::{Session, unexpected};

/// Prints the people this account has written with.
pub(crate) async fn run(action: &Contact, mut context: Context, out: &mut Output) -> Result<(), Failure> {
    let Contact::List = action;
    let session = Session::local(&mut context).await?;
    let reply = session.ask(Command::Contacts).await;
    session.close().await;
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
            lines.line(&format!("{:width$}  {trust}, {} messages{foreign}", contact.name, contact.rows));
        })?;
        if printed == Printed::ReaderGone {
            break;
        }
    }
    Ok(())
}
