//! Bytes that are no frames: an error frame where one can be sent, the end of that connection, one
//! more in the counter, and nobody else notices.

use std::io::{Read, Write};
use std::net::Shutdown;

use plimsoll_tests::{Bystander, Connection, Place, Random, batch_of, produce_frame};
use plimsoll_wire::{
    AckLevel, Bind, CorrelationId, ErrorCode, FRAME_BYTES_MAX, Handle, Hello, PartitionIndex, Ping,
    ShardIndex,
};

/// Gives a changed frame the check that it should have.
fn sealed(mut frame: Vec<u8>) -> Vec<u8> {
    let length = crc32c::crc32c(&frame[..4]);
    let check = crc32c::crc32c_append(length, &frame[8..]);
    frame[4..8].copy_from_slice(&check.to_le_bytes());
    frame
}

fn changed(mut frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

fn hello() -> Vec<u8> {
    let mut frame = Vec::new();
    Hello::new(ShardIndex::ANY, "test").encode(CorrelationId(1), &mut frame);
    frame
}

fn ping() -> Vec<u8> {
    let mut frame = Vec::new();
    Ping.encode(CorrelationId(2), &mut frame);
    frame
}

fn hello_of_versions(version_min: u16, version_max: u16) -> Vec<u8> {
    let mut frame = Vec::new();
    let hello = Hello { version_min, version_max, shard: ShardIndex::ANY, client: "test" };
    hello.encode(CorrelationId(1), &mut frame);
    frame
}

#[test]
fn each_kind_of_bad_frame_gets_its_error_and_the_end_and_is_counted() {
    let place = Place::new();
    let server = place.server().shards(2).start();
    let bystander = Bystander::begin(&server);
    let before = server.counter("protocol_errors");
    let too_long = u32::MAX.to_le_bytes();
    let name_too_long = sealed(changed(hello(), 28, &[200, 0]));
    let cases: Vec<(Vec<u8>, ErrorCode)> = vec![
        (changed(hello(), 0, &[15, 0, 0, 0]), ErrorCode::MalformedFrame),
        (changed(hello(), 0, &[0; 4]), ErrorCode::MalformedFrame),
        (changed(hello(), 0, &too_long), ErrorCode::FrameTooLarge),
        (changed(hello(), 4, &[0; 4]), ErrorCode::Checksum),
        (changed(hello(), 33, b"X"), ErrorCode::Checksum),
        (sealed(changed(hello(), 8, &[200])), ErrorCode::UnknownOpcode),
        (sealed(changed(hello(), 9, &[1])), ErrorCode::MalformedFrame),
        (sealed(changed(hello(), 9, &[64])), ErrorCode::MalformedFrame),
        (sealed(changed(hello(), 10, &[1])), ErrorCode::MalformedFrame),
        (sealed(changed(hello(), 16, b"HTTP")), ErrorCode::MalformedFrame),
        (name_too_long, ErrorCode::MalformedFrame),
        (hello_of_versions(2, 9), ErrorCode::ProtocolVersion),
        (ping(), ErrorCode::HelloExpected),
        ([hello(), hello()].concat(), ErrorCode::HelloExpected),
        ([hello(), sealed(changed(ping(), 8, &[10]))].concat(), ErrorCode::MalformedFrame),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), ErrorCode::FrameTooLarge),
    ];
    let count = cases.len() as u64;
    for (bytes, code) in cases {
        let mut connection = Connection::silent(server.address());
        connection.stream.write_all(&bytes).unwrap();
        if bytes.starts_with(&hello()) && bytes.len() > hello().len() {
            connection.read().expect("the hello was right");
        }
        connection.assert_closed_after(|error| {
            assert_eq!(error.code, code, "{error:?} for {bytes:?}");
            assert!(!error.message.is_empty());
            match code {
                ErrorCode::UnknownOpcode => assert_eq!(error.detail_a, 200),
                ErrorCode::FrameTooLarge => assert_eq!(error.detail_b, FRAME_BYTES_MAX as u64),
                ErrorCode::ProtocolVersion => {
                    assert_eq!((error.detail_a, error.detail_b), (1, 1));
                }
                _ => {}
            }
        });
    }
    assert_eq!(server.counter("protocol_errors") - before, count);
    bystander.end();
}

#[test]
fn a_produce_frame_out_of_sequence_names_the_number_that_was_expected() {
    let place = Place::new();
    let server = place.server().start();
    let bystander = Bystander::begin(&server);
    let mut connection = Connection::open(server.address());
    connection.bind(3, "bystander", 0);
    // A refused batch has a number as well, and leaves the bystander's log alone.
    connection.produce(3, 7, AckLevel::Disk, None, &bad_batch()).unwrap();
    assert_eq!(connection.read().unwrap().error().code, ErrorCode::BatchCrc);
    connection.produce(3, 9, AckLevel::Disk, None, &batch_of(1, 1)).unwrap();
    connection.assert_closed_after(|error| {
        assert_eq!(error.code, ErrorCode::Sequence);
        assert_eq!((error.detail_a, error.detail_b), (8, 9));
    });
    bystander.end();
}

fn bad_batch() -> Vec<u8> {
    let mut batch = batch_of(1, 1);
    *batch.last_mut().unwrap() ^= 1;
    batch
}

#[test]
fn random_bytes_and_spoilt_conversations_end_that_connection_and_disturb_nobody() {
    let place = Place::new();
    let server = place.server().shards(2).start();
    let bystander = Bystander::begin(&server);
    let mut random = Random::seeded("protocol", "random_bytes");
    for round in 0..400 {
        let bytes = if round % 2 == 0 {
            (0..random.below(1..3000)).map(|_| random.number() as u8).collect()
        } else {
            spoilt(&mut random)
        };
        let mut connection = Connection::silent(server.address());
        // The server may have closed it in the middle.
        let _ = connection.stream.write_all(&bytes);
        let _ = connection.stream.shutdown(Shutdown::Write);
        let (mut rest, mut stream) = (Vec::new(), &connection.stream);
        let ended = stream.read_to_end(&mut rest);
        let is_timeout = |error: &std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
        assert!(!ended.as_ref().is_err_and(is_timeout), "round {round}: it is kept open");
    }
    assert!(server.counter("protocol_errors") > 100);
    bystander.end();
}

/// Hello, bind, three batches for a topic that is there, with up to four bytes changed or cut.
fn spoilt(random: &mut Random) -> Vec<u8> {
    let mut bytes = hello();
    let bind = Bind { handle: Handle(0), partition: PartitionIndex(9), topic: "bystander" };
    bind.encode(CorrelationId(2), &mut bytes);
    for correlation in 0..3 {
        bytes.extend(produce_frame(0, correlation, AckLevel::Disk, None, &batch_of(1, 5)));
    }
    for _ in 0..random.below(0..4) {
        let at = random.below(0..bytes.len() as u64) as usize;
        bytes[at] = random.number() as u8;
    }
    if random.once_in(4) {
        bytes.truncate(random.below(1..bytes.len() as u64) as usize);
    }
    bytes
}
