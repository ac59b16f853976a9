//! Operations on their way to the machine: on which file, and what becomes of those that fail.
//!
//! An operation on a file that is being opened waits for it; one on a file that could not be opened
//! ends as if the machine had refused it. What a newcomer gets wrong: a failed write or flush is
//! latched and never tried again, because the kernel may have dropped the data.

use plimsoll_device::{
    ArenaRange, BLOCK_BYTES, DiskAction, DiskCompletion, DiskOp, DiskResult, FileId, IoError,
    IoErrorKind, Memory, OpenMode,
};

use crate::error::Failure;
use crate::files::{Admitted, Opening};
use crate::flight::{Purpose, WritePart};
use crate::notice::Notice;
use crate::storage::Storage;

impl Storage {
    /// Queues an operation on anything but an open file.
    pub(crate) fn submit(&mut self, purpose: Purpose, action: DiskAction) {
        let token = self.flight.start(purpose);
        self.ops.push_back(DiskOp { token, action });
    }

    /// Queues an operation on a held file; it waits if the file is being opened.
    pub(crate) fn submit_on(&mut self, file: FileId, purpose: Purpose, action: DiskAction) {
        let token = self.flight.start(purpose);
        match self.files.admit(file, DiskOp { token, action }) {
            Admitted::Go(op) => self.ops.push_back(op),
            Admitted::Waits => {}
            Admitted::Failed(op, error) => self.refused.push_back(refused(op, error)),
        }
    }

    /// Holds a file until `files.release`.
    pub(crate) fn hold_file(&mut self, path: &str, mode: OpenMode) -> FileId {
        match self.files.hold(path, mode) {
            Opening::Known(file) => file,
            Opening::Submit(file, action) => {
                if let Some((idle, close)) = self.files.close_idle() {
                    self.submit(Purpose::Close(idle), close);
                }
                self.submit(Purpose::Open(file), action);
                file
            }
        }
    }

    pub(crate) fn handle_opened(&mut self, file: FileId, result: Result<u64, IoError>) {
        match result {
            Ok(length_bytes) => self.ops.extend(self.files.opened(file, length_bytes)),
            Err(error) => {
                let waiting = self.files.not_opened(file, error).into_iter();
                self.refused.extend(waiting.map(|op| refused(op, error)));
            }
        }
    }

    /// Operations on files that could not be opened end without having been given out.
    pub(crate) fn handle_refused(&mut self) {
        while let Some(completion) = self.refused.pop_front() {
            self.handle_one(completion);
        }
    }

    pub(crate) fn write_action(part: &WritePart) -> DiskAction {
        DiskAction::Write {
            file: part.file,
            position_bytes: part.position,
            source: Memory::Arena(part.range),
            durable: part.durable,
        }
    }

    /// Submits what a short write left out. `None` when all is written; an error when nothing was.
    pub(crate) fn rest_of_write(
        part: WritePart,
        written: Result<usize, IoError>,
    ) -> Result<Option<WritePart>, IoError> {
        let written = written?;
        if written >= part.range.length_bytes {
            return Ok(None);
        }
        // Direct I/O is in whole blocks; a write that ends within one is repeated from its start.
        let whole = written - written % BLOCK_BYTES;
        if written == 0 {
            return Err(IoError::new(IoErrorKind::Other, 0));
        }
        let range = ArenaRange {
            start_bytes: part.range.start_bytes + whole,
            length_bytes: part.range.length_bytes - whole,
        };
        Ok(Some(WritePart { position: part.position + whole as u64, range, ..part }))
    }

    /// Latches a failed write or flush: from now on nothing is acked at `disk`.
    pub(crate) fn fail(&mut self, failure: Failure) {
        if self.failure.is_none() {
            self.failure = Some(failure.clone());
            self.notices.push_back(Notice::Failed(failure));
        }
    }

    /// As `fail`, for an operation on `file`.
    pub(crate) fn fail_on(
        &mut self,
        operation: &'static str,
        file: FileId,
        (position_bytes, length_bytes): (u64, u64),
        error: IoError,
    ) {
        let path = self.files.path(file).into();
        self.fail(Failure { operation, path, position_bytes, length_bytes, error });
    }
}

/// How an operation on a file that could not be opened ends.
fn refused(op: DiskOp, error: IoError) -> DiskCompletion {
    let result = match op.action {
        DiskAction::Write { source, .. } => DiskResult::Written(source, Err(error)),
        DiskAction::Read { target, .. } => DiskResult::Read(target, Err(error)),
        _ => DiskResult::Done(Err(error)),
    };
    DiskCompletion { token: op.token, result }
}
