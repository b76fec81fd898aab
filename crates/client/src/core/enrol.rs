//! A server that does not know this account or this device any more: its data came back from before they were there, or
//! was lost. The client proves its account again, once on a connection, and signs in.

use sotto_crypto::AccountSecret;
use sotto_proto::{
    ServerId, SignedDeviceList,
    frame::{
        AccountIn, AccountLogin, ClientFrame, DeviceLogin, ErrorCode, ErrorReply, PasswordLogin, Register,
        ReplaceList,
    },
    limits::MAX_FRAME_BEFORE_LOGIN,
};

use super::{Core, CoreError, Step, link::Link, lists::list_ref, requests::Asked};
use crate::api::{ClientError, ErrorKind};

/// Bytes of a Register beside its list, at most: the name, the key, the signature, the frame.
const REGISTER_OVERHEAD: usize = 256;

/// The login on this connection.
pub(crate) struct Login {
    pub(super) server: ServerId,
    pub(super) challenge: [u8; 32],
    pub(super) exporter: [u8; 32],
    /// On this connection the account was registered again, or that was refused: what is said if the server does not
    /// know it all the same, and whether trying again can help.
    registered: Option<(ClientError, bool)>,
    /// The account was proven on this connection, to hand its list over.
    proven: bool,
}

impl Login {
    pub(super) fn new(server: ServerId, challenge: [u8; 32], exporter: [u8; 32]) -> Self {
        Self { server, challenge, exporter, registered: None, proven: false }
    }
}

impl Core {
    /// Signs this device in.
    pub(super) fn sign_in(&mut self, step: &mut Step<'_, '_>) {
        let Link::LoggingIn(login) = &self.link else { return };
        let signature = self.me.secret.sign_login(&login.server, &login.challenge, &login.exporter);
        let login = DeviceLogin {
            account: self.me.account,
            device: self.me.device,
            signature,
            interactive: self.options.interactive,
        };
        self.send(step, Asked::Login, ClientFrame::DeviceLogin(login));
    }

    /// The server did not let this device in.
    pub(super) fn login_refused(
        &mut self,
        step: &mut Step<'_, '_>,
        error: &ErrorReply,
        told: ClientError,
    ) -> Result<(), CoreError> {
        let Link::LoggingIn(login) = &mut self.link else { return Ok(()) };
        let (told, reconnect) = match error.code {
            ErrorCode::UNKNOWN_USER => match login.registered.take() {
                Some(again) => again,
                None => return self.enrol(step),
            },
            ErrorCode::UNKNOWN_DEVICE if !login.proven => return self.prove(step, told),
            _ => {
                let reconnect = matches!(told.kind, ErrorKind::Limit | ErrorKind::Unreachable);
                (told, reconnect)
            }
        };
        self.close(step, told, reconnect);
        Ok(())
    }

    /// One's own newest list, if this device is in it.
    fn own_list(&self, step: &Step<'_, '_>) -> Result<Option<SignedDeviceList>, CoreError> {
        let own = step.tx.contact(&self.me.account)?.map(|own| own.list);
        Ok(own.filter(|list| list.list().device(&self.me.device).is_some()))
    }

    /// The server has no such account: it is registered again, with the keys and the list that it has.
    fn enrol(&mut self, step: &mut Step<'_, '_>) -> Result<(), CoreError> {
        let Link::LoggingIn(login) = &self.link else { return Ok(()) };
        let Some(list) = self.own_list(step)? else {
            let told = self.removed();
            self.close(step, told, false);
            return Ok(());
        };
        let Some(auth_key) = step.tx.auth_key(&login.server)? else {
            let error = ClientError::new(
                ErrorKind::LoginNeeded,
                "the server does not know this account any more, and this profile lacks the key to register it again",
            )
            .hint("end every sotto of this profile and start it again: the password that it asks for makes the key");
            self.close(step, error, false);
            return Ok(());
        };
        if list.as_bytes().len() + REGISTER_OVERHEAD > MAX_FRAME_BEFORE_LOGIN {
            let error = ClientError::new(
                ErrorKind::LoginNeeded,
                "the server does not know this account any more, and its device list is too long to register it again",
            )
            .hint(format!("make a new account: sotto --profile NEW register SERVER {}", self.me.username));
            self.close(step, error, false);
            return Ok(());
        }
        let (challenge, exporter) = (&login.challenge, &login.exporter);
        let signature =
            self.me.secret.sign_registration(&login.server, challenge, exporter, &list.hash(), &auth_key);
        let register = Register {
            invite: None,
            username: self.me.username.to_string(),
            auth_key,
            list: list.as_bytes().to_vec().into(),
            device: self.me.device,
            signature,
        };
        self.auth_key_leaves(step, "this account");
        self.send(step, Asked::Register, ClientFrame::Register(register));
        Ok(())
    }

