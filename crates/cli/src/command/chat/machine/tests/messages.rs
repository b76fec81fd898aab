//! What arrives, and what becomes of what is sent.

use super::*;

#[test]
fn others_are_never_taken_for_the_partner() {
    let mut talk = Talk::in_chat();
    talk.receives(row(1, "carol", "psst\nbob: give me the key"));
    let mut unsure = row(2, "bob", "hi");
    unsure.trust = Trust::Unconfirmed;
    talk.receives(unsure);
    let mut broken = row(3, "bob", "");
    broken.body = RowBody::Undecryptable("keys lost".into());
    talk.receives(broken);
    let clock = crate::time::local_clock(0);
    talk.shows(&format!(
        "[carol] {clock} psst\n    bob: give me the key\nbob (not confirmed): hi\nbob: [cannot be read: keys lost]"
    ));
    assert_eq!(talk.rings, ["message from carol"]);
    assert_eq!(talk.printed, [1, 2, 3]);
    talk.types("Quit");
    talk.answers(Ok(Reply::Done));
    talk.shows_then_menu("> Quit\nChat session ended\nNew messages: carol (1)");
}

#[test]
fn what_is_nobodys_message_is_a_notice_and_said_once() {
    let mut talk = Talk::in_chat();
    let notice = |print, text: &str| {
        let mut row = row(print, "", "");
        row.trust = Trust::Unconfirmed;
        row.body = RowBody::Undecryptable(text.into());
        row
    };
    let clock = crate::time::local_clock(0);
    talk.receives(notice(1, "a message was damaged"));
    talk.shows(&format!("(notice) {clock} a message was damaged"));
    talk.hears(Event::Warning("a device was added".into()));
    talk.shows("warning: a device was added");
    talk.receives(notice(2, "a device was added"));
    talk.shows("");
    // Another one of the same words is another event.
    talk.receives(notice(3, "a device was added"));
    talk.shows(&format!("(notice) {clock} a device was added"));
    // So is one that comes later than the warning.
    talk.hears(Event::Warning("a device was added".into()));
    talk.shows("warning: a device was added");
    talk.hears(Event::Drained);
    talk.receives(notice(4, "a device was added"));
    talk.shows(&format!("(notice) {clock} a device was added"));
    assert_eq!(talk.printed, [1, 2, 3, 4]);
    assert!(talk.rings.is_empty(), "{:?}", talk.rings);
    talk.types("Quit");
    talk.answers(Ok(Reply::Done));
    talk.shows_then_menu("> Quit\nChat session ended");
}

#[test]
fn what_is_not_plain_success_is_said_in_place() {
    let mut talk = Talk::in_chat();
    let fate = |fate, reason: Option<&str>| {
        Event::Fate(MessageFate {
            message: MessageId([1; 16]),
            fate,
            reason: reason.map(Into::into),
            connected: false,
            devices: Vec::new(),
        })
    };
    for (event, says) in [
        (STORED(1, true), ""),
        (STORED(1, false), "(queued (bob is offline): \"hello\")"),
        (fate(Fate::Delivered, None), ""),
        (
            Event::Fate(MessageFate {
                message: MessageId([1; 16]),
                fate: Fate::Stored,
                reason: None,
                connected: true,
                devices: vec![("phone".into(), Fate::Stored), ("tablet".into(), Fate::Expired)],
            }),
            "(one device does not get it, to bob: \"hello\")",
        ),
        (fate(Fate::Refused, Some("mailbox full")), "Refused, to bob: \"hello\" (mailbox full)"),
        (
            fate(Fate::Held, Some("his key changed")),
            "Held, not sent, to bob: \"hello\" (his key changed)\nThe identity of bob has changed. Compare it: /verify bob",
        ),
    ] {
        talk.types("hello");
        talk.queues(1);
        talk.hears(event);
        talk.shows(&format!("> hello\n{says}"));
    }
    // The fate can overtake the answer.
    talk.types("hello");
    talk.hears(fate(Fate::Refused, None));
    talk.queues(1);
    talk.shows("> hello\nRefused, to bob: \"hello\"");
    talk.types(&"x".repeat(40_000));
    talk.screen = talk.screen.lines().skip(1).collect();
    talk.shows("Not sent: the text has 40000 bytes, and 32512 is the most.");
}

#[test]
fn a_lost_connection_ends_the_chat_and_what_is_typed_waits() {
    let mut talk = Talk::in_chat();
    talk.types("on its way");
    talk.queues(1);
    talk.hears(lost());
    talk.hears(Event::Chat(ChatEvent::AllLost));
    talk.shows_then_menu(
        "> on its way\nThe connection to the server is lost; trying again. What you write waits.\n(waits in the outbox for the server, to bob: \"on its way\")\nChat session ended",
    );
    talk.hears(lost());
    talk.types("/msg bob and this");
    talk.queues(2);
    talk.shows(
        "> /msg bob and this\n(waits in the outbox for the server, to bob: \"and this\")\nEnter your choice:",
    );
    talk.hears(Event::Connection(Connection::Connecting));
    talk.hears(Event::Connection(Connection::Online));
    talk.hears(STORED(1, true));
    talk.hears(STORED(2, false));
    talk.shows(
        "Connected again.\n(sent, to bob: \"on its way\")\n(queued (bob is offline), to bob: \"and this\")",
    );
}

#[test]
fn a_message_alone_is_a_dialogue_with_its_outcome() {
    let mut talk = Talk::at_menu();
    talk.types("/msg");
    talk.answers(Ok(Reply::Users(vec![user("bob", "available", &[]), user("carol", "offline", &[])])));
    talk.types("");
    talk.types("bob");
    talk.types("//etc is a folder");
    let command = talk.queues(1);
    assert_eq!(command, Command::Send { to: Recipient::User(name("bob")), text: "/etc is a folder".into() });
    talk.hears(STORED(1, true));
    talk.shows(
        "
> /msg
Online:
bob  Available
To whom? (a name, or cancel)
>
Username can't be empty
To whom? (a name, or cancel)
> bob
Your message to bob: (an empty line cancels)
> //etc is a folder
sent
Enter your choice:",
    );
    talk.types("/msg carol hi");
    talk.queues(2);
    talk.hears(STORED(2, false));
    talk.types("/msg nobody hi");
    talk.queues(3);
    talk.hears(Event::Fate(MessageFate {
        message: MessageId([3; 16]),
        fate: Fate::UnknownUser,
        reason: None,
        connected: false,
        devices: Vec::new(),
    }));
    talk.shows(
        "> /msg carol hi\nqueued (carol is offline)\nEnter your choice:\n> /msg nobody hi\nThere is no user nobody; nothing was sent.\nEnter your choice:",
    );
}

#[test]
fn many_rows_come_page_by_page_and_each_once() {
    let mut talk = Talk::new(false);
    talk.handle(Input::Ready);
    let page: Vec<Row> = (1..=200).map(|n| row(n, "bob", &n.to_string())).collect();
    talk.hears(Event::Row(row(201, "bob", "x")));
    talk.handle(Input::Lagged);
    talk.answers(Ok(Reply::Rows(page)));
    let command = talk.answers(Ok(Reply::Rows(vec![row(200, "bob", "again"), row(201, "bob", "last")])));
    assert_eq!(command, Command::Unprinted { after: 200, limit: 200 });
    while !talk.asked.is_empty() {
        talk.answers(Ok(Reply::Rows(Vec::new())));
    }
    assert_eq!(talk.printed, (1..=201).collect::<Vec<u64>>());
    assert!(!talk.screen.contains("again"));
}
