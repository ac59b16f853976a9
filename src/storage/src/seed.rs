//! From what recovery found to a running shard: partitions are opened, what only memory held or has
//! moved is logged, and only then does the shard serve.
//!
//! What a newcomer gets wrong: leases of earlier starts are ended here, so that the lease of this
//! start and this start's arena always belong together.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use plimsoll_batch::{BatchHeader, Offset};
use plimsoll_device::{BLOCK_BYTES, Now};

use crate::arena_layout::SpanHeader;
use crate::entry::LEASE_BYTES;
use crate::error::Damage;
use crate::frame_draft::FrameDraft;
use crate::identity::{PartitionConfig, PartitionId, Retention, Slot};
use crate::journal::journal_path;
use crate::limits::{ARENA_BYTES_MIN, FRAME_BYTES_MAX};
use crate::notice::Notice;
use crate::partition::{Partition, Point, SegmentFile};
use crate::recovered::{RecoveredPartition, Run};
use crate::span::{NewSpan, narrow, pages_for};
use crate::storage::{Seeding, StopState, Storage, StorageConfig};

/// Of partitions of which nothing is known; nobody appends to them.
const UNKNOWN_SEGMENT_BYTES: u64 = 256 << 20;
const UNKNOWN_BATCH_BYTES_MAX: usize = 1 << 20;

/// Batches that only an arena of a dead process held, on their way into this start's.
pub(crate) struct Feed {
    slot: Slot,
    bytes: Vec<u8>,
    /// So much of it is in.
    at: usize,
    /// A lease of an earlier start is to be ended.
    leased: bool,
}

impl Storage {
    /// Opens a partition on this shard, with what recovery found of it if it found any. Nothing is
    /// written before the first append.
    ///
    /// # Panics
    /// When the partition is open already, or when the arena is too small for what recovery found;
    /// the server compares the two before it comes to that.
    pub fn open_partition(&mut self, id: PartitionId, config: PartitionConfig) -> Slot {
        assert!(!self.by_id.contains_key(&id), "partition {id} is opened once");
        let recovered = self.recovered.remove(&id);
        let start = recovered.as_ref().map_or(Offset::ZERO, |recovered| recovered.start);
        let partition = Box::new(Partition::new(id, config, start));
        let free = self.partitions.iter().rposition(Option::is_none).filter(|_| self.has_free_slot);
        let slot = match free {
            Some(free) => {
                self.partitions[free] = Some(partition);
                Slot(narrow(free as u64))
            }
            None => {
                self.has_free_slot = false;
                self.partitions.push(Some(partition));
                Slot(narrow(self.partitions.len() as u64 - 1))
            }
        };
        self.by_id.insert(id, slot);
        match recovered {
            Some(recovered) => self.seed(slot, id, recovered),
            // It was there before this start. All that there is of it may be in the damaged journal
            // of this shard, or of one that had it before: offsets from 0 on may have been given
            // out.
            None if self.seeding == Seeding::Opening => {
                let damage = self.other_damage.as_ref().or(self.journal_damage.as_ref()).cloned();
                self.partition_mut(slot).lost_end.clone_from(&damage);
                self.partition_mut(slot).damage = damage;
            }
            None => {}
        }
        slot
    }

    /// Opens what recovery found and nobody has opened. Nothing is known of it but its id; it is
    /// there so that its files and what journals say of it stay.
    pub fn open_unknown(&mut self) {
        let ids: Vec<PartitionId> = self.recovered.keys().copied().collect();
        for id in ids {
            let config = PartitionConfig {
                segment_bytes: UNKNOWN_SEGMENT_BYTES,
                batch_bytes_max: UNKNOWN_BATCH_BYTES_MAX,
                flush_interval: Duration::from_millis(100),
                retention: Retention::UNLIMITED,
                compaction: None,
            };
            self.open_partition(id, config);
        }
    }

