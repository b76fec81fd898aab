//! What happens: the driver of a town.

use std::collections::{BTreeMap, BTreeSet};

use rand::{RngExt, rngs::StdRng, seq::IndexedRandom};
use sotto_client::core::{Input as ClientInput, WithKey};
use sotto_proto::{
    content::kind,
    limits::{DAY_MS, PEER_SILENCE_MS},
};

use super::{
    bounds::check_secrecy,
    plan::{Kind, Plan},
};
use crate::world::{Death, Observed, PASSWORD, StoreFault, Stranger, World};

/// What every text that is written here begins with, so that it is found wherever it should not be.
pub(super) const MARKER: &str = "xq-plain-text";
/// Everybody.
const NAMES: [&str; 30] = [
    "alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy", "kevin", "laura",
    "mallory", "niaj", "olga", "peggy", "quinn", "rupert", "sybil", "trent", "ursula", "victor", "walter",
    "xenia", "yves", "zoe", "arthur", "bertha", "conrad", "dora",
];
/// Long enough for everything that is tried again within a day, and what follows from it.
const AFTERWARDS_MS: u64 = 25 * 3_600_000;
/// Long enough for seven such waits, one after another.
const RETRIES_MS: u64 = 30 * 60_000;

/// What somebody typed.
#[derive(Debug, Clone)]
pub(super) struct Typed {
    pub(super) device: usize,
    /// The recipient's account.
    pub(super) to: usize,
    /// The number of the command.
    pub(super) command: u64,
    pub(super) text: String,
}

pub(super) struct Town {
    pub(super) world: World,
    pub(super) names: Vec<String>,
    pub(super) typed: Vec<Typed>,
    /// Machines that wait to be added to an account.
    strangers: Vec<(usize, Stranger)>,
    /// Devices that do not reach the server.
    cut_off: BTreeSet<usize>,
    /// A device that is away.
    away: Option<usize>,
    full_disk: bool,
    /// Whether the search for texts has found an account's id in what the server was sent.
    pub(super) searched: bool,
    /// Devices at which nobody sits.
    got_up: BTreeSet<usize>,
    plan: Plan,
}

impl Town {
    pub(super) fn new(plan: &Plan) -> Self {
        let mut world = World::with(plan.seed, plan.config, plan.store);
        world.observed = Some(Observed::default());
        let mut names = Vec::new();
        for (number, devices) in plan.people.iter().enumerate() {
            let name = NAMES[number % NAMES.len()].to_owned();
            world.person(&name);
            for _ in 1..*devices {
                world.second_device(number, None);
            }
            names.push(name);
        }
        let mut town = Self {
            world,
            names,
            typed: Vec::new(),
            strangers: Vec::new(),
            cut_off: BTreeSet::new(),
            away: None,
            full_disk: false,
            searched: false,
            got_up: BTreeSet::new(),
            plan: plan.clone(),
        };
        town.set_clocks();
        town
    }

    /// Gives new devices the clocks that the plan has for them.
    fn set_clocks(&mut self) {
        for index in 0..self.world.devices.len() {
            self.world.devices[index].skew_ms = self.plan.skews_ms[index % self.plan.skews_ms.len()];
        }
    }

    pub(super) fn account(&self, device: usize) -> usize {
        self.world.devices[device].account
    }

    /// Whether the server let a device go for good: it was removed.
    pub(super) fn stopped(&self, device: usize) -> bool {
        self.world.devices[device].closed.as_ref().is_some_and(|(_, reconnect)| !reconnect)
    }

    pub(super) fn run(&mut self) {
        for step in 0..self.plan.steps {
            let mut rng = self.plan.rng(step);
            if let Some(kind) = self.plan.kind(&mut rng) {
                if std::env::var_os("SOTTO_SIM_SHOW").is_some() {
                    eprintln!("step {step}: {kind:?}");
                }
                self.step(step, kind, &mut rng);
                check_secrecy(self);
            }
        }
    }

