//! Changes of the account's list: signed by its key on this device, on top of what the server has, after the password.

use sotto_crypto::{AccountSecret, PendingCode};
use sotto_proto::{
    Certificate, DeviceId, DeviceList, ListHash, SignedCertificate, SignedDeviceList,
    device_list::{MAX_AHEAD_S, Revocation, SuccessionError},
    frame::{
        AccountIn, AuthKey, ClientFrame, ErrorCode, ErrorReply, Lists, LookupLists, PasswordLogin,
        PendingDevice, PendingDevices, ReplaceList,
    },
    limits::{MAX_DEVICES, MAX_PENDING_DEVICES, MAX_REVOCATIONS},
};

use super::{
    CommandId, Core, CoreError, Output, Step,
    commands::offline,
    devices::{PendingFor, error, no_device, own_list_missing},
    requests::Asked,
};
use crate::api::{ClientError, ErrorKind};

/// How often a change is built anew because another device was faster: more devices than an account may have.
const MERGES: u32 = 10;
/// The number in `meta` of the last list that this device signed: it never signs two under one number.
const SIGNED: &str = "signed list";

/// A change of the account's list.
#[derive(Debug)]
pub(crate) struct ListChange {
    command: CommandId,
    change: Change,
    tries: u32,
}

impl ListChange {
    pub(super) fn command(&self) -> CommandId {
        self.command
    }
}

#[derive(Debug)]
enum Change {
    Add(Box<PendingDevice>),
    Remove(DeviceId),
}

/// The next list, or why there is none to make.
enum Next {
    List(Box<SignedDeviceList>),
    /// It is as it should be already.
    Done,
    Never(ClientError),
}

impl Core {
    /// Why this device cannot change the list now, if it cannot.
    fn cannot_sign(&self, step: &Step<'_, '_>) -> Result<Option<ClientError>, CoreError> {
        if !self.up() {
            return Ok(Some(offline()));
        }
        let seed = step.tx.identity()?.is_some_and(|identity| identity.account_seed.is_some());
        let text =
            "this device does not hold the account's key, so it cannot change which devices the account has";
        Ok((!seed).then(|| {
            error(ErrorKind::NotFound, text).hint(
                "do it on the device that the account was made on, or on one that was signed in with the recovery phrase; \
                 the phrase itself signs a new machine in: sotto --profile NEW login SERVER USER",
            )
        }))
    }

    /// Adds the waiting device that shows this code.
    pub(super) fn approve(
        &mut self,
        step: &mut Step<'_, '_>,
        command: CommandId,
        code: PendingCode,
        key: AuthKey,
    ) -> Result<(), CoreError> {
        match self.cannot_sign(step)? {
            Some(error) => step.out.push(Output::Reply(command, Err(error))),
            None => self.ask_pending(step, PendingFor::Approve { command, code, key }),
        }
        Ok(())
    }

    pub(super) fn approve_found(
        &mut self,
        step: &mut Step<'_, '_>,
        command: CommandId,
        code: &PendingCode,
        key: AuthKey,
        pending: PendingDevices,
    ) -> Result<(), CoreError> {
        let own = step.tx.contact(&self.me.account)?.ok_or_else(own_list_missing)?;
        // The code covers this account's own key, as this device knows it: what the server says goes into it only with
        // the keys that the code was made from.
        let shows_it = |waiting: &PendingDevice| {
            let (account, account_key) = (&own.account, &own.account_key);
            PendingCode::of(account, account_key, &waiting.device, &waiting.device_key, &waiting.identity_key)
                == *code
        };
        let found = pending.devices.into_iter().take(MAX_PENDING_DEVICES).rfind(shows_it);
        let Some(found) = found else {
            let text = "no device that waits shows this code; nothing was added";
            let none = error(ErrorKind::NotFound, text).hint(
                "type it from the new device's own screen; if it is right, the server passes on another device's keys",
            );
            step.out.push(Output::Reply(command, Err(none)));
            return Ok(());
        };
        let job = ListChange { command, change: Change::Add(Box::new(found)), tries: 0 };
        self.prove_password(step, job, key);
        Ok(())
    }

