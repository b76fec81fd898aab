//! A JSON Schema (draft 2020-12) of the objects that `--json` prints.

use serde_json::{Map, Value, json};

/// A field of an object: its name, its type, whether it is always there, what it is.
type Field = (&'static str, Type, bool, &'static str);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Text,
    Time,
    Number,
    Flag,
    Texts,
    Body,
}

/// An object: its type, what it is, its fields.
type Object = (&'static str, &'static str, &'static [Field]);

const ID: Field = ("id", Type::Text, true, "the message's id: 26 lower-case base32 characters");
const CONVERSATION: Field =
    ("conversation", Type::Text, true, "@ and the other side's name; one's own for notes to oneself");
const FROM: Field = ("from", Type::Text, true, "the sender's name");
const FROM_TRUST: Field = (
    "from_trust",
    Type::Text,
    true,
    "how sure it is that `from` is right: self, pinned, compared, changed or unconfirmed",
);
const TRUST: Field = ("trust", Type::Text, true, "self, pinned, compared, changed or unconfirmed");
const RECEIVED_AT: Field = ("received_at", Type::Time, true, "when this device committed it");
const USERNAME: Field = ("username", Type::Text, true, "the account's name");
const ACCOUNT: Field = ("account", Type::Text, true, "the account's id");
const DEVICE: Field = ("device", Type::Text, true, "this device's id");
const SERVER: Field = ("server", Type::Text, true, "sotto://HOST:PORT/FINGERPRINT");
const PHRASE: Field = ("recovery_phrase", Type::Text, true, "24 words; whoever has them has the account");
const MESSAGE: Field = ("message", Type::Text, true, "in words");
const OK: Field = ("ok", Type::Flag, true, "whether it is well");
const BLOCKED: Field = ("blocked", Type::Flag, true, "whether what they send is refused");
const DEVICE_ID: Field = ("id", Type::Text, true, "the device's id: 26 lower-case base32 characters");
const WHAT: Field = ("what", Type::Text, true, "what was looked at");

const UNREACHED: Field =
    ("unreached", Type::Texts, false, "the recipient's devices that do not get it, though others do");

const OBJECTS: &[Object] = &[
    (
        "message",
        "a message; its text is raw",
        &[
            ID,
            CONVERSATION,
            FROM,
            FROM_TRUST,
            ("sent_at", Type::Time, true, "the sender's clock"),
            RECEIVED_AT,
            ("body", Type::Body, true, "what it says"),
            ("fate", Type::Text, false, "of one's own messages: what became of it"),
            ("reason", Type::Text, false, "of one's own messages: why it was refused, held or given up"),
            UNREACHED,
        ],
    ),
    (
        "undecryptable",
        "a message that could not be read",
        &[ID, CONVERSATION, ("reason", Type::Text, true, "why"), FROM, FROM_TRUST, RECEIVED_AT],
    ),
    (
        "fate",
        "what became of a message",
        &[
            ID,
            (
                "state",
                Type::Text,
                true,
                "waiting, held, stored, taken, delivered, read, expired, refused or unknown_user",
            ),
            ("reason", Type::Text, false, "why it was refused or held"),
            (
                "connected",
                Type::Flag,
                false,
                "of stored ones: whether a device of the recipient was connected",
            ),
            UNREACHED,
        ],
    ),
    (
        "user",
        "a user of the server",
        &[
            ("name", Type::Text, true, "the name"),
            ("presence", Type::Text, true, "available, busy or offline"),
            ("with", Type::Texts, false, "with whom, where busy"),
        ],
    ),
    (
        "contact",
        "somebody this account has written with",
        &[
            ("name", Type::Text, true, "the name"),
            TRUST,
            ("messages", Type::Number, true, "messages of the conversation"),
            (
                "impostors",
                Type::Number,
                true,
                "envelopes under this name with another key; attributed to nobody",
            ),
            BLOCKED,
        ],
    ),
    ("blocked", "somebody was blocked, or no longer is", &[("name", Type::Text, true, "the name"), BLOCKED]),
    (
        "device",
        "a device of the account",
        &[
            DEVICE_ID,
            ("name", Type::Text, true, "the name it was given; empty if none"),
            ("created_at", Type::Time, true, "when it was made; of a waiting one, when it asked"),
            ("this", Type::Flag, true, "whether it is this one"),
            ("standing", Type::Text, true, "listed, waiting or removed"),
        ],
    ),
    ("renamed", "a device has another name", &[DEVICE_ID, ("name", Type::Text, true, "the new name")]),
    ("turned_away", "a waiting device was turned away", &[DEVICE_ID]),
    ("password_changed", "the account has another password", &[]),
    (
        "reset_waits",
        "a new identity of the account takes effect later, unless a device refuses it",
        &[
            ("due_at", Type::Time, true, "when the same command finishes it"),
            ("code", Type::Text, true, "by which the server's operator lets it take effect at once"),
        ],
    ),
    (
        "device_code",
        "on stderr: this machine waits for another device, where the code has to be typed",
        &[("code", Type::Text, true, "16 base32 characters in groups")],
    ),
    ("reset_refused", "a reset of the account was refused", &[]),
    (
        "outbox",
        "a message that waits",
        &[
            ID,
            ("to", Type::Text, true, "@ and the recipient's name"),
            ("state", Type::Text, true, "waiting, held or refused"),
            ("reason", Type::Text, false, "why"),
            ("created_at", Type::Time, true, "when it was written"),
            ("text", Type::Text, true, "raw"),
        ],
    ),
    ("dropped", "a message that was given up", &[ID]),
    (
        "whoami",
        "who and where this profile is",
        &[
            USERNAME,
            ACCOUNT,
            DEVICE,
            ("devices", Type::Texts, true, "the account's devices"),
            SERVER,
            ("connection", Type::Text, true, "online, connecting or offline"),
        ],
    ),
    ("registered", "the new account", &[USERNAME, SERVER, PHRASE]),
    ("logged_in", "the new device", &[USERNAME, SERVER]),
    ("recovery_phrase", "the account's recovery phrase", &[PHRASE]),
    ("recovery_check", "whether the phrase is this account's", &[OK]),
    (
        "safety",
        "the safety number with a user",
        &[
            ("user", Type::Text, true, "the name"),
            TRUST,
            ("number", Type::Text, true, "12 groups of 5 digits, of the identity that is pinned"),
            (
                "new_number",
                Type::Text,
                false,
                "of the identity that the server shows now, if it is another one",
            ),
            ("held", Type::Number, true, "messages that are held"),
        ],
    ),
    ("finding", "a line of the doctor's report", &[OK, WHAT, ("found", Type::Text, true, "what was found")]),
    ("check", "a check of the demo", &[OK, WHAT]),
    (
        "version",
        "this program",
        &[
            ("program", Type::Text, true, "sotto"),
            ("version", Type::Text, true, "the program's version"),
            ("protocol_min", Type::Number, true, "the lowest protocol version it speaks"),
            ("protocol_max", Type::Number, true, "the highest protocol version it speaks"),
        ],
    ),
    ("warning", "on stderr: something to know, though the command goes on", &[MESSAGE]),
    ("notice", "on stderr: a remark", &[MESSAGE]),
    (
        "error",
        "on stderr: the command failed",
        &[
            ("code", Type::Number, true, "the exit code"),
            ("kind", Type::Text, true, "for programs"),
            MESSAGE,
            ("cause", Type::Text, false, "why, where it is known"),
            ("hint", Type::Text, false, "what to do"),
        ],
    ),
    ("end", "everything that was asked for has been printed", &[]),
];

/// The schema.
pub(crate) fn schema() -> Value {
    let objects: Map<String, Value> =
        OBJECTS.iter().map(|(name, what, fields)| ((*name).to_owned(), object(name, what, fields))).collect();
    let any: Vec<Value> = objects.keys().map(|name| json!({"$ref": format!("#/$defs/{name}")})).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "One line of what sotto --json prints. Fields are only ever added.",
        "oneOf": any,
        "$defs": objects,
    })
}

