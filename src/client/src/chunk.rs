//! Bytes on their way out.
//!
//! The session keeps a produce frame until its fate is known, because a refused batch is sent
//! again; the driver holds the same bytes while it writes them. A [`Chunk`] is that shared hold:
//! no copy is made for either side.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Deref;

/// Whole frames, ready to be written to the connection in the order in which they were polled.
#[derive(Clone, Debug)]
pub struct Chunk(Arc<Vec<u8>>);

impl Chunk {
    pub(crate) fn new(bytes: Vec<u8>) -> Chunk {
        Chunk(Arc::new(bytes))
    }

    /// The bytes to change them; they are copied only if a driver still holds them.
    pub(crate) fn make_mut(&mut self) -> &mut Vec<u8> {
        Arc::make_mut(&mut self.0)
    }

    /// The memory, to be used again, unless a driver still holds it.
    pub(crate) fn into_memory(self) -> Option<Vec<u8>> {
        Arc::try_unwrap(self.0).ok().map(|mut bytes| {
            bytes.clear();
            bytes
        })
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        self
    }
}
