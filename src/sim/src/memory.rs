//! Arenas on the heap. What survives a kill is what the test copies out and puts into the arena of
//! the next life; what does not survive a power loss is what it leaves behind.

use plimsoll_device::{Arena, ArenaRange, Buffer, Overwritten};

use crate::random::Random;

/// The length of what is stored at once.
const MARK_BYTES: usize = 8;

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

/// Makes of the arena of a process that is killed what it is when death comes before the last of
/// the stores that it has noted: those from some store on were never made, and of the one before
/// them a part was.
///
/// Whoever notes stores takes the notes whenever others may have learned of what was stored.
pub fn take_back_stores(arena: &mut Arena, random: &mut Random) {
    let mut noted = arena.take_noted();
    let made = random.below(noted.len() as u64 + 1) as usize;
    for over in noted.drain(made..).rev() {
        restore(arena, over.start_bytes, &over.before);
    }
    // A mark is stored at once, whatever else is in pieces.
    if let Some(Overwritten { start_bytes, before }) = noted.pop()
        && before.len() > MARK_BYTES
        && random.chance(500)
    {
        let (one, other) = (random.below(before.len() as u64), random.below(before.len() as u64));
        let torn = one.min(other) as usize..one.max(other) as usize;
        restore(arena, start_bytes + torn.start, &before[torn]);
    }
}

fn restore(arena: &mut Arena, start_bytes: usize, before: &[u8]) {
    let range = ArenaRange { start_bytes, length_bytes: before.len() };
    arena.bytes_mut(range).copy_from_slice(before);
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

    #[test]
    fn a_process_dies_after_any_of_its_stores_and_within_them() {
        let mut left = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let mut arena = heap_arena(BLOCK_BYTES);
            arena.note_stores();
            arena.bytes_mut(ArenaRange { start_bytes: 8, length_bytes: 9 }).fill(1);
            arena.publish(0, 7);
            take_back_stores(&mut arena, &mut Random::new(seed));
            let payload = arena.bytes(ArenaRange { start_bytes: 8, length_bytes: 9 });
            let ones = payload.iter().filter(|byte| **byte == 1).count();
            let is_published = arena.bytes(ArenaRange { start_bytes: 0, length_bytes: 1 }) == [7];
            assert!(ones == 9 || !is_published, "the mark came before its payload");
            left.insert((ones, is_published));
        }
        assert!(left.contains(&(0, false)) && left.contains(&(9, false)));
        assert!(left.contains(&(9, true)) && left.len() > 5, "{left:?}");
    }
}
