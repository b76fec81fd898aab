//! The configuration: defaults, then the file, then `SOTTOD_*` of the environment, then the flags. An unknown key is
//! an error wherever it stands.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use sotto_proto::{address::DEFAULT_PORT, frame::Registration, limits};
use thiserror::Error;
use toml::{Table, Value};

use crate::{
    core::{CoreConfig, Directory},
    nearest::nearest,
    shell::listener::Listen,
};

/// Clients count with no more.
const LONGEST_RETENTION_DAYS: u64 = limits::MAX_RETENTION_MS / limits::DAY_MS;

const MIB: u64 = 1024 * 1024;
/// Connections of one address, unless told otherwise: as many as may register from one at once, and a tenth of all.
const CLIENTS_PER_ADDRESS: usize = 1_000;

/// How the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What is wrong with the configuration.
#[derive(Debug, Error)]
#[error("{place}: {problem}")]
pub(crate) struct ConfigError {
    /// File, variable or flag.
    pub(crate) place: String,
    /// What is wrong, and what may have been meant.
    pub(crate) problem: String,
}

/// Everything that can be configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    /// Where to listen.
    pub(crate) listen: Listen,
    /// Where everything is kept.
    pub(crate) data_dir: PathBuf,
    /// The host in the server's address.
    pub(crate) public_host: Option<String>,
    /// Connections at a time.
    pub(crate) max_clients: usize,
    /// Who may make an account.
    pub(crate) registration: Registration,
    /// Whom an account sees in the directory.
    pub(crate) directory: Directory,
    /// How the log looks.
    pub(crate) log_format: LogFormat,
    /// `error`, `warn`, `info` or `debug`.
    pub(crate) log_level: String,
    /// How long an envelope waits for its recipient, milliseconds.
    pub(crate) retention_ms: u64,
    /// Envelopes in one mailbox.
    pub(crate) mailbox_envelopes: u64,
    /// Bytes in one mailbox.
    pub(crate) mailbox_bytes: u64,
    /// Connections of one address at a time.
    pub(crate) clients_per_address: usize,
    /// Accounts one address may register at once.
    pub(crate) register_burst: u64,
    /// One-time keys one account may claim at once.
    pub(crate) claim_burst: u64,
    /// Bytes for Argon2.
    pub(crate) hashing_memory: usize,
    /// Passwords that may wait to be hashed or checked.
    pub(crate) hashing_line: usize,
}

/// A key, what it is for, and its default as it stands in the example.
struct Key {
    name: &'static str,
    about: &'static str,
    example: &'static str,
}

/// Every key there is.
const KEYS: &[Key] = &[
    Key {
        name: "listen",
        about: "Address and port to listen on; a port alone means all addresses, port 0 a free one.",
        example: "\"7777\"",
    },
    Key {
        name: "data_dir",
        about: "Where key, chain and store are kept; default $XDG_DATA_HOME/sottod.",
        example: "\"/var/lib/sottod\"",
    },
    Key {
        name: "public_host",
        about: "The host in the sotto:// address; default the listen address or the first non-loopback one.",
        example: "\"chat.example\"",
    },
    Key { name: "max_clients", about: "Connections at a time.", example: "10000" },
    Key {
        name: "registration",
        about: "Who may make an account: \"open\", \"invite\" (sottod invite new) or \"closed\".",
        example: "\"open\"",
    },
    Key {
        name: "directory",
        about: "Whom an account sees: \"open\" (everybody) or \"closed\" (those it shares a conversation with).",
        example: "\"open\"",
    },
    Key { name: "log.format", about: "\"text\" or \"json\".", example: "\"text\"" },
    Key {
        name: "log.level",
        about: "\"error\", \"warn\", \"info\" or \"debug\"; metadata only at each of them.",
        example: "\"info\"",
    },
    Key {
        name: "limits.retention_days",
        about: "How long a message waits for a recipient who does not come; at most 150. Clients keep private keys for 30 days more.",
        example: "30",
    },
    Key { name: "limits.mailbox_envelopes", about: "Messages in one mailbox.", example: "10000" },
    Key { name: "limits.mailbox_mib", about: "MiB in one mailbox.", example: "256" },
    Key {
        name: "limits.clients_per_address",
        about: "Connections of one address at a time; as many as max_clients where all come through a proxy on another machine.",
        example: "1000",
    },
    Key {
        name: "limits.registrations_per_address",
        about: "Accounts one address may make at once, then one every two seconds.",
        example: "1000",
    },
    Key {
        name: "limits.claims_per_account",
        about: "One-time keys one account may fetch at once, then one a second.",
        example: "512",
    },
    Key {
        name: "hashing.memory_mib",
        about: "Memory for password hashing; each takes 19 MiB for a moment.",
        example: "128",
    },
    Key {
        name: "hashing.line",
        about: "Logins that may wait for it; more are told to come again.",
        example: "512",
    },
];

