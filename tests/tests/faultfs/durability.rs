//! What a power cut takes away and what it leaves.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use sotto_tests::faultfs::{FaultFs, mount_or_skip};

fn sync_dir(dir: &Path) {
    File::open(dir).unwrap().sync_all().unwrap();
}

/// A file whose bytes and name are both on the disk.
fn durable_file(fs: &FaultFs, name: &str, content: &[u8]) -> File {
    let path = fs.path().join(name);
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
    file.write_all(content).unwrap();
    file.sync_all().unwrap();
    sync_dir(path.parent().unwrap());
    file
}

#[test]
fn what_was_not_synced_is_gone() {
    let Some(fs) = mount_or_skip("what_was_not_synced_is_gone").unwrap() else { return };
    let file = durable_file(&fs, "a", b"first");
    file.write_all_at(b"FIRST and second", 0).unwrap();
    assert_eq!(fs::read(fs.path().join("a")).unwrap(), b"FIRST and second");
    fs::write(fs.path().join("never-synced"), b"x").unwrap();

    let cut = fs.power_cut(None);

    assert!(cut.is_lossy());
    assert_eq!((cut.writes_dropped, cut.names_dropped), (1, 1));
    assert_eq!(fs::read(fs.path().join("a")).unwrap(), b"first");
    assert!(!fs.path().join("never-synced").exists());
}

#[test]
fn what_was_synced_stays() {
    let Some(fs) = mount_or_skip("what_was_synced_stays").unwrap() else { return };
    let file = durable_file(&fs, "a", b"first");
    file.write_all_at(&vec![7; 300_000], 5).unwrap();
    file.sync_data().unwrap();
    fs::create_dir(fs.path().join("dir")).unwrap();
    sync_dir(fs.path());
    durable_file(&fs, "dir/b", b"below");

    let cut = fs.power_cut(Some(1));

    assert!(!cut.is_lossy(), "{cut:?}");
    let content = fs::read(fs.path().join("a")).unwrap();
    assert_eq!(content.len(), 300_005);
    assert!(content.starts_with(b"first\x07\x07"));
    assert_eq!(fs::read(fs.path().join("dir/b")).unwrap(), b"below");
}

#[test]
fn a_synced_file_without_a_synced_folder_has_no_name() {
    let Some(fs) = mount_or_skip("a_synced_file_without_a_synced_folder_has_no_name").unwrap() else {
        return;
    };
    let mut file = File::create(fs.path().join("a")).unwrap();
    file.write_all(b"content").unwrap();
    file.sync_all().unwrap();
    assert_eq!(fs.power_cut(None).names_dropped, 1);
    assert_eq!(fs::read_dir(fs.path()).unwrap().count(), 0);
}

#[test]
fn a_rename_without_a_synced_folder_may_be_undone() {
    let Some(fs) = mount_or_skip("a_rename_without_a_synced_folder_may_be_undone").unwrap() else { return };
    let (mut undone, mut kept) = (0, 0);
    for seed in 0..20 {
        durable_file(&fs, "a", b"old");
        durable_file(&fs, "a.tmp", b"new");
        fs::rename(fs.path().join("a.tmp"), fs.path().join("a")).unwrap();
        fs.power_cut(Some(seed));
        match fs::read(fs.path().join("a")).unwrap().as_slice() {
            b"old" => {
                undone += 1;
                assert_eq!(fs::read(fs.path().join("a.tmp")).unwrap(), b"new");
                fs::remove_file(fs.path().join("a.tmp")).unwrap();
            }
            b"new" => {
                kept += 1;
                assert!(!fs.path().join("a.tmp").exists());
            }
            other => panic!("seed {seed}: {other:?}"),
        }
        fs::remove_file(fs.path().join("a")).unwrap();
        sync_dir(fs.path());
    }
    assert!(undone > 0 && kept > 0, "{undone} undone, {kept} kept");

    durable_file(&fs, "a", b"old");
    durable_file(&fs, "a.tmp", b"new");
    fs::rename(fs.path().join("a.tmp"), fs.path().join("a")).unwrap();
    sync_dir(fs.path());
    fs.power_cut(None);
    assert_eq!(fs::read(fs.path().join("a")).unwrap(), b"new");
}

#[test]
fn a_removal_without_a_synced_folder_is_undone() {
    let Some(fs) = mount_or_skip("a_removal_without_a_synced_folder_is_undone").unwrap() else { return };
    durable_file(&fs, "a", b"still here");
    fs::remove_file(fs.path().join("a")).unwrap();
    assert!(!fs.path().join("a").exists());
    fs.power_cut(None);
    assert_eq!(fs::read(fs.path().join("a")).unwrap(), b"still here");
}

#[test]
fn a_seeded_cut_keeps_some_writes_and_tears_others() {
    let Some(fs) = mount_or_skip("a_seeded_cut_keeps_some_writes_and_tears_others").unwrap() else { return };
    let (mut kept, mut torn, mut dropped) = (0, 0, 0);
    for seed in 0..20 {
        let name = format!("f{seed}");
        let file = durable_file(&fs, &name, &vec![0; 64 * 1024]);
        for block in 0..8_u8 {
            file.write_all_at(&[block + 1; 8192], u64::from(block) * 8192).unwrap();
        }
        let cut = fs.power_cut(Some(seed));
        kept += cut.writes_kept;
        torn += cut.writes_torn;
        dropped += cut.writes_dropped;
        let content = fs::read(fs.path().join(&name)).unwrap();
        for (at, byte) in content.iter().enumerate() {
            assert!(*byte == 0 || usize::from(*byte) == at / 8192 + 1, "seed {seed}: byte {at} is {byte}");
        }
    }
    assert_eq!(kept + torn + dropped, 20 * 8);
    assert!(kept > 10 && torn > 10 && dropped > 10, "{kept} kept, {torn} torn, {dropped} dropped");
}

#[test]
fn the_same_seed_leaves_the_same_disk() {
    let disks: Vec<Vec<u8>> = (0..2)
        .filter_map(|_| mount_or_skip("the_same_seed_leaves_the_same_disk").unwrap())
        .map(|fs| {
            let file = durable_file(&fs, "a", &[0; 1000]);
            for byte in 1..100_u8 {
                file.write_all_at(&[byte; 700], u64::from(byte) * 650).unwrap();
            }
            fs.power_cut(Some(99));
            fs::read(fs.path().join("a")).unwrap()
        })
        .collect();
    assert!(disks.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn handles_from_before_the_cut_are_dead() {
    let Some(fs) = mount_or_skip("handles_from_before_the_cut_are_dead").unwrap() else { return };
    let file = durable_file(&fs, "a", b"first");
    fs.power_cut(None);
    assert!(file.write_all_at(b"late", 0).is_err());
    assert!(file.sync_all().is_err());
    assert_eq!(fs::read(fs.path().join("a")).unwrap(), b"first");
}
