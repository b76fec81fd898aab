//! Three machines with a disk each, on which everybody is registered; made once, copied for each round.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use sotto_tests::faultfs::{Cut, FaultFs, mount_or_skip};
use sotto_tests::sotto::Client;
use sotto_tests::sottod::{Server, ServerOptions};
use tempfile::TempDir;

use crate::world::World;

/// A server that was told to stop has nothing left to do that takes longer.
const STOP: Duration = Duration::from_secs(30);

/// Stages that no test uses at the moment: making one takes as long as a round or two.
static IDLE: Mutex<Vec<Stage>> = Mutex::new(Vec::new());

/// The disks of a server, of Alice and of Bob, who are registered there; no program runs on them.
#[derive(Debug)]
pub(crate) struct Stage {
    server: FaultFs,
    alice: FaultFs,
    bob: FaultFs,
    /// Clients know the server by it.
    port: u16,
    /// Passwords.
    secrets: TempDir,
    alices_phrase: String,
}

/// A stage that is this test's alone, for the port is.
#[derive(Debug)]
pub(crate) struct Lease(Option<Stage>);

impl Drop for Lease {
    fn drop(&mut self) {
        IDLE.lock().unwrap_or_else(PoisonError::into_inner).extend(self.0.take());
    }
}

impl std::ops::Deref for Lease {
    type Target = Stage;

    fn deref(&self) -> &Stage {
        self.0.as_ref().expect("given back only when it is dropped")
    }
}

impl Stage {
    /// A stage for this test; none where such disks cannot be mounted, which is said in a line.
    pub(crate) fn lease(test: &str) -> anyhow::Result<Option<Lease>> {
        let idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(stage) = idle {
            return Ok(Some(Lease(Some(stage))));
        }
        let Some(server) = mount_or_skip(test)? else { return Ok(None) };
        Ok(Some(Lease(Some(Self::make(server)?))))
    }

    fn make(server: FaultFs) -> anyhow::Result<Self> {
        let (alice, bob) = (FaultFs::mount()?, FaultFs::mount()?);
        let secrets = tempfile::tempdir()?;
        let options = ServerOptions::new(&server.path().join("data"))?;
        let port = options.chosen_port();
        let process = Server::start_with(options)?;
        let client =
            |name: &str, disk: &FaultFs| Client::new(name, &disk.path().join("data"), secrets.path());
        let alices_phrase = client("alice", &alice)?.register(process.address())?;
        client("bob", &bob)?.register(process.address())?;
        ensure!(process.stop(STOP)?.code == Some(0), "the server does not stop");
        Ok(Self { server, alice, bob, port, secrets, alices_phrase })
    }

    /// The same with other disks, made from these: to be dropped before the stage is given back.
    pub(crate) fn with(
        &self,
        change: impl FnOnce(&Machines) -> anyhow::Result<()>,
    ) -> anyhow::Result<[FaultFs; 3]> {
        let machines = self.start()?;
        change(&machines)?;
        let Machines { server, alice, bob, world } = machines;
        ensure!(world.server.stop(STOP)?.code == Some(0), "the server does not stop");
        Ok([server, alice, bob])
    }

    /// Copies of the disks with the server running.
    pub(crate) fn start(&self) -> anyhow::Result<Machines> {
        self.start_with(|options| options)
    }

    /// The same with other options of the server's.
    pub(crate) fn start_with(
        &self,
        change: impl FnOnce(ServerOptions) -> ServerOptions,
    ) -> anyhow::Result<Machines> {
        let copies = [self.server.mount_copy()?, self.alice.mount_copy()?, self.bob.mount_copy()?];
        let server = Server::start_with(change(self.options(&copies[0])?))?;
        self.world(copies, server)
    }

    /// Alice's recovery phrase.
    pub(crate) fn alices_phrase(&self) -> &str {
        &self.alices_phrase
    }

    /// Copies of other disks: the stage's own with something more on them.
    pub(crate) fn copies<'a>(disks: impl IntoIterator<Item = &'a FaultFs>) -> anyhow::Result<[FaultFs; 3]> {
        let copies: Vec<FaultFs> =
            disks.into_iter().map(FaultFs::mount_copy).collect::<anyhow::Result<_>>()?;
        copies.try_into().map_err(|_| anyhow::anyhow!("three disks"))
    }

    /// How the server is started on such a disk.
    pub(crate) fn options(&self, server: &FaultFs) -> anyhow::Result<ServerOptions> {
        Ok(ServerOptions::new(&server.path().join("data"))?.port(self.port))
    }

    /// The world on these disks.
    pub(crate) fn world(&self, disks: [FaultFs; 3], process: Server) -> anyhow::Result<Machines> {
        let [server, alice, bob] = disks;
        let alice_client = self.client("alice", &alice)?;
        let bob_client = self.client("bob", &bob)?;
        let world = World::of(process, alice_client, bob_client);
        Ok(Machines { server, alice, bob, world })
    }

    /// Somebody's profile on a disk.
    pub(crate) fn client(&self, name: &str, disk: &FaultFs) -> anyhow::Result<Client> {
        Client::new(name, &disk.path().join("data"), self.secrets.path())
    }
}

/// A round's own machines.
#[derive(Debug)]
pub(crate) struct Machines {
    pub(crate) server: FaultFs,
    pub(crate) alice: FaultFs,
    pub(crate) bob: FaultFs,
    pub(crate) world: World,
}

impl Machines {
    /// The server's machine loses its power and gets it back.
    pub(crate) fn cut_server(&mut self, rng: &mut StdRng) -> anyhow::Result<Cut> {
        self.world.server.kill()?;
        self.restart_server(rng)
    }

    /// The same when its programs have ended already.
    pub(crate) fn restart_server(&mut self, rng: &mut StdRng) -> anyhow::Result<Cut> {
        let cut = cut("server", &self.server, rng);
        self.world.server.start_again().context("the server after the power cut")?;
        Ok(cut)
    }
}

/// One in four cuts drops all that was not synced, the others a random part of it.
pub(crate) fn cut(whose: &str, disk: &FaultFs, rng: &mut StdRng) -> Cut {
    let seed = (!rng.random_ratio(1, 4)).then(|| rng.next_u64());
    let cut = disk.power_cut(seed);
    println!("{whose}: {cut:?}");
    cut
}
