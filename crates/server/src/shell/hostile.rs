//! A server that lies, for tests of what clients do about it. Only in builds with the feature `hostile`, which no
//! package turns on; the program is then `sottod-hostile`.
//!
//! Its orders stand in the file `hostile` of the data folder, one a line, read again whenever the file changes:
//!
//! | order | from now on |
//! |---|---|
//! | `show VIEWER FILE` | VIEWER (`*`: everybody) sees the device list in FILE wherever the list of the name in it is due, and its Submits are taken with it |
//! | `damage READER COUNT` | the next COUNT envelopes to READER have a bit flipped in part 2 |
//! | `drop READER COUNT` | the next COUNT envelopes to READER are passed over in silence |
//! | `repeat READER COUNT` | the next COUNT envelopes to READER come twice |
//! | `record FOLDER` | every device list that passes is written to FOLDER/NAME.NUMBER |

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde_bytes::ByteBuf;
use sotto_proto::{
    SignedDeviceList,
    frame::{ClientFrame, FrameDecoder, ServerFrame},
    limits::MAX_FRAME,
};
use tracing::warn;

use crate::core::{ConnectionId, Core, Input};

/// What to do with an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Mischief {
    Damage,
    Drop,
    Repeat,
}

/// A list that stands for the true one.
#[derive(Debug)]
struct Shown {
    viewer: String,
    list: SignedDeviceList,
}

/// The orders, and how far they are carried out.
#[derive(Debug)]
pub(super) struct Hostile {
    orders: PathBuf,
    read_at: Option<SystemTime>,
    shown: Vec<Shown>,
    envelopes: HashMap<(String, Mischief), u32>,
    record: Option<PathBuf>,
}

impl Hostile {
    pub(super) fn new(data_dir: &Path) -> Self {
        Self {
            orders: data_dir.join("hostile"),
            read_at: None,
            shown: Vec::new(),
            envelopes: HashMap::new(),
            record: None,
        }
    }

    fn refresh(&mut self) {
        let changed = fs::metadata(&self.orders).and_then(|metadata| metadata.modified()).ok();
        if changed == self.read_at {
            return;
        }
        self.read_at = changed;
        self.shown.clear();
        self.envelopes.clear();
        self.record = None;
        for line in fs::read_to_string(&self.orders).unwrap_or_default().lines() {
            if let Err(problem) = self.order(line) {
                warn!("the order {line:?} is not carried out: {problem}");
            }
        }
    }

    fn order(&mut self, line: &str) -> Result<(), String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mischief = |word: &str| match word {
            "damage" => Some(Mischief::Damage),
            "drop" => Some(Mischief::Drop),
            "repeat" => Some(Mischief::Repeat),
            _ => None,
        };
        match words.as_slice() {
            [] => {}
            ["show", viewer, file] => {
                let bytes = fs::read(file).map_err(|error| error.to_string())?;
                let list = SignedDeviceList::parse(&bytes).map_err(|error| error.to_string())?;
                self.shown.push(Shown { viewer: (*viewer).to_owned(), list });
            }
            ["record", folder] => {
                fs::create_dir_all(folder).map_err(|error| error.to_string())?;
                self.record = Some(PathBuf::from(folder));
            }
            [word, reader, count] if mischief(word).is_some() => {
                let count = count.parse().map_err(|_| "the count is no number")?;
                if let Some(mischief) = mischief(word) {
                    self.envelopes.insert(((*reader).to_owned(), mischief), count);
                }
            }
            _ => return Err("unknown".to_owned()),
        }
        Ok(())
    }

    fn write_down(&self, bytes: &[u8]) {
        let (Some(folder), Ok(list)) = (&self.record, SignedDeviceList::parse(bytes)) else { return };
        let name = format!("{}.{}", list.list().username, list.list().number);
        if let Err(error) = fs::write(folder.join(&name), bytes) {
            warn!("{name} was not recorded: {error}");
        }
    }

    fn shown_to(&self, viewer: &str) -> impl Iterator<Item = &SignedDeviceList> {
        let seen = move |shown: &&Shown| shown.viewer == "*" || shown.viewer == viewer;
        self.shown.iter().filter(seen).map(|shown| &shown.list)
    }

    /// Makes a viewer's Submit fit the true lists, so that it is taken.
    pub(super) fn incoming(&mut self, core: &mut Core, input: Input) -> Input {
        let Input::Frame { connection, request, size, mut frame } = input else { return input };
        self.refresh();
        match &mut frame {
            ClientFrame::Register(register) => self.write_down(&register.list),
            ClientFrame::ReplaceList(replace) => self.write_down(&replace.list),
            ClientFrame::Submit(submit) => {
                let viewer = core.name_of(connection).unwrap_or_default();
                for used in &mut submit.lists {
                    if let Some(list) = &used.list {
                        self.write_down(list);
                    }
                    let shown = self.shown_to(&viewer).any(|list| list.hash() == used.hash);
                    if shown && let Some((number, hash)) = core.newest_list(&used.account) {
                        (used.number, used.hash, used.list) = (number, hash, None);
                    }
                }
            }
            _ => {}
        }
        Input::Frame { connection, request, size, frame }
    }

    /// What a connection gets instead of these frames.
    pub(super) fn outgoing(&mut self, core: &Core, connection: ConnectionId, bytes: Vec<u8>) -> Vec<u8> {
        self.refresh();
        let Some(viewer) = core.name_of(connection) else { return bytes };
        let mut decoder = FrameDecoder::new(MAX_FRAME);
        decoder.push(&bytes);
        let mut out = Vec::with_capacity(bytes.len());
        while let Ok(Some(raw)) = decoder.next_frame() {
            let Ok(Some(frame)) = ServerFrame::decode(raw.kind, &raw.payload) else { return bytes };
            for frame in self.lie(&viewer, frame) {
                let Ok(encoded) = frame.encode(raw.request) else { return bytes };
                out.extend(encoded);
            }
        }
        out
    }

    fn lie(&mut self, viewer: &str, mut frame: ServerFrame) -> Vec<ServerFrame> {
        match &mut frame {
            ServerFrame::Lists(lists) => {
                lists.lists.iter_mut().flatten().for_each(|list| self.swap(viewer, list));
            }
            ServerFrame::StaleDevices(stale) => {
                stale.lists.iter_mut().for_each(|list| self.swap(viewer, list));
            }
            ServerFrame::Deliver(deliver) => {
                if self.due(viewer, Mischief::Drop) {
                    return Vec::new();
                }
                if self.due(viewer, Mischief::Damage)
                    && let Some(last) = deliver.envelope.last_mut()
                {
                    *last ^= 1;
                }
                if self.due(viewer, Mischief::Repeat) {
                    return vec![frame.clone(), frame];
                }
            }
            _ => {}
        }
        vec![frame]
    }

    fn swap(&self, viewer: &str, bytes: &mut ByteBuf) {
        self.write_down(bytes);
        let Ok(list) = SignedDeviceList::parse(bytes) else { return };
        let shown = self.shown_to(viewer).find(|shown| shown.list().username == list.list().username);
        if let Some(shown) = shown {
            *bytes = ByteBuf::from(shown.as_bytes());
        }
    }

    fn due(&mut self, reader: &str, mischief: Mischief) -> bool {
        let Some(count) = self.envelopes.get_mut(&(reader.to_owned(), mischief)) else { return false };
        let due = *count > 0;
        *count = count.saturating_sub(1);
        due
    }
}
