//! A further device of an account, by password and recovery phrase, or by password and another device's approval.

use std::sync::Arc;

use sotto_crypto::{AccountSecret, RecoveryPhrase};
use sotto_proto::{
    DeviceList, SignedDeviceList, Username,
    frame::{
        AccountIn, AccountLogin, AuthKey, ClientFrame, ErrorCode, PasswordLogin, ReplaceList, ServerFrame,
    },
    limits::MAX_DEVICES,
};

use super::{
    LoggedIn, LoginOptions, Questions,
    begin::{Begun, Unfinished, bug, new_device},
    parse_name, password_key, publish,
    session::{Failed, Session, unexpected},
    waiting::{Who, wait},
};
use crate::{
    api::{ClientError, ErrorKind},
    driver::now_ms,
    store::Identity,
};

/// Devices that add themselves to one account at the same moment: more than an account may have.
const MERGES: usize = 10;

/// Adds this machine to an account. The password is checked first; then the phrase's key signs a device list with this
/// machine in it, or, without a phrase, another device does so while this one waits. If it is interrupted, the same call again goes on with the same device.
pub async fn login(options: LoginOptions, questions: Arc<dyn Questions>) -> Result<LoggedIn, ClientError> {
    let LoginOptions { dir, server, username, password, recovery, name } = options;
    let username = parse_name(&username)?;
    let secret = recovery.map(|phrase| RecoveryPhrase::parse(&phrase).map_err(|error| bad_phrase(&error)));
    let secret = secret.transpose()?;
    let password = Arc::new(password);
    let mut begun = Begun::begin(&dir, &password).await?;
    begun.free_of_reset()?;
    let known = begun.known_server();
    let mut session = Session::open(&server, known.as_ref(), &questions).await?;
    let auth_key = password_key(&password, session.pin.server_id, &username).await?;
    let mut list = prove_password(&mut session, &auth_key, &username).await?;
    let Some(secret) = secret else {
        if let Some(listed) = begun.take_listed(&session.pin, &list) {
            // Added before an interruption; only this machine did not know yet.
            let full = session.full_address();
            session.close().await;
            let (begun, _) = begun.keep(&password, listed, &auth_key).await?;
            let open = begun.finish(&name).await?;
            return Ok(LoggedIn { username, server: full, published: publish(open).await });
        }
        let who = Who { server, username, password, auth_key, name };
        return Box::pin(wait(begun, session, list, who, &questions)).await;
    };
    if list.list().account_key != secret.public() {
        session.close().await;
        return Err(ClientError::new(
            ErrorKind::LoginNeeded,
            format!("the recovery phrase is not that of {username}"),
        )
        .hint("give the phrase that was printed when this account was registered"));
    }
    list = newest(&prove_account(&mut session, &secret, &username).await?, &secret, &username)?;

    for _ in 0..MERGES {
        let device = next_device(begun.unfinished.take(), &session, &secret, &username, &list)?;
        let id = device.identity.device;
        let (kept, next) = begun.keep(&password, device, &auth_key).await?;
        begun = kept;
        if list.list().device(&id).is_none() {
            let replace = ReplaceList { expected: list.hash(), list: next.as_bytes().to_vec().into() };
            match session.ask(&ClientFrame::ReplaceList(replace)).await {
                Ok(ServerFrame::Done) => {}
                Ok(other) => return Err(unexpected(&other)),
                Err(Failed::Refused(reply)) if reply.code == ErrorCode::CONFLICT => {
                    // Another device was faster: its list is the one to build on.
                    let answer = prove_account(&mut session, &secret, &username).await?;
                    list = newest(&answer, &secret, &username)?;
                    continue;
                }
                Err(Failed::Refused(reply)) => return Err(Failed::Refused(reply).into()),
                Err(Failed::Unknown(error)) => {
                    return Err(ClientError::new(
                        error.kind,
                        "the server did not say whether it added this device",
                    )
                    .cause(error)
                    .hint("run the same command again: it goes on where this one was interrupted"));
                }
            }
        }
        let full = session.full_address();
        session.close().await;
        let open = begun.finish(&name).await?;
        return Ok(LoggedIn { username, server: full, published: publish(open).await });
    }
    session.close().await;
    Err(ClientError::new(ErrorKind::Unreachable, "other devices kept changing the account").hint("try again"))
}

