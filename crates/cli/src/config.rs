//! The optional file of defaults, `$XDG_CONFIG_HOME/sotto/config.toml`. Flags win over it.

use std::path::{Path, PathBuf};

use sotto_client::api::ErrorKind;

use crate::args::profile_name;
use crate::failure::Failure;
use crate::nearest::nearest;
use crate::output::Colour;

/// What the file may say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Config {
    /// The profile where none is named.
    pub(crate) profile: Option<String>,
    /// Colours where nothing is said.
    pub(crate) color: Option<Colour>,
    /// How a new message is noticed.
    pub(crate) notices: Notices,
}

/// How a message that arrives outside of the open chat is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Notices {
    /// The terminal's bell.
    pub(crate) bell: bool,
    /// A notice of the desktop, by the escape sequence OSC 9.
    pub(crate) osc9: bool,
}

impl Default for Notices {
    fn default() -> Self {
        Self { bell: true, osc9: false }
    }
}

const KEYS: [&str; 4] = ["profile", "color", "bell", "notify"];

impl Config {
    /// Reads the user's file; without one, nothing is set.
    pub(crate) fn load() -> Result<Self, Failure> {
        let Some(path) = path() else { return Ok(Self::default()) };
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text, &path),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(wrong(&path, "it cannot be read").cause(error)),
        }
    }

    /// Reads the text of a file.
    pub(crate) fn parse(text: &str, path: &Path) -> Result<Self, Failure> {
        let table: toml::Table = text.parse().map_err(|error| wrong(path, "it is not TOML").cause(error))?;
        let mut config = Self::default();
        for (key, value) in table {
            match key.as_str() {
                "profile" => {
                    let name = value.as_str().ok_or_else(|| wrong(path, "`profile` is not a string"))?;
                    config.profile = Some(
                        profile_name(name)
                            .map_err(|error| wrong(path, "`profile` is no name").cause(error))?,
                    );
                }
                "color" => {
                    config.color =
                        Some(value.try_into().map_err(|_| {
                            wrong(path, "`color` is not one of \"auto\", \"always\", \"never\"")
                        })?);
                }
                "bell" => {
                    config.notices.bell =
                        value.as_bool().ok_or_else(|| wrong(path, "`bell` is not true or false"))?;
                }
                "notify" => {
                    config.notices.osc9 = match value.as_str() {
                        Some("none") => false,
                        Some("osc9") => true,
                        _ => return Err(wrong(path, "`notify` is not one of \"none\", \"osc9\"")),
                    };
                }
                other => {
                    let failure = wrong(path, &format!("the key `{other}` is not known"));
                    return Err(match nearest(other, &KEYS) {
                        Some(known) => failure.hint(format!("write `{known}`")),
                        None => failure.hint(format!("the keys are: {}", KEYS.join(", "))),
                    });
                }
            }
        }
        Ok(config)
    }
}

fn wrong(path: &Path, what: &str) -> Failure {
    Failure::new(ErrorKind::Configuration, format!("{}: {what}", path.display()))
}

fn path() -> Option<PathBuf> {
    use etcetera::BaseStrategy;
    Some(etcetera::choose_base_strategy().ok()?.config_dir().join("sotto/config.toml"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(text: &str) -> Result<Config, Failure> {
        Config::parse(text, Path::new("config.toml"))
    }

    #[test]
    fn what_it_may_say_is_read() {
        assert_eq!(
            parse("profile = \"work\"\ncolor = \"never\"\nbell = false\nnotify = \"osc9\"\n").unwrap(),
            Config {
                profile: Some("work".into()),
                color: Some(Colour::Never),
                notices: Notices { bell: false, osc9: true }
            }
        );
        assert_eq!(parse("").unwrap(), Config::default());
    }

    #[test]
    fn anything_else_is_refused_with_what_was_meant() {
        let unknown = parse("profil = \"x\"").unwrap_err();
        assert_eq!((unknown.code, unknown.hint.as_deref()), (11, Some("write `profile`")));
        let far = parse("password = \"x\"").unwrap_err();
        assert_eq!(far.hint.as_deref(), Some("the keys are: profile, color, bell, notify"));
        for bad in [
            "profile = 1",
            "profile = \"../x\"",
            "color = \"blue\"",
            "color = 3",
            "bell = 1",
            "notify = \"mail\"",
            "= =",
        ] {
            assert_eq!(parse(bad).unwrap_err().code, 11, "{bad}");
        }
    }
}
