//! Many at the same moment.

use std::collections::HashSet;

use sotto_tests::running::Running;
use sotto_tests::sotto::COMMAND;

use crate::town::Town;

#[test]
fn of_those_who_race_for_one_name_exactly_one_gets_it() {
    let town = Town::new().unwrap();
    for name in ["heron", "egret", "stork"] {
        let racers: Vec<Running> = (0..4)
            .map(|racer| {
                let client = town.machine_of(name, &format!("{name}-{racer}")).unwrap();
                client.start(&["register", town.server.address(), name], "").unwrap()
            })
            .collect();
        let codes: Vec<i32> =
            racers.into_iter().map(|racer| racer.wait(COMMAND).unwrap().code.unwrap()).collect();
        assert_eq!(codes.iter().filter(|&&code| code == 0).count(), 1, "{name}: {codes:?}");
        assert!(codes.iter().all(|&code| code == 0 || code == 1), "{name}: {codes:?}");
    }
}

#[test]
fn many_who_write_to_one_device_at_once_are_all_read() {
    let town = Town::new().unwrap();
    let bob = town.person("bob").unwrap();
    let people: Vec<_> = (0..8).map(|number| town.person(&format!("writer{number}x")).unwrap()).collect();
    let writing: Vec<Running> =
        people.iter().map(|person| person.start(&["send", "@bob", person.name()], "").unwrap()).collect();
    for writer in writing {
        let finished = writer.wait(COMMAND).unwrap();
        assert_eq!(finished.code, Some(0), "{finished:?}");
    }
    let received = bob.ok(&["recv"]).unwrap();
    assert_eq!(received.of_type("undecryptable").count(), 0);
    let messages = received.messages();
    assert!(messages.iter().all(|message| message.from == message.text), "{messages:?}");
    let senders: HashSet<&String> = messages.iter().map(|message| &message.from).collect();
    assert_eq!((messages.len(), senders.len()), (8, 8));
}
