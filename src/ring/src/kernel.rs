//! One io_uring: set up, entered, reaped.
//!
//! Nothing here knows what an operation means. All of it runs on the thread that set it up
//! (SINGLE_ISSUER). What a newcomer gets wrong: with DEFER_TASKRUN a completion appears only when
//! this thread enters the kernel, and since Linux 6.13 one entry brings at most 20 of them.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{Builder, EnterFlags, IoUring, cqueue, squeue};

use crate::errno::Errno;

/// Completion queue entries for one submission queue entry: sockets complete in bursts.
const COMPLETIONS_PER_SUBMISSION: u32 = 8;
/// Workers for files, for everything else.
const WORKERS_MAX: [u32; 2] = [4, 2];
/// How often a ring is tried for when there is no memory for it. The kernel asks for the pages of a
/// ring without insisting (`io_region_allocate_pages`: in one piece, else in bulk, which may give
/// fewer), so that memory which is full of cache is refused at first; and what a killed process had
/// locked is counted against its user until the kernel has torn down its rings, later.
const NO_MEMORY_TRIES: u32 = 20;
const NO_MEMORY_PAUSE: Duration = Duration::from_millis(50);
const REGISTER_RING_FDS: u32 = 20;
const UNREGISTER_RING_FDS: u32 = 21;

pub(crate) struct Kernel {
    uring: IoUring,
    /// The ring's number in this thread's table of registered rings.
    registered: Option<u32>,
    no_iowait: bool,
    /// Submissions that found the submission queue full. Bounded by what the logic has in flight.
    backlog: VecDeque<squeue::Entry>,
}

impl Kernel {
    pub(crate) fn new(sq_entries: u32) -> Result<Self, SetupError> {
        let uring = set_up(sq_entries)?;
        let mut kernel = Self {
            registered: None,
            no_iowait: uring.params().is_feature_no_iowait(),
            backlog: VecDeque::new(),
            uring,
        };
        if !kernel.uring.params().is_feature_ext_arg() {
            return Err(SetupError::TooOld { missing: "IORING_FEAT_EXT_ARG" });
        }
        // Both are economies: without them everything still works.
        let _ = kernel.uring.submitter().register_iowq_max_workers(&mut WORKERS_MAX.clone());
        kernel.registered = register_ring_fd(kernel.uring.as_raw_fd());
        Ok(kernel)
    }

    pub(crate) fn uring(&self) -> &IoUring {
        &self.uring
    }

    /// Entering it needs no look-up of its descriptor.
    pub(crate) fn is_registered(&self) -> bool {
        self.registered.is_some()
    }

    /// Queues `entry` for the next entry into the kernel, in order.
    ///
    /// # Safety
    /// What `entry` points at must stay valid until its completion has been reaped.
    pub(crate) unsafe fn push(&mut self, entry: squeue::Entry) {
        // SAFETY: as this function's own contract.
        if !self.backlog.is_empty() || unsafe { self.uring.submission().push(&entry) }.is_err() {
            self.backlog.push_back(entry);
        }
    }

    /// Submits everything that is queued; with `wait`, then sleeps until a completion is there or
    /// the time has passed. Brings deferred completions into the completion queue in any case.
    pub(crate) fn enter(&mut self, wait: Option<Timeout>) -> Result<(), Errno> {
        // All but the last batch of a long backlog are submitted without waiting.
        while self.fill() {
            match self.enter_once(None) {
                Ok(()) | Err(Errno(libc::EINTR)) => {}
                // The completion queue is full: the caller must reap before more is taken.
                Err(Errno(libc::EBUSY | libc::EAGAIN)) => return Ok(()),
                Err(errno) => return Err(errno),
            }
        }
        match self.enter_once(wait) {
            Ok(()) => Ok(()),
            Err(Errno(libc::EINTR | libc::ETIME | libc::EBUSY | libc::EAGAIN)) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Moves the backlog into the submission queue. True: some is left.
    fn fill(&mut self) -> bool {
        let mut submission = self.uring.submission();
        while let Some(entry) = self.backlog.front() {
            // SAFETY: `push` was called for it, under the same contract.
            if unsafe { submission.push(entry) }.is_err() {
                return true;
            }
            self.backlog.pop_front();
        }
        false
    }

    fn enter_once(&mut self, wait: Option<Timeout>) -> Result<(), Errno> {
        let to_submit = self.uring.submission().len();
        let mut flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        if self.no_iowait {
            flags |= EnterFlags::NO_IOWAIT;
        }
        let fd = match self.registered {
            Some(index) => {
                flags |= EnterFlags::REGISTERED_RING;
                index
            }
            None => self.uring.as_raw_fd() as u32,
        };
        let time;
        let mut arguments = SubmitArgs::new();
        if let Some(Timeout::After(duration)) = wait {
            time = Timespec::from(duration);
            arguments = arguments.timespec(&time);
        }
        // SAFETY: the descriptor or index is this ring's; `arguments` is the extended argument that
        // the flags announce, and it and the time that it points at live across the call. What
        // the submissions point at is valid by the contract of `push`.
        let result = unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                libc::c_long::from(fd),
                to_submit as libc::c_long,
                libc::c_long::from(wait.is_some()),
                libc::c_long::from(flags.bits()),
                &raw const arguments,
                size_of::<SubmitArgs<'_, '_>>(),
            )
        };
        if result < 0 { Err(Errno::last()) } else { Ok(()) }
    }

