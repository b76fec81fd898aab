//! A server whose directory is closed, and the real clients.

use crate::town::Town;

#[test]
fn a_message_that_arrives_at_a_running_client_makes_two_people_see_each_other() {
    let town = Town::with(|options| options.environment("SOTTOD_DIRECTORY", "closed")).unwrap();
    let (alice, bob) = (town.person("alice").unwrap(), town.person("bob").unwrap());
    let _carol = town.person("carol").unwrap();
    let seen = |person: &sotto_tests::sotto::Client| {
        let answer = person.ok(&["users"]).unwrap();
        let names = answer.of_type("user").map(|user| user["name"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    assert!(seen(&alice).is_empty() && seen(&bob).is_empty());
    alice.ok(&["send", "@bob", "are you there?"]).unwrap();
    assert!(seen(&alice).is_empty(), "bob's client has not run since");
    bob.ok(&["recv"]).unwrap();
    assert_eq!(seen(&alice), ["bob"]);
    assert_eq!(seen(&bob), ["alice"]);
}
