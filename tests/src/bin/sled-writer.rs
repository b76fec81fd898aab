//! Writes numbered rows into a sled store and says on stdout which are flushed, until it is killed; or reads them back.
//!
//! `sled-writer plain|synced DIR` appends; `sled-writer read DIR` prints how many rows follow each other without a gap.
//! `plain` trusts `flush()`; `synced` adds what it takes to survive a power cut: an own sync of the data file after each
//! flush, and of everything else once after the store was made.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, bail, ensure};

/// Rows between two flushes.
const BATCH: u64 = 8;
/// Bytes of a row, about those of an envelope.
const ROW: usize = 2048;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [mode, dir] if mode == "plain" => write(Path::new(dir), false),
        [mode, dir] if mode == "synced" => write(Path::new(dir), true),
        [mode, dir] if mode == "read" => read(Path::new(dir)),
        _ => bail!("usage: sled-writer plain|synced|read DIR"),
    }
}

fn row(number: u64) -> Vec<u8> {
    number.to_be_bytes().into_iter().cycle().take(ROW).collect()
}

fn open(dir: &Path) -> anyhow::Result<sled::Db> {
    // No flushes of sled's own: only what `write` flushes counts.
    sled::Config::new().path(dir).flush_every_ms(None).open().context("the store does not open")
}

/// A half-written snapshot would be read as the newest one.
fn remove_unfinished_snapshots(dir: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "generating") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn sync_all(dir: &Path) -> anyhow::Result<()> {
    for name in ["conf", "db", "blobs", "."] {
        File::open(dir.join(name))?.sync_all()?;
    }
    File::open(dir.parent().context("a folder with a parent")?)?.sync_all()?;
    Ok(())
}

fn write(dir: &Path, synced: bool) -> anyhow::Result<()> {
    let db = open(dir)?;
    if synced {
        sync_all(dir)?;
    }
    let data = OpenOptions::new().read(true).write(true).open(dir.join("db"))?;
    let mut stdout = io::stdout().lock();
    for number in 0_u64.. {
        db.insert(number.to_be_bytes(), row(number))?;
        if (number + 1) % BATCH == 0 {
            db.flush()?;
            if synced {
                data.sync_data()?;
            }
            writeln!(stdout, "{}", number + 1)?;
            stdout.flush()?;
        }
    }
    Ok(())
}

fn read(dir: &Path) -> anyhow::Result<()> {
    remove_unfinished_snapshots(dir)?;
    let db = open(dir)?;
    let mut count = 0_u64;
    for entry in db.iter() {
        let (key, value) = entry?;
        if key != count.to_be_bytes() {
            break;
        }
        ensure!(value == row(count), "row {count} is damaged");
        count += 1;
    }
    println!("{count}");
    Ok(())
}
