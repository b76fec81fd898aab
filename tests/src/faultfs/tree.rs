//! The files and folders in memory, as programs see them and as the disk holds them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::SystemTime;

use fuser::{Errno, FileAttr, FileType, INodeNo};
use rand::rngs::StdRng;

use super::image::Image;
use super::journal::{Change, Journal};

/// The number of a file, never given twice.
pub(super) type Ino = u64;

/// The number of the top folder, fixed by FUSE.
pub(super) const ROOT: Ino = 1;

/// What a file system allots at once. A folder takes one; what only has a name takes none, as in a table of inodes that is
/// made with the file system.
pub(super) const BLOCK: u64 = 4096;

/// Removed files are looked for after this many removals; they cost only memory until then.
const SWEEP_EVERY: usize = 256;

#[derive(Debug, Clone)]
pub(super) enum Body {
    File(Image),
    Dir(Dir),
    Symlink(PathBuf),
    Socket,
}

#[derive(Debug, Default, Clone)]
pub(super) struct Dir {
    live: BTreeMap<OsString, Ino>,
    durable: BTreeMap<OsString, Ino>,
}

/// Who may do what with a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Access {
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

#[derive(Debug, Clone)]
struct Node {
    body: Body,
    access: Access,
    modified: SystemTime,
    links: u32,
    opens: u32,
    /// Where it was linked last, for the paths that faults match.
    place: (Ino, OsString),
}

impl Node {
    fn cost(&self) -> u64 {
        match &self.body {
            Body::File(image) => (image.len() as u64).next_multiple_of(BLOCK),
            Body::Dir(_) => BLOCK,
            Body::Symlink(_) | Body::Socket => 0,
        }
    }

    fn kind(&self) -> FileType {
        match self.body {
            Body::File(_) => FileType::RegularFile,
            Body::Dir(_) => FileType::Directory,
            Body::Symlink(_) => FileType::Symlink,
            Body::Socket => FileType::Socket,
        }
    }
}

/// What a power cut took away.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Un-synced writes that are gone.
    pub writes_dropped: usize,
    /// Un-synced writes of which only some sectors are there.
    pub writes_torn: usize,
    /// Un-synced writes that are there all the same.
    pub writes_kept: usize,
    /// Un-synced creations, renames and removals that did not happen.
    pub names_dropped: usize,
}

impl Cut {
    /// Whether anything is gone: a run of a test in which nothing was proves nothing.
    pub fn is_lossy(&self) -> bool {
        self.writes_dropped + self.writes_torn + self.names_dropped > 0
    }
}

/// All of the file system.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    nodes: HashMap<Ino, Node>,
    next: Ino,
    journal: Journal,
    used: u64,
    capacity: u64,
    removals: usize,
}

impl Tree {
    pub(super) fn new(capacity: u64, access: Access) -> Self {
        let root = Node {
            body: Body::Dir(Dir::default()),
            access,
            modified: SystemTime::now(),
            links: 1,
            opens: 0,
            place: (ROOT, OsString::new()),
        };
        let used = root.cost();
        Self {
            nodes: HashMap::from([(ROOT, root)]),
            next: ROOT + 1,
            journal: Journal::default(),
            used,
            capacity,
            removals: 0,
        }
    }

    fn node(&self, ino: Ino) -> Result<&Node, Errno> {
        self.nodes.get(&ino).ok_or(Errno::EIO)
    }

    fn node_mut(&mut self, ino: Ino) -> Result<&mut Node, Errno> {
        self.nodes.get_mut(&ino).ok_or(Errno::EIO)
    }

