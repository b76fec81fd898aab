//! What the liar is told to do.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use sotto_proto::SignedDeviceList;
use sotto_proto::frame::{ClientFrame, FrameDecoder};
use sotto_proto::limits::MAX_FRAME;
use sotto_proto::prekey::{PrekeyBundle, PrekeyUpload};

/// What to do with an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Mischief {
    Damage,
    Drop,
    Repeat,
    Replay,
}

impl Mischief {
    fn named(word: &str) -> Option<Self> {
        match word {
            "damage" => Some(Self::Damage),
            "drop" => Some(Self::Drop),
            "repeat" => Some(Self::Repeat),
            "replay" => Some(Self::Replay),
            _ => None,
        }
    }
}

/// A list that stands for the true one.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) viewer: String,
    pub(crate) list: SignedDeviceList,
    pub(crate) posed: Option<Posed>,
}

/// Whoever is behind a false list.
#[derive(Debug)]
pub(crate) struct Posed {
    keys: PrekeyUpload,
    pub(crate) folder: PathBuf,
}

impl Shown {
    pub(crate) fn is_for(&self, viewer: &str) -> bool {
        self.viewer == "*" || self.viewer == viewer
    }

    /// What handshakes with whoever poses need; the last-resort key, so that there is always one.
    pub(crate) fn bundles(&self) -> Vec<PrekeyBundle> {
        let Some(Posed { keys, .. }) = &self.posed else { return Vec::new() };
        let (Some(signed), Some(kem)) = (&keys.signed, &keys.last_resort) else { return Vec::new() };
        let bundle = |device| PrekeyBundle {
            device,
            signed: signed.clone(),
            kem: kem.clone(),
            kem_one_time: false,
            one_time: None,
        };
        self.list.list().devices.iter().map(|signed| bundle(signed.certificate().device)).collect()
    }
}

/// The orders, and what is left of them.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    pub(crate) shown: Vec<Shown>,
    pub(crate) record: Option<PathBuf>,
    envelopes: HashMap<(String, Mischief), u32>,
    replacements: HashMap<String, Vec<u8>>,
}

impl Orders {
    /// Reads them; an order that cannot be carried out ends the program, so that no test passes for lack of a lie.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let mut orders = Self::default();
        for line in text.lines() {
            orders.order(line).map_err(|problem| format!("the order {line:?}: {problem}"))?;
        }
        Ok(orders)
    }

    fn order(&mut self, line: &str) -> Result<(), String> {
        let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
        match words.as_slice() {
            [] => {}
            ["show", viewer, list] => {
                self.shown.push(Shown { viewer: (*viewer).to_owned(), list: read_list(list)?, posed: None });
            }
            ["pose", viewer, list, keys, folder] => {
                let posed = Some(Posed { keys: read_keys(keys)?, folder: made(folder)? });
                self.shown.push(Shown { viewer: (*viewer).to_owned(), list: read_list(list)?, posed });
            }
            ["record", folder] => self.record = Some(made(folder)?),
            ["replace", reader, file] => {
                self.replacements.insert((*reader).to_owned(), read(file)?);
            }
            [word, reader, count] => {
                let mischief = Mischief::named(word).ok_or("unknown")?;
                let count = count.parse().map_err(|_| "the count is no number")?;
                self.envelopes.insert(((*reader).to_owned(), mischief), count);
            }
            _ => return Err("unknown".to_owned()),
        }
        Ok(())
    }

    /// Whether this is still to be done, once more.
    pub(crate) fn due(&mut self, reader: &str, mischief: Mischief) -> bool {
        let Some(count) = self.envelopes.get_mut(&(reader.to_owned(), mischief)) else { return false };
        let due = *count > 0;
        *count = count.saturating_sub(1);
        due
    }

    pub(crate) fn replacement(&mut self, reader: &str) -> Option<Vec<u8>> {
        self.replacements.remove(reader)
    }
}

fn read(file: &str) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error| format!("{file}: {error}"))
}

fn made(folder: &str) -> Result<PathBuf, String> {
    fs::create_dir_all(folder).map_err(|error| format!("{folder}: {error}"))?;
    Ok(Path::new(folder).to_owned())
}

fn read_list(file: &str) -> Result<SignedDeviceList, String> {
    SignedDeviceList::parse(&read(file)?).map_err(|error| format!("{file}: {error}"))
}

/// A recorded frame of published keys.
fn read_keys(file: &str) -> Result<PrekeyUpload, String> {
    let mut decoder = FrameDecoder::new(MAX_FRAME);
    decoder.push(&read(file)?);
    let raw = decoder.next_frame().map_err(|error| error.to_string())?.ok_or("half a frame")?;
    match ClientFrame::decode(raw.kind, &raw.payload) {
        Ok(Some(ClientFrame::PublishKeys(published))) => Ok(published.upload),
        _ => Err(format!("{file} holds no keys")),
    }
}
