//! What is asked about a server at first contact.

use sotto_client::api::{ClientError, ErrorKind};
use sotto_client::setup::{Questions, ServerIdentity};
use sotto_proto::{Username, ids::base32};

use crate::output::Remarks;
use crate::secret;

/// Answers from the terminal, or refuses where there is none.
#[derive(Debug)]
pub(crate) struct AtTerminal {
    /// Where notices go.
    pub(crate) remarks: Remarks,
    /// Whether questions may be asked.
    pub(crate) may_ask: bool,
}

impl Questions for AtTerminal {
    fn pinned(&self, server: &ServerIdentity) {
        self.remarks.notice(&format!("first contact: the server's key is pinned, {}", server.full));
    }

    fn trust(&self, server: &ServerIdentity) -> Result<bool, ClientError> {
        let unanswered = |cause: &str| {
            ClientError::new(
                ErrorKind::IdentityChanged,
                format!("nobody could say whether {} is the right server", server.address.host_port()),
            )
            .cause(cause)
            .hint(format!("ask its operator for the full address, and use it if it is {}", server.full))
        };
        if !self.may_ask {
            return Err(unanswered("--no-input forbids to ask"));
        }
        let question = format!(
            "First contact with {}. Its key has the fingerprint\n  {}\nIs it the one that the operator gave you? (yes/no) ",
            server.address.host_port(),
            base32(&server.fingerprint)
        );
        secret::confirm(&question).map_err(|failure| unanswered(&failure.message))
    }

    fn waiting(&self, code: &str) {
        self.remarks.device_code(code);
    }

    fn added(&self, username: &Username) {
        self.remarks.notice(&format!(
            "this machine was added to the account {username}. If nobody had typed its code on another device of yours by \
             now, the server is lying: do not use this profile"
        ));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::output::{Colour, Output};

    #[test]
    fn where_nobody_can_be_asked_the_server_is_refused_with_its_full_address() {
        let question =
            AtTerminal { remarks: Output::new(true, true, Colour::Never).remarks(), may_ask: false };
        let fingerprint = [7; 32];
        let address: sotto_proto::Address = "chat.example".parse().unwrap();
        let full = sotto_proto::Address { fingerprint: Some(fingerprint), ..address.clone() };
        let error = question.trust(&ServerIdentity { address, fingerprint, full: full.clone() }).unwrap_err();
        assert_eq!(error.kind.exit_code(), 5);
        assert!(error.hint.unwrap().contains(&full.to_string()));
    }
}