    /// The next completion, if one is in the queue.
    pub(crate) fn reap(&mut self) -> Option<cqueue::Entry> {
        self.uring.completion().next()
    }

    /// Completions are there that only another `enter` makes visible.
    pub(crate) fn more_to_bring(&mut self) -> bool {
        let submission = self.uring.submission();
        submission.taskrun() || submission.cq_overflow()
    }

    /// Completions are there to be reaped.
    pub(crate) fn has_completions(&mut self) -> bool {
        !self.uring.completion().is_empty()
    }

    /// Submissions wait for the next `enter`.
    pub(crate) fn has_submissions(&mut self) -> bool {
        !self.uring.submission().is_empty() || !self.backlog.is_empty()
    }
}

impl Drop for Kernel {
    /// The thread's table of registered rings would keep the ring, and with it the directory's
    /// lock, until the thread ends.
    fn drop(&mut self) {
        if let Some(offset) = self.registered {
            let mut update = Update { offset, resv: 0, data: 0 };
            change_ring_fds(self.uring.as_raw_fd(), UNREGISTER_RING_FDS, &mut update);
        }
    }
}

/// How long to sleep.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Timeout {
    After(Duration),
    Never,
}

fn set_up(sq_entries: u32) -> Result<IoUring, SetupError> {
    let mut builder = IoUring::builder();
    builder
        .dontfork()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .setup_clamp()
        .setup_cqsize(sq_entries.saturating_mul(COMPLETIONS_PER_SUBMISSION));
    let plain = builder.clone();
    builder.setup_no_sqarray();
    for _ in 1..NO_MEMORY_TRIES {
        match build(&builder, &plain, sq_entries) {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => {
                std::thread::sleep(NO_MEMORY_PAUSE);
            }
            built => return built.map_err(|error| SetupError::of_setup(&error)),
        }
    }
    build(&builder, &plain, sq_entries).map_err(|error| SetupError::of_setup(&error))
}

fn build(wanted: &Builder, plain: &Builder, sq_entries: u32) -> io::Result<IoUring> {
    match wanted.build(sq_entries) {
        // NO_SQARRAY is of Linux 6.6; an older kernel refuses the unknown flag.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => plain.build(sq_entries),
        other => other,
    }
}

/// Saves a look-up at every entry. `None`: the kernel does not have it, or its table is full.
fn register_ring_fd(fd: RawFd) -> Option<u32> {
    let mut update = Update { offset: u32::MAX, resv: 0, data: u64::try_from(fd).ok()? };
    (change_ring_fds(fd, REGISTER_RING_FDS, &mut update) == 1).then_some(update.offset)
}

/// `struct io_uring_rsrc_update`.
#[repr(C)]
struct Update {
    offset: u32,
    resv: u32,
    data: u64,
}

fn change_ring_fds(fd: RawFd, opcode: u32, update: &mut Update) -> libc::c_long {
    // SAFETY: `update` has the kernel's layout and lives across the call, which may write to it.
    unsafe { libc::syscall(libc::SYS_io_uring_register, fd, opcode, &raw mut *update, 1) }
}

/// Why a ring could not be set up. The message says what to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum SetupError {
    /// io_uring is forbidden: a seccomp profile (containers), or the sysctl.
    Forbidden,
    /// The kernel has no io_uring at all.
    Absent,
    /// The kernel has io_uring, but not what this program needs of it (Linux 6.1).
    TooOld {
        /// What is missing.
        missing: &'static str,
    },
    /// The kernel has no memory for the ring, or the limit on locked memory is too low.
    NoMemory,
    /// Another call of the set-up failed.
    Io {
        /// Which call.
        call: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl SetupError {
    pub(crate) fn io(call: &'static str, errno: Errno) -> Self {
        Self::Io { call, source: errno.into() }
    }

    fn of_setup(error: &io::Error) -> Self {
        match Errno::of(error) {
            Errno(libc::EPERM | libc::EACCES) => Self::Forbidden,
            Errno(libc::ENOSYS) => Self::Absent,
            Errno(libc::EINVAL) => Self::TooOld { missing: "IORING_SETUP_DEFER_TASKRUN" },
            Errno(libc::ENOMEM) => Self::NoMemory,
            errno => Self::io("io_uring_setup", errno),
        }
    }
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forbidden => f.write_str(
                "io_uring is forbidden here: allow io_uring_setup, io_uring_enter and \
                 io_uring_register in the container's seccomp profile, and set the sysctl \
                 kernel.io_uring_disabled to 0",
            ),
            Self::Absent => f.write_str("this kernel has no io_uring: use Linux 6.1 or later"),
            Self::TooOld { missing } => {
                write!(f, "this kernel's io_uring lacks {missing}: use Linux 6.1 or later")
            }
            Self::NoMemory => f.write_str(
                "no memory for io_uring: raise the limit on locked memory \
                 (LimitMEMLOCK=infinity, ulimit -l unlimited)",
            ),
            Self::Io { call, source } => write!(f, "{call}: {source}"),
        }
    }
}

impl std::error::Error for SetupError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
