//! What comes from a broken network or from someone who means harm. It must be refused, in time
//! and with the right code, and never stop the process.

use plimsoll_batch::{Batch, BatchError, BatchLimits, PREFIX_BYTES};
use plimsoll_wire::*;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::frames::{fixed_parts, whole_frame};

/// Writes the right length and CRC into a frame that holds no batches.
fn seal(frame: &mut [u8]) {
    let length = (frame.len() as u32).to_le_bytes();
    frame[..4].copy_from_slice(&length);
    let crc = crc32c::crc32c_append(crc32c::crc32c(&length), &frame[8..]);
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
}

fn decode_all(bytes: &[u8]) {
    if let Ok(Decoded::Frame(frame)) = decode_frame(bytes, FRAME_BYTES_MAX) {
        let _ = Request::decode(&frame);
        if let Ok(Response::Acks(acks)) = Response::decode(&frame) {
            assert_eq!(acks.iter().count(), acks.len());
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        decode_all(&bytes);
    }

    /// Random bytes hardly ever have the right CRC, so this gives it to them.
    #[test]
    fn arbitrary_bodies_with_a_right_checksum_never_panic(
        opcode in 0_u8..40,
        flags in prop::sample::select(vec![0_u8, 1, 3]),
        mut body in vec(prop_oneof![0_u8..4, any::<u8>()], 0..200),
    ) {
        for body_opcode in [Opcode::Produce, Opcode::Fetch, Opcode::Delivery] {
            let flags = Flags::from_bits(flags).unwrap();
            let (opcode, correlation) = (body_opcode, CorrelationId(1));
            let frame = Frame { opcode, flags, correlation, body: &body, frame_bytes: 0 };
            let _ = (Request::decode(&frame), Response::decode(&frame));
        }
        let mut frame = vec![0, 0, 0, 0, 0, 0, 0, 0, opcode, flags, 0, 0, 1, 0, 0, 0];
        frame.append(&mut body);
        seal(&mut frame);
        decode_all(&frame);
    }

    #[test]
    fn a_sound_frame_with_changed_bytes_never_panics(
        kind in any::<prop::sample::Index>(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        reseal in any::<bool>(),
    ) {
        let frames = fixed_parts().frames();
        let mut frame = kind.get(&frames).clone();
        for (at, byte) in changes {
            let at = at.index(frame.len());
            frame[at] = byte;
        }
        if reseal {
            seal(&mut frame);
        }
        decode_all(&frame);
    }
}

/// Where a batch's own CRC covers the bytes of a frame.
fn is_covered_by_a_batch(frame: &Frame<'_>, at: usize) -> bool {
    let (mut start, end) = match (frame.opcode, frame.flags) {
        (Opcode::Produce, Flags::REQUEST) => (PRODUCE_HEAD_BYTES, frame.frame_bytes),
        (Opcode::Fetch | Opcode::Delivery, Flags::RESPONSE) => {
            (BATCHES_HEAD_BYTES, frame.frame_bytes)
        }
        _ => return false,
    };
    let frame_at = |at: usize| frame.body[at - FRAME_HEADER_BYTES];
    while start < end {
        let length = [8, 9, 10, 11].map(|at| frame_at(start + at));
        let next = start + 12 + u32::from_be_bytes(length) as usize;
        if (start + PREFIX_BYTES..next).contains(&at) {
            return true;
        }
        start = next;
    }
    false
}

#[test]
fn a_flipped_bit_is_seen_by_the_frame_or_by_the_batch() {
    for frame_bytes in fixed_parts().frames() {
        let sound = whole_frame(&frame_bytes);
        for bit in 0..frame_bytes.len() * 8 {
            let mut flipped = frame_bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(Decoded::Incomplete { frame_bytes: Some(longer) }) =
                decode_frame(&flipped, 1 << 20)
            {
                flipped.resize(longer, 0);
            }
            let outcome = decode_frame(&flipped, 1 << 20);
            let accepted = matches!(outcome, Ok(Decoded::Frame(_)));
            let covered = is_covered_by_a_batch(&sound, bit / 8);
            assert_eq!(accepted, covered, "{:?} bit {bit}: {outcome:?}", sound.opcode);
            assert!(accepted || outcome.is_err());
        }
    }
}

#[test]
fn a_frame_that_arrives_byte_by_byte_is_awaited_and_then_read() {
    for bytes in fixed_parts().frames() {
        for split in 0..bytes.len() {
            let frame_bytes = (split >= 4).then_some(bytes.len());
            let awaited = decode_frame(&bytes[..split], FRAME_BYTES_MAX);
            assert_eq!(awaited, Ok(Decoded::Incomplete { frame_bytes }));
        }
        let two = [bytes.clone(), bytes.clone()].concat();
        let decoded = decode_frame(&two, bytes.len());
        assert_eq!(decoded, Ok(Decoded::Frame(whole_frame(&bytes))));
    }
}

#[test]
fn a_length_out_of_bounds_is_refused_with_four_bytes_in_hand() {
    let refused = decode_frame(&1001_u32.to_le_bytes(), 1000).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::FrameTooLarge);
    assert_eq!((refused.detail_a(), refused.detail_b()), (1001, 1000));
    let refused = decode_frame(&15_u32.to_le_bytes(), 1000).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::MalformedFrame);
    let awaited = Ok(Decoded::Incomplete { frame_bytes: Some(1000) });
    assert_eq!(decode_frame(&1000_u32.to_le_bytes(), 1000), awaited);
}

