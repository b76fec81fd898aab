//! The kernel's requests, translated into operations on the tree. Nothing is cached on the kernel's side: names and
//! attributes live for no time, reads and writes bypass the page cache, so each fault and each write arrives at once.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, OpenAccMode, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request,
    TimeOrNow, WriteFlags,
};

use super::faults::{Faults, On};
use super::image::Image;
use super::tree::{Access, BLOCK, Body, Dir, Ino, Tree};
use super::watch::{Break, Strike, Watch};

/// Nothing the kernel knows stays true.
const NO_TIME: Duration = Duration::ZERO;

/// `S_IFMT` and the kinds of `mknod` that are of use here, from `inode(7)`.
const KIND_MASK: u32 = 0o170_000;
const KIND_SOCKET: u32 = 0o140_000;
const KIND_FILE: u32 = 0o100_000;

/// What the mount and the test share.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) tree: Tree,
    pub(super) faults: Faults,
    pub(super) watch: Watch,
    /// Told when the watch is over.
    pub(super) over: Arc<Condvar>,
    listings: HashMap<u64, Vec<(Ino, FileType, OsString)>>,
    next_listing: u64,
}

impl Disk {
    pub(super) fn new(tree: Tree) -> Self {
        Self {
            tree,
            faults: Faults::default(),
            watch: Watch::default(),
            over: Arc::default(),
            listings: HashMap::new(),
            next_listing: 1,
        }
    }

    /// Does an operation of a program's thread, if it may go on.
    fn act<T>(
        &mut self,
        thread: u32,
        on: On,
        path: impl Fn(&Tree) -> String,
        operation: impl FnOnce(&mut Tree) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        if self.watch.is_dead(thread) {
            return Err(Errno::EIO);
        }
        let strike = self.watch.arrives(thread, on, || path(&self.tree));
        match strike {
            Some(Strike::KillBefore) => {
                self.watch.kill(thread);
                self.over.notify_all();
                return Err(Errno::EIO);
            }
            Some(Strike::Break(how)) => {
                self.break_by(how);
                self.over.notify_all();
            }
            Some(Strike::KillAfter) | None => {}
        }
        let result = match self.faults.check(on, || path(&self.tree)) {
            Ok(()) => operation(&mut self.tree),
            Err(errno) => Err(errno),
        };
        if strike == Some(Strike::KillAfter) {
            self.watch.kill(thread);
            self.over.notify_all();
        }
        result
    }

    /// The same for an operation on one file.
    fn act_on<T>(
        &mut self,
        thread: u32,
        on: On,
        ino: INodeNo,
        operation: impl FnOnce(&mut Tree) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        self.act(thread, on, |tree| tree.path(ino.0), operation)
    }

    /// The same for a change of a name.
    fn act_on_name<T>(
        &mut self,
        thread: u32,
        (parent, name): (INodeNo, &OsStr),
        operation: impl FnOnce(&mut Tree) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        self.act(thread, On::Name, |tree| name_path(tree, parent, name), operation)
    }

    /// Breaks as it is told.
    pub(super) fn break_by(&mut self, how: Break) {
        match how {
            Break::Full(free) => self.tree.set_free(free),
            Break::ReadOnly => self.faults.set_read_only(true),
            Break::Fails(on, answer) => self.faults.add(on, "", answer),
        }
    }

    fn create(
        &mut self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        body: Body,
    ) -> Result<FileAttr, Errno> {
        let mode = u16::try_from(mode & 0o7777).unwrap_or(0o600);
        let access = Access { mode, uid: req.uid(), gid: req.gid() };
        self.act_on_name(req.pid(), (parent, name), |tree| {
            let ino = tree.create(parent.0, name, body, access)?;
            tree.attr(ino)
        })
    }

    fn open(&mut self, req: &Request, ino: INodeNo, flags: OpenFlags) -> Result<(), Errno> {
        let writes = flags.acc_mode() != OpenAccMode::O_RDONLY;
        let read_only = self.faults.is_read_only();
        self.act_on(req.pid(), On::Open, ino, |tree| {
            if read_only && writes { Err(Errno::EROFS) } else { tree.opened(ino.0) }
        })
    }
}

fn name_path(tree: &Tree, parent: INodeNo, name: &OsStr) -> String {
    format!("{}/{}", tree.path(parent.0), name.to_string_lossy())
}