    /// The server has the account again.
    pub(super) fn enrolled(&mut self, step: &mut Step<'_, '_>) -> Result<(), CoreError> {
        let Link::LoggingIn(login) = &mut self.link else { return Ok(()) };
        let contradiction = ClientError::new(
            ErrorKind::Unreachable,
            "the server registered this account again, and says that it does not know it",
        );
        login.registered = Some((contradiction, true));
        step.warn(
            "the server had lost this account: it was registered again, with the same keys and devices. Messages that the \
             server lost too are sent again by those who have them",
        );
        self.begin_restore(step)?;
        self.sign_in(step);
        Ok(())
    }

    /// The server does not take the account back.
    pub(super) fn enrol_refused(&mut self, step: &mut Step<'_, '_>, error: &ErrorReply, told: ClientError) {
        let Link::LoggingIn(login) = &mut self.link else { return };
        let name = &self.me.username;
        let lost = |kind, what: String| ClientError::new(kind, what).cause(&error.message);
        match error.code {
            ErrorCode::NAME_TAKEN | ErrorCode::COLLISION => {
                // Another device of this account may have been faster; the login shows it.
                let what = format!(
                    "the server lost this account, and the name {name} belongs to somebody else there now: this account \
                     cannot be used on this server any more"
                );
                let taken = lost(ErrorKind::NameTaken, what).hint(
                    "tell your contacts over another way; ask the server's operator, or make an account under another \
                     name: sotto --profile NEW register SERVER USER",
                );
                login.registered = Some((taken, false));
                self.sign_in(step);
            }
            ErrorCode::NAME_LOOKS_ALIKE => {
                let what = format!(
                    "the server lost this account, and a name that looks like {name} was taken there meanwhile: this \
                     account cannot be used on this server any more"
                );
                let taken = lost(ErrorKind::NameTaken, what).hint(
                    "ask the server's operator, or make an account under another name: sotto --profile NEW register \
                     SERVER USER",
                );
                self.close(step, taken, false);
            }
            ErrorCode::REGISTRATION_CLOSED => {
                let what =
                    "the server lost this account, and takes no new ones: it cannot be registered again";
                let closed = lost(ErrorKind::LoginNeeded, what.to_owned())
                    .hint("ask the server's operator to open registration; the client keeps trying");
                self.close(step, closed, true);
            }
            code if is_passing(code) => self.close(step, told, true),
            ErrorCode::ACCOUNT_REMOVED | ErrorCode::ACCOUNT_REPLACED => self.close(step, told, false),
            _ => {
                let what = "the server lost this account, and does not register it again";
                self.close(step, lost(ErrorKind::LoginNeeded, what.to_owned()), false);
            }
        }
    }

    /// The server has the account, but an older list of it, or a newer one without this device: only who proves the
    /// account is told, and may hand over the newer one.
    fn prove(&mut self, step: &mut Step<'_, '_>, told: ClientError) -> Result<(), CoreError> {
        let Link::LoggingIn(login) = &mut self.link else { return Ok(()) };
        login.proven = true;
        let proof = if self.own_list(step)?.is_some() { self.proof(step)? } else { None };
        match proof {
            Some(proof) => self.send(step, Asked::Prove, proof),
            None => self.close(step, told, false),
        }
        Ok(())
    }

    /// What proves the account on this connection: its key or else the password's; `None` if this device has neither.
    fn proof(&mut self, step: &mut Step<'_, '_>) -> Result<Option<ClientFrame>, CoreError> {
        if let Some(proof) = self.account_proof(step)? {
            return Ok(Some(proof));
        }
        let Link::LoggingIn(login) = &self.link else { return Ok(None) };
        let Some(auth_key) = step.tx.auth_key(&login.server)? else { return Ok(None) };
        self.auth_key_leaves(step, "this device");
        let username = self.me.username.to_string();
        Ok(Some(ClientFrame::PasswordLogin(PasswordLogin { username, auth_key })))
    }

