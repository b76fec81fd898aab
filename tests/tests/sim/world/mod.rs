//! A server, some devices, and the wires between them.

mod device;
mod face;
mod faults;
mod forgeries;
mod keys;
mod observed;
mod people;
mod server;

use std::{collections::VecDeque, sync::Arc};

use rand::{Rng, SeedableRng, rngs::StdRng};
use sotto_proto::{
    KeyChain, SignedDeviceList,
    frame::{ClientFrame, ServerFrame},
    limits::DAY_MS,
};
use sotto_server::core::{ConnectionId, Core as ServerCore, CoreConfig};
use sotto_store::{MemoryStore, StoreConfig};

pub(crate) use self::{
    faults::{Death, StoreFault},
    keys::chain_of,
    observed::{Observed, Place, SeenEnvelope},
    people::{Held, PASSWORD, Stranger},
};

use self::{device::Device, faults::Faults, people::Account};

/// What every connection's TLS session exports.
const EXPORTER: [u8; 32] = [9; 32];
const SPKI: &[u8] = b"the server's key";

/// Changes a frame on its way from the server to a device, or drops it: what a hostile server or wire does.
pub(crate) type Tamper = Box<dyn FnMut(usize, ServerFrame) -> Option<ServerFrame>>;

/// Everything.
pub(crate) struct World {
    pub(crate) now_ms: u64,
    pub(crate) rng: StdRng,
    pub(crate) server: Option<ServerCore>,
    /// The keys that it has had.
    chain: KeyChain,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) config: CoreConfig,
    pub(crate) accounts: Vec<Account>,
    pub(crate) devices: Vec<Device>,
    /// Frames that devices have sent and the server has not read.
    to_server: VecDeque<(ConnectionId, u32, ClientFrame)>,
    next_connection: u64,
    pub(crate) tamper: Option<Tamper>,
    pub(crate) faults: Faults,
    /// What happened, where somebody wants to know.
    pub(crate) observed: Option<Observed>,
    /// How far the server's clock is off, milliseconds.
    pub(crate) server_skew_ms: i64,
    /// How long the store keeps what nobody fetches.
    retention_ms: u64,
    /// New devices do not connect by themselves.
    absent: bool,
    /// How often the server lost everything.
    losses: usize,
    /// What new profiles hold.
    pub(crate) held: Held,
    /// Every byte that the server was sent, for searches.
    pub(crate) seen_by_server: Vec<u8>,
    /// Every device list that a device sent to take another's place.
    pub(crate) lists_sent: Vec<SignedDeviceList>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self::with(seed, CoreConfig::default(), StoreConfig::default())
    }

    pub(crate) fn with(seed: u64, config: CoreConfig, store: StoreConfig) -> Self {
        let mut world = Self {
            now_ms: 1_790_000_000_000,
            rng: StdRng::seed_from_u64(seed),
            server: None,
            chain: KeyChain { first: SPKI.to_vec(), successors: Vec::new() },
            store: Arc::new(MemoryStore::new(store)),
            config,
            accounts: Vec::new(),
            devices: Vec::new(),
            to_server: VecDeque::new(),
            next_connection: 0,
            tamper: None,
            faults: Faults::default(),
            observed: None,
            server_skew_ms: 0,
            retention_ms: store.retention_ms,
            absent: false,
            losses: 0,
            held: Held { account_key: true, auth_key: true },
            seen_by_server: Vec::new(),
            lists_sent: Vec::new(),
        };
        world.start_server();
        world
    }

    pub(crate) fn random<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    /// Runs until nothing is left to do at this time.
    pub(crate) fn settle(&mut self) {
        self.drain_server();
        for _ in 0..1_000_000 {
            let mut busy = self.run_disk(64);
            busy |= self.run_server();
            for index in 0..self.devices.len() {
                busy |= self.run_device(index, 64, true);
            }
            if !busy {
                return;
            }
        }
        panic!("the world does not come to rest");
    }

    /// Lets time pass, in steps, and everything happen that is due.
    pub(crate) fn pass(&mut self, ms: u64) {
        let until_ms = self.now_ms + ms;
        self.settle();
        while self.now_ms < until_ms {
            self.reconnect();
            let running = self.devices.iter().filter(|device| device.core.is_some());
            let next = running.filter_map(Device::wakes_at_ms).min();
            // A server looks at its clock every minute, and would take a longer step for a clock that was set.
            let latest_ms = until_ms.min(self.now_ms + DAY_MS / 2);
            self.now_ms = next.unwrap_or(latest_ms).clamp(self.now_ms + 1, latest_ms);
            self.tick_server();
            self.settle();
        }
    }

    /// As the driver does: a connection that was given up for now is made again after a while.
    fn reconnect(&mut self) {
        for index in 0..self.devices.len() {
            if self.devices[index].closed.as_ref().is_some_and(|(_, reconnect)| *reconnect) {
                self.connect(index);
            }
        }
        self.settle();
    }
}