/// Checks name and password only: what an assistant asks before it asks for the recovery phrase.
pub async fn check_password(
    options: &LoginOptions,
    questions: Arc<dyn Questions>,
) -> Result<(), ClientError> {
    let username = parse_name(&options.username)?;
    let password = Arc::new(options.password.clone());
    let mut session = Session::open(&options.server, None, &questions).await?;
    let auth_key = password_key(&password, session.pin.server_id, &username).await?;
    let proven = prove_password(&mut session, &auth_key, &username).await;
    session.close().await;
    proven?;
    Ok(())
}

pub(super) async fn prove_password(
    session: &mut Session,
    auth_key: &AuthKey,
    username: &Username,
) -> Result<SignedDeviceList, Failed> {
    let login = PasswordLogin { username: username.to_string(), auth_key: auth_key.clone() };
    match session.ask(&ClientFrame::PasswordLogin(login)).await? {
        ServerFrame::AccountIn(proven) => Ok(parse_list(&proven, username)?),
        other => Err(unexpected(&other).into()),
    }
}

async fn prove_account(
    session: &mut Session,
    secret: &AccountSecret,
    username: &Username,
) -> Result<AccountIn, ClientError> {
    let signature = secret.sign_login(&session.pin.server_id, &session.welcome.challenge, session.exporter());
    let login = AccountLogin { username: username.to_string(), signature };
    match session.ask(&ClientFrame::AccountLogin(login)).await {
        Ok(ServerFrame::AccountIn(proven)) => Ok(proven),
        Ok(other) => Err(unexpected(&other)),
        Err(Failed::Refused(reply)) if reply.code == ErrorCode::BAD_CREDENTIALS => Err(ClientError::new(
            ErrorKind::LoginNeeded,
            format!("the recovery phrase is not that of {username}"),
        )),
        Err(failed) => Err(failed.into()),
    }
}

fn parse_list(proven: &AccountIn, username: &Username) -> Result<SignedDeviceList, ClientError> {
    let broken = |cause: String| {
        ClientError::new(
            ErrorKind::IdentityChanged,
            "the server shows a device list that does not hold; nothing was sent",
        )
        .cause(cause)
    };
    let list = SignedDeviceList::parse(&proven.list).map_err(|error| broken(error.to_string()))?;
    if list.list().username == *username && list.list().account == proven.account {
        Ok(list)
    } else {
        Err(broken("it is for another account".to_owned()))
    }
}

fn newest(
    proven: &AccountIn,
    secret: &AccountSecret,
    username: &Username,
) -> Result<SignedDeviceList, ClientError> {
    let list = parse_list(proven, username)?;
    if list.list().account_key == secret.public() {
        Ok(list)
    } else {
        Err(ClientError::new(ErrorKind::IdentityChanged, "the server changed the account's key meanwhile"))
    }
}

/// This device and the list that has it: the device of an interrupted attempt if it can still be used, else a new one.
fn next_device(
    unfinished: Option<Unfinished>,
    session: &Session,
    secret: &AccountSecret,
    username: &Username,
    current: &SignedDeviceList,
) -> Result<Unfinished, ClientError> {
    let now_ms = session.sound_time_ms(now_ms());
    let server = session.pin.clone();
    let list = current.list();
    let usable = |identity: &Identity| {
        identity.account == list.account
            && identity.account_key == list.account_key
            && identity.username == *username
            && !list.revoked(&identity.device)
            && list.device(&identity.device).is_none_or(|known| *known == identity.certificate)
    };
    let identity = match unfinished {
        Some(Unfinished { identity, server: then, .. })
            if then.server_id == server.server_id && usable(&identity) =>
        {
            Identity { account_seed: Some(secret.seed()), ..identity }
        }
        _ => new_device(secret, username, list.account, now_ms)?,
    };
    if list.device(&identity.device).is_some() {
        return Ok(Unfinished { identity, server, list: current.clone(), reset: false });
    }
    if list.devices.len() >= MAX_DEVICES {
        return Err(ClientError::new(
            ErrorKind::Limit,
            format!("the account has {MAX_DEVICES} devices, and may not have more"),
        )
        .hint("use one of the machines that it has already"));
    }
    let mut devices = list.devices.clone();
    devices.push(identity.certificate.clone());
    let next = DeviceList {
        number: DeviceList::next_number(list.number, now_ms / 1000),
        previous: current.hash(),
        devices,
        ..list.clone()
    };
    let list = secret.sign_device_list(&next).map_err(bug)?;
    Ok(Unfinished { identity, server, list, reset: false })
}

fn bad_phrase(error: &sotto_crypto::PhraseError) -> ClientError {
    ClientError::new(ErrorKind::LoginNeeded, "the recovery phrase cannot be read").cause(error)
}