    /// Removes a device.
    pub(super) fn remove_device(
        &mut self,
        step: &mut Step<'_, '_>,
        command: CommandId,
        device: DeviceId,
        key: AuthKey,
    ) -> Result<(), CoreError> {
        let own = step.tx.contact(&self.me.account)?.ok_or_else(own_list_missing)?;
        let list = own.list.list();
        let refused = if device == self.me.device {
            let text = "this device cannot remove itself";
            Some(error(ErrorKind::Invalid, text).hint("do it on another device of the account"))
        } else if list.device(&device).is_none() && !list.revoked(&device) {
            Some(no_device(&device))
        } else {
            self.cannot_sign(step)?
        };
        match refused {
            Some(error) => step.out.push(Output::Reply(command, Err(error))),
            None => {
                self.prove_password(
                    step,
                    ListChange { command, change: Change::Remove(device), tries: 0 },
                    key,
                );
            }
        }
        Ok(())
    }

    fn prove_password(&mut self, step: &mut Step<'_, '_>, job: ListChange, key: AuthKey) {
        let login = PasswordLogin { username: self.me.username.to_string(), auth_key: key.clone() };
        self.send(step, Asked::Password { job, key }, ClientFrame::PasswordLogin(login));
    }

    /// The password is right, and here is the account's list.
    pub(super) fn password_proven(
        &mut self,
        step: &mut Step<'_, '_>,
        job: ListChange,
        key: &AuthKey,
        proven: &AccountIn,
    ) -> Result<(), CoreError> {
        Self::password_known(step, key)?;
        self.rebuild(step, job, &proven.list)
    }

    /// The newest list, after another device was faster.
    pub(super) fn looked_up_own(
        &mut self,
        step: &mut Step<'_, '_>,
        job: ListChange,
        lists: &Lists,
    ) -> Result<(), CoreError> {
        if let Some(Some(list)) = lists.lists.first() {
            return self.rebuild(step, job, list);
        }
        let text = "the server served no list of this account";
        step.out.push(Output::Reply(job.command, Err(error(ErrorKind::Unreachable, text))));
        Ok(())
    }

    /// Makes the change on top of the list that the server has, and hands the result in.
    fn rebuild(&mut self, step: &mut Step<'_, '_>, job: ListChange, served: &[u8]) -> Result<(), CoreError> {
        let (expected, next) = match self.take_own_list(step, served)? {
            Err(error) => (ListHash([0; 32]), Next::Never(error)),
            Ok((expected, base)) => (expected, self.next_list(step, &job.change, &base)?),
        };
        match next {
            Next::Never(error) => step.out.push(Output::Reply(job.command, Err(error))),
            Next::Done => self.ask_pending(step, PendingFor::Show(job.command)),
            Next::List(list) => {
                step.tx.set_number(SIGNED, list.list().number)?;
                let replace = ReplaceList { expected, list: list.as_bytes().to_vec().into() };
                self.send(step, Asked::ReplaceList { job, list }, ClientFrame::ReplaceList(replace));
            }
        }
        Ok(())
    }

    /// Takes the list that the server has as the newest, if it follows the known one; answers its hash, and the list to build
    /// on: the known one, where the server's data was set back.
    fn take_own_list(
        &mut self,
        step: &mut Step<'_, '_>,
        served: &[u8],
    ) -> Result<Result<(ListHash, SignedDeviceList), ClientError>, CoreError> {
        let own = step.tx.contact(&self.me.account)?.ok_or_else(own_list_missing)?;
        let forged = |cause: String| {
            error(
                ErrorKind::IdentityChanged,
                "the server shows a device list of this account that does not hold",
            )
            .cause(cause)
            .hint("nothing was signed; tell the server's operator")
        };
        let list = match SignedDeviceList::parse(served) {
            Ok(list) => list,
            Err(error) => return Ok(Err(forged(error.to_string()))),
        };
        match list.follows(&own.list) {
            Ok(()) => {
                self.served(step, &list)?;
                Ok(Ok((list.hash(), list)))
            }
            Err(SuccessionError::Older) => Ok(Ok((list.hash(), own.list))),
            Err(error) => Ok(Err(forged(error.to_string()))),
        }
    }

