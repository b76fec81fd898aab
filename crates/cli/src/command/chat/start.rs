//! From the command line to somebody who is signed in: an account that this profile has, a new one, or this machine as a
//! new device of one.

use std::io::IsTerminal;
use std::sync::Arc;

use rand::{Rng, RngExt};
use sotto_client::api::{Command, ErrorKind, Reply, Whoami};
use sotto_client::driver::{self, Client, ClientOptions, Profile};
use sotto_client::setup::{self, LoginOptions, RegisterOptions};
use sotto_proto::{Address, Username};
use zeroize::Zeroizing;

use crate::args::Chat;
use crate::command::{Context, login, register};
use crate::failure::Failure;
use crate::output::Output;
use crate::place::device_name;
use crate::recipient::username;
use crate::secret::{self, Ask};
use crate::session::{Session, unexpected};
use crate::trust_question::AtTerminal;

/// Wrong passwords for this machine's store before the program gives up; each costs as much time as a right one.
const TRIES: usize = 5;
/// What a wrong password is answered, here and by the server.
const WRONG: &str = "Username taken or wrong password";

/// Ends the program at every question that is answered in the open.
const EXIT: &str = "exit";
/// Words of the phrase that are asked for.
const WORDS: usize = 2;

/// Who is to sign in where, as far as it was said.
struct Wanted {
    server: Option<Address>,
    user: Option<Username>,
}

/// Signs in, and returns once all that waited in the mailbox is here; nothing if the user rather leaves.
pub(super) async fn sign_in(
    args: &Chat,
    context: &mut Context,
    out: &mut Output,
) -> Result<Option<(Session, Username)>, Failure> {
    let wanted = Wanted::read(args)?;
    let session = match existing(context, out).await? {
        Some(session) => session,
        None => match first_use(&wanted, args.invite.clone(), context, out).await? {
            Some(session) => session,
            None => return Ok(None),
        },
    };
    match greeted(&session, &wanted).await {
        Ok(me) => Ok(Some((session, me))),
        Err(failure) => {
            session.close().await;
            Err(failure)
        }
    }
}

impl Wanted {
    fn read(args: &Chat) -> Result<Self, Failure> {
        // An address can hold the port, so that the name may stand in its place.
        let (port, user) = match (&args.port, &args.user) {
            (Some(port), None) if port.parse::<u32>().is_err() => (None, Some(port)),
            (port, user) => (port.as_ref(), user.as_ref()),
        };
        let mut server = args.server.as_deref().map(register::address).transpose()?;
        if let (Some(server), Some(port)) = (&mut server, port) {
            server.port = port.parse().ok().filter(|port| *port > 0).ok_or_else(|| {
                Failure::new(ErrorKind::Invalid, format!("{port:?} is not a port"))
                    .hint("a port is a number from 1 to 65535")
            })?;
        }
        Ok(Self { server, user: user.map(|user| username(user)).transpose()? })
    }

    /// Whether a profile is what was asked for.
    fn check(&self, whoami: &Whoami) -> Result<(), Failure> {
        let other = |what: String| {
            Failure::new(ErrorKind::Invalid, what)
                .hint("use another profile for it: sotto --profile NAME chat SERVER PORT USER")
        };
        if let Some(user) = &self.user
            && *user != whoami.username
        {
            return Err(other(format!("this profile belongs to {}, not to {user}", whoami.username)));
        }
        let Ok(ours) = whoami.server.parse::<Address>() else { return Ok(()) };
        match &self.server {
            Some(server) if !same_server(server, &ours) => {
                Err(other(format!("this profile belongs to {} at {ours}", whoami.username)))
            }
            _ => Ok(()),
        }
    }
}

/// Names of one machine for itself are the same; a fingerprint must be the pinned one if it is given.
fn same_server(wanted: &Address, ours: &Address) -> bool {
    const HERE: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
    let here = |host: &str| HERE.contains(&host);
    let host = wanted.host.eq_ignore_ascii_case(&ours.host) || (here(&wanted.host) && here(&ours.host));
    host && wanted.port == ours.port
        && (wanted.fingerprint.is_none() || wanted.fingerprint == ours.fingerprint)
}