/// The file as an example, every key with its default or a likely value.
pub(crate) fn example() -> String {
    let mut text = String::from("# sottod's configuration; every key is optional.\n");
    let mut section = "";
    for key in KEYS {
        let (table, name) = key.name.split_once('.').unwrap_or(("", key.name));
        if table != section {
            section = table;
            text.extend(["\n[", table, "]\n"]);
        }
        text.extend(["# ", key.about, "\n# ", name, " = ", key.example, "\n"]);
    }
    text
}

fn unknown(name: &str) -> String {
    match nearest(name, KEYS.iter().map(|key| key.name)) {
        Some(near) => format!("unknown key {name}; did you mean {near}?"),
        None => format!("unknown key {name}; `sottod config example` lists all"),
    }
}

impl Config {
    /// Defaults, with this data folder.
    pub(crate) fn new(data_dir: PathBuf) -> Self {
        let core = CoreConfig::default();
        Self {
            listen: Listen::Everywhere(DEFAULT_PORT),
            data_dir,
            public_host: None,
            max_clients: core.max_clients,
            registration: core.registration,
            directory: core.directory,
            log_format: LogFormat::Text,
            log_level: "info".to_owned(),
            retention_ms: core.retention_ms,
            mailbox_envelopes: core.mailbox_envelopes,
            mailbox_bytes: limits::MAILBOX_BYTES,
            clients_per_address: CLIENTS_PER_ADDRESS,
            register_burst: core.register_burst,
            claim_burst: core.claim_burst,
            hashing_memory: 128 * 1024 * 1024,
            hashing_line: core.hashing_line,
        }
    }

    /// The core's part.
    pub(crate) fn core(&self) -> CoreConfig {
        CoreConfig {
            max_clients: self.max_clients,
            registration: self.registration,
            directory: self.directory,
            hashing_line: self.hashing_line,
            retention_ms: self.retention_ms,
            mailbox_envelopes: self.mailbox_envelopes,
            register_burst: self.register_burst,
            claim_burst: self.claim_burst,
        }
    }

