//! A disk that fails on demand: a file system in memory, mounted through FUSE, under real programs.
//!
//! It keeps apart what programs wrote and what they synced. `fsync` and `fdatasync` make a file's bytes and length
//! durable, `fsync` of a folder the creations, renames and removals in it, nothing else does: `sync_file_range` is no
//! barrier here, as it is none on a disk. [`FaultFs::power_cut`] goes back to what was synced, or to that and an
//! arbitrary part of the rest. Further switches fill the disk up, make it read-only, or let chosen operations fail. All of
//! that, or a SIGKILL for the program, can also come at one chosen operation: [`FaultFs::strike_at`].
//!
//! A power cut leaves the mount in place and all open handles dead (`EIO`), so a test ends its programs by SIGKILL, cuts
//! the power, and starts them again on the same path.
//!
//! Needs Linux, root and `/dev/fuse`; a test asks with [`mount_or_skip`].

mod faults;
mod image;
mod journal;
mod reaper;
mod shim;
mod tree;
mod watch;

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::Context;
use fuser::{BackgroundSession, Config, MountOption};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rustix::mount::UnmountFlags;
use tempfile::TempDir;

pub use self::faults::{Answer, On};
pub use self::tree::Cut;
pub use self::watch::{Break, Strike, Which};

use self::reaper::Reaper;
use self::shim::{Disk, Shim, lock};
use self::tree::{Access, Tree};

/// Room on a fresh disk, in bytes: more than any test writes, less than what would make a runaway program eat the machine.
const CAPACITY: u64 = 8 << 30;

/// A mounted disk. Dropping it unmounts, whatever is still open on it.
#[derive(Debug)]
pub struct FaultFs {
    disk: Arc<Mutex<Disk>>,
    reaper: Reaper,
    session: Option<BackgroundSession>,
    mountpoint: TempDir,
}

impl FaultFs {
    /// Mounts an empty disk in a fresh temporary folder.
    pub fn mount() -> anyhow::Result<Self> {
        let access = Access { mode: 0o700, uid: rustix::process::geteuid().as_raw(), gid: 0 };
        Self::mount_tree(Tree::new(CAPACITY, access))
    }

    /// Mounts a disk with the same files as this one, all synced and none open, in a fresh temporary folder.
    pub fn mount_copy(&self) -> anyhow::Result<Self> {
        let copy = lock(&self.disk).tree.copy();
        Self::mount_tree(copy)
    }

    fn mount_tree(tree: Tree) -> anyhow::Result<Self> {
        let mountpoint = tempfile::Builder::new().prefix("sotto-faultfs-").tempdir()?;
        let disk = Arc::new(Mutex::new(Disk::new(tree)));
        let mut config = Config::default();
        config.mount_options = vec![
            MountOption::FSName("sotto-faultfs".to_owned()),
            MountOption::DefaultPermissions,
            MountOption::NoAtime,
        ];
        let session = fuser::spawn_mount(Shim::new(Arc::clone(&disk)), mountpoint.path(), &config)
            .context("cannot mount through /dev/fuse")?;
        let reaper = Reaper::watch(mountpoint.path()).context("cannot start sh")?;
        Ok(Self { disk, reaper, session: Some(session), mountpoint })
    }

    /// The top folder of the disk.
    pub fn path(&self) -> &Path {
        self.mountpoint.path()
    }

    /// Takes away what was not synced: all of it without a seed; with one, an arbitrary part, with writes torn at sectors
    /// or pages, and renames that happened or did not. The same seed after the same operations leaves the same disk.
    pub fn power_cut(&self, seed: Option<u64>) -> Cut {
        let mut rng = seed.map(StdRng::seed_from_u64);
        lock(&self.disk).tree.power_cut(rng.as_mut())
    }

    /// From now on this operation fails on every path that contains `path_part` (`""`: on all).
    pub fn fail(&self, on: On, path_part: &str, answer: Answer) {
        lock(&self.disk).faults.add(on, path_part, answer);
    }

    /// Makes the disk read-only, or writable again.
    pub fn set_read_only(&self, read_only: bool) {
        lock(&self.disk).faults.set_read_only(read_only);
    }

    /// Leaves room for this many more bytes, counted in blocks of 4 KiB; a folder takes one, a name none.
    pub fn set_free_space(&self, bytes: u64) {
        lock(&self.disk).tree.set_free(bytes);
    }

    /// Bytes that can still be written.
    pub fn free_space(&self) -> u64 {
        lock(&self.disk).tree.free()
    }

    /// How often an operation failed by [`Self::fail`] or [`Self::set_read_only`].
    pub fn fault_hits(&self) -> u64 {
        lock(&self.disk).faults.hits()
    }

    /// Counts such operations of programs from now on, from none; those of the test itself do not count.
    pub fn count(&self, which: Which) {
        lock(&self.disk).watch.begin(which, None);
    }

    /// The same, and when the `nth` comes (the first is 1), this happens, once.
    pub fn strike_at(&self, which: Which, nth: u64, strike: Strike) {
        lock(&self.disk).watch.begin(which, Some((nth, strike)));
    }

    /// Such operations of one kind since [`Self::count`] or [`Self::strike_at`].
    pub fn counted(&self, on: On) -> u64 {
        lock(&self.disk).watch.counted(on)
    }

    /// Ends the counting: nothing is to happen any more at any operation. Ends [`Self::wait_for_strike`] too.
    pub fn stand_down(&self) {
        let mut disk = lock(&self.disk);
        disk.watch.end();
        disk.over.notify_all();
    }

    /// Waits until the chosen operation has come, or [`Self::stand_down`] says that it will not; answers whether it came.
    pub fn wait_for_strike(&self) -> bool {
        let mut disk = lock(&self.disk);
        let over = Arc::clone(&disk.over);
        while disk.watch.waits() {
            disk = over.wait(disk).unwrap_or_else(PoisonError::into_inner);
        }
        disk.watch.struck()
    }

    /// Whether the chosen operation has come.
    pub fn struck(&self) -> bool {
        lock(&self.disk).watch.struck()
    }

    /// Breaks the disk now.
    pub fn break_now(&self, how: Break) {
        lock(&self.disk).break_by(how);
    }

    /// Switches all faults off and gives the room back.
    pub fn heal(&self) {
        let mut disk = lock(&self.disk);
        disk.faults.clear();
        disk.tree.set_free(CAPACITY);
    }
}

impl Drop for FaultFs {
    fn drop(&mut self) {
        // Lazily, for a program that still has a file open must not keep the mount in the table. The session's thread
        // ends with the last handle.
        if let Err(error) = rustix::mount::unmount(self.mountpoint.path(), UnmountFlags::DETACH) {
            let _ =
                writeln!(std::io::stderr(), "cannot unmount {}: {error}", self.mountpoint.path().display());
        }
        drop(self.session.take());
        self.reaper.dismiss();
    }
}

/// Whether this machine can mount such a disk, and if not, why.
pub fn available() -> Result<(), String> {
    static AVAILABLE: OnceLock<Result<(), String>> = OnceLock::new();
    AVAILABLE.get_or_init(|| FaultFs::mount().map(drop).map_err(|error| format!("{error:#}"))).clone()
}

/// A mounted disk, or none where that is not possible: then the test says so in one line and does nothing.
pub fn mount_or_skip(test: &str) -> anyhow::Result<Option<FaultFs>> {
    if let Err(why) = available() {
        // Past the capture of the test runner, or nobody would see it.
        writeln!(std::io::stderr(), "skipped: {test}: {why}")?;
        return Ok(None);
    }
    FaultFs::mount().map(Some)
}
