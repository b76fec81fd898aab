//! The objects that `--json` prints, one a line. Fields are only ever added. [`crate::schema`] describes them, and a test
//! holds the two together.

use serde::Serialize;
use sotto_client::api::{
    Contact, Device, DeviceStanding, Fate, Finding, MessageFate, OutboxEntry, Row, RowBody, Safety, Trust,
    User, Whoami,
};
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::time::rfc3339;

/// The version of all objects.
pub(crate) const VERSION: u8 = 1;

/// An object with its version.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Versioned<'a> {
    v: u8,
    #[serde(flatten)]
    record: &'a Record,
}

/// One object.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Record {
    Message(Message),
    Undecryptable(Undecryptable),
    Fate(FateRecord),
    User {
        name: String,
        presence: String,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        with: Vec<String>,
    },
    Contact {
        name: String,
        trust: &'static str,
        messages: u64,
        impostors: u64,
        blocked: bool,
    },
    Blocked {
        name: String,
        blocked: bool,
    },
    Device {
        id: String,
        name: String,
        created_at: String,
        this: bool,
        standing: &'static str,
    },
    Renamed {
        id: String,
        name: String,
    },
    TurnedAway {
        id: String,
    },
    PasswordChanged,
    ResetRefused,
    DeviceCode {
        code: String,
    },
    ResetWaits {
        due_at: String,
        code: String,
    },
    Outbox {
        id: String,
        to: String,
        state: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        created_at: String,
        text: String,
    },
    Dropped {
        id: String,
    },
    Whoami {
        username: String,
        account: String,
        device: String,
        devices: Vec<String>,
        server: String,
        connection: &'static str,
    },
    Registered {
        username: String,
        server: String,
        recovery_phrase: Phrase,
    },
    LoggedIn {
        username: String,
        server: String,
    },
    RecoveryPhrase {
        recovery_phrase: Phrase,
    },
    RecoveryCheck {
        ok: bool,
    },
    Safety {
        user: String,
        trust: &'static str,
        number: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        new_number: Option<String>,
        held: u64,
    },
    Finding {
        ok: bool,
        what: String,
        found: String,
    },
    Check {
        ok: bool,
        what: String,
    },
    Version {
        program: &'static str,
        version: &'static str,
        protocol_min: u16,
        protocol_max: u16,
    },
    Warning {
        message: String,
    },
    Notice {
        message: String,
    },
    Error {
        code: u8,
        kind: &'static str,
        message: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        cause: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
    End,
}

/// The one secret that is printed, because it was asked for.
#[derive(PartialEq, Eq)]
pub(crate) struct Phrase(Zeroizing<String>);

impl Phrase {
    /// Copies the words.
    pub(crate) fn new(words: &str) -> Self {
        Self(Zeroizing::new(words.to_owned()))
    }
}

impl std::fmt::Debug for Phrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Phrase(..)")
    }
}

impl Serialize for Phrase {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// A message that arrived, or stands in the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) conversation: String,
    pub(crate) from: String,
    pub(crate) from_trust: &'static str,
    pub(crate) sent_at: String,
    pub(crate) received_at: String,
    pub(crate) body: Body,
    /// Of one's own messages, in the history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fate: Option<&'static str>,
    /// Why it was refused, held or given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// The recipient's devices that do not get it, though others do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) unreached: Vec<String>,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Body {
    /// Raw, as it was written.
    Text { text: String },
    /// A kind of content that only a newer program can read.
    Newer { content_kind: u16 },
}

/// A message that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Undecryptable {
    pub(crate) id: String,
    pub(crate) conversation: String,
    pub(crate) reason: String,
    pub(crate) from: String,
    pub(crate) from_trust: &'static str,
    pub(crate) received_at: String,
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct FateRecord {
    pub(crate) id: String,
    pub(crate) state: &'static str,
    /// Why it was refused or held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// Of stored ones: whether a device of the recipient was connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connected: Option<bool>,
    /// The recipient's devices that do not get it, though others do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) unreached: Vec<String>,
}

