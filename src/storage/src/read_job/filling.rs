//! Blocks of a segment on their way into a run of memory, in pieces that are in flight together.
//!
//! A segment's last bytes may be in memory only; they are copied behind the blocks.

use plimsoll_batch::Offset;
use plimsoll_device::{BLOCK_BYTES, DiskAction, IoError, Memory, OpenMode};

use super::{ReadJob, Reading, State};
use crate::encoding::{block_ceil, block_floor};
use crate::error::ReadError;
use crate::flight::Purpose;
use crate::identity::Slot;
use crate::limits::READ_PIECE_BYTES;
use crate::span::{SpanId, narrow};
use crate::storage::Storage;

/// How much to read: as wished, or, where memory is short, the least that is of use.
#[derive(Clone, Copy)]
pub(super) struct Bytes {
    pub(super) wished: usize,
    pub(super) least: usize,
}

impl Storage {
    pub(super) fn read_segment(
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
            generation: self.partition(slot).generation(segment).unwrap_or(0),
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
        let length = length.next_multiple_of(BLOCK_BYTES);
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
}
