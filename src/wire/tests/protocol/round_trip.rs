//! What one side writes, the other reads; and the encoders of the hot path write what the plain
//! ones do.

use plimsoll_wire::*;
use proptest::prelude::*;

use crate::frames::{encode_request, encode_response, fixed_parts, parts, whole_frame};

proptest! {
    #[test]
    fn every_request_is_read_as_it_was_written(parts in parts()) {
        for request in parts.requests() {
            let bytes = encode_request(&request, parts.correlation());
            let frame = whole_frame(&bytes);
            prop_assert_eq!(frame.correlation, parts.correlation());
            prop_assert!(!frame.flags.is_response());
            prop_assert_eq!(Request::decode(&frame), Ok(request));
            let refused = Response::decode(&frame);
            prop_assert_eq!(refused, Err(FrameError::WrongDirection { opcode: frame.opcode }));
        }
    }

    #[test]
    fn every_response_is_read_as_it_was_written(parts in parts()) {
        for response in parts.responses() {
            let bytes = encode_response(&response, parts.correlation());
            let frame = whole_frame(&bytes);
            let is_unasked = frame.opcode == Opcode::Assignment;
            let expected = if is_unasked { CorrelationId::NONE } else { parts.correlation() };
            prop_assert_eq!(frame.correlation, expected);
            prop_assert!(frame.flags.is_response());
            prop_assert_eq!(Response::decode(&frame), Ok(response));
            let refused = Request::decode(&frame);
            prop_assert_eq!(refused, Err(FrameError::WrongDirection { opcode: frame.opcode }));
        }
    }
}

#[test]
fn a_head_with_its_batches_behind_it_is_the_whole_frame() {
    let parts = fixed_parts();
    let (handle, durability) = (Handle(3), DurabilityWanted::from(Durability::Disk));
    let id = CorrelationId(9);
    let (mut whole, mut head) = (vec![1, 2], vec![1, 2]);
    encode_produce(handle, durability, None, id, &parts.batch, &mut whole).unwrap();
    encode_produce_head(handle, durability, None, id, &parts.batch, &mut head).unwrap();
    assert_eq!(head.len(), 2 + PRODUCE_HEAD_BYTES);
    assert_eq!([head, parts.batch.clone()].concat(), whole);

    let (watermarks, batches) = (Watermarks::default(), &parts.batches[..]);
    let (mut whole, mut head) = (vec![1, 2], vec![1, 2]);
    Delivery { handle, watermarks, batches }.encode(id, &mut whole).unwrap();
    let kind = BatchesKind::Delivery { correlation: id };
    encode_batches_head(kind, &watermarks, handle, batches, &mut head).unwrap();
    assert_eq!(head.len(), 2 + BATCHES_HEAD_BYTES);
    assert_eq!([&head, batches].concat(), whole);
}

#[test]
fn a_head_is_not_written_for_what_cannot_follow_it() {
    let parts = fixed_parts();
    let mut out = vec![7];
    let wanted = DurabilityWanted::TopicDefault;
    let short = &parts.batch[..20];
    encode_produce_head(Handle(0), wanted, None, CorrelationId(0), short, &mut out).unwrap_err();
    let cut = &parts.batches[..parts.batches.len() - 1];
    let kind = BatchesKind::Fetched { correlation: CorrelationId(0) };
    let refused = encode_batches_head(kind, &Watermarks::default(), Handle(0), cut, &mut out);
    assert_eq!(refused, Err(FrameError::BatchesUneven));
    assert_eq!(out, [7]);
}

#[test]
fn a_string_beyond_its_length_field_is_cut_between_characters() {
    let name = "ä".repeat(40_000);
    let mut bytes = Vec::new();
    DeleteTopic { name: &name }.encode(CorrelationId(1), &mut bytes);
    let Ok(Request::DeleteTopic(read)) = Request::decode(&whole_frame(&bytes)) else {
        panic!("the frame is sound");
    };
    assert_eq!(read.name, &name[..65_534]);
}

fn ack(handle: u32, level: AckLevel, first: u32, base_offset: u64) -> AckEntry {
    let (handle, first) = (Handle(handle), CorrelationId(first));
    AckEntry { handle, level, first, frames: 1, base_offset: Offset::new(base_offset) }
}

fn read_acks(bytes: &[u8]) -> Vec<AckEntry> {
    match Response::decode(&whole_frame(bytes)) {
        Ok(Response::Acks(acks)) => {
            assert_eq!(acks.len(), acks.iter().count());
            acks.into_iter().collect()
        }
        other => panic!("not acks: {other:?}"),
    }
}

#[test]
fn acks_that_continue_become_one_entry_also_where_the_id_wraps() {
    let mut acks = AcksEncoder::new();
    acks.push(ack(1, AckLevel::Disk, u32::MAX, 100), Offset::new(110));
    acks.push(ack(1, AckLevel::Disk, 0, 110), Offset::new(111));
    acks.push(ack(1, AckLevel::Disk, 1, 111), Offset::new(120));
    let mut bytes = Vec::new();
    acks.finish_into(&mut bytes);
    let merged = AckEntry { frames: 3, ..ack(1, AckLevel::Disk, u32::MAX, 100) };
    assert_eq!(read_acks(&bytes), [merged]);
}

#[test]
fn acks_that_do_not_continue_stay_apart() {
    let entries = [
        ack(1, AckLevel::Disk, 0, 10),
        ack(2, AckLevel::Disk, 1, 11),
        ack(2, AckLevel::Memory, 2, 12),
        ack(2, AckLevel::Memory, 4, 13),
        ack(2, AckLevel::Memory, 5, 99),
    ];
    let mut acks = AcksEncoder::new();
    for entry in entries {
        acks.push(entry, entry.base_offset.advance(1));
    }
    let mut bytes = Vec::new();
    acks.finish_into(&mut bytes);
    assert_eq!(read_acks(&bytes), entries);
    assert!(acks.is_empty());
    let written_bytes = bytes.len();
    acks.finish_into(&mut bytes);
    assert_eq!(bytes.len(), written_bytes, "nothing gathered, no frame");
}

#[test]
fn many_acks_take_several_frames() {
    let mut acks = AcksEncoder::new();
    for index in 0..=ACKS_PER_FRAME_MAX as u32 {
        acks.push(ack(index, AckLevel::Memory, 0, 0), Offset::new(1));
    }
    let mut bytes = Vec::new();
    acks.finish_into(&mut bytes);
    let Ok(Decoded::Frame(first)) = decode_frame(&bytes, FRAME_BYTES_MAX) else {
        panic!("the first frame is sound");
    };
    let (first, second) = bytes.split_at(first.frame_bytes);
    assert_eq!(read_acks(first).len(), ACKS_PER_FRAME_MAX);
    assert_eq!(read_acks(second), [ack(ACKS_PER_FRAME_MAX as u32, AckLevel::Memory, 0, 0)]);
}

#[test]
fn a_client_and_this_server_speak_the_version_that_both_know() {
    let hello = |version_min, version_max| Hello {
        version_min,
        version_max,
        ..Hello::new(ShardIndex::ANY, "c")
    };
    assert_eq!(hello(0, 9).version_in_common(), Some(VERSION));
    assert_eq!(hello(VERSION, VERSION).version_in_common(), Some(VERSION));
    assert_eq!(hello(VERSION + 1, 9).version_in_common(), None);
    assert_eq!(hello(9, 0).version_in_common(), None);
}
