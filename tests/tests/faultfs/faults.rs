//! The switches: full, broken, forbidden, read-only.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use sotto_tests::faultfs::{Answer, On, mount_or_skip};

#[test]
fn a_full_disk_says_so_and_takes_no_byte_too_many() {
    let Some(fs) = mount_or_skip("a_full_disk_says_so_and_takes_no_byte_too_many").unwrap() else { return };
    let mut file = File::create(fs.path().join("a")).unwrap();
    fs.set_free_space(3 * 4096);
    let error = file.write_all(&vec![1; 100_000]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert_eq!(file.metadata().unwrap().len(), 3 * 4096);
    assert_eq!(fs.free_space(), 0);
    let mut empty = File::create(fs.path().join("b")).unwrap();
    assert_eq!(empty.write(b"x").unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(fs::create_dir(fs.path().join("c")).unwrap_err().kind(), ErrorKind::StorageFull);
    // Overwriting needs no room, and what is removed gives room.
    file.write_all_at(&[2; 4096], 0).unwrap();
    file.sync_all().unwrap();
    file.set_len(4096).unwrap();
    assert_eq!(fs.free_space(), 2 * 4096);
    fs::write(fs.path().join("b"), [3; 4096]).unwrap();
    fs.heal();
    file.write_all(&vec![1; 100_000]).unwrap();
}

#[test]
fn a_removed_file_gives_its_room_back_when_it_is_closed() {
    let Some(fs) = mount_or_skip("a_removed_file_gives_its_room_back_when_it_is_closed").unwrap() else {
        return;
    };
    let before = fs.free_space();
    let path = fs.path().join("a");
    fs::write(&path, vec![1; 40_000]).unwrap();
    let open = File::open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(fs.free_space() < before);
    let mut start = [0; 4];
    open.read_exact_at(&mut start, 39_996).unwrap();
    assert_eq!(start, [1; 4]);
    drop(open);
    // The kernel sends the release when it gets to it; a request after it on the same connection comes later.
    let deadline = Instant::now() + Duration::from_secs(20);
    while fs.free_space() < before {
        assert!(Instant::now() < deadline, "the room does not come back");
        fs::metadata(fs.path()).unwrap();
    }
}

#[test]
fn reads_writes_and_syncs_of_matching_paths_fail() {
    let Some(fs) = mount_or_skip("reads_writes_and_syncs_of_matching_paths_fail").unwrap() else { return };
    fs::create_dir(fs.path().join("store")).unwrap();
    let path = fs.path().join("store/db");
    fs::write(&path, b"content").unwrap();
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();

    fs.fail(On::Read, "store/db", Answer::Io);
    assert_eq!(fs::read(&path).unwrap_err().raw_os_error(), Some(Errno::IO.raw_os_error()));
    fs.fail(On::Write, "/db", Answer::Io);
    assert!(file.write_at(b"x", 0).is_err());
    fs.fail(On::Sync, "db", Answer::Io);
    assert!(file.sync_data().is_err());
    assert_eq!(fs.fault_hits(), 3);

    fs::write(fs.path().join("other"), b"fine").unwrap();
    File::open(fs.path().join("other")).unwrap().sync_all().unwrap();
    fs.heal();
    assert_eq!(fs::read(&path).unwrap(), b"content");
}

#[test]
fn a_failed_sync_leaves_the_data_unsynced() {
    let Some(fs) = mount_or_skip("a_failed_sync_leaves_the_data_unsynced").unwrap() else { return };
    let path = fs.path().join("a");
    let file = File::create(&path).unwrap();
    File::open(fs.path()).unwrap().sync_all().unwrap();
    file.write_all_at(b"hopeful", 0).unwrap();
    fs.fail(On::Sync, "a", Answer::Io);
    assert!(file.sync_all().is_err());
    fs.power_cut(None);
    assert_eq!(fs::read(&path).unwrap(), b"");
}

#[test]
fn forbidden_and_read_only_are_told_apart() {
    let Some(fs) = mount_or_skip("forbidden_and_read_only_are_told_apart").unwrap() else { return };
    let path = fs.path().join("secret");
    fs::write(&path, b"content").unwrap();
    fs.fail(On::Open, "secret", Answer::Access);
    assert_eq!(File::open(&path).unwrap_err().kind(), ErrorKind::PermissionDenied);
    fs.heal();

    fs.set_read_only(true);
    assert_eq!(fs::read(&path).unwrap(), b"content");
    assert_eq!(OpenOptions::new().write(true).open(&path).unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
    assert_eq!(fs::write(fs.path().join("new"), b"").unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
    assert_eq!(fs::remove_file(&path).unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
    fs.set_read_only(false);
    fs::remove_file(&path).unwrap();
}
