//! What a seed asks for: how many people, which of the things that can happen do, and how often.

use std::collections::BTreeSet;

use rand::{RngExt, SeedableRng, rngs::StdRng};
use sotto_proto::limits::{DAY_MS, MAILBOX_ENVELOPES, MAILBOX_FLOOR_PLACES};
use sotto_server::core::CoreConfig;
use sotto_store::StoreConfig;

/// Up to this seed the server keeps messages for 30 days.
const COMMON_RETENTION: u64 = 10_000;
/// Up to this seed a device that dies does so after one of the first few of the outputs of a batch.
const EARLY_DEATHS: u64 = 10_500;

/// A kind of step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Somebody writes.
    Write,
    /// The server takes frames, of any connections.
    Server,
    /// A device takes inputs.
    Device,
    /// The server's disk takes a group of changes.
    Disk,
    /// What is down comes back: the server, a device, its connection.
    Return,
    /// Seconds pass.
    Clock,
    /// Hours pass at once.
    Hours,
    /// A connection ends, and both sides know.
    Disconnect,
    /// A connection breaks without the server noticing; what was under way is lost.
    Break,
    /// The server notices what broke.
    Notice,
    /// A device dies, at any point of its work.
    Crash,
    /// The server dies, at any point of its work.
    ServerCrash,
    /// The server's store fails, or it dies over a change of it.
    StoreFault,
    /// Changes wait for the disk, or no longer do.
    SlowDisk,
    /// The server's disk is full, or no longer is.
    FullDisk,
    /// Some devices do not reach the server, or do again.
    Partition,
    /// A device takes nothing of what it is sent, or does again.
    SlowReader,
    /// A stranger claims all one-time keys of a device.
    Drain,
    /// A person sits down at a device, or gets up.
    Interactive,
    /// A new machine asks to be added.
    Join,
    /// An old device adds what waits.
    Approve,
    /// A device removes another one of its account.
    Remove,
    /// One device is away for long, while the others live on.
    Away,
    /// All machines sleep for long.
    Sleep,
}

/// Each kind, how often it comes among 1,000 steps or so, and whether every seed has it.
const KINDS: &[(Kind, u32, bool)] = &[
    (Kind::Write, 140, true),
    (Kind::Server, 250, true),
    (Kind::Device, 270, true),
    (Kind::Disk, 60, true),
    (Kind::Return, 140, true),
    (Kind::Clock, 40, true),
    (Kind::Hours, 6, false),
    (Kind::Disconnect, 15, false),
    (Kind::Break, 15, false),
    (Kind::Notice, 15, true),
    (Kind::Crash, 25, false),
    (Kind::ServerCrash, 8, false),
    (Kind::StoreFault, 8, false),
    (Kind::SlowDisk, 6, false),
    (Kind::FullDisk, 4, false),
    (Kind::Partition, 5, false),
    (Kind::SlowReader, 6, false),
    (Kind::Drain, 5, false),
    (Kind::Interactive, 5, false),
    (Kind::Join, 8, false),
    (Kind::Approve, 16, false),
    (Kind::Remove, 5, false),
    (Kind::Away, 3, false),
    (Kind::Sleep, 2, false),
];

/// What stays possible while one device is away for long.
const EVERYDAY: &[Kind] = &[Kind::Write, Kind::Server, Kind::Device, Kind::Disk, Kind::Return, Kind::Clock];

/// A seed's town.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) steps: u64,
    /// Devices of each account.
    pub(super) people: Vec<usize>,
    /// How far each first device's clock is off, milliseconds; the others of an account follow by turns.
    pub(super) skews_ms: Vec<i64>,
    pub(super) config: CoreConfig,
    pub(super) store: StoreConfig,
    kinds: Vec<(Kind, u32)>,
}

impl Plan {
    /// Whether devices die also after many outputs of a batch.
    pub(super) fn late_deaths(&self) -> bool {
        self.seed > EARLY_DEATHS
    }

    /// What a seed asks for, cut after `steps` and without some kinds of steps.
    pub(super) fn new(seed: u64, steps: Option<u64>, without: &BTreeSet<String>) -> Self {
        let mut rng = StdRng::seed_from_u64(seed ^ 0x0074_6f77_6e70_6c61);
        let accounts = match rng.random_range(0..100) {
            0..=59 => rng.random_range(2..=3),
            60..=84 => rng.random_range(4..=6),
            85..=94 => rng.random_range(7..=12),
            _ => rng.random_range(13..=30),
        };
        let people = (0..accounts).map(|_| [1, 1, 1, 2, 2, 3, 4][rng.random_range(0..7)]).collect();
        let skews_ms = (0..16)
            .map(|_| if rng.random_bool(0.5) { 0 } else { rng.random_range(-10..=10) * 60_000 })
            .collect();
        let (mut config, mut store) = (CoreConfig::default(), StoreConfig::default());
        if rng.random_bool(0.25) {
            let places = rng.random_range(12..=40);
            config.mailbox_envelopes = places;
            store.mailbox_envelopes = places;
            store.mailbox_floor_places = places / 4;
        }
        assert!(store.mailbox_envelopes <= MAILBOX_ENVELOPES);
        assert!(store.mailbox_floor_places <= MAILBOX_FLOOR_PLACES);
        if seed > COMMON_RETENTION {
            let retention_ms = [30, 60, 90, 150][rng.random_range(0..4)] * DAY_MS;
            (config.retention_ms, store.retention_ms) = (retention_ms, retention_ms);
        }
        let all = rng.random_range(150..=500);
        let mut kinds = Vec::new();
        for (kind, weight, always) in KINDS {
            if *always || rng.random_bool(0.6) {
                kinds.push((*kind, *weight));
            }
        }
        kinds.retain(|(kind, _)| !without.contains(&format!("{kind:?}")));
        Self { seed, steps: steps.unwrap_or(all).min(all), people, skews_ms, config, store, kinds }
    }

    /// The randomness of one step: its own, so that leaving out other steps does not change it.
    pub(super) fn rng(&self, step: u64) -> StdRng {
        StdRng::seed_from_u64(
            self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (step + 1).wrapping_mul(0xd1b5_4a32_d192_ed03),
        )
    }

    /// What happens in a step; nothing where the kind that was drawn is left out.
    pub(super) fn kind(&self, rng: &mut StdRng) -> Option<Kind> {
        let all: u32 = KINDS.iter().map(|(_, weight, _)| weight).sum();
        let mut place = rng.random_range(0..all);
        for (kind, weight, _) in KINDS {
            if place < *weight {
                return self.kinds.iter().any(|(chosen, _)| chosen == kind).then_some(*kind);
            }
            place -= weight;
        }
        None
    }

    /// One of the things that happen on any day.
    pub(super) fn everyday(rng: &mut StdRng) -> Kind {
        EVERYDAY[rng.random_range(0..EVERYDAY.len())]
    }

    /// The names of the kinds that this seed has.
    pub(super) fn kinds(&self) -> Vec<String> {
        self.kinds.iter().map(|(kind, _)| format!("{kind:?}")).collect()
    }
}
