//! A ring as the probes use it: the flags of the server, submissions in batches, and buffers
//! that the kernel picks itself.
//!
//! Not Plimsoll's ring: a limit that went through `plimsoll-ring` would share its faults.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::collections::VecDeque;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;
use io_uring::{IoUring, cqueue, squeue};

/// What an operation came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    pub(crate) token: u64,
    pub(crate) flags: u32,
    result: i32,
}

impl Done {
    /// The bytes that were moved.
    pub(crate) fn bytes(self) -> io::Result<usize> {
        usize::try_from(self.result).map_err(|_| io::Error::from_raw_os_error(-self.result))
    }

    /// Did the buffers of the group run out?
    pub(crate) fn is_out_of_buffers(self) -> bool {
        self.result == -libc::ENOBUFS
    }
}

/// A ring of the calling thread.
pub(crate) struct Uring {
    ring: IoUring,
    done: VecDeque<Done>,
}

impl Uring {
    /// A ring with the flags of the server. Belongs to the thread that creates it.
    pub(crate) fn new(entries: u32) -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(entries * 4)
            .build(entries)?;
        Ok(Self { ring, done: VecDeque::new() })
    }

    /// Queues `entry`; it goes to the kernel with the next wait.
    ///
    /// # Safety
    ///
    /// The memory that `entry` names must stay valid, and must not be touched by anyone else,
    /// until its last completion has been taken.
    pub(crate) unsafe fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: the caller keeps the memory of `entry` valid until it has completed.
        let pushed = unsafe { self.ring.submission().push(entry) };
        pushed.map_err(|_| io::Error::other("the submission queue is full"))
    }

    /// Submits what is queued and waits until an operation is done.
    pub(crate) fn wait(&mut self) -> io::Result<Done> {
        loop {
            if let Some(done) = self.done.pop_front() {
                return Ok(done);
            }
            self.fill()?;
        }
    }

    /// As [`wait`](Self::wait), for the first completion that `is_wanted`; others wait their turn.
    pub(crate) fn wait_for(&mut self, is_wanted: impl Fn(Done) -> bool) -> io::Result<Done> {
        loop {
            if let Some(at) = self.done.iter().position(|done| is_wanted(*done)) {
                return self.done.remove(at).ok_or_else(|| io::Error::other("found, then gone"));
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        match self.ring.submit_and_wait(1) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        let completions = self.ring.completion();
        self.done.extend(completions.map(|entry| Done {
            token: entry.user_data(),
            flags: entry.flags(),
            result: entry.result(),
        }));
        Ok(())
    }

    /// Gives the kernel `count` buffers of `buffer_bytes` to choose from, as group `group`.
    pub(crate) fn provide(
        &mut self,
        group: u16,
        count: u16,
        buffer_bytes: usize,
    ) -> io::Result<BufferGroup> {
        let mut buffers = BufferGroup::new(count, buffer_bytes);
        // SAFETY: the entries are page-aligned, `count` of them long, and live until the group is
        // dropped, which its owner does after the ring that it was registered with.
        unsafe {
            self.ring.submitter().register_buf_ring_with_flags(
                buffers.entries.as_ptr().expose_provenance() as u64,
                count,
                group,
                0,
            )?;
        }
        for id in 0..count {
            buffers.give_back(id);
        }
        Ok(buffers)
    }
}

/// Buffers that the kernel picks from, in the order in which they are given back.
pub(crate) struct BufferGroup {
    entries: NonNull<BufRingEntry>,
    layout: Layout,
    memory: Vec<u8>,
    buffer_bytes: usize,
    count: u16,
    tail: u16,
}

impl BufferGroup {
    fn new(count: u16, buffer_bytes: usize) -> Self {
        assert!(count.is_power_of_two(), "the kernel takes powers of two only");
        let size_bytes = size_of::<BufRingEntry>() * usize::from(count);
        let Ok(layout) = Layout::from_size_align(size_bytes, 4096) else {
            panic!("a page is a valid alignment");
        };
        // SAFETY: the layout is not empty, for `count` is at least 1.
        let entries = unsafe { alloc_zeroed(layout) }.cast();
        let Some(entries) = NonNull::new(entries) else { handle_alloc_error(layout) };
        let memory = vec![1; usize::from(count) * buffer_bytes];
        Self { entries, layout, memory, buffer_bytes, count, tail: 0 }
    }

    /// The bytes that `done` brought, and the id of the buffer that they lie in.
    pub(crate) fn received(&self, done: Done) -> io::Result<(u16, &[u8])> {
        let id = cqueue::buffer_select(done.flags)
            .ok_or_else(|| io::Error::other("the completion names no buffer"))?;
        let start = usize::from(id) * self.buffer_bytes;
        Ok((id, &self.memory[start..start + done.bytes()?]))
    }

    /// Lets the kernel have buffer `id` again.
    pub(crate) fn give_back(&mut self, id: u16) {
        let address = self.memory[usize::from(id) * self.buffer_bytes..].as_mut_ptr();
        let at = usize::from(self.tail & (self.count - 1));
        // SAFETY: `at` is below `count`, and the kernel does not read this entry before the tail
        // below has moved past it.
        let entry = unsafe { &mut *self.entries.as_ptr().add(at) };
        entry.set_addr(address.expose_provenance() as u64);
        entry.set_len(self.buffer_bytes as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the entries are initialised, and the tail lies in the reserved bytes of the
        // first, which `set_*` leave alone; the kernel reads it as an atomic 16-bit word.
        let tail =
            unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.entries.as_ptr()).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

impl Drop for BufferGroup {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, and freed only here.
        unsafe { dealloc(self.entries.as_ptr().cast(), self.layout) }
    }
}
