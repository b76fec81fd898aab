//! A new identity of an account whose keys and recovery phrase are lost: a new account key under the same name. The server
//! lets it wait while a device of the account is in use, which can refuse it; contacts see that the key changed.

use std::sync::Arc;

use sotto_crypto::{AccountSecret, RecoveryPhrase};
use sotto_proto::{
    ResetCode,
    frame::{ClientFrame, ErrorCode, ResetAccount, ResetState, ServerFrame},
};

use super::{
    Questions, Registered, ResetOptions,
    begin::{Begun, Unfinished, bug},
    login::prove_password,
    parse_name, password_key, publish,
    register::{first_device, is_first},
    session::{Failed, Session, unexpected},
};
use crate::api::{ClientError, ErrorKind};

/// How far a reset has come.
pub enum Reset {
    /// The account has the new identity, and this machine is its only device.
    Done(Registered),
    /// It waits, for a device of the account may refuse it. The profile keeps the new keys: the same command again, at
    /// that time or later, goes on.
    Waits {
        /// Until then, the server's clock, Unix milliseconds.
        due_ms: u64,
        /// By which the server's operator recognises it, who can let it take effect at once.
        code: ResetCode,
    },
}

/// Asks for a new identity of an account, with this machine as its first device; or goes on with one that was asked for.
/// Whatever interrupts it, the same call again goes on with the same keys.
pub async fn reset(options: ResetOptions, questions: Arc<dyn Questions>) -> Result<Reset, ClientError> {
    let ResetOptions { dir, server, username, password, name } = options;
    let username = parse_name(&username)?;
    let password = Arc::new(password);
    let mut begun = Begun::begin(&dir, &password).await?;
    let known = begun.known_server();
    let mut session = Session::open(&server, known.as_ref(), &questions).await?;
    let auth_key = password_key(&password, session.pin.server_id, &username).await?;
    let list = prove_password(&mut session, &auth_key, &username).await?;

    let ours = |unfinished: &Unfinished| unfinished.reset && is_first(unfinished, &session, &username);
    let device = match begun.unfinished.take() {
        Some(unfinished) if ours(&unfinished) => Unfinished { server: session.pin.clone(), ..unfinished },
        Some(unfinished) if unfinished.reset => {
            session.close().await;
            let text = "a new identity of another account was asked for from this profile";
            return Err(ClientError::new(ErrorKind::Invalid, text).hint("use another --profile"));
        }
        _ => Unfinished { reset: true, ..first_device(&session, &username)? },
    };
    let seed = device.identity.account_seed.clone().ok_or_else(|| bug("no seed"))?;
    let (begun, new) = begun.keep(&password, device, &auth_key).await?;
    let state = if list.list().account == new.list().account {
        // It took effect while this machine was away.
        ResetState::Done
    } else {
        let request = ResetAccount { list: new.as_bytes().to_vec().into() };
        match session.ask(&ClientFrame::ResetAccount(request)).await {
            Ok(ServerFrame::Reset(state)) => state,
            Ok(other) => return Err(unexpected(&other)),
            Err(failed) => return Err(explain(failed)),
        }
    };
    let full = session.full_address();
    session.close().await;
    match state {
        ResetState::Pending(due_ms) => Ok(Reset::Waits { due_ms, code: ResetCode::of(new.list()) }),
        ResetState::None => {
            // Its keys are of no use any more.
            begun.discard().await?;
            let text = "a device of the account has refused the new identity";
            Err(ClientError::new(ErrorKind::LoginNeeded, text)
                .hint("use that device; or run the same command again to ask once more"))
        }
        ResetState::Done => {
            let open = begun.finish(&name).await?;
            Ok(Reset::Done(Registered {
                username,
                server: full,
                recovery_phrase: RecoveryPhrase::of(&AccountSecret::from_seed(&seed)),
                published: publish(open).await,
            }))
        }
    }
}

fn explain(failed: Failed) -> ClientError {
    let again = "run the same command again: it goes on with the same keys";
    match failed {
        Failed::Refused(reply) if reply.code == ErrorCode::UNSUPPORTED => {
            ClientError::new(ErrorKind::Version, "this server cannot give an account a new identity")
                .cause(&reply.message)
                .hint("ask its operator to update it")
        }
        Failed::Unknown(error) => {
            ClientError::new(error.kind, "the server did not say whether it took the request")
                .cause(error)
                .hint(again)
        }
        refused @ Failed::Refused(_) => refused.into(),
    }
}
