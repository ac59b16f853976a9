//! Small buffers that the kernel picks from when bytes arrive on a connection that was idle.
//!
//! An idle connection holds no memory this way. The kernel takes a buffer out of the ring that it
//! shares with us; after its bytes have been handled it is put back. What a newcomer gets wrong:
//! the shared ring's tail is the last two bytes of its *first* entry.

use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;
use plimsoll_device::{Buffer, RECEIVE_POOLED_BYTES};

use crate::errno::Errno;

/// A power of two, as the kernel wants it.
const BUFFERS: u16 = 256;
const REGISTER_PBUF_RING: u32 = 22;

/// The number under which receives name the pool.
pub(crate) const POOL_GROUP: u16 = 0;

pub(crate) struct Pool {
    /// Entries shared with the kernel; page-aligned.
    entries: Buffer,
    /// Owns the buffers; touched through `start` only, a buffer at a time, because the kernel may
    /// be writing to the others.
    _buffers: Buffer,
    start: *mut u8,
    tail: u16,
}

impl Pool {
    pub(crate) fn register(uring: &IoUring) -> Result<Self, Errno> {
        let entries = Buffer::zeroed(usize::from(BUFFERS) * size_of::<BufRingEntry>());
        let mut buffers = Buffer::zeroed(usize::from(BUFFERS) * RECEIVE_POOLED_BYTES);
        let start = buffers.as_mut_ptr();
        let mut pool = Self { entries, _buffers: buffers, start, tail: 0 };
        pool.register_entries(uring)?;
        for buffer in 0..BUFFERS {
            pool.give_back(buffer);
        }
        Ok(pool)
    }

    fn register_entries(&self, uring: &IoUring) -> Result<(), Errno> {
        let address = self.entries.as_ptr() as u64;
        // SAFETY: the entries are page-aligned, as many as announced, and live until the ring that
        // owns this pool has closed its descriptor with nothing in flight (or for ever, if
        // something was).
        let registered = unsafe {
            uring.submitter().register_buf_ring_with_flags(address, BUFFERS, POOL_GROUP, 0)
        };
        match registered.map_err(|error| Errno::of(&error)) {
            Err(Errno(libc::EINVAL)) => {
                register_with_reserved_word(std::os::fd::AsRawFd::as_raw_fd(uring), address)
            }
            other => other,
        }
    }

    /// The first `length` bytes of a buffer that the kernel has filled.
    pub(crate) fn bytes(&self, buffer: u16, length: usize) -> &[u8] {
        let length = length.min(RECEIVE_POOLED_BYTES);
        // SAFETY: within the allocation, initialised, and not the kernel's until `give_back`,
        // which needs `&mut self`.
        unsafe { std::slice::from_raw_parts(self.address(buffer), length) }
    }

    /// Lets the kernel fill the buffer again.
    pub(crate) fn give_back(&mut self, buffer: u16) {
        let address = self.address(buffer) as u64;
        let slot = usize::from(self.tail % BUFFERS);
        let entries = self.entries.as_mut_ptr().cast::<BufRingEntry>();
        // SAFETY: `slot` is below the number of entries, which are allocated and zeroed, and the
        // kernel does not read this one before the tail says so. Only the address, length and
        // number are written: in the first entry the remaining bytes are the tail.
        let entry = unsafe { &mut *entries.add(slot) };
        entry.set_addr(address);
        entry.set_len(RECEIVE_POOLED_BYTES as u32);
        entry.set_bid(buffer % BUFFERS);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: `entries` is the first entry; its tail is two aligned bytes that only this
        // thread writes.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(entries).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }

    fn address(&self, buffer: u16) -> *mut u8 {
        let offset = usize::from(buffer % BUFFERS) * RECEIVE_POOLED_BYTES;
        // SAFETY: less than the length of the allocation, because the number is below BUFFERS.
        unsafe { self.start.add(offset) }
    }
}

/// Some distribution kernels (Ubuntu 6.8.0-139 and near) refuse a registration whose reserved words
/// are all zero, which is what every other kernel demands.
fn register_with_reserved_word(fd: i32, ring_address: u64) -> Result<(), Errno> {
    /// `struct io_uring_buf_reg`.
    #[repr(C)]
    struct Registration {
        ring_address: u64,
        ring_entries: u32,
        group: u16,
        flags: u16,
        reserved: [u64; 3],
    }
    let registration = Registration {
        ring_address,
        ring_entries: u32::from(BUFFERS),
        group: POOL_GROUP,
        flags: 0,
        reserved: [1, 0, 0],
    };
    // SAFETY: the structure has the kernel's layout and lives across the call; the entries that it
    // points at live as `register_entries` says.
    let registered = unsafe {
        libc::syscall(
            libc::SYS_io_uring_register,
            fd,
            REGISTER_PBUF_RING,
            &raw const registration,
            1,
        )
    };
    if registered < 0 { Err(Errno::last()) } else { Ok(()) }
}
