//! Between the connections and the core.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use sotto_proto::frame::{Bundles, ClientFrame, FrameDecoder, Outcome, ServerFrame, Submit};
use sotto_proto::ids::base32;
use sotto_proto::limits::MAX_FRAME;
use sotto_proto::{AccountId, ListHash, SignedDeviceList};
use sotto_server::Tap;
use sotto_server::core::ConnectionId;

use crate::orders::{Mischief, Orders, Shown};

/// What it has seen, and what it is told to do.
#[derive(Debug)]
pub(crate) struct Liar {
    file: PathBuf,
    /// The file as it was last read.
    text: String,
    orders: Orders,
    names: HashMap<AccountId, String>,
    /// Number and hash of each account's newest true list.
    newest: HashMap<AccountId, (u64, ListHash)>,
    /// Who signs in where.
    accounts: HashMap<ConnectionId, AccountId>,
    /// Questions after the keys of somebody who poses.
    asked: HashMap<(ConnectionId, u32), AccountId>,
    /// The last envelope to each reader.
    last: HashMap<String, Vec<u8>>,
}

impl Liar {
    pub(crate) fn new(file: PathBuf) -> Self {
        Self {
            file,
            text: String::new(),
            orders: Orders::default(),
            names: HashMap::new(),
            newest: HashMap::new(),
            accounts: HashMap::new(),
            asked: HashMap::new(),
            last: HashMap::new(),
        }
    }

    fn refresh(&mut self) {
        let text = fs::read_to_string(&self.file).unwrap_or_default();
        if text != self.text {
            self.orders = Orders::read(&text).unwrap_or_else(|problem| fail(&problem));
            self.text = text;
        }
    }

    fn viewer(&self, connection: ConnectionId) -> Option<String> {
        self.names.get(self.accounts.get(&connection)?).cloned()
    }

    /// Somebody's true list.
    fn see(&mut self, bytes: &[u8]) {
        let Ok(list) = SignedDeviceList::parse(bytes) else { return };
        let says = list.list();
        self.names.insert(says.account, says.username.to_string());
        let newest = self.newest.entry(says.account).or_insert((0, ListHash([0; 32])));
        *newest = (*newest).max((says.number, list.hash()));
        self.write_down(&format!("{}.{}", says.username, says.number), bytes);
    }

    fn write_down(&self, name: &str, bytes: &[u8]) {
        if let Some(folder) = &self.orders.record {
            write(&folder.join(name), bytes);
        }
    }

    fn shown_to<'a>(&'a self, viewer: &'a str) -> impl Iterator<Item = &'a Shown> {
        self.orders.shown.iter().filter(move |shown| shown.is_for(viewer))
    }

    /// As if the lists that are shown to the viewer were the true ones: what was made with them is taken, what was made
    /// with others is stale, unless those are handed over.
    fn check_lists(&self, viewer: &str, submit: &mut Submit) {
        for used in &mut submit.lists {
            let name = self.names.get(&used.account).map(String::as_str);
            let shown = self.shown_to(viewer).find(|shown| Some(shown.list.list().username.as_str()) == name);
            match (shown, self.newest.get(&used.account)) {
                (Some(shown), Some(newest)) if shown.list.hash() == used.hash => {
                    (used.number, used.hash) = *newest;
                    used.list = None;
                }
                // The core answers with the true list, in whose place the shown one is put.
                (Some(_), _) if used.list.is_none() => (used.number, used.hash) = (0, ListHash([0; 32])),
                _ => {}
            }
        }
    }

    fn take_envelopes(&self, viewer: &str, submit: &Submit) {
        for shown in self.shown_to(viewer) {
            let Some(posed) = &shown.posed else { continue };
            for envelope in submit.envelopes.iter().filter(|to| to.account == shown.list.list().account) {
                // Under the tag, so that what is sent again is not there twice.
                write(&posed.folder.join(base32(&envelope.fate_tag.0)), &envelope.envelope);
            }
        }
    }