    fn next_list(
        &self,
        step: &Step<'_, '_>,
        change: &Change,
        base: &SignedDeviceList,
    ) -> Result<Next, CoreError> {
        let Some(seed) = step.tx.identity()?.and_then(|identity| identity.account_seed) else {
            return Err(CoreError::Bug("the account's key is gone".to_owned()));
        };
        let secret = AccountSecret::from_seed(&seed);
        let bug = |error: &dyn std::fmt::Display| CoreError::Bug(format!("a list of one's own: {error}"));
        let list = base.list();
        let (mut devices, mut revocations) = (list.devices.clone(), list.revocations.clone());
        match change {
            Change::Add(new) => {
                if let Some(known) = list.device(&new.device) {
                    let known = known.certificate();
                    let same = known.device_key == new.device_key && known.identity_key == new.identity_key;
                    let text = "a device of the account has that id and other keys";
                    return Ok(if same {
                        Next::Done
                    } else {
                        Next::Never(error(ErrorKind::IdentityChanged, text))
                    });
                }
                if list.revoked(&new.device) {
                    let text = "this device was removed from the account, and that is for ever";
                    return Ok(Next::Never(
                        error(ErrorKind::Invalid, text)
                            .hint("sign the machine in anew, in another --profile"),
                    ));
                }
                if devices.len() >= MAX_DEVICES {
                    let text = format!("the account has {MAX_DEVICES} devices, and may not have more");
                    return Ok(Next::Never(error(ErrorKind::Limit, text).hint("sotto device remove DEVICE")));
                }
                match self.certificate(step, &secret, list, new)? {
                    Ok(signed) => devices.push(signed),
                    Err(error) => return Ok(Next::Never(error)),
                }
            }
            Change::Remove(device) => {
                if list.revoked(device) {
                    return Ok(Next::Done);
                }
                if list.device(device).is_none() {
                    return Ok(Next::Never(no_device(device)));
                }
                if revocations.len() >= MAX_REVOCATIONS {
                    let text = format!(
                        "{MAX_REVOCATIONS} devices were removed from this account, which is the most"
                    );
                    return Ok(Next::Never(error(ErrorKind::Limit, text)));
                }
                devices.retain(|signed| signed.certificate().device != *device);
                revocations.push(Revocation { device: *device, revoked_ms: step.now_ms });
            }
        }
        let now_s = self.sound_ms(step.now_ms) / 1000;
        let mut number = DeviceList::next_number(list.number, now_s);
        let signed = step.tx.number(SIGNED)?;
        if number <= signed {
            // An earlier one of this number may be on its way.
            let ahead_s = signed.saturating_sub(now_s);
            if ahead_s >= MAX_AHEAD_S / 2 {
                let text = "an earlier change of the devices was signed by a clock that ran far ahead, and may be on its way";
                let hours = (ahead_s - MAX_AHEAD_S / 2) / 3600 + 1;
                return Ok(Next::Never(error(ErrorKind::Invalid, text).hint(format!(
                    "check the clock of this machine; if it is right, try again in {hours} h, or on another device"
                ))));
            }
            number = signed.saturating_add(1);
        }
        let next = DeviceList { number, previous: base.hash(), devices, revocations, ..list.clone() };
        let next = secret.sign_device_list(&next).map_err(|error| bug(&error))?;
        Ok(Next::List(Box::new(next)))
    }