    fn step(&mut self, step: u64, kind: Kind, rng: &mut StdRng) {
        let device = rng.random_range(0..self.world.devices.len());
        match kind {
            Kind::Write => self.write(step, device, rng),
            Kind::Server => {
                for _ in 0..rng.random_range(1..10) {
                    self.world.run_server_at(rng.random_range(0..1_000_000));
                }
            }
            Kind::Device => self.run_device(device, rng),
            Kind::Disk => drop(self.world.run_disk(rng.random_range(1..16))),
            Kind::Return => self.come_back(device, rng),
            Kind::Clock => {
                let ms = rng.random_range(0..20_000);
                self.pass(ms, rng);
            }
            Kind::Hours => {
                let ms = rng.random_range(1..30) * 3_600_000;
                self.pass(ms, rng);
            }
            Kind::Disconnect => {
                self.world.lose_frames(device, rng.random_range(0..8));
                self.world.disconnect(device);
            }
            Kind::Break => self.world.break_unnoticed(device, rng.random_range(0..8)),
            Kind::Notice => self.world.notice_broken(),
            Kind::Crash => self.crash(device, rng),
            Kind::ServerCrash if rng.random_bool(0.5) => self.world.crash_server(),
            Kind::ServerCrash => self.world.faults.dies_after = Some(rng.random_range(0..12)),
            Kind::StoreFault => {
                let done = rng.random_bool(0.5);
                let fails = rng.random_bool(0.5);
                self.world.faults.store =
                    Some(if fails { StoreFault::Fails { done } } else { StoreFault::Dies { done } });
            }
            Kind::SlowDisk => self.world.faults.slow_disk ^= true,
            Kind::FullDisk => {
                self.full_disk ^= true;
                self.world.store.set_disk_full(self.full_disk);
            }
            Kind::Partition => self.partition(rng),
            Kind::SlowReader => self.world.slow_reader(device, rng.random_bool(0.5)),
            Kind::Drain => {
                let id = self.world.devices[device].id;
                self.world.drain_one_time_keys(id);
            }
            Kind::Interactive => self.toggle(device),
            Kind::Join => self.join(device),
            Kind::Approve => self.approve(device, rng),
            Kind::Remove => self.remove(device, rng),
            Kind::Away => self.be_away(device, step, rng),
            Kind::Sleep => {
                let ms = [25, 70][rng.random_range(0..2)] * DAY_MS;
                self.pass(ms, rng);
            }
        }
    }

    /// Time passes at once: as when all machines were suspended. Nothing stays on its way for longer than a silent peer is
    /// borne with: what was under way arrives, or is lost with its connection.
    fn pass(&mut self, ms: u64, rng: &mut StdRng) {
        if ms > PEER_SILENCE_MS {
            for device in 0..self.world.devices.len() {
                if rng.random_bool(0.3) {
                    self.world.break_unnoticed(device, rng.random_range(0..8));
                }
            }
            self.world.notice_broken();
            self.world.settle();
        }
        self.world.now_ms += ms;
        self.world.tick_server();
    }

    fn write(&mut self, step: u64, device: usize, rng: &mut StdRng) {
        if !self.world.running(device) || self.stopped(device) {
            return;
        }
        let from = self.account(device);
        // Everybody has a few whom they write to: a town is no crowd in which each knows all.
        let others = self.names.len() - 1;
        let to = (from + 1 + rng.random_range(0..others.min(3))) % self.names.len();
        for _ in 0..rng.random_range(1..4) {
            let long =
                if rng.random_bool(0.1) { "long ".repeat(rng.random_range(1..1_500)) } else { String::new() };
            let command = self.world.devices[device].commands() + 1;
            let text = format!("{MARKER} {device} to {to}: {step}.{command} {long}");
            self.world.write(device, &self.names[to].clone(), &text);
            self.typed.push(Typed { device, to, command, text });
        }
        if rng.random_bool(0.5) {
            self.run_device(device, rng);
        }
    }

    fn run_device(&mut self, device: usize, rng: &mut StdRng) {
        let batch = if rng.random_bool(0.3) { 64 } else { rng.random_range(1..10) };
        self.world.run_device(device, batch, true);
    }

    fn come_back(&mut self, device: usize, rng: &mut StdRng) {
        if self.world.server.is_none() {
            self.world.start_server();
        }
        self.adopt();
        if self.away == Some(device) || self.stopped(device) {
            return;
        }
        if !self.world.running(device) {
            self.world.start(device);
        }
        if !self.cut_off.contains(&device) && (!self.world.connected(device) || rng.random_bool(0.02)) {
            self.world.connect(device);
        }
    }

    fn crash(&mut self, device: usize, rng: &mut StdRng) {
        if rng.random_bool(0.3) {
            // The server hears nothing of it.
            self.world.break_unnoticed(device, rng.random_range(0..8));
        }
        let death = if rng.random_bool(0.4) {
            Death::BeforeCommit
        } else {
            let outputs = rng.random_range(0..6);
            Death::After(if self.plan.late_deaths() { outputs * outputs } else { outputs })
        };
        self.world.run_device_until(device, rng.random_range(1..20), death);
        self.world.crash(device);
    }

    fn partition(&mut self, rng: &mut StdRng) {
        if !self.cut_off.is_empty() {
            return self.cut_off.clear();
        }
        for device in 0..self.world.devices.len() {
            if rng.random_bool(0.5) {
                self.cut_off.insert(device);
                self.world.break_unnoticed(device, 3);
            }
        }
    }

    fn toggle(&mut self, device: usize) {
        if self.world.running(device) {
            let back = self.got_up.remove(&device);
            if !back {
                self.got_up.insert(device);
            }
            self.world.tell(device, ClientInput::Interactive(back));
        }
    }

