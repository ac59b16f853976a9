//! What the logic asks the machine to do.
//!
//! Every disk operation and every send or receive has exactly one completion. Operations in flight
//! are never ordered among themselves: whoever needs "A, then B" waits for A's completion.

use alloc::string::String;
use alloc::vec::Vec;

use crate::arena::ArenaRange;
use crate::buffer::Buffer;

/// Names an operation for its issuer; comes back in the completion untouched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// A file, by the number under which the logic opened it. One number means one open file; the
/// logic may use a number again after the completion of its `Close`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u32);

/// A connected socket. The machine chooses the number, and gives it out again only after the
/// [`SocketCompletion::Closed`](crate::SocketCompletion::Closed) of its last use. A socket may move
/// to another shard of the same process while no operation on it is in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub u32);

/// One request from the logic to the machine.
#[derive(Debug)]
pub enum Op {
    /// Something with files.
    Disk(DiskOp),
    /// Something with sockets.
    Socket(SocketOp),
}

/// A disk operation and the token that its completion will carry.
#[derive(Debug)]
pub struct DiskOp {
    /// Comes back in the completion.
    pub token: Token,
    /// What to do.
    pub action: DiskAction,
}

/// How a file is opened. All files are opened for direct reading and writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// The file must exist.
    Existing,
    /// The file must not exist; it is created, empty.
    CreateNew,
    /// The file is created, or emptied if it exists.
    CreateEmpty,
}

/// What a disk operation does. Paths are relative to the data directory, parts separated by `/`.
#[derive(Debug)]
pub enum DiskAction {
    /// Opens `path` under the number `file`. Completes with [`DiskResult::Opened`].
    ///
    /// [`DiskResult::Opened`]: crate::DiskResult::Opened
    Open {
        /// The number under which later operations name the file.
        file: FileId,
        /// Which file.
        path: String,
        /// Whether it must exist.
        mode: OpenMode,
    },
    /// Closes the file. Its number is free after the completion.
    Close {
        /// Which file.
        file: FileId,
    },
    /// Gives the file blocks up to `length_bytes` and that length. Its content there reads as
    /// zeros. Not durable before a `SyncData` of the file.
    Allocate {
        /// Which file.
        file: FileId,
        /// The file's length afterwards, in bytes; never less than now, and not 0, which the kernel
        /// refuses.
        length_bytes: u64,
    },
    /// Writes `source` at `position_bytes`, past every cache of the kernel. Completes with
    /// [`DiskResult::Written`](crate::DiskResult::Written) and the number of bytes, which may be
    /// less than asked: whoever needs all of them checks. Not durable before a flush that was
    /// submitted after this completion has succeeded, unless `durable`.
    Write {
        /// Which file.
        file: FileId,
        /// Where in the file, in bytes; a multiple of [`BLOCK_BYTES`](crate::BLOCK_BYTES).
        position_bytes: u64,
        /// What; its length is a multiple of [`BLOCK_BYTES`](crate::BLOCK_BYTES).
        source: Memory,
        /// Complete only when the bytes are durable (RWF_DSYNC).
        durable: bool,
    },
    /// Reads into `target` from `position_bytes`. Completes with
    /// [`DiskResult::Read`](crate::DiskResult::Read) and the number of bytes, less than asked at
    /// the end of the file.
    Read {
        /// Which file.
        file: FileId,
        /// Where in the file, in bytes; a multiple of [`BLOCK_BYTES`](crate::BLOCK_BYTES).
        position_bytes: u64,
        /// Where to; its length is what is read.
        target: Memory,
    },
    /// Makes durable every write to the file that completed before this was submitted, and what is
    /// needed to read it again (fdatasync). A failed one is never to be repeated and believed.
    SyncData {
        /// Which file.
        file: FileId,
    },
    /// As `SyncData`, for every file in the data directory's file system (syncfs).
    SyncAll,
    /// Makes the names in a directory durable (fsync of the directory). `""` is the data directory.
    SyncDirectory {
        /// Which directory.
        path: String,
    },
    /// Creates a directory. Its parent must exist.
    CreateDirectory {
        /// Which directory.
        path: String,
    },
    /// Names of the entries of a directory, in no order. Completes with
    /// [`DiskResult::Listed`](crate::DiskResult::Listed).
    List {
        /// Which directory.
        path: String,
    },
    /// Renames a file, replacing `to` if it exists. Not durable before a `SyncDirectory`.
    Rename {
        /// The name that it has.
        from: String,
        /// The name that it gets.
        to: String,
    },
    /// Removes a file. Not durable before a `SyncDirectory`.
    Remove {
        /// Which file.
        path: String,
    },
    /// Removes an empty directory. Not durable before a `SyncDirectory` of its parent.
    RemoveDirectory {
        /// Which directory.
        path: String,
    },
}

/// Memory that an operation reads or fills. It belongs to the machine until the completion, which
/// gives it back.
#[derive(Debug)]
pub enum Memory {
    /// A part of the shard's arena. The logic neither frees nor rewrites it meanwhile.
    Arena(ArenaRange),
    /// A buffer on the heap, by value.
    Buffer(Buffer),
    /// No memory: for a send that has only a head.
    None,
}

impl Memory {
    /// Length in bytes.
    pub fn length_bytes(&self) -> usize {
        match self {
            Self::Arena(range) => range.length_bytes,
            Self::Buffer(buffer) => buffer.len(),
            Self::None => 0,
        }
    }
}

/// A socket operation. The socket is its name: there is at most one receive and one send in flight
/// on each socket.
#[derive(Debug)]
pub enum SocketOp {
    /// Starts to accept connections on the shard's listener, until the process ends.
    Accept,
    /// Receives what is there, at least one byte. Completes with
    /// [`SocketCompletion::Received`](crate::SocketCompletion::Received).
    Receive {
        /// Which socket.
        socket: SocketId,
        /// Where to, from the second field on; without it the machine lends one of its few
        /// small buffers when bytes arrive, so that an idle connection holds none.
        into: Option<(Buffer, usize)>,
    },
    /// Sends all of `head`, then all of `body`. Completes with
    /// [`SocketCompletion::Sent`](crate::SocketCompletion::Sent).
    Send {
        /// Which socket.
        socket: SocketId,
        /// First part.
        head: Vec<u8>,
        /// Second part.
        body: Memory,
    },
    /// Closes the socket. What is in flight on it completes first, then
    /// [`SocketCompletion::Closed`](crate::SocketCompletion::Closed).
    Close {
        /// Which socket.
        socket: SocketId,
    },
}
