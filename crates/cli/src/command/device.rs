//! `sotto device`.

use sotto_client::api::{AccountCommand, Command, Device, DeviceStanding, ErrorKind, Password, Reply};
use sotto_proto::DeviceId;
use sotto_proto::content::MAX_DEVICE_NAME;

use super::Context;
use crate::args::Device as Action;
use crate::failure::Failure;
use crate::output::{Output, Printed, Tone};
use crate::record::Record;
use crate::secret::{self, Ask};
use crate::session::{Session, unexpected};
use crate::time::local_minute;

/// Lists devices, lets one in, names one, or removes one.
pub(crate) async fn run(action: Action, context: Context, out: &mut Output) -> Result<(), Failure> {
    match action {
        Action::List => list(context, out).await,
        Action::Approve { code } => approve(code, context, out).await,
        Action::Rename { id, name } => rename(&id, name, context, out).await,
        Action::Remove { id } => remove(&id, context, out).await,
    }
}

async fn list(mut context: Context, out: &mut Output) -> Result<(), Failure> {
    let session = Session::open(&mut context).await?;
    // Those that wait are known to the server only; without it, the others are shown.
    let online = session.settled().await;
    let devices = devices(&session).await;
    session.finish(out).await;
    print(&devices?, out)?;
    if let Err(error) = online {
        out.warning(&format!("devices that wait are not shown: {error}"));
    }
    Ok(())
}

/// Shows what waits, takes the code that the new device shows, and the password.
async fn approve(code: Option<String>, mut context: Context, out: &mut Output) -> Result<(), Failure> {
    let password = context.secrets.password(Ask::Once).await?;
    let session = Session::connected_by(&context, &password).await?;
    let result = async {
        let waiting: Vec<Device> = devices(&session)
            .await?
            .into_iter()
            .filter(|device| device.standing == DeviceStanding::Waiting)
            .collect();
        if waiting.is_empty() {
            return Err(Failure::new(ErrorKind::NotFound, "no device waits to be approved")
                .hint("start `sotto login SERVER USER` on the new machine; it shows a code"));
        }
        for device in &waiting {
            out.notice(&format!("{} asked on {}", device.device, local_minute(device.created_ms)));
        }
        let code = match code {
            Some(code) => code,
            None if context.secrets.may_ask() => {
                secret::ask_shown("The code that stands on the new device's screen: ").await?
            }
            None => {
                return Err(
                    Failure::new(ErrorKind::Invalid, "no code was given").hint("sotto device approve CODE")
                );
            }
        };
        let password = Password::new(password);
        match session.ask(Command::Account(AccountCommand::ApproveDevice { code, password })).await? {
            Reply::Devices(devices) => Ok(devices),
            _ => Err(unexpected()),
        }
    }
    .await;
    session.finish(out).await;
    print(&result?, out)
}

async fn rename(id: &str, name: String, mut context: Context, out: &mut Output) -> Result<(), Failure> {
    if name.len() > MAX_DEVICE_NAME {
        return Err(Failure::new(
            ErrorKind::Invalid,
            format!("a device's name has at most {MAX_DEVICE_NAME} bytes"),
        ));
    }
    let session = Session::open(&mut context).await?;
    let result = async {
        let device = one(&devices(&session).await?, id)?;
        let id = device_id(&device)?;
        match session
            .ask(Command::Account(AccountCommand::RenameDevice { device: id, name: name.clone() }))
            .await?
        {
            Reply::Done => Ok(device.device),
            _ => Err(unexpected()),
        }
    }
    .await;
    session.finish(out).await;
    let id = result?;
    out.record(&Record::Renamed { id: id.clone(), name: name.clone() }, |lines| {
        lines.line(&format!("{id} is {name}"));
    })?;
    Ok(())
}

