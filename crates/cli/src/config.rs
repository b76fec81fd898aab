//! The optional file of defaults, `$XDG_CONFIG_HOME/sotto/config.toml`. Flags win over it.

use std::path::{Path, PathBuf};

use sotto_client::api::ErrorKind;

use crate::args::profile_name;
use crate::failure::Failure;
use crate::output::Colour;

/// What the file may say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Config {
    /// The profile where none is named.
    pub(crate) profile: Option<String>,
    /// Colours where nothing is said.
    pub(crate) color: Option<Colour>,
}

const KEYS: [&str; 2] = ["profile", "color"];

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

    fn parse(text: &str, path: &Path) -> Result<Self, Failure> {
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
                other => {
                    let failure = wrong(path, &format!("the key `{other}` is not known"));
                    return Err(match nearest(other) {
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

/// The known key that differs from `typed` in at most two letters.
fn nearest(typed: &str) -> Option<&'static str> {
    KEYS.into_iter().map(|key| (distance(typed, key), key)).filter(|(d, _)| *d <= 2).min().map(|(_, key)| key)
}

/// Levenshtein's.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut left = i + 1;
        let mut diagonal = i;
        for (above, y) in row.iter_mut().skip(1).zip(b.chars()) {
            let next = (diagonal + usize::from(x != y)).min(left + 1).min(*above + 1);
            diagonal = std::mem::replace(above, next);
            left = next;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
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
            parse("profile = \"work\"\ncolor = \"never\"\n").unwrap(),
            Config { profile: Some("work".into()), color: Some(Colour::Never) }
        );
        assert_eq!(parse("").unwrap(), Config::default());
    }

    #[test]
    fn anything_else_is_refused_with_what_was_meant() {
        let unknown = parse("profil = \"x\"").unwrap_err();
        assert_eq!((unknown.code, unknown.hint.as_deref()), (11, Some("write `profile`")));
        let far = parse("password = \"x\"").unwrap_err();
        assert_eq!(far.hint.as_deref(), Some("the keys are: profile, color"));
        for bad in ["profile = 1", "profile = \"../x\"", "color = \"blue\"", "color = 3", "= ="] {
            assert_eq!(parse(bad).unwrap_err().code, 11, "{bad}");
        }
    }

    #[test]
    fn distance_counts_letters_put_in_left_out_or_changed() {
        assert_eq!(distance("colour", "color"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
    }
}