    fn dir(&self, ino: Ino) -> Result<&Dir, Errno> {
        match &self.node(ino)?.body {
            Body::Dir(dir) => Ok(dir),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn dir_mut(&mut self, ino: Ino) -> Result<&mut Dir, Errno> {
        let node = self.node_mut(ino)?;
        node.modified = SystemTime::now();
        match &mut node.body {
            Body::Dir(dir) => Ok(dir),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn image(&self, ino: Ino) -> Result<&Image, Errno> {
        match &self.node(ino)?.body {
            Body::File(image) => Ok(image),
            Body::Dir(_) => Err(Errno::EISDIR),
            _ => Err(Errno::EINVAL),
        }
    }

    pub(super) fn lookup(&self, parent: Ino, name: &OsStr) -> Result<Ino, Errno> {
        self.dir(parent)?.live.get(name).copied().ok_or(Errno::ENOENT)
    }

    pub(super) fn attr(&self, ino: Ino) -> Result<FileAttr, Errno> {
        let node = self.node(ino)?;
        let size = match &node.body {
            Body::File(image) => image.len() as u64,
            Body::Symlink(target) => target.as_os_str().len() as u64,
            Body::Dir(_) | Body::Socket => 0,
        };
        Ok(FileAttr {
            ino: INodeNo(ino),
            size,
            blocks: node.cost() / 512,
            atime: node.modified,
            mtime: node.modified,
            ctime: node.modified,
            crtime: node.modified,
            kind: node.kind(),
            perm: node.access.mode,
            nlink: node.links,
            uid: node.access.uid,
            gid: node.access.gid,
            rdev: 0,
            blksize: u32::try_from(BLOCK).unwrap_or(u32::MAX),
            flags: 0,
        })
    }

    pub(super) fn set_access(&mut self, ino: Ino, change: impl FnOnce(&mut Access)) -> Result<(), Errno> {
        change(&mut self.node_mut(ino)?.access);
        Ok(())
    }

    pub(super) fn set_modified(&mut self, ino: Ino, modified: SystemTime) -> Result<(), Errno> {
        self.node_mut(ino)?.modified = modified;
        Ok(())
    }

    pub(super) fn symlink_target(&self, ino: Ino) -> Result<&PathBuf, Errno> {
        match &self.node(ino)?.body {
            Body::Symlink(target) => Ok(target),
            _ => Err(Errno::EINVAL),
        }
    }

    /// The folder's names, with `.` and `..`.
    pub(super) fn entries(&self, ino: Ino) -> Result<Vec<(Ino, FileType, OsString)>, Errno> {
        let parent = self.node(ino)?.place.0;
        let mut entries = vec![
            (ino, FileType::Directory, OsString::from(".")),
            (parent, FileType::Directory, OsString::from("..")),
        ];
        for (name, &child) in &self.dir(ino)?.live {
            entries.push((child, self.node(child)?.kind(), name.clone()));
        }
        Ok(entries)
    }

    /// The path from the top, for faults to match.
    pub(super) fn path(&self, ino: Ino) -> String {
        let mut parts = Vec::new();
        let mut at = ino;
        while at != ROOT {
            let Some(node) = self.nodes.get(&at) else { break };
            parts.push(node.place.1.to_string_lossy().into_owned());
            at = node.place.0;
        }
        parts.reverse();
        format!("/{}", parts.join("/"))
    }

    pub(super) fn create(
        &mut self,
        parent: Ino,
        name: &OsStr,
        body: Body,
        access: Access,
    ) -> Result<Ino, Errno> {
        if self.dir(parent)?.live.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        let ino = self.next;
        let node = Node {
            body,
            access,
            modified: SystemTime::now(),
            links: 1,
            opens: 0,
            place: (parent, name.to_owned()),
        };
        if self.free() < node.cost() {
            return Err(Errno::ENOSPC);
        }
        self.next += 1;
        self.used += node.cost();
        self.nodes.insert(ino, node);
        self.dir_mut(parent)?.live.insert(name.to_owned(), ino);
        self.journal.push(Change::Set { dir: parent, name: name.to_owned(), ino });
        Ok(ino)
    }

    pub(super) fn link(&mut self, ino: Ino, parent: Ino, name: &OsStr) -> Result<(), Errno> {
        if self.dir(parent)?.live.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        self.node_mut(ino)?.links += 1;
        self.dir_mut(parent)?.live.insert(name.to_owned(), ino);
        self.journal.push(Change::Set { dir: parent, name: name.to_owned(), ino });
        Ok(())
    }

    pub(super) fn remove(&mut self, parent: Ino, name: &OsStr, want_dir: bool) -> Result<(), Errno> {
        let ino = self.lookup(parent, name)?;
        match (&self.node(ino)?.body, want_dir) {
            (Body::Dir(dir), true) if !dir.live.is_empty() => return Err(Errno::ENOTEMPTY),
            (Body::Dir(_), true) => {}
            (Body::Dir(_), false) => return Err(Errno::EISDIR),
            (_, true) => return Err(Errno::ENOTDIR),
            (_, false) => {}
        }
        self.dir_mut(parent)?.live.remove(name);
        self.journal.push(Change::Clear { dir: parent, name: name.to_owned() });
        self.unlinked(ino);
        Ok(())
    }

    pub(super) fn rename(
        &mut self,
        (from_dir, from): (Ino, &OsStr),
        (to_dir, to): (Ino, &OsStr),
        replace: bool,
    ) -> Result<(), Errno> {
        let ino = self.lookup(from_dir, from)?;
        let replaced = self.dir(to_dir)?.live.get(to).copied();
        if replaced == Some(ino) {
            return Ok(());
        }
        if let Some(old) = replaced {
            if !replace {
                return Err(Errno::EEXIST);
            }
            match (&self.node(ino)?.body, &self.node(old)?.body) {
                (Body::Dir(_), Body::Dir(dir)) if !dir.live.is_empty() => return Err(Errno::ENOTEMPTY),
                (Body::Dir(_), Body::Dir(_)) => {}
                (Body::Dir(_), _) => return Err(Errno::ENOTDIR),
                (_, Body::Dir(_)) => return Err(Errno::EISDIR),
                (_, _) => {}
            }
        }
        self.dir_mut(from_dir)?.live.remove(from);
        self.dir_mut(to_dir)?.live.insert(to.to_owned(), ino);
        self.node_mut(ino)?.place = (to_dir, to.to_owned());
        self.journal.push(Change::Move { from_dir, from: from.to_owned(), to_dir, to: to.to_owned(), ino });
        if let Some(old) = replaced {
            self.unlinked(old);
        }
        Ok(())
    }

    pub(super) fn opened(&mut self, ino: Ino) -> Result<(), Errno> {
        self.node_mut(ino)?.opens += 1;
        Ok(())
    }

    /// One handle fewer; a file from before a power cut is no longer known, and that is no error.
    pub(super) fn closed(&mut self, ino: Ino) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.opens = node.opens.saturating_sub(1);
            if node.opens == 0 && node.links == 0 {
                self.give_back(ino);
            }
        }
    }

    fn unlinked(&mut self, ino: Ino) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.links = node.links.saturating_sub(1);
            if node.links == 0 && node.opens == 0 {
                self.give_back(ino);
            }
        }
    }

