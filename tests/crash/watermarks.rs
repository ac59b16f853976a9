//! Two levels for one batch, what the watermarks mean, and what `visible` hides.

use plimsoll_client_blocking::NewTopic;
use plimsoll_tests::{Connection, Place, Server, assert_ordered, batch_of, records};
use plimsoll_wire::{AckLevel, Fetch, Fetched, Handle, Offset, Response, Visible};

/// A topic whose weaker levels wait for an hour before they are flushed.
fn lazy(place: &Place) -> Server {
    let server = place.server().start();
    let name = "lazy";
    let flush_interval_ms = 3_600_000;
    let topic = NewTopic { name, partitions: 1, flush_interval_ms, ..NewTopic::default() };
    server.client().create_topic(&topic).unwrap();
    server
}

fn fetch(connection: &mut Connection, visible: Visible, check: impl FnOnce(Fetched<'_>)) {
    let (handle, offset) = (Handle(0), Offset::ZERO);
    let wanted = Fetch { handle, visible, offset, max_bytes: 4096, min_bytes: 1, max_wait_ms: 50 };
    let answer = connection.ask(|correlation, out| wanted.encode(correlation, out));
    match answer.response() {
        Response::Fetched(fetched) => check(fetched),
        other => panic!("{other:?} instead of records"),
    }
}

/// The level and base offset of the next acks, one entry.
fn next_ack(connection: &mut Connection) -> (AckLevel, u64) {
    let frame = connection.read().expect("acks come");
    let Response::Acks(acks) = frame.response() else { panic!("{:?}", frame.response()) };
    assert_eq!(acks.len(), 1);
    let entry = acks.iter().next().unwrap();
    (entry.level, entry.base_offset.value())
}

#[test]
fn a_consumer_at_disk_sees_nothing_of_a_memory_append_until_it_is_flushed() {
    let place = Place::new();
    let server = lazy(&place);
    let mut connection = Connection::open(server.address());
    connection.bind(0, "lazy", 0);
    connection.produce(0, 0, AckLevel::Memory, None, &batch_of(7, 3)).unwrap();
    assert_eq!(next_ack(&mut connection), (AckLevel::Memory, 0));
    fetch(&mut connection, Visible::Memory, |fetched| {
        assert_eq!(records(fetched.batches), [(0, 7), (1, 8), (2, 9)]);
    });
    fetch(&mut connection, Visible::Disk, |fetched| {
        assert!(fetched.batches.is_empty());
        assert_ordered(&fetched.watermarks);
        assert_eq!(fetched.watermarks.memory, Offset::new(3));
        assert_eq!(fetched.watermarks.disk, Offset::ZERO);
    });
    // Someone wants the disk: everything before is flushed with it.
    connection.produce(0, 1, AckLevel::Disk, None, &batch_of(10, 1)).unwrap();
    assert_eq!(next_ack(&mut connection), (AckLevel::Disk, 3));
    fetch(&mut connection, Visible::Disk, |fetched| {
        assert_eq!(records(fetched.batches), [(0, 7), (1, 8), (2, 9), (3, 10)]);
        assert_eq!(fetched.watermarks.disk, Offset::new(4));
    });
}

#[test]
fn a_batch_with_two_levels_gets_two_acks_the_weaker_first_with_the_same_offset() {
    let place = Place::new();
    let server = lazy(&place);
    let mut connection = Connection::open(server.address());
    connection.bind(0, "lazy", 0);
    let pairs = [
        (AckLevel::Memory, AckLevel::Disk),
        (AckLevel::Disk, AckLevel::Memory),
        (AckLevel::PageCache, AckLevel::Disk),
        (AckLevel::PageCache, AckLevel::Memory),
    ];
    let mut base = 0;
    for (correlation, (one, also)) in (0..).zip(pairs) {
        let batch = batch_of(base, 5);
        connection.produce(0, correlation, one, Some(also), &batch).unwrap();
        let mut levels = Vec::new();
        while levels.len() < 2 {
            let frame = connection.read().expect("acks come");
            let Response::Acks(acks) = frame.response() else { panic!("{:?}", frame.response()) };
            for entry in acks {
                assert_eq!((entry.first.0, entry.frames), (correlation, 1));
                assert_eq!(entry.base_offset.value(), base);
                levels.push(entry.level);
            }
        }
        assert_eq!(levels, [one.min(also), one.max(also)]);
        base += 5;
    }
    // The same level twice is one ack.
    let disk = AckLevel::Disk;
    connection.produce(0, 4, disk, Some(disk), &batch_of(base, 1)).unwrap();
    assert_eq!(next_ack(&mut connection), (disk, base));
    let told = server.client().describe("lazy").unwrap()[0].watermarks;
    assert_ordered(&told);
    assert_eq!([told.memory, told.page_cache, told.disk], [Offset::new(base + 1); 3]);
}

#[test]
fn describe_shows_each_watermark_where_it_is() {
    let place = Place::new();
    let server = lazy(&place);
    let mut connection = Connection::open(server.address());
    connection.bind(0, "lazy", 0);
    connection.produce(0, 0, AckLevel::PageCache, None, &batch_of(0, 4)).unwrap();
    assert_eq!(next_ack(&mut connection), (AckLevel::PageCache, 0));
    let told = server.client().describe("lazy").unwrap()[0].watermarks;
    assert_ordered(&told);
    assert_eq!([told.start, told.page_cache], [Offset::ZERO, Offset::new(4)]);
    assert_eq!(told.disk, Offset::ZERO);
}

#[test]
fn a_weaker_level_is_flushed_within_the_interval_that_the_topic_names() {
    let place = Place::new();
    let server = place.server().start();
    let topic =
        NewTopic { name: "soon", partitions: 1, flush_interval_ms: 50, ..NewTopic::default() };
    server.client().create_topic(&topic).unwrap();
    let mut connection = Connection::open(server.address());
    connection.bind(0, "soon", 0);
    connection.produce(0, 0, AckLevel::Memory, None, &batch_of(0, 1)).unwrap();
    let wanted = Fetch {
        handle: Handle(0),
        visible: Visible::Disk,
        offset: Offset::ZERO,
        max_bytes: 4096,
        min_bytes: 1,
        max_wait_ms: 10_000,
    };
    assert_eq!(next_ack(&mut connection), (AckLevel::Memory, 0));
    let answer = connection.ask(|correlation, out| wanted.encode(correlation, out));
    let Response::Fetched(fetched) = answer.response() else { panic!("{:?}", answer.response()) };
    assert_eq!(records(fetched.batches), [(0, 0)]);
}