    /// Says that every partition that exists has been opened. What recovery found of others belongs
    /// to deleted topics and is removed. [`Notice::Seeded`] follows when all is durable here.
    pub fn finish_opening(&mut self, now: Now) {
        assert_eq!(self.seeding, Seeding::Opening, "opening is finished once");
        self.seeding = Seeding::Logging;
        self.begin_age_clock(now);
        self.rest_begins();
        self.feed();
        while let Some((id, _)) = self.recovered.pop_first() {
            self.remove_files(id, now);
        }
        self.check_seeded();
    }

    /// Says that every shard has told `Seeded`: old journals and arenas are no longer needed.
    pub fn all_seeded(&mut self) {
        assert_eq!(self.seeding, Seeding::Waiting, "every shard includes this one");
        self.seeding = Seeding::Done;
        self.advance_checkpoint();
        self.sweep_all();
        self.retain_all();
    }

    fn seed(&mut self, slot: Slot, id: PartitionId, recovered: RecoveredPartition) {
        let moved = recovered.journal != self.journal.index;
        let leased = recovered.lease > recovered.next_offset;
        let end = recovered.end();
        let damage = recovered.damage.clone().or_else(|| headless(id, &recovered));
        self.seed_producers(slot, recovered.producers);
        let partition = self.partition_mut(slot);
        partition.sealed_bytes = recovered.sealed.iter().map(|sealed| sealed.length_bytes).sum();
        partition.sealed = recovered.sealed;
        // A sealed segment of which nothing is left in the journal is in its file, and what is in
        // a file is in a directory that was made durable before.
        partition.directory_ready = partition.sealed.len() >= recovered.runs.len();
        partition.active = recovered.active;
        partition.active_written = recovered.active_written;
        partition.first_planned = partition.first_segment();
        let offset = recovered.next_offset;
        let point = Point { offset, segment: recovered.active, position: end };
        partition.published = point;
        partition.durable = point;
        if !moved {
            self.set_oldest_frame(slot, recovered.oldest);
        }
        for run in recovered.runs {
            self.seed_run(slot, &run, offset);
        }
        let partition = self.partition_mut(slot);
        let damaged = damage.is_some();
        partition.lost_end.clone_from(&damage);
        partition.damage = damage;
        let jumps = recovered.jumps && !damaged;
        let fenced = damaged || self.journal_damage.is_some();
        let feed = Feed { slot, bytes: recovered.from_arena, at: 0, leased };
        if jumps || fenced {
            return self.seed_at_once(feed, recovered.lease, (jumps, fenced));
        }
        self.set_end(slot, offset, recovered.lease);
        if moved {
            self.relog(slot);
        }
        self.feeds.push_back(feed);
        self.feed();
    }

    /// Nothing is shown beyond `next`, and no lease of this start is on its way.
    fn set_end(&mut self, slot: Slot, next: Offset, lease: Offset) {
        let partition = self.partition_mut(slot);
        partition.published.offset = next;
        partition.shown = partition.published;
        partition.lease = next;
        partition.lease_planned = next.min(lease);
    }

    /// A partition that goes on at its lease, or that takes nothing any more: all that was found of
    /// it is put in before that.
    fn seed_at_once(&mut self, mut feed: Feed, lease: Offset, (jumps, fenced): (bool, bool)) {
        let slot = feed.slot;
        let all_in = self.feed_one(&mut feed);
        assert!(all_in, "the arena is too small for what recovery found");
        let end = self.end_of(slot);
        let next = if jumps { lease.max(end) } else { end };
        self.set_end(slot, next, lease);
        if !fenced {
            self.relog(slot);
        }
    }

    /// The partition is to be logged whole here before anything else of it is. Old journals and
    /// arenas keep what it has until then, so that it counts as logged.
    fn relog(&mut self, slot: Slot) {
        let partition = self.partition_mut(slot);
        partition.relog = true;
        partition.lease_planned = partition.lease;
        for id in partition.spans.clone() {
            let span = self.memory.span_mut(id);
            span.logged = span.used;
            span.logged_durable = span.used;
        }
        self.producers_logged(slot);
        self.relogs += 1;
        self.snapshots_wanted.push_back(slot);
    }

