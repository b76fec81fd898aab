//! What can be typed: the tree of commands and flags.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use sotto_proto::MessageId;

use crate::output::Colour;
use crate::recipient::To;
use crate::time::parse_duration;

/// End-to-end encrypted messages that wait for whoever is offline.
#[derive(Debug, Parser)]
#[command(name = "sotto", version, max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
// Each is a switch of its own on the command line.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// Which account on this machine [default: default]
    #[arg(long, global = true, value_name = "NAME", value_parser = profile_name)]
    pub(crate) profile: Option<String>,
    /// The folder of all profiles, instead of $XDG_DATA_HOME/sotto
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Print JSON, one object a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Ask nothing; fail where a question would be needed
    #[arg(long, global = true)]
    pub(crate) no_input: bool,
    /// Take the password from the first line of stdin
    #[arg(long, global = true)]
    pub(crate) password_stdin: bool,
    /// No progress, no remarks
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say more on stderr; twice: everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Colours
    #[arg(long, global = true, value_name = "WHEN", value_enum)]
    pub(crate) color: Option<Colour>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the main job with a throw-away server and two clients
    Demo,
    /// Make an account on a server, and print its recovery phrase
    Register {
        /// sotto://HOST:PORT/FINGERPRINT, HOST:PORT or HOST
        server: String,
        /// The account's name
        user: String,
        /// What the operator of a server that takes only invited people gave out
        #[arg(long, value_name = "TOKEN")]
        invite: Option<String>,
    },
    /// Talk: a menu, live chats and messages, line by line
    Chat(Chat),
    /// Make this machine a device of an account, with its password and recovery phrase, or another device's approval
    Login {
        /// sotto://HOST:PORT/FINGERPRINT, HOST:PORT or HOST
        server: String,
        /// The account's name
        user: String,
        /// Where phrase and devices are lost: a new identity under the same name, with a new phrase. It takes 7 days
        /// while a device of the account is in use, which can refuse it; contacts see that the key changed
        #[arg(long)]
        reset: bool,
    },
    /// Show account, device and server
    Whoami,
    /// The devices of this account
    Device {
        #[command(subcommand)]
        action: Device,
    },
    /// The account's password
    Password {
        #[command(subcommand)]
        action: Password,
    },
    /// Send a message
    Send(Send),
    /// Print the messages that were not printed yet
    Recv(Recv),
    /// Print what was said before
    History(History),
    /// Messages that wait to be sent
    Outbox {
        #[command(subcommand)]
        action: Outbox,
    },
    /// The other users of the server, and whether they are there
    Users,
    /// People this account has written with
    Contact {
        #[command(subcommand)]
        action: Contact,
    },
    /// Show the safety number to compare with a user
    Verify {
        /// Whose; all contacts if left out
        user: Option<String>,
        /// Also as a QR code
        #[arg(long, requires = "user")]
        qr: bool,
    },
    /// Say that a user's safety number was compared and is this one; releases what was held
    Trust {
        /// Whose
        user: String,
        /// The 60 digits that the user reads out; spaces are ignored
        #[arg(long, value_name = "N")]
        number: String,
    },
    /// The phrase that opens the account on a new machine
    Recovery {
        #[command(subcommand)]
        action: Recovery,
    },
    /// Look for what could be wrong
    Doctor,
    /// Print versions
    Version,
    /// Things for shells and scripts
    Util {
        #[command(subcommand)]
        action: Util,
    },
    /// The server of the demo; ends when its stdin does
    #[command(hide = true, disable_help_flag = true)]
    DemoServer {
        /// As for sottod
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

impl Command {
    /// How long it may take, where that can be said.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        match self {
            Self::Send(args) => args.timeout,
            Self::Recv(args) => args.timeout,
            _ => None,
        }
    }
}

/// `chat`.
#[derive(Debug, Args)]
pub(crate) struct Chat {
    /// sotto://HOST:PORT/FINGERPRINT, HOST:PORT or HOST; needed once
    pub(crate) server: Option<String>,
    /// The server's port, if it is not in SERVER [default: 7777]
    pub(crate) port: Option<String>,
    /// The account's name; a new one is registered
    pub(crate) user: Option<String>,
    /// Only ever add lines, for screen readers and simple terminals
    #[arg(long)]
    pub(crate) plain: bool,
    /// For a new account on a server that takes only invited people
    #[arg(long, value_name = "TOKEN")]
    pub(crate) invite: Option<String>,
}

