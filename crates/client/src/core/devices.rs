//! The account's own devices: those that wait to be added, the changes of its list, and their names.

use sotto_crypto::{AccountSecret, PendingCode};
use sotto_proto::{
    Certificate, DeviceId, DeviceList, ListHash, MessageId, SignedDeviceList,
    content::{Body, MAX_DEVICE_NAME},
    device_list::{MAX_AHEAD_S, Revocation, SuccessionError},
    frame::{
        AccountIn, AuthKey, ClientFrame, DropPending, ErrorCode, ErrorReply, Lists, LookupLists,
        PasswordLogin, PendingDevice, PendingDevices, ReplaceList,
    },
    limits::{MAX_DEVICES, MAX_PENDING_DEVICES, MAX_REVOCATIONS},
};

use super::{CommandId, Core, CoreError, Output, Step, commands::offline, content::tell, requests::Asked};
use crate::api::{AccountCommand, ClientError, Device, DeviceStanding, ErrorKind, Event, Reply};

/// How often a change is built anew because another device was faster: more devices than an account may have.
const MERGES: u32 = 10;
/// The number in `meta` of the last list that this device signed: it never signs two under one number.
const SIGNED: &str = "signed list";

/// What the devices that wait are asked for.
#[derive(Debug)]
pub(crate) enum PendingFor {
    /// To show them with the others.
    Show(CommandId),
    /// To add the one with this code.
    Approve { command: CommandId, code: PendingCode, key: AuthKey },
}

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

fn error(kind: ErrorKind, text: impl Into<String>) -> ClientError {
    ClientError::new(kind, text)
}

fn own_list_missing() -> CoreError {
    CoreError::Bug("the profile does not hold its own device list".to_owned())
}

impl Core {
    /// What needs no password.
    pub(super) fn account_command(
        &mut self,
        step: &mut Step<'_, '_>,
        id: CommandId,
        command: AccountCommand,
    ) -> Result<Option<Result<Reply, ClientError>>, CoreError> {
        Ok(Some(match command {
            AccountCommand::Devices if self.up() => {
                self.ask_pending(step, PendingFor::Show(id));
                return Ok(None);
            }
            AccountCommand::Devices => Ok(Reply::Devices(self.devices(step, &[])?)),
            AccountCommand::RenameDevice { device, name } => self.rename_device(step, device, &name)?,
            AccountCommand::RefuseDevice(_) | AccountCommand::RefuseReset if !self.up() => Err(offline()),
            AccountCommand::RefuseDevice(device) => {
                self.send(
                    step,
                    Asked::Drop { command: id },
                    ClientFrame::DropPending(DropPending { device }),
                );
                return Ok(None);
            }
            AccountCommand::RefuseReset => {
                self.send(step, Asked::RefuseReset { command: id }, ClientFrame::RefuseReset);
                return Ok(None);
            }
            AccountCommand::ApproveDevice { .. }
            | AccountCommand::RemoveDevice { .. }
            | AccountCommand::ChangePassword { .. } => {
                Err(error(ErrorKind::Bug, "a password has come this far"))
            }
        }))
    }

    pub(super) fn ask_pending(&mut self, step: &mut Step<'_, '_>, what: PendingFor) {
        self.send(step, Asked::Pending { what }, ClientFrame::ListPending);
    }

    /// The devices that wait, as the server has them.
    pub(super) fn pending(
        &mut self,
        step: &mut Step<'_, '_>,
        what: PendingFor,
        pending: PendingDevices,
    ) -> Result<(), CoreError> {
        match what {
            PendingFor::Show(command) => {
                let devices = self.devices(step, &pending.devices)?;
                step.out.push(Output::Reply(command, Ok(Reply::Devices(devices))));
            }
            PendingFor::Approve { command, code, key } => {
                self.approve_found(step, command, &code, key, pending)?;
            }
        }
        Ok(())
    }

    pub(super) fn pending_refused(
        &mut self,
        step: &mut Step<'_, '_>,
        what: &PendingFor,
        refused: &ErrorReply,
        told: ClientError,
    ) -> Result<(), CoreError> {
        match what {
            PendingFor::Show(command) => {
                if refused.code != ErrorCode::UNSUPPORTED {
                    step.warn(format!("which devices wait could not be asked: {}", told.message));
                }
                let devices = self.devices(step, &[])?;
                step.out.push(Output::Reply(*command, Ok(Reply::Devices(devices))));
            }
            PendingFor::Approve { command, .. } => step.out.push(Output::Reply(*command, Err(told))),
        }
        Ok(())
    }

    /// Devices wait to be approved.
    pub(super) fn devices_wait(step: &mut Step<'_, '_>, pending: &PendingDevices) {
        let waiting: Vec<String> = pending
            .devices
            .iter()
            .take(MAX_PENDING_DEVICES)
            .map(|pending| pending.device.to_string())
            .collect();
        if !waiting.is_empty() {
            step.event(Event::DevicesWait(waiting));
        }
    }

    /// The account's devices, as a face sees them.
    fn devices(&self, step: &Step<'_, '_>, pending: &[PendingDevice]) -> Result<Vec<Device>, CoreError> {
        let own = step.tx.contact(&self.me.account)?.ok_or_else(own_list_missing)?;
        let list = own.list.list();
        let mut devices = Vec::new();
        let mut add = |id: DeviceId, created_ms, standing| -> Result<(), CoreError> {
            devices.push(Device {
                device: id.to_string(),
                name: step.tx.device_name(&id)?.0,
                created_ms,
                this: id == self.me.device,
                standing,
            });
            Ok(())
        };
        for signed in &list.devices {
            let certificate = signed.certificate();
            add(certificate.device, certificate.created_ms, DeviceStanding::Listed)?;
        }
        for waiting in pending.iter().take(MAX_PENDING_DEVICES) {
            if list.device(&waiting.device).is_none() && !list.revoked(&waiting.device) {
                add(waiting.device, waiting.requested_ms, DeviceStanding::Waiting)?;
            }
        }
        for revocation in &list.revocations {
            add(revocation.device, revocation.revoked_ms, DeviceStanding::Removed)?;
        }
        Ok(devices)
    }

