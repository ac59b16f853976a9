//! How operations and their ends enter the trace: by number, since words would take longer than
//! what they describe.

use plimsoll_device::{ArenaRange, DiskAction, DiskCompletion, DiskOp, DiskResult, Memory};

use crate::issuer::Issuer;
use crate::trace::Trace;

pub(super) fn note_op(trace: &mut Trace, issuer: Issuer, op: &DiskOp) {
    trace.note_number(u64::from(issuer.0));
    trace.note_number(op.token.0);
    match &op.action {
        DiskAction::Open { file, path, mode } => {
            note(trace, 1, u64::from(file.0), *mode as u64);
            trace.note(path.as_bytes());
        }
        DiskAction::Close { file } => note(trace, 2, u64::from(file.0), 0),
        DiskAction::Allocate { file, length_bytes } => {
            note(trace, 3, u64::from(file.0), *length_bytes);
        }
        DiskAction::Write { file, position_bytes, source, durable } => {
            note(trace, 4, u64::from(file.0), *position_bytes);
            note_memory(trace, source);
            trace.note_number(u64::from(*durable));
        }
        DiskAction::Read { file, position_bytes, target } => {
            note(trace, 5, u64::from(file.0), *position_bytes);
            note_memory(trace, target);
        }
        DiskAction::SyncData { file } => note(trace, 6, u64::from(file.0), 0),
        DiskAction::SyncAll => note(trace, 7, 0, 0),
        DiskAction::SyncDirectory { path } => note_path(trace, 8, path),
        DiskAction::CreateDirectory { path } => note_path(trace, 9, path),
        DiskAction::List { path } => note_path(trace, 10, path),
        DiskAction::Rename { from, to } => {
            note_path(trace, 11, from);
            trace.note(to.as_bytes());
        }
        DiskAction::Remove { path } => note_path(trace, 12, path),
        DiskAction::RemoveDirectory { path } => note_path(trace, 13, path),
    }
}

pub(super) fn note_end(trace: &mut Trace, completion: &DiskCompletion) {
    trace.note_number(completion.token.0);
    let number = match &completion.result {
        DiskResult::Opened(result) => result.ok(),
        DiskResult::Written(_, result) | DiskResult::Read(_, result) => {
            result.ok().map(|bytes| bytes as u64)
        }
        DiskResult::Listed(result) => {
            for name in result.iter().flatten() {
                trace.note(name.as_bytes());
            }
            result.as_ref().ok().map(|names| names.len() as u64)
        }
        DiskResult::Done(result) => result.ok().map(|()| 0),
    };
    trace.note_number(number.unwrap_or(u64::MAX));
}

fn note(trace: &mut Trace, kind: u64, file: u64, number: u64) {
    trace.note_number(kind);
    trace.note_number(file);
    trace.note_number(number);
}

fn note_path(trace: &mut Trace, kind: u64, path: &str) {
    trace.note_number(kind);
    trace.note(path.as_bytes());
}

fn note_memory(trace: &mut Trace, memory: &Memory) {
    if let Memory::Arena(ArenaRange { start_bytes, .. }) = memory {
        trace.note_number(*start_bytes as u64);
    }
    trace.note_number(memory.length_bytes() as u64);
}
