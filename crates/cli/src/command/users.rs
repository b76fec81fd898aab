//! `sotto users`.

use sotto_client::api::{Command, Reply, User};

use super::Context;
use crate::failure::Failure;
use crate::output::{Output, Printed, Tone};
use crate::record::Record;
use crate::session::{Session, unexpected};

/// Prints the other users of the server.
pub(crate) async fn run(mut context: Context, out: &mut Output) -> Result<(), Failure> {
    let session = Session::connected(&mut context).await?;
    let reply = session.ask(Command::Users).await;
    session.finish(out).await;
    let Reply::Users(users) = reply? else { return Err(unexpected()) };
    if users.is_empty() {
        out.people(|lines| lines.line("No other client."))?;
    }
    let width = users.iter().map(|user| user.name.chars().count()).max().unwrap_or_default();
    for user in &users {
        let printed = out.record(&Record::from(user), |lines| {
            let tone = if user.presence == "available" { Tone::Good } else { Tone::Plain };
            lines.toned(tone, &format!("{:width$}  {}", user.name, presence(user)));
        })?;
        if printed == Printed::ReaderGone {
            break;
        }
    }
    Ok(())
}

/// Whether somebody is there, in words.
pub(super) fn presence(user: &User) -> String {
    match (user.presence.as_str(), user.with.as_slice()) {
        ("available", _) => "Available".into(),
        ("offline", _) => "Offline".into(),
        ("busy", [one]) => format!("Chatting with {one}"),
        ("busy", many) if !many.is_empty() => format!("In a group with {}", many.join(", ")),
        ("busy", _) => "Busy".into(),
        (other, _) => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presence_is_said_in_words() {
        let user = |presence: &str, with: &[&str]| presence_of(presence, with);
        assert_eq!(user("available", &[]), "Available");
        assert_eq!(user("offline", &[]), "Offline");
        assert_eq!(user("busy", &["bob"]), "Chatting with bob");
        assert_eq!(user("busy", &["bob", "carol"]), "In a group with bob, carol");
    }

    fn presence_of(text: &str, with: &[&str]) -> String {
        presence(&User {
            name: "x".into(),
            presence: text.into(),
            with: with.iter().map(|name| (*name).to_owned()).collect(),
        })
    }
}
