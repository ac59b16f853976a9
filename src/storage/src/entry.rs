//! What a journal frame holds: entries, one after the other.
//!
//! Decoding trusts nothing: the bytes may be another version's, or anybody's. What a newcomer gets
//! wrong: an append entry without new data is no mistake, it says that older data has moved.

use plimsoll_batch::Offset;
use plimsoll_device::BLOCK_BYTES;

use crate::compacted::{COMPACTED_BYTES, COMPACTED_ENTRY_BYTES, Compacted, CompactedEntry};
use crate::encoding::{Reader, Writer};
use crate::identity::PartitionId;
use crate::producers::ProducersIn;
use crate::written::{Written, WrittenSpan};

/// Bytes of an append entry before its inline data.
pub(crate) const APPEND_BYTES: usize = 72;
/// Bytes of a snapshot entry before its segments and tail.
pub(crate) const SNAPSHOT_BYTES: usize = 72;
/// Bytes of a start entry.
pub(crate) const START_BYTES: usize = 32;
/// Bytes of a lease entry.
pub(crate) const LEASE_BYTES: usize = 24;
/// Bytes of one segment in a snapshot.
pub(crate) const SEALED_BYTES: usize = 16;
/// Bytes of when a segment was written.
const WRITTEN_BYTES: usize = 4;

/// Bytes of a producers entry before its list.
pub(crate) const PRODUCERS_BYTES: usize = 24;

/// No segment grows this far; sums of positions below it cannot overflow.
pub(crate) const POSITION_MAX: u64 = 1 << 60;
/// One extent is at most one span: a batch of the largest size, and the block that it shares.
const EXTENT_BYTES_MAX: u32 = (plimsoll_batch::BATCH_BYTES_MAX + (1 << 20)) as u32;

const KIND_APPEND: u8 = 1;
const KIND_SNAPSHOT: u8 = 2;
const KIND_LEASE: u8 = 3;
const KIND_PRODUCERS: u8 = 4;
const KIND_START: u8 = 0x20;
const KIND_COMPACTED: u8 = 0x21;

/// A snapshot says when data was written.
const SNAPSHOT_WRITTEN: u8 = 1;
/// A snapshot says what was compacted.
const SNAPSHOT_COMPACTED: u8 = 2;

/// A segment that takes no more data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Offset of its first record, and its name.
    pub base: Offset,
    /// Bytes of data in it.
    pub length_bytes: u64,
    /// When the last of it was written.
    pub written: Written,
    /// What compaction has made of it.
    pub compacted: Compacted,
}

/// Bytes of a segment that were written straight to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where in the segment, in whole blocks.
    pub position: u64,
    /// How many bytes, in whole blocks.
    pub length_bytes: u32,
    /// CRC-32C of these bytes.
    pub crc: u32,
}

impl Extent {
    /// The position after the last byte.
    pub fn end(&self) -> u64 {
        self.position + u64::from(self.length_bytes)
    }
}

/// New data of a partition, or the news that older data has moved to its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendEntry<'a> {
    /// Whose data.
    pub partition: PartitionId,
    /// In which segment.
    pub segment: Offset,
    /// Where the new data begins in the segment, in bytes.
    pub position: u64,
    /// Where it ends; equal to `position` when nothing is new.
    pub end: u64,
    /// The partition's next offset after this.
    pub next_offset: Offset,
    /// What was written straight to the segment, if anything.
    pub extent: Option<Extent>,
    /// When the new data was written.
    pub written: Written,
    /// The last bytes before `end` that no extent holds.
    pub inline: &'a [u8],
}

/// Everything about a partition: what came before it in the journal is no longer needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotEntry<'a> {
    /// Whose.
    pub partition: PartitionId,
    /// First offset that can be read.
    pub start: Offset,
    /// Next offset to be given out.
    pub next_offset: Offset,
    /// Offsets below this may have been shown.
    pub lease: Offset,
    /// Base of the segment that takes data.
    pub active: Offset,
    /// Where its data ends, in bytes.
    pub end: u64,
    /// Up to where the segment's file holds it.
    pub stored: u64,
    /// The sealed segments, all of them stored, as `SEALED_BYTES` each.
    sealed: &'a [u8],
    /// When the data of each sealed segment was written, then of the active one the first and the
    /// last, as u32 each; empty if the build that wrote it did not say.
    written: &'a [u8],
    /// What was compacted of each sealed segment, as `COMPACTED_BYTES` each; empty if nothing was.
    compacted: &'a [u8],
    /// The data from `stored` to `end`.
    pub tail: &'a [u8],
}

