//! How the terminal is treated: typing while messages arrive, pasting, leaving, and screens that can do little.

use super::{at_menu, in_chat, seat, seat_of};
use crate::town::{Town, lines};

#[test]
fn a_half_typed_line_survives_a_hundred_messages_and_is_sent_as_typed() {
    let town = Town::new().unwrap();
    let (alice, bob) = (town.person("alice").unwrap(), town.person("bob").unwrap());
    for more in [&[][..], &["--plain"]] {
        // High enough to hold all of them.
        let mut a = seat_of(&town, &alice, more, (200, 60));
        at_menu(&a, "alice");
        // The line is longer than the screen is wide; where lines are only added, its end is shown.
        let typed = "/msg bob this was typed before a hundred messages came, and goes on for more than a row";
        let (before, after) = typed.split_at(typed.len() - 9);
        a.types(before).unwrap();
        let shown = |rows: &[String], typed: &str| {
            let seen = rows.concat();
            let seen = seen.rsplit("alice> ").next().unwrap_or_default();
            let end = seen.trim_start_matches('\u{2026}');
            if more.is_empty() { seen == typed } else { end.len() > 30 && typed.ends_with(end) }
        };
        a.until("what was typed", |rows| shown(rows, before)).unwrap();
        let sent = bob
            .run_with_input(&["send", "alice", "--lines"], &lines(100, |n| format!("message {n} of all")))
            .unwrap();
        assert_eq!(sent.code, 0, "{sent:?}");
        a.until("all of it", |rows| {
            let arrived: Vec<&str> = rows
                .iter()
                .filter(|row| row.starts_with("[bob] "))
                .map(|row| row.get(12..).unwrap_or_default())
                .collect();
            let expected: Vec<String> = (0..100).map(|n| format!("message {n} of all")).collect();
            arrived == expected && shown(rows, before)
        })
        .unwrap();
        a.enters(after).unwrap();
        a.shows("queued (bob is offline)").unwrap();
        let received = bob.ok(&["recv"]).unwrap();
        assert_eq!(received.messages().pop().unwrap().text, &typed["/msg bob ".len()..]);
        a.enters("exit").unwrap();
        assert_eq!(a.code().unwrap(), 0);
    }
}

#[test]
fn a_paste_with_line_breaks_is_one_message() {
    let town = Town::new().unwrap();
    let (alice, bob) = (town.person("alice").unwrap(), town.person("bob").unwrap());
    let (mut a, b) = in_chat(&town, &alice, &bob);
    a.types("\u{1b}[200~one\r3\rexit\r\u{1b}]0;owned\u{7}two\u{1b}[201~").unwrap();
    // The replacement characters are there, but this terminal does not draw them.
    a.mentions("one\u{21b5}3\u{21b5}exit\u{21b5}]0;ownedtwo").unwrap();
    a.enters("").unwrap();
    b.ends(&["alice: one", "    3", "    exit", "    ]0;ownedtwo", "bob>"]).unwrap();
    assert!(
        a.raw().contains("\u{fffd}]0;owned\u{fffd}two") && b.raw().contains("\u{fffd}]0;owned\u{fffd}two")
    );
    assert!(!a.raw().contains("\u{1b}]0;") && !b.raw().contains("\u{1b}]0;"));
}

#[test]
fn keys_edit_complete_and_remember() {
    let town = Town::new().unwrap();
    let (alice, _bob) = (town.person("alice").unwrap(), town.person("bob").unwrap());
    let mut a = seat(&town, &alice, &[]);
    at_menu(&a, "alice");
    // The names that can be completed are known with the list.
    a.enters("1").unwrap();
    a.shows("bob  Offline").unwrap();
    a.types("/he\t").unwrap();
    a.ends(&["alice> /help"]).unwrap();
    a.types("\u{15}/msg b\t").unwrap();
    a.ends(&["alice> /msg bob"]).unwrap();
    a.types("\u{3}").unwrap();
    a.ends(&["Enter your choice:", "alice>"]).unwrap();
    a.enters("5").unwrap();
    a.mentions("\"5\" is not a choice").unwrap();
    a.types("\u{1b}[A").unwrap();
    a.ends(&["Enter your choice:", "alice> 5"]).unwrap();
    a.types("\u{7f}\u{3}").unwrap();
    assert_eq!(a.code().unwrap(), 130, "Ctrl-C on an empty line");
    assert!(a.echoes().unwrap(), "the terminal is as it was");
    assert!(
        a.raw().ends_with("\u{1b}[?2004l") || a.raw().contains("\u{1b}[?2004l"),
        "pastes are as they were"
    );
}

#[test]
fn a_signal_leaves_the_terminal_as_it_was() {
    let town = Town::new().unwrap();
    let alice = town.person("alice").unwrap();
    let mut a = seat(&town, &alice, &[]);
    at_menu(&a, "alice");
    assert!(!a.echoes().unwrap());
    a.types("half").unwrap();
    a.ends(&["alice> half"]).unwrap();
    let id = rustix::process::Pid::from_raw(i32::try_from(a.id().unwrap()).unwrap()).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    assert_eq!(a.code().unwrap(), 130);
    assert!(a.echoes().unwrap());
}

