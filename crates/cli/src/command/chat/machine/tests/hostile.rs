//! Text that others have a hand in.

use super::*;

/// Everything that others have a hand in, with everything that terminals act on, on every surface.
#[test]
fn no_escape_reaches_the_screen_by_any_way() {
    const EVIL: &str =
        "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}\u{200b}\u{2066}\r\u{8}\u{7f}\u{e0041}\u{feff}";
    let mut talk = Talk::started(vec![row(1, EVIL, EVIL)]);
    let error = || ClientError::new(ErrorKind::Unreachable, EVIL).cause(EVIL).hint(EVIL);
    let evil = || EVIL.to_owned();
    let everybody = || Ok(Reply::Users(vec![user(EVIL, "available", &[]), user(EVIL, EVIL, &[EVIL, EVIL])]));
    talk.types("1");
    talk.answers(everybody());
    talk.types("2");
    talk.answers(everybody());
    talk.types(EVIL);
    talk.types("cancel");
    talk.types("/msg");
    talk.answers(everybody());
    talk.types(EVIL);
    talk.types("bob");
    talk.types(EVIL);
    talk.queues(1);
    talk.hears(Event::Fate(MessageFate {
        message: MessageId([1; 16]),
        fate: Fate::Refused,
        reason: Some(evil()),
        connected: false,
        devices: vec![(evil(), Fate::Refused)],
    }));
    talk.types(EVIL);
    talk.types(&format!("/{EVIL}"));
    talk.types(&format!("/msg {EVIL} {EVIL}"));
    talk.types(&format!("/verify {EVIL}"));
    talk.types(&format!("/outbox {EVIL}"));
    talk.types("/verify bob");
    talk.answers(Ok(Reply::Safety(sotto_client::api::Safety {
        user: evil(),
        trust: Trust::Changed,
        number: evil(),
        new_number: Some(evil()),
        held: 1,
    })));
    talk.types("/outbox");
    talk.answers(Ok(Reply::Outbox(vec![sotto_client::api::OutboxEntry {
        message: MessageId([1; 16]),
        to: evil(),
        fate: Fate::Held,
        reason: Some(evil()),
        created_ms: 0,
        text: evil(),
    }])));
    talk.types("1");
    talk.answers(Err(error()));
    talk.hears(Event::Warning(evil()));
    talk.hears(Event::DevicesWait(vec![evil()]));
    for event in [
        ChatEvent::Invited { chat: ChatId(1), from: evil(), with: Vec::new(), expires_in_ms: 1 },
        ChatEvent::InviteEnded { chat: ChatId(1), why: InviteEnd::Denied(evil()) },
        ChatEvent::Invited { chat: ChatId(2), from: evil(), with: vec![evil()], expires_in_ms: 1 },
        ChatEvent::Invited { chat: ChatId(3), from: evil(), with: Vec::new(), expires_in_ms: 1 },
        ChatEvent::InviteEnded { chat: ChatId(3), why: InviteEnd::Gone(evil()) },
        ChatEvent::Started { chat: ChatId(4), with: vec![evil()] },
        ChatEvent::Started { chat: ChatId(5), with: vec![evil(), evil()] },
    ] {
        talk.hears(Event::Chat(event));
    }
    while !talk.asked.is_empty() {
        talk.answers(Err(error()));
    }
    talk.hears(Event::Chat(ChatEvent::Started { chat: ChatId(7), with: vec!["bob".into()] }));
    let mut broken = row(3, "bob", "");
    broken.body = RowBody::Undecryptable(evil());
    broken.print = 0;
    talk.answers(Ok(Reply::Rows(vec![broken.clone()])));
    broken.print = 3;
    talk.receives(broken);
    talk.receives(row(4, "bob", EVIL));
    talk.receives(row(5, EVIL, EVIL));
    talk.types(EVIL);
    talk.answers(Err(error()));
    let begun = talk.machine.context();
    talk.hears(Event::Chat(ChatEvent::Ended { chat: ChatId(7), why: ChatEnd::Lost("bob".into()) }));
    talk.types_late(EVIL, begun);
    talk.hears(Event::Connection(Connection::Offline { error: error(), retry_in_ms: Some(1) }));
    let shown: String = talk.screen.lines().filter(|line| !line.starts_with("> ")).collect();
    assert!(shown.contains("\u{fffd}[2J"));
    for hostile in EVIL.chars().filter(|c| !c.is_ascii_graphic()) {
        assert!(!shown.contains(hostile), "{hostile:?} in {shown:?}");
    }
}
