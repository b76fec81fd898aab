//! What programs need beside reading and writing: locks, sockets, links, many names, and to be killed.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};

use sotto_tests::faultfs::mount_or_skip;

#[test]
fn names_links_and_modes() {
    let Some(fs) = mount_or_skip("names_links_and_modes").unwrap() else { return };
    let dir = fs.path().join("x/y/z");
    fs::create_dir_all(&dir).unwrap();
    for number in 0..2000 {
        fs::write(dir.join(format!("file with a rather long name, number {number}")), b"").unwrap();
    }
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 2000);
    for entry in fs::read_dir(&dir).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    assert!(fs::remove_dir(fs.path().join("x/y")).is_err());
    fs::remove_dir_all(fs.path().join("x")).unwrap();

    fs::write(fs.path().join("a"), b"linked").unwrap();
    fs::hard_link(fs.path().join("a"), fs.path().join("b")).unwrap();
    assert_eq!(fs::metadata(fs.path().join("a")).unwrap().nlink(), 2);
    fs::remove_file(fs.path().join("a")).unwrap();
    symlink("b", fs.path().join("c")).unwrap();
    assert_eq!(fs::read(fs.path().join("c")).unwrap(), b"linked");
    fs::set_permissions(fs.path().join("b"), fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(fs::metadata(fs.path().join("b")).unwrap().mode() & 0o777, 0o640);
    File::open(fs.path()).unwrap().sync_all().unwrap();
    File::open(fs.path().join("b")).unwrap().sync_all().unwrap();
    fs.power_cut(None);
    assert_eq!(fs::read(fs.path().join("c")).unwrap(), b"linked");
}

#[test]
fn locks_hold_between_handles() {
    let Some(fs) = mount_or_skip("locks_hold_between_handles").unwrap() else { return };
    let path = fs.path().join("lock");
    let first = File::create(&path).unwrap();
    first.lock().unwrap();
    let second = File::open(&path).unwrap();
    assert!(second.try_lock().is_err());
    drop(first);
    second.lock().unwrap();
}

#[test]
fn sockets_can_be_bound_and_reached() {
    let Some(fs) = mount_or_skip("sockets_can_be_bound_and_reached").unwrap() else { return };
    let path = fs.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(b"hello").unwrap();
    drop(client);
    let mut text = String::new();
    listener.accept().unwrap().0.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
}

/// What a killed program wrote stays for those that live on, and is lost with the power.
#[test]
fn a_killed_program_leaves_the_mount_alive() {
    let Some(fs) = mount_or_skip("a_killed_program_leaves_the_mount_alive").unwrap() else { return };
    let path = fs.path().join("log");
    fs::write(&path, b"").unwrap();
    File::open(&path).unwrap().sync_all().unwrap();
    File::open(fs.path()).unwrap().sync_all().unwrap();
    let mut child = Command::new("sh")
        .args(["-c", "exec 3>>\"$0\"; while :; do echo line >&3; echo written; done"])
        .arg(&path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().take(50).count();
    child.kill().unwrap();
    child.wait().unwrap();
    let written = fs::read(&path).unwrap();
    assert!(lines == 50 && written.len() >= 50 * 5, "{} bytes", written.len());
    assert!(written.starts_with(b"line\nline\n"));
    fs.power_cut(None);
    assert_eq!(fs::read(&path).unwrap(), b"");
}

#[test]
fn dropping_it_unmounts_even_under_an_open_file() {
    let Some(fs) = mount_or_skip("dropping_it_unmounts_even_under_an_open_file").unwrap() else { return };
    let path = fs.path().to_owned();
    let open = File::create(path.join("a")).unwrap();
    let mounts = || fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(mounts().contains(path.to_str().unwrap()));
    drop(fs);
    assert!(!mounts().contains(path.to_str().unwrap()));
    assert!(!path.exists());
    drop(open);
}
