//! Arena files: memory that belongs to the kernel and outlives the process.
//!
//! An arena is allocated in full when it is created, so that storing to it never fails later: a
//! store to a hole of a full tmpfs is a SIGBUS. For the same reason an old arena with holes is
//! refused. What a newcomer gets wrong: the file must be in tmpfs, the only file memory that
//! io_uring registers as fixed buffers.

use std::any::Any;
use std::ffi::CString;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use plimsoll_device::{Arena, BLOCK_BYTES};

use crate::errno::Errno;

/// The kernel's large pages on x86-64 and on arm64 with small pages of 4 KiB.
pub(crate) const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Creates the arena file at `path`, of `length_bytes` (rounded up to whole blocks), and maps it.
/// Fails when the file exists: an old arena is first read, drained and removed.
pub fn create_arena(path: &Path, length_bytes: usize) -> Result<Arena, ArenaError> {
    let length_bytes = length_bytes.max(1).next_multiple_of(BLOCK_BYTES);
    let failed = |source| ArenaError::io(path, source);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(libc::O_CLOEXEC | libc::O_NOFOLLOW)
        .open(path)
        .map_err(failed)?;
    if let Err(error) = allocate(&file, length_bytes) {
        // Best effort: the error that counts is the one already at hand.
        let _ = std::fs::remove_file(path);
        return Err(match error.0 {
            libc::ENOSPC | libc::EDQUOT => ArenaError::NoRoom {
                dir: directory_of(path).to_owned(),
                needed_bytes: length_bytes as u64,
                available_bytes: available_bytes(directory_of(path)).unwrap_or(0),
            },
            _ => failed(error.into()),
        });
    }
    let mapping = Mapping::of(&file, length_bytes, libc::PROT_READ | libc::PROT_WRITE)
        .map_err(|errno| failed(errno.into()))?;
    let mapping = Arc::new(mapping);
    let start = mapping.start;
    MAPPINGS.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&mapping));
    let owner: Box<dyn Any + Send> = Box::new(mapping);
    // SAFETY: mmap gave page-aligned memory, readable and writable for `length_bytes`, backed in
    // full by the allocation above; it is unmapped when the last holder of `mapping` is gone, of
    // which the arena is one. No reference to it exists elsewhere: rings hold the mapping, not its
    // bytes.
    Ok(unsafe { Arena::from_mapping(start, length_bytes, owner) })
}

/// Maps an old arena for reading. Refuses a file that another user owns or that has holes or no
/// length, so that reading it cannot fault.
pub fn read_arena(path: &Path) -> Result<ArenaImage, ArenaError> {
    let failed = |source| ArenaError::io(path, source);
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_CLOEXEC | libc::O_NOFOLLOW)
        .open(path)
        .map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let strange = |reason| ArenaError::Strange { path: path.to_owned(), reason };
    if !metadata.is_file() {
        return Err(strange("it is not a regular file"));
    }
    if metadata.uid() != effective_user() {
        return Err(strange("another user owns it"));
    }
    if metadata.len() == 0 {
        return Err(strange("it is empty"));
    }
    if metadata.blocks().saturating_mul(512) < metadata.len() {
        return Err(strange("it has holes"));
    }
    let length_bytes =
        usize::try_from(metadata.len()).map_err(|_| strange("it is larger than memory"))?;
    let mapping =
        Mapping::of(&file, length_bytes, libc::PROT_READ).map_err(|errno| failed(errno.into()))?;
    Ok(ArenaImage { mapping })
}

/// Removes an arena file; one that does not exist is no error. Mappings of it stay valid.
pub fn remove_arena(path: &Path) -> Result<(), ArenaError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(ArenaError::io(path, error))
        }
        _ => Ok(()),
    }
}

/// Creates the directory of arena files with mode 0700, or checks that the one there belongs to
/// this user and admits nobody else.
pub fn create_arena_directory(path: &Path) -> Result<(), ArenaError> {
    let strange = |reason| Err(ArenaError::Strange { path: path.to_owned(), reason });
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(ArenaError::io(path, error)),
    }
    let metadata = std::fs::symlink_metadata(path).map_err(|error| ArenaError::io(path, error))?;
    if !metadata.is_dir() {
        return strange("it is not a directory");
    }
    if metadata.uid() != effective_user() {
        return strange("another user owns it");
    }
    if metadata.mode() & 0o077 != 0 {
        return strange("other users may enter it: it must have mode 0700");
    }
    Ok(())
}

/// An arena of an earlier process, read only.
#[derive(Debug)]
pub struct ArenaImage {
    mapping: Mapping,
}

impl Deref for ArenaImage {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: mapped readable for this length until drop, and without holes when it was
        // opened. Nobody writes to it: the directory's lock keeps other servers out, and the
        // file admits this user alone.
        unsafe {
            std::slice::from_raw_parts(self.mapping.start.as_ptr(), self.mapping.length_bytes)
        }
    }
}

/// Arenas of this process that are still mapped, so that a ring can hold the mapping of an arena
/// that it is shown: its operations must not outlive the memory.
static MAPPINGS: Mutex<Vec<Weak<Mapping>>> = Mutex::new(Vec::new());