    /// The account's key as the proof, which shows nothing of the password; `None` if this device does not hold it.
    pub(super) fn account_proof(&self, step: &Step<'_, '_>) -> Result<Option<ClientFrame>, CoreError> {
        let Link::LoggingIn(login) = &self.link else { return Ok(None) };
        let Some(seed) = step.tx.identity()?.and_then(|identity| identity.account_seed) else {
            return Ok(None);
        };
        let signature =
            AccountSecret::from_seed(&seed).sign_login(&login.server, &login.challenge, &login.exporter);
        let username = self.me.username.to_string();
        Ok(Some(ClientFrame::AccountLogin(AccountLogin { username, signature })))
    }

    /// Says that the key which stands for the password leaves without anybody having typed it: once, until this device is
    /// signed in.
    fn auth_key_leaves(&mut self, step: &mut Step<'_, '_>, unknown: &str) {
        if std::mem::replace(&mut self.auth_key_left_ms, step.now_ms.max(1)) == 0 {
            step.warn(format!(
                "the server says that it does not know {unknown} any more, and is given the key that was derived from the \
                 password again. If its operator knows of no loss, somebody may be posing as the server and can guess a \
                 weak password now: change it once that is cleared up"
            ));
        }
    }

    /// The account is proven, and the server shows its list: it gets the newer one.
    pub(super) fn proven(&mut self, step: &mut Step<'_, '_>, account: &AccountIn) -> Result<(), CoreError> {
        let served = SignedDeviceList::parse(&account.list).ok().filter(|list| {
            list.list().account == self.me.account && list.list().username == self.me.username
        });
        match (&served, self.own_list(step)?) {
            (Some(served), Some(own)) if is_newer(&own, served) => {
                let replace = ReplaceList { expected: served.hash(), list: own.as_bytes().to_vec().into() };
                self.send(step, Asked::HandOver, ClientFrame::ReplaceList(replace));
                return Ok(());
            }
            // A list that removes this device is kept, so that it never brings an older one back.
            (Some(served), _) => self.served(step, served)?,
            (None, _) => {}
        }
        if !self.up() {
            let told = self.removed();
            self.close(step, told, false);
        }
        Ok(())
    }

    /// The server has this account's newest list again.
    pub(super) fn handed_over(&mut self, step: &mut Step<'_, '_>) {
        self.hand_over.remove(&self.me.account);
        step.warn("the server had an older list of this account's devices; it has the newest one again");
        self.sign_in(step);
    }

    /// The proof of the account, or its list, was refused.
    pub(super) fn hand_over_refused(
        &mut self,
        step: &mut Step<'_, '_>,
        error: &ErrorReply,
        told: ClientError,
    ) {
        if self.up() {
            // The list goes along with the next Submit.
            return;
        }
        // Another device may have replaced the list meanwhile: the next login tells.
        let passing = error.code == ErrorCode::CONFLICT || is_passing(error.code);
        let refused = if passing {
            told
        } else {
            let what = "the server has an older list of this account's devices, without this one, and does not take the \
                        newer one";
            ClientError::new(ErrorKind::LoginNeeded, what)
                .cause(&error.message)
                .hint("start another device of this account, or give the recovery phrase: sotto --profile NEW login SERVER USER")
        };
        self.close(step, refused, passing);
    }

    /// This device is not in its account's list.
    fn removed(&self) -> ClientError {
        self.translate(&ErrorReply {
            code: ErrorCode::UNKNOWN_DEVICE,
            message: "the account's device list does not have this device".to_owned(),
            retry_after_ms: None,
        })
    }
}

/// Whether one's own list may take the place of the server's.
fn is_newer(own: &SignedDeviceList, served: &SignedDeviceList) -> bool {
    own.follows(served).is_ok() && list_ref(own).number > served.list().number
}

/// Whether the same request can succeed later.
fn is_passing(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::BUSY
            | ErrorCode::STORE
            | ErrorCode::RATE_LIMITED
            | ErrorCode::DISK_FULL
            | ErrorCode::LIMIT
    )
}
