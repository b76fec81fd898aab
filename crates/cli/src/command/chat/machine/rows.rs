//! What arrives, printed once and in order: read from the store behind a cursor that `sotto recv` shares, and that moves
//! when a line is on the screen.

use sotto_client::api::{Command, Row};

use super::{Ask, Fetching, MAX_WARNED, Machine, Mode, UsersFor};
use crate::row::{notice, said, who};
use crate::time::{local_clock, local_minute};

/// Rows asked for at a time.
pub(super) const PAGE: u32 = 200;
/// A message that took longer than this is shown with its date.
const LATE_MS: u64 = 12 * 60 * 60 * 1000;

impl Machine {
    /// Asks for what has arrived.
    pub(super) fn fetch(&mut self) {
        if self.fetching != Fetching::No {
            self.fetching = Fetching::Again;
            return;
        }
        self.fetching = Fetching::UnderWay;
        self.ask(Ask::Fetch, Command::Unprinted { after: self.after, limit: PAGE });
    }

    /// Prints them, each before it is marked as printed.
    pub(super) fn arrived(&mut self, rows: &[Row]) {
        let again = std::mem::replace(&mut self.fetching, Fetching::No) == Fetching::Again;
        let full = rows.len() >= PAGE as usize;
        let new: Vec<&Row> = rows.iter().filter(|row| row.print > self.after).collect();
        let stuck = new.is_empty();
        if self.mode == Mode::Starting && !new.is_empty() && self.after == 0 {
            self.said.line("While you were away:");
        }
        for row in new {
            self.show(row);
            self.after = row.print;
            self.ask(Ask::Printed, Command::Printed(row.print));
        }
        if (full && !stuck) || again {
            self.fetch();
        } else if self.mode == Mode::Starting {
            self.ask(Ask::Users(UsersFor::Names), Command::Users);
            self.unread.clear();
            self.menu();
        } else {
            self.chat_is_over();
        }
    }

    fn show(&mut self, row: &Row) {
        let notice = notice(row).is_some();
        if notice && self.warned.remove(&row.print) {
            return;
        }
        let partner = match &self.mode {
            Mode::Live(live) if !row.outgoing => live.with == row.from,
            _ => false,
        };
        let head = if self.mode == Mode::Starting {
            format!("{}  {}: ", local_minute(row.sent_ms), who(row))
        } else if partner {
            format!("{}: ", who(row))
        } else if notice {
            format!("{} {} ", who(row), time(row))
        } else {
            format!("[{}] {} ", who(row), time(row))
        };
        self.said.message(&head, &said(row), "");
        if !partner && !notice && !row.outgoing && self.mode != Mode::Starting {
            let unread = self.unread.entry(row.from.clone()).or_default();
            *unread = unread.saturating_add(1);
            self.ring(&format!("message from {}", row.from));
        }
    }

    /// A row has come; one whose words were said as the warning right before it is not said again.
    pub(super) fn came(&mut self, row: &Row) {
        let warning = self.warning.take();
        self.warned.retain(|print| *print > self.after);
        if warning.is_some() && warning.as_deref() == notice(row) && self.warned.len() < MAX_WARNED {
            self.warned.insert(row.print);
        }
        self.fetch();
    }

    /// The last lines of a conversation, with their times; not those that arrive as the chat begins.
    pub(super) fn earlier(&mut self, rows: &[Row], since: u64) {
        let earlier: Vec<&Row> = rows.iter().filter(|row| row.print <= since).collect();
        if earlier.is_empty() {
            return;
        }
        self.said.line("What you wrote last:");
        for row in earlier {
            let name = if row.outgoing { self.me.clone() } else { who(row) };
            let head = format!("  {}  {name}: ", local_minute(row.sent_ms));
            self.said.message(&head, &said(row), "");
        }
    }
}

fn time(row: &Row) -> String {
    if row.received_ms.abs_diff(row.sent_ms) > LATE_MS {
        local_minute(row.sent_ms)
    } else {
        local_clock(row.sent_ms)
    }
}