/// A shared mapping of a file; unmapped when dropped.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    length_bytes: usize,
}

impl Mapping {
    /// Maps the file from its beginning, at an address where huge pages can lie.
    fn of(file: &File, length_bytes: usize, protection: i32) -> Result<Self, Errno> {
        let reserved_bytes = length_bytes
            .checked_next_multiple_of(BLOCK_BYTES)
            .and_then(|whole| whole.checked_add(HUGE_PAGE_BYTES))
            .ok_or(Errno(libc::EINVAL))?;
        let (fd, flags) = (-1, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE);
        // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
        let reserved = unsafe {
            libc::mmap(std::ptr::null_mut(), reserved_bytes, libc::PROT_NONE, flags, fd, 0)
        };
        if reserved == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        let before_bytes = reserved.cast::<u8>().align_offset(HUGE_PAGE_BYTES);
        let start = reserved.wrapping_byte_add(before_bytes);
        let (fd, flags) = (file.as_raw_fd(), libc::MAP_SHARED | libc::MAP_FIXED);
        // SAFETY: `start` and the length lie within what was reserved above, which nobody uses.
        let mapped = unsafe { libc::mmap(start, length_bytes, protection, flags, fd, 0) };
        let error = Errno::last();
        let after = start.wrapping_byte_add(reserved_bytes - HUGE_PAGE_BYTES);
        // SAFETY: the parts of the reservation before and after the mapping; nobody uses them.
        unsafe {
            libc::munmap(reserved, before_bytes);
            libc::munmap(after, HUGE_PAGE_BYTES - before_bytes);
        }
        match NonNull::new(mapped.cast::<u8>()) {
            Some(start) if mapped != libc::MAP_FAILED => Ok(Self { start, length_bytes }),
            _ => {
                // SAFETY: what is left of the reservation; the mapping was not put over it.
                unsafe { libc::munmap(start, reserved_bytes - HUGE_PAGE_BYTES) };
                Err(error)
            }
        }
    }

    /// The mapping of `arena`, if `create_arena` made it.
    pub(crate) fn of_arena(arena: &Arena) -> Option<Arc<Self>> {
        let mut mappings = MAPPINGS.lock().unwrap_or_else(PoisonError::into_inner);
        mappings.retain(|mapping| mapping.strong_count() > 0);
        let same =
            |mapping: &Arc<Self>| mapping.start.as_ptr().cast_const() == arena.start_address();
        mappings.iter().filter_map(Weak::upgrade).find(same)
    }

    pub(crate) fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    pub(crate) fn length_bytes(&self) -> usize {
        self.length_bytes
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `of` with this length, and nobody holds the mapping any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length_bytes) };
    }
}

// SAFETY: an address and a length; the memory is not bound to a thread.
unsafe impl Send for Mapping {}
// SAFETY: shared access gives out the address and the length only.
unsafe impl Sync for Mapping {}

fn allocate(file: &File, length_bytes: usize) -> Result<(), Errno> {
    let length = libc::off_t::try_from(length_bytes).map_err(|_| Errno(libc::EFBIG))?;
    loop {
        // SAFETY: takes no pointers; the descriptor is open.
        match unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, length) } {
            0 => return Ok(()),
            _ => match Errno::last() {
                Errno(libc::EINTR) => {}
                errno => return Err(errno),
            },
        }
    }
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn effective_user() -> u32 {
    // SAFETY: takes nothing, cannot fail.
    unsafe { libc::geteuid() }
}

/// Room that an unprivileged process finds in the file system of `dir`.
pub(crate) fn available_bytes(dir: &Path) -> Result<u64, Errno> {
    let path = CString::new(dir.as_os_str().as_bytes()).map_err(|_| Errno(libc::EINVAL))?;
    let mut room = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: a terminated path and a place for the answer.
    if unsafe { libc::statvfs(path.as_ptr(), room.as_mut_ptr()) } != 0 {
        return Err(Errno::last());
    }
    // SAFETY: zeroed is a valid statvfs (integers only), and the call filled it.
    let room = unsafe { room.assume_init() };
    Ok(room.f_bavail.saturating_mul(room.f_frsize))
}

/// Why an arena could not be created, read or removed.
#[derive(Debug)]
#[non_exhaustive]
pub enum ArenaError {
    /// The directory's file system has too little room for the whole arena.
    NoRoom {
        /// The arena's directory.
        dir: PathBuf,
        /// The arena's length.
        needed_bytes: u64,
        /// What the file system has left.
        available_bytes: u64,
    },
    /// What is at the path is not what this process would have put there.
    Strange {
        /// Which file or directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A system call failed.
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
}

impl ArenaError {
    fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}

impl fmt::Display for ArenaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoom { dir, needed_bytes, available_bytes } => write!(
                f,
                "{}: the arena needs {needed_bytes} bytes and {available_bytes} are available",
                dir.display()
            ),
            Self::Strange { path, reason } => write!(f, "{}: {reason}", path.display()),
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
        }
    }
}

impl std::error::Error for ArenaError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