    /// Puts data that only the journal holds into the arena: it is logged, and not stored.
    ///
    /// It may begin within a batch, so that readers get it as an earlier span's carried bytes.
    fn seed_run(&mut self, slot: Slot, run: &Run, next: Offset) {
        let partition = self.partition_mut(slot);
        let sealed = run.segment != partition.active;
        if run.stored > 0 {
            let file = SegmentFile { segment: run.segment, exists: true, allocated: 0 };
            partition.files.push(file);
            partition.directory_ready = true;
        }
        if run.bytes.is_empty() {
            return;
        }
        let header = SpanHeader {
            partition: partition.id,
            segment: run.segment,
            position: run.stored,
            pages: pages_for(run.bytes.len()),
            carried: narrow(run.bytes.len() as u64),
        };
        let new = NewSpan { slot, header, first_offset: next };
        let Some(id) = self.memory.take_span(&new) else {
            panic!("the arena is too small for what recovery found")
        };
        self.memory.carry_in(id, &run.bytes);
        if sealed {
            self.memory.close(id, true);
        }
        let partition = self.partition_mut(slot);
        partition.spans.push_back(id);
        self.remember_memory(slot);
        if sealed {
            self.want_spill(slot);
        }
    }

    /// Goes on to append what only the arenas of the dead process held, as far as there is room:
    /// what is in makes room by and by, as it becomes durable.
    ///
    /// What the journal has of partitions that are still to be opened comes before it, or there may
    /// be no room for that; but the metadata topic is read before others are opened.
    pub(crate) fn feed(&mut self) {
        let is_opening = self.seeding == Seeding::Opening;
        while let Some(mut feed) = self.feeds.pop_front() {
            let (slot, leased) = (feed.slot, feed.leased);
            if is_opening && self.partition(slot).id != PartitionId::METADATA {
                return self.feeds.push_front(feed);
            }
            let all_in = self.feed_one(&mut feed);
            let partition = self.partition_mut(slot);
            // It was shown by the dead process, under its lease.
            partition.lease = partition.lease.max(partition.published.offset);
            partition.show();
            if feed.at > 0 {
                self.want_commit(slot);
            }
            if !all_in {
                self.feeds.push_front(feed);
                return self.relieve_memory();
            }
            let partition = self.partition(slot);
            if leased && partition.lease_planned <= partition.published.offset {
                self.leases_void.push_back(slot);
            }
        }
    }

    /// Appends the feed's batches under the offsets that they had. False when there is no room.
    fn feed_one(&mut self, feed: &mut Feed) -> bool {
        while feed.at < feed.bytes.len() {
            let rest = &feed.bytes[feed.at..];
            let header = match BatchHeader::decode(rest) {
                Ok(header) => header,
                Err(error) => panic!("recovery took only valid batches: {error}"),
            };
            let batch = &rest[..header.length_bytes];
            let (base, next) = (self.end_of(feed.slot), header.next_offset());
            assert_eq!(header.base_offset, base, "recovery took batches in order");
            self.roll_if_full(feed.slot, batch.len() as u64);
            let Ok(span) = self.span_with_room(feed.slot, batch.len()) else { return false };
            self.memory.append(span, (batch, header.crc), (base, next), |_| {});
            let written = self.aging.clock.written();
            let partition = self.partition_mut(feed.slot);
            partition.active_written.note(written, partition.published.position == 0);
            partition.published.offset = next;
            partition.published.position += batch.len() as u64;
            self.note_producer(feed.slot, &header);
            feed.at += header.length_bytes;
        }
        true
    }