impl<'a> SnapshotEntry<'a> {
    /// The sealed segments, oldest first.
    pub fn sealed(&self) -> impl Iterator<Item = Sealed> + 'a {
        let snapshot = *self;
        self.sealed.chunks_exact(SEALED_BYTES).enumerate().filter_map(move |(at, bytes)| {
            let mut reader = Reader::new(bytes);
            let (base, length_bytes) = (Offset::new(reader.u64()?), reader.u64()?);
            let compacted = snapshot.compacted.get(COMPACTED_BYTES * at..);
            let compacted = compacted.and_then(|bytes| Compacted::read(&mut Reader::new(bytes)));
            let (written, compacted) = (snapshot.written_at(at), compacted.unwrap_or_default());
            Some(Sealed { base, length_bytes, written, compacted })
        })
    }

    /// When the data of the active segment was written.
    pub fn active_written(&self) -> WrittenSpan {
        let sealed = self.sealed.len() / SEALED_BYTES;
        WrittenSpan { first: self.written_at(sealed), last: self.written_at(sealed + 1) }
    }

    fn written_at(&self, at: usize) -> Written {
        let bytes = self.written.get(WRITTEN_BYTES * at..);
        let seconds = bytes.and_then(|bytes| Reader::new(bytes).u32());
        seconds.map_or(Written::UNKNOWN, Written)
    }
}

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// See [`AppendEntry`].
    Append(AppendEntry<'a>),
    /// See [`SnapshotEntry`].
    Snapshot(SnapshotEntry<'a>),
    /// Offsets of the partition below the second field may be shown from now on.
    Lease(PartitionId, Offset),
    /// See [`ProducersEntry`].
    Producers(ProducersEntry<'a>),
    /// See [`StartEntry`].
    Start(StartEntry),
    /// See [`CompactedEntry`].
    Compacted(CompactedEntry),
}

/// Idempotent producers of a partition as they are after the entry before it, which is a snapshot
/// or has data in an extent. Producers that it does not list stay as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducersEntry<'a> {
    /// Whose.
    pub partition: PartitionId,
    /// How many.
    pub count: u32,
    /// One after the other; they read.
    pub(crate) list: &'a [u8],
}

/// Records were deleted from the front of a partition, and segments with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartEntry {
    /// Whose.
    pub partition: PartitionId,
    /// First offset that can be read from now on.
    pub start: Offset,
    /// The first segment that still counts.
    pub first_segment: Offset,
}

/// The entries of a frame's body; ends with `None` after the last, or with an error item at the
/// first that does not read.
pub struct Entries<'a> {
    rest: &'a [u8],
}

/// An entry that is not one, in a frame that checks: written wrongly, or by another version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryError;

impl<'a> Entries<'a> {
    /// The entries in `body`.
    pub fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, EntryError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match decode(self.rest) {
            Some((entry, length)) => {
                self.rest = &self.rest[length..];
                Some(Ok(entry))
            }
            None => {
                self.rest = &[];
                Some(Err(EntryError))
            }
        }
    }
}

fn decode(bytes: &[u8]) -> Option<(Entry<'_>, usize)> {
    let mut reader = Reader::new(bytes);
    let kind = reader.u8()?;
    let flags = reader.u8()?;
    let _reserved = reader.u16()?;
    let length = reader.u32()? as usize;
    if length < LEASE_BYTES || !length.is_multiple_of(8) || length > bytes.len() {
        return None;
    }
    let partition = PartitionId { topic: reader.u32()?, partition: reader.u32()? };
    let mut body = Reader::new(bytes.get(16..length)?);
    let entry = match kind {
        KIND_APPEND => decode_append(partition, flags, &mut body)?,
        KIND_SNAPSHOT => decode_snapshot(partition, flags, &mut body)?,
        KIND_LEASE => Entry::Lease(partition, offset(body.u64()?)?),
        KIND_PRODUCERS => decode_producers(partition, length, &mut body)?,
        KIND_START => {
            let (start, first_segment) = (offset(body.u64()?)?, offset(body.u64()?)?);
            Entry::Start(StartEntry { partition, start, first_segment })
        }
        KIND_COMPACTED => Entry::Compacted(CompactedEntry::read(partition, &mut body)?),
        _ => return None,
    };
    Some((entry, length))
}

