//! What the server's operator, or whoever has broken in, can try: the real clients against `examples/sottod-hostile`.

use std::fs;
use std::path::PathBuf;

use memchr::memmem;
use sotto_tests::sotto::{Answer, Client};

use crate::town::{Town, texts};

/// The files in a folder of the test, in order of their names.
fn files(town: &Town, folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(town.path(folder)).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// The device lists of somebody that a server with the order `record seen` has seen, oldest first.
fn lists_of(town: &Town, name: &str) -> Vec<String> {
    let number = |path: &PathBuf| -> Option<u64> {
        path.file_name()?.to_str()?.strip_prefix(name)?.strip_prefix('.')?.parse().ok()
    };
    let mut lists: Vec<(u64, String)> = files(town, "seen")
        .iter()
        .filter_map(|path| Some((number(path)?, path.to_str()?.to_owned())))
        .collect();
    lists.sort();
    lists.into_iter().map(|(_, path)| path).collect()
}

fn path(town: &Town, name: &str) -> String {
    town.path(name).to_str().unwrap().to_owned()
}

fn record(town: &Town) -> String {
    format!("record {}", path(town, "seen"))
}

/// `pose VIEWER …`: the viewer takes somebody of another server for who they say they are.
fn pose(town: &Town, viewer: &str, elsewhere: &Town, name: &str) -> String {
    let list = lists_of(elsewhere, name).pop().unwrap();
    let keys = path(elsewhere, &format!("seen/{name}.keys"));
    format!("pose {viewer} {list} {keys} {}", path(town, "taken"))
}

fn warned(answer: &Answer, words: &str) -> bool {
    answer.warnings().iter().any(|warning| warning.contains(words))
}

/// The fates of one's own messages to somebody, as the history has them.
fn fates(person: &Client, conversation: &str) -> Vec<String> {
    let history = person.ok(&["history", conversation]).unwrap();
    let own = history.of_type("message").filter_map(|message| message["fate"].as_str());
    own.map(str::to_owned).collect()
}

fn received(person: &Client) -> Vec<String> {
    person.ok(&["recv"]).unwrap().messages().into_iter().map(|message| message.text).collect()
}

#[test]
fn what_is_sent_to_a_swapped_list_is_held_until_the_new_number_is_trusted() {
    let (town, elsewhere) = (Town::hostile().unwrap(), Town::hostile().unwrap());
    elsewhere.order(&[record(&elsewhere)]).unwrap();
    elsewhere.person("bob").unwrap().ok(&["recv"]).unwrap();
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| town.person(name).unwrap());
    alice.ok(&["send", "@bob", "before"]).unwrap();
    assert_eq!(received(&bob), ["before"]);

    town.order(&[pose(&town, "alice", &elsewhere, "bob")]).unwrap();
    let held = alice.run(&["send", "@bob", "a secret"]).unwrap().expect_code(5).unwrap();
    assert_eq!(held.fates().pop().unwrap().state, "held");
    assert!(warned(&held, "the identity of bob has changed"), "{held:?}");
    alice.run(&["send", "@bob", "another"]).unwrap().expect_code(5).unwrap();
    carol.ok(&["send", "@bob", "whoever is shown the true list is not disturbed"]).unwrap();
    assert_eq!(received(&bob).len(), 1);
    assert!(files(&town, "taken").is_empty(), "something left");

    let shown = alice.ok(&["verify", "bob"]).unwrap();
    assert_eq!(shown.field("trust"), Some("changed"));
    let (old, new) = (shown.field("number").unwrap(), shown.field("new_number").unwrap());
    assert_ne!(old, new);
    alice.run(&["trust", "bob", "--number", &"00000 ".repeat(12)]).unwrap().expect_code(5).unwrap();
    alice.ok(&["recv"]).unwrap();
    assert!(files(&town, "taken").is_empty(), "something left without trust");
    // Only somebody who is talked into it gets here.
    let mut said = vec![alice.ok(&["trust", "bob", "--number", new]).unwrap()];
    // It says that it has stored them, and has not: that is noticed by a command that still runs when the server answers,
    // and what it lost is sent again, by that command or the next, once in ten minutes.
    let lost = |said: &[Answer]| {
        said.iter().filter(|said| warned(said, "the server has lost 2 messages of yours")).count()
    };
    for _ in 0..20 {
        said.push(alice.ok(&["recv"]).unwrap());
        // An empty outbox alone may be that of a command that ended between the notice and what follows from it.
        if files(&town, "taken").len() == 4 && alice.outbox().unwrap().is_empty() {
            break;
        }
    }
    said.push(alice.ok(&["recv"]).unwrap());
    assert_eq!(lost(&said), 1, "{said:?}");
    assert!(alice.outbox().unwrap().is_empty());
    assert_eq!(fates(&alice, "@bob")[1..], ["stored", "stored"]);
    let taken = files(&town, "taken");
    assert_eq!(taken.len(), 4, "{taken:?}");
    for envelope in taken {
        let bytes = fs::read(envelope).unwrap();
        assert!(memmem::find(&bytes, b"secret").or(memmem::find(&bytes, b"another")).is_none());
    }
    assert!(received(&bob).is_empty(), "the first bob got what was meant for the second");
}