/// Takes the lock; a panic elsewhere does not make the files unusable.
pub(super) fn lock(disk: &Mutex<Disk>) -> MutexGuard<'_, Disk> {
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The file system as `fuser` wants it.
#[derive(Debug)]
pub(super) struct Shim {
    disk: Arc<Mutex<Disk>>,
    open_flags: FopenFlags,
}

impl Shim {
    pub(super) fn new(disk: Arc<Mutex<Disk>>) -> Self {
        Self { disk, open_flags: FopenFlags::empty() }
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        lock(&self.disk)
    }
}

fn answer_entry(result: Result<FileAttr, Errno>, reply: ReplyEntry) {
    match result {
        Ok(attr) => reply.entry(&NO_TIME, &attr, Generation(0)),
        Err(errno) => reply.error(errno),
    }
}

fn answer_attr(result: Result<FileAttr, Errno>, reply: ReplyAttr) {
    match result {
        Ok(attr) => reply.attr(&NO_TIME, &attr),
        Err(errno) => reply.error(errno),
    }
}

fn answer_empty(result: Result<(), Errno>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

impl Filesystem for Shim {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // SQLite maps its index of the write-ahead log; a kernel that cannot map such files keeps its page cache.
        if config.add_capabilities(InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP).is_ok() {
            self.open_flags = FopenFlags::FOPEN_DIRECT_IO;
        }
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let disk = self.disk();
        answer_entry(disk.tree.lookup(parent.0, name).and_then(|ino| disk.tree.attr(ino)), reply);
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        answer_attr(self.disk().tree.attr(ino.0), reply);
    }

    fn setattr(
        &self,
        req: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut disk = self.disk();
        let mut change = || {
            if disk.faults.is_read_only() {
                return Err(Errno::EROFS);
            }
            if let Some(size) = size {
                disk.act_on(req.pid(), On::Write, ino, |tree| tree.resize(ino.0, size))?;
            }
            disk.tree.set_access(ino.0, |access| {
                access.mode = mode.and_then(|mode| u16::try_from(mode & 0o7777).ok()).unwrap_or(access.mode);
                access.uid = uid.unwrap_or(access.uid);
                access.gid = gid.unwrap_or(access.gid);
            })?;
            match mtime {
                Some(TimeOrNow::SpecificTime(time)) => disk.tree.set_modified(ino.0, time)?,
                Some(TimeOrNow::Now) => disk.tree.set_modified(ino.0, SystemTime::now())?,
                None => {}
            }
            disk.tree.attr(ino.0)
        };
        answer_attr(change(), reply);
    }

    fn readlink(&self, _req: &Request, ino: INodeNo, reply: ReplyData) {
        match self.disk().tree.symlink_target(ino.0) {
            Ok(target) => reply.data(target.as_os_str().as_bytes()),
            Err(errno) => reply.error(errno),
        }
    }

    fn mknod(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _rdev: u32,
        reply: ReplyEntry,
    ) {
        let body = match mode & KIND_MASK {
            KIND_SOCKET => Body::Socket,
            KIND_FILE => Body::File(Image::default()),
            _ => return reply.error(Errno::EPERM),
        };
        answer_entry(self.disk().create(req, parent, name, mode, body), reply);
    }

    fn mkdir(&self, req: &Request, parent: INodeNo, name: &OsStr, mode: u32, _umask: u32, reply: ReplyEntry) {
        answer_entry(self.disk().create(req, parent, name, mode, Body::Dir(Dir::default())), reply);
    }

    fn unlink(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let remove = |tree: &mut Tree| tree.remove(parent.0, name, false);
        answer_empty(self.disk().act_on_name(req.pid(), (parent, name), remove), reply);
    }

    fn rmdir(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let remove = |tree: &mut Tree| tree.remove(parent.0, name, true);
        answer_empty(self.disk().act_on_name(req.pid(), (parent, name), remove), reply);
    }

    fn symlink(&self, req: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        answer_entry(self.disk().create(req, parent, name, 0o777, Body::Symlink(target.to_owned())), reply);
    }

    fn rename(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if flags.intersects(RenameFlags::RENAME_EXCHANGE | RenameFlags::RENAME_WHITEOUT) {
            return reply.error(Errno::EINVAL);
        }
        let replace = !flags.contains(RenameFlags::RENAME_NOREPLACE);
        // Both names in one, for what matches either.
        let path = |tree: &Tree| {
            format!("{} {}", name_path(tree, parent, name), name_path(tree, newparent, newname))
        };
        let rename = |tree: &mut Tree| tree.rename((parent.0, name), (newparent.0, newname), replace);
        answer_empty(self.disk().act(req.pid(), On::Name, path, rename), reply);
    }

    fn link(&self, req: &Request, ino: INodeNo, newparent: INodeNo, newname: &OsStr, reply: ReplyEntry) {
        let link = |tree: &mut Tree| {
            tree.link(ino.0, newparent.0, newname)?;
            tree.attr(ino.0)
        };
        answer_entry(self.disk().act_on_name(req.pid(), (newparent, newname), link), reply);
    }

    fn open(&self, req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        match self.disk().open(req, ino, flags) {
            Ok(()) => reply.opened(FileHandle(0), self.open_flags),
            Err(errno) => reply.error(errno),
        }
    }

    fn create(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let mut disk = self.disk();
        let created = disk.create(req, parent, name, mode, Body::File(Image::default()));
        match created.and_then(|attr| disk.tree.opened(attr.ino.0).map(|()| attr)) {
            Ok(attr) => reply.created(&NO_TIME, &attr, Generation(0), FileHandle(0), self.open_flags),
            Err(errno) => reply.error(errno),
        }
    }

    fn read(
        &self,
        req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut disk = self.disk();
        let allowed = disk.act_on(req.pid(), On::Read, ino, |_| Ok(()));
        match allowed.and_then(|()| disk.tree.read(ino.0, offset, size)) {
            Ok(bytes) => reply.data(bytes),
            Err(errno) => reply.error(errno),
        }
    }

    fn write(
        &self,
        req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let write = |tree: &mut Tree| tree.write(ino.0, offset, data);
        match self.disk().act_on(req.pid(), On::Write, ino, write) {
            Ok(written) => reply.written(u32::try_from(written).unwrap_or(u32::MAX)),
            Err(errno) => reply.error(errno),
        }
    }

    fn flush(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }

    fn release(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.disk().tree.closed(ino.0);
        reply.ok();
    }

    fn fsync(&self, req: &Request, ino: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        let sync = |tree: &mut Tree| tree.sync_file(ino.0);
        answer_empty(self.disk().act_on(req.pid(), On::Sync, ino, sync), reply);
    }

    fn opendir(&self, req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let mut disk = self.disk();
        match disk.act_on(req.pid(), On::Open, ino, |tree| tree.entries(ino.0)) {
            Ok(entries) => {
                let handle = disk.next_listing;
                disk.next_listing += 1;
                disk.listings.insert(handle, entries);
                reply.opened(FileHandle(handle), FopenFlags::empty());
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn readdir(&self, _req: &Request, ino: INodeNo, fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let mut disk = self.disk();
        // A program that rewinds its handle must see the folder as it is now.
        if offset == 0 {
            match disk.tree.entries(ino.0) {
                Ok(entries) => drop(disk.listings.insert(fh.0, entries)),
                Err(errno) => return reply.error(errno),
            }
        }
        let entries = disk.listings.get(&fh.0).map(Vec::as_slice).unwrap_or_default();
        for (next, (ino, kind, name)) in
            (1_u64..).zip(entries).skip(usize::try_from(offset).unwrap_or(usize::MAX))
        {
            if reply.add(INodeNo(*ino), next, *kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.disk().listings.remove(&fh.0);
        reply.ok();
    }

    fn fsyncdir(&self, req: &Request, ino: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        let sync = |tree: &mut Tree| tree.sync_dir(ino.0);
        answer_empty(self.disk().act_on(req.pid(), On::Sync, ino, sync), reply);
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        let disk = self.disk();
        let (blocks, free) = (disk.tree.capacity() / BLOCK, disk.tree.free() / BLOCK);
        let block = u32::try_from(BLOCK).unwrap_or(u32::MAX);
        reply.statfs(blocks, free, free, blocks, free, block, 255, block);
    }

    fn fallocate(
        &self,
        req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        if mode != 0 {
            return reply.error(Errno::EOPNOTSUPP);
        }
        let allocate = |tree: &mut Tree| {
            let end = offset.checked_add(length).ok_or(Errno::EFBIG)?;
            if end > tree.len(ino.0)? { tree.resize(ino.0, end) } else { Ok(()) }
        };
        answer_empty(self.disk().act_on(req.pid(), On::Write, ino, allocate), reply);
    }
}
