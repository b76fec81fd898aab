//! How much of it: rounds, messages, seeds.

use std::env;

use rand::SeedableRng;
use rand::rngs::StdRng;

/// Rounds where nothing is said: enough to see a fault that most kills show, short enough for each commit.
const ROUNDS: u64 = 2;
/// Messages of a round where nothing is said.
const MESSAGES: usize = 150;
/// The same where a point of the round is chosen, not a moment: what follows needs not be long for it to be hit.
const FEW_MESSAGES: usize = 40;

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

/// Messages of one round in which a program is killed at a point.
pub(crate) fn few_messages() -> usize {
    usize::try_from(number("SOTTO_CRASH_MESSAGES", FEW_MESSAGES as u64)).unwrap()
}

/// Runs all rounds of a kind. A failure names its seed.
pub(crate) fn rounds(kind: &str, mut round: impl FnMut(u64, &mut StdRng) -> anyhow::Result<()>) {
    let first = number("SOTTO_CRASH_SEED", 1);
    for seed in first..first + number("SOTTO_CRASH_ROUNDS", ROUNDS) {
        println!("{kind}: seed {seed}");
        // Kinds do not draw the same: a short run of all of them is not the same few points each time.
        let mut whole = [0; 32];
        let (number, name) = whole.split_at_mut(8);
        number.copy_from_slice(&seed.to_le_bytes());
        name.iter_mut().zip(kind.bytes()).for_each(|(to, from)| *to = from);
        if let Err(error) = round(seed, &mut StdRng::from_seed(whole)) {
            panic!("{kind}: SOTTO_CRASH_SEED={seed} SOTTO_CRASH_ROUNDS=1: {error:#}");
        }
    }
}