    /// What comes instead of a frame.
    fn lie(&mut self, connection: ConnectionId, request: u32, mut frame: ServerFrame) -> Vec<ServerFrame> {
        match &frame {
            ServerFrame::Lists(lists) => lists.lists.iter().flatten().for_each(|list| self.see(list)),
            ServerFrame::StaleDevices(stale) => stale.lists.iter().for_each(|list| self.see(list)),
            _ => {}
        }
        let Some(viewer) = self.viewer(connection) else { return vec![frame] };
        if let Some(account) = self.asked.remove(&(connection, request)) {
            let posed = self.shown_to(&viewer).find(|shown| shown.list.list().account == account);
            let bundles = posed.map(Shown::bundles).unwrap_or_default();
            return vec![ServerFrame::Bundles(Bundles { bundles, missing: Vec::new() })];
        }
        match &mut frame {
            ServerFrame::Lists(lists) => {
                lists.lists.iter_mut().flatten().for_each(|list| self.swap(&viewer, list));
            }
            ServerFrame::StaleDevices(stale) => {
                stale.lists.iter_mut().for_each(|list| self.swap(&viewer, list));
            }
            ServerFrame::Submitted(submitted) => {
                for device in &mut submitted.devices {
                    let posed = self.shown_to(&viewer).any(|shown| {
                        shown.posed.is_some() && shown.list.list().device(&device.device).is_some()
                    });
                    if posed {
                        device.outcome = Outcome::Stored { connected: true };
                    }
                }
            }
            ServerFrame::Deliver(deliver) => {
                let passed = deliver.envelope.to_vec();
                if self.orders.due(&viewer, Mischief::Drop) {
                    return Vec::new();
                }
                if let Some(bytes) = self.orders.replacement(&viewer) {
                    deliver.envelope = bytes.into();
                }
                if self.orders.due(&viewer, Mischief::Replay)
                    && let Some(before) = self.last.get(&viewer)
                {
                    deliver.envelope = before.clone().into();
                }
                if self.orders.due(&viewer, Mischief::Damage)
                    && let Some(byte) = deliver.envelope.last_mut()
                {
                    *byte ^= 1;
                }
                self.last.insert(viewer.clone(), passed);
                if self.orders.due(&viewer, Mischief::Repeat) {
                    return vec![frame.clone(), frame];
                }
            }
            _ => {}
        }
        vec![frame]
    }

    fn swap(&self, viewer: &str, bytes: &mut serde_bytes::ByteBuf) {
        let Ok(list) = SignedDeviceList::parse(bytes) else { return };
        let shown = self.shown_to(viewer).find(|shown| shown.list.list().username == list.list().username);
        if let Some(shown) = shown {
            *bytes = shown.list.as_bytes().to_vec().into();
        }
    }
}

impl Tap for Liar {
    fn incoming(&mut self, connection: ConnectionId, request: u32, frame: &mut ClientFrame) {
        self.refresh();
        match frame {
            ClientFrame::Register(register) => self.see(&register.list),
            ClientFrame::ReplaceList(replace) => self.see(&replace.list),
            ClientFrame::DeviceLogin(login) => {
                self.accounts.insert(connection, login.account);
            }
            ClientFrame::PublishKeys(published) if published.upload.signed.is_some() => {
                if let (Some(name), Ok(bytes)) = (self.viewer(connection), frame.encode(0)) {
                    self.write_down(&format!("{name}.keys"), &bytes);
                }
            }
            ClientFrame::ClaimBundles(claim) => {
                let Some(viewer) = self.viewer(connection) else { return };
                let posed = self
                    .shown_to(&viewer)
                    .any(|shown| shown.posed.is_some() && shown.list.list().account == claim.account);
                if posed {
                    self.asked.insert((connection, request), claim.account);
                }
            }
            ClientFrame::Submit(submit) => {
                for list in submit.lists.iter().filter_map(|used| used.list.as_ref()) {
                    self.see(list);
                }
                let Some(viewer) = self.viewer(connection) else { return };
                self.take_envelopes(&viewer, submit);
                self.check_lists(&viewer, submit);
            }
            _ => {}
        }
    }

    fn outgoing(&mut self, connection: ConnectionId, frames: Vec<u8>) -> Vec<u8> {
        self.refresh();
        let mut decoder = FrameDecoder::new(MAX_FRAME);
        decoder.push(&frames);
        let mut out = Vec::with_capacity(frames.len());
        while let Some(raw) = decoder.next_frame().unwrap_or_else(|error| fail(&error.to_string())) {
            let Ok(Some(frame)) = ServerFrame::decode(raw.kind, &raw.payload) else {
                fail(&format!("the server sends a frame of kind {:#x} that is not one of its own", raw.kind))
            };
            for frame in self.lie(connection, raw.request, frame) {
                out.extend(frame.encode(raw.request).unwrap_or_else(|error| fail(&error.to_string())));
            }
        }
        out
    }
}

fn write(path: &Path, bytes: &[u8]) {
    if let Err(error) = fs::write(path, bytes) {
        fail(&format!("{}: {error}", path.display()));
    }
}

/// Ends the program: a lie that fails must not look like an honest server.
fn fail(problem: &str) -> ! {
    eprintln!("error: {problem}");
    std::process::exit(70)
}
