//! After everything: whoever has talked can still talk, and the two sides of each pair of devices use the same session.

use rand::seq::SliceRandom;
use sotto_client::api::Fate;

use super::{
    plan::Plan,
    steps::{MARKER, Town, Typed},
};

/// Longer than a client waits for the keys of a device.
const KEYLESS_MS: u64 = 65_000;
/// Pairs of accounts that are looked at: all of a small town.
const PAIRS: usize = 6;

/// Every device of the one account writes to the other one, then the other way round.
pub(super) fn check_converged(town: &mut Town, plan: &Plan) {
    let mut pairs: Vec<(usize, usize)> = Vec::new();
    for typed in &town.typed {
        let from = town.account(typed.device);
        let pair = (from.min(typed.to), from.max(typed.to));
        if !pairs.contains(&pair) {
            pairs.push(pair);
        }
    }
    pairs.shuffle(&mut plan.rng(u64::MAX - 1));
    for (one, other) in pairs.into_iter().take(PAIRS) {
        for (from, to) in [(one, other), (other, one)] {
            let devices: Vec<usize> = town.listed().filter(|device| town.account(*device) == from).collect();
            for device in devices {
                talk(town, device, to);
            }
        }
        same_sessions(town, one, other);
    }
}

/// One message, which everybody has at once, or once a device that has never published keys was waited for.
fn talk(town: &mut Town, device: usize, to: usize) {
    let (from, text) =
        (town.account(device), format!("{MARKER} {device} to {to}: at last {}", town.typed.len()));
    let name = town.names[to].clone();
    let message = town.world.send(device, &name, &text);
    let command = town.world.devices[device].commands();
    town.typed.push(Typed { device, to, command, text: text.clone() });
    town.world.pass(KEYLESS_MS);
    let fate = town.world.fate(device, message);
    assert_eq!(fate, Fate::Delivered, "device {device}, to {name} at last");
    for reader in town.listed() {
        if reader != device && (town.account(reader) == to || town.account(reader) == from) {
            let screen = town.world.screen(reader);
            let last = screen.last().unwrap();
            assert!(last.ends_with(&text), "device {reader} shows {last} after {text}");
        }
    }
}

fn same_sessions(town: &mut Town, one: usize, other: usize) {
    for mine in town.listed() {
        for theirs in town.listed() {
            if town.account(mine) == one && town.account(theirs) == other {
                let here = town.world.sending_session(mine, theirs);
                let there = town.world.sending_session(theirs, mine);
                assert!(
                    here.is_some() && here == there,
                    "devices {mine} and {theirs}: {here:?} and {there:?}"
                );
            }
        }
    }
}
