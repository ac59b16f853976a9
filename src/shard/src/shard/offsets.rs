//! Offsets: where a partition begins or ends, or where a time lies in it.
//!
//! Beginning and end are known at once; only a time may need the disk. Storage knows a place that
//! is early enough, and from there the headers of batches are looked at one by one. What a newcomer
//! gets wrong: the end depends on the level that the client asks for, as what it would be shown
//! does.

use plimsoll_batch::{BatchHeader, Offset};
use plimsoll_storage::{Cursor, Lent, Level, PartitionId, ReadError, ReadId, ReadOutcome, Slot};
use plimsoll_wire::{
    CorrelationId, ErrorCode, Handle, Offsets, OffsetsResponse, OffsetsWhat, Opcode, ShardIndex,
};

use super::Shard;
use super::answers::Problem;
use super::notices::PendingRead;
use crate::groups::GroupName;
use crate::level::of_ack;
use crate::mail::{Client, Ended, Letter, MarksLetter};
use crate::report::Report;

/// How much is looked at for a time in one read.
const SEEK_BYTES: usize = 256 << 10;

/// Who wants to know where a time lies.
#[derive(Clone, Debug)]
pub(super) struct Seek {
    asker: Asker,
    slot: Slot,
    /// The slot may be another partition's before the answer has come.
    partition: PartitionId,
    visible: Level,
    unix_ms: i64,
}

#[derive(Clone, Debug)]
enum Asker {
    Client {
        client: Client,
        correlation: CorrelationId,
        handle: Handle,
    },
    /// A group in share mode that begins there, and the shard that keeps it.
    Group {
        keeper: ShardIndex,
        name: GroupName,
    },
}

impl Shard {
    pub(super) fn serve_offsets(
        &mut self,
        client: Client,
        correlation: CorrelationId,
        slot: Slot,
        request: &Offsets,
    ) {
        let marks = self.storage.watermarks(slot);
        let handle = request.handle;
        match request.what {
            OffsetsWhat::Beginning => {
                self.answer_offset(client, correlation, handle, Ok(marks.start));
            }
            OffsetsWhat::End => {
                let end = marks.at(of_ack(request.visible.level()));
                self.answer_offset(client, correlation, handle, Ok(end));
            }
            OffsetsWhat::Timestamp { unix_ms } => {
                let Some(partition) = self.partition(slot).map(|partition| partition.id) else {
                    return;
                };
                let visible = of_ack(request.visible.level());
                let asker = Asker::Client { client, correlation, handle };
                self.locate(Seek { asker, slot, partition, visible, unix_ms });
            }
        }
    }

    /// A group in share mode begins with a time in a partition of this shard.
    pub(super) fn seek_for_share(
        &mut self,
        keeper: ShardIndex,
        partition: PartitionId,
        name: GroupName,
        unix_ms: i64,
    ) {
        let asker = Asker::Group { keeper, name };
        match self.storage.slot(partition) {
            Some(slot) => {
                self.locate(Seek { asker, slot, partition, visible: Level::Disk, unix_ms });
            }
            None => self.answer_seek(&asker, partition, None),
        }
    }

    fn locate(&mut self, seek: Seek) {
        match self.storage.locate_timestamp(seek.slot, seek.unix_ms) {
            Ok(read) => {
                self.reads.insert(read, PendingRead::Locate(seek));
            }
            Err(error) => self.end_seek(&seek, Err(error)),
        }
    }

    /// Storage knows a place from which every record of that time or later will be seen.
    pub(super) fn located(&mut self, read: ReadId, place: Result<Offset, ReadError>) {
        let Some(PendingRead::Locate(seek)) = self.reads.remove(&read) else { return };
        match place {
            Ok(offset) => self.seek(&seek, Cursor::at(offset)),
            Err(error) => self.end_seek(&seek, Err(error)),
        }
    }

