//! The ring: takes operations, and hands out their completions turn by turn.
//!
//! One thread creates it, uses it and drops it. A turn costs one entry into the kernel in the usual
//! case: it submits what was asked since the last one and waits, both at once. What a newcomer gets
//! wrong: nothing happens between turns, and an operation that is submitted while completions are
//! handled starts with the next turn.

mod network;

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fd};
use io_uring::{cqueue, opcode};
use plimsoll_device::{Arena, Completion, DiskCompletion, Instant, Now, Op, SocketCompletion};

use crate::clock::{clock, monotonic};
use crate::doorbell::Doorbell;
use crate::errands::Errands;
use crate::errno::Errno;
use crate::files::Files;
use crate::kernel::{Kernel, SetupError, Timeout};
use crate::lock::DirectoryLock;
use crate::op::{Disk, InFlight, Message, Step};
use crate::pool::Pool;
use crate::registration::{ArenaRegistration, RegistrationFailure};
use crate::slab::{Slab, Ticket};
use crate::sockets::Sockets;
use crate::span::ArenaMemory;

/// Entries into the kernel for one turn: with 20 completions an entry, this many are handed out
/// before the caller gets to look at its mail and timers.
const ENTRIES_PER_TURN_MAX: usize = 16;
/// Messages kept for use again.
const SPARE_MESSAGES_MAX: usize = 256;
/// How long a dropped ring waits for what is in flight.
const DRAIN: Duration = Duration::from_secs(2);

/// What a ring is made from.
#[derive(Debug)]
pub struct RingConfig {
    /// The directory that all paths are relative to.
    pub data_dir: PathBuf,
    /// The lock of that directory; the kernel holds it until this ring's last operation has ended.
    pub lock: Arc<DirectoryLock>,
    /// Where connections come in.
    pub listener: Option<TcpListener>,
    /// Entries of the submission queue.
    pub sq_entries: u32,
}

impl RingConfig {
    /// Without a listener, with the default queue size.
    pub fn new(data_dir: PathBuf, lock: Arc<DirectoryLock>) -> Self {
        Self { data_dir, lock, listener: None, sq_entries: 512 }
    }
}

/// One shard's machine.
pub struct Ring {
    kernel: Kernel,
    in_flight: ManuallyDrop<Slab<InFlight>>,
    pool: ManuallyDrop<Pool>,
    disk: Disk,
    sockets: Sockets,
    listener: Option<TcpListener>,
    /// When to accept again after the kernel ran out of something.
    accept_again_at: Option<Instant>,
    /// Completions that did not need the kernel.
    ready: VecDeque<Ready>,
    errands: Errands,
    doorbell: Doorbell,
    #[expect(clippy::vec_box, reason = "the kernel is given their addresses")]
    spare_messages: Vec<Box<Message>>,
    /// In flight, apart from what waits for others: receives, the accept, the doorbell.
    working: usize,
    now: Now,
    /// SINGLE_ISSUER: the ring stays on its thread.
    _not_send: PhantomData<*const ()>,
}

/// A completion that waits for the next turn.
enum Ready {
    Disk(DiskCompletion),
    Socket(SocketCompletion<'static>),
}

impl Ring {
    /// Sets up the ring of the calling thread.
    pub fn new(config: RingConfig) -> Result<Self, SetupError> {
        let open = |error: std::io::Error| SetupError::io("open data directory", Errno::of(&error));
        let data_dir = config.data_dir.canonicalize().map_err(open)?;
        let dir = File::open(&data_dir).map_err(open)?;
        let kernel = Kernel::new(config.sq_entries)?;
        // Before anything can be in flight. From here on the kernel's table is what holds the lock.
        let lock = [config.lock.fd()];
        let registered = kernel.uring().submitter().register_files(&lock);
        registered.map_err(|error| SetupError::io("register the lock", Errno::of(&error)))?;
        let pool = Pool::register(kernel.uring())
            .map_err(|errno| SetupError::io("register receive buffers", errno))?;
        let doorbell = Doorbell::new().map_err(|errno| SetupError::io("eventfd", errno))?;
        if let Some(listener) = &config.listener {
            // A non-blocking listener would fail an accept that has to wait.
            let blocking = listener.set_nonblocking(false);
            blocking.map_err(|error| SetupError::io("listener", Errno::of(&error)))?;
        }
        let mut ring = Self {
            kernel,
            in_flight: ManuallyDrop::new(Slab::with_capacity(config.sq_entries as usize)),
            pool: ManuallyDrop::new(pool),
            errands: Errands::new(data_dir, dir.try_clone().map_err(open)?, doorbell.clone()),
            disk: Disk { dir, files: Files::default(), arena: None },
            sockets: Sockets::default(),
            listener: config.listener,
            accept_again_at: None,
            ready: VecDeque::new(),
            doorbell,
            spare_messages: Vec::new(),
            working: 0,
            now: clock(),
            _not_send: PhantomData,
        };
        ring.launch(InFlight::Doorbell(Box::new([0; 8])));
        Ok(ring)
    }