impl Record {
    /// The object's line, without its end.
    pub(crate) fn to_json(&self) -> String {
        // Strings, numbers and lists of them always serialise.
        serde_json::to_string(&Versioned { v: VERSION, record: self }).unwrap_or_default()
    }
}

impl From<&Row> for Record {
    fn from(row: &Row) -> Self {
        let conversation = format!("@{}", row.conversation);
        let body = match &row.body {
            RowBody::Undecryptable(reason) => {
                return Self::Undecryptable(Undecryptable {
                    id: row.message.to_string(),
                    conversation,
                    reason: reason.clone(),
                    from: row.from.clone(),
                    from_trust: row.trust.as_str(),
                    received_at: rfc3339(row.received_ms),
                });
            }
            RowBody::Text(text) => Body::Text { text: text.clone() },
            RowBody::Newer(kind) => Body::Newer { content_kind: *kind },
        };
        Self::Message(Message {
            id: row.message.to_string(),
            conversation,
            from: row.from.clone(),
            from_trust: row.trust.as_str(),
            sent_at: rfc3339(row.sent_ms),
            received_at: rfc3339(row.received_ms),
            body,
            fate: row.fate.map(Fate::as_str),
            reason: row.reason.clone(),
            unreached: row.unreached.clone(),
        })
    }
}

impl From<&MessageFate> for Record {
    fn from(fate: &MessageFate) -> Self {
        Self::Fate(FateRecord {
            id: fate.message.to_string(),
            state: fate.fate.as_str(),
            reason: fate.reason.clone(),
            connected: (fate.fate == Fate::Stored).then_some(fate.connected),
            unreached: fate.unreached(),
        })
    }
}

impl From<&User> for Record {
    fn from(user: &User) -> Self {
        Self::User { name: user.name.clone(), presence: user.presence.clone(), with: user.with.clone() }
    }
}

impl From<&Contact> for Record {
    fn from(contact: &Contact) -> Self {
        Self::Contact {
            name: contact.name.clone(),
            trust: contact.trust.as_str(),
            messages: contact.rows,
            impostors: contact.impostors,
            blocked: contact.blocked,
        }
    }
}

impl From<&Device> for Record {
    fn from(device: &Device) -> Self {
        Self::Device {
            id: device.device.clone(),
            name: device.name.clone(),
            created_at: rfc3339(device.created_ms),
            this: device.this,
            standing: match device.standing {
                DeviceStanding::Listed => "listed",
                DeviceStanding::Waiting => "waiting",
                DeviceStanding::Removed => "removed",
            },
        }
    }
}

impl From<&OutboxEntry> for Record {
    fn from(entry: &OutboxEntry) -> Self {
        Self::Outbox {
            id: entry.message.to_string(),
            to: format!("@{}", entry.to),
            state: entry.fate.as_str(),
            reason: entry.reason.clone(),
            created_at: rfc3339(entry.created_ms),
            text: entry.text.clone(),
        }
    }
}

impl From<&Whoami> for Record {
    fn from(whoami: &Whoami) -> Self {
        use sotto_client::api::Connection;
        Self::Whoami {
            username: whoami.username.to_string(),
            account: whoami.account.clone(),
            device: whoami.device.clone(),
            devices: whoami.devices.clone(),
            server: whoami.server.clone(),
            connection: match whoami.connection {
                Connection::Online => "online",
                Connection::Connecting => "connecting",
                Connection::Offline { .. } => "offline",
            },
        }
    }
}

impl From<&Safety> for Record {
    fn from(safety: &Safety) -> Self {
        Self::Safety {
            user: safety.user.clone(),
            trust: safety.trust.as_str(),
            number: safety.number.clone(),
            new_number: safety.new_number.clone(),
            held: safety.held,
        }
    }
}

