//! A journal's file, laid out by `FORMAT.md` and not by the code under test: whatever its frames
//! hold, they check and follow one on the other, unless somebody wants otherwise.

use plimsoll_storage::FRAME_HEADER_BYTES;

use crate::directory::File;

pub(crate) const BLOCK_BYTES: usize = 4096;
/// The least that a journal may have: of a smaller one `verify` says nothing but that.
pub(crate) const FILE_BYTES: usize = 8 << 20;
const AREA_BYTES: usize = FILE_BYTES - 2 * BLOCK_BYTES;
/// So many blocks before the end of the area is the first place where a head stands.
const BEFORE_END: usize = 24;
/// The id of the data directory that the file belongs to.
pub(crate) const DIR: [u8; 16] = [3; 16];

/// The file so far.
pub(crate) struct JournalFile {
    file: File,
    position: u64,
    sequence: u64,
    previous_check: u32,
}

impl JournalFile {
    /// A journal without frames, whose head stands at the front, or, from block 1 on, near the end
    /// of the first lap or behind it.
    pub(crate) fn new(head_block: usize) -> Self {
        let mut file = File::default();
        file.lengthen(FILE_BYTES);
        let head = match head_block {
            0 => 0,
            block => (AREA_BYTES + (block - 1) * BLOCK_BYTES - BEFORE_END * BLOCK_BYTES) as u64,
        };
        file.write(0, &anchor(head));
        Self { file, position: head, sequence: 1, previous_check: 0 }
    }

    /// Adds a frame. `lag` says how far its `durable_through` stays behind itself; one byte of the
    /// header behind its check is changed by `value`, before the check is computed.
    pub(crate) fn push(&mut self, body: &[u8], lag: u64, (tweak, value): (usize, u8)) {
        let end = (FRAME_HEADER_BYTES + body.len()).next_multiple_of(BLOCK_BYTES);
        let at = (self.position % AREA_BYTES as u64) as usize;
        if at + end > AREA_BYTES {
            self.position += (AREA_BYTES - at) as u64;
        }
        let at = 2 * BLOCK_BYTES + (self.position % AREA_BYTES as u64) as usize;
        let durable_through = self.sequence.saturating_sub(lag);
        let frame = &mut vec![0; end][..];
        frame[..4].copy_from_slice(b"PLJF");
        frame[8..10].copy_from_slice(&1_u16.to_le_bytes());
        frame[12..16].copy_from_slice(&(end as u32).to_le_bytes());
        frame[16..32].copy_from_slice(&DIR);
        frame[32..40].copy_from_slice(&1_u64.to_le_bytes());
        frame[40..48].copy_from_slice(&self.sequence.to_le_bytes());
        frame[48..56].copy_from_slice(&self.position.to_le_bytes());
        frame[56..64].copy_from_slice(&durable_through.to_le_bytes());
        frame[68..72].copy_from_slice(&(body.len() as u32).to_le_bytes());
        frame[72..76].copy_from_slice(&self.previous_check.to_le_bytes());
        frame[FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + body.len()].copy_from_slice(body);
        frame[64..68].copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
        if value > 0 {
            frame[8 + tweak % 72] ^= value;
        }
        let check = crc32c::crc32c(&frame[8..FRAME_HEADER_BYTES]);
        frame[4..8].copy_from_slice(&check.to_le_bytes());
        self.file.write(at, frame);
        self.position += end as u64;
        self.sequence += 1;
        self.previous_check = check;
    }

    pub(crate) fn into_file(self) -> File {
        self.file
    }
}

fn anchor(head_position: u64) -> Vec<u8> {
    let mut file = vec![0; BLOCK_BYTES];
    file[..8].copy_from_slice(b"PLJANCHR");
    file[12..16].copy_from_slice(&1_u32.to_le_bytes());
    file[16..32].copy_from_slice(&DIR);
    file[40..48].copy_from_slice(&1_u64.to_le_bytes());
    file[48..56].copy_from_slice(&head_position.to_le_bytes());
    let check = crc32c::crc32c(&file[12..72]);
    file[8..12].copy_from_slice(&check.to_le_bytes());
    file
}