    /// Makes the arena known, so that operations can name its memory, and registers it with the
    /// kernel, which makes large writes cheaper. Unregistered, everything works. The ring keeps the
    /// memory mapped for as long as it lives. A ring has one arena.
    pub fn register_arena(&mut self, arena: &Arena) -> ArenaRegistration {
        if self.disk.arena.is_some() {
            return ArenaRegistration::Unregistered { reason: RegistrationFailure::SecondArena };
        }
        let Some(mut memory) = ArenaMemory::of(arena) else {
            return ArenaRegistration::Unregistered { reason: RegistrationFailure::NotCreatedHere };
        };
        // SAFETY: the chunks are mapped for as long as `memory` lives, which goes into `disk.arena`
        // below and stays there until the ring is closed.
        let registered =
            unsafe { self.kernel.uring().submitter().register_buffers(&memory.chunks()) };
        let outcome = match registered {
            Ok(()) => {
                memory.set_registered();
                ArenaRegistration::Registered
            }
            Err(error) => {
                let reason = match error.raw_os_error() {
                    Some(libc::ENOMEM) => RegistrationFailure::LockedMemoryLimit,
                    _ => RegistrationFailure::Kernel { errno: Errno::of(&error).0 },
                };
                ArenaRegistration::Unregistered { reason }
            }
        };
        self.disk.arena = Some(memory);
        outcome
    }

    /// Takes an operation. It starts with the next turn. Never blocks.
    pub fn submit(&mut self, op: Op) {
        match op {
            Op::Disk(op) => {
                let step = self.disk.start(op);
                self.step(step);
            }
            Op::Socket(op) => self.start_on_socket(op),
        }
    }