fn decode_append<'a>(
    partition: PartitionId,
    flags: u8,
    body: &mut Reader<'a>,
) -> Option<Entry<'a>> {
    let segment = offset(body.u64()?)?;
    let position = body.u64()?;
    let end = body.u64()?;
    let next_offset = offset(body.u64()?)?;
    let extent = Extent { position: body.u64()?, length_bytes: body.u32()?, crc: body.u32()? };
    let inline_bytes = body.u32()? as usize;
    let written = Written(body.u32()?);
    let inline = body.bytes(inline_bytes)?;
    let extent = (flags & 1 != 0).then_some(extent);
    // Written by nobody; refused here, so that nothing behind has to fear them.
    let is_sound = |extent: &Extent| {
        extent.length_bytes > 0
            && extent.length_bytes <= EXTENT_BYTES_MAX
            && extent.length_bytes.is_multiple_of(BLOCK_BYTES as u32)
            && extent.position.is_multiple_of(BLOCK_BYTES as u64)
            && extent.position <= POSITION_MAX
    };
    if position > end || end > POSITION_MAX || !extent.as_ref().is_none_or(is_sound) {
        return None;
    }
    Some(Entry::Append(AppendEntry {
        partition,
        segment,
        position,
        end,
        next_offset,
        extent,
        written,
        inline,
    }))
}

fn decode_snapshot<'a>(
    partition: PartitionId,
    flags: u8,
    body: &mut Reader<'a>,
) -> Option<Entry<'a>> {
    let start = offset(body.u64()?)?;
    let next_offset = offset(body.u64()?)?;
    let lease = offset(body.u64()?)?;
    let active = offset(body.u64()?)?;
    let end = body.u64()?;
    let stored = body.u64()?;
    let sealed_count = body.u32()? as usize;
    let tail_bytes = body.u32()? as usize;
    let sealed = body.bytes(sealed_count.checked_mul(SEALED_BYTES)?)?;
    let tail = body.bytes(tail_bytes)?;
    let mut list = |flag, bytes: Option<usize>, padding_bytes| match flags & flag {
        0 => Some(&[][..]),
        _ => body.bytes(padding_bytes).and_then(|_| body.bytes(bytes?)),
    };
    let padding_bytes = tail_bytes.next_multiple_of(8) - tail_bytes;
    let written_bytes = sealed_count.checked_add(2)?.checked_mul(WRITTEN_BYTES)?;
    let written = list(SNAPSHOT_WRITTEN, Some(written_bytes), padding_bytes)?;
    let padding_bytes = written_bytes.next_multiple_of(8) - written_bytes;
    let compacted_bytes = sealed_count.checked_mul(COMPACTED_BYTES);
    let compacted = list(SNAPSHOT_COMPACTED, compacted_bytes, padding_bytes)?;
    let lengths = sealed.chunks_exact(SEALED_BYTES).map(|bytes| Reader::new(&bytes[8..]).u64());
    if !lengths.into_iter().all(|length| length.is_some_and(|length| length <= POSITION_MAX)) {
        return None;
    }
    let follows = stored.checked_add(tail_bytes as u64).is_some_and(|held| held >= end);
    if end > POSITION_MAX || stored > POSITION_MAX || stored % BLOCK_BYTES as u64 != 0 || !follows {
        return None;
    }
    Some(Entry::Snapshot(SnapshotEntry {
        partition,
        start,
        next_offset,
        lease,
        active,
        end,
        stored,
        sealed,
        written,
        compacted,
        tail,
    }))
}

fn decode_producers<'a>(
    partition: PartitionId,
    length: usize,
    body: &mut Reader<'a>,
) -> Option<Entry<'a>> {
    let count = body.u32()?;
    let _reserved = body.u32()?;
    let list = body.bytes(length.checked_sub(PRODUCERS_BYTES)?)?;
    let is_sound = ProducersIn::new(list).reads_as(count);
    is_sound.then_some(Entry::Producers(ProducersEntry { partition, count, list }))
}

fn offset(value: u64) -> Option<Offset> {
    (value <= Offset::MAX.value()).then(|| Offset::new(value))
}

/// Bytes that an append entry takes.
pub(crate) fn append_bytes(inline_bytes: usize) -> usize {
    APPEND_BYTES + inline_bytes.next_multiple_of(8)
}

/// Bytes that a snapshot entry takes.
pub(crate) fn snapshot_bytes(sealed: &[Sealed], tail_bytes: usize) -> usize {
    snapshot_compacted_at(sealed.len(), tail_bytes) + compacted_bytes(sealed)
}

/// Bytes of what a snapshot says of what was compacted, padded to 8.
fn compacted_bytes(sealed: &[Sealed]) -> usize {
    let any = sealed.iter().any(|it| it.compacted != Compacted::default());
    if any { (sealed.len() * COMPACTED_BYTES).next_multiple_of(8) } else { 0 }
}

