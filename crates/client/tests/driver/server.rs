//! A server in a process of its own: this very test program, started again as one.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use sotto_proto::Address;

const DATA: &str = "SOTTO_TEST_SERVER_DATA";
const LISTEN: &str = "SOTTO_TEST_SERVER_LISTEN";
const MAX_CLIENTS: &str = "SOTTO_TEST_SERVER_MAX_CLIENTS";

/// A server, killed when dropped.
pub(crate) struct Server {
    child: Child,
    data: PathBuf,
    pub(crate) address: Address,
}

impl Server {
    pub(crate) fn start(data: &Path) -> Self {
        Self::listen(data, "127.0.0.1:0", 1000)
    }

    fn listen(data: &Path, listen: &str, max_clients: u32) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "server::server_process", "--nocapture"])
            .env(DATA, data)
            .env(LISTEN, listen)
            .env(MAX_CLIENTS, max_clients.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut address = None;
        for line in stdout.lines() {
            let line = line.unwrap();
            if let Some((_, text)) = line.split_once("address ") {
                address = Some(text.trim().parse().unwrap());
            }
            if line == "ready" {
                break;
            }
        }
        Self { child, data: data.to_owned(), address: address.expect("the server says its address") }
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The operator lets a new identity that waits take its place.
    pub(crate) fn reset_now(&self, name: &str, code: &str) {
        let words = ["sottod", "user", "reset-now", name, code, "--data-dir"].map(std::ffi::OsString::from);
        let arguments: Vec<_> = words.into_iter().chain([self.data.clone().into()]).collect();
        // It has a runtime of its own.
        let code = std::thread::spawn(move || sotto_server::main_from(arguments)).join().unwrap();
        assert_eq!(code, std::process::ExitCode::SUCCESS);
    }

    /// Another server takes its port.
    pub(crate) fn usurp(&mut self, data: &Path) {
        self.kill();
        *self = Self::listen(data, &self.address.host_port(), 1000);
    }

    /// On the same port, with the same data.
    pub(crate) fn restart(&mut self) {
        self.restart_for(1000);
    }

    /// The same, for at most so many clients.
    pub(crate) fn restart_for(&mut self, max_clients: u32) {
        self.kill();
        *self = Self::listen(&self.data.clone(), &self.address.host_port(), max_clients);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Not a test when it is run as one: the process that [`Server`] starts.
#[test]
fn server_process() {
    if let (Some(data), Some(listen)) = (std::env::var_os(DATA), std::env::var_os(LISTEN)) {
        let max_clients = std::env::var_os(MAX_CLIENTS).unwrap();
        let arguments = ["sottod", "run", "--listen"].map(Into::into).into_iter().chain([
            listen,
            "--data-dir".into(),
            data,
            "--max-clients".into(),
            max_clients,
        ]);
        let code = sotto_server::main_from(arguments);
        panic!("the server ended: {code:?}");
    }
}
