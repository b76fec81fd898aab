//! A new account with its first device.

use std::sync::Arc;

use sotto_crypto::{AccountSecret, DeviceSecret, RecoveryPhrase};
use sotto_proto::{
    AccountId, DeviceList, ListHash, SignedDeviceList, Username,
    frame::{ClientFrame, ErrorCode, Register, ServerFrame},
};

use super::{
    NewAccount, Questions, RegisterOptions, Registered,
    begin::{Begun, Unfinished, bug, new_device, random_id},
    parse_name, password_key, publish,
    session::{Failed, Session, unexpected},
};
use crate::{
    api::ClientError,
    driver::{now_ms, os_rng},
};

/// Makes an account, with this machine as its first device, and lets others write to it. If it is interrupted, the same
/// call again goes on with the same keys; a name that the server refuses leaves nothing behind.
pub async fn register(
    options: RegisterOptions,
    questions: Arc<dyn Questions>,
) -> Result<Registered, ClientError> {
    let NewAccount { username, server, recovery_phrase, open } = create(options, questions).await?;
    Ok(Registered { username, server, recovery_phrase, published: publish(open).await })
}

/// Does what [`register`] does, for a program that goes on as the account's client: the profile is open, and does not
/// have to be opened a second time. Others can write to the account once that client has published its keys.
pub async fn create(
    options: RegisterOptions,
    questions: Arc<dyn Questions>,
) -> Result<NewAccount, ClientError> {
    // On the heap: what waits for it is not made large by it.
    Box::pin(make(options, questions)).await
}

async fn make(options: RegisterOptions, questions: Arc<dyn Questions>) -> Result<NewAccount, ClientError> {
    let RegisterOptions { dir, server, username, password, invite, name } = options;
    let username = parse_name(&username)?;
    let password = Arc::new(password);
    let mut begun = Begun::begin(&dir, &password).await?;
    begun.free_of_reset()?;
    let known = begun.known_server();
    let mut session = Session::open(&server, known.as_ref(), &questions).await?;
    let auth_key = password_key(&password, session.pin.server_id, &username).await?;

    let (device, resumes) = match begun.unfinished.take() {
        Some(unfinished) if is_first(&unfinished, &session, &username) => {
            (Unfinished { server: session.pin.clone(), ..unfinished }, true)
        }
        _ => (first_device(&session, &username)?, false),
    };
    let seed = device.identity.account_seed.clone().ok_or_else(|| bug("no seed"))?;
    let secret = DeviceSecret::from_bytes(&device.identity.device_secret).map_err(bug)?;
    let device_id = device.identity.device;
    let (begun, list) = begun.keep(&password, device, &auth_key).await?;

    let (server, challenge, exporter) =
        (&session.pin.server_id, &session.welcome.challenge, session.exporter());
    let signature = secret.sign_registration(server, challenge, exporter, &list.hash(), &auth_key);
    let request = Register {
        invite,
        username: username.to_string(),
        auth_key,
        list: list.as_bytes().to_vec().into(),
        device: device_id,
        signature,
    };
    let answer = session.ask(&ClientFrame::Register(request)).await;
    let full = session.full_address();
    session.close().await;
    match answer {
        Ok(ServerFrame::Done) => {}
        Ok(other) => return Err(unexpected(&other)),
        Err(failed) => {
            if never_happened(&failed, resumes) {
                begun.discard().await?;
            }
            return Err(explain(failed));
        }
    }
    let open = begun.finish(&name).await?;
    let recovery_phrase = RecoveryPhrase::of(&AccountSecret::from_seed(&seed));
    Ok(NewAccount { username, server: full, recovery_phrase, open })
}

/// Whether the interrupted attempt was this very registration.
pub(super) fn is_first(unfinished: &Unfinished, session: &Session, username: &Username) -> bool {
    let list = unfinished.list.list();
    unfinished.server.server_id == session.pin.server_id
        && unfinished.identity.username == *username
        && unfinished.identity.account_seed.is_some()
        && list.previous == FIRST
        && list.devices.len() == 1
}

/// What a first list names as its predecessor.
const FIRST: ListHash = ListHash([0; 32]);

pub(super) fn first_device(session: &Session, username: &Username) -> Result<Unfinished, ClientError> {
    let now_ms = session.sound_time_ms(now_ms());
    let secret = AccountSecret::generate(&mut os_rng());
    let account = AccountId(random_id());
    let identity = new_device(&secret, username, account, now_ms)?;
    let list = DeviceList {
        username: username.clone(),
        account,
        account_key: secret.public(),
        number: DeviceList::next_number(0, now_ms / 1000),
        previous: FIRST,
        devices: vec![identity.certificate.clone()],
        revocations: Vec::new(),
    };
    let list: SignedDeviceList = secret.sign_device_list(&list).map_err(bug)?;
    Ok(Unfinished { identity, server: session.pin.clone(), list, reset: false })
}

/// Whether it is sure that the server knows no account with these keys. A refusal now says nothing about an earlier
/// attempt, unless it is about the keys or the name.
fn never_happened(failed: &Failed, resumed: bool) -> bool {
    match failed.code() {
        Some(
            ErrorCode::NAME_TAKEN
            | ErrorCode::NAME_LOOKS_ALIKE
            | ErrorCode::BAD_NAME
            | ErrorCode::BAD_KEYS
            | ErrorCode::COLLISION
            | ErrorCode::ACCOUNT_REMOVED
            | ErrorCode::ACCOUNT_REPLACED,
        ) => true,
        Some(ErrorCode::STORE) | None => false,
        Some(_) => !resumed,
    }
}

fn explain(failed: Failed) -> ClientError {
    match failed {
        Failed::Unknown(error) => ClientError::new(
            error.kind,
            "the server did not say whether it made the account",
        )
        .cause(error)
        .hint(
            "run the same command again, with the same password: it goes on where this one was interrupted",
        ),
        refused @ Failed::Refused(_) => refused.into(),
    }
}
