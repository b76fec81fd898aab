//! From stored rows to what a face sees.

use sotto_proto::{
    AccountId,
    content::{Body, kind},
};

use super::{Core, CoreError, fates::fate_of};
use crate::{
    api::{Row, RowBody, Trust},
    store::{ContactRecord, PinState, StoredMessage, Tx},
};

/// How sure a pin is.
pub(crate) fn trust(contact: &ContactRecord) -> Trust {
    match contact.state {
        PinState::Pinned => Trust::Pinned,
        PinState::Compared => Trust::Compared,
        PinState::Changed => Trust::Changed,
    }
}

impl Core {
    fn name_of(&self, tx: &Tx<'_>, account: &AccountId) -> Result<Option<(String, Trust)>, CoreError> {
        if *account == self.me.account {
            return Ok(Some((self.me.username.to_string(), Trust::Own)));
        }
        Ok(tx.contact(account)?.map(|contact| (contact.username.to_string(), trust(&contact))))
    }

    /// How a row's conversation is called.
    pub(super) fn conversation_name(&self, tx: &Tx<'_>, stored: &StoredMessage) -> Result<String, CoreError> {
        Ok(match self.name_of(tx, &stored.conversation)? {
            Some((name, _)) => name,
            None => stored.name.clone().unwrap_or_else(|| format!("id:{}", stored.conversation)),
        })
    }

    /// A row as a face sees it.
    pub(super) fn row(&self, tx: &Tx<'_>, stored: StoredMessage) -> Result<Row, CoreError> {
        let conversation = self.conversation_name(tx, &stored)?;
        let unattributed = stored.problem.is_some() && !stored.outgoing && stored.sender == self.me.account;
        let (from, trust) = if unattributed {
            (String::new(), Trust::Unconfirmed)
        } else {
            // Who is not known wrote in a conversation of their own, or had its name before another identity was accepted for it.
            self.name_of(tx, &stored.sender)?.unwrap_or_else(|| (conversation.clone(), Trust::Unconfirmed))
        };
        let unreached = match stored.fate {
            None => Vec::new(),
            Some(_) => fate_of(tx, &stored, &self.me.account)?.unreached(),
        };
        let body = match (stored.problem, stored.kind) {
            (Some(problem), _) => RowBody::Undecryptable(problem),
            (None, kind::TEXT) => match Body::decode(kind::TEXT, &stored.body) {
                Ok(Some(Body::Text(text))) => RowBody::Text(text),
                _ => RowBody::Undecryptable("the text in the local store is damaged".to_owned()),
            },
            (None, newer) => RowBody::Newer(newer),
        };
        Ok(Row {
            print: stored.print,
            message: stored.message,
            conversation,
            from,
            outgoing: stored.outgoing,
            trust,
            sent_ms: stored.sent_ms,
            received_ms: stored.received_ms,
            body,
            fate: stored.fate,
            reason: stored.reason,
            unreached,
        })
    }

    /// Rows as a face sees them.
    pub(super) fn rows(&self, tx: &Tx<'_>, stored: Vec<StoredMessage>) -> Result<Vec<Row>, CoreError> {
        stored.into_iter().map(|row| self.row(tx, row)).collect()
    }
}