    fn give_back(&mut self, ino: Ino) {
        if let Some(node) = self.nodes.get(&ino) {
            self.used -= node.cost();
        }
        self.removals += 1;
        if self.removals >= SWEEP_EVERY {
            self.removals = 0;
            self.sweep();
        }
    }

    /// Forgets files that neither a program nor the disk knows any more.
    fn sweep(&mut self) {
        let mut kept: HashSet<Ino> = HashSet::from([ROOT]);
        kept.extend(self.journal.iter().filter_map(Change::ino));
        for (ino, node) in &self.nodes {
            if node.links > 0 || node.opens > 0 {
                kept.insert(*ino);
            }
            if let Body::Dir(dir) = &node.body {
                kept.extend(dir.durable.values());
            }
        }
        self.nodes.retain(|ino, _| kept.contains(ino));
    }

    pub(super) fn read(&self, ino: Ino, offset: u64, len: u32) -> Result<&[u8], Errno> {
        let offset = usize::try_from(offset).map_err(|_| Errno::EINVAL)?;
        Ok(self.image(ino)?.read(offset, len as usize))
    }

    /// Writes what there is room for and says how many bytes that was.
    pub(super) fn write(&mut self, ino: Ino, offset: u64, data: &[u8]) -> Result<usize, Errno> {
        let have = (self.image(ino)?.len() as u64).next_multiple_of(BLOCK);
        let end = offset.checked_add(data.len() as u64).ok_or(Errno::EFBIG)?;
        let room_ends = have + self.free() / BLOCK * BLOCK;
        if room_ends <= offset && !data.is_empty() {
            return Err(Errno::ENOSPC);
        }
        let fits = usize::try_from(end.min(room_ends) - offset).map_err(|_| Errno::EFBIG)?;
        let offset = usize::try_from(offset).map_err(|_| Errno::EFBIG)?;
        self.change(ino, |image| image.write(offset, data.get(..fits).unwrap_or(data)))?;
        Ok(fits)
    }

    pub(super) fn resize(&mut self, ino: Ino, len: u64) -> Result<(), Errno> {
        let have = (self.image(ino)?.len() as u64).next_multiple_of(BLOCK);
        if len.saturating_sub(have) > self.free() {
            return Err(Errno::ENOSPC);
        }
        let len = usize::try_from(len).map_err(|_| Errno::EFBIG)?;
        self.change(ino, |image| image.resize(len))
    }

    pub(super) fn len(&self, ino: Ino) -> Result<u64, Errno> {
        Ok(self.image(ino)?.len() as u64)
    }

    fn change(&mut self, ino: Ino, change: impl FnOnce(&mut Image)) -> Result<(), Errno> {
        let node = self.node_mut(ino)?;
        let before = node.cost();
        if let Body::File(image) = &mut node.body {
            change(image);
        }
        node.modified = SystemTime::now();
        let after = node.cost();
        self.used = self.used - before + after;
        Ok(())
    }

    pub(super) fn sync_file(&mut self, ino: Ino) -> Result<(), Errno> {
        if let Body::File(image) = &mut self.node_mut(ino)?.body {
            image.sync();
        }
        Ok(())
    }

    pub(super) fn sync_dir(&mut self, ino: Ino) -> Result<(), Errno> {
        self.dir(ino)?;
        for (dir, name, target) in self.journal.take_for(ino).into_iter().flat_map(Change::steps) {
            if let Some(Body::Dir(dir)) = self.nodes.get_mut(&dir).map(|node| &mut node.body) {
                point(&mut dir.durable, name, target);
            }
        }
        Ok(())
    }

