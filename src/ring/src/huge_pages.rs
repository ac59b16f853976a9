//! Huge pages for an arena: fewer and longer pieces in each direct write, fewer TLB misses in each
//! copy.
//!
//! A matter of speed alone: without huge pages everything works. tmpfs gives small pages unless its
//! mount or the host says otherwise, but memory that is already there can be asked to be put
//! together (`MADV_COLLAPSE`, Linux 6.1, whatever `shmem_enabled` says but `deny`). What a newcomer
//! gets wrong: it must happen before the memory is registered with a ring, which pins its pages
//! where they are.

use std::time::Duration;

use plimsoll_device::Arena;

use crate::arena::{HUGE_PAGE_BYTES, Mapping};
use crate::clock::monotonic;

/// Asks the kernel to put the arena's pages together into huge ones, for at most about `budget`:
/// finding memory in a row may take the kernel long. Says how many bytes are in huge pages then; 0
/// where the host does not allow them. To be called before the arena is registered.
pub fn gather_huge_pages(arena: &Arena, budget: Duration) -> usize {
    let Some(mapping) = Mapping::of_arena(arena) else { return 0 };
    let end = monotonic() + budget;
    let mut gathered_bytes = 0;
    for offset in (0..mapping.length_bytes()).step_by(HUGE_PAGE_BYTES) {
        if offset + HUGE_PAGE_BYTES > mapping.length_bytes() || monotonic() >= end {
            break;
        }
        let start = mapping.start().wrapping_add(offset).cast();
        // SAFETY: the range lies in the mapping, which `mapping` keeps; its bytes stay the same.
        if unsafe { libc::madvise(start, HUGE_PAGE_BYTES, libc::MADV_COLLAPSE) } == 0 {
            gathered_bytes += HUGE_PAGE_BYTES;
        }
    }
    gathered_bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::create_arena;
    use plimsoll_device::ArenaRange;

    #[test]
    fn an_arena_keeps_its_bytes_whether_or_not_the_host_gives_huge_pages() {
        let path = std::path::Path::new("/dev/shm")
            .join(format!("plimsoll-huge-pages-{}", std::process::id()));
        let mut arena = create_arena(&path, 2 * HUGE_PAGE_BYTES + 4096).unwrap();
        let all = ArenaRange { start_bytes: 0, length_bytes: arena.length_bytes() };
        for (at, byte) in arena.bytes_mut(all).iter_mut().enumerate() {
            *byte = (at / 7) as u8;
        }
        let gathered_bytes = gather_huge_pages(&arena, Duration::from_secs(10));
        std::fs::remove_file(&path).unwrap();
        assert!(gathered_bytes <= 2 * HUGE_PAGE_BYTES, "the rest is no whole huge page");
        assert_eq!(gathered_bytes % HUGE_PAGE_BYTES, 0);
        assert_eq!(arena.start_address() as usize % HUGE_PAGE_BYTES, 0);
        assert!(arena.bytes(all).iter().enumerate().all(|(at, byte)| *byte == (at / 7) as u8));
    }

    #[test]
    fn without_time_nothing_is_gathered() {
        let path = std::path::Path::new("/dev/shm")
            .join(format!("plimsoll-no-huge-pages-{}", std::process::id()));
        let arena = create_arena(&path, HUGE_PAGE_BYTES).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(gather_huge_pages(&arena, Duration::ZERO), 0);
    }
}
