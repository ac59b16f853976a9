//! Reads from segments: find the place, read some blocks, check every batch, lend them.
//!
//! A segment's last bytes may be in memory only, as the front of the span that follows what was
//! read; they are copied behind the blocks, so that a reader always gets whole batches in one
//! piece.

mod checking;
mod filling;
mod locating;

use alloc::boxed::Box;
use alloc::string::String;

use plimsoll_batch::Offset;
use plimsoll_device::{BLOCK_BYTES, FileId, IoError};

pub(crate) use self::checking::follows;

use self::checking::Checked;
use self::filling::Bytes;
use crate::error::{Damage, Failure, ReadError};
use crate::identity::Slot;
use crate::level::Level;
use crate::limits::{READ_BYTES_MAX, READS_MAX};
use crate::notice::Notice;
use crate::partition::Rot;
use crate::read::{Cursor, Lent, ReadId};
use crate::span::{SpanId, narrow};
use crate::storage::Storage;

/// The least that is read at once: it holds a batch's header, and several small batches.
const READ_BYTES_MIN: usize = 64 << 10;

/// One read that is not answered yet.
pub(crate) struct ReadJob {
    slot: Slot,
    want: Want,
    /// About as much as the reader asked for.
    bytes_max: usize,
    /// The index of the segment was loaded for this read: what it does not say, it will not say.
    indexed: bool,
    /// What was found elsewhere may be damaged: the segment is read from its front.
    from_front: bool,
    /// Damage was found, and this is the second look at it.
    looks_again: bool,
    state: State,
}

#[derive(Clone, Copy)]
enum Want {
    Batches { cursor: Cursor, level: Level },
    Time { timestamp_ms: i64, segment: Offset },
}

enum State {
    /// An index is being loaded.
    Locating,
    Reading(Reading),
}

/// Blocks on their way into a run of memory.
struct Reading {
    run: SpanId,
    file: FileId,
    segment: Offset,
    /// Which of the segment's files is read.
    generation: u32,
    /// Position in the segment of the run's first byte; whole blocks.
    start: u64,
    /// Position of the batch that is wanted, or of one before it.
    position: u64,
    /// Bytes in the run that are data when all has arrived.
    length: u32,
    pieces: usize,
    error: Option<IoError>,
    short: bool,
}

impl Storage {
    pub(crate) fn start_read(
        &mut self,
        slot: Slot,
        cursor: Cursor,
        level: Level,
        bytes_max: usize,
    ) -> Result<ReadId, ReadError> {
        let bytes_max = bytes_max.max(cursor.read_bytes as usize);
        self.start_job(slot, Want::Batches { cursor, level }, bytes_max)
    }

    /// Finds a place from which every record of `timestamp_ms` or later will be seen: as near
    /// before the first of them as the index tells. [`Notice::Located`] answers.
    pub fn locate_timestamp(&mut self, slot: Slot, timestamp_ms: i64) -> Result<ReadId, ReadError> {
        let partition = self.partition(slot);
        let segment = partition.sealed.first().map_or(partition.active, |first| first.base);
        self.start_job(slot, Want::Time { timestamp_ms, segment }, 0)
    }

    fn start_job(&mut self, slot: Slot, want: Want, bytes_max: usize) -> Result<ReadId, ReadError> {
        if self.reads.len() >= READS_MAX {
            self.read_room_wanted = true;
            return Err(ReadError::NoRoom);
        }
        let number = self.job();
        self.partition_mut(slot).jobs += 1;
        let job = ReadJob {
            slot,
            want,
            bytes_max,
            indexed: false,
            from_front: false,
            looks_again: false,
            state: State::Locating,
        };
        self.reads.insert(number, job);
        self.continue_read(number);
        Ok(ReadId(number))
    }

    /// Begins, or goes on after an index was loaded.
    pub(crate) fn continue_read(&mut self, number: u64) {
        let Some(job) = self.reads.get(&number) else { return };
        let slot = job.slot;
        match job.want {
            Want::Batches { cursor, .. } => self.locate_batches(number, slot, cursor),
            Want::Time { timestamp_ms, segment } => {
                self.locate_time(number, slot, timestamp_ms, segment);
            }
        }
    }

