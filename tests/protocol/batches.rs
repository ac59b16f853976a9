//! Batches that do not check: a typed error for that batch, and the connection lives.

use plimsoll_client_blocking::NewTopic;
use plimsoll_tests::{Bystander, Connection, Place, batch_of};
use plimsoll_wire::{AckLevel, CorrelationId, ErrorCode, Fate, Handle, Opcode, Response};

const BATCH_BYTES_MAX: u32 = 8192;

/// A whole batch with some bytes changed and the check made anew.
fn changed(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut batch = batch_of(1, 3);
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    let check = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&check.to_be_bytes());
    batch
}

/// The places are those of Kafka's record batch v2: length 8, magic 16, attributes 21, last offset
/// delta 23, count 57.
fn bad_batches() -> Vec<(Vec<u8>, ErrorCode, u64)> {
    let mut flipped = batch_of(1, 3);
    *flipped.last_mut().unwrap() ^= 1;
    let mut check = batch_of(1, 3);
    check[17] ^= 1;
    let large = batch_of(1, 200);
    let large_bytes = large.len() as u64;
    let cut = batch_of(1, 3);
    let cut = cut[..cut.len() - 1].to_vec();
    vec![
        (flipped, ErrorCode::BatchCrc, 0),
        (check, ErrorCode::BatchCrc, 0),
        (changed(57, &4_u32.to_be_bytes()), ErrorCode::BatchCount, 0),
        (changed(57, &0_u32.to_be_bytes()), ErrorCode::BatchCount, 0),
        (changed(57, &(-1_i32).to_be_bytes()), ErrorCode::BatchCount, 0),
        (changed(23, &9_u32.to_be_bytes()), ErrorCode::BatchCount, 0),
        (large, ErrorCode::BatchTooLarge, large_bytes),
        (changed(21, &[0, 5]), ErrorCode::BatchCodec, 5),
        (changed(16, &[1]), ErrorCode::BatchMagic, 1),
        (changed(21, &[0, 0x20]), ErrorCode::BatchKind, 0),
        (changed(21, &[0, 0x10]), ErrorCode::BatchKind, 0),
        (changed(8, &7_u32.to_be_bytes()), ErrorCode::BatchMalformed, 0),
        (cut, ErrorCode::BatchMalformed, 0),
        ([batch_of(1, 1), batch_of(2, 1)].concat(), ErrorCode::BatchMalformed, 0),
    ]
}

#[test]
fn a_batch_that_does_not_check_is_refused_by_name_and_the_next_one_is_taken() {
    let place = Place::new();
    let server = place.server().start();
    let bystander = Bystander::begin(&server);
    let topic = NewTopic {
        name: "small",
        partitions: 1,
        batch_bytes_max: BATCH_BYTES_MAX,
        ..NewTopic::default()
    };
    server.client().create_topic(&topic).unwrap();
    let mut connection = Connection::open(server.address());
    assert_eq!(connection.bind(5, "small", 0).max_batch_bytes, BATCH_BYTES_MAX);
    let (before, mut correlation, mut base) = (server.counter("refused"), 100, 0);
    for (batch, code, detail_a) in bad_batches() {
        connection.produce(5, correlation, AckLevel::Disk, None, &batch).unwrap();
        let frame = connection.read().unwrap();
        let error = frame.error();
        assert_eq!(error.code, code, "{error:?}");
        assert_eq!((error.opcode, error.fate), (Opcode::Produce, Fate::Refused));
        assert_eq!((error.handle, error.detail_a), (Some(Handle(5)), detail_a), "{error:?}");
        assert_eq!(frame.frame().correlation, CorrelationId(correlation));
        if code == ErrorCode::BatchTooLarge {
            assert_eq!(error.detail_b, u64::from(BATCH_BYTES_MAX));
        }
        // The connection lives, and no offset was used.
        connection.produce(5, correlation + 1, AckLevel::Disk, None, &batch_of(1, 2)).unwrap();
        let frame = connection.read().unwrap();
        let Response::Acks(acks) = frame.response() else { panic!("{:?}", frame.response()) };
        assert_eq!(acks.iter().next().unwrap().base_offset.value(), base, "after {code}");
        (correlation, base) = (correlation + 2, base + 2);
    }
    assert_eq!(server.counter("refused") - before, bad_batches().len() as u64);
    bystander.end();
}
