//! Things that do not exist, or not like this: a typed error with what there is instead.

use plimsoll_client_blocking::NewTopic;
use plimsoll_tests::{Connection, Place, Server, batch_of};
use plimsoll_wire::{
    AckLevel, Bind, CorrelationId, CreateTopic, DeleteTopic, Describe, ErrorCode, Fate, Fetch,
    Handle, Offset, PartitionIndex, Ping, Subscribe, Unbind, Unsubscribe, Visible,
};

const FETCH: Fetch = Fetch {
    handle: Handle(1),
    visible: Visible::Disk,
    offset: Offset::ZERO,
    max_bytes: 4096,
    min_bytes: 1,
    max_wait_ms: 0,
};

fn with_topic(place: &Place) -> (Server, Connection) {
    let server = place.server().shards(2).start();
    let topic = NewTopic { name: "there", partitions: 2, ..NewTopic::default() };
    server.client().create_topic(&topic).unwrap();
    let mut connection = Connection::open(server.address());
    connection.bind(1, "there", 1);
    (server, connection)
}

/// Asks, and asserts the error with its details; the connection must live.
fn refused(
    connection: &mut Connection,
    code: ErrorCode,
    details: (u64, u64),
    encode: impl FnOnce(CorrelationId, &mut Vec<u8>),
) {
    let answer = connection.ask(encode);
    let error = answer.error();
    assert_eq!((error.code, error.detail_a, error.detail_b), (code, details.0, details.1));
    assert!(!error.message.is_empty(), "{error:?}");
    connection.ask(|correlation, out| Ping.encode(correlation, out));
}

#[test]
fn topics_partitions_and_handles_that_do_not_exist_are_said_by_name() {
    let place = Place::new();
    let (_server, mut connection) = with_topic(&place);
    let wire = &mut connection;
    let bind = |handle: u32, topic: &'static str, partition: u32| {
        let partition = PartitionIndex(partition);
        move |id: CorrelationId, out: &mut Vec<u8>| {
            Bind { handle: Handle(handle), partition, topic }.encode(id, out);
        }
    };
    refused(wire, ErrorCode::TopicNotFound, (0, 0), bind(2, "missing", 0));
    refused(wire, ErrorCode::PartitionNotFound, (7, 2), bind(2, "there", 7));
    refused(wire, ErrorCode::HandleInUse, (0, 0), bind(1, "there", 0));
    refused(wire, ErrorCode::TooManyHandles, (65_536, 0), bind(65_536, "there", 0));
    let unknown = Handle(9);
    refused(wire, ErrorCode::HandleUnknown, (0, 0), |id, out| {
        Fetch { handle: unknown, ..FETCH }.encode(id, out);
    });
    refused(wire, ErrorCode::HandleUnknown, (0, 0), |id, out| {
        Unbind { handle: unknown }.encode(id, out);
    });
    let (first, count) = (PartitionIndex(0), 1);
    refused(wire, ErrorCode::TopicNotFound, (0, 0), |id, out| {
        Describe { topic: "missing", first, count }.encode(id, out);
    });
    refused(wire, ErrorCode::TopicNotFound, (0, 0), |id, out| {
        DeleteTopic { name: "missing" }.encode(id, out);
    });
    connection.produce(9, 0, AckLevel::Disk, None, &batch_of(1, 1)).unwrap();
    let answer = connection.read().unwrap();
    assert_eq!(
        (answer.error().code, answer.error().fate),
        (ErrorCode::HandleUnknown, Fate::Refused)
    );
}

#[test]
fn an_offset_out_of_range_is_answered_with_the_range() {
    let place = Place::new();
    let (_server, mut connection) = with_topic(&place);
    connection.produce(1, 0, AckLevel::Disk, None, &batch_of(1, 5)).unwrap();
    connection.read().unwrap();
    for offset in [6, u64::MAX >> 2].map(Offset::new) {
        refused(&mut connection, ErrorCode::OffsetOutOfRange, (0, 5), |id, out| {
            Fetch { offset, ..FETCH }.encode(id, out);
        });
        let (handle, visible) = (Handle(1), Visible::Memory);
        refused(&mut connection, ErrorCode::OffsetOutOfRange, (0, 5), |id, out| {
            Subscribe { handle, visible, offset, credit_bytes: 1 }.encode(id, out);
        });
    }
}

#[test]
fn what_may_not_be_asked_is_refused_and_says_why() {
    let place = Place::new();
    let (_server, mut connection) = with_topic(&place);
    let wire = &mut connection;
    refused(wire, ErrorCode::InvalidRequest, (0, 0), |id, out| {
        Fetch { max_wait_ms: 60_001, ..FETCH }.encode(id, out);
    });
    refused(wire, ErrorCode::NotSubscribed, (0, 0), |id, out| {
        Unsubscribe { handle: Handle(1) }.encode(id, out);
    });
    let subscribe = |id: CorrelationId, out: &mut Vec<u8>| {
        let (handle, visible) = (Handle(1), Visible::Disk);
        Subscribe { handle, visible, offset: Offset::ZERO, credit_bytes: 99 }.encode(id, out);
    };
    wire.ask(subscribe);
    refused(wire, ErrorCode::AlreadySubscribed, (0, 0), subscribe);
    let topic = CreateTopic {
        name: "there",
        partitions: 1,
        default_durability: None,
        flush_interval_ms: 0,
        segment_bytes: 0,
        max_batch_bytes: 0,
        retention: plimsoll_wire::TopicRetention::UNLIMITED,
        cleanup: plimsoll_wire::TopicCleanup::DEFAULT,
    };
    refused(wire, ErrorCode::TopicExists, (0, 0), |id, out| topic.encode(id, out));
    for wrong in [
        CreateTopic { name: "", ..topic },
        CreateTopic { name: "..", ..topic },
        CreateTopic { name: "a/b", ..topic },
        CreateTopic { name: "__own", ..topic },
        CreateTopic { name: "new", partitions: 0, ..topic },
        CreateTopic { name: "new", partitions: 100_001, ..topic },
        CreateTopic { name: "new", max_batch_bytes: u32::MAX, ..topic },
    ] {
        refused(wire, ErrorCode::InvalidTopic, (0, 0), |id, out| wrong.encode(id, out));
    }
}

#[test]
fn a_handle_of_a_deleted_topic_says_that_the_topic_is_gone() {
    let place = Place::new();
    let (server, mut connection) = with_topic(&place);
    server.client().delete_topic("there").unwrap();
    refused(&mut connection, ErrorCode::TopicNotFound, (0, 0), |id, out| FETCH.encode(id, out));
    connection.produce(1, 0, AckLevel::Disk, None, &batch_of(1, 1)).unwrap();
    let answer = connection.read().unwrap();
    assert_eq!(
        (answer.error().code, answer.error().fate),
        (ErrorCode::TopicNotFound, Fate::Refused)
    );
}
