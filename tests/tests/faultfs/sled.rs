//! The disk shows what is known of sled 0.34: its `flush()` is no barrier, and an own sync after it is.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sotto_tests::faultfs::{Answer, Cut, FaultFs, On, mount_or_skip};

/// Rounds of each kind. Plain sled lost something in 132 of 133 lossy cuts, so ten that lose nothing mean a disk that
/// forgets nothing.
const ROUNDS: u64 = 10;

fn writer(mode: &str, fs: &FaultFs) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sled-writer"));
    command.arg(mode).arg(fs.path().join("store"));
    command
}

/// Lets sled write, ends it after some acknowledgements, cuts the power; answers the cut, and what is amiss then. Each
/// second end is a failing sync, which is sure to leave flushed rows un-synced; a kill mostly hits between two flushes.
fn round(mode: &str, seed: u64) -> Option<(Cut, Result<(), String>)> {
    let fs = mount_or_skip("sled").unwrap()?;
    let wanted = StdRng::seed_from_u64(seed).random_range(1..150);
    let mut child = writer(mode, &fs).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut acknowledged = 0_u64;
    for (count, line) in (1..).zip(BufReader::new(child.stdout.take().unwrap()).lines()) {
        acknowledged = line.unwrap().parse().unwrap();
        if count == wanted && seed.is_multiple_of(2) {
            child.kill().unwrap();
            break;
        } else if count == wanted {
            fs.fail(On::Sync, "", Answer::Io);
        } else if count == wanted + 50 {
            // Plain sled never asks for the sync that fails here.
            child.kill().unwrap();
            break;
        }
    }
    child.wait().unwrap();
    fs.heal();
    assert!(acknowledged > 0, "the writer did not start");
    // Some cuts take all of it, so that a lucky seed does not save every row.
    let cut = fs.power_cut((seed % 4 != 1).then_some(seed));

    let output = writer("read", &fs).output().unwrap();
    let result = if output.status.success() {
        let found: u64 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
        if found >= acknowledged {
            Ok(())
        } else {
            Err(format!("{acknowledged} rows acknowledged, {found} there"))
        }
    } else {
        Err(String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or("no word").to_owned())
    };
    Some((cut, result))
}

#[test]
fn plain_flush_loses_acknowledged_rows() {
    let results: Vec<_> = (0..ROUNDS).filter_map(|seed| round("plain", seed)).collect();
    let failed = results.iter().filter(|(_, result)| result.is_err()).count();
    println!("{results:#?}");
    assert!(results.is_empty() || failed > 0, "{ROUNDS} power cuts and nothing lost");
}

#[test]
fn a_sync_of_the_data_file_keeps_them() {
    let mut lossy = 0;
    for seed in 0..ROUNDS {
        let Some((cut, result)) = round("synced", seed) else { return };
        lossy += u64::from(cut.is_lossy());
        assert_eq!(result, Ok(()), "seed {seed}: {cut:?}");
    }
    assert!(lossy >= ROUNDS.div_ceil(4), "only {lossy} of {ROUNDS} cuts took something away");
}