    /// Submits, waits until something has completed, the doorbell rang or `deadline` has passed,
    /// and hands out every completion. Without a deadline it waits for as long as it takes; with
    /// one that has passed, not at all. May return with nothing handed out.
    pub fn turn(
        &mut self,
        deadline: Option<Instant>,
        mut handle: impl FnMut(Completion<'_>),
    ) -> Result<(), TurnError> {
        self.poll_errands();
        self.accept_again();
        let wait = self.park_until(deadline);
        let useful = wait.is_some() || self.kernel.has_submissions() || self.kernel.more_to_bring();
        let entered = if useful { self.kernel.enter(wait) } else { Ok(()) };
        // Before anything is handed out: what was written before a ring is visible afterwards.
        self.doorbell.disarm();
        self.now = clock();
        entered.map_err(TurnError::of)?;
        self.deliver_ready(&mut handle);
        for _ in 0..ENTRIES_PER_TURN_MAX {
            while let Some(completion) = self.kernel.reap() {
                self.complete(&completion, &mut handle);
            }
            if !self.kernel.more_to_bring() {
                break;
            }
            // First, because the kernel may give the number of a socket that was closed above to
            // a connection that it accepts now.
            self.deliver_ready(&mut handle);
            self.kernel.enter(None).map_err(TurnError::of)?;
        }
        self.poll_errands();
        self.deliver_ready(&mut handle);
        Ok(())
    }

    /// What the clocks said when the last turn came back from the kernel.
    pub fn now(&self) -> Now {
        self.now
    }

    /// Reads the clocks again, for whoever spent long on handling completions.
    pub fn refresh_now(&mut self) -> Now {
        self.now = clock();
        self.now
    }

    /// A bell that ends this ring's turn from any thread.
    pub fn doorbell(&self) -> Doorbell {
        self.doorbell.clone()
    }

    /// Nothing is in flight but receives and the accept, which wait for others.
    pub fn idle(&self) -> bool {
        self.working == 0 && self.errands.in_flight() == 0 && self.ready.is_empty()
    }

    /// How long to sleep in the kernel; `None`: not at all. Arms the doorbell when it says to
    /// sleep.
    fn park_until(&mut self, deadline: Option<Instant>) -> Option<Timeout> {
        if !self.ready.is_empty() || self.kernel.has_completions() {
            return None;
        }
        let deadline = match (deadline, self.accept_again_at) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        let timeout = match deadline {
            None => Timeout::Never,
            Some(deadline) => match deadline.since(monotonic()) {
                Duration::ZERO => return None,
                left => Timeout::After(left),
            },
        };
        self.doorbell.arm().then_some(timeout)
    }

    fn poll_errands(&mut self) {
        while let Some(done) = self.errands.poll() {
            self.ready.push_back(Ready::Disk(done));
        }
    }

    fn deliver_ready(&mut self, handle: &mut impl FnMut(Completion<'_>)) {
        while let Some(ready) = self.ready.pop_front() {
            handle(match ready {
                Ready::Disk(completion) => Completion::Disk(completion),
                Ready::Socket(completion) => Completion::Socket(completion),
            });
        }
    }

    /// Gives an operation to the kernel with the next entry.
    fn launch(&mut self, mut op: InFlight) {
        let entry = match &mut op {
            InFlight::Disk(op) => op.entry(&self.disk),
            InFlight::Accept(op) => op.entry(),
            InFlight::Receive(op) => op.entry(),
            InFlight::Send(op) => {
                if op.needs_message() {
                    op.lend_message(self.spare_messages.pop().unwrap_or_else(Message::empty));
                }
                op.entry()
            }
            InFlight::Doorbell(counter) => {
                let fd = Fd(self.doorbell.eventfd());
                opcode::Read::new(fd, counter.as_mut_ptr(), counter.len() as u32).build()
            }
        };
        self.working += usize::from(op.is_work());
        let ticket = self.in_flight.insert(op);
        // SAFETY: what the entry points at is on the heap and owned by the operation (paths,
        // buffers, heads, messages, the counter), or is the arena, which the ring keeps mapped; the
        // operation stays in the slab until its completion has been reaped, and is leaked if the
        // ring is dropped before.
        unsafe { self.kernel.push(entry.user_data(ticket.0)) };
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Submit(op) => self.launch(InFlight::Disk(op)),
            Step::Errand(errand) => self.errands.start(errand),
            Step::Done(completion) => self.ready.push_back(Ready::Disk(completion)),
        }
    }

    fn complete(&mut self, cqe: &cqueue::Entry, handle: &mut impl FnMut(Completion<'_>)) {
        let (ticket, result, flags) = (Ticket(cqe.user_data()), cqe.result(), cqe.flags());
        if cqueue::more(flags) {
            // A standing request said something, and stands.
            if let Some(InFlight::Accept(_)) = self.in_flight.entry(ticket) {
                self.accepted(result, true, handle);
            }
            return;
        }
        let Some(op) = self.in_flight.remove(ticket) else {
            // Late: nobody waits for it. Only a buffer of the pool must not get lost.
            if let Some(buffer) = cqueue::buffer_select(flags) {
                self.pool.give_back(buffer);
            }
            return;
        };
        self.working -= usize::from(op.is_work());
        match op {
            InFlight::Disk(op) => match op.advance(result, &mut self.disk) {
                Step::Done(completion) => handle(Completion::Disk(completion)),
                step => self.step(step),
            },
            InFlight::Accept(_) => self.accepted(result, false, handle),
            InFlight::Receive(op) => self.received(op, result, flags, handle),
            InFlight::Send(mut op) => match op.advance(result) {
                Some(result) => {
                    self.sent(op, result);
                    self.deliver_ready(handle);
                }
                None => self.launch(InFlight::Send(op)),
            },
            // Its work is done by having ended the wait.
            InFlight::Doorbell(counter) => self.launch(InFlight::Doorbell(counter)),
        }
    }
}

impl InFlight {
    /// Whether it ends by itself, without a doing of others.
    fn is_work(&self) -> bool {
        matches!(self, Self::Disk(_) | Self::Send(_))
    }
}

impl Drop for Ring {
    /// Cancels what is in flight and waits for it a while. What the kernel may still write to after
    /// that is leaked, never freed. Open sockets are not closed: they may have moved to another
    /// ring.
    fn drop(&mut self) {
        let cancel = opcode::AsyncCancel2::new(CancelBuilder::any()).build();
        // SAFETY: the entry points at nothing. Its ticket is none that the slab gives out.
        unsafe { self.kernel.push(cancel.user_data(u64::MAX)) };
        let deadline = monotonic() + DRAIN;
        while self.in_flight.len() > 0 {
            let left = deadline.since(monotonic());
            if left.is_zero() || self.kernel.enter(Some(Timeout::After(left))).is_err() {
                break;
            }
            while let Some(cqe) = self.kernel.reap() {
                if let Some(InFlight::Disk(op)) = self.in_flight.remove(Ticket(cqe.user_data())) {
                    // Takes up descriptors that were opened meanwhile.
                    drop(op.advance(cqe.result(), &mut self.disk));
                }
            }
        }
        if self.in_flight.len() == 0 {
            // SAFETY: nothing is in flight, so the kernel touches neither the operations' memory
            // nor the pool's; neither is used again.
            unsafe {
                ManuallyDrop::drop(&mut self.in_flight);
                ManuallyDrop::drop(&mut self.pool);
            }
        } else {
            std::mem::forget(self.disk.arena.take());
        }
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ring({} in flight)", self.in_flight.len())
    }
}

/// The kernel does not let the ring go on. Nothing in flight will complete.
#[derive(Debug)]
pub struct TurnError {
    source: std::io::Error,
}

impl TurnError {
    fn of(errno: Errno) -> Self {
        Self { source: errno.into() }
    }
}

impl fmt::Display for TurnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "io_uring_enter: {}", self.source)
    }
}

impl std::error::Error for TurnError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}