impl From<&Finding> for Record {
    fn from(finding: &Finding) -> Self {
        Self::Finding { ok: finding.ok, what: finding.what.clone(), found: finding.found.clone() }
    }
}

impl From<&Failure> for Record {
    fn from(failure: &Failure) -> Self {
        Self::Error {
            code: failure.code,
            kind: failure.kind,
            message: failure.message.clone(),
            cause: failure.cause.clone(),
            hint: failure.hint.clone(),
        }
    }
}

/// How sure it is that a name is right, for a person.
pub(crate) fn trust_words(trust: Trust) -> &'static str {
    match trust {
        Trust::Own => "this account",
        Trust::Pinned => "first use",
        Trust::Compared => "compared",
        Trust::Changed => "KEY CHANGED",
        Trust::Unconfirmed => "not confirmed",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use sotto_proto::MessageId;

    use super::*;

    fn row(body: RowBody) -> Row {
        Row {
            print: 7,
            message: MessageId([0; 16]),
            conversation: "bob".into(),
            from: "bob".into(),
            outgoing: false,
            trust: Trust::Pinned,
            sent_ms: 1_795_248_000_120,
            received_ms: 1_795_248_000_250,
            body,
            fate: None,
            reason: None,
            unreached: Vec::new(),
        }
    }

    /// The lines scripts were promised, byte for byte but for the order of the fields.
    #[test]
    fn a_message_has_the_promised_fields_and_raw_text() {
        let json: serde_json::Value =
            serde_json::from_str(&Record::from(&row(RowBody::Text("h\u{1b}i\n\"x\"".into()))).to_json())
                .unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "v": 1, "type": "message", "id": "aaaaaaaaaaaaaaaaaaaaaaaaaa", "conversation": "@bob",
                "from": "bob", "from_trust": "pinned", "sent_at": "2026-11-21T08:00:00.120Z",
                "received_at": "2026-11-21T08:00:00.250Z", "body": {"kind": "text", "text": "h\u{1b}i\n\"x\""}
            })
        );
    }

    #[test]
    fn what_could_not_be_read_says_why() {
        let record = Record::from(&row(RowBody::Undecryptable("keys lost".into())));
        let json: serde_json::Value = serde_json::from_str(&record.to_json()).unwrap();
        assert_eq!(json["type"], "undecryptable");
        assert_eq!(json["reason"], "keys lost");
        assert_eq!(json["conversation"], "@bob");
    }

    #[test]
    fn every_object_is_one_line_even_with_line_breaks_in_it() {
        let record = Record::from(&row(RowBody::Text("a\nb\u{2028}c\r".into())));
        assert!(!record.to_json().contains('\n'));
        assert_eq!(Record::End.to_json(), r#"{"v":1,"type":"end"}"#);
    }

    #[test]
    fn a_fate_names_the_state_and_only_stored_ones_say_whether_the_recipient_is_there() {
        let mut fate = MessageFate {
            message: MessageId([0; 16]),
            fate: Fate::Stored,
            reason: None,
            connected: false,
            devices: Vec::new(),
        };
        let id = "aaaaaaaaaaaaaaaaaaaaaaaaaa";
        assert_eq!(
            Record::from(&fate).to_json(),
            format!(r#"{{"v":1,"type":"fate","id":"{id}","state":"stored","connected":false}}"#)
        );
        fate.fate = Fate::Waiting;
        assert_eq!(
            Record::from(&fate).to_json(),
            format!(r#"{{"v":1,"type":"fate","id":"{id}","state":"waiting"}}"#)
        );
    }

    #[test]
    fn an_error_has_its_code_kind_message_and_hint() {
        let failure = Failure::new(sotto_client::api::ErrorKind::IdentityChanged, "bob's key changed")
            .hint("sotto verify bob");
        assert_eq!(
            Record::from(&failure).to_json(),
            r#"{"v":1,"type":"error","code":5,"kind":"identity_changed","message":"bob's key changed","hint":"sotto verify bob"}"#
        );
    }
}
