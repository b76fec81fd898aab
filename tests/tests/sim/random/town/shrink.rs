//! Makes a seed that fails shorter.

use std::{collections::BTreeSet, panic};

use super::{asked, plan::Plan, run};

/// Whether a plan still fails, and with what.
fn failure(plan: &Plan) -> Option<String> {
    let result = panic::catch_unwind(|| run(plan));
    let what = result.err()?;
    let text = what.downcast_ref::<String>().cloned();
    Some(text.or_else(|| what.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default())
}

/// First without each kind of steps, for as long as that makes a difference; then the least number of steps, by halving: more
/// steps may repair what fewer break, so it is the least only of those that were tried.
///
/// `None` if the seed does not fail; else why, and what to ask for.
pub(super) fn shrink(seed: u64) -> Option<String> {
    let whole = asked(seed);
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let mut reason = failure(&whole);
    let mut without = BTreeSet::new();
    let mut steps = whole.steps;
    if reason.is_some() {
        let (mut passes, mut fails) = (0, steps);
        while passes + 1 < fails {
            let middle = u64::midpoint(passes, fails);
            match failure(&Plan::new(seed, Some(middle), &without)) {
                Some(why) => (fails, reason) = (middle, Some(why)),
                None => passes = middle,
            }
        }
        steps = fails;
        for kind in whole.kinds() {
            without.insert(kind.clone());
            match failure(&Plan::new(seed, Some(steps), &without)) {
                Some(why) => reason = Some(why),
                None => drop(without.remove(&kind)),
            }
        }
    }
    panic::set_hook(hook);
    let without = without.into_iter().collect::<Vec<_>>().join(",");
    reason.map(|why| {
        format!("{why}\n\nSOTTO_SIM_FIRST={seed} SOTTO_SIM_SEEDS=1 SOTTO_SIM_STEPS={steps} SOTTO_SIM_WITHOUT={without}")
    })
}
