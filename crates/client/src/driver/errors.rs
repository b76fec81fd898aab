//! What a server answers instead of a result, in the words of this program: one place for every code.

use sotto_proto::frame::{ErrorCode, ErrorReply};

use crate::{
    api::{ClientError, ErrorKind},
    core::ended,
};

/// The error for a code. The server's own words become the cause: they are untrusted text, to be sanitised where they
/// are shown.
pub fn server_error(reply: &ErrorReply) -> ClientError {
    const UPDATE: &str = "update sotto, or ask the server's operator to";
    let (kind, message, hint): (_, _, Option<&str>) = match reply.code {
        ErrorCode::VERSION => (
            ErrorKind::Version,
            "this program and the server have no protocol version in common",
            Some(UPDATE),
        ),
        ErrorCode::UNSUPPORTED => (ErrorKind::Version, "the server does not know this request", Some(UPDATE)),
        ErrorCode::MALFORMED => {
            (ErrorKind::Version, "the server cannot read this program's request", Some(UPDATE))
        }
        ErrorCode::BAD_CREDENTIALS => (ErrorKind::LoginNeeded, "Username taken or wrong password", None),
        ErrorCode::LOGIN_NEEDED => (ErrorKind::LoginNeeded, "the server wants a login first", None),
        ErrorCode::UNKNOWN_USER => (ErrorKind::LoginNeeded, "the server does not know this account", None),
        ErrorCode::UNKNOWN_DEVICE => (
            ErrorKind::LoginNeeded,
            "this device was removed from the account, or never added",
            Some("sotto --profile NEW login SERVER USER"),
        ),
        ErrorCode::DISABLED => {
            (ErrorKind::LoginNeeded, "the account was disabled by the server's operator", None)
        }
        ErrorCode::ACCOUNT_REMOVED | ErrorCode::ACCOUNT_REPLACED => {
            return ended(reply.code).cause(&reply.message);
        }
        ErrorCode::REGISTRATION_CLOSED => (
            ErrorKind::LoginNeeded,
            "the server takes no new accounts, or only invited ones",
            Some("ask the server's operator for an invite"),
        ),
        ErrorCode::NAME_TAKEN => (
            ErrorKind::NameTaken,
            "the name is taken",
            Some("choose another name; if it is yours: sotto login SERVER USER"),
        ),
        ErrorCode::NAME_LOOKS_ALIKE => {
            (ErrorKind::NameTaken, "the name looks like one that exists already", Some("choose another name"))
        }
        ErrorCode::BAD_NAME => (ErrorKind::Invalid, "the name cannot be used", Some("choose another name")),
        ErrorCode::BAD_KEYS => (
            ErrorKind::Invalid,
            "the server refuses this device's keys",
            Some("check the clock of this machine"),
        ),
        ErrorCode::RATE_LIMITED => (ErrorKind::Limit, "too many attempts", None),
        ErrorCode::TOO_MANY_CLIENTS => {
            (ErrorKind::Limit, "the server has as many clients as it takes", Some("try again later"))
        }
        ErrorCode::LIMIT => (ErrorKind::Limit, "a limit of the server is reached", None),
        ErrorCode::DISK_FULL => {
            (ErrorKind::Limit, "the server's disk is full", Some("tell the server's operator"))
        }
        ErrorCode::BUSY => (ErrorKind::Unreachable, "the server is too busy", Some("try again")),
        ErrorCode::STORE => {
            (ErrorKind::Unreachable, "the server's store failed; nothing was promised", Some("try again"))
        }
        ErrorCode::CONFLICT => (ErrorKind::Unreachable, "another device changed the account meanwhile", None),
        _ => (ErrorKind::Unreachable, "the server refused the request", None),
    };
    let mut error = ClientError::new(kind, message);
    if !reply.message.is_empty() {
        error = error.cause(&reply.message);
    }
    match (hint, reply.retry_after_ms) {
        (_, Some(wait_ms)) => error.hint(format!("try again in {} s", wait_ms.div_ceil(1000).max(1))),
        (Some(hint), None) => error.hint(hint),
        (None, None) => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_end_in_the_documented_exit_codes() {
        let exit = |code| {
            server_error(&ErrorReply { code, message: "why".into(), retry_after_ms: None }).kind.exit_code()
        };
        for (code, expected) in [
            (ErrorCode::NAME_TAKEN, 1),
            (ErrorCode::NAME_LOOKS_ALIKE, 1),
            (ErrorCode::BAD_NAME, 1),
            (ErrorCode::BUSY, 3),
            (ErrorCode::BAD_CREDENTIALS, 4),
            (ErrorCode::DISABLED, 4),
            (ErrorCode::ACCOUNT_REMOVED, 4),
            (ErrorCode::ACCOUNT_REPLACED, 4),
            (ErrorCode::RATE_LIMITED, 7),
            (ErrorCode::TOO_MANY_CLIENTS, 7),
            (ErrorCode::DISK_FULL, 7),
            (ErrorCode::VERSION, 12),
            (ErrorCode(60_000), 3),
        ] {
            assert_eq!(exit(code), expected, "{code:?}");
        }
    }

    #[test]
    fn the_wait_is_said_and_so_is_the_servers_reason() {
        let reply = ErrorReply {
            code: ErrorCode::RATE_LIMITED,
            message: "slow down".into(),
            retry_after_ms: Some(1500),
        };
        let error = server_error(&reply);
        assert_eq!(error.hint.as_deref(), Some("try again in 2 s"));
        assert_eq!(error.cause.as_deref(), Some("slow down"));
    }
}
