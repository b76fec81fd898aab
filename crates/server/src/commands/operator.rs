//! `sottod user` and `sottod invite`.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use serde::Serialize;
use sotto_proto::{ServerId, Username};
use zeroize::Zeroizing;

use super::{Failure, answer, block_on, load, print_json};
use crate::{
    cli::{InviteCommand, OneUser, Place, UserCommand},
    print,
    shell::{
        desk::{Answer, Ask, Invite, UserAction},
        identity::Identity,
        show, temporary,
    },
};

/// What was done to an account, for scripts.
#[derive(Serialize)]
struct Changed<'a> {
    v: u8,
    #[serde(rename = "type")]
    kind: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'a str>,
}

/// A new invite, for scripts: the only line that has its token.
#[derive(Serialize)]
struct Made<'a> {
    #[serde(flatten)]
    invite: &'a Invite,
    token: &'a str,
}

fn ask(place: &Place, ask: Ask) -> Result<Answer, Failure> {
    let config = load(place)?;
    match block_on(answer(&config, ask))? {
        Answer::Error(error) => Err(Failure::new(1, error)),
        answer => Ok(answer),
    }
}

pub(super) fn user(command: &UserCommand) -> Result<(), Failure> {
    let (user, action) = match command {
        UserCommand::Disable(user) => (user, UserAction::Disable),
        UserCommand::Enable(user) => (user, UserAction::Enable),
        UserCommand::Delete { user, yes } => {
            if !yes {
                confirm(&user.name)?;
            }
            (user, UserAction::Delete)
        }
        UserCommand::ResetPassword(user) => return reset_password(user),
        UserCommand::ResetNow { user, code } => return reset_now(user, &code.concat()),
    };
    let name = name(user)?;
    ask(&user.place, Ask::User { action, name: name.to_string() })?;
    let (kind, text) = match action {
        UserAction::Disable => (
            "disabled",
            "is disabled: its connections are closed, and nobody signs in until `sottod user enable`.\n\
             What is sent to it still waits for it.",
        ),
        UserAction::Enable => ("enabled", "can sign in again."),
        UserAction::Delete => (
            "deleted",
            "is removed with everything that waited for it, and does not come back: its devices are refused.\n\
             The name is free. Whoever takes it is somebody else: who wrote with the old account sees that the \
             identity changed.",
        ),
    };
    tell(user, &name, kind, text)
}

fn reset_now(user: &OneUser, code: &str) -> Result<(), Failure> {
    let name = name(user)?;
    ask(&user.place, Ask::ResetNow { name: name.to_string(), code: code.to_owned() })?;
    tell(
        user,
        &name,
        "reset",
        "has its new identity. The old one's devices are signed out, and what waited for them is gone.\n\
         Who wrote with the old one sees that the identity changed.",
    )
}

fn tell(user: &OneUser, name: &Username, kind: &str, text: &str) -> Result<(), Failure> {
    if user.json {
        return print_json(&Changed { v: 1, kind, name: name.as_str(), password: None });
    }
    print(&format!("{name} {text}\n"));
    Ok(())
}

fn name(user: &OneUser) -> Result<Username, Failure> {
    Username::parse(&user.name).map_err(|error| Failure::new(1, error))
}

/// Asks back before an account is removed.
fn confirm(name: &str) -> Result<(), Failure> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::new(
            2,
            "an account is removed only on a terminal that can be asked, or with --yes",
        ));
    }
    let shown: String = name.chars().filter(|character| !character.is_control()).collect();
    eprint!("Remove {shown} with everything that waits for it? This cannot be undone. Write the name: ");
    drop(std::io::stderr().flush());
    let mut line = String::new();
    stdin.lock().read_line(&mut line).map_err(|error| Failure::new(1, error))?;
    if line.trim() == name { Ok(()) } else { Err(Failure::new(1, "not removed: another name was written")) }
}

fn reset_password(user: &OneUser) -> Result<(), Failure> {
    let name = name(user)?;
    let config = load(&user.place)?;
    let failed = |error: &dyn std::fmt::Display| Failure::new(1, error);
    let identity = Identity::load(&config.data_dir).map_err(|error| failed(&error))?;
    let server: ServerId = identity.chain.server_id();
    let password = temporary::password().map_err(|error| failed(&error))?;
    let hash = temporary::hash(&server, &name, &password).map_err(|error| failed(&error))?;
    ask(&user.place, Ask::SetPassword { name: name.to_string(), hash })?;
    if user.json {
        let changed = Changed { v: 1, kind: "password", name: name.as_str(), password: Some(&password) };
        let line = serde_json::to_string(&changed).map_err(|error| failed(&error))?;
        print(&Zeroizing::new(line));
        print("\n");
        return Ok(());
    }
    // The password alone on stdout, for a pipe.
    print(&password);
    print("\n");
    eprintln!(
        "{name} signs in with this password now; have it changed with `sotto password change`. It opens no message, \
         and adds no device without another device's approval or the recovery phrase."
    );
    Ok(())
}

pub(super) fn invite(command: InviteCommand) -> Result<(), Failure> {
    match command {
        InviteCommand::New { uses, expires, note, json, place } => {
            let asked = ask(&place, Ask::Invite { uses, lifetime_ms: expires, note })?;
            let Answer::Invite(invite, token) = asked else { return Err(strange()) };
            if json {
                return print_json(&Made { invite: &invite, token: &token });
            }
            print(&format!("{token}\n"));
            eprintln!(
                "Good for {} accounts until {}; its id is {}. The token is shown only now.",
                invite.uses_left, invite.expires_at, invite.id
            );
            if load(&place)?.registration != sotto_proto::frame::Registration::Invite {
                eprintln!("This configuration does not ask for invites: set registration = \"invite\".");
            }
            Ok(())
        }
        InviteCommand::List { json, place } => match ask(&place, Ask::Invites)? {
            Answer::Invites(invites) if json => invites.iter().try_for_each(print_json),
            answer => {
                print(&format!("{}\n", show(answer)));
                Ok(())
            }
        },
        InviteCommand::Revoke { id, json, place } => match ask(&place, Ask::Revoke { id })? {
            Answer::Revoked(invite) if json => print_json(&invite),
            answer => {
                print(&format!("{}\n", show(answer)));
                Ok(())
            }
        },
    }
}

fn strange() -> Failure {
    Failure::new(1, "the daemon answered something else")
}