fn object(name: &str, what: &str, fields: &[Field]) -> Value {
    let mut properties = Map::new();
    properties.insert("v".into(), json!({"const": crate::record::VERSION}));
    properties.insert("type".into(), json!({"const": name}));
    let mut required = vec!["v", "type"];
    for (field, kind, always, about) in fields {
        let mut property = kind.schema();
        if let Some(property) = property.as_object_mut() {
            property.insert("description".into(), json!(about));
        }
        properties.insert((*field).to_owned(), property);
        if *always {
            required.push(field);
        }
    }
    json!({"type": "object", "description": what, "properties": properties, "required": required})
}

impl Type {
    fn schema(self) -> Value {
        match self {
            Self::Text => json!({"type": "string"}),
            Self::Time => json!({"type": "string", "format": "date-time"}),
            Self::Number => json!({"type": "integer", "minimum": 0}),
            Self::Flag => json!({"type": "boolean"}),
            Self::Texts => json!({"type": "array", "items": {"type": "string"}}),
            Self::Body => json!({"oneOf": [
                {
                    "type": "object",
                    "properties": {"kind": {"const": "text"}, "text": {"type": "string"}},
                    "required": ["kind", "text"],
                },
                {
                    "type": "object",
                    "properties": {"kind": {"const": "newer"}, "content_kind": {"type": "integer", "minimum": 0}},
                    "required": ["kind", "content_kind"],
                },
            ]}),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::expect_used)]
    use std::collections::BTreeSet;