    // Names.

    fn rename_device(
        &mut self,
        step: &mut Step<'_, '_>,
        device: DeviceId,
        name: &str,
    ) -> Result<Result<Reply, ClientError>, CoreError> {
        if name.len() > MAX_DEVICE_NAME {
            let text = format!("the name has {} bytes, the most is {MAX_DEVICE_NAME}", name.len());
            return Ok(Err(error(ErrorKind::Invalid, text)));
        }
        let own = step.tx.contact(&self.me.account)?.ok_or_else(own_list_missing)?;
        if own.list.list().device(&device).is_none() {
            return Ok(Err(no_device(&device)));
        }
        let clock_ms = step.now_ms.max(step.tx.device_name(&device)?.1.saturating_add(1));
        step.tx.set_device_name(&device, name, clock_ms)?;
        self.tell_own(step, None, &Body::SyncDeviceName { device, name: name.to_owned() }, clock_ms)?;
        Ok(Ok(Reply::Done))
    }

    /// Tells one's other devices something, or only one of them.
    pub(super) fn tell_own(
        &self,
        step: &mut Step<'_, '_>,
        only: Option<DeviceId>,
        body: &Body,
        clock_ms: u64,
    ) -> Result<(), CoreError> {
        let own = step.tx.contact(&self.me.account)?.ok_or_else(own_list_missing)?;
        for signed in &own.list.list().devices {
            let device = signed.certificate().device;
            if device != self.me.device && only.is_none_or(|only| only == device) {
                let message = MessageId(step.random());
                tell(step, self.me.account, device, body, Some((message, clock_ms)))?;
            }
        }
        Ok(())
    }

    /// What a device that is new to the account has to know. Each of its other devices says it: the one that would be
    /// chosen to may be lost.
    fn welcome(&self, step: &mut Step<'_, '_>, device: DeviceId) -> Result<(), CoreError> {
        for block in step.tx.blocked()? {
            let body = Body::SyncBlock { account: block.account, blocked: true };
            self.tell_own(step, Some(device), &body, block.clock_ms)?;
        }
        for (named, name, clock_ms) in step.tx.device_names()? {
            if named != device {
                self.tell_own(step, Some(device), &Body::SyncDeviceName { device: named, name }, clock_ms)?;
            }
        }
        Ok(())
    }

    /// One's own list was changed by another device: the user must see that.
    pub(super) fn own_list_changed(
        &mut self,
        step: &mut Step<'_, '_>,
        old: &SignedDeviceList,
        new: &SignedDeviceList,
    ) -> Result<(), CoreError> {
        for signed in &new.list().devices {
            let device = signed.certificate().device;
            if old.list().device(&device).is_none() && device != self.me.device {
                let text = format!(
                    "a device was added to your account: {device}. If that was not you, remove it: sotto device remove \
                     {device}"
                );
                step.warn(text.clone());
                self.notice_row(step, &text)?;
                self.welcome(step, device)?;
            }
        }
        for signed in &old.list().devices {
            let device = signed.certificate().device;
            if new.list().device(&device).is_none() && device != self.me.device {
                let name = step.tx.device_name(&device)?.0;
                let text = format!("a device was removed from your account: {device} {name}");
                step.warn(text.trim_end());
                self.notice_row(step, text.trim_end())?;
            }
        }
        Ok(())
    }

    // Changes of the list.

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

    fn approve_found(
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
                let certificate = Certificate {
                    username: list.username.clone(),
                    account: list.account,
                    account_key: list.account_key,
                    device: new.device,
                    device_key: new.device_key,
                    identity_key: new.identity_key,
                    created_ms: self.sound_ms(step.now_ms),
                };
                devices.push(secret.sign_certificate(&certificate).map_err(|error| bug(&error))?);
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
        if number <= signed && signed < now_s.saturating_add(MAX_AHEAD_S / 2) {
            // An earlier one of this number may be on its way.
            number = signed.saturating_add(1);
        }
        let next = DeviceList { number, previous: base.hash(), devices, revocations, ..list.clone() };
        let next = secret.sign_device_list(&next).map_err(|error| bug(&error))?;
        Ok(Next::List(Box::new(next)))
    }

    /// A time that the server too takes for now: it refuses lists from its future.
    fn sound_ms(&self, now_ms: u64) -> u64 {
        self.server_ms.map_or(now_ms, |(server_ms, then_ms)| {
            now_ms.min(server_ms.saturating_add(now_ms.saturating_sub(then_ms)))
        })
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

    /// The server took a waiting device off its list, or there was none.
    pub(super) fn drop_refused(
        step: &mut Step<'_, '_>,
        command: CommandId,
        refused: &ErrorReply,
        told: ClientError,
    ) {
        let answer = if refused.code == ErrorCode::UNKNOWN_DEVICE {
            error(ErrorKind::NotFound, "no such device waits").hint("sotto device list")
        } else {
            told
        };
        step.out.push(Output::Reply(command, Err(answer)));
    }
}

fn no_device(device: &DeviceId) -> ClientError {
    error(ErrorKind::NotFound, format!("the account has no device {device}")).hint("sotto device list")
}