#[test]
fn a_header_that_cannot_be_is_refused_before_the_body_is_there() {
    let header = |at: usize, byte: u8| {
        let mut header = [0; FRAME_HEADER_BYTES];
        header[..4].copy_from_slice(&1000_u32.to_le_bytes());
        header[8] = Opcode::Ping.into();
        header[at] = byte;
        decode_frame(&header, 1000).map_err(|error| error.code()).map(|_| ())
    };
    assert_eq!(header(9, 0), Ok(()));
    assert_eq!(header(8, 200), Err(ErrorCode::UnknownOpcode));
    assert_eq!(header(9, 2), Err(ErrorCode::MalformedFrame), "an error that is no response");
    for bits in 4..=255 {
        assert_eq!(header(9, bits), Err(ErrorCode::MalformedFrame));
    }
    assert_eq!(header(10, 1), Err(ErrorCode::MalformedFrame));
    assert_eq!(header(11, 0x80), Err(ErrorCode::MalformedFrame));
}

#[test]
fn reserved_bytes_of_every_body_must_be_zero() {
    // The offset in the frame of a reserved byte, for each kind that has one.
    let reserved = [
        (Opcode::Hello, 0, 26),
        (Opcode::Produce, 0, 22),
        (Opcode::Fetch, 0, 21),
        (Opcode::Fetch, 0, 44),
        (Opcode::Subscribe, 0, 23),
        (Opcode::Subscribe, 0, 36),
        (Opcode::Offsets, 0, 22),
        (Opcode::Hello, 1, 22),
        (Opcode::Hello, 1, 44),
        (Opcode::Acks, 1, 20),
        (Opcode::Acks, 1, 29),
        (Opcode::Fetch, 1, 20),
        (Opcode::Subscribe, 1, 20),
        (Opcode::Delivery, 1, 20),
        (Opcode::Describe, 1, 27),
        (Opcode::Describe, 1, 72),
        (Opcode::Produce, 3, 19),
    ];
    for (opcode, flags, at) in reserved {
        let frames = fixed_parts().frames();
        let is_of_kind = |bytes: &&Vec<u8>| bytes[8] == u8::from(opcode) && bytes[9] == flags;
        let bytes = frames.iter().find(is_of_kind).unwrap();
        let mut body = bytes[FRAME_HEADER_BYTES..].to_vec();
        body[at - FRAME_HEADER_BYTES] = 1;
        let frame = Frame { body: &body, ..whole_frame(bytes) };
        let request = Request::decode(&frame).err();
        let refused = if flags == 0 { request } else { Response::decode(&frame).err() };
        assert_eq!(refused, Some(FrameError::ReservedBytesSet), "{opcode:?} {flags} at {at}");
    }
}