    use super::*;
    use crate::record::{Body, FateRecord, Message, Phrase, Record, Undecryptable};

    fn text() -> String {
        "x".to_owned()
    }

    fn time() -> String {
        crate::time::rfc3339(0)
    }

    /// Every object with every field it can have. A record that is missing here fails [`every_object_is_described`].
    fn full() -> Vec<Record> {
        vec![
            Record::Message(Message {
                id: text(),
                conversation: text(),
                from: text(),
                from_trust: "pinned",
                sent_at: time(),
                received_at: time(),
                body: Body::Text { text: text() },
                fate: Some("stored"),
                reason: Some(text()),
                unreached: vec![text()],
            }),
            Record::Undecryptable(Undecryptable {
                id: text(),
                conversation: text(),
                reason: text(),
                from: text(),
                from_trust: "pinned",
                received_at: time(),
            }),
            Record::Fate(FateRecord {
                id: text(),
                state: "stored",
                reason: Some(text()),
                connected: Some(true),
                unreached: vec![text()],
            }),
            Record::User { name: text(), presence: text(), with: vec![text()] },
            Record::Contact { name: text(), trust: "pinned", messages: 1, impostors: 0, blocked: false },
            Record::Blocked { name: text(), blocked: true },
            Record::Device { id: text(), name: text(), created_at: time(), this: true, standing: "listed" },
            Record::Renamed { id: text(), name: text() },
            Record::TurnedAway { id: text() },
            Record::PasswordChanged,
            Record::ResetRefused,
            Record::DeviceCode { code: text() },
            Record::ResetWaits { due_at: time(), code: text() },
            Record::Outbox {
                id: text(),
                to: text(),
                state: "held",
                reason: Some(text()),
                created_at: time(),
                text: text(),
            },
            Record::Dropped { id: text() },
            Record::Whoami {
                username: text(),
                account: text(),
                device: text(),
                devices: vec![text()],
                server: text(),
                connection: "online",
            },
            Record::Registered { username: text(), server: text(), recovery_phrase: Phrase::new("x") },
            Record::LoggedIn { username: text(), server: text() },
            Record::RecoveryPhrase { recovery_phrase: Phrase::new("x") },
            Record::RecoveryCheck { ok: true },
            Record::Safety {
                user: text(),
                trust: "pinned",
                number: text(),
                new_number: Some(text()),
                held: 0,
            },
            Record::Finding { ok: true, what: text(), found: text() },
            Record::Check { ok: true, what: text() },
            Record::Version { program: "sotto", version: "0", protocol_min: 1, protocol_max: 1 },
            Record::Warning { message: text() },
            Record::Notice { message: text() },
            Record::Error {
                code: 1,
                kind: "invalid",
                message: text(),
                cause: Some(text()),
                hint: Some(text()),
            },
            Record::End,
        ]
    }