    fn join(&mut self, device: usize) {
        let account = self.account(device);
        let devices = self.world.devices.iter().filter(|other| other.account == account).count();
        if self.world.server.is_some() && devices < 6 && self.strangers.len() < 3 {
            let stranger = self.world.ask_to_join(account, PASSWORD);
            self.strangers.push((account, stranger));
        }
    }

    fn approve(&mut self, device: usize, rng: &mut StdRng) {
        let account = self.account(device);
        let waiting: Vec<_> = self.strangers.iter().filter(|(other, _)| *other == account).collect();
        if let Some((_, stranger)) = waiting.choose(rng)
            && self.world.running(device)
        {
            let code = stranger.code;
            self.world.ask_with_key(device, WithKey::Approve { code, key: PASSWORD });
        }
    }

    /// Machines that were added finish their profiles.
    fn adopt(&mut self) {
        let waiting = std::mem::take(&mut self.strangers);
        for (account, stranger) in waiting {
            if self.world.finish_joining(account, &stranger).is_none() {
                self.strangers.push((account, stranger));
            }
        }
        self.set_clocks();
    }

    fn remove(&mut self, device: usize, rng: &mut StdRng) {
        let account = self.account(device);
        let others: Vec<usize> = (0..self.world.devices.len())
            .filter(|other| *other != device && self.account(*other) == account)
            // The first device stays: it holds the key that changes the list.
            .filter(|other| (0..*other).any(|earlier| self.account(earlier) == account))
            .collect();
        if let Some(other) = others.choose(rng)
            && self.world.running(device)
        {
            let id = self.world.devices[*other].id;
            self.world.ask_with_key(device, WithKey::Remove { device: id, key: PASSWORD });
        }
    }

    /// A device is switched off for weeks; the others go on, each day a little.
    fn be_away(&mut self, device: usize, step: u64, rng: &mut StdRng) {
        let days = [25, 70][rng.random_range(0..2)];
        self.crash(device, rng);
        self.away = Some(device);
        for day in 0..days {
            for _ in 0..rng.random_range(2..8) {
                let kind = Plan::everyday(rng);
                self.step(step * 1_000 + day, kind, rng);
            }
            let ms = rng.random_range(DAY_MS / 2..DAY_MS * 3 / 2);
            self.pass(ms, rng);
        }
        self.away = None;
    }

    /// The last fault is over, everybody is there, and what is tried again has been.
    pub(super) fn recover(&mut self) {
        self.world.end_faults();
        self.cut_off.clear();
        for _ in 0..2 {
            self.gather();
            self.adopt();
        }
        self.gather();
        self.world.pass(3_600_000);
        for _ in 0..2 {
            self.world.pass(AFTERWARDS_MS);
        }
    }

    /// Everybody starts again, and a day passes.
    pub(super) fn start_again(&mut self) {
        for device in 0..self.world.devices.len() {
            self.world.crash(device);
        }
        self.world.crash_server();
        self.gather();
        self.world.pass(AFTERWARDS_MS);
    }

    /// What a mailbox refused is tried again: where the town's mailboxes are small, the receipts that the devices of one account
    /// send at the same time are more than a sender's share, and each waits for 10 s, then twice as long each time.
    pub(super) fn retry_refused(&mut self) {
        self.world.pass(RETRIES_MS);
    }

    /// What became of everything that was written, in numbers: a town in which nothing arrives shows nothing.
    pub(super) fn count(&mut self) -> String {
        let mut fates: BTreeMap<&str, usize> = BTreeMap::new();
        for device in self.listed() {
            for row in self.world.rows(device) {
                if let Some(fate) = row.fate.filter(|_| row.print == 0) {
                    *fates.entry(fate.as_str()).or_default() += 1;
                }
            }
        }
        let seen = self.world.observed.as_ref().unwrap().envelopes.values();
        let again = seen.filter(|seen| seen.kind == kind::RESENT).count();
        format!("written: {fates:?}; sent again: {again}")
    }

    /// The devices that stand in the lists that the server has.
    pub(super) fn listed(&self) -> impl Iterator<Item = usize> + use<> {
        let stands = |device: &usize| {
            let known = &self.world.devices[*device];
            self.world.devices_served(known.account).contains(&known.id)
        };
        (0..self.world.devices.len()).filter(stands).collect::<Vec<_>>().into_iter()
    }

    /// What each device shows, for whoever looks into a seed that failed.
    pub(super) fn show(&mut self) {
        if std::env::var_os("SOTTO_SIM_SHOW").is_some() {
            for device in 0..self.world.devices.len() {
                super::super::show_device(&mut self.world, device);
            }
        }
    }

    /// The server runs, and everybody is connected who may be.
    pub(super) fn gather(&mut self) {
        if self.world.server.is_none() {
            self.world.start_server();
        }
        for device in 0..self.world.devices.len() {
            if !self.world.running(device) {
                self.world.start(device);
            }
            if !self.stopped(device) && !self.world.connected(device) {
                self.world.connect(device);
            }
        }
        self.world.settle();
    }
}
