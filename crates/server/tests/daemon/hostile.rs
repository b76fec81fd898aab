//! The hostile server does lie, so that the tests which use it test something.

use sotto_proto::frame::{ClientFrame, LookupLists, Outcome, ServerFrame};

use crate::{
    client::{Client, Person},
    program::Daemon,
};

fn lookup(client: &mut Client, name: &str) -> Vec<u8> {
    let lookup = LookupLists { names: vec![name.to_owned()], accounts: Vec::new() };
    let ServerFrame::Lists(lists) = client.ask(&ClientFrame::LookupLists(lookup)) else { panic!() };
    lists.lists[0].as_ref().unwrap().to_vec()
}

#[test]
fn orders_are_carried_out_for_whom_they_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let daemon = Daemon::start_program(env!("CARGO_BIN_EXE_sottod-hostile"), folder.path());
    let (alice, bob, carol) = (Person::new("alice", 1), Person::new("bob", 2), Person::new("carol", 3));
    // Another identity under Bob's name, with his account's id.
    let false_bob = Person::new("bob", 9).with_account_of(&bob);
    std::fs::write(path("list"), false_bob.list()).unwrap();
    let orders =
        format!("record {}\nshow alice {}\ndamage bob 1\n", path("seen").display(), path("list").display());
    std::fs::write(path("hostile"), orders).unwrap();
    let (mut at_alice, mut at_carol) = (Client::online(&daemon, &alice), Client::online(&daemon, &carol));
    let mut at_bob = Client::online(&daemon, &bob);
    at_bob.attach();
    assert_eq!(lookup(&mut at_alice, "bob"), false_bob.list());
    assert_eq!(lookup(&mut at_carol, "bob"), bob.list());
    assert_eq!(std::fs::read(path("seen/bob.1")).unwrap(), bob.list());
    let ServerFrame::Submitted(submitted) = at_alice.ask(&alice.submit(1, &false_bob)) else { panic!() };
    assert_eq!(submitted.devices[0].outcome, Outcome::UnknownDevice, "taken with the false list");
    at_carol.ask(&carol.submit(2, &bob));
    at_carol.ask(&carol.submit(3, &bob));
    let last = |client: &mut Client| *client.delivery().envelope.last().unwrap();
    assert_eq!((last(&mut at_bob), last(&mut at_bob)), (3, 3), "2 with a bit flipped, then 3 as it is");
}
