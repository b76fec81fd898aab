//! What is asked about a server at first contact.

use sotto_client::api::{ClientError, ErrorKind};
use sotto_client::setup::{Questions, ServerIdentity};
use sotto_proto::ids::base32;

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
}
