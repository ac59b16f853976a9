//! Arenas on the heap. What survives a kill is what the test copies out and puts into the arena of
//! the next life; what does not survive a power loss is what it leaves behind.

use plimsoll_device::{Arena, ArenaRange, Buffer};

/// A zeroed arena of at least `length_bytes`, rounded up to whole blocks.
///
/// # Panics
/// When `length_bytes` is zero.
pub fn heap_arena(length_bytes: usize) -> Arena {
    Arena::on_heap(Buffer::zeroed(length_bytes))
}

/// The whole arena as it is now: what a process that is started after a kill would map.
pub fn copy_of(arena: &Arena) -> Vec<u8> {
    arena.bytes(ArenaRange { start_bytes: 0, length_bytes: arena.length_bytes() }).to_vec()
}

/// An arena that holds `image`, as [`copy_of`] gave it.
///
/// # Panics
/// When `image` is empty.
pub fn arena_from(image: &[u8]) -> Arena {
    let mut arena = heap_arena(image.len());
    let all = ArenaRange { start_bytes: 0, length_bytes: image.len() };
    arena.bytes_mut(all).copy_from_slice(image);
    arena
}

#[cfg(test)]
mod tests {
    use plimsoll_device::BLOCK_BYTES;

    use super::*;

    #[test]
    fn an_image_carries_an_arena_into_the_next_life() {
        let mut arena = heap_arena(2 * BLOCK_BYTES);
        arena.bytes_mut(ArenaRange { start_bytes: 4090, length_bytes: 3 }).fill(9);
        let image = copy_of(&arena);
        drop(arena);
        let arena = arena_from(&image);
        assert_eq!(arena.bytes(ArenaRange { start_bytes: 4089, length_bytes: 5 }), [0, 9, 9, 9, 0]);
    }
}