/// A waiting device is turned away; one of the account is removed, for which the password is needed.
async fn remove(id: &str, mut context: Context, out: &mut Output) -> Result<(), Failure> {
    let password = context.secrets.password(Ask::Once).await?;
    let session = Session::connected_by(&context, &password).await?;
    let result = async {
        let device = one(&devices(&session).await?, id)?;
        let id = device_id(&device)?;
        let command = match device.standing {
            DeviceStanding::Waiting => AccountCommand::RefuseDevice(id),
            DeviceStanding::Listed => {
                AccountCommand::RemoveDevice { device: id, password: Password::new(password) }
            }
            DeviceStanding::Removed => {
                return Err(Failure::new(
                    ErrorKind::Invalid,
                    format!("{} was removed before", device.device),
                ));
            }
        };
        Ok((device, session.ask(Command::Account(command)).await?))
    }
    .await;
    session.finish(out).await;
    match result? {
        (_, Reply::Devices(devices)) => print(&devices, out),
        (device, Reply::Done) => {
            out.record(&Record::TurnedAway { id: device.device.clone() }, |lines| {
                lines.line(&format!("{} was turned away", device.device));
            })?;
            Ok(())
        }
        _ => Err(unexpected()),
    }
}

async fn devices(session: &Session) -> Result<Vec<Device>, Failure> {
    match session.ask(Command::Account(AccountCommand::Devices)).await? {
        Reply::Devices(devices) => Ok(devices),
        _ => Err(unexpected()),
    }
}

/// The one device whose id or name this is, or whose id begins so.
fn one(devices: &[Device], wanted: &str) -> Result<Device, Failure> {
    let wanted = wanted.trim();
    let fits = |device: &&Device| {
        !wanted.is_empty()
            && (device.device.starts_with(&wanted.to_ascii_lowercase()) || device.name == wanted)
    };
    let mut found = devices.iter().filter(fits);
    match (found.next(), found.next()) {
        (Some(device), None) => Ok(device.clone()),
        (None, _) => {
            Err(Failure::new(ErrorKind::NotFound, format!("no device {wanted:?}")).hint("sotto device list"))
        }
        (Some(_), Some(_)) => Err(Failure::new(
            ErrorKind::Invalid,
            format!("{wanted:?} fits several devices; give more of the id"),
        )
        .hint("sotto device list")),
    }
}

fn device_id(device: &Device) -> Result<DeviceId, Failure> {
    device.device.parse().map_err(|_| unexpected())
}

fn print(devices: &[Device], out: &mut Output) -> Result<(), Failure> {
    for device in devices {
        let printed = out.record(&Record::from(device), |lines| {
            let tone = match device.standing {
                DeviceStanding::Waiting => Tone::Bad,
                DeviceStanding::Removed => Tone::Faint,
                DeviceStanding::Listed => Tone::Plain,
            };
            let standing = match (device.standing, device.this) {
                (DeviceStanding::Waiting, _) => "waits to be approved",
                (DeviceStanding::Removed, _) => "removed",
                (DeviceStanding::Listed, true) => "this one",
                (DeviceStanding::Listed, false) => "",
            };
            let line = format!(
                "{}  {}  {}  {standing}",
                device.device,
                local_minute(device.created_ms),
                if device.name.is_empty() { "-" } else { &device.name },
            );
            lines.toned(tone, line.trim_end());
        })?;
        if printed == Printed::ReaderGone {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn device(id: u8, name: &str) -> Device {
        Device {
            device: DeviceId([id; 16]).to_string(),
            name: name.into(),
            created_ms: 0,
            this: false,
            standing: DeviceStanding::Listed,
        }
    }

    #[test]
    fn a_device_is_named_by_its_id_its_beginning_or_its_name() {
        let devices = [device(1, "laptop"), device(0xff, "phone")];
        let id = &devices[0].device;
        assert_eq!(one(&devices, id).unwrap(), devices[0]);
        assert_eq!(one(&devices, &id[..4].to_uppercase()).unwrap(), devices[0]);
        assert_eq!(one(&devices, "phone").unwrap(), devices[1]);
        assert_eq!(one(&devices, "").unwrap_err().code, 10);
        assert_eq!(one(&devices, "tablet").unwrap_err().code, 10);
        assert_eq!(one(&[device(1, "a"), device(1, "b")], "ae").unwrap_err().code, 1);
    }
}