    /// All pieces are there: check the batches, lend them.
    fn read_arrived(&mut self, number: u64) {
        let Some(job) = self.reads.get(&number) else { return };
        let (slot, State::Reading(reading), Want::Batches { cursor, level }) =
            (job.slot, &job.state, job.want)
        else {
            return;
        };
        let (run, segment, start) = (reading.run, reading.segment, reading.start);
        if cursor.offset < self.partition(slot).start {
            // Deleted meanwhile, and the segment may be gone.
            self.memory.unpin(run);
            return self.read_out_of_range(number, slot, cursor.offset);
        }
        if self.partition(slot).generation(segment) != Some(reading.generation) {
            // Compacted meanwhile: the place is one in a file that does not count any more.
            self.memory.unpin(run);
            if let Some(job) = self.reads.get_mut(&number) {
                job.want = Want::Batches { cursor: Cursor::at(cursor.offset), level };
                (job.indexed, job.from_front) = (false, false);
            }
            return self.continue_read(number);
        }
        let first = narrow(reading.position - start);
        let part = (first, reading.length);
        let checked = match (reading.error, reading.short) {
            (Some(error), _) => {
                let failure = Failure {
                    operation: "read",
                    path: self.partition(slot).segment_path(segment),
                    position_bytes: start,
                    length_bytes: u64::from(reading.length),
                    error,
                };
                self.memory.unpin(run);
                return self.end_read(number, Err(ReadError::Failed(failure)));
            }
            (None, true) => {
                let what = String::from("the file is shorter than the data that was written to it");
                Checked::Damaged { at: first, what }
            }
            (None, false) => {
                let bytes_max = narrow(job.bytes_max.min(READ_BYTES_MAX) as u64);
                self.counters.read_bytes += u64::from(reading.length);
                let limit = self.limit(slot, level).offset;
                let end = self.partition(slot).segment_after(segment);
                let bounds = segment..end.unwrap_or(self.limit(slot, Level::Memory).offset);
                let doubts = !job.from_front && start + u64::from(first) > 0;
                let offsets = (cursor.offset, limit, (self.partition(slot).id, &bounds));
                let how = (bytes_max, doubts, cursor.hint().is_some());
                self.check_batches(run, part, offsets, how)
            }
        };
        self.read_checked(number, (run, segment, start), part, checked);
    }

    /// Answers the read with what its blocks came to, or reads on.
    fn read_checked(
        &mut self,
        number: u64,
        (run, segment, start): (SpanId, Offset, u64),
        (first, length): (u32, u32),
        checked: Checked,
    ) {
        let Some(ReadJob { slot, want: Want::Batches { cursor, level }, bytes_max, .. }) =
            self.reads.get(&number)
        else {
            return;
        };
        let (slot, cursor, level, bytes_max) = (*slot, *cursor, *level, *bytes_max);
        if let Checked::Lend { from, to, next_offset } = checked {
            let range = self.memory.range(run, from, to);
            let position_bytes = start + u64::from(to);
            // Batches that are larger than a usual read come in a row, as a rule.
            let lent = to - from + 2 * BLOCK_BYTES as u32;
            let read_bytes = if lent >= narrow(bytes_max as u64) { lent } else { 0 };
            let generation = self.partition(slot).generation(segment).unwrap_or(0);
            let next =
                Cursor { offset: next_offset, segment, position_bytes, generation, read_bytes };
            return self.end_read(number, Ok(Lent { range, next, pin: run.0 }));
        }
        self.memory.unpin(run);
        match checked {
            Checked::Further { at, needed } => {
                let all = start + u64::from(length) >= self.file_data_end(slot, segment);
                if at == first && all {
                    let what = String::from("a batch does not end where its segment does");
                    return self.read_damaged(number, (segment, start + u64::from(at)), what, true);
                }
                let least = needed.max(READ_BYTES_MIN);
                let bytes = Bytes { wished: least, least };
                self.read_segment(number, slot, (segment, start + u64::from(at)), bytes);
            }
            Checked::Damaged { at, what } => {
                if cursor.hint().is_some() {
                    // The hint may have been of another partition's.
                    if let Some(job) = self.reads.get_mut(&number) {
                        job.want = Want::Batches { cursor: Cursor::at(cursor.offset), level };
                    }
                    return self.continue_read(number);
                }
                let place = (segment, start + u64::from(at));
                self.read_damaged(number, place, what, at == first);
            }
            Checked::Doubtful => {
                if let Some(job) = self.reads.get_mut(&number) {
                    job.from_front = cursor.hint().is_none();
                    job.want = Want::Batches { cursor: Cursor::at(cursor.offset), level };
                }
                self.continue_read(number);
            }
            Checked::Nothing | Checked::Lend { .. } => self.read_nothing(number, slot, level),
        }
    }

