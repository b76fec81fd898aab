//! What the disk can do: a figure that waits for it cannot be better than this.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use sotto_proto::limits::FLOOR_ENVELOPE;

use crate::{args::Args, report, server::throw_away_folder};

/// Envelopes that are made durable together, in the second line.
const GROUP: u32 = 64;
/// Longest run of each line.
const LONGEST: Duration = Duration::from_secs(5);

pub(super) async fn run(args: &Args) -> anyhow::Result<()> {
    let folder = throw_away_folder(args)?;
    let path = folder.path().join("appends");
    let messages = args.messages;
    for group in [1, GROUP] {
        let path = path.clone();
        let (written, time) = tokio::task::spawn_blocking(move || append(&path, messages, group)).await??;
        report::row(
            "disk",
            &format!(
                "{} appends/s of {FLOOR_ENVELOPE} bytes, {group} to an fdatasync ({} in {})",
                report::rate(written, time),
                report::count(written),
                report::seconds(time)
            ),
        );
    }
    Ok(folder.close()?)
}

fn append(path: &Path, messages: u32, group: u32) -> anyhow::Result<(u64, Duration)> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    let bytes = vec![0xa5; FLOOR_ENVELOPE * usize::try_from(group)?];
    let begun = Instant::now();
    let mut written = 0;
    while written < u64::from(messages) && begun.elapsed() < LONGEST {
        file.write_all(&bytes)?;
        file.sync_data()?;
        written += u64::from(group);
    }
    Ok((written, begun.elapsed()))
}
