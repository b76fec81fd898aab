//! A row of the history, for a person or as JSON.

use std::borrow::Cow;

use sotto_client::api::{Fate, Row, RowBody, Trust};

use crate::failure::Failure;
use crate::output::{Lines, Output, Printed};
use crate::record::Record;
use crate::time::local_minute;

/// Prints one.
pub(crate) fn print(row: &Row, out: &mut Output) -> Result<Printed, Failure> {
    out.record(&Record::from(row), |lines| show(row, lines))
}

fn show(row: &Row, lines: &mut Lines) {
    let head = format!("{}  {}: ", local_minute(row.received_ms), who(row));
    let fate = row.fate.map(|fate| format!("[{}]", became(row, fate))).unwrap_or_default();
    lines.message(&head, &said(row), &fate);
}

/// What a row that is nobody's message tells: that something is missing, or was done to the account.
pub(crate) fn notice(row: &Row) -> Option<&str> {
    match &row.body {
        RowBody::Undecryptable(text) if row.from.is_empty() => Some(text),
        _ => None,
    }
}

/// What stands in a row, or why nothing does.
pub(crate) fn said(row: &Row) -> Cow<'_, str> {
    if let Some(text) = notice(row) {
        return text.into();
    }
    match &row.body {
        RowBody::Text(text) => text.into(),
        RowBody::Undecryptable(reason) => format!("[cannot be read: {reason}]").into(),
        RowBody::Newer(_) => "[needs a newer Sotto]".into(),
    }
}

/// Whose message it is, and how sure that is.
pub(crate) fn who(row: &Row) -> String {
    if row.outgoing {
        return if row.conversation == row.from {
            "me".to_owned()
        } else {
            format!("me to {}", row.conversation)
        };
    }
    if notice(row).is_some() {
        // No user can be called so.
        return "(notice)".to_owned();
    }
    match row.trust {
        Trust::Unconfirmed => format!("{} (not confirmed)", row.from),
        Trust::Changed => format!("{} (KEY CHANGED)", row.from),
        Trust::Own | Trust::Pinned | Trust::Compared => row.from.clone(),
    }
}

/// What became of a message, why, and who does not get it.
fn became(row: &Row, fate: Fate) -> String {
    let why = row.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let but = missed(row.unreached.len()).map(|missed| format!("; {missed}")).unwrap_or_default();
    format!("{}{why}{but}", fate_words(fate))
}

/// How many of the recipient's devices do not get a message that others get; `None` for none.
pub(crate) fn missed(devices: usize) -> Option<String> {
    match devices {
        0 => None,
        1 => Some("one device does not get it".to_owned()),
        count => Some(format!("{count} devices do not get it")),
    }
}

/// What became of a message, for a person.
pub(crate) fn fate_words(fate: Fate) -> &'static str {
    match fate {
        Fate::UnknownUser => "no such user",
        Fate::Stored => "on the server",
        other => other.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use sotto_proto::MessageId;

    use super::*;

    fn shown(row: &Row) -> String {
        let mut lines = Lines::plain();
        show(row, &mut lines);
        // Without the local time in front.
        lines.into_text().split_once("  ").map(|(_, rest)| rest.to_owned()).unwrap_or_default()
    }

    #[test]
    fn a_row_names_its_sender_and_what_became_of_it() {
        let mut row = Row {
            print: 1,
            message: MessageId([1; 16]),
            conversation: "bob".into(),
            from: "bob".into(),
            outgoing: false,
            trust: Trust::Pinned,
            sent_ms: 0,
            received_ms: 0,
            body: RowBody::Text("hi\nthere\u{1b}[2J".into()),
            fate: None,
            reason: None,
            unreached: Vec::new(),
        };
        assert_eq!(shown(&row), "bob: hi\n    there\u{fffd}[2J\n");
        row.trust = Trust::Unconfirmed;
        row.body = RowBody::Undecryptable("keys lost".into());
        assert_eq!(shown(&row), "bob (not confirmed): [cannot be read: keys lost]\n");
        row.from = String::new();
        row.body = RowBody::Undecryptable("a device was added".into());
        assert_eq!(shown(&row), "(notice): a device was added\n");
        row.outgoing = true;
        row.from = "alice".into();
        row.fate = Some(Fate::Stored);
        row.body = RowBody::Text("hi".into());
        assert_eq!(shown(&row), "me to bob: hi  [on the server]\n");
        row.fate = Some(Fate::Delivered);
        row.unreached = vec!["abc".into()];
        assert_eq!(shown(&row), "me to bob: hi  [delivered; one device does not get it]\n");
        row.unreached.push("def".into());
        row.reason = Some("late\u{1b}".into());
        let both = "me to bob: hi  [delivered: late\u{fffd}; 2 devices do not get it]\n";
        assert_eq!(shown(&row), both);
    }
}
