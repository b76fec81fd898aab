//! A mount must not outlive the test, however the test ends.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Waits for the end of its input, which the kernel closes when this process ends, even by SIGKILL; then unmounts. In
/// a process group of its own, because Ctrl-C at the terminal goes to the whole group.
const SCRIPT: &str = "trap '' INT TERM HUP; read line; umount -l \"$0\" && rmdir \"$0\"";

/// The child that unmounts when this process is no more.
#[derive(Debug)]
pub(super) struct Reaper(Child);

impl Reaper {
    pub(super) fn watch(mountpoint: &Path) -> io::Result<Self> {
        Command::new("sh")
            .args(["-c", SCRIPT])
            .arg(mountpoint)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map(Self)
    }

    /// Called when the mount is gone.
    pub(super) fn dismiss(&mut self) {
        drop(self.0.stdin.take());
        // It ends by itself now; a failure to collect it costs one zombie for the rest of the test.
        let _ = self.0.wait();
    }
}
