//! Reads from segments: find the place, read some blocks, check every batch, lend them.
//!
//! A segment's last bytes may be in memory only, as the front of the span that follows what was
//! read; they are copied behind the blocks, so that a reader always gets whole batches in one
//! piece.

use plimsoll_batch::{Batch, BatchError, BatchHeader, BatchLimits, Offset};
use plimsoll_device::{DiskAction, FileId, IoError, Memory, OpenMode};

use alloc::format;
use alloc::string::String;

use crate::encoding::{block_ceil, block_floor};
use crate::error::{Damage, Failure, ReadError};
use crate::flight::Purpose;
use crate::identity::Slot;
use crate::index::SparseIndex;
use crate::level::Level;
use crate::limits::{READ_BYTES_MAX, READ_PIECE_BYTES, READS_MAX};
use crate::notice::Notice;
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

    /// Finds the place from which every record of `timestamp_ms` or later will be seen;
    /// [`Notice::Located`] answers.
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

    fn locate_batches(&mut self, number: u64, slot: Slot, cursor: Cursor) {
        let Some(job) = self.reads.get(&number) else { return };
        let from_front = job.from_front;
        let (indexed, bytes) = (job.indexed, job.bytes_max.clamp(READ_BYTES_MIN, READ_BYTES_MAX));
        let segment = self.partition(slot).segment_of(cursor.offset);
        let hint = match cursor.hint() {
            Some((hinted, position)) if hinted == segment => Some(position),
            // The end of the segment before: the next one's front.
            Some(_) if cursor.offset == segment => Some(0),
            _ => None,
        };
        let end = self.file_data_end(slot, segment);
        let position = match hint.filter(|position| *position < end) {
            Some(position) => Some(position),
            None if cursor.offset <= segment || from_front => Some(0),
            None => self.indexed_place(slot, segment, cursor.offset, indexed),
        };
        match position {
            Some(position) => {
                let bytes = Bytes { wished: bytes, least: READ_BYTES_MIN };
                self.read_segment(number, slot, (segment, position), bytes);
            }
            None => self.load_index_for(number, slot, segment),
        }
    }

    fn load_index_for(&mut self, number: u64, slot: Slot, segment: Offset) {
        if let Some(job) = self.reads.get_mut(&number) {
            job.indexed = true;
        }
        self.load_index(slot, segment, number);
    }

    /// A place at or before `offset`, if the segment's index is in memory; with `any`, the best
    /// that there is.
    fn indexed_place(
        &mut self,
        slot: Slot,
        segment: Offset,
        offset: Offset,
        any: bool,
    ) -> Option<u64> {
        let partition = self.partition(slot);
        let id = partition.id;
        let place = |index: &SparseIndex| index.before(offset).map_or(0, |entry| entry.position);
        if segment == partition.active {
            let usable = any || self.active_is_indexed(slot);
            return usable.then(|| place(&self.partition(slot).index));
        }
        let found = self.indexes.find(id, segment).map(place);
        found.or(any.then_some(0))
    }

    fn locate_time(&mut self, number: u64, slot: Slot, timestamp_ms: i64, segment: Offset) {
        let indexed = self.reads.get(&number).is_some_and(|job| job.indexed);
        let partition = self.partition(slot);
        let (id, shown) = (partition.id, partition.shown.offset);
        let length = partition.segment_length(segment);
        let active = segment == partition.active;
        let usable = !active || indexed || self.active_is_indexed(slot);
        let index = if active {
            usable.then_some(&self.partition(slot).index)
        } else {
            self.indexes.find(id, segment)
        };
        let Some(index) = index else {
            if indexed {
                // It did not stay in memory for long enough: the segment's front is right too.
                return self.located(number, segment);
            }
            return self.load_index_for(number, slot, segment);
        };
        let found = match index.first_at_time(timestamp_ms) {
            Some(entry) => Some(entry.offset),
            // What the index does not cover may be of any time.
            None if Some(index.through()) < length => {
                Some(index.entries().last().map_or(segment, |last| last.offset))
            }
            None => None,
        };
        match (found, self.partition(slot).segment_after(segment)) {
            (Some(offset), _) => self.located(number, offset.min(shown)),
            (None, Some(next)) => {
                if let Some(job) = self.reads.get_mut(&number) {
                    job.want = Want::Time { timestamp_ms, segment: next };
                    job.indexed = false;
                }
                self.continue_read(number);
            }
            (None, None) => self.located(number, shown),
        }
    }

    /// Whether the active segment's index covers all that is in the file.
    fn active_is_indexed(&self, slot: Slot) -> bool {
        let partition = self.partition(slot);
        partition.index.through() + plimsoll_batch::HEADER_BYTES as u64
            > self.file_end(slot, partition.active)
    }

    fn located(&mut self, number: u64, offset: Offset) {
        self.notices.push_back(Notice::Located(ReadId(number), Ok(offset)));
        self.end_read_job(number);
        self.tell_room();
    }

    /// Up to where the segment's file itself holds data that memory does not hold.
    pub(crate) fn file_end(&self, slot: Slot, segment: Offset) -> u64 {
        let partition = self.partition(slot);
        let spans = partition.spans.iter().map(|id| self.memory.span(*id));
        match spans.into_iter().find(|span| span.segment == segment) {
            Some(first) => first.position,
            None => partition.segment_length(segment).unwrap_or(0),
        }
    }

    /// Up to where a reader that reads the segment's file finds data: in the file, and right
    /// behind it at the front of the first span.
    pub(crate) fn file_data_end(&self, slot: Slot, segment: Offset) -> u64 {
        let partition = self.partition(slot);
        let spans = partition.spans.iter().map(|id| self.memory.span(*id));
        match spans.into_iter().find(|span| span.segment == segment) {
            Some(first) => first.position + u64::from(first.carried),
            None => partition.segment_length(segment).unwrap_or(0),
        }
    }

    fn read_segment(
        &mut self,
        number: u64,
        slot: Slot,
        (segment, position): (Offset, u64),
        bytes: Bytes,
    ) {
        let end = self.file_data_end(slot, segment);
        if position >= end {
            return self.read_behind_file(number, slot, segment);
        }
        let start = block_floor(position);
        let upto = |bytes: usize| block_ceil(position + bytes as u64).min(end);
        let taken = [bytes.wished, bytes.least].into_iter().find_map(|bytes| {
            let to = upto(bytes);
            Some((to, self.take_read_run(narrow(to - start) as usize)?))
        });
        let Some((to, run)) = taken else {
            self.relieve_memory();
            self.end_read(number, Err(ReadError::NoRoom));
            self.read_room_wanted = true;
            return;
        };
        let length = narrow(to - start);
        // What the file does not hold yet is at the front of the first span.
        let stored = self.copy_carried(slot, segment, run, (start, to));
        let path = self.partition(slot).segment_path(segment);
        let blocks = narrow(block_ceil(stored.saturating_sub(start)));
        let file =
            if blocks > 0 { self.hold_file(&path, OpenMode::Existing) } else { self.journal_file };
        let pieces = (blocks as usize).div_ceil(READ_PIECE_BYTES);
        let reading = Reading {
            run,
            file,
            segment,
            start,
            position,
            length,
            pieces,
            error: None,
            short: false,
        };
        if let Some(job) = self.reads.get_mut(&number) {
            job.state = State::Reading(reading);
        }
        if pieces == 0 {
            return self.read_arrived(number);
        }
        for piece in 0..pieces {
            let from = piece * READ_PIECE_BYTES;
            let upto = (from + READ_PIECE_BYTES).min(blocks as usize);
            let range = self.memory.range(run, narrow(from as u64), narrow(upto as u64));
            let action = DiskAction::Read {
                file,
                position_bytes: start + from as u64,
                target: Memory::Arena(range),
            };
            self.submit_on(file, Purpose::ReadPiece(number, run), action);
        }
    }

    fn take_read_run(&mut self, length: usize) -> Option<SpanId> {
        let length = length.next_multiple_of(plimsoll_device::BLOCK_BYTES);
        loop {
            if let Some(run) = self.memory.take_run(length) {
                return Some(run);
            }
            if !self.evict_oldest() {
                break;
            }
        }
        let kept = self.read_run;
        self.memory.is_idle_run(kept, length).then(|| {
            self.memory.pin(kept);
            kept
        })
    }

    /// Copies the part of `start .. to` that only memory holds to its place in the run; gives
    /// the position up to which the file has the data.
    fn copy_carried(
        &mut self,
        slot: Slot,
        segment: Offset,
        run: SpanId,
        (start, to): (u64, u64),
    ) -> u64 {
        let spans = self.partition(slot).spans.iter().copied();
        let first = spans.into_iter().find(|id| self.memory.span(*id).segment == segment);
        let Some(first) = first else { return to };
        let span = self.memory.span(first);
        let position = span.position;
        if to <= position {
            return to;
        }
        let from = start.max(position);
        let source = self.memory.range(first, narrow(from - position), narrow(to - position));
        let target = self.memory.range(run, narrow(from - start), narrow(to - start));
        self.memory.arena_mut().copy_within(source, target.start_bytes);
        from
    }

    pub(crate) fn handle_read_piece(
        &mut self,
        number: u64,
        _run: SpanId,
        memory: &Memory,
        result: Result<usize, IoError>,
    ) {
        let Some(ReadJob { state: State::Reading(reading), .. }) = self.reads.get_mut(&number)
        else {
            return;
        };
        match result {
            Ok(length) => reading.short |= length < memory.length_bytes(),
            Err(error) => reading.error = Some(error),
        }
        reading.pieces -= 1;
        if reading.pieces == 0 {
            let file = reading.file;
            self.files.release(file);
            self.read_arrived(number);
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
                let shown = self.limit(slot, Level::Memory).offset;
                let doubts = !job.from_front && start + u64::from(first) > 0;
                self.check_batches(run, part, (cursor.offset, limit, shown), (bytes_max, doubts))
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
            let lent = to - from + 2 * plimsoll_device::BLOCK_BYTES as u32;
            let read_bytes = if lent >= narrow(bytes_max as u64) { lent } else { 0 };
            let next = Cursor { offset: next_offset, segment, position_bytes, read_bytes };
            return self.end_read(number, Ok(Lent { range, next, pin: run.0 }));
        }
        self.memory.unpin(run);
        match checked {
            Checked::Further { at, needed } => {
                let all = start + u64::from(length) >= self.file_data_end(slot, segment);
                if at == first && all {
                    let what = String::from("a batch does not end where its segment does");
                    return self.read_damaged(number, slot, (segment, start + u64::from(at)), what);
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
                self.read_damaged(number, slot, (segment, start + u64::from(at)), what);
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

    /// Checks batch after batch from `first` to `length` of the run.
    fn check_batches(
        &self,
        run: SpanId,
        (first, length): (u32, u32),
        (wanted, limit, shown): (Offset, Offset, Offset),
        (bytes_max, doubts): (u32, bool),
    ) -> Checked {
        let mut lend: Option<(u32, u32, Offset)> = None;
        let (mut at, mut before) = (first, None);
        loop {
            let checked =
                match (Batch::validate_first(self.memory.bytes(run, at, length), &ANY), lend) {
                    (Ok(batch), _) => Ok(*batch.header()),
                    (Err(BatchError::TooShort { needed, .. }), None) => {
                        return Checked::Further { at, needed };
                    }
                    (Err(error), _) => Err(format!("{error}")),
                };
            // A batch's check does not cover its offset.
            let checked = checked.and_then(|header| match header.next_offset() <= shown {
                true => Ok(header),
                false => Err(format!("offset {} is beyond the end", header.base_offset)),
            });
            let checked = checked.and_then(|header| match follows(before.as_ref(), &header) {
                true => Ok(header),
                false => Err(format!("offset {} does not follow", header.base_offset)),
            });
            let header = match checked {
                Ok(header) => header,
                Err(what) => {
                    // The batches before it are sound; the next read sees what this is.
                    return match lend {
                        Some((from, to, next_offset)) => Checked::Lend { from, to, next_offset },
                        None => Checked::Damaged { at, what },
                    };
                }
            };
            let next_at = at + narrow(header.length_bytes as u64);
            let enough = lend.is_some_and(|(from, ..)| next_at - from > bytes_max);
            if header.next_offset() > limit || enough {
                return match lend {
                    Some((from, to, next_offset)) => Checked::Lend { from, to, next_offset },
                    None => Checked::Nothing,
                };
            }
            if doubts && before.is_none() && header.base_offset > wanted {
                return Checked::Doubtful;
            }
            if header.next_offset() > wanted {
                let from = lend.map_or(at, |(from, ..)| from);
                lend = Some((from, next_at, header.next_offset()));
            }
            before = Some(header);
            at = next_at;
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

    fn read_damaged(
        &mut self,
        number: u64,
        slot: Slot,
        (segment, position_bytes): (Offset, u64),
        what: String,
    ) {
        let partition = self.partition(slot);
        let damage = Damage {
            path: partition.segment_path(segment),
            position_bytes,
            partition: Some(partition.id),
            what,
        };
        self.end_read(number, Err(ReadError::Damaged(damage)));
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

/// Whether a batch may come right behind another. A batch's check does not cover its offset; but
/// offsets are left out only between two starts of the server, and each start has its epoch.
pub(crate) fn follows(before: Option<&BatchHeader>, header: &BatchHeader) -> bool {
    before.is_none_or(|before| match header.leader_epoch == before.leader_epoch {
        true => header.base_offset == before.next_offset(),
        false => {
            header.leader_epoch > before.leader_epoch && header.base_offset >= before.next_offset()
        }
    })
}

/// Whatever was appended under its partition's limit can be read under any.
const ANY: BatchLimits = BatchLimits { batch_bytes_max: plimsoll_batch::BATCH_BYTES_MAX };

/// How much to read: as wished, or, where memory is short, the least that is of use.
#[derive(Clone, Copy)]
struct Bytes {
    wished: usize,
    least: usize,
}

/// What the blocks that were read came to.
enum Checked {
    /// Batches to lend.
    Lend { from: u32, to: u32, next_offset: Offset },
    /// The batch at `at` is not wholly there; `needed` bytes of it are.
    Further { at: u32, needed: usize },
    /// The first batch is beyond the wanted offset. Either offsets were left out there, or its
    /// offset is damaged: the batch before it tells.
    Doubtful,
    /// What may be shown ends before the wanted offset.
    Nothing,
    /// A batch that does not check.
    Damaged { at: u32, what: String },
}
