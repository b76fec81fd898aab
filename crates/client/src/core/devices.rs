//! The account's own devices: those that wait to be added, those that are in its list, and their names.

use sotto_crypto::PendingCode;
use sotto_proto::{
    DeviceId, MessageId, SignedDeviceList,
    content::{Body, MAX_DEVICE_NAME},
    frame::{AuthKey, ClientFrame, DropPending, ErrorCode, ErrorReply, PendingDevice, PendingDevices},
    limits::MAX_PENDING_DEVICES,
};

use super::{
    CommandId, Core, CoreError, Output, Step, blocks::said_now, commands::offline, content::tell,
    requests::Asked,
};
use crate::api::{AccountCommand, ClientError, Device, DeviceStanding, ErrorKind, Event, Reply};

/// What the devices that wait are asked for.
#[derive(Debug)]
pub(crate) enum PendingFor {
    /// To show them with the others.
    Show(CommandId),
    /// To add the one with this code.
    Approve { command: CommandId, code: PendingCode, key: AuthKey },
}

pub(super) fn error(kind: ErrorKind, text: impl Into<String>) -> ClientError {
    ClientError::new(kind, text)
}

pub(super) fn own_list_missing() -> CoreError {
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
        let list = own.list.list();
        if list.device(&device).is_none() {
            return Ok(Err(no_device(&device)));
        }
        let clock_ms = said_now(step.now_ms, step.tx.device_name(&device)?.1);
        if !step.tx.decide_device_name(&device, name, clock_ms)? {
            // Names of what the account never had make room.
            for (named, ..) in step.tx.device_names()? {
                if list.device(&named).is_none() && !list.revoked(&named) {
                    step.tx.forget_device_name(&named)?;
                }
            }
            if !step.tx.decide_device_name(&device, name, clock_ms)? {
                return Ok(Err(error(ErrorKind::Limit, "no more devices can have a name")));
            }
        }
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
    pub(super) fn welcome(&self, step: &mut Step<'_, '_>, device: DeviceId) -> Result<(), CoreError> {
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

pub(super) fn no_device(device: &DeviceId) -> ClientError {
    error(ErrorKind::NotFound, format!("the account has no device {device}")).hint("sotto device list")
}