#[test]
fn the_pinned_list_shown_again_sends_what_was_held_to_its_own_devices_only() {
    let (town, elsewhere) = (Town::hostile().unwrap(), Town::hostile().unwrap());
    elsewhere.order(&[record(&elsewhere)]).unwrap();
    elsewhere.person("bob").unwrap().ok(&["recv"]).unwrap();
    let [alice, bob] = ["alice", "bob"].map(|name| town.person(name).unwrap());
    alice.ok(&["send", "@bob", "before"]).unwrap();
    town.order(&[pose(&town, "alice", &elsewhere, "bob")]).unwrap();
    alice.run(&["send", "@bob", "a secret"]).unwrap().expect_code(5).unwrap();
    town.order(&[]).unwrap();
    // A command stays for a moment after its own work; on a busy machine the rest is the next one's.
    let mut told = false;
    for _ in 0..20 {
        told |= warned(&alice.ok(&["recv"]).unwrap(), "the server shows the pinned key of bob again");
        if alice.outbox().unwrap().is_empty() {
            break;
        }
    }
    assert!(told);
    assert!(alice.outbox().unwrap().is_empty());
    assert_eq!(received(&bob), ["before", "a secret"]);
    assert!(files(&town, "taken").is_empty());
}

#[test]
fn a_message_under_a_contact_s_name_from_somebody_else_changes_nothing() {
    let (town, elsewhere) = (Town::hostile().unwrap(), Town::hostile().unwrap());
    town.order(&[record(&town)]).unwrap();
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| town.person(name).unwrap());
    alice.ok(&["send", "@bob", "hello"]).unwrap();
    bob.ok(&["recv"]).unwrap();
    bob.ok(&["send", "@alice", "hello yourself"]).unwrap();
    assert_eq!(received(&alice), ["hello yourself"]);
    let number = alice.ok(&["verify", "bob"]).unwrap().field("number").unwrap().to_owned();

    // Another bob, of another server, seals a message for this alice.
    let _decoy = elsewhere.person("alice").unwrap();
    let impostor = elsewhere.person("bob").unwrap();
    elsewhere.order(&[pose(&elsewhere, "bob", &town, "alice")]).unwrap();
    impostor.ok(&["send", "@alice", "the key has moved, ask me for it"]).unwrap();
    let envelope = files(&elsewhere, "taken").pop().unwrap();

    town.order(&[format!("replace alice {}", envelope.display())]).unwrap();
    carol.ok(&["send", "@alice", "the server puts the other one in place of this"]).unwrap();
    let nothing = alice.ok(&["recv"]).unwrap();
    let rows = nothing.objects.iter().filter(|object| object["type"] != "end").count();
    assert_eq!(rows, 0, "{nothing:?}");
    let contacts = alice.ok(&["contact", "list"]).unwrap();
    let known = contacts.of_type("contact").find(|contact| contact["name"] == "bob").unwrap();
    assert_eq!((&known["trust"], &known["impostors"]), (&"pinned".into(), &1.into()), "{known}");
    assert_eq!(texts(&alice.history("@bob").unwrap()), ["hello", "hello yourself"]);
    let verified = alice.ok(&["verify", "bob"]).unwrap();
    assert_eq!((verified.field("number"), verified.field("new_number")), (Some(number.as_str()), None));
    alice.ok(&["send", "@bob", "was that you?"]).unwrap();
    assert_eq!(received(&bob), ["was that you?"]);
}

