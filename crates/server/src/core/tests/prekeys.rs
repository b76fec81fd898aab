//! Publishing and claiming.

use std::collections::BTreeSet;

use sotto_proto::frame::{KeyCounts, PublishKeys};

use super::*;

fn publish(bench: &mut Bench, id: ConnectionId, upload: PrekeyUpload) -> ServerFrame {
    bench.ask(id, ClientFrame::PublishKeys(PublishKeys { upload }))
}

#[test]
fn two_hundred_who_fetch_at_once_never_get_the_same_one_time_key() {
    let mut bench = Bench::new();
    let (bob, bob_id) = bench.online("bob", 250);
    let ServerFrame::KeyCounts(counts) = publish(&mut bench, bob_id, bob.prekeys(0, 2..52)) else { panic!() };
    assert_eq!((counts.counts.one_time, counts.counts.one_time_kem), (50, 50));
    let clients: Vec<ConnectionId> = (1..=200).map(|n| bench.online(&format!("user-{n}-x"), n).1).collect();
    bench.hold();
    for id in &clients {
        let claim = ClaimBundles { account: bob.account, devices: vec![bob.devices[0].id], one_time: true };
        bench.send(*id, 5, ClientFrame::ClaimBundles(claim));
    }
    bench.release();
    let (mut curve, mut kem, mut last_resort) = (BTreeSet::new(), BTreeSet::new(), 0);
    for id in clients {
        let ServerFrame::Bundles(bundles) = bench.answer(id, 5) else { panic!() };
        let bundle = &bundles.bundles[0];
        bundle.verify(&bob.account, &bob.devices[0].certificate.certificate().device_key, NOW).unwrap();
        if let Some(one_time) = &bundle.one_time {
            assert!(curve.insert(one_time.id), "{:?} twice", one_time.id);
        }
        if bundle.kem_one_time {
            assert!(kem.insert(bundle.kem.id), "{:?} twice", bundle.kem.id);
        } else {
            last_resort += 1;
        }
    }
    assert_eq!((curve.len(), kem.len(), last_resort), (50, 50, 150));
    let told = bench.pushes(bob_id);
    assert!(
        matches!(told.last(), Some(ServerFrame::KeyCounts(KeyCounts { counts })) if counts.one_time == 0),
        "the owner is told that none are left: {told:?}"
    );
}

#[test]
fn forged_and_too_many_prekeys_are_refused() {
    let mut bench = Bench::new();
    let (alice, id) = bench.online("alice", 1);
    let mut forged = alice.prekeys(0, 2..4);
    forged.signed.as_mut().unwrap().key.0[0] ^= 1;
    assert!(
        matches!(publish(&mut bench, id, forged), ServerFrame::Error(reply) if reply.code == ErrorCode::BAD_KEYS)
    );
    let mut swapped = alice.prekeys(0, 2..4);
    swapped.last_resort = swapped.one_time_kem.first().cloned();
    assert!(
        matches!(publish(&mut bench, id, swapped), ServerFrame::Error(reply) if reply.code == ErrorCode::BAD_KEYS),
        "a one-time key as last resort"
    );
    let mut many = alice.prekeys(0, 2..4);
    let one = many.one_time[0].clone();
    many.one_time = vec![one; 101];
    assert!(
        matches!(publish(&mut bench, id, many), ServerFrame::Error(reply) if reply.code == ErrorCode::LIMIT)
    );
}

#[test]
fn uploads_have_no_part_in_the_line_of_passwords_and_come_one_at_a_time() {
    let config = CoreConfig { hashing_line: 1, ..CoreConfig::default() };
    let mut bench = Bench::with(config, StoreConfig::default());
    let (alice, id) = bench.online("alice", 1);
    bench.jobs = Some(Vec::new());
    for request in 1..=3 {
        let upload = alice.prekeys(0, request..request + 1);
        bench.send(id, request, ClientFrame::PublishKeys(PublishKeys { upload }));
    }
    let stranger = bench.greet();
    bench.send(stranger, 9, User::new("bob", 2).register());
    assert_eq!(bench.jobs.as_ref().map(Vec::len), Some(2), "one upload, and the registration's list");
    for _ in 0..3 {
        bench.work_held();
    }
    assert_eq!(bench.answer(stranger, 9), ServerFrame::Done);
    for request in 1..=3 {
        assert!(matches!(bench.answer(id, request), ServerFrame::KeyCounts(_)));
    }
}

#[test]
fn unknown_devices_and_devices_without_keys_are_named_and_draining_is_slowed() {
    let mut bench = Bench::new();
    let (alice, id) = bench.online("alice", 1);
    let bob = User::new("bob", 2);
    bench.register(&bob);
    let stranger = DeviceId([88; 16]);
    let claim = ClaimBundles {
        account: bob.account,
        devices: vec![bob.devices[0].id, stranger, bob.devices[0].id],
        one_time: true,
    };
    let ServerFrame::Bundles(bundles) = bench.ask(id, ClientFrame::ClaimBundles(claim)) else { panic!() };
    assert_eq!((bundles.bundles.len(), bundles.missing), (0, vec![stranger, bob.devices[0].id]));
    let claim = ClaimBundles { account: AccountId([9; 16]), devices: Vec::new(), one_time: false };
    assert_eq!(bench.refused(id, ClientFrame::ClaimBundles(claim)).code, ErrorCode::UNKNOWN_USER);
    let limited = (0..=CoreConfig::default().claim_burst).find_map(|_| match bench.claim(id, &bob, 0) {
        ServerFrame::Error(reply) => Some(reply),
        _ => None,
    });
    assert_eq!(limited.map(|reply| reply.code), Some(ErrorCode::RATE_LIMITED));
    bench.now_ms += CLAIM_REFILL_MS;
    assert!(matches!(bench.claim(id, &bob, 0), ServerFrame::Bundles(_)));
    drop(alice);
}
