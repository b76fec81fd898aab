//! Points of a round at which a program is killed: which operation on its disk, and whether before or after it.

use std::collections::BTreeMap;
use std::fmt;

use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use sotto_tests::faultfs::{Break, Cut, FaultFs, On, Strike, Which};

use crate::stage::cut;

/// Operations that change a disk: before one of them and after it are two different states.
const CHANGES: [On; 3] = [On::Write, On::Sync, On::Name];
/// Operations that can fail.
const ALL: [On; 5] = [On::Write, On::Sync, On::Name, On::Open, On::Read];

/// How many operations of each kind a whole round makes on a disk.
#[derive(Debug)]
pub(crate) struct Counts(Vec<(On, u64)>);

impl Counts {
    /// Begins to count on a disk.
    pub(crate) fn begin(disk: &FaultFs) {
        disk.count(Which::new(&ALL, ""));
    }

    /// What was counted.
    pub(crate) fn of(disk: &FaultFs) -> Self {
        let counts = Self(ALL.iter().map(|&on| (on, disk.counted(on))).collect());
        println!("a whole round makes {:?}", counts.0);
        assert!(counts.changes().next().is_some(), "a round that changes nothing on the disk");
        counts
    }

    fn changes(&self) -> impl Iterator<Item = (On, u64)> {
        self.0.iter().copied().filter(|(on, count)| CHANGES.contains(on) && *count > 0)
    }

    /// A moment anywhere in the round.
    pub(crate) fn moment(&self, rng: &mut StdRng) -> Moment {
        let of = self.0.iter().map(|(_, count)| count).sum();
        Moment { nth: part(of, rng), of }
    }

    /// A point at which the power fails.
    pub(crate) fn draw_cut(&self, rng: &mut StdRng) -> Point {
        Point { then: Then::Cut, ..self.draw(0, rng) }
    }

    /// A point anywhere in the round. The same seed lands at the same part of a round that is a little longer; every
    /// second seed is one of a power cut.
    pub(crate) fn draw(&self, seed: u64, rng: &mut StdRng) -> Point {
        let there: Vec<_> = self.changes().collect();
        let &(on, of) = there.get(rng.random_range(0..there.len())).expect("asserted above");
        let nth = part(of, rng);
        let after = rng.random_bool(0.5);
        let then = if seed.is_multiple_of(2) { Then::Cut } else { Then::Start };
        Point { on, nth, of, after, then }
    }
}

/// From 1 to `of`, each as likely.
fn part(of: u64, rng: &mut StdRng) -> u64 {
    1 + ((u64::from(rng.next_u32()) * of) >> 32)
}

/// A moment of a round: after so many operations of any kind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    nth: u64,
    of: u64,
}

impl Moment {
    /// Lets the disk break then.
    pub(crate) fn arm(self, disk: &FaultFs, how: Break) {
        disk.strike_at(Which::new(&ALL, ""), self.nth, Strike::Break(how));
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at operation {} of {}", self.nth, self.of)
    }
}

/// What happens to the machine after the kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// The program is started again.
    Start,
    /// The power fails first.
    Cut,
}

/// Where a program is killed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    on: On,
    nth: u64,
    of: u64,
    after: bool,
    pub(crate) then: Then,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { on, nth, of, .. } = self;
        write!(f, "{} {on:?} {nth} of {of}", if self.after { "after" } else { "before" })?;
        if self.then == Then::Cut { f.write_str(", then the power fails") } else { Ok(()) }
    }
}

impl Point {
    /// Arms the disk.
    pub(crate) fn arm(&self, disk: &FaultFs) {
        let strike = if self.after { Strike::KillAfter } else { Strike::KillBefore };
        disk.strike_at(Which::new(&[self.on], ""), self.nth, strike);
    }
}

/// What all rounds of a kind came to.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    kind: String,
    rounds: u64,
    /// Rounds in which something un-synced was dropped.
    lossy_rounds: u64,
    /// Points that did not come before the round's end.
    missed: u64,
    points: BTreeMap<String, u64>,
    cuts: u64,
    lossy: u64,
}

impl Tally {
    pub(crate) fn new(kind: &str) -> Self {
        Self { kind: kind.to_owned(), ..Self::default() }
    }

    /// A round.
    pub(crate) fn round(&mut self, lossy: bool) {
        self.rounds += 1;
        self.lossy_rounds += u64::from(lossy);
    }

    /// Power cuts that dropped something, until now.
    pub(crate) fn lossy(&self) -> u64 {
        self.lossy
    }

    /// A point, and whether it came.
    pub(crate) fn point(&mut self, point: &Point, came: bool) {
        println!("{}: {point}{}", self.kind, if came { "" } else { ": did not come" });
        if came {
            let when = if point.after { "after" } else { "before" };
            *self.points.entry(format!("{when} {:?}", point.on)).or_default() += 1;
        } else {
            self.missed += 1;
        }
    }

    /// How a disk broke, and whether its moment came.
    pub(crate) fn broken(&mut self, how: Break, moment: Moment, came: bool) {
        println!("{}: {how:?} {moment}{}", self.kind, if came { "" } else { ": did not come" });
        if came {
            *self.points.entry(format!("{how:?}")).or_default() += 1;
        } else {
            self.missed += 1;
        }
    }

    /// A power cut.
    pub(crate) fn cut(&mut self, cut: Cut) {
        self.cuts += 1;
        self.lossy += u64::from(cut.is_lossy());
    }

    /// Cuts the power if the point says so.
    pub(crate) fn cut_at(&mut self, point: &Point, whose: &str, disk: &FaultFs, rng: &mut StdRng) {
        if point.then == Then::Cut {
            self.cut(cut(whose, disk, rng));
        }
    }

    /// Says it all, and that the rounds were worth something.
    pub(crate) fn end(self) {
        let Self { kind, rounds, lossy_rounds, missed, points, cuts, lossy } = self;
        let reached: u64 = points.values().sum();
        println!(
            "{kind}: {rounds} rounds; struck {reached} times {points:?}, {missed} points not reached; {cuts} power cuts, \
             {lossy} of which dropped something un-synced, in {lossy_rounds} rounds"
        );
        assert!(rounds == 0 || reached + lossy > 0, "{kind}: nothing happened in any round");
    }
}