/// Bob with a desk and a laptop, whom Alice has written with when he had the desk alone.
struct TwoMachines {
    town: Town,
    alice: Client,
    desk: Client,
    laptop: Client,
    /// `show alice LIST`, with the list of the desk alone.
    old: String,
}

impl TwoMachines {
    /// With what Alice is shown while the laptop signs in.
    fn new(orders: impl Fn(&str) -> Vec<String>) -> Self {
        let town = Town::hostile().unwrap();
        town.order(&[record(&town)]).unwrap();
        let alice = town.person("alice").unwrap();
        let desk = town.stranger("bob").unwrap();
        let phrase = desk.register(town.server.address()).unwrap();
        alice.ok(&["send", "@bob", "hello"]).unwrap();
        desk.ok(&["recv"]).unwrap();
        desk.ok(&["send", "@alice", "hello yourself"]).unwrap();
        alice.ok(&["recv"]).unwrap();
        let old = format!("show alice {}", lists_of(&town, "bob")[0]);
        town.order(&orders(&old)).unwrap();
        let laptop = town.sign_in("bob", "laptop", &phrase).unwrap();
        Self { town, alice, desk, laptop, old }
    }
}

#[test]
fn a_list_that_is_withheld_is_noticed_and_holds_messages_until_it_is_shown() {
    let TwoMachines { town, alice, desk, laptop, .. } = TwoMachines::new(|old| vec![old.to_owned()]);
    laptop.ok(&["send", "@alice", "from the laptop"]).unwrap();
    let waits = alice.ok(&["recv"]).unwrap();
    assert!(waits.messages().is_empty(), "{waits:?}");
    assert!(warned(&waits, "a device that is not in the device list which the server serves"), "{waits:?}");

    // The desk hears of the laptop, and its next message names the new list.
    desk.ok(&["recv"]).unwrap();
    desk.ok(&["send", "@alice", "from the desk"]).unwrap();
    assert_eq!(received(&alice), ["from the desk"]);
    let held = alice.run(&["send", "@bob", "to all that is yours"]).unwrap().expect_code(5).unwrap();
    assert_eq!(held.fates().pop().unwrap().state, "held");
    assert!(held.field("reason").unwrap().contains("bob has a newer device list"), "{held:?}");
    assert!(received(&desk).is_empty() && alice.outbox().unwrap().len() == 1);

    town.order(&[]).unwrap();
    assert_eq!(received(&alice), ["from the laptop"]);
    assert!(alice.outbox().unwrap().is_empty());
    for machine in [desk, laptop] {
        assert_eq!(received(&machine).last().map(String::as_str), Some("to all that is yours"));
    }
}

#[test]
fn a_list_that_is_rolled_back_is_noticed_and_the_newer_one_is_kept() {
    let TwoMachines { town, alice, desk, laptop, old } = TwoMachines::new(|_| Vec::new());
    alice.ok(&["send", "@bob", "to both"]).unwrap();
    assert_eq!(received(&laptop), ["to both"]);
    assert_eq!(received(&desk), ["to both"]);

    town.order(&[old]).unwrap();
    let sent = alice.ok(&["send", "@bob", "to both again"]).unwrap();
    assert!(warned(&sent, "the server served an old device list of bob"), "{sent:?}");
    assert_eq!(received(&laptop), ["to both again"]);
    assert_eq!(received(&desk), ["to both again"]);
}

