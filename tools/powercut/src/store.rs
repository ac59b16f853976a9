//! Shows disks as files, through FUSE, for loop devices to stand on.
//!
//! Each disk is a file of its own, named by its number, and a disk that was cut off stays dead:
//! whatever a dying file system or process still sends to it cannot reach the one that is switched
//! on next. Nothing is cached on the way: the files are opened for direct I/O, so that a write and
//! a flush of the loop device is one here. What a newcomer gets wrong: some writes are held for a
//! moment after they were taken and before they are answered, so that a flush that does not wait
//! for them is seen not to cover them.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, InitFlags, KernelConfig, LockOwner, MountOption, OpenFlags, ReplyAttr,
    ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, WriteFlags,
};
use plimsoll_tests::Random;

use crate::disk::{Disk, Failed};

/// Requests that are served side by side: as many writes may be held, but one.
const THREADS: usize = 6;
/// One write in so many is held.
const HELD_ONCE_IN: u64 = 6;
/// And that long at most.
const HELD_MAX: Duration = Duration::from_micros(1500);
/// Names and sizes of disks never change.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// The mounted store. Dropping it unmounts.
pub(crate) struct Store {
    _session: BackgroundSession,
    shelf: Arc<Shelf>,
    folder: PathBuf,
}

/// All disks that were ever made; number 0 is the first.
type Shelf = Mutex<Vec<Arc<Disk>>>;

impl Store {
    /// Mounts it at this folder.
    pub(crate) fn mount(folder: &Path) -> io::Result<Store> {
        fs::create_dir(folder)?;
        let shelf = Arc::new(Shelf::default());
        let files = Files { shelf: Arc::clone(&shelf), requests: AtomicU64::new(0) };
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("plimsoll-powercut".to_owned())];
        config.n_threads = Some(THREADS);
        let session = fuser::spawn_mount(files, folder, &config)?;
        Ok(Store { _session: session, shelf, folder: folder.to_owned() })
    }

    /// Adds a disk; the path of its file.
    pub(crate) fn add(&self, disk: Arc<Disk>) -> PathBuf {
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.push(disk);
        self.folder.join((shelf.len() - 1).to_string())
    }
}

struct Files {
    shelf: Arc<Shelf>,
    /// Decides which are held.
    requests: AtomicU64,
}

impl Files {
    fn disk(&self, inode: INodeNo) -> Option<Arc<Disk>> {
        let number = u64::from(inode).checked_sub(FIRST_INODE)?;
        let shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.get(usize::try_from(number).ok()?).map(Arc::clone)
    }

    /// Now and then a moment.
    fn hold(&self) {
        let mut random = Random::new(self.requests.fetch_add(1, Ordering::Relaxed));
        if random.once_in(HELD_ONCE_IN) {
            let micros = random.below(0..HELD_MAX.as_micros() as u64);
            std::thread::sleep(Duration::from_micros(micros));
        }
    }
}

/// 1 is the folder.
const FIRST_INODE: u64 = 2;

impl Filesystem for Files {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Without it the loop device's writes come one after the other.
        config
            .add_capabilities(InitFlags::FUSE_ASYNC_DIO)
            .map_err(|_| io::Error::other("this kernel's FUSE has no asynchronous direct I/O"))
    }

    fn lookup(&self, _: &Request, _parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let number = name.to_str().and_then(|name| name.parse::<u64>().ok());
        let inode = number.and_then(|number| number.checked_add(FIRST_INODE)).map(INodeNo);
        match inode.and_then(|inode| self.disk(inode).map(|disk| (inode, disk))) {
            Some((inode, disk)) => {
                reply.entry(&REMEMBERED, &attributes(inode, disk.bytes()), Generation(0));
            }
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.disk(inode) {
            Some(disk) => reply.attr(&REMEMBERED, &attributes(inode, disk.bytes())),
            None => reply.attr(&REMEMBERED, &attributes(INodeNo::ROOT, 0)),
        }
    }

    fn open(&self, _: &Request, _inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let direct = FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES;
        reply.opened(FileHandle(0), direct);
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        position: u64,
        bytes: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = self.disk(inode).ok_or(Failed).and_then(|d| d.read(position, bytes as usize));
        match read {
            Ok(read) => reply.data(&read),
            Err(Failed) => reply.error(Errno::EIO),
        }
    }

    fn write(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        position: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let written = self.disk(inode).ok_or(Failed).and_then(|disk| {
            let id = disk.begin_write(position, bytes)?;
            self.hold();
            disk.complete_write(id)
        });
        match written {
            // No write is larger than the kernel's 16 MiB.
            Ok(()) => reply.written(bytes.len() as u32),
            Err(Failed) => reply.error(Errno::EIO),
        }
    }

    fn fsync(&self, _: &Request, inode: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        match self.disk(inode).ok_or(Failed).and_then(|disk| disk.flush()) {
            Ok(()) => reply.ok(),
            Err(Failed) => reply.error(Errno::EIO),
        }
    }

    /// A close, not a flush: it makes nothing durable.
    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }
}

fn attributes(inode: INodeNo, bytes: u64) -> FileAttr {
    let kind = if inode == INodeNo::ROOT { FileType::Directory } else { FileType::RegularFile };
    FileAttr {
        ino: inode,
        size: bytes,
        blocks: bytes / 512,
        atime: SystemTime::UNIX_EPOCH,
        mtime: SystemTime::UNIX_EPOCH,
        ctime: SystemTime::UNIX_EPOCH,
        crtime: SystemTime::UNIX_EPOCH,
        kind,
        perm: if kind == FileType::Directory { 0o700 } else { 0o600 },
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}
