//! What the disk can do just now, without a server: where this figure is bad, so are those of every store that syncs. The
//! file has its whole length before the clock starts, so no change of the file system's own records is waited for.

use std::fs::File;
use std::io::{Seek as _, Write as _};
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
    let path = folder.path().join("writes");
    let messages = args.messages;
    for group in [1, GROUP] {
        let path = path.clone();
        let (written, time) = tokio::task::spawn_blocking(move || write(&path, messages, group)).await??;
        report::row(
            "disk",
            &format!(
                "{} writes/s of {FLOOR_ENVELOPE} bytes, {group} to an fdatasync ({} in {})",
                report::rate(written, time),
                report::count(written),
                report::seconds(time)
            ),
        );
    }
    Ok(folder.close()?)
}

fn write(path: &Path, messages: u32, group: u32) -> anyhow::Result<(u64, Duration)> {
    let mut file = File::create(path)?;
    let bytes = vec![0xa5; FLOOR_ENVELOPE * usize::try_from(group)?];
    let groups = messages.div_ceil(group);
    for _ in 0..groups {
        file.write_all(&vec![0; bytes.len()])?;
    }
    file.sync_all()?;
    file.rewind()?;
    let begun = Instant::now();
    let mut written = 0;
    for _ in 0..groups {
        file.write_all(&bytes)?;
        file.sync_data()?;
        written += u64::from(group);
        if begun.elapsed() > LONGEST {
            break;
        }
    }
    Ok((written, begun.elapsed()))
}