#[test]
fn a_damaged_envelope_leaves_a_row_and_is_replaced_by_its_text_in_its_place() {
    let town = Town::hostile().unwrap();
    let [alice, bob] = ["alice", "bob"].map(|name| town.person(name).unwrap());
    alice.ok(&["send", "@bob", "zero"]).unwrap();
    assert_eq!(received(&bob), ["zero"]);
    bob.ok(&["send", "@alice", "go on"]).unwrap();
    alice.ok(&["recv"]).unwrap();
    // Alice's receipt, so that the next envelope is a message.
    bob.ok(&["recv"]).unwrap();

    town.order(&["damage bob 1".to_owned()]).unwrap();
    let sent = alice.ok(&["send", "@bob", "one"]).unwrap();
    alice.ok(&["send", "@bob", "two"]).unwrap();
    let first = bob.ok(&["recv"]).unwrap();
    assert_eq!(texts(&first.messages()), ["two"]);
    let row = first.of_type("undecryptable").next().unwrap();
    assert!(row["reason"].as_str().unwrap().contains("a message was damaged on its way"), "{row}");
    assert!(row["reason"].as_str().unwrap().contains("alice was asked"), "{row}");
    let history = bob.ok(&["history"]).unwrap();
    assert_eq!(history.of_type("undecryptable").count(), 1);

    alice.ok(&["recv"]).unwrap();
    let again = bob.ok(&["recv"]).unwrap();
    assert_eq!(texts(&again.messages()), ["one"]);
    assert_eq!(again.messages()[0].id, sent.fates()[0].id, "under its own id");
    let history = bob.ok(&["history"]).unwrap();
    assert_eq!(history.of_type("undecryptable").count(), 0, "{history:?}");
    assert_eq!(texts(&bob.history("@alice").unwrap()), ["zero", "go on", "one", "two"]);
    alice.ok(&["recv"]).unwrap();
    assert_eq!(fates(&alice, "@bob"), ["delivered"; 3]);
}

#[test]
fn an_envelope_that_comes_again_is_shown_once() {
    let town = Town::hostile().unwrap();
    let [alice, bob] = ["alice", "bob"].map(|name| town.person(name).unwrap());
    // Under its number again, and under the next one's.
    town.order(&["repeat bob 1".to_owned()]).unwrap();
    alice.ok(&["send", "@bob", "one"]).unwrap();
    assert_eq!(received(&bob), ["one"]);
    town.order(&["replay bob 1".to_owned()]).unwrap();
    alice.ok(&["send", "@bob", "lost"]).unwrap();
    alice.ok(&["send", "@bob", "three"]).unwrap();
    assert_eq!(received(&bob), ["three"]);
    assert_eq!(texts(&bob.history("@alice").unwrap()), ["one", "three"]);
    alice.ok(&["recv"]).unwrap();
    let fates = fates(&alice, "@bob");
    assert_eq!((fates[0].as_str(), fates[2].as_str()), ("delivered", "delivered"));
    assert!(["stored", "taken"].contains(&fates[1].as_str()), "{fates:?}");
}

#[test]
fn a_message_that_the_server_drops_is_never_called_delivered() {
    let town = Town::hostile().unwrap();
    let [alice, bob] = ["alice", "bob"].map(|name| town.person(name).unwrap());
    let _recv = bob.start(&["recv", "--follow"], "").unwrap();
    alice.ok(&["send", "@bob", "arrives", "--wait", "delivered"]).unwrap();
    town.order(&["drop bob 1".to_owned()]).unwrap();
    let dropped = alice.run(&["send", "@bob", "dropped", "--wait", "delivered", "--timeout", "5s"]).unwrap();
    let dropped = dropped.expect_code(124).unwrap();
    assert_eq!(dropped.fates().pop().unwrap().state, "stored", "which is the server's word");
    alice.ok(&["send", "@bob", "arrives too", "--wait", "delivered"]).unwrap();
    assert_eq!(texts(&bob.history("@alice").unwrap()), ["arrives", "arrives too"]);
    let fates = fates(&alice, "@bob");
    assert_eq!((fates[0].as_str(), fates[2].as_str()), ("delivered", "delivered"));
    assert!(["stored", "taken"].contains(&fates[1].as_str()), "{fates:?}");
}
