//! How much of it: rounds, messages, seeds.

use std::env;

use rand::SeedableRng;
use rand::rngs::StdRng;

/// Rounds where nothing is said: enough to see a fault that most kills show, short enough for each commit.
const ROUNDS: u64 = 2;
/// Messages of a round where nothing is said.
const MESSAGES: usize = 150;

fn number(name: &str, default: u64) -> u64 {
    match env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")),
        Err(_) => default,
    }
}

/// Messages of one round.
pub(crate) fn messages() -> usize {
    usize::try_from(number("SOTTO_CRASH_MESSAGES", MESSAGES as u64)).unwrap()
}

/// Runs all rounds of a kind. A failure names its seed.
pub(crate) fn rounds(kind: &str, mut round: impl FnMut(u64, &mut StdRng) -> anyhow::Result<()>) {
    let first = number("SOTTO_CRASH_SEED", 1);
    for seed in first..first + number("SOTTO_CRASH_ROUNDS", ROUNDS) {
        println!("{kind}: seed {seed}");
        if let Err(error) = round(seed, &mut StdRng::seed_from_u64(seed)) {
            panic!("{kind}: SOTTO_CRASH_SEED={seed} SOTTO_CRASH_ROUNDS=1: {error:#}");
        }
    }
}
