//! The console: slash commands, read line by line from the terminal.

use std::{io::BufRead as _, sync::Arc};

use tokio::sync::mpsc;

use super::desk::{Answer, Ask, Desk};

const HELP: &str = "/users  who has an account, who is there, and who is in a chat with whom
/ls     rooms
/kill ROOM  closes a room
/status counts and sizes
/help   this
/quit   stops the server";

/// Reads lines of the terminal on a thread of its own, which ends with the process or at the end of input.
pub(crate) fn lines() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Does what a line says; `false` if the server is to stop.
pub(crate) async fn line(line: &str, desk: &Arc<Desk>) -> bool {
    let mut words = line.split_whitespace();
    let text = match (words.next(), words.next()) {
        (None, _) => return true,
        (Some("/quit" | "/exit"), _) => return false,
        (Some("/help"), _) => HELP.to_owned(),
        (Some("/ls"), _) => "no rooms: this version has none yet".to_owned(),
        (Some("/kill"), None) => "write /kill ROOM".to_owned(),
        (Some("/kill"), Some(room)) => show(desk.answer(Ask::Kill { room: room.to_owned() }).await),
        (Some("/users"), _) => show(desk.answer(Ask::Users).await),
        (Some("/status"), _) => show(desk.answer(Ask::Status).await),
        (Some(other), _) => {
            let commands = ["/users", "/ls", "/kill", "/status", "/help", "/quit"];
            let near = crate::nearest::nearest(other, commands);
            near.map_or_else(
                || format!("unknown command {other}; /help lists them"),
                |near| format!("unknown command {other}; did you mean {near}?"),
            )
        }
    };
    crate::print(&format!("{text}\n"));
    true
}

/// An answer for people.
pub(crate) fn show(answer: Answer) -> String {
    match answer {
        Answer::Status(status) => [
            if status.running { "running".to_owned() } else { "not running".to_owned() },
            format!("version      {}", status.version),
            format!("address      {}", status.address),
            format!("up           {} s", status.uptime_s),
            format!("connections  {}", status.connections),
            format!("online       {} devices", status.devices_online),
            format!("accounts     {}", status.accounts),
            format!("waiting      {} envelopes, {} bytes", status.envelopes, status.envelope_bytes),
            format!("on disk      {} bytes", status.disk_bytes),
        ]
        .join("\n"),
        Answer::Users(users) if users.is_empty() => "no accounts yet".to_owned(),
        Answer::Users(users) => users
            .iter()
            .map(|user| {
                let with = if user.with.is_empty() {
                    String::new()
                } else {
                    format!(" with {}", user.with.join(", "))
                };
                let presence = user.presence.clone() + &with;
                let disabled = if user.disabled { "disabled " } else { "" };
                let code = user.reset_code.as_deref().unwrap_or_default();
                let reset = user.reset_due.as_ref().map(|due| format!("reset {code} waits until {due} "));
                let marks = format!("{disabled}{}", reset.unwrap_or_default());
                format!("{:<32}  {:<9}  {marks}{}", user.name, presence, user.addresses.join(" "))
            })
            .map(|line| line.trim_end().to_owned())
            .collect::<Vec<_>>()
            .join("\n"),
        Answer::Changed => "done".to_owned(),
        Answer::Invite(_, token) => token,
        Answer::Invites(invites) if invites.is_empty() => "no invites".to_owned(),
        Answer::Invites(invites) => invites
            .iter()
            .map(|invite| {
                format!(
                    "{}  {:>4} left  until {}  {}",
                    invite.id, invite.uses_left, invite.expires_at, invite.note
                )
            })
            .map(|line| line.trim_end().to_owned())
            .collect::<Vec<_>>()
            .join("\n"),
        Answer::Revoked(invite) => format!("{} is worth nothing any more", invite.id),
        Answer::Address(address) => address,
        Answer::Backup(rows, bytes) => format!("backup made: {rows} rows, {bytes} bytes"),
        Answer::Error(error) => format!("error: {error}"),
    }
}
