//! The bytes of a disk, kept in memory: only what was ever written takes room.
//!
//! A copy costs next to nothing, because copies have their chunks in common until one of them is
//! written to: an image before and after every cut can be kept.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

const CHUNK_BYTES: usize = 64 << 10;

/// What is on a disk. Bytes that were never written are zeros.
#[derive(Clone)]
pub(crate) struct Image {
    chunks: Vec<Option<Arc<[u8]>>>,
}

impl Image {
    /// An empty disk of this size, rounded up to whole chunks.
    pub(crate) fn new(bytes: u64) -> Image {
        Image { chunks: vec![None; bytes.div_ceil(CHUNK_BYTES as u64) as usize] }
    }

    /// Its size.
    pub(crate) fn bytes(&self) -> u64 {
        (self.chunks.len() * CHUNK_BYTES) as u64
    }

    /// Fills `into` from `position` on, which must lie within.
    pub(crate) fn read(&self, position: u64, into: &mut [u8]) {
        each_chunk(position, into.len(), |chunk, inside, outside| {
            let piece = &mut into[outside];
            match &self.chunks[chunk] {
                Some(bytes) => piece.copy_from_slice(&bytes[inside..inside + piece.len()]),
                None => piece.fill(0),
            }
        });
    }

    /// Writes `bytes` at `position`; all of it must lie within.
    pub(crate) fn write(&mut self, position: u64, bytes: &[u8]) {
        each_chunk(position, bytes.len(), |chunk, inside, outside| {
            let piece = &bytes[outside];
            let chunk = self.chunks[chunk].get_or_insert_with(|| vec![0; CHUNK_BYTES].into());
            Arc::make_mut(chunk)[inside..inside + piece.len()].copy_from_slice(piece);
        });
    }

    /// Writes it to a sparse file, which `losetup` takes.
    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        let file = File::create(path)?;
        file.set_len(self.bytes())?;
        for (index, chunk) in self.chunks.iter().enumerate() {
            if let Some(bytes) = chunk {
                file.write_all_at(bytes, (index * CHUNK_BYTES) as u64)?;
            }
        }
        Ok(())
    }
}

/// Calls with chunk, place in the chunk, and the range of the caller's bytes.
fn each_chunk(
    position: u64,
    bytes: usize,
    mut call: impl FnMut(usize, usize, std::ops::Range<usize>),
) {
    let mut done = 0;
    while done < bytes {
        let at = position as usize + done;
        let (chunk, inside) = (at / CHUNK_BYTES, at % CHUNK_BYTES);
        let step = (CHUNK_BYTES - inside).min(bytes - done);
        call(chunk, inside, done..done + step);
        done += step;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_across_chunks_is_read_and_the_rest_is_zeros() {
        let mut image = Image::new(1 << 20);
        let position = CHUNK_BYTES as u64 - 3;
        image.write(position, b"across");
        let mut read = [1; 10];
        image.read(position - 2, &mut read);
        assert_eq!(&read, b"\0\0across\0\0");
        image.read((1 << 20) - 10, &mut read);
        assert_eq!(read, [0; 10]);
    }

    #[test]
    fn a_copy_does_not_change_with_the_original() {
        let mut image = Image::new(CHUNK_BYTES as u64);
        image.write(0, b"before");
        let copy = image.clone();
        image.write(0, b"after!");
        let mut read = [0; 6];
        copy.read(0, &mut read);
        assert_eq!(&read, b"before");
    }
}