    /// Brings everything to the disk.
    pub(super) fn sync_all(&mut self) {
        self.journal = Journal::default();
        for node in self.nodes.values_mut() {
            match &mut node.body {
                Body::File(image) => image.sync(),
                Body::Dir(dir) => dir.durable = dir.live.clone(),
                Body::Symlink(_) | Body::Socket => {}
            }
        }
    }

    /// A disk with the same on it, which no program has open.
    pub(super) fn copy(&self) -> Self {
        let mut copy = self.clone();
        for node in copy.nodes.values_mut() {
            node.opens = 0;
        }
        copy.sync_all();
        copy.sweep();
        copy.used = copy.nodes.values().map(Node::cost).sum();
        copy
    }

    /// Bytes that can still be written.
    pub(super) fn free(&self) -> u64 {
        self.capacity.saturating_sub(self.used)
    }

    pub(super) fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(super) fn set_free(&mut self, free: u64) {
        self.capacity = self.used.saturating_add(free);
    }

    /// Replaces everything by what the disk holds. All files get new numbers, so that no old handle works on them.
    pub(super) fn power_cut(&mut self, mut rng: Option<&mut StdRng>) -> Cut {
        let mut cut = Cut::default();
        let mut names: HashMap<Ino, BTreeMap<OsString, Ino>> = HashMap::new();
        for (ino, node) in &self.nodes {
            if let Body::Dir(dir) = &node.body {
                names.insert(*ino, dir.durable.clone());
            }
        }
        let kept = self.journal.after_cut(rng.as_deref_mut());
        cut.names_dropped = self.journal.len() - kept.len();
        for (dir, name, target) in kept.into_iter().flat_map(Change::steps) {
            if let Some(names) = names.get_mut(&dir) {
                point(names, name, target);
            }
        }
        let old = std::mem::replace(self, {
            let access =
                self.nodes.get(&ROOT).map_or(Access { mode: 0o755, uid: 0, gid: 0 }, |node| node.access);
            let mut fresh = Self::new(self.capacity, access);
            fresh.next = self.next;
            fresh
        });
        self.regrow(&old, &mut names, (ROOT, ROOT), (&mut HashMap::new(), rng, &mut cut));
        cut
    }

    /// Copies one folder of the disk, and what is in it, from the tree before the cut.
    fn regrow(
        &mut self,
        old: &Self,
        names: &mut HashMap<Ino, BTreeMap<OsString, Ino>>,
        (old_dir, new_dir): (Ino, Ino),
        (copies, mut rng, cut): (&mut HashMap<Ino, Ino>, Option<&mut StdRng>, &mut Cut),
    ) {
        let Some(entries) = names.remove(&old_dir) else { return };
        let mut grown = Dir::default();
        for (name, old_ino) in entries {
            let Some(node) = old.nodes.get(&old_ino) else { continue };
            if let Some(&copy) = copies.get(&old_ino) {
                if let (Body::File(_), Some(node)) = (&node.body, self.nodes.get_mut(&copy)) {
                    node.links += 1;
                    grown.live.insert(name, copy);
                }
                continue;
            }
            let body = match &node.body {
                Body::File(image) => {
                    let (disk, loss) = image.after_cut(rng.as_deref_mut());
                    cut.writes_dropped += loss.dropped;
                    cut.writes_torn += loss.torn;
                    cut.writes_kept += loss.kept;
                    Body::File(Image::durable(disk))
                }
                Body::Dir(_) => Body::Dir(Dir::default()),
                Body::Symlink(target) => Body::Symlink(target.clone()),
                Body::Socket => Body::Socket,
            };
            let ino = self.next;
            self.next += 1;
            let is_dir = matches!(body, Body::Dir(_));
            let place = (new_dir, name.clone());
            let copy = Node { body, access: node.access, modified: node.modified, links: 1, opens: 0, place };
            self.used += copy.cost();
            self.nodes.insert(ino, copy);
            copies.insert(old_ino, ino);
            grown.live.insert(name, ino);
            if is_dir {
                self.regrow(old, names, (old_ino, ino), (copies, rng.as_deref_mut(), cut));
            }
        }
        grown.durable = grown.live.clone();
        if let Some(node) = self.nodes.get_mut(&new_dir) {
            node.body = Body::Dir(grown);
        }
    }
}

/// Lets a name stand for a file, or for none.
fn point(names: &mut BTreeMap<OsString, Ino>, name: OsString, target: Option<Ino>) {
    match target {
        Some(ino) => names.insert(name, ino),
        None => names.remove(&name),
    };
}