    /// Looks from `cursor` on for the first batch that reaches into the time.
    fn seek(&mut self, seek: &Seek, mut cursor: Cursor) {
        loop {
            if self.partition(seek.slot).is_none_or(|partition| partition.id != seek.partition) {
                return self.answer_seek(&seek.asker, seek.partition, None);
            }
            match self.storage.read(seek.slot, cursor, seek.visible, SEEK_BYTES) {
                Ok(ReadOutcome::Ready(lent)) => match self.look_into(seek, lent) {
                    Ok(offset) => return self.end_seek(seek, Ok(offset)),
                    Err(next) => cursor = next,
                },
                Ok(ReadOutcome::UpToDate) => {
                    let end = self.storage.watermarks(seek.slot).at(seek.visible);
                    return self.end_seek(seek, Ok(end));
                }
                Ok(ReadOutcome::Pending(read)) => {
                    self.reads.insert(read, PendingRead::Seek(seek.clone()));
                    return;
                }
                // Deleted while it was looked for.
                Err(ReadError::OutOfRange { asked, start, .. }) if asked < start => {
                    cursor = Cursor::at(start);
                }
                Err(error) => return self.end_seek(seek, Err(error)),
            }
        }
    }

    /// Goes on with what came from the disk.
    pub(super) fn seek_on(&mut self, seek: &Seek, result: Result<Lent, ReadError>) {
        match result.map(|lent| self.look_into(seek, lent)) {
            Ok(Ok(offset)) => self.end_seek(seek, Ok(offset)),
            Ok(Err(next)) => self.seek(seek, next),
            Err(ReadError::OutOfRange { asked, start, .. }) if asked < start => {
                self.seek(seek, Cursor::at(start));
            }
            Err(error) => self.end_seek(seek, Err(error)),
        }
    }

    /// The base of the first batch that reaches into the time, or where to look next.
    fn look_into(&mut self, seek: &Seek, lent: Lent) -> Result<Offset, Cursor> {
        let (mut rest, next) = (self.storage.bytes(lent.range), lent.next);
        let mut found = Err(next);
        while let Ok(header) = BatchHeader::decode(rest) {
            if header.max_timestamp_ms >= seek.unix_ms {
                // The partition may begin within the batch.
                let start = self.storage.watermarks(seek.slot).start;
                found = Ok(header.base_offset.max(start));
                break;
            }
            rest = rest.get(header.length_bytes..).unwrap_or_default();
        }
        self.storage.release(lent);
        found
    }

    fn end_seek(&mut self, seek: &Seek, offset: Result<Offset, ReadError>) {
        if let Err(ReadError::Damaged(damage)) = &offset {
            self.reports.push_back(Report::Damaged(damage.clone()));
        }
        self.answer_seek(&seek.asker, seek.partition, Some(offset));
    }

    /// Tells whoever asked where the time lies; none if the partition is gone.
    fn answer_seek(
        &mut self,
        asker: &Asker,
        partition: PartitionId,
        offset: Option<Result<Offset, ReadError>>,
    ) {
        match (asker, offset) {
            (&Asker::Client { client, correlation, handle }, Some(offset)) => {
                self.answer_offset(client, correlation, handle, offset);
            }
            (&Asker::Client { client, correlation, handle }, None) => {
                let problem = Problem::of_handle(ErrorCode::TopicNotFound, handle);
                let opcode = Opcode::Offsets;
                self.answer_problem(client, Ended::REQUEST, opcode, correlation, problem);
            }
            (Asker::Group { keeper, name }, offset) => {
                let (keeper, group) = (*keeper, GroupName::clone(name));
                let start = offset.and_then(Result::ok);
                if keeper == self.config.index {
                    self.share_sought(partition, &group, start);
                } else {
                    let letter = MarksLetter::Sought { partition, group, start };
                    self.post(keeper, Letter::Marks(letter));
                }
            }
        }
    }

    pub(super) fn answer_offset(
        &mut self,
        client: Client,
        correlation: CorrelationId,
        handle: Handle,
        offset: Result<Offset, ReadError>,
    ) {
        match offset {
            Ok(offset) => self.answer(client, Ended::REQUEST, |out| {
                OffsetsResponse { offset }.encode(correlation, out);
            }),
            Err(error) => {
                let problem = Problem::of_read(handle, &error);
                self.answer_problem(client, Ended::REQUEST, Opcode::Offsets, correlation, problem);
            }
        }
    }
}