#[test]
fn a_count_that_its_body_cannot_hold_sets_nothing_aside() {
    fn frame(opcode: Opcode, flags: Flags, body: &[u8]) -> Frame<'_> {
        Frame { opcode, flags, correlation: CorrelationId(1), body, frame_bytes: 20 }
    }
    for opcode in [Opcode::Metadata, Opcode::Describe, Opcode::Stats, Opcode::Acks] {
        let body = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
        Response::decode(&frame(opcode, Flags::RESPONSE, &body)).unwrap_err();
    }
    let body = (METADATA_NAMES_MAX + 1).to_le_bytes();
    let refused = Request::decode(&frame(Opcode::Metadata, Flags::REQUEST, &body)).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::MalformedFrame);
}

#[test]
fn a_second_level_without_a_first_is_malformed() {
    let mut body = vec![0, 0, 0, 0, 0, AckLevel::Disk as u8, 0, 0];
    body.extend_from_slice(&fixed_parts().batch);
    let (opcode, flags) = (Opcode::Produce, Flags::REQUEST);
    let frame = Frame { opcode, flags, correlation: CorrelationId(0), body: &body, frame_bytes: 0 };
    let refused = Request::decode(&frame).unwrap_err();
    assert_eq!(refused, FrameError::OutOfBounds { what: "also", value: 3 });
}

/// A client library with a bug in its batches loses these batches, and not what else is under way
/// on its connection.
#[test]
fn a_batch_that_lies_about_its_length_is_not_the_end_of_the_connection() {
    let mut batch = fixed_parts().batch;
    batch[8..12].copy_from_slice(&i32::MAX.to_be_bytes());
    let (handle, wanted) = (Handle(1), DurabilityWanted::TopicDefault);
    let mut bytes = Vec::new();
    encode_produce(handle, wanted, None, CorrelationId(5), &batch, &mut bytes).unwrap();
    let Ok(Request::Produce(produce)) = Request::decode(&whole_frame(&bytes)) else {
        panic!("the frame itself is sound");
    };
    let refused = Batch::validate(produce.batch, &BatchLimits::default()).unwrap_err();
    let error = ErrorResponse::of_batch(handle, &refused, "");
    assert!(!error.code.closes_connection());
    assert_eq!((error.fate, error.handle), (Fate::Refused, Some(handle)));
}

#[test]
fn each_fault_of_a_batch_has_its_code_and_details() {
    for (fault, code, details) in [
        (BatchError::Crc { stored: 1, computed: 2 }, ErrorCode::BatchCrc, (0, 0)),
        (BatchError::Empty, ErrorCode::BatchCount, (0, 0)),
        (BatchError::Codec { id: 5 }, ErrorCode::BatchCodec, (5, 0)),
        (BatchError::Magic { magic: -1 }, ErrorCode::BatchMagic, (255, 0)),
        (BatchError::ControlOrTransactional, ErrorCode::BatchKind, (0, 0)),
        (BatchError::Length { length: -1 }, ErrorCode::BatchMalformed, (0, 0)),
        (
            BatchError::TooLarge { length_bytes: 9, batch_bytes_max: 8 },
            ErrorCode::BatchTooLarge,
            (9, 8),
        ),
    ] {
        let error = ErrorResponse::of_batch(Handle(1), &fault, "");
        assert_eq!((error.code, (error.detail_a, error.detail_b)), (code, details));
    }
}

#[test]
fn a_frame_error_becomes_an_error_response_that_a_client_can_read() {
    let fault = FrameError::TooLarge { frame_bytes: 9, frame_bytes_max: 8 };
    let error = ErrorResponse::of_frame(Opcode::Connection, &fault, "too large");
    let mut bytes = Vec::new();
    error.encode(CorrelationId::NONE, &mut bytes);
    assert_eq!(Response::decode(&whole_frame(&bytes)), Ok(Response::Error(error)));
    assert!(error.code.closes_connection());
}