/// Where in a snapshot entry it stands what was compacted.
fn snapshot_compacted_at(sealed: usize, tail_bytes: usize) -> usize {
    let written_bytes = (sealed + 2) * WRITTEN_BYTES;
    snapshot_written_at(sealed, tail_bytes) + written_bytes.next_multiple_of(8)
}

/// Where in a snapshot entry, behind the padded tail, it stands when data was written.
pub(crate) fn snapshot_written_at(sealed: usize, tail_bytes: usize) -> usize {
    SNAPSHOT_BYTES + sealed * SEALED_BYTES + tail_bytes.next_multiple_of(8)
}

/// The fixed part of an append entry; its inline data follows, padded to 8 bytes.
pub(crate) fn encode_append(entry: &AppendEntry<'_>, inline_bytes: usize, out: &mut [u8]) {
    let extent = entry.extent.unwrap_or(Extent { position: 0, length_bytes: 0, crc: 0 });
    let mut writer = Writer::new(out);
    writer.u8(KIND_APPEND).u8(u8::from(entry.extent.is_some())).u16(0);
    writer.u32(narrow(append_bytes(inline_bytes)));
    writer.u32(entry.partition.topic).u32(entry.partition.partition);
    writer.u64(entry.segment.value()).u64(entry.position).u64(entry.end);
    writer.u64(entry.next_offset.value()).u64(extent.position);
    writer.u32(extent.length_bytes).u32(extent.crc).u32(narrow(inline_bytes));
    writer.u32(entry.written.0);
}

/// The fields of a snapshot without its lists.
pub(crate) struct SnapshotFields {
    pub(crate) partition: PartitionId,
    pub(crate) start: Offset,
    pub(crate) next_offset: Offset,
    pub(crate) lease: Offset,
    pub(crate) active: Offset,
    pub(crate) written: WrittenSpan,
    pub(crate) end: u64,
    pub(crate) stored: u64,
}

/// A snapshot entry but for its tail, for which it leaves room, padded to 8 bytes.
pub(crate) fn encode_snapshot(fields: &SnapshotFields, sealed: &[Sealed], out: &mut [u8]) {
    let tail_bytes = narrow((fields.end.saturating_sub(fields.stored)) as usize);
    let written_at = snapshot_written_at(sealed.len(), tail_bytes as usize);
    let compacted_at = snapshot_compacted_at(sealed.len(), tail_bytes as usize);
    let length = snapshot_bytes(sealed, tail_bytes as usize);
    let (out, compacted) = out.split_at_mut(compacted_at);
    let (out, written) = out.split_at_mut(written_at);
    let is_compacted = length > compacted_at;
    let mut writer = Writer::new(out);
    let flags = SNAPSHOT_WRITTEN | if is_compacted { SNAPSHOT_COMPACTED } else { 0 };
    writer.u8(KIND_SNAPSHOT).u8(flags).u16(0);
    writer.u32(narrow(length));
    writer.u32(fields.partition.topic).u32(fields.partition.partition);
    writer.u64(fields.start.value()).u64(fields.next_offset.value());
    writer.u64(fields.lease.value()).u64(fields.active.value());
    writer.u64(fields.end).u64(fields.stored);
    writer.u32(narrow(sealed.len())).u32(tail_bytes);
    for segment in sealed {
        writer.u64(segment.base.value()).u64(segment.length_bytes);
    }
    written.fill(0);
    let mut writer = Writer::new(written);
    for segment in sealed {
        writer.u32(segment.written.0);
    }
    writer.u32(fields.written.first.0).u32(fields.written.last.0);
    if is_compacted {
        compacted[..length - compacted_at].fill(0);
        let mut writer = Writer::new(compacted);
        sealed.iter().for_each(|segment| segment.compacted.write(&mut writer));
    }
}

/// An entry of what was compacted.
pub(crate) fn encode_compacted(entry: &CompactedEntry, writer: &mut Writer<'_>) {
    writer.u8(KIND_COMPACTED).u8(0).u16(0).u32(narrow(COMPACTED_ENTRY_BYTES));
    writer.u32(entry.partition.topic).u32(entry.partition.partition);
    entry.write(writer);
}

/// A start entry: first offset that can be read, and first segment that counts.
pub(crate) fn encode_start(
    partition: PartitionId,
    (start, first_segment): (Offset, Offset),
    writer: &mut Writer<'_>,
) {
    writer.u8(KIND_START).u8(0).u16(0).u32(narrow(START_BYTES));
    writer.u32(partition.topic).u32(partition.partition);
    writer.u64(start.value()).u64(first_segment.value());
}

