//! What can be typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use sotto_proto::Address;
use sotto_proto::limits::{MAX_ENVELOPES_PER_SUBMIT, MAX_PIPELINED};

/// Measures a Sotto server and client, one line for each measurement.
#[derive(Debug, Parser)]
#[command(name = "sotto-load", version, max_term_width = 100)]
pub(crate) struct Args {
    /// What to measure
    #[arg(required = true, value_enum)]
    pub(crate) what: Vec<What>,
    /// Measure this server (sotto://HOST:PORT/FINGERPRINT) instead of a throw-away one; it gets throw-away accounts
    #[arg(long, value_name = "ADDR")]
    pub(crate) server: Option<Address>,
    /// The throw-away server's program, instead of the server that is built into this one
    #[arg(long, value_name = "FILE", conflicts_with = "server")]
    pub(crate) sottod: Option<PathBuf>,
    /// The client program of `send` and `cpu` [default: `sotto` beside this program]
    #[arg(long, value_name = "FILE")]
    pub(crate) sotto: Option<PathBuf>,
    /// Where the throw-away data is made, on the disk to be measured [default: the current folder]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Messages of one measurement of store, relay and drain, writes of disk
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    pub(crate) messages: u32,
    /// Recipients who are away, in store
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) users: u32,
    /// Senders, in store
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_values_t = [1, 16, 256])]
    pub(crate) senders: Vec<u32>,
    /// Pairs in relay, readers in drain
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=2_000))]
    pub(crate) pairs: u32,
    /// Messages a sender has under way, and envelopes of one Submit where they are put together
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = window)]
    pub(crate) window: usize,
    /// Connections of idle
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=19_000))]
    pub(crate) connections: u32,
    /// How long idle and cpu watch
    #[arg(long, value_name = "S", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Logins, commands of send, or messages of the pair in relay that sends one at a time [default: 2000, 20, 2000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) times: Option<u32>,
    /// Which attacks of attack [default: all]
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',', value_enum)]
    pub(crate) attacks: Vec<Attack>,
    /// How long each attack goes on
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    attack_seconds: u64,
    /// Attackers, in percent of their full number
    #[arg(long, value_name = "PERCENT", default_value_t = 100, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(crate) strength: u8,
    /// Give a measurement up after this long
    #[arg(long, value_name = "S", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    patience: u64,
}

/// A measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// Writes a second that the disk itself makes durable, for comparison
    Disk,
    /// Messages a second stored for users who are away
    Store,
    /// Messages a second through the server between connected pairs, and the delay of one
    Relay,
    /// Messages a second fetched after a reconnect
    Drain,
    /// Logins a second by device key, each on a new connection
    Login,
    /// Memory and processor time of a server with idle connections
    Idle,
    /// Wall time of one `sotto send`
    Send,
    /// Processor time of an idle `sotto recv --follow`
    Cpu,
    /// What honest clients notice of hostile ones, and whether the server's limits hold; takes some minutes
    Attack,
    /// All of them but attack
    All,
}

/// A way to be hostile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Attack {
    /// Thousands of TLS handshakes that come a byte at a time
    Hello,
    /// The same with frames before any login
    Drip,
    /// Connections that close at once
    Connects,
    /// TLS handshakes after which nothing is said
    Handshakes,
    /// Ten thousand connections at once
    Crowd,
    /// Frames of a megabyte that never end
    Frames,
    /// Frames of a megabyte and one byte of the next
    Remainders,
    /// Many more requests than may be without an answer
    Pipeline,
    /// Random frames after a login
    Garbage,
    /// Wrong passwords, for names that exist and others
    Passwords,
    /// Registrations, and questions for names
    Registrations,
    /// Registrations and logins with signatures that do not hold
    Forgeries,
    /// Long device lists with signatures that do not hold, of who has an account
    Lists,
    /// Questions for names, and look-ups
    Names,
    /// One account claims a device's prekeys
    Prekeys,
    /// One account fills somebody's mailbox
    Mailbox,
    /// Invitations to live chats
    Invitations,
    /// Readers with full mailboxes that never read
    Deaf,
}

impl Args {
    /// The measurements in the order of the command line.
    pub(crate) fn rows(&self) -> Vec<What> {
        if self.what.contains(&What::All) {
            let all = What::value_variants().iter().copied();
            return all.filter(|what| !matches!(what, What::All | What::Attack)).collect();
        }
        self.what.clone()
    }

    /// Where throw-away data is made.
    pub(crate) fn data_dir(&self) -> anyhow::Result<PathBuf> {
        Ok(match &self.data_dir {
            Some(dir) => dir.clone(),
            None => std::env::current_dir()?,
        })
    }

    pub(crate) fn watch(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    pub(crate) fn attack_time(&self) -> Duration {
        Duration::from_secs(self.attack_seconds)
    }

    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs(self.patience)
    }
}

/// A server takes this many requests of a connection, and this many envelopes of a Submit.
fn window(text: &str) -> Result<usize, String> {
    let most = MAX_PIPELINED.min(MAX_ENVELOPES_PER_SUBMIT);
    text.parse()
        .ok()
        .filter(|window| (1..=most).contains(window))
        .ok_or_else(|| format!("a number from 1 to {most}"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Args;

    #[test]
    fn the_arguments_are_consistent() {
        Args::command().debug_assert();
    }
}
