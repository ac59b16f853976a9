//! The frame of the journal: one group commit.
//!
//! The header guards itself and names the body's check. What a newcomer gets wrong: a frame that
//! checks is not yet one that counts; the chain in `replay` decides that.

use plimsoll_device::BLOCK_BYTES;

use crate::encoding::{Reader, Writer, crc};
use crate::limits::FRAME_BYTES_MAX;
use crate::manifest::DataDirId;

/// Bytes of a frame's header.
pub const FRAME_HEADER_BYTES: usize = 80;

const MAGIC: u32 = u32::from_le_bytes(*b"PLJF");
const VERSION: u16 = 1;
const FLAG_CLEAN: u16 = 1;

/// Number of a frame in its journal; one more each frame, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The next frame's.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl core::fmt::Display for Sequence {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.fmt(f)
    }
}

/// What a frame says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Whether this is the last frame of a clean stop.
    pub clean: bool,
    /// Bytes of the whole frame: header, body, padding to whole blocks.
    pub length_bytes: usize,
    /// Bytes of the body.
    pub body_bytes: usize,
    /// The data directory that it belongs to.
    pub data_dir: DataDirId,
    /// The journal that it belongs to.
    pub journal: u16,
    /// The start of the server that wrote it.
    pub epoch: u64,
    /// Its number.
    pub sequence: Sequence,
    /// Where it begins, counted on over all laps of the circular file.
    pub position: u64,
    /// The last frame that was known to be on disk when this one was written.
    pub durable_through: Sequence,
    /// CRC-32C of the body.
    pub body_crc: u32,
    /// `check` of the frame before it; 0 for the first of a journal.
    pub previous_check: u32,
    /// CRC-32C of this header.
    pub check: u32,
}

impl FrameHeader {
    /// Length of a whole frame for a body of `body_bytes`.
    pub(crate) fn frame_bytes(body_bytes: usize) -> usize {
        (FRAME_HEADER_BYTES + body_bytes).next_multiple_of(BLOCK_BYTES)
    }

    /// Writes the header to the front of `out` and gives its check.
    pub(crate) fn encode(&self, out: &mut [u8]) -> u32 {
        let flags = if self.clean { FLAG_CLEAN } else { 0 };
        let mut writer = Writer::new(out);
        writer.u32(MAGIC).u32(0).u16(VERSION).u16(flags).u32(narrow(self.length_bytes));
        writer.bytes(&self.data_dir.0).u64(self.epoch).u64(self.sequence.0);
        writer.u64(self.position).u64(self.durable_through.0).u32(self.body_crc);
        writer.u32(narrow(self.body_bytes)).u32(self.previous_check);
        writer.u16(self.journal).u16(0);
        let check = crc(&out[8..FRAME_HEADER_BYTES]);
        Writer::new(&mut out[4..8]).u32(check);
        check
    }

    /// Reads a header that checks from the front of `bytes`; `None` when there is none.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let covered = bytes.get(8..FRAME_HEADER_BYTES)?;
        let mut reader = Reader::new(bytes);
        if reader.u32()? != MAGIC {
            return None;
        }
        let check = reader.u32()?;
        if check != crc(covered) || reader.u16()? != VERSION {
            return None;
        }
        let clean = reader.u16()? & FLAG_CLEAN != 0;
        let length_bytes = reader.u32()? as usize;
        let data_dir = DataDirId(reader.array()?);
        let epoch = reader.u64()?;
        let sequence = Sequence(reader.u64()?);
        let position = reader.u64()?;
        let durable_through = Sequence(reader.u64()?);
        let body_crc = reader.u32()?;
        let body_bytes = reader.u32()? as usize;
        let previous_check = reader.u32()?;
        let journal = reader.u16()?;
        if length_bytes > FRAME_BYTES_MAX
            || body_bytes > FRAME_BYTES_MAX
            || length_bytes != Self::frame_bytes(body_bytes)
        {
            return None;
        }
        Some(Self {
            clean,
            length_bytes,
            body_bytes,
            data_dir,
            journal,
            epoch,
            sequence,
            position,
            durable_through,
            body_crc,
            previous_check,
            check,
        })
    }

    /// How long the frame is that once began here, if what is left of its header is enough to tell
    /// that it was the one of this number at this place.
    pub(crate) fn torn_bytes(raw: &[u8], whose: DataDirId, at: (Sequence, u64)) -> Option<usize> {
        let mut reader = Reader::new(raw);
        let is_frame = reader.u32()? == MAGIC;
        let (_check, _version_and_flags) = (reader.u32()?, reader.u32()?);
        let length = reader.u32()? as usize;
        let is_ours = DataDirId(reader.array()?) == whose;
        let _epoch = reader.u64()?;
        let is_next = Sequence(reader.u64()?) == at.0;
        let is_here = reader.u64()? == at.1;
        let fields = [is_frame, is_ours, is_next, is_here];
        let is_torn = fields.into_iter().filter(|field| *field).count() >= 3;
        is_torn.then(|| length.clamp(BLOCK_BYTES, FRAME_BYTES_MAX).next_multiple_of(BLOCK_BYTES))
    }

    /// The body, out of the whole frame's bytes, if it matches its check.
    pub fn body<'a>(&self, frame: &'a [u8]) -> Option<&'a [u8]> {
        let body = frame.get(FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + self.body_bytes)?;
        (crc(body) == self.body_crc).then_some(body)
    }
}

fn narrow(length: usize) -> u32 {
    match u32::try_from(length) {
        Ok(length) => length,
        Err(_) => panic!("a frame of {length} bytes is beyond every limit"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> FrameHeader {
        FrameHeader {
            clean: true,
            length_bytes: BLOCK_BYTES,
            body_bytes: 100,
            data_dir: DataDirId([3; 16]),
            journal: 1,
            epoch: 4,
            sequence: Sequence(77),
            position: 8 * BLOCK_BYTES as u64,
            durable_through: Sequence(75),
            body_crc: 5,
            previous_check: 6,
            check: 0,
        }
    }

    #[test]
    fn a_header_reads_back() {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        let check = header().encode(&mut bytes);
        assert_eq!(FrameHeader::decode(&bytes), Some(FrameHeader { check, ..header() }));
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_noticed() {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        header().encode(&mut bytes);
        for bit in 0..FRAME_HEADER_BYTES * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FrameHeader::decode(&bytes), None, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