    /// The segment's file ends before the wanted offset: memory has what follows, or the next
    /// segment, or nobody, because the offsets up to the next record were never given out.
    fn read_behind_file(&mut self, number: u64, slot: Slot, segment: Offset) {
        let Some(job) = self.reads.get(&number) else { return };
        let Want::Batches { cursor, level } = job.want else { return };
        let bytes_max = job.bytes_max;
        let limit = self.limit(slot, level);
        let partition = self.partition(slot);
        let spans = partition.spans.iter().map(|id| self.memory.span(*id));
        let here = spans.into_iter().find(|span| {
            span.segment == segment && span.next_offset > cursor.offset.max(span.first_offset)
        });
        if let Some(span) = here {
            let offset = cursor.offset.max(span.first_offset);
            if offset < limit.offset
                && let Some(lent) = self.read_tail(slot, Cursor::at(offset), limit, bytes_max)
            {
                return self.end_read(number, Ok(lent));
            }
            return self.read_nothing(number, slot, level);
        }
        match partition.segment_after(segment) {
            Some(next) => {
                let bytes = Bytes { wished: READ_BYTES_MIN, least: READ_BYTES_MIN };
                self.read_segment(number, slot, (next, 0), bytes);
            }
            None => self.read_nothing(number, slot, level),
        }
    }

    /// There is no batch between the cursor and the end: only the cursor moves.
    fn read_nothing(&mut self, number: u64, slot: Slot, level: Level) {
        let next = Cursor::at(self.limit(slot, level).offset);
        let range = self.memory.range(self.anchor_run, 0, 0);
        self.memory.pin(self.anchor_run);
        self.end_read(number, Ok(Lent { range, next, pin: self.anchor_run.0 }));
    }

    /// A device gives wrong bytes once and right ones the next time, and so may one that an index
    /// was made from: damage is what is found twice, the second time from the segment's front where
    /// the place itself may be wrong. It fences the partition: what would be put behind it now, a
    /// repair would have to cut.
    fn read_damaged(
        &mut self,
        number: u64,
        (segment, position_bytes): (Offset, u64),
        what: String,
        is_first: bool,
    ) {
        let Some(job) = self.reads.get_mut(&number) else { return };
        let Want::Batches { cursor, level } = job.want else { return };
        let slot = job.slot;
        let partition = self.partition(slot);
        let path = partition.segment_path(segment);
        let damage = Damage { path, position_bytes, partition: Some(partition.id), what };
        let is_known = partition.rot.as_ref().is_some_and(|rot| {
            (&rot.damage.path, rot.damage.position_bytes) == (&damage.path, position_bytes)
        });
        let Some(job) = self.reads.get_mut(&number) else { return };
        if !is_known && !job.looks_again {
            job.looks_again = true;
            job.from_front |= is_first;
            job.want = Want::Batches { cursor: Cursor::at(cursor.offset), level };
            return self.continue_read(number);
        }
        self.fence(slot, segment, &damage);
        self.end_read(number, Err(ReadError::Damaged(damage)));
    }

    fn fence(&mut self, slot: Slot, segment: Offset, damage: &Damage) {
        let partition = self.partition_mut(slot);
        let Some(generation) = partition.generation(segment) else { return };
        let (durable, at) = (partition.durable, damage.position_bytes);
        let is_durable = (segment, at) < (durable.segment, durable.position);
        if is_durable && partition.why_fenced().is_none() {
            let damage = damage.clone();
            partition.rot = Some(Box::new(Rot { segment, generation, damage }));
        }
    }

    fn read_out_of_range(&mut self, number: u64, slot: Slot, asked: Offset) {
        let partition = self.partition(slot);
        let (start, end) = (partition.start, partition.shown.offset);
        self.end_read(number, Err(ReadError::OutOfRange { asked, start, end }));
    }

    fn end_read(&mut self, number: u64, result: Result<Lent, ReadError>) {
        // A read that found no room makes none: to say so would have all who wait try for ever.
        let makes_room = !matches!(result, Err(ReadError::NoRoom));
        self.notices.push_back(Notice::Read(ReadId(number), result));
        self.end_read_job(number);
        if makes_room {
            self.tell_room();
        }
    }

    fn end_read_job(&mut self, number: u64) {
        if let Some(job) = self.reads.remove(&number) {
            self.partition_mut(job.slot).jobs -= 1;
            if self.partition(job.slot).closing {
                self.continue_removal(job.slot);
            }
        }
    }
}