    /// Reads the layers below the flags: `file` (which must exist if it was named by the user), then `environment`.
    pub(crate) fn load(
        data_dir: PathBuf,
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let Some(path) = file else { return Self::read(data_dir, None, environment) };
        let place = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError { place: place.clone(), problem: error.to_string() })?;
        Self::read(data_dir, Some((&place, &text)), environment)
    }

    /// The same from the text of a file, which `place` names.
    pub(crate) fn read(
        data_dir: PathBuf,
        file: Option<(&str, &str)>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut config = Self::new(data_dir);
        if let Some((place, text)) = file {
            let wrong = |problem: String| ConfigError { place: place.to_owned(), problem };
            let table: Table = text.parse().map_err(|error: toml::de::Error| wrong(error.to_string()))?;
            for (name, value) in flat(table) {
                config.set(&name, &value).map_err(wrong)?;
            }
        }
        for (variable, text) in environment {
            let Some(name) = variable.strip_prefix("SOTTOD_") else { continue };
            let name = name.to_lowercase().replace("__", ".");
            let value = text.parse().map_or(Value::String(text), Value::Integer);
            config.set(&name, &value).map_err(|problem| ConfigError { place: variable, problem })?;
        }
        Ok(config)
    }

    /// Sets one key.
    fn set(&mut self, name: &str, value: &Value) -> Result<(), String> {
        match name {
            "listen" => self.listen = parse_listen(&text_or_number(name, value)?)?,
            "data_dir" => self.data_dir = PathBuf::from(text(name, value)?),
            "public_host" => self.public_host = Some(parse_host(text(name, value)?)?),
            "max_clients" => self.max_clients = number(name, value, 1)?,
            "registration" => self.registration = parse_registration(text(name, value)?)?,
            "directory" => self.directory = parse_directory(text(name, value)?)?,
            "log.format" => {
                self.log_format = match text(name, value)? {
                    "text" => LogFormat::Text,
                    "json" => LogFormat::Json,
                    other => return Err(format!("log.format is \"text\" or \"json\", not \"{other}\"")),
                }
            }
            "log.level" => {
                let level = text(name, value)?;
                if !["error", "warn", "info", "debug"].contains(&level) {
                    return Err(format!("log.level is error, warn, info or debug, not {level}"));
                }
                level.clone_into(&mut self.log_level);
            }
            "limits.retention_days" => {
                let days = number::<u64>(name, value, 1)?;
                if days > LONGEST_RETENTION_DAYS {
                    return Err(format!("{name} is at most {LONGEST_RETENTION_DAYS}"));
                }
                self.retention_ms = days.saturating_mul(limits::DAY_MS);
            }
            "limits.mailbox_envelopes" => {
                // Below the places that are kept for receipts there would be no room for messages.
                self.mailbox_envelopes = number(name, value, limits::MAILBOX_FLOOR_PLACES + 1)?;
            }
            "limits.mailbox_mib" => {
                let mib = number::<u64>(name, value, 1)?;
                self.mailbox_bytes = mib.checked_mul(MIB).ok_or_else(|| too_large(name))?;
            }
            "limits.clients_per_address" => self.clients_per_address = number(name, value, 1)?,
            "limits.registrations_per_address" => self.register_burst = number(name, value, 1)?,
            "limits.claims_per_account" => self.claim_burst = number(name, value, 8)?,
            "hashing.memory_mib" => {
                let bytes = number::<u64>(name, value, 19)?.checked_mul(MIB);
                let bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok());
                self.hashing_memory = bytes.ok_or_else(|| too_large(name))?;
            }
            "hashing.line" => self.hashing_line = number(name, value, 1)?,
            _ => return Err(unknown(name)),
        }
        Ok(())
    }

    /// The effective configuration, as a file.
    pub(crate) fn show(&self) -> String {
        let registration = match self.registration {
            Registration::Open => "open",
            Registration::Invite => "invite",
            Registration::Closed => "closed",
        };
        let directory = match self.directory {
            Directory::Open => "open",
            Directory::Closed => "closed",
        };
        let listen = match self.listen {
            Listen::Everywhere(port) => port.to_string(),
            Listen::At(address) => address.to_string(),
        };
        let host = match &self.public_host {
            Some(host) => format!("public_host = {host:?}\n"),
            None => String::new(),
        };
        let format = match self.log_format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        };
        format!(
            "listen = {listen:?}\ndata_dir = {}\n{host}max_clients = {}\nregistration = {registration:?}\n\
             directory = {directory:?}\n\n[log]\nformat = {format:?}\nlevel = {:?}\n\
             \n[limits]\nretention_days = {}\nmailbox_envelopes = {}\nmailbox_mib = {}\n\
             clients_per_address = {}\nregistrations_per_address = {}\nclaims_per_account = {}\n\
             \n[hashing]\nmemory_mib = {}\nline = {}\n",
            Value::String(self.data_dir.display().to_string()),
            self.max_clients,
            self.log_level,
            self.retention_ms / limits::DAY_MS,
            self.mailbox_envelopes,
            self.mailbox_bytes / MIB,
            self.clients_per_address,
            self.register_burst,
            self.claim_burst,
            self.hashing_memory / (1024 * 1024),
            self.hashing_line,
        )
    }
}

/// The leaves of a table, with dotted names.
fn flat(table: Table) -> Vec<(String, Value)> {
    let mut leaves = Vec::new();
    for (name, value) in table {
        match value {
            Value::Table(inner) => {
                leaves
                    .extend(flat(inner).into_iter().map(|(below, value)| (format!("{name}.{below}"), value)));
            }
            value => leaves.push((name, value)),
        }
    }
    leaves
}

fn text<'a>(name: &str, value: &'a Value) -> Result<&'a str, String> {
    value.as_str().filter(|text| !text.is_empty()).ok_or_else(|| format!("{name} is a text"))
}

fn text_or_number(name: &str, value: &Value) -> Result<String, String> {
    value.as_integer().map_or_else(|| text(name, value).map(str::to_owned), |number| Ok(number.to_string()))
}

fn number<T: TryFrom<i64> + PartialOrd + Copy + std::fmt::Display>(
    name: &str,
    value: &Value,
    least: T,
) -> Result<T, String> {
    value
        .as_integer()
        .and_then(|number| T::try_from(number).ok())
        .filter(|number| *number >= least)
        .ok_or_else(|| format!("{name} is a whole number from {least}"))
}

fn too_large(name: &str) -> String {
    format!("{name} is larger than any machine")
}

/// `PORT` or `ADDRESS:PORT`.
pub(crate) fn parse_listen(text: &str) -> Result<Listen, String> {
    if let Ok(port) = text.parse() {
        return Ok(Listen::Everywhere(port));
    }
    match text.parse::<SocketAddr>() {
        Ok(address) => Ok(Listen::At(address)),
        Err(_) => {
            Err(format!("listen is PORT or ADDRESS:PORT (as 127.0.0.1:7777 or [::1]:7777), not {text}"))
        }
    }
}