    /// Takes the partitions that must be logged whole here, and ends leases of earlier starts.
    pub(crate) fn plan_snapshots(&mut self, draft: &mut FrameDraft) {
        for _ in 0..self.snapshots_wanted.len() {
            if !self.journal.fits(FRAME_BYTES_MAX as u64, 0) {
                return;
            }
            let Some(slot) = self.snapshots_wanted.pop_front() else { break };
            if !self.is_open(slot) {
                continue;
            }
            if !self.ready_for_snapshot(slot) {
                self.want_spill(slot);
                self.snapshots_wanted.push_back(slot);
            } else if self.put_snapshot(slot, draft) {
                self.partition_mut(slot).relog = false;
                self.relogs -= 1;
            } else {
                self.snapshots_wanted.push_front(slot);
                break;
            }
        }
        self.plan_void_leases(draft);
    }

    fn plan_void_leases(&mut self, draft: &mut FrameDraft) {
        for _ in 0..self.leases_void.len() {
            if draft.room() < LEASE_BYTES || !self.journal.fits(FRAME_BYTES_MAX as u64, 0) {
                return;
            }
            let Some(slot) = self.leases_void.pop_front() else { return };
            if self.partition(slot).relog {
                // Its snapshot comes first: a lease alone would begin the partition here, empty,
                // and of a later start than all that the other journal has of it.
                self.leases_void.push_back(slot);
                continue;
            }
            let end = self.partition(slot).lease;
            self.put_lease(slot, end, draft);
        }
    }

    pub(crate) fn check_seeded(&mut self) {
        let waits = self.relogs > 0
            || !self.feeds.is_empty()
            || !self.leases_void.is_empty()
            || !self.urgent.is_empty()
            || !self.commits.is_empty();
        let fenced = self.journal_damage.is_some();
        if self.seeding == Seeding::Logging && (fenced || !waits) {
            self.seeding = Seeding::Waiting;
            self.notices.push_back(Notice::Seeded);
        }
    }

    /// Ends every lease, so that a clean start goes on without a gap; the frame of a clean stop.
    pub(crate) fn plan_last_frame(&mut self, draft: &mut FrameDraft) {
        if !self.journal.fits(FRAME_BYTES_MAX as u64, 0) {
            // Everything is durable; only the next start will leave offsets out.
            self.stop = StopState::LastFrame;
            return;
        }
        let slots: Vec<Slot> = self.by_id.values().copied().collect();
        for slot in slots {
            let partition = self.partition(slot);
            if partition.lease_planned > partition.published.offset {
                if draft.room() < LEASE_BYTES {
                    return;
                }
                let end = partition.published.offset;
                self.put_lease(slot, end, draft);
            }
        }
        draft.clean = true;
    }
}

impl StorageConfig {
    /// Length of an arena that surely holds what recovery found, in bytes. More than usual is
    /// needed when fewer shards than before take over the same data, and when the shard's journal
    /// is damaged, so that nothing can be moved to the disk: a start takes the greater of this and
    /// of what is configured.
    pub fn arena_bytes_needed(&self) -> usize {
        arena_bytes_for(self.recovered.values(), self.journal_damage.is_some())
    }
}

pub(crate) fn arena_bytes_for<'a>(
    recovered: impl Iterator<Item = &'a RecoveredPartition>,
    journal_is_damaged: bool,
) -> usize {
    let partition = |recovered: &RecoveredPartition| {
        let runs = recovered.runs.iter().map(|run| pages_for(run.bytes.len()) as usize + 1);
        // What only an old arena holds follows as there is room, but for partitions that jump, or
        // that take nothing any more; batches leave the ends of their new spans empty.
        let is_fenced = journal_is_damaged || recovered.damage.is_some() || recovered.headless;
        let is_at_once = recovered.jumps || is_fenced;
        let at_once = if is_at_once { recovered.from_arena.len() } else { 0 };
        runs.sum::<usize>() + 2 * (pages_for(at_once) as usize + 1)
    };
    let pages: usize = recovered.map(partition).sum();
    let needed = ARENA_BYTES_MIN + pages * BLOCK_BYTES;
    // The table of the pages, and an eighth for one read.
    (needed + needed / 4).next_multiple_of(BLOCK_BYTES)
}

