//! The terminal itself: raw while the line client has it, and put back whatever happens.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::fs::OFlags;
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};
use tokio::io::unix::AsyncFd;

const PASTE_ON: &[u8] = b"\x1b[?2004h";
const PASTE_OFF: &[u8] = b"\x1b[?2004l";

/// How the terminal was, for as long as it is not as it was.
static BEFORE: Mutex<Option<Before>> = Mutex::new(None);

struct Before {
    tty: File,
    modes: Termios,
    pastes: bool,
}

/// Puts the terminal back as it was before this program took it. Does nothing a second time; also called where the
/// process ends without dropping anything.
pub(crate) fn restore() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(mut before) = before {
        if before.pastes {
            let _ = before.tty.write_all(PASTE_OFF);
        }
        let _ = tcsetattr(&before.tty, OptionalActions::Now, &before.modes);
    }
}

/// A terminal whose keys are read one by one.
#[derive(Debug)]
pub(super) struct Tty {
    keys: AsyncFd<File>,
    pastes: bool,
}

impl Tty {
    /// Takes the terminal of stdin. It is opened anew: what is set on the open file would be set for the shell too.
    pub(super) fn open(pastes: bool) -> io::Result<Self> {
        let name = rustix::termios::ttyname(io::stdin(), Vec::new())?;
        Self::at(Path::new(OsStr::from_bytes(name.as_bytes())), pastes)
    }

    fn at(path: &Path, pastes: bool) -> io::Result<Self> {
        let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or_default();
        let file = File::options().read(true).write(true).custom_flags(flags).open(path)?;
        #[expect(
            deprecated,
            reason = "what takes its place is unsafe; a file that is never replaced keeps its descriptor, as that asks for"
        )]
        let keys = AsyncFd::new(file)?;
        let tty = Self { keys, pastes };
        tty.take()?;
        Ok(tty)
    }

    /// Makes it raw, unless it is.
    pub(super) fn take(&self) -> io::Result<()> {
        let tty = self.keys.get_ref();
        let mut before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
        if before.is_none() {
            *before = Some(Before { tty: tty.try_clone()?, modes: tcgetattr(tty)?, pastes: self.pastes });
        }
        let mut modes = tcgetattr(tty)?;
        // Output stays processed: a line's end moves to the start of the next one.
        modes.input_modes.remove(
            InputModes::BRKINT
                | InputModes::ICRNL
                | InputModes::INPCK
                | InputModes::ISTRIP
                | InputModes::IXON,
        );
        modes
            .local_modes
            .remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::IEXTEN | LocalModes::ISIG);
        modes.special_codes[SpecialCodeIndex::VMIN] = 1;
        modes.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(tty, OptionalActions::Now, &modes)?;
        if self.pastes {
            (&*tty).write_all(PASTE_ON)?;
        }
        Ok(())
    }

    /// Columns and rows.
    pub(super) fn size(&self) -> (usize, usize) {
        tcgetwinsize(self.keys.get_ref()).map_or((80, 24), |size| (size.ws_col.into(), size.ws_row.into()))
    }

    /// What was typed; nothing when the terminal is gone. Cancel safe.
    pub(super) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.keys.readable().await?;
            match ready.try_io(|keys| keys.get_ref().read(buffer)) {
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                // What a terminal says when its other side is closed.
                Ok(Err(error)) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {
                    return Ok(0);
                }
                Ok(read) => return read,
                Err(_would_block) => {}
            }
        }
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        restore();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use portable_pty::{PtySize, native_pty_system};

    use super::*;

    /// What a panic and a second signal do: nothing is dropped there.
    #[tokio::test]
    async fn the_terminal_is_put_back_without_dropping_anything() {
        let pair = native_pty_system().openpty(PtySize::default()).unwrap();
        let path = pair.master.tty_name().unwrap();
        let modes = || pair.master.get_termios().unwrap().local_flags;
        let before = modes();
        let tty = Tty::at(&path, true).unwrap();
        assert_ne!(modes(), before);
        // Taken twice, as after a stop, it still remembers the beginning.
        tty.take().unwrap();
        restore();
        assert_eq!(modes(), before);
        restore();
        tty.take().unwrap();
        drop(tty);
        assert_eq!(modes(), before);
        drop(pair.slave);
        // To the end: a terminal hands on what was written bit by bit.
        let mut written = String::new();
        pair.master.try_clone_reader().unwrap().read_to_string(&mut written).unwrap();
        assert_eq!(written, "\u{1b}[?2004h\u{1b}[?2004h\u{1b}[?2004l\u{1b}[?2004h\u{1b}[?2004l");
    }
}