    fn fits(kind: Type, value: &Value) -> bool {
        match kind {
            Type::Text => value.is_string(),
            Type::Time => value.as_str().and_then(crate::time::parse_time).is_some(),
            Type::Number => value.is_u64(),
            Type::Flag => value.is_boolean(),
            Type::Texts => value.as_array().is_some_and(|items| items.iter().all(Value::is_string)),
            Type::Body => value["kind"].is_string(),
        }
    }

    #[test]
    fn every_object_is_described() {
        let mut printed = BTreeSet::new();
        for record in full() {
            let value: Value = serde_json::from_str(&record.to_json()).unwrap();
            let name = value["type"].as_str().unwrap();
            let (_, _, fields) = OBJECTS
                .iter()
                .find(|(described, ..)| *described == name)
                .expect("an object is not described");
            let has: BTreeSet<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
            let described: BTreeSet<&str> =
                fields.iter().map(|(field, ..)| *field).chain(["v", "type"]).collect();
            assert_eq!(has, described, "{name}");
            for (field, kind, ..) in *fields {
                assert!(fits(*kind, &value[*field]), "{name}.{field}");
            }
            printed.insert(name.to_owned());
        }
        let described: BTreeSet<String> = OBJECTS.iter().map(|(name, ..)| (*name).to_owned()).collect();
        assert_eq!(printed, described, "an object is described that is never printed, or tried here");
    }

    /// The match makes a new variant fail to compile until it is thought of.
    #[test]
    fn no_record_is_missing_from_the_list() {
        let number = |record: &Record| match record {
            Record::Message(_) => 0,
            Record::Undecryptable(_) => 1,
            Record::Fate(_) => 2,
            Record::User { .. } => 3,
            Record::Contact { .. } => 4,
            Record::Outbox { .. } => 5,
            Record::Dropped { .. } => 6,
            Record::Whoami { .. } => 7,
            Record::Registered { .. } => 8,
            Record::LoggedIn { .. } => 9,
            Record::RecoveryPhrase { .. } => 10,
            Record::RecoveryCheck { .. } => 11,
            Record::Safety { .. } => 12,
            Record::Finding { .. } => 13,
            Record::Check { .. } => 14,
            Record::Version { .. } => 15,
            Record::Warning { .. } => 16,
            Record::Notice { .. } => 17,
            Record::Error { .. } => 18,
            Record::End => 19,
            Record::Blocked { .. } => 20,
            Record::Device { .. } => 21,
            Record::Renamed { .. } => 22,
            Record::TurnedAway { .. } => 23,
            Record::PasswordChanged => 24,
            Record::ResetRefused => 25,
            Record::DeviceCode { .. } => 27,
            Record::ResetWaits { .. } => 26,
        };
        let seen: BTreeSet<i32> = full().iter().map(number).collect();
        assert_eq!(seen, (0..28).collect());
    }

    #[test]
    fn what_is_not_always_there_is_not_required() {
        let fate = &schema()["$defs"]["fate"];
        assert_eq!(fate["required"], json!(["v", "type", "id", "state"]));
        assert!(fate["properties"]["reason"].is_object());
    }
}
