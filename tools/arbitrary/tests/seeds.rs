//! The kept seeds are of every kind that there is.
//!
//! The frames ended once at opcode 17 of 30, while their README said "one of every kind": groups,
//! producers, alterations and share mode were reached by a change of an opcode alone, and with
//! bodies that were somebody else's.

#![allow(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it must be")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use plimsoll_wire::{
    CorrelationId, Decoded, FRAME_BYTES_MAX, Flags, Frame, FrameError, Opcode, Request, Response,
    decode_frame,
};

const SEED_BYTES_MAX: usize = 512;

/// What a seed is is said by the decoder, and so is which directions an opcode has.
#[test]
fn every_opcode_has_a_small_seed_in_each_of_its_directions() {
    let mut kept = BTreeSet::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/frame_decode");
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let (name, bytes) = (path.display(), fs::read(&path).unwrap());
        assert!(bytes.len() <= SEED_BYTES_MAX, "{name} has {} bytes", bytes.len());
        let Ok(Decoded::Frame(frame)) = decode_frame(&bytes, FRAME_BYTES_MAX) else {
            panic!("{name} is no whole frame");
        };
        let read = decode(&frame);
        assert!(read.is_ok(), "{name}, which nobody writes any more: {read:?}");
        kept.insert((frame.opcode, frame.flags.bits()));
    }
    let mut wanted = BTreeSet::from([(Opcode::Connection, Flags::ERROR.bits())]);
    for opcode in Opcode::ALL {
        for flags in [Flags::REQUEST, Flags::RESPONSE] {
            let correlation = CorrelationId::NONE;
            let frame = Frame { opcode, flags, correlation, body: &[], frame_bytes: 0 };
            if !matches!(decode(&frame), Err(FrameError::WrongDirection { .. })) {
                wanted.insert((opcode, flags.bits()));
            }
        }
    }
    let missing: Vec<_> = wanted.difference(&kept).collect();
    assert!(missing.is_empty(), "no seed of (opcode, flags): {missing:?}; see the seeds' README");
}

fn decode(frame: &Frame<'_>) -> Result<(), FrameError> {
    if frame.flags.is_response() {
        Response::decode(frame).map(drop)
    } else {
        Request::decode(frame).map(drop)
    }
}