/// What is wrong with a partition of which the journal has no beginning.
fn headless(id: PartitionId, recovered: &RecoveredPartition) -> Option<Damage> {
    recovered.headless.then(|| Damage {
        path: journal_path(recovered.journal),
        position_bytes: 0,
        partition: Some(id),
        what: String::from("the beginning of the partition is not in the journal"),
    })
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use plimsoll_batch::{BatchBuilder, assign};
    use plimsoll_sim::heap_arena;

    use super::*;
    use crate::frame::Sequence;
    use crate::identity::Retention;
    use crate::recovered::Place;
    use crate::{DataDirId, Journal, StorageConfig};

    const PLACE: Place = Place { epoch: 1, journal: 0, sequence: Sequence(1) };

    /// A partition of which only an old arena had these batches of 100 kB.
    fn in_an_arena(batches: u64) -> RecoveredPartition {
        let mut found = RecoveredPartition::begin(Offset::ZERO, PLACE);
        for number in 0..batches {
            let (mut builder, mut bytes) = (BatchBuilder::new(), Vec::new());
            builder.append(0, None, Some(&[7; 100_000]), &[]).unwrap();
            builder.finish_into(&mut bytes);
            assign(&mut bytes, Offset::new(number), 1);
            found.from_arena.extend_from_slice(&bytes);
        }
        found
    }

    /// The ends of partitions 0 and 1 of a shard that has opened them, in an arena as small as may
    /// be.
    fn ends(recovered: [RecoveredPartition; 2], journal_damage: Option<Damage>) -> [u64; 2] {
        let ids = [0, 1].map(|partition| PartitionId { topic: 1, partition });
        let config = StorageConfig {
            data_dir: DataDirId([1; 16]),
            epoch: 2,
            boot_id: [1; 16],
            durable_writes: false,
            journal: Journal::empty(0, 32 << 20),
            journal_damage,
            other_damage: None,
            recycled_segments_max: 0,
            recovered: ids.into_iter().zip(recovered).collect(),
        };
        let arena = heap_arena(config.arena_bytes_needed());
        let mut storage = Storage::new(config, arena);
        let settings = PartitionConfig {
            segment_bytes: 16 << 20,
            batch_bytes_max: 1 << 20,
            flush_interval: Duration::from_millis(100),
            retention: Retention::UNLIMITED,
            compaction: None,
        };
        let slots = ids.map(|id| storage.open_partition(id, settings));
        storage.finish_opening(Now { monotonic: plimsoll_device::Instant::ORIGIN, unix_ms: 1 });
        slots.map(|slot| storage.end_of(slot).value())
    }

    /// What an arena had of one partition went in before what the journal had of the next, and left
    /// no room for that: the start ended there, every time.
    #[test]
    fn what_a_journal_has_of_all_partitions_finds_room_before_what_arenas_have_of_one() {
        let mut journaled = RecoveredPartition::begin(Offset::ZERO, PLACE);
        let bytes = alloc::vec![7; 1 << 20];
        journaled.runs = [Run { segment: Offset::ZERO, stored: 0, bytes, end: 1 << 20 }].into();
        journaled.next_offset = Offset::new(9);
        let [fed, journaled] = ends([in_an_arena(60), journaled], None);
        assert!(fed > 0 && fed < 60, "{fed}: as much as there is room for, the rest later");
        assert_eq!(journaled, 9);
    }

    /// Behind a damaged journal nothing can be moved to the disk to make room. A server that was
    /// killed with a full arena panicked at each start, if its journal had rotted besides.
    #[test]
    fn all_that_arenas_have_finds_room_where_nothing_can_be_moved_to_the_disk() {
        let path = journal_path(0);
        let what = String::from("a frame does not check");
        let damage = Damage { path, position_bytes: 0, partition: None, what };
        assert_eq!(ends([in_an_arena(60), in_an_arena(30)], Some(damage.clone())), [60, 30]);
        let mut damaged = in_an_arena(60);
        damaged.damage = Some(damage);
        assert_eq!(ends([damaged, in_an_arena(1)], None), [60, 1]);
    }
}
