//! A further device of an account without its recovery phrase: it shows a code and waits until another device, which holds
//! the account's key, has signed its keys. Its keys are on this disk before the server hears of them, so an interruption
//! costs nothing: the same command again goes on with the same code.

use std::{sync::Arc, time::Duration};

use sotto_crypto::{DeviceSecret, PendingCode};
use sotto_proto::{
    Address, DeviceId, SignedCertificate, SignedDeviceList, Username,
    frame::{AuthKey, ClientFrame, ErrorCode, RequestDevice, ServerFrame},
    limits::PENDING_DEVICE_MS,
};
use tokio::time::{Instant, sleep, timeout_at};
use zeroize::Zeroizing;

use super::{
    LoggedIn, Questions,
    begin::{Begun, Unfinished, bug, random_id},
    login::prove_password,
    publish,
    session::{Failed, Session, unexpected},
};
use crate::{
    api::{ClientError, ErrorKind},
    driver::os_rng,
    store::{Identity, ServerPin, WaitingDevice},
};

/// Between two attempts to reach the server: first this, then twice as long each time.
const AGAIN: Duration = Duration::from_secs(1);
/// The longest such wait.
const AGAIN_MOST: Duration = Duration::from_secs(60);

/// Who waits, and how it proves the password each time.
pub(super) struct Who {
    pub(super) server: Address,
    pub(super) username: Username,
    pub(super) password: Arc<Zeroizing<String>>,
    pub(super) auth_key: AuthKey,
    pub(super) name: String,
}

/// Waits until the device is in the account's list, and finishes the profile. A day at the most, as the server keeps it; the
/// caller may set a shorter time by dropping this.
pub(super) async fn wait(
    begun: Begun,
    session: Session,
    list: SignedDeviceList,
    who: Who,
    questions: &Arc<dyn Questions>,
) -> Result<LoggedIn, ClientError> {
    let (begun, device) = Waits::take_up(begun, &session, &list, &who).await?;
    let until = Instant::now() + Duration::from_millis(PENDING_DEVICE_MS);
    let approved = timeout_at(until, device.approval(session, list, &who, questions)).await;
    let (session, list, certificate) = approved.unwrap_or_else(|_| Err(too_late()))?;
    questions.added(&who.username);
    let (full, pin) = (session.full_address(), session.pin.clone());
    session.close().await;
    let identity = Identity {
        username: who.username.clone(),
        account: list.list().account,
        account_key: list.list().account_key,
        account_seed: None,
        device: device.id,
        device_secret: device.secret.to_bytes(),
        certificate,
        registered: false,
    };
    let unfinished = Unfinished { identity, server: pin, list, reset: false };
    let (begun, _) = begun.keep(&who.password, unfinished, &who.auth_key).await?;
    let open = begun.finish(&who.name).await?;
    Ok(LoggedIn { username: who.username, server: full, published: publish(open).await })
}

/// The device that waits, and the account as the server showed it when the code was made.
struct Waits {
    id: DeviceId,
    secret: DeviceSecret,
    kept: WaitingDevice,
    pin: ServerPin,
    code: PendingCode,
}

impl Waits {
    /// The device of an interrupted attempt if there is one, else a new one, on this disk.
    async fn take_up(
        mut begun: Begun,
        session: &Session,
        list: &SignedDeviceList,
        who: &Who,
    ) -> Result<(Begun, Self), ClientError> {
        let says = list.list();
        let usable = |(waiting, pin): &(WaitingDevice, ServerPin)| {
            pin.server_id == session.pin.server_id
                && waiting.username == who.username
                && !says.revoked(&waiting.device)
        };
        let kept = if let Some((waiting, _)) = begun.waiting.take().filter(usable) {
            waiting
        } else {
            let waiting = WaitingDevice {
                username: who.username.clone(),
                account: says.account,
                account_key: says.account_key,
                device: DeviceId(random_id()),
                device_secret: DeviceSecret::generate(&mut os_rng()).to_bytes(),
            };
            let (kept, waiting) = begun.keep_waiting(&who.password, waiting, &session.pin).await?;
            begun = kept;
            waiting
        };
        let secret = DeviceSecret::from_bytes(&kept.device_secret).map_err(bug)?;
        let code = PendingCode::of(
            &kept.account,
            &kept.account_key,
            &kept.device,
            &secret.device_key(),
            &secret.identity_key(),
        );
        Ok((begun, Self { id: kept.device, secret, kept, pin: session.pin.clone(), code }))
    }