/// `device`.
#[derive(Debug, Subcommand)]
pub(crate) enum Device {
    /// All of them, and those that wait to be approved
    List,
    /// Add the waiting device that shows this code
    Approve {
        /// 16 letters and digits; asked for if left out
        code: Option<String>,
    },
    /// Give a device a name, for all devices of the account
    Rename {
        /// Its id, or enough of its beginning
        id: String,
        /// The name
        name: String,
    },
    /// Remove a device for ever, or turn a waiting one away
    Remove {
        /// Its id, or enough of its beginning
        id: String,
    },
}

/// `password`.
#[derive(Debug, Subcommand)]
pub(crate) enum Password {
    /// Set another one, on the server and for this machine's store
    Change,
}

/// `send`.
#[derive(Debug, Args)]
pub(crate) struct Send {
    /// @user, a user's name, or @me for one's own other devices
    pub(crate) to: To,
    /// The text; - reads it from stdin
    #[arg(required_unless_present = "lines")]
    pub(crate) text: Option<String>,
    /// Send each line of stdin as a message, in order
    #[arg(long, conflicts_with = "text")]
    pub(crate) lines: bool,
    /// Until the server has it on disk, a device of the recipient has it, or the recipient has seen it
    #[arg(long, value_name = "FATE", value_enum, default_value_t = Wait::Stored)]
    pub(crate) wait: Wait,
    /// Wait this long at most; the message stays in the outbox
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,
}

/// What `send` waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Wait {
    Stored,
    Delivered,
    Read,
}

/// `recv`.
#[derive(Debug, Args)]
pub(crate) struct Recv {
    /// Go on with what arrives
    #[arg(long)]
    pub(crate) follow: bool,
    /// Only messages from this user; the others stay unprinted
    #[arg(long, value_name = "TO")]
    pub(crate) from: Option<To>,
    /// Print again what arrived after this message or time; moves nothing
    #[arg(long, value_name = "ID|TIME")]
    pub(crate) since: Option<String>,
    /// At most this many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,
    /// End after this long at the latest
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,
}

/// `history`.
#[derive(Debug, Args)]
pub(crate) struct History {
    /// Only the conversation with this user, or @me
    pub(crate) to: Option<To>,
    /// Only the newest messages, this many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,
    /// Only messages before this one
    #[arg(long, value_name = "ID")]
    pub(crate) before: Option<MessageId>,
}

/// `outbox`.
#[derive(Debug, Subcommand)]
pub(crate) enum Outbox {
    /// What waits, oldest first
    List,
    /// Give up a message that waits
    Drop {
        /// The message
        id: MessageId,
    },
}

/// `contact`.
#[derive(Debug, Subcommand)]
pub(crate) enum Contact {
    /// All of them
    List,
    /// Refuse what a user sends from now on
    Block {
        /// Whom
        user: String,
    },
    /// Take it again
    Unblock {
        /// Whom
        user: String,
    },
}

/// `recovery`.
#[derive(Debug, Subcommand)]
pub(crate) enum Recovery {
    /// Print the phrase
    Show,
    /// Check that a phrase that was written down is the right one
    Check,
    /// Refuse a new identity that somebody who knows the password has asked for
    RefuseReset,
}

/// `util`.
#[derive(Debug, Subcommand)]
pub(crate) enum Util {
    /// Print a completion script
    Completion {
        /// For which shell
        shell: Shell,
    },
    /// Write the manual pages
    Man {
        /// Into which folder
        dir: PathBuf,
    },
    /// Print a JSON Schema of the objects that --json prints
    Schema,
    /// Crash on purpose, to see that the report is written
    #[command(hide = true)]
    Crash,
}

/// A profile is a folder's name; nothing that leaves the data root or hides in it.
pub(crate) fn profile_name(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if text.is_empty() || text.len() > 64 || text.starts_with('.') || !text.chars().all(allowed) {
        return Err(
            "a profile's name is 1 to 64 letters, digits, '.', '_' or '-', not starting with '.'".into()
        );
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_tree_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_profile_stays_in_its_folder() {
        for bad in ["", ".", "..", "../x", "a/b", "a\\b", ".hidden", "a b", &"a".repeat(65)] {
            assert!(profile_name(bad).is_err(), "{bad:?}");
        }
        assert_eq!(profile_name("work-2.x_Y").unwrap(), "work-2.x_Y");
    }

    #[test]
    fn global_flags_stand_before_and_after_the_command() {
        let cli = Cli::try_parse_from(["sotto", "--data-dir", "a", "register", "h", "u", "--password-stdin"])
            .unwrap();
        assert!(cli.global.password_stdin);
        assert_eq!(cli.global.data_dir, Some("a".into()));
    }
}