    /// The certificate of a device that is to be added: signed once, whatever becomes of the lists in which it leaves. Who has
    /// seen one certificate of a device takes no other.
    fn certificate(
        &self,
        step: &Step<'_, '_>,
        secret: &AccountSecret,
        list: &DeviceList,
        new: &PendingDevice,
    ) -> Result<Result<SignedCertificate, ClientError>, CoreError> {
        let before = step.tx.certified(&new.device)?;
        let certificate = Certificate {
            username: list.username.clone(),
            account: list.account,
            account_key: list.account_key,
            device: new.device,
            device_key: new.device_key,
            identity_key: new.identity_key,
            created_ms: before
                .as_ref()
                .map_or_else(|| self.sound_ms(step.now_ms), |signed| signed.certificate().created_ms),
        };
        if let Some(signed) = before {
            if *signed.certificate() == certificate {
                return Ok(Ok(signed));
            }
            let text = "a device with that id and other keys was approved before; nothing was signed";
            return Ok(Err(error(ErrorKind::IdentityChanged, text)
                .hint("sign the machine in anew, in another --profile")));
        }
        let signed = secret
            .sign_certificate(&certificate)
            .map_err(|error| CoreError::Bug(format!("a certificate of one's own: {error}")))?;
        step.tx.keep_certified(&signed)?;
        Ok(Ok(signed))
    }

    /// A time that the server too takes for now: it refuses lists from its future.
    fn sound_ms(&self, now_ms: u64) -> u64 {
        self.server_now_ms(now_ms).map_or(now_ms, |server_ms| now_ms.min(server_ms))
    }

    /// The server's clock, as far as it is known on this connection; not where this device's was set back meanwhile.
    pub(super) fn server_now_ms(&self, now_ms: u64) -> Option<u64> {
        let (_, then_ms) = self.server_ms?;
        (now_ms >= then_ms).then(|| self.by_server_clock(now_ms))
    }

    /// A moment by this device's clock, as the server's would have had it.
    pub(super) fn by_server_clock(&self, ms: u64) -> u64 {
        self.server_ms.map_or(ms, |(server_ms, then_ms)| server_ms.saturating_add(ms).saturating_sub(then_ms))
    }

    /// The server has the new list.
    pub(super) fn list_replaced(
        &mut self,
        step: &mut Step<'_, '_>,
        job: &ListChange,
        list: &SignedDeviceList,
    ) -> Result<(), CoreError> {
        let own = step.tx.contact(&self.me.account)?.ok_or_else(own_list_missing)?;
        // It may have come back already, with what a third device changed on top of it.
        if list.follows(&own.list).is_ok() {
            step.tx.update_list(list)?;
        }
        self.hand_over.remove(&self.me.account);
        if let Change::Add(new) = &job.change {
            self.welcome(step, new.device)?;
        }
        self.ask_pending(step, PendingFor::Show(job.command));
        Ok(())
    }

    /// The password, the list, or the lookup before it was refused.
    pub(super) fn change_refused(
        &mut self,
        step: &mut Step<'_, '_>,
        job: ListChange,
        key: Option<&AuthKey>,
        refused: &ErrorReply,
        told: ClientError,
    ) -> Result<(), CoreError> {
        if refused.code == ErrorCode::CONFLICT && job.tries + 1 < MERGES {
            let names = vec![self.me.username.to_string()];
            let job = ListChange { tries: job.tries + 1, ..job };
            let frame = ClientFrame::LookupLists(LookupLists { names, accounts: Vec::new() });
            self.send(step, Asked::OwnList { job }, frame);
            return Ok(());
        }
        let answer = match (refused.code, key) {
            (ErrorCode::BAD_CREDENTIALS, Some(key)) => Self::wrong_password(step, key)?,
            (ErrorCode::CONFLICT, _) => {
                error(ErrorKind::Unreachable, "other devices kept changing the account").hint("try again")
            }
            (ErrorCode::BAD_KEYS, _) => error(ErrorKind::Invalid, "the server refuses the new device list")
                .cause(&refused.message)
                .hint("check the clock of this machine"),
            _ => told,
        };
        step.out.push(Output::Reply(job.command, Err(answer)));
        Ok(())
    }
}
