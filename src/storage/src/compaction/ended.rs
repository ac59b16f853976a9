//! How an operation of a pass ended, and what that makes of the pass.
//!
//! What cannot be read ends it and is told; what cannot be written is latched, but for a full disk.
//! What a newcomer gets wrong: the pause after so many bytes is set here and waited for in
//! `steps.rs`.

use core::time::Duration;

use plimsoll_device::{BLOCK_BYTES, Buffer, DiskResult, IoError, IoErrorKind, Memory};

use super::pass::{NewFile, Pass, Phase};
use crate::error::{Failure, ReadError};
use crate::limits::{COMPACTION_BURST_BYTES, COMPACTION_BYTES_A_SECOND, COMPACTION_RETRY};
use crate::notice::Notice;
use crate::storage::Storage;

const NOTHING_WRITTEN: IoError = IoError::new(IoErrorKind::Other, 0);

impl Storage {
    /// The operation of the pass has ended.
    pub(crate) fn handle_compaction(&mut self, result: DiskResult) {
        let Some(mut pass) = self.compaction.pass.take() else { return };
        pass.in_flight = false;
        match result {
            DiskResult::Read(memory, result) => self.compaction_read(pass, &memory, result),
            DiskResult::Written(memory, result) => self.compaction_written(pass, memory, result),
            DiskResult::Done(Ok(())) => {
                pass.phase = match (pass.phase, &pass.group) {
                    (Phase::SyncFile, _) => Phase::SyncNames,
                    (Phase::SyncNames, Some(group)) => {
                        Phase::Ready(pass.entry(group, self.aging.clock.written()))
                    }
                    (phase, _) => phase,
                };
                self.compaction.pass = Some(pass);
            }
            DiskResult::Done(Err(error)) => self.compaction_failed(pass, "flush", error),
            other => panic!("{other:?} does not answer a step of compaction"),
        }
        self.run_compaction();
    }

    fn compaction_read(&mut self, mut pass: Pass, memory: &Memory, result: Result<usize, IoError>) {
        let (Memory::Buffer(buffer), Some(source)) = (memory, &mut pass.source) else { return };
        let (file, position_bytes, base) = (source.file, source.read_to(), source.base());
        let stopped = match result {
            Ok(length) if length < buffer.len() => {
                let what = "the file is shorter than the data that was written to it";
                Some(self.damaged(&pass, position_bytes + length as u64, what.into()))
            }
            Ok(_) => {
                source.take_in(buffer);
                self.counters.read_bytes += buffer.len() as u64;
                None
            }
            Err(error) => Some(ReadError::Failed(Failure {
                operation: "read",
                path: self.files.path(file).into(),
                position_bytes,
                length_bytes: buffer.len() as u64,
                error,
            })),
        };
        self.pause_compaction(buffer.len());
        let Some(error) = stopped else {
            self.compaction.pass = Some(pass);
            return;
        };
        let slot = pass.slot;
        let partition = self.partition_mut(slot);
        let (is_closing, is_gone) = (partition.closing, base < partition.first_planned);
        // A start that has moved behind the segment takes its file away, also from here.
        if !is_closing && !is_gone {
            partition.compaction.is_stopped = true;
            self.notices.push_back(Notice::CompactionStopped(slot, error));
        }
        self.end_pass(pass);
        if !is_closing {
            self.consider_compaction(slot);
        }
    }

    fn compaction_written(
        &mut self,
        mut pass: Pass,
        memory: Memory,
        result: Result<usize, IoError>,
    ) {
        let (Memory::Buffer(buffer), Some(file)) = (memory, &mut pass.file) else { return };
        let written = match result {
            Ok(0) => return self.compaction_failed(pass, "write", NOTHING_WRITTEN),
            Ok(written) => written,
            Err(error) => return self.compaction_failed(pass, "write", error),
        };
        self.pause_compaction(written);
        // Direct I/O is in whole blocks; a write that ends within one is repeated from its start.
        let whole = written - written % BLOCK_BYTES;
        file.written_to += whole as u64;
        self.counters.compacted_bytes += whole as u64;
        if whole < buffer.len() {
            let mut rest = Buffer::zeroed(buffer.len() - whole);
            rest.copy_from_slice(&buffer[whole..]);
            self.write_blocks(&mut pass, rest);
        }
        self.compaction.pass = Some(pass);
    }

    /// A new file could not be written or flushed. Without room on the disk that is tried again
    /// later; else the disk is not to be trusted with anything any more.
    fn compaction_failed(&mut self, pass: Pass, operation: &'static str, error: IoError) {
        let slot = pass.slot;
        if error.kind == IoErrorKind::NoSpace {
            self.end_pass(pass);
            if self.is_open(slot) && !self.partition(slot).closing {
                let retry_ms = i64::try_from(COMPACTION_RETRY.as_millis()).unwrap_or(i64::MAX);
                self.forget_compaction(slot);
                self.look_again(slot, retry_ms);
            }
            return;
        }
        if let Some(NewFile { file, written_to, .. }) = pass.file
            && !self.partition(slot).closing
        {
            self.fail_on(operation, file, (written_to, 0), error);
        }
        self.end_pass(pass);
    }

    /// After so many bytes there is a pause.
    fn pause_compaction(&mut self, bytes: usize) {
        self.compaction.burst_bytes += bytes as u64;
        if self.compaction.burst_bytes >= COMPACTION_BURST_BYTES {
            let burst_bytes = core::mem::take(&mut self.compaction.burst_bytes);
            let micros = burst_bytes * 1_000_000 / COMPACTION_BYTES_A_SECOND;
            self.compaction.resume_at = Some(self.clock + Duration::from_micros(micros));
        }
    }
}
