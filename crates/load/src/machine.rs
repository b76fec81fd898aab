//! What a number was measured on: without it a number means nothing.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Processor, memory, disk, load and command, a line each.
pub(crate) fn describe(data_dir: &Path) -> anyhow::Result<[String; 4]> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = value(&cpuinfo, "model name").unwrap_or("unknown processor");
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory_kib = value(&memory, "MemTotal").and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("unknown");
    let command = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    let profile =
        if cfg!(debug_assertions) { "debug build: the figures mean little" } else { "release build" };
    Ok([
        format!("machine: {model}, {cores} cores, {} MiB memory", memory_kib.unwrap_or(0) / 1024),
        format!("disk: {}", disk(data_dir)?),
        format!("load average at the start: {load} (others on the machine slow everything below)"),
        format!("command: sotto-load {command} ({profile})"),
    ])
}

/// `key : value` lines of `/proc`.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then_some(value.trim())
    })
}

/// File system and device of a folder. Memory that poses as a disk is refused: nothing there is ever durable.
fn disk(folder: &Path) -> anyhow::Result<String> {
    let folder = folder.canonicalize().with_context(|| format!("the data folder {}", folder.display()))?;
    let mounts = fs::read_to_string("/proc/mounts").context("reading /proc/mounts")?;
    let mut best = ("", "unknown", "unknown");
    for line in mounts.lines() {
        let mut words = line.split(' ');
        let (Some(device), Some(place), Some(kind)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        // Of two mounts on one place the later one is seen.
        if folder.starts_with(place) && place.len() >= best.0.len() {
            best = (place, device, kind);
        }
    }
    let (_, device, kind) = best;
    if matches!(kind, "tmpfs" | "ramfs") {
        anyhow::bail!("{} is on {kind}, which is memory; give --data-dir on a disk", folder.display());
    }
    let name = device.rsplit('/').next().unwrap_or(device);
    let rotational = fs::read_to_string(format!("/sys/block/{name}/queue/rotational"));
    let turning = match rotational.as_deref().map(str::trim) {
        Ok("0") => ", not rotating",
        Ok("1") => ", rotating (or a virtual disk that does not say)",
        _ => "",
    };
    Ok(format!("{kind} on {device}{turning}"))
}

/// As many connections as the machine lets us have.
pub(crate) fn raise_file_limit() -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .context("raising the limit of open files")
}

#[cfg(test)]
mod tests {
    use super::value;

    #[test]
    fn values_are_found_by_their_whole_name() {
        let text = "model\t\t: 17\nmodel name\t: AMD EPYC\n";
        assert_eq!(value(text, "model name"), Some("AMD EPYC"));
        assert_eq!(value(text, "model"), Some("17"));
        assert_eq!(value(text, "name"), None);
    }
}
