//! A planted sentence is nowhere on the server: not in its files, its log or its memory, while it is stored and while
//! it is relayed. The same search finds it with the clients.

use sotto_tests::planted::{files_with, in_memory};
use sotto_tests::sotto::COMMAND;
use sotto_tests::sottod::Server;

use crate::town::{Town, lines};

const SENTENCE: &str = "the osprey nests behind the third lighthouse";

fn expect_clean(server: &Server) {
    assert!(!server.log().contains(SENTENCE), "in the log");
    assert_eq!(files_with(server.data_dir(), SENTENCE).unwrap(), Vec::<std::path::PathBuf>::new());
    let (hits, searched) = in_memory(server.id(), SENTENCE).unwrap();
    assert_eq!(hits, 0, "in the memory");
    assert!(searched > 1 << 20, "only {searched} bytes of memory were searched");
}

#[test]
fn the_server_never_holds_what_people_write() {
    let town = Town::with(|options| options.arguments(&["-vv"])).unwrap();
    let (alice, bob) = (town.person("alice").unwrap(), town.person("bob").unwrap());

    // Stored.
    alice.ok(&["send", "@bob", SENTENCE]).unwrap();
    expect_clean(&town.server);
    // The search itself is sound: the server knows the names.
    assert!(in_memory(town.server.id(), "alice").unwrap().0 > 0);
    assert!(!files_with(town.server.data_dir(), "alice").unwrap().is_empty());

    // Replayed, then relayed.
    let recv = bob.start(&["recv", "--follow"], "").unwrap();
    let lines = lines(200, |number| format!("{number}: {SENTENCE}"));
    let sender = alice
        .start(&["send", "@bob", "--lines", "--wait", "delivered", "--timeout", "100s"], &lines)
        .unwrap();
    let mut seen = 0;
    while seen < 201 {
        let line = recv.line(COMMAND).unwrap().expect("recv --follow ended");
        if line.contains(SENTENCE) {
            seen += 1;
            if seen % 40 == 1 {
                expect_clean(&town.server);
            }
        }
    }
    let finished = sender.wait(COMMAND).unwrap();
    assert_eq!(finished.code, Some(0), "{finished:?}");
    expect_clean(&town.server);
    assert!(
        in_memory(recv.id(), SENTENCE).unwrap().0 > 0,
        "the search does not find it in the client's memory"
    );
    // And it is sealed on the clients' disks as well.
    for client in [&alice, &bob] {
        assert_eq!(files_with(client.data_dir(), SENTENCE).unwrap(), Vec::<std::path::PathBuf>::new());
    }
}
