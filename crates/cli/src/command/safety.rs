//! `sotto verify` and `sotto trust`: comparing who somebody is.

use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use sotto_client::api::{Command, Contact, Reply, Safety, Trust};
use sotto_proto::Username;

use super::Context;
use crate::failure::Failure;
use crate::output::{Lines, Output, Printed, Tone};
use crate::recipient::username;
use crate::record::{Record, trust_words};
use crate::session::{Session, unexpected};

/// Prints the safety number with a user, or with all contacts.
pub(crate) async fn verify(
    user: Option<&str>,
    qr: bool,
    mut context: Context,
    out: &mut Output,
) -> Result<(), Failure> {
    let user = user.map(username).transpose()?;
    let session = Session::open(&mut context).await?;
    let numbers = match user {
        Some(user) => {
            // Somebody new has to be looked up; who is known can be compared without a server.
            let _ = session.settled().await;
            one(&session, user).await.map(|safety| vec![safety])
        }
        None => all(&session).await,
    };
    session.finish(out).await;
    for safety in &numbers? {
        let printed = out.record(&Record::from(safety), |lines| {
            show(safety, lines);
            if qr {
                code(safety, lines);
            }
        })?;
        if printed == Printed::ReaderGone {
            break;
        }
    }
    Ok(())
}

async fn one(session: &Session, user: Username) -> Result<Safety, Failure> {
    let Reply::Safety(safety) = session.ask(Command::Safety(user)).await? else { return Err(unexpected()) };
    Ok(safety)
}

async fn all(session: &Session) -> Result<Vec<Safety>, Failure> {
    let Reply::Contacts(contacts) = session.ask(Command::Contacts).await? else { return Err(unexpected()) };
    let mut numbers = Vec::new();
    for Contact { name, trust, .. } in contacts {
        if trust != Trust::Own {
            numbers.push(one(session, username(&name)?).await?);
        }
    }
    Ok(numbers)
}

/// Pins the identity that the number belongs to.
pub(crate) async fn trust(
    user: &str,
    number: &str,
    mut context: Context,
    out: &mut Output,
) -> Result<(), Failure> {
    let user = username(user)?;
    let session = Session::open(&mut context).await?;
    let _ = session.settled().await;
    let reply = session.ask(Command::Trust { user: user.clone(), number: number.to_owned() }).await;
    session.finish(out).await;
    let Reply::Safety(safety) = reply? else { return Err(unexpected()) };
    out.record(&Record::from(&safety), |lines| {
        lines.toned(Tone::Good, &format!("{user}: compared"));
    })?;
    Ok(())
}

/// The number, and how sure it is.
pub(super) fn show(safety: &Safety, lines: &mut Lines) {
    let tone = match safety.trust {
        Trust::Compared => Tone::Good,
        Trust::Changed => Tone::Bad,
        _ => Tone::Plain,
    };
    lines.toned(tone, &format!("{}: {}", safety.user, trust_words(safety.trust)));
    match &safety.new_number {
        None => rows(&safety.number, lines),
        Some(new) => {
            lines.line("the number that was pinned:");
            rows(&safety.number, lines);
            lines.line("the number of the key that the server shows now:");
            rows(new, lines);
        }
    }
    if safety.held > 0 {
        lines.toned(Tone::Bad, &format!("{} messages are held", safety.held));
    }
    if safety.trust != Trust::Compared {
        lines.line(&format!(
            "Ask {} in person or on the phone. If the digits are the same on both sides:",
            safety.user
        ));
        lines.line(&format!("  sotto trust {} --number \"{}\"", safety.user, current(safety)));
    }
}

/// The number that is to be compared now.
fn current(safety: &Safety) -> &str {
    safety.new_number.as_deref().unwrap_or(&safety.number)
}

/// 12 groups are two rows of a terminal.
fn rows(number: &str, lines: &mut Lines) {
    let groups: Vec<&str> = number.split_whitespace().collect();
    for row in groups.chunks(6) {
        lines.line(&format!("  {}", row.join(" ")));
    }
}

/// The digits alone, which a QR code packs tightly. Light modules are drawn: most terminals are dark.
fn code(safety: &Safety, lines: &mut Lines) {
    let digits: String = current(safety).chars().filter(char::is_ascii_digit).collect();
    if let Ok(code) = QrCode::new(digits.as_bytes()) {
        for row in
            code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build().lines()
        {
            lines.line(row);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn safety(trust: Trust, new_number: Option<&str>) -> Safety {
        Safety {
            user: "bob".into(),
            trust,
            number: ["12345"; 12].join(" "),
            new_number: new_number.map(str::to_owned),
            held: u64::from(new_number.is_some()),
        }
    }

    #[test]
    fn a_changed_identity_shows_both_numbers_and_how_to_go_on() {
        let new = ["54321"; 12].join(" ");
        let mut lines = Lines::plain();
        show(&safety(Trust::Changed, Some(&new)), &mut lines);
        let text = lines.into_text();
        assert!(text.starts_with("bob: KEY CHANGED\n"), "{text}");
        assert!(text.contains(&format!("sotto trust bob --number \"{new}\"")), "{text}");
        assert!(text.contains("1 messages are held"), "{text}");
        assert_eq!(text.matches("12345 12345 12345 12345 12345 12345\n").count(), 2, "{text}");
    }

    #[test]
    fn a_code_fits_a_terminal() {
        let mut lines = Lines::plain();
        code(&safety(Trust::Pinned, None), &mut lines);
        let text = lines.into_text();
        assert!(text.lines().count() > 10);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}