/// A host as it may stand in an address.
pub(crate) fn parse_host(text: &str) -> Result<String, String> {
    let address: sotto_proto::Address =
        text.parse().map_err(|error: sotto_proto::address::AddressError| format!("public_host: {error}"))?;
    if address.fingerprint.is_some() || address.port != DEFAULT_PORT {
        return Err("public_host is a name or an IP address, without a port".to_owned());
    }
    Ok(address.host)
}

fn parse_registration(text: &str) -> Result<Registration, String> {
    match text {
        "open" => Ok(Registration::Open),
        "invite" => Ok(Registration::Invite),
        "closed" => Ok(Registration::Closed),
        other => Err(format!("registration is \"open\", \"invite\" or \"closed\", not \"{other}\"")),
    }
}

fn parse_directory(text: &str) -> Result<Directory, String> {
    match text {
        "open" => Ok(Directory::Open),
        "closed" => Ok(Directory::Closed),
        other => Err(format!("directory is \"open\" or \"closed\", not \"{other}\"")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::load(PathBuf::from("/data"), Some(&path), environment)
    }

    #[test]
    fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
        let config = load(
            "listen = \"127.0.0.1:1\"\nmax_clients = 5\n[limits]\nretention_days = 2\n",
            &[("SOTTOD_MAX_CLIENTS", "7"), ("SOTTOD_LOG__LEVEL", "debug"), ("OTHER", "x")],
        )
        .unwrap();
        assert_eq!(config.listen, Listen::At("127.0.0.1:1".parse().unwrap()));
        assert_eq!((config.max_clients, config.log_level.as_str()), (7, "debug"));
        assert_eq!(config.retention_ms, 2 * limits::DAY_MS);
        assert_eq!(config.mailbox_envelopes, limits::MAILBOX_ENVELOPES);
    }

    #[test]
    fn unknown_keys_and_bad_values_say_what_is_meant() {
        let problem =
            |text: &str, environment: &[(&str, &str)]| load(text, environment).unwrap_err().to_string();
        assert!(
            problem("max_client = 5", &[]).ends_with("unknown key max_client; did you mean max_clients?")
        );
        assert!(problem("[limits]\nretention = 5", &[]).contains("unknown key limits.retention"));
        assert!(
            problem("", &[("SOTTOD_LISTN", "1")])
                .contains("SOTTOD_LISTN: unknown key listn; did you mean listen?")
        );
        assert!(problem("max_clients = 0", &[]).contains("a whole number from 1"));
        assert!(problem("listen = \"somewhere\"", &[]).contains("PORT or ADDRESS:PORT"));
        assert!(problem("public_host = \"a:99\"", &[]).contains("without a port"));
        assert!(problem("[[", &[]).contains("config.toml"));
    }

    #[test]
    fn the_example_holds_every_key_and_what_is_shown_reads_back_the_same() {
        let uncommented: String =
            example().lines().filter_map(uncomment).fold(String::new(), |all, line| all + line + "\n");
        let config = load(&uncommented, &[]).unwrap();
        assert_eq!(config.data_dir, PathBuf::from("/var/lib/sottod"));
        assert_eq!(load(&config.show(), &[]).unwrap(), config);
        assert_eq!(load(&example(), &[]).unwrap(), Config::new(PathBuf::from("/data")));
        let odd = load("data_dir = \"a\\u0001\\\"\\\\\\nb\\u007f\"", &[]).unwrap();
        assert_eq!(odd.data_dir, PathBuf::from("a\u{1}\"\\\nb\u{7f}"));
        assert_eq!(load(&odd.show(), &[]).unwrap(), odd);
    }

    #[test]
    fn what_no_machine_has_is_refused_and_not_rounded() {
        for key in ["limits.mailbox_mib", "hashing.memory_mib"] {
            let set = |mib: u64| load(&format!("{key} = {mib}"), &[]);
            let config = set((u64::MAX >> 1) / MIB).unwrap();
            assert_eq!(load(&config.show(), &[]).unwrap(), config);
            assert!(
                set(i64::MAX.cast_unsigned()).unwrap_err().to_string().contains("larger than any machine")
            );
        }
    }

    fn uncomment(line: &str) -> Option<&str> {
        if line.starts_with('[') {
            return Some(line);
        }
        line.strip_prefix("# ")
            .filter(|rest| rest.split_once(" = ").is_some_and(|(name, _)| !name.contains(' ')))
    }
}
