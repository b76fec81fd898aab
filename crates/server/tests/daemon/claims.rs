//! One-time prekeys are handed out once, however many ask at the same moment.

use std::{collections::HashSet, sync::Barrier, thread::scope};

use sotto_proto::{
    frame::ServerFrame,
    prekey::{PrekeyBundle, PrekeyCounts},
};

use crate::{
    client::{Client, Person},
    program::Daemon,
};

/// Clients that ask at once, each with an account of its own: accounts share a limit, not a connection.
const CLIENTS: u16 = 200;
/// Keys that are published: fewer than clients, so that some get none.
const CURVE: u32 = 100;
const KEM: u32 = 50;

fn claim(client: &mut Client, whose: &Person) -> PrekeyBundle {
    let ServerFrame::Bundles(mut bundles) = client.ask(&whose.claim()) else { panic!("no bundles") };
    assert!(bundles.missing.is_empty());
    assert_eq!(bundles.bundles.len(), 1);
    bundles.bundles.remove(0)
}

fn counts(client: &mut Client, whose: &Person) -> PrekeyCounts {
    let ServerFrame::KeyCounts(counts) = client.ask(&whose.keys(0..0, 0..0)) else { panic!("no counts") };
    counts.counts
}

#[test]
fn two_hundred_clients_at_once_get_no_one_time_key_twice() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), &[]);
    let owner = Person::new("owner", CLIENTS);
    let mut at_owner = Client::online(&daemon.address, &owner);
    let ServerFrame::KeyCounts(published) = at_owner.ask(&owner.keys(1..CURVE + 1, 1..KEM + 1)) else {
        panic!()
    };
    assert_eq!((published.counts.one_time, published.counts.one_time_kem), (CURVE, KEM));

    let person = |number: u16| Person::new(&format!("u{number}"), number);
    let first = claim(&mut Client::online(&daemon.address, &person(0)), &owner);
    assert!(first.one_time.is_some() && first.kem_one_time, "one claim gets one of each");
    let left = counts(&mut at_owner, &owner);
    assert_eq!((left.one_time, left.one_time_kem), (CURVE - 1, KEM - 1));

    let barrier = Barrier::new(usize::from(CLIENTS));
    let bundles: Vec<PrekeyBundle> = scope(|scope| {
        let claimants: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (server, owner, barrier) = (&daemon.address, &owner, &barrier);
                scope.spawn(move || {
                    let person = person(number);
                    let mut client = match number {
                        0 => Client::signed_in(server, &person),
                        _ => Client::online(server, &person),
                    };
                    barrier.wait();
                    claim(&mut client, owner)
                })
            })
            .collect();
        claimants.into_iter().map(|claimant| claimant.join().unwrap()).collect()
    });

    let curve: Vec<u32> = bundles.iter().filter_map(|bundle| Some(bundle.one_time.as_ref()?.id.0)).collect();
    let kem: Vec<u32> =
        bundles.iter().filter(|bundle| bundle.kem_one_time).map(|bundle| bundle.kem.id.0).collect();
    for (handed_out, first, published) in
        [(curve, first.one_time.unwrap().id.0, CURVE), (kem, first.kem.id.0, KEM)]
    {
        let all: HashSet<u32> = handed_out.iter().copied().chain([first]).collect();
        assert_eq!(all.len(), handed_out.len() + 1, "a key was handed out twice: {handed_out:?} and {first}");
        assert_eq!(all, (1..=published).collect(), "not all that were published");
    }
    assert!(bundles.iter().all(|bundle| bundle.signed == bundles[0].signed));
    let last_resort = bundles.iter().filter(|bundle| !bundle.kem_one_time);
    assert!(last_resort.clone().count() == usize::from(CLIENTS) - KEM as usize + 1);
    assert_eq!(last_resort.map(|bundle| bundle.kem.id.0).collect::<HashSet<_>>(), HashSet::from([1]));
    let none = counts(&mut at_owner, &owner);
    assert_eq!((none.one_time, none.one_time_kem), (0, 0));

    // Also what was handed out just before a crash is gone.
    daemon.kill();
    let daemon = Daemon::start(folder.path(), &[]);
    let after = claim(&mut Client::signed_in(&daemon.address, &person(1)), &owner);
    assert!(after.one_time.is_none() && !after.kem_one_time);
}