/// The account that this profile has, if it has one.
async fn existing(context: &mut Context, out: &Output) -> Result<Option<Session>, Failure> {
    let dir = context.place.dir();
    let interactive = ClientOptions { interactive: true, ..ClientOptions::default() };
    if let Some(client) = Client::attach(&dir, interactive).await? {
        return Ok(Some(Session::of(client, interactive)));
    }
    if !Profile::exists(&dir) {
        return Ok(None);
    }
    let mut tries = 0;
    loop {
        let password = context.secrets.password(Ask::Once).await?;
        match Client::open_or_attach(&dir, interactive, || Ok(password)).await {
            Ok(client) => return Ok(Some(Session::of(client, interactive))),
            // A registration that was never finished: it is taken up again.
            Err(error) if error.kind == ErrorKind::LoginNeeded => return Ok(None),
            Err(error)
                if error.kind == ErrorKind::LocalStore
                    && context.secrets.asks_for_password()
                    && tries < TRIES =>
            {
                tries += 1;
                out.warning(&format!("{WRONG} ({error})"));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The first use of a profile: a new account, or this machine as a device of one.
async fn first_use(
    wanted: &Wanted,
    invite: Option<String>,
    context: &mut Context,
    out: &mut Output,
) -> Result<Option<Session>, Failure> {
    let server = match &wanted.server {
        Some(server) => server.clone(),
        None => match ask_server(context, out).await? {
            Some(server) => server,
            None => return Ok(None),
        },
    };
    let mut given = wanted.user.clone();
    loop {
        let user = match given.take() {
            Some(user) => user,
            None => match ask_user(context, out).await? {
                Some(user) => user,
                None => return Ok(None),
            },
        };
        let questions = Arc::new(AtTerminal { remarks: out.remarks(), may_ask: context.secrets.may_ask() });
        let greeting = setup::greet(&server, user.as_str(), questions.clone()).await?;
        let password = if greeting.known {
            context.secrets.password(Ask::Once).await?
        } else {
            if context.secrets.asks_for_password() {
                out.notice(&format!("{user} is new here: choose a password."));
            }
            context.secrets.new_password(out.remarks()).await?
        };
        let done = if greeting.known {
            join(&user, greeting.server, &password, context, out).await
        } else {
            let options = RegisterOptions {
                dir: context.place.dir(),
                server: greeting.server,
                username: user.to_string(),
                password: password.clone(),
                invite: invite.clone(),
                name: device_name(),
            };
            match register::create(options, questions, out).await {
                Ok(phrase) if context.secrets.may_ask() && at_terminal() => {
                    ask_words(phrase.expose(), &mut driver::os_rng(), out).await
                }
                other => other.map(|_| ()),
            }
        };
        match done {
            Ok(()) => {
                let interactive = ClientOptions { interactive: true, ..ClientOptions::default() };
                let client =
                    Client::open_or_attach(&context.place.dir(), interactive, || Ok(password)).await?;
                return Ok(Some(Session::of(client, interactive)));
            }
            Err(failure) if wrong(&failure) && context.secrets.asks_for_password() => {
                // Also the server's delay after too many of them.
                let wait =
                    failure.hint.filter(|hint| hint.starts_with("try again")).map(|hint| format!("; {hint}"));
                out.warning(&format!("{WRONG}{}", wait.unwrap_or_default()));
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// A name that somebody else was faster to take, a wrong password, or too many of them.
fn wrong(failure: &Failure) -> bool {
    failure.message == WRONG || failure.kind == "name_taken" || failure.message == "too many attempts"
}

/// Makes this machine a device of the account, once its password is known to be right.
async fn join(
    user: &Username,
    server: Address,
    password: &Zeroizing<String>,
    context: &mut Context,
    out: &mut Output,
) -> Result<(), Failure> {
    let questions = Arc::new(AtTerminal { remarks: out.remarks(), may_ask: context.secrets.may_ask() });
    let options = |recovery| LoginOptions {
        dir: context.place.dir(),
        server: server.clone(),
        username: user.to_string(),
        password: password.clone(),
        recovery,
        name: device_name(),
    };
    setup::check_password(&options(None), questions.clone()).await?;
    let recovery = context.secrets.recovery_phrase_or_none().await?;
    login::join(options(recovery), questions, out).await
}

async fn ask_server(context: &Context, out: &Output) -> Result<Option<Address>, Failure> {
    must_ask(context, "this profile has no account yet, and no server was named")?;
    loop {
        let text = secret::ask_shown("Server (sotto://..., HOST:PORT or HOST): ").await?;
        match register::address(&text) {
            _ if text == EXIT => return Ok(None),
            Ok(address) => return Ok(Some(address)),
            Err(failure) => out.warning(&failure.message),
        }
    }
}

async fn ask_user(context: &Context, out: &Output) -> Result<Option<Username>, Failure> {
    must_ask(context, "this profile has no account yet, and no username was given")?;
    loop {
        let text = secret::ask_shown("Username: ").await?;
        match username(&text) {
            _ if text == EXIT => return Ok(None),
            Ok(user) => return Ok(Some(user)),
            Err(failure) => out.warning(&failure.message),
        }
    }
}

fn must_ask(context: &Context, what: &str) -> Result<(), Failure> {
    if context.secrets.may_ask() {
        return Ok(());
    }
    Err(Failure::new(ErrorKind::LoginNeeded, what).hint("sotto chat SERVER PORT USER"))
}

/// Who it is, and that it is who was meant; then the connection, and all that waited.
async fn greeted(session: &Session, wanted: &Wanted) -> Result<Username, Failure> {
    let Reply::Whoami(whoami) = session.ask(Command::Whoami).await? else { return Err(unexpected()) };
    wanted.check(&whoami)?;
    session.drained().await?;
    Ok(whoami.username)
}

/// Whether a person sits there who can look at what was printed.
fn at_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// Asks for some words of the phrase that was just shown: it is worth nothing on a screen that scrolls away.
async fn ask_words(phrase: &str, rng: &mut dyn Rng, out: &Output) -> Result<(), Failure> {
    let words: Vec<&str> = phrase.split(' ').collect();
    let mut left: Vec<usize> = (1..=words.len()).collect();
    for _ in 0..WORDS {
        let number = left.remove(rng.random_range(0..left.len()));
        loop {
            let question =
                format!("To be sure that it is written down: word {number} is (Enter skips this): ");
            let word = secret::ask_shown(&question).await?;
            if word.is_empty() {
                out.warning("not checked; print the phrase again with: sotto recovery show");
                return Ok(());
            }
            if words.get(number - 1).is_some_and(|right| right.eq_ignore_ascii_case(&word)) {
                break;
            }
            out.warning("that is another word; look at what you wrote down");
        }
    }
    out.notice("The phrase is written down.");
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn wanted(server: &str, port: Option<&str>, user: Option<&str>) -> Result<Wanted, Failure> {
        Wanted::read(&Chat {
            server: Some(server.into()),
            port: port.map(Into::into),
            user: user.map(Into::into),
            plain: false,
            invite: None,
        })
    }

    #[test]
    fn server_port_and_user_in_all_spellings() {
        let one = wanted("localhost", Some("7000"), Some("alice")).unwrap();
        assert_eq!((one.server.unwrap().port, one.user.unwrap().as_str()), (7000, "alice"));
        let two = wanted("localhost:7000", Some("alice"), None).unwrap();
        assert_eq!((two.server.unwrap().port, two.user.unwrap().as_str()), (7000, "alice"));
        assert_eq!(wanted("localhost", None, None).unwrap().server.unwrap().port, 7777);
        for port in ["0", "70000"] {
            assert_eq!(wanted("localhost", Some(port), Some("alice")).err().unwrap().code, 1, "{port}");
        }
        assert_eq!(
            wanted("localhost", Some("7000"), Some("")).err().unwrap().message,
            "Username can't be empty"
        );
    }

    #[test]
    fn a_profile_is_known_by_host_port_and_fingerprint() {
        let at = |text: &str| text.parse::<Address>().unwrap();
        let ours = Address { fingerprint: Some([1; 32]), ..at("127.0.0.1:7000") };
        assert!(same_server(&at("localhost:7000"), &ours));
        assert!(same_server(&ours.clone(), &ours));
        assert!(!same_server(&at("localhost:7001"), &ours));
        assert!(!same_server(&at("chat.example:7000"), &ours));
        assert!(!same_server(&Address { fingerprint: Some([2; 32]), ..ours.clone() }, &ours));
    }
}