    /// Asks, shows the code, and waits, over as many connections as it takes.
    async fn approval(
        &self,
        mut session: Session,
        mut list: SignedDeviceList,
        who: &Who,
        questions: &Arc<dyn Questions>,
    ) -> Result<(Session, SignedDeviceList, SignedCertificate), ClientError> {
        let (mut shown, mut again, mut pin) = (false, AGAIN, self.pin.clone());
        loop {
            if let Some(certificate) = self.certificate_in(&list)? {
                return Ok((session, list, certificate));
            }
            let mut failed = match self.ask(&mut session).await {
                Ok(()) => {
                    if !shown {
                        questions.waiting(&self.code.to_string());
                        shown = true;
                    }
                    again = AGAIN;
                    match session.approved().await {
                        Ok(approved) => {
                            let approved = SignedDeviceList::parse(&approved.list)
                                .map_err(|error| not_ours(&error.to_string()))?;
                            let Some(certificate) = self.certificate_in(&approved)? else {
                                return Err(not_ours("this device is not in it"));
                            };
                            return Ok((session, approved, certificate));
                        }
                        Err(failed) => failed,
                    }
                }
                Err(failed) => failed,
            };
            session.close().await;
            loop {
                sleep(pause(failed, &mut again)?).await;
                let reached = async {
                    let mut session = Session::open(&who.server, Some(&pin), questions).await?;
                    // The key that is sent next is for this server alone.
                    if session.pin.server_id != self.pin.server_id {
                        return Err(another_server().into());
                    }
                    pin = session.pin.clone();
                    let list = prove_password(&mut session, &who.auth_key, &who.username).await?;
                    Ok::<_, Failed>((session, list))
                };
                match reached.await {
                    Ok(reached) => {
                        (session, list) = reached;
                        break;
                    }
                    Err(error) => failed = error,
                }
            }
        }
    }

    async fn ask(&self, session: &mut Session) -> Result<(), Failed> {
        let request = RequestDevice {
            device: self.id,
            device_key: self.secret.device_key(),
            identity_key: self.secret.identity_key(),
        };
        match session.ask(&ClientFrame::RequestDevice(request)).await? {
            ServerFrame::Done => Ok(()),
            other => Err(Failed::Unknown(unexpected(&other))),
        }
    }

    /// This device's certificate in a list that the server shows, if it is there. The list has to be signed by the key that
    /// the code was made from, and to hold the very keys that are on this disk.
    fn certificate_in(&self, list: &SignedDeviceList) -> Result<Option<SignedCertificate>, ClientError> {
        let says = list.list();
        if says.account != self.kept.account
            || says.account_key != self.kept.account_key
            || says.username != self.kept.username
        {
            return Err(ClientError::new(
                ErrorKind::IdentityChanged,
                "the account has another key than when this machine asked to be added: the code is worth nothing now",
            )
            .hint("if the account was reset, start anew in another --profile; if not, the server is lying"));
        }
        if says.revoked(&self.id) {
            return Err(ClientError::new(
                ErrorKind::LoginNeeded,
                "this device was added to the account and removed again",
            )
            .hint("run the same command again: it starts anew, with another code"));
        }
        let Some(certificate) = says.device(&self.id) else { return Ok(None) };
        let has = certificate.certificate();
        if has.device_key == self.secret.device_key() && has.identity_key == self.secret.identity_key() {
            Ok(Some(certificate.clone()))
        } else {
            Err(not_ours("it names other keys for this device"))
        }
    }
}

/// How long to wait before the next attempt; what waiting cannot mend is the end.
fn pause(failed: Failed, again: &mut Duration) -> Result<Duration, ClientError> {
    let (mend, least) = match &failed {
        Failed::Refused(reply) => (
            matches!(
                reply.code,
                ErrorCode::BUSY
                    | ErrorCode::STORE
                    | ErrorCode::RATE_LIMITED
                    | ErrorCode::DISK_FULL
                    | ErrorCode::TOO_MANY_CLIENTS
            ),
            reply.retry_after_ms.unwrap_or(0),
        ),
        Failed::Unknown(error) => {
            (matches!(error.kind, ErrorKind::Unreachable | ErrorKind::Limit | ErrorKind::Timeout), 0)
        }
    };
    if !mend {
        return Err(match failed {
            Failed::Refused(reply) if reply.code == ErrorCode::UNKNOWN_DEVICE => {
                ClientError::new(ErrorKind::LoginNeeded, "this device was not approved")
                    .cause(reply.message)
                    .hint("run the same command again to ask once more")
            }
            failed => failed.into(),
        });
    }
    let pause = (*again).max(Duration::from_millis(least)).min(AGAIN_MOST.max(Duration::from_millis(least)));
    *again = (*again * 2).min(AGAIN_MOST);
    Ok(pause)
}

