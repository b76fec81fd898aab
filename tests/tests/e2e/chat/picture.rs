//! A picture of several live chats at once, made of what really stood on the screens.

use std::fmt::Write;
use std::path::Path;

use super::{MENU, at_menu, in_chat, seat};
use crate::town::Town;

/// Two chats of two people each, and somebody who lists them. `SOTTO_RECORD=1` writes the picture anew.
#[test]
fn two_live_chats_run_beside_each_other() {
    let town = Town::new().unwrap();
    let people: Vec<_> =
        ["albert", "bertha", "carol", "dave", "erin"].iter().map(|name| town.person(name).unwrap()).collect();
    let (mut albert, mut bertha) = in_chat(&town, &people[0], &people[1]);
    let (mut carol, mut dave) = in_chat(&town, &people[2], &people[3]);
    let mut erin = seat(&town, &people[4], &[]);
    at_menu(&erin, "erin");

    albert.enters("Did you see the rehearsal plan?").unwrap();
    bertha.ends(&["albert: Did you see the rehearsal plan?", "bertha>"]).unwrap();
    carol.enters("The build is green.").unwrap();
    dave.ends(&["carol: The build is green.", "dave>"]).unwrap();
    bertha.enters("Yes: Friday at six.").unwrap();
    albert.ends(&["bertha: Yes: Friday at six.", "albert>"]).unwrap();
    dave.enters("Then I will ship it.").unwrap();
    carol.ends(&["dave: Then I will ship it.", "carol>"]).unwrap();
    erin.enters("1").unwrap();
    let list = [
        "albert  Chatting with bertha",
        "bertha  Chatting with albert",
        "carol   Chatting with dave",
        "dave    Chatting with carol",
    ];
    let mut end = list.to_vec();
    end.extend(MENU);
    end.push("erin>");
    erin.ends(&end).unwrap();
    dave.enters("Quit").unwrap();
    carol
        .ends(&[&["dave left the conversation", "Chat session ended"][..], &MENU, &["carol>"]].concat())
        .unwrap();
    dave.ends(&[&["Chat session ended"][..], &MENU, &["dave>"]].concat()).unwrap();
    albert.enters("See you there.").unwrap();
    bertha.ends(&["albert: See you there.", "bertha>"]).unwrap();

    let mut picture = String::new();
    for (name, screen) in
        [("albert", &albert), ("bertha", &bertha), ("carol", &carol), ("dave", &dave), ("erin", &erin)]
    {
        writeln!(picture, "== {name}'s screen {}", "=".repeat(66 - name.len())).unwrap();
        for row in screen.rows() {
            writeln!(picture, "{row}").unwrap();
        }
        writeln!(picture).unwrap();
    }
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/pictures/live-chats.txt");
    if std::env::var_os("SOTTO_RECORD").is_some() {
        std::fs::create_dir_all(recorded.parent().unwrap()).unwrap();
        std::fs::write(&recorded, &picture).unwrap();
    }
    assert_eq!(picture, std::fs::read_to_string(recorded).unwrap());
}
