//! How a command ends when it does not end well: an exit code, and what happened, why, and what to do.

use sotto_client::api::{ClientError, ErrorKind};

/// The end of a command that failed. The texts may hold words of others; they are shown sanitised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) code: u8,
    /// The same for programs that read the error object.
    pub(crate) kind: &'static str,
    /// What.
    pub(crate) message: String,
    /// Why, where it is known.
    pub(crate) cause: Option<String>,
    /// What to do; an exact command where there is one.
    pub(crate) hint: Option<String>,
}

impl Failure {
    /// A failure of a kind, without cause or hint.
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        ClientError::new(kind, message).into()
    }

    /// The user asked for something the command line does not have.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, kind: "usage", message: message.into(), cause: None, hint: None }
    }

    /// Some of the messages are on the server, some are not.
    pub(crate) fn partly(message: impl Into<String>) -> Self {
        Self { code: 6, kind: "partly_sent", message: message.into(), cause: None, hint: None }
    }

    /// Adds the cause.
    pub(crate) fn cause(mut self, cause: impl std::fmt::Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    /// Adds what to do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A failure of reading or writing a file of the user's.
    pub(crate) fn io(doing: impl Into<String>, error: &std::io::Error) -> Self {
        let kind = if error.kind() == std::io::ErrorKind::StorageFull {
            ErrorKind::DiskFull
        } else {
            ErrorKind::Invalid
        };
        Self::new(kind, doing).cause(error)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self {
            code: error.kind.exit_code(),
            kind: kind_name(error.kind),
            message: error.message,
            cause: error.cause,
            hint: error.hint,
        }
    }
}

/// The name of a kind in an error object.
fn kind_name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Invalid => "invalid",
        ErrorKind::NameTaken => "name_taken",
        ErrorKind::DiskFull => "disk_full",
        ErrorKind::Unreachable => "unreachable",
        ErrorKind::LoginNeeded => "login_needed",
        ErrorKind::IdentityChanged => "identity_changed",
        ErrorKind::Limit => "limit",
        ErrorKind::LocalStore => "local_store",
        ErrorKind::ProfileInUse => "profile_in_use",
        ErrorKind::NotFound => "not_found",
        ErrorKind::Configuration => "configuration",
        ErrorKind::Version => "version",
        ErrorKind::Timeout => "timeout",
        ErrorKind::Interrupted => "interrupted",
        ErrorKind::Bug => "bug",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Scripts see one spelling, whether the error comes from here or over the local socket.
    #[test]
    fn kinds_are_spelt_as_they_are_serialised() {
        for kind in [
            ErrorKind::Invalid,
            ErrorKind::NameTaken,
            ErrorKind::DiskFull,
            ErrorKind::Unreachable,
            ErrorKind::LoginNeeded,
            ErrorKind::IdentityChanged,
            ErrorKind::Limit,
            ErrorKind::LocalStore,
            ErrorKind::ProfileInUse,
            ErrorKind::NotFound,
            ErrorKind::Configuration,
            ErrorKind::Version,
            ErrorKind::Timeout,
            ErrorKind::Interrupted,
            ErrorKind::Bug,
        ] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind_name(kind));
        }
    }
}
