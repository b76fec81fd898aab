//! Questions on a terminal.

use std::io::{Read, Write};
use std::sync::mpsc;
use std::time::Duration;

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

use crate::stage::Stage;

/// A terminal with the program in it.
struct Terminal {
    master: Box<dyn MasterPty + Send>,
    keyboard: Box<dyn Write + Send>,
    screen: mpsc::Receiver<Vec<u8>>,
    seen: String,
    child: Box<dyn Child + Send + Sync>,
    /// The local flags before the program was there.
    flags: u64,
}

fn local_flags(master: &dyn MasterPty) -> u64 {
    u64::from(master.get_termios().unwrap().local_flags.bits())
}

impl Terminal {
    fn new(stage: &Stage, args: &[&str]) -> Self {
        let pair = native_pty_system().openpty(PtySize::default()).unwrap();
        let flags = local_flags(&*pair.master);
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_sotto"));
        command.env_clear();
        command.env("HOME", stage.dir.path());
        command.env("TERM", "xterm");
        command.args(args);
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let mut reader = pair.master.try_clone_reader().unwrap();
        let (sender, screen) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        let keyboard = pair.master.take_writer().unwrap();
        Self { master: pair.master, keyboard, screen, seen: String::new(), child, flags }
    }

    /// Waits until a text is on the screen.
    fn shows(&mut self, text: &str) {
        while !self.seen.contains(text) {
            let bytes = self.screen.recv_timeout(Duration::from_secs(120));
            let bytes = bytes.unwrap_or_else(|error| panic!("{error}: no {text:?} in {:?}", self.seen));
            self.seen.push_str(&String::from_utf8_lossy(&bytes));
        }
    }

    /// Waits for a question, and until its answer is not shown: what is typed before would be.
    fn asks_hidden(&mut self, question: &str) {
        self.shows(question);
        let echo = || local_flags(&*self.master) & 0o10 != 0;
        while echo() {
            std::thread::yield_now();
        }
    }

    fn types(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).unwrap();
    }

    fn code(&mut self) -> u32 {
        self.child.wait().unwrap().exit_code()
    }
}

/// A test that fails leaves nothing running.
impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_new_password_is_asked_twice_and_never_shown() {
    let stage = Stage::new();
    let server = stage.server();
    let mut terminal = Terminal::new(&stage, &["register", &server.address, "alice"]);
    terminal.asks_hidden("Password: ");
    terminal.types("open sesame\r");
    terminal.asks_hidden("Password again: ");
    terminal.types("open sesame\r");
    terminal.shows("Recovery phrase");
    assert_eq!(terminal.code(), 0);
    assert!(!terminal.seen.contains("sesame"), "{:?}", terminal.seen);

    let mut terminal = Terminal::new(&stage, &["whoami"]);
    terminal.asks_hidden("Password: ");
    terminal.types("open sesame\r");
    terminal.shows("alice");
    assert_eq!(terminal.code(), 0);
}

#[test]
fn two_passwords_that_differ_make_no_account() {
    let stage = Stage::new();
    let mut terminal = Terminal::new(&stage, &["register", "localhost:1", "alice"]);
    terminal.asks_hidden("Password: ");
    terminal.types("one\r");
    terminal.asks_hidden("Password again: ");
    terminal.types("two\r");
    terminal.shows("the two passwords differ");
    assert_eq!(terminal.code(), 1);
}

#[test]
fn ctrl_c_at_a_question_ends_it_and_leaves_the_terminal_as_it_was() {
    let stage = Stage::new();
    let mut terminal = Terminal::new(&stage, &["register", "localhost:1", "alice"]);
    terminal.asks_hidden("Password: ");
    terminal.types("half a pass\u{3}");
    terminal.shows("interrupted");
    assert_eq!(terminal.code(), 130);
    assert_eq!(local_flags(&*terminal.master), terminal.flags);
}
