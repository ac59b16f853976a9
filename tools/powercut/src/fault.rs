//! Errors of a disk that still has power: writes, reads, flushes.
//!
//! A fault of the server's journal is told by the first bytes of what is written, because an error
//! in the file system's own journal stops the whole file system, and then the server is not asked.

/// What a journal frame begins with (FORMAT.md).
const FRAME_MAGIC: &[u8] = b"PLJF";

/// What fails. The default is: nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    write: Option<Write>,
    reads: bool,
    flush: Option<Broken>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Write {
    /// The next write of a journal frame.
    NextFrame,
    /// Every write, whosever.
    Every,
}

/// What a failed flush leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The next flush fails, the journal frames that it covered are gone, and later ones succeed.
    AndForgets,
    /// Every flush fails; the cache stays.
    ForEver,
}

impl Faults {
    /// The next write of a journal frame fails, and all is well again.
    pub(crate) fn frame_once() -> Faults {
        Faults { write: Some(Write::NextFrame), ..Faults::default() }
    }

    /// Every write fails.
    pub(crate) fn writes() -> Faults {
        Faults { write: Some(Write::Every), ..Faults::default() }
    }

    /// Every read fails.
    pub(crate) fn reads() -> Faults {
        Faults { reads: true, ..Faults::default() }
    }

    /// The next flush fails and loses journal frames that it covered; later ones succeed.
    pub(crate) fn flush_once() -> Faults {
        Faults { flush: Some(Broken::AndForgets), ..Faults::default() }
    }

    /// Every flush fails.
    pub(crate) fn flushes() -> Faults {
        Faults { flush: Some(Broken::ForEver), ..Faults::default() }
    }

    /// Are these bytes a journal frame?
    pub(crate) fn is_frame(bytes: &[u8]) -> bool {
        bytes.starts_with(FRAME_MAGIC)
    }

    pub(crate) fn write_fails(&mut self, bytes: &[u8]) -> bool {
        match self.write {
            Some(Write::Every) => true,
            Some(Write::NextFrame) if Faults::is_frame(bytes) => {
                self.write = None;
                true
            }
            _ => false,
        }
    }

    pub(crate) fn read_fails(&self) -> bool {
        self.reads
    }

    pub(crate) fn flush_fails(&mut self) -> Option<Broken> {
        match self.flush {
            Some(Broken::AndForgets) => self.flush.take(),
            other => other,
        }
    }
}
