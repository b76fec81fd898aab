//! `TO`: `@user`, a bare word, or `@me`.

use std::str::FromStr;

use sotto_client::api::{ErrorKind, Recipient};
use sotto_proto::Username;

use crate::failure::Failure;

/// To whom, as typed. Rooms and accounts by id are understood, so that they get an answer of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum To {
    /// A user, or oneself.
    Recipient(Recipient),
    /// `#room`.
    Room(String),
    /// `id:` and 26 characters.
    Id(String),
    /// Not a name, and why.
    Bad(String),
}

impl To {
    /// Whom it names, if that can be written to.
    pub(crate) fn recipient(&self) -> Result<Recipient, Failure> {
        match self {
            Self::Recipient(recipient) => Ok(recipient.clone()),
            Self::Room(room) => Err(Failure::new(ErrorKind::NotFound, format!("there is no room {room}"))
                .cause("this version has no rooms")
                .hint("write to people: sotto users")),
            Self::Id(_) => {
                Err(Failure::new(ErrorKind::Invalid, "this version writes to people by name only")
                    .hint("sotto contact list"))
            }
            Self::Bad(why) => Err(Failure::new(ErrorKind::Invalid, why.clone())),
        }
    }
}

/// Reads a username; a bad one is the user's error.
pub(crate) fn username(text: &str) -> Result<Username, Failure> {
    Username::parse(text.strip_prefix('@').unwrap_or(text))
        .map_err(|error| Failure::new(ErrorKind::Invalid, error.to_string()))
}

/// Never fails: a bad name is the user's error (exit code 1), not one of usage, so the command says it.
impl FromStr for To {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "@me" {
            return Ok(Self::Recipient(Recipient::Me));
        }
        if let Some(room) = text.strip_prefix('#') {
            return Ok(Self::Room(room.to_owned()));
        }
        if let Some(id) = text.strip_prefix("id:") {
            return Ok(Self::Id(id.to_owned()));
        }
        Ok(match Username::parse(text.strip_prefix('@').unwrap_or(text)) {
            Ok(name) => Self::Recipient(Recipient::User(name)),
            Err(error) => Self::Bad(error.to_string()),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_form_is_told_apart() {
        let to = |text: &str| text.parse::<To>().unwrap();
        let bob = To::Recipient(Recipient::User(Username::parse("bob").unwrap()));
        assert_eq!(to("bob"), bob);
        assert_eq!(to("@Bob"), bob);
        assert_eq!(to("@me"), To::Recipient(Recipient::Me));
        assert_eq!(to("me"), To::Recipient(Recipient::User(Username::parse("me").unwrap())));
        assert_eq!(to("#ops"), To::Room("ops".into()));
        assert_eq!(to("id:abc"), To::Id("abc".into()));
        assert_eq!(to(""), To::Bad("Username can't be empty".into()));
        assert_eq!(to("@"), To::Bad("Username can't be empty".into()));
        assert!(matches!(to("a b"), To::Bad(_)));
    }

    #[test]
    fn what_cannot_be_written_to_says_why() {
        let code = |text: &str| text.parse::<To>().unwrap().recipient().map_err(|failure| failure.code);
        assert_eq!(code("@me"), Ok(Recipient::Me));
        assert_eq!(code("#ops"), Err(10));
        assert_eq!(code("id:abc"), Err(1));
        assert_eq!(code(""), Err(1));
    }
}