#[test]
fn it_takes_the_place_of_a_program_that_kept_the_profile() {
    let town = Town::new().unwrap();
    let (alice, bob) = (town.person("alice").unwrap(), town.person("bob").unwrap());
    let mut owner = alice.start(&["recv", "--follow"], "").unwrap();
    bob.ok(&["send", "alice", "for whoever is first"]).unwrap();
    owner.line(sotto_tests::sotto::COMMAND).unwrap().unwrap();
    let mut a = seat(&town, &alice, &[]);
    at_menu(&a, "alice");
    a.enters("1").unwrap();
    a.shows("bob  Offline").unwrap();
    owner.kill().unwrap();
    a.mentions("Connected again.").unwrap();
    bob.ok(&["send", "alice", "still there?"]).unwrap();
    a.until("the message", |rows| rows.iter().any(|row| row.ends_with(" still there?"))).unwrap();
    a.types("half").unwrap();
    a.ends(&["alice> half"]).unwrap();
    a.types("\u{3}\u{4}").unwrap();
    assert_eq!(a.code().unwrap(), 0);
}

/// Without a shell nobody could let it go on, so the kernel does not stop it; the way is the same until then.
#[test]
fn a_stop_gives_the_terminal_back_and_takes_it_again() {
    let town = Town::new().unwrap();
    let alice = town.person("alice").unwrap();
    let mut a = seat(&town, &alice, &[]);
    at_menu(&a, "alice");
    a.types("half\u{1a} and half").unwrap();
    a.ends(&["Enter your choice:", "alice> half and half"]).unwrap();
    assert!(!a.echoes().unwrap());
    assert_eq!(a.raw().matches("\u{1b}[?2004h").count(), 2, "taken twice");
    a.types("\u{3}\u{3}").unwrap();
    assert_eq!(a.code().unwrap(), 130);
    assert!(a.echoes().unwrap());
}

#[test]
fn another_size_keeps_the_line_in_its_place() {
    let town = Town::new().unwrap();
    let (alice, bob) = (town.person("alice").unwrap(), town.person("bob").unwrap());
    let mut a = seat(&town, &alice, &[]);
    at_menu(&a, "alice");
    a.types("/msg bob something").unwrap();
    a.ends(&["alice> /msg bob something"]).unwrap();
    a.resize((24, 60)).unwrap();
    bob.ok(&["send", "alice", "hi"]).unwrap();
    a.until("both", |rows| {
        rows.iter().any(|row| row.starts_with("[bob] "))
            && rows.last().unwrap() == "alice> /msg bob something"
    })
    .unwrap();
    assert_eq!(a.rows().iter().filter(|row| row.starts_with("alice> /msg")).count(), 1, "{a:?}");
}

#[test]
fn a_simple_terminal_gets_no_escape_sequence_at_all() {
    let town = Town::new().unwrap();
    let (alice, bob) = (town.person("alice").unwrap(), town.person("bob").unwrap());
    let password = alice.password_file().to_str().unwrap().to_owned();
    let mut a = sotto_tests::screen::Screen::start(&sotto_tests::screen::Start {
        arguments: vec!["--data-dir", alice.data_dir().to_str().unwrap(), "chat"],
        home: town.dir(),
        environment: vec![("SOTTO_PASSWORD_FILE", &password), ("TERM", "dumb")],
        size: sotto_tests::screen::ORDINARY,
    })
    .unwrap();
    at_menu(&a, "alice");
    a.types("/msg bob hexx\u{7f}\u{7f}llo").unwrap();
    bob.ok(&["send", "alice", "hi"]).unwrap();
    a.until("both", |rows| {
        rows.iter().any(|row| row.starts_with("[bob] ")) && rows.last().unwrap() == "alice> /msg bob hello"
    })
    .unwrap();
    a.enters("").unwrap();
    a.mentions("queued (bob is offline)").unwrap();
    a.enters("exit").unwrap();
    assert_eq!(a.code().unwrap(), 0);
    assert!(!a.raw().contains('\u{1b}'), "{:?}", a.raw());
}

#[test]
fn a_message_rings_and_the_configuration_says_how() {
    let town = Town::new().unwrap();
    let (alice, bob) = (town.person("alice").unwrap(), town.person("bob").unwrap());
    std::fs::create_dir_all(town.dir().join(".config/sotto")).unwrap();
    for (config, bell, notice) in [
        ("", true, false),
        ("bell = false\n", false, false),
        ("bell = false\nnotify = \"osc9\"\n", false, true),
    ] {
        std::fs::write(town.dir().join(".config/sotto/config.toml"), config).unwrap();
        let mut a = seat(&town, &alice, &[]);
        at_menu(&a, "alice");
        bob.ok(&["send", "alice", "wake up"]).unwrap();
        a.until("the message", |rows| rows.iter().any(|row| row.ends_with(" wake up"))).unwrap();
        a.enters("exit").unwrap();
        assert_eq!(a.code().unwrap(), 0);
        let raw = a.raw();
        assert_eq!(raw.contains("\u{1b}]9;Sotto: message from bob\u{7}"), notice, "{config:?}: {raw:?}");
        assert_eq!(
            raw.replace("\u{1b}]9;Sotto: message from bob\u{7}", "").contains('\u{7}'),
            bell,
            "{config:?}"
        );
    }
}
