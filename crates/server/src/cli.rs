//! What stands on the command line.

use std::path::PathBuf;

use clap::{ArgAction, Args, CommandFactory as _, Parser, Subcommand};

use crate::config::LogFormat;

/// The Sotto server: relays end-to-end encrypted messages that it cannot read, and keeps them for who is away.
#[derive(Debug, Parser)]
#[command(name = "sottod", version, max_term_width = 100, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// Port to listen on, on all addresses [default: 7777]
    #[arg(value_name = "PORT", value_parser = port)]
    pub(crate) port: Option<u16>,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// A port; who gave options before a command is told where they go.
fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| {
        if Cli::command().find_subcommand(text).is_some() {
            format!("{text} is a command, whose options come behind it: sottod {text} --data-dir DIR")
        } else {
            "a port is a number from 0 to 65535".to_owned()
        }
    })
}

/// Where the configuration comes from; every command takes these.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Place {
    /// Folder of key, chain and store [default: $XDG_DATA_HOME/sottod]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Configuration file [default: $XDG_CONFIG_HOME/sottod/config.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Clone, Default, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Where to listen: PORT or ADDRESS:PORT; port 0 takes a free one
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Option<String>,
    /// The host in the sotto:// address
    #[arg(long, value_name = "HOST")]
    pub(crate) public_host: Option<String>,
    /// Connections at a time [default: 10000]
    #[arg(long, value_name = "N")]
    pub(crate) max_clients: Option<usize>,
    /// How the log on stderr looks [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
    /// More in the log; twice for all (metadata only in any case)
    #[arg(short, long, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run in the foreground
    Run(RunArgs),
    /// Counts and sizes
    Status {
        #[command(flatten)]
        place: Place,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Accounts, and who is there
    Users {
        #[command(flatten)]
        place: Place,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Change an account
    User {
        #[command(subcommand)]
        command: UserCommand,
    },
    /// Invites for new accounts, where registration = "invite"
    Invite {
        #[command(subcommand)]
        command: InviteCommand,
    },
    /// Close a room
    Kill {
        /// Its name
        room: String,
        #[command(flatten)]
        place: Place,
    },
    /// Print the server's sotto:// address
    Address {
        #[command(flatten)]
        place: Place,
        /// Also as a QR code
        #[arg(long)]
        qr: bool,
    },
    /// Exit 0 if a daemon runs on the data folder and answers
    Healthcheck {
        #[command(flatten)]
        place: Place,
    },
    /// Look for what keeps the server from running
    Doctor {
        #[command(flatten)]
        place: Place,
    },
    /// Print the version
    Version,
    /// Make, check or restore a backup
    Backup {
        #[command(subcommand)]
        command: BackupCommand,
    },
    /// The server's key
    Key {
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// The version of the store
    Migrate {
        #[command(subcommand)]
        command: MigrateCommand,
    },
    /// The configuration
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// For packagers
    Util {
        #[command(subcommand)]
        command: UtilCommand,
    },
}

/// An account, and how to answer.
#[derive(Debug, Args)]
pub(crate) struct OneUser {
    /// The account's name
    pub(crate) name: String,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Let nobody sign in, and end the account's connections
    Disable(OneUser),
    /// Let its devices sign in again
    Enable(OneUser),
    /// Remove the account with its waiting messages; its name is free afterwards
    Delete {
        #[command(flatten)]
        user: OneUser,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Set a new random password, and print it
    ResetPassword(OneUser),
    /// Let the new identity that waits for this name take its place now
    ResetNow {
        #[command(flatten)]
        user: OneUser,
        /// Its code, which who asked for it reads to you from `sotto login --reset`
        #[arg(required = true, num_args = 1..=4, value_name = "CODE")]
        code: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum InviteCommand {
    /// Make an invite, and print its token, which is shown only this once
    New {
        /// Accounts that can be made with it
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        uses: u32,
        /// How long it is good: a number and m, h, d or w
        #[arg(long, value_name = "TIME", default_value = "7d", value_parser = crate::duration::parse)]
        expires: u64,
        /// Whom it is for, for your own list
        #[arg(long, value_name = "TEXT", default_value = "")]
        note: String,
        /// One JSON object
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Invites that are still good for something
    List {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Make an invite worthless
    Revoke {
        /// Its id, as list shows it
        id: String,
        /// One JSON object
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum BackupCommand {
    /// Write key and store into a new folder, also while the server runs
    Create {
        /// The folder
        path: PathBuf,
        #[command(flatten)]
        place: Place,
    },
    /// Read a backup from front to back
    Check {
        /// The folder
        path: PathBuf,
    },
    /// Make a server of a backup, in a data folder that has none
    Restore {
        /// The folder
        path: PathBuf,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Replace the key of a server that does not run by a new one, which clients follow
    Rotate {
        /// One JSON object
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum MigrateCommand {
    /// Say which version the store has, and what would be done to it
    Status {
        /// One JSON object
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Bring the store to this program's version, without starting a server
    Run {
        /// One JSON object
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Say whether it is valid
    Check {
        #[command(flatten)]
        place: Place,
    },
    /// Print what holds, from all sources together
    Show {
        #[command(flatten)]
        place: Place,
    },
    /// Print a file with every key
    Example,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UtilCommand {
    /// Print a completion script
    Completion {
        /// bash, zsh, fish, elvish or powershell
        shell: clap_complete::Shell,
    },
    /// Write manual pages into a folder
    Man {
        /// The folder
        dir: PathBuf,
    },
    /// Print a systemd unit
    Systemd,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Cli, String> {
        Cli::try_parse_from(line.split(' ')).map_err(|error| error.to_string())
    }

    #[test]
    fn options_before_a_command_are_shown_their_place() {
        assert_eq!(parsed("sottod 7778").unwrap().port, Some(7778));
        assert!(parsed("sottod status --data-dir x").is_ok());
        let error = parsed("sottod --data-dir x status").unwrap_err();
        assert!(error.contains("sottod status --data-dir DIR"), "{error}");
        let error = parsed("sottod 99999").unwrap_err();
        assert!(error.contains("from 0 to 65535"), "{error}");
    }
}
