//! What happens to an account that its user must know, in words that every command has in common.

use sotto_client::api::Event;
use sotto_proto::frame::ResetState;

use crate::time::local_minute;

/// The words for an event that is one of these.
pub(crate) fn words(event: &Event) -> Option<String> {
    match event {
        Event::Warning(text) => Some(text.clone()),
        Event::DevicesWait(devices) if !devices.is_empty() => Some(format!(
            "a device that knows the password asks to join this account ({}). If it is yours, type the code that it shows: \
             sotto device approve CODE. If not, somebody has your password: sotto password change",
            devices.join(", ")
        )),
        Event::Reset(ResetState::Pending(until_ms)) => Some(format!(
            "somebody who knows the password has asked for a new identity of this account, which takes effect on {}. If that \
             was not you: sotto recovery refuse-reset, and sotto password change",
            local_minute(*until_ms)
        )),
        Event::Reset(ResetState::Done) => {
            Some("the account has a new identity now, and this device is no longer part of it".to_owned())
        }
        _ => None,
    }
}
