//! What happens at one chosen operation of a program.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output};

use sotto_tests::faultfs::{Break, FaultFs, On, Strike, Which, mount_or_skip};

/// Appends five lines to the file `log`, one write each, and says after each that it is written.
fn write_lines(fs: &FaultFs) -> Output {
    let script = "exec 3>>\"$0\"; for n in 1 2 3 4 5; do echo line $n >&3 || exit 9; echo written; done";
    Command::new("sh").args(["-c", script]).arg(fs.path().join("log")).output().unwrap()
}

fn lines(path: &Path) -> usize {
    fs::read_to_string(path).unwrap().lines().count()
}

#[test]
fn a_program_is_killed_before_or_after_the_chosen_operation() {
    let test = "a_program_is_killed_before_or_after_the_chosen_operation";
    for (strike, there) in [(Strike::KillBefore, 2), (Strike::KillAfter, 3)] {
        let Some(fs) = mount_or_skip(test).unwrap() else { return };
        let log = fs.path().join("log");
        fs::write(&log, "").unwrap();
        fs.count(Which::new(&[On::Write], "log"));
        assert!(write_lines(&fs).status.success());
        assert_eq!((fs.counted(On::Write), fs.counted(On::Name), lines(&log)), (5, 0, 5));

        fs::write(&log, "").unwrap();
        fs.strike_at(Which::new(&[On::Write], "log"), 3, strike);
        // The test's own writes are none of the program's.
        fs::write(fs.path().join("another log"), "x").unwrap();
        let killed = write_lines(&fs);
        assert_eq!((killed.status.signal(), killed.stdout.as_slice()), (Some(9), &b"written\nwritten\n"[..]));
        assert!(fs.wait_for_strike());
        assert_eq!(lines(&log), there, "{strike:?}");
        // It comes once.
        assert!(write_lines(&fs).status.success());
        assert_eq!(lines(&log), there + 5);
    }
}

#[test]
fn the_disk_breaks_at_the_chosen_operation_and_stays_broken() {
    let test = "the_disk_breaks_at_the_chosen_operation_and_stays_broken";
    let Some(fs) = mount_or_skip(test).unwrap() else { return };
    fs::write(fs.path().join("log"), "").unwrap();
    fs.strike_at(Which::new(&[On::Write], ""), 4, Strike::Break(Break::ReadOnly));
    assert_eq!(write_lines(&fs).stdout, b"written\nwritten\nwritten\n");
    assert!(fs.wait_for_strike());
    assert!(write_lines(&fs).stdout.is_empty());
    fs.heal();
    assert!(write_lines(&fs).status.success());
    assert_eq!(lines(&fs.path().join("log")), 8);
}

#[test]
fn what_was_stood_down_does_not_come() {
    let Some(fs) = mount_or_skip("what_was_stood_down_does_not_come").unwrap() else { return };
    fs.strike_at(Which::new(&[On::Write], "log"), 3, Strike::KillBefore);
    fs.stand_down();
    assert!(!fs.wait_for_strike());
    assert!(write_lines(&fs).status.success());
}

#[test]
fn a_copy_has_everything_on_the_disk_and_a_life_of_its_own() {
    let test = "a_copy_has_everything_on_the_disk_and_a_life_of_its_own";
    let Some(fs) = mount_or_skip(test).unwrap() else { return };
    fs::create_dir(fs.path().join("dir")).unwrap();
    fs::write(fs.path().join("dir/a"), "never synced").unwrap();
    let copy = fs.mount_copy().unwrap();
    fs::write(fs.path().join("dir/a"), "changed").unwrap();
    assert!(!copy.power_cut(None).is_lossy());
    assert_eq!(fs::read_to_string(copy.path().join("dir/a")).unwrap(), "never synced");
    assert_eq!(copy.free_space(), fs.free_space());
    assert!(fs.power_cut(None).is_lossy());
}
