//! A town: up to 30 accounts with one to four devices each, and whatever can go wrong between them, their server and its disk,
//! for weeks. What people type and what is seen at the wires and at the store says what must be on each screen in the end, and
//! what each sender must have been told; the clients are not asked.
//!
//! A seed that fails is made shorter by `SOTTO_SIM_SHRINK=1` beside `SOTTO_SIM_FIRST=SEED SOTTO_SIM_SEEDS=1`: it prints the
//! least number of steps and the kinds of steps that it still fails with, as `SOTTO_SIM_STEPS` and `SOTTO_SIM_WITHOUT`.

mod bounds;
mod converge;
mod plan;
mod shrink;
mod steps;
mod verdict;

use std::collections::BTreeSet;

use self::{
    bounds::{check_bounds, check_search, check_secrecy},
    converge::check_converged,
    plan::Plan,
    shrink::shrink,
    steps::Town,
    verdict::judge,
};
use super::seeds;

/// Seeds of the short part: small ones, and those that once failed.
#[rustfmt::skip] // It would join lines over the comments.
const FIXED: &[u64] = &[
    1, 4, 8, 9, 11, 14, 33, 39, 47,
    // A sender that was away for so long that nobody can say whether its message was fetched believed it on the server for ever.
    27,
    // A signed key was wiped while the server still handed it out, because the upload of its successor had been lost.
    38,
    // What a new device had received before it knew the sender was dropped without a word, because it was away for 60 days.
    178,
    // One-time keys that the server still handed out were wiped, or had been signed for too short a time.
    107,
    // A device that had no keys yet held up for ever what was for the other devices of its account.
    46,
    // Small mailboxes: a receipt beyond its sender's share waits for 10 s, which the last look did not allow.
    1005,
    // One-time keys that had expired were handed out, one in vain after another, before any that could be used.
    1120,
    // A device that was added while another one's mailbox refused had later messages first.
    1114,
    // What a device had not got when it expired in the outbox was told nobody, where another device had its copy.
    360,
    // The same where the answer to the first copies was lost and could not be had again.
    338,
    // A device whose keys had expired was left out, and neither its sender nor its owner was told.
    2043,
    // The same where the server said only weeks later that the message was stored.
    6822,
    // Keys were wiped that something held for its sender's list still needed.
    2306,
    // What had been held for months was answered in its session, which the peer had dropped.
    2714,
    // A device that wrote first, before anybody knew of its keys, had later messages before earlier ones.
    4495,
    // A connected device learned only at its next login that another one had been added to its account.
    1946,
    // A message of which nobody can know any more was without the reason that says so, where a copy for an own device had left later.
    9299,
];

fn run(plan: &Plan) {
    let mut town = Town::new(plan);
    town.run();
    town.recover();
    town.show();
    let summary = judge(&mut town);
    check_bounds(&mut town);
    // It is final: nothing is different after everybody has started again, and a day has passed.
    town.start_again();
    assert_eq!(judge(&mut town), summary, "what was final has changed");
    check_converged(&mut town, plan);
    town.retry_refused();
    judge(&mut town);
    check_bounds(&mut town);
    check_secrecy(&mut town);
    check_search(&mut town);
    eprintln!("  {}", town.count());
}

/// The steps and kinds that the environment leaves.
fn asked(seed: u64) -> Plan {
    let steps = std::env::var("SOTTO_SIM_STEPS").ok().and_then(|text| text.parse().ok());
    let without = std::env::var("SOTTO_SIM_WITHOUT").unwrap_or_default();
    let without: BTreeSet<String> = without.split(',').map(str::to_owned).collect();
    Plan::new(seed, steps, &without)
}

#[test]
fn whatever_happens_in_a_town_the_promise_holds() {
    for seed in seeds(FIXED) {
        let plan = asked(seed);
        eprintln!("seed {seed}, a town of {:?} devices, {} steps", plan.people, plan.steps);
        if std::env::var_os("SOTTO_SIM_SHRINK").is_none() {
            run(&plan);
        } else if let Some(shorter) = shrink(seed) {
            panic!("{shorter}");
        }
    }
}