fn not_ours(cause: &str) -> ClientError {
    ClientError::new(
        ErrorKind::IdentityChanged,
        "the server says that this device was added, and shows a device list that does not say so",
    )
    .cause(cause)
    .hint("the server is damaged or lying; ask its operator")
}

fn another_server() -> ClientError {
    ClientError::new(
        ErrorKind::IdentityChanged,
        "another server answers at this address; nothing was sent to it",
    )
}

fn too_late() -> ClientError {
    ClientError::new(ErrorKind::Timeout, "nobody has approved this device within a day")
        .hint("run the same command again: the code stays the same")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use sotto_crypto::AccountSecret;
    use sotto_proto::{
        AccountId, Certificate, DeviceList, IdentityKey, ListHash, ServerId, device_list::Revocation,
    };

    use super::*;

    fn waits(account: &AccountSecret) -> Waits {
        let secret = DeviceSecret::generate(&mut os_rng());
        let kept = WaitingDevice {
            username: "alice".parse().unwrap(),
            account: AccountId([1; 16]),
            account_key: account.public(),
            device: DeviceId([2; 16]),
            device_secret: secret.to_bytes(),
        };
        let (id, key) = (kept.account, kept.account_key);
        let code = PendingCode::of(&id, &key, &kept.device, &secret.device_key(), &secret.identity_key());
        let pin = ServerPin {
            address: "localhost".parse().unwrap(),
            server_id: ServerId([3; 32]),
            newest: [3; 32],
            number: 0,
        };
        Waits { id: kept.device, secret, kept, pin, code }
    }

    /// A list by this account key; with the device under this identity key, or with its revocation.
    fn list(account: &AccountSecret, waits: &Waits, identity_key: Option<IdentityKey>) -> SignedDeviceList {
        let username: Username = "alice".parse().unwrap();
        let certificate = |identity_key| {
            let certificate = Certificate {
                username: username.clone(),
                account: AccountId([1; 16]),
                account_key: account.public(),
                device: waits.id,
                device_key: waits.secret.device_key(),
                identity_key,
                created_ms: 1,
            };
            account.sign_certificate(&certificate).unwrap()
        };
        let list = DeviceList {
            username: username.clone(),
            account: AccountId([1; 16]),
            account_key: account.public(),
            number: 7,
            previous: ListHash([0; 32]),
            devices: identity_key.map(certificate).into_iter().collect(),
            revocations: if identity_key.is_none() {
                vec![Revocation { device: waits.id, revoked_ms: 1 }]
            } else {
                Vec::new()
            },
        };
        account.sign_device_list(&list).unwrap()
    }

    #[test]
    fn only_the_codes_own_account_with_this_devices_own_keys_is_taken() {
        let account = AccountSecret::generate(&mut os_rng());
        let waits = waits(&account);
        let kind = |list: &SignedDeviceList| waits.certificate_in(list).err().map(|error| error.kind);
        let own = waits.secret.identity_key();
        let right = list(&account, &waits, Some(own));
        let certificate = waits.certificate_in(&right).unwrap().unwrap();
        assert_eq!(certificate.certificate().device, waits.id);

        let other = AccountSecret::generate(&mut os_rng());
        assert_eq!(kind(&list(&other, &waits, Some(own))), Some(ErrorKind::IdentityChanged));
        let foreign = DeviceSecret::generate(&mut os_rng()).identity_key();
        assert_eq!(kind(&list(&account, &waits, Some(foreign))), Some(ErrorKind::IdentityChanged));
        assert_eq!(kind(&list(&account, &waits, None)), Some(ErrorKind::LoginNeeded), "removed again");
    }

    #[test]
    fn what_waiting_can_mend_is_tried_again_and_nothing_else() {
        let unknown = |kind| Failed::Unknown(ClientError::new(kind, "x"));
        let refused = |code, retry_after_ms| {
            Failed::Refused(sotto_proto::frame::ErrorReply { code, message: String::new(), retry_after_ms })
        };
        let mut again = AGAIN;
        let mut waited = Vec::new();
        for _ in 0..9 {
            waited.push(pause(unknown(ErrorKind::Unreachable), &mut again).unwrap().as_secs());
        }
        assert_eq!(waited, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        let mut again = AGAIN;
        let asked = pause(refused(ErrorCode::RATE_LIMITED, Some(90_000)), &mut again).unwrap();
        assert_eq!(asked, Duration::from_secs(90));
        for failed in [
            unknown(ErrorKind::IdentityChanged),
            unknown(ErrorKind::Version),
            refused(ErrorCode::BAD_CREDENTIALS, None),
            refused(ErrorCode::UNKNOWN_DEVICE, None),
            refused(ErrorCode::LIMIT, None),
        ] {
            assert!(pause(failed, &mut again).is_err());
        }
    }
}