pub(crate) fn encode_lease(partition: PartitionId, lease: Offset, out: &mut [u8]) {
    let mut writer = Writer::new(out);
    writer.u8(KIND_LEASE).u8(0).u16(0).u32(narrow(LEASE_BYTES));
    writer.u32(partition.topic).u32(partition.partition).u64(lease.value());
}

/// `list` is whole producers, `count` of them.
pub(crate) fn encode_producers(partition: PartitionId, count: u32, list: &[u8], out: &mut [u8]) {
    let mut writer = Writer::new(out);
    writer.u8(KIND_PRODUCERS).u8(0).u16(0).u32(narrow(PRODUCERS_BYTES + list.len()));
    writer.u32(partition.topic).u32(partition.partition).u32(count).u32(0).bytes(list);
}

fn narrow(length: usize) -> u32 {
    match u32::try_from(length) {
        Ok(length) => length,
        Err(_) => panic!("an entry of {length} bytes is beyond every limit"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    const PARTITION: PartitionId = PartitionId { topic: 1, partition: 2 };

    #[test]
    fn entries_read_back_in_order() {
        let inline = [9_u8; 13];
        let append = AppendEntry {
            partition: PARTITION,
            segment: Offset::new(5),
            position: 4096,
            end: 8205,
            next_offset: Offset::new(50),
            extent: Some(Extent { position: 4096, length_bytes: 4096, crc: 7 }),
            written: Written(77),
            inline: &inline,
        };
        let compacted = Compacted { generation: 3, cleaned: Written(75), tombstones: 2 };
        let sealed =
            [Sealed { base: Offset::new(5), length_bytes: 8205, written: Written(70), compacted }];
        let fields = SnapshotFields {
            partition: PARTITION,
            start: Offset::new(5),
            next_offset: Offset::new(50),
            lease: Offset::new(60),
            active: Offset::new(50),
            written: WrittenSpan { first: Written(71), last: Written(72) },
            end: 3,
            stored: 0,
        };
        let mut body = vec![0; append_bytes(13) + LEASE_BYTES + snapshot_bytes(&sealed, 3)];
        encode_append(&append, 13, &mut body);
        body[APPEND_BYTES..APPEND_BYTES + 13].copy_from_slice(&inline);
        encode_lease(PARTITION, Offset::new(99), &mut body[append_bytes(13)..]);
        let at = append_bytes(13) + LEASE_BYTES;
        encode_snapshot(&fields, &sealed, &mut body[at..]);
        body[at + SNAPSHOT_BYTES + SEALED_BYTES..][..3].copy_from_slice(b"abc");

        let entries: Vec<_> = Entries::new(&body).map(Result::unwrap).collect();
        assert_eq!(entries[0], Entry::Append(append));
        assert_eq!(entries[1], Entry::Lease(PARTITION, Offset::new(99)));
        let Entry::Snapshot(snapshot) = entries[2] else { panic!("a snapshot comes third") };
        assert_eq!(snapshot.tail, b"abc");
        assert_eq!(snapshot.sealed().collect::<Vec<_>>(), sealed);
        assert_eq!(snapshot.active_written(), fields.written);
        assert_eq!(entries.len(), 3);
    }

    /// As builds before retention wrote it: without the flag, and nothing behind the tail.
    #[test]
    fn a_snapshot_that_does_not_say_when_data_was_written_is_read() {
        let fields = SnapshotFields {
            partition: PARTITION,
            start: Offset::new(5),
            next_offset: Offset::new(50),
            lease: Offset::new(60),
            active: Offset::new(50),
            written: WrittenSpan::default(),
            end: 3,
            stored: 0,
        };
        let (base, written, compacted) = (Offset::new(5), Written::UNKNOWN, Compacted::default());
        let sealed = [Sealed { base, length_bytes: 8205, written, compacted }];
        let mut body = vec![0; snapshot_bytes(&sealed, 3)];
        encode_snapshot(&fields, &sealed, &mut body);
        body.truncate(snapshot_written_at(1, 3));
        body[1] = 0;
        let length = narrow(body.len());
        body[4..8].copy_from_slice(&length.to_le_bytes());
        let Some(Ok(Entry::Snapshot(snapshot))) = Entries::new(&body).next() else {
            panic!("it is a snapshot")
        };
        assert_eq!(snapshot.sealed().collect::<Vec<_>>(), sealed);
        assert_eq!(snapshot.active_written(), WrittenSpan::default());
        assert_eq!(snapshot.tail, [0; 3]);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            for entry in Entries::new(&bytes) {
                if let Ok(Entry::Snapshot(snapshot)) = entry {
                    prop_assert!(snapshot.sealed().count() * SEALED_BYTES <= bytes.len());
                }
            }
        }
    }
}
