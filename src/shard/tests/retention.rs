//! Settings that change while the server runs, and data that goes by them, also while nobody asks.

mod world;

use std::time::Duration;

use plimsoll_device::SocketId;
use plimsoll_shard::Report;
use plimsoll_wire::{
    AckLevel, AlterTopic, CorrelationId, CreateTopic, Decoded, Durability, ErrorCode,
    MetadataRequest, Response, TopicRetention, decode_frame,
};
use world::World;
use world::client::{Answer, batch, encoded};

const HOUR: Duration = Duration::from_secs(3600);
const HOUR_MS: u64 = 3_600_000;

fn create(world: &mut World, socket: SocketId, partitions: u32, retention: TopicRetention) {
    let topic = CreateTopic {
        name: "t",
        partitions,
        default_durability: None,
        flush_interval_ms: 0,
        segment_bytes: 1 << 20,
        max_batch_bytes: 0,
        retention,
        cleanup: plimsoll_wire::TopicCleanup::DEFAULT,
    };
    let created = world.ask(socket, |out| topic.encode(CorrelationId(2), out));
    assert!(matches!(created, Answer::Created(_)), "{created:?}");
}

fn alter(world: &mut World, socket: SocketId, changes: AlterTopic<'_>) -> Answer {
    world.ask(socket, |out| changes.encode(CorrelationId(7), out))
}

/// What metadata says of the topic: its retention, if that is asked for, and its segments' size.
fn settings(world: &mut World, socket: SocketId, with_retention: bool) -> Settings {
    let request = MetadataRequest { topics: vec!["t"], with_retention, with_cleanup: false };
    world.send(socket, &encoded(|out| request.encode(CorrelationId(8), out)));
    let bytes = world.take(socket);
    let Ok(Decoded::Frame(frame)) = decode_frame(&bytes, 1 << 20) else { panic!("one frame") };
    let Ok(Response::Metadata(metadata)) = Response::decode(&frame) else { panic!("metadata") };
    let topic = &metadata.topics[0];
    (topic.retention, topic.segment_bytes, topic.default_durability)
}

type Settings = (Option<TopicRetention>, u64, AckLevel);

fn start(world: &mut World, partition: u32) -> u64 {
    let socket = world.hello(0);
    let Answer::Bound(marks) = world.bind(socket, 0, "t", partition) else {
        panic!("partition {partition} is there");
    };
    marks.start.value()
}

fn produce(world: &mut World, partition: u32, batches: u32) {
    let socket = world.hello(0);
    world.bind(socket, 0, "t", partition);
    for number in 0..batches {
        let batch = batch(1, &[7; 300_000]);
        let durability = Durability::Disk.into();
        let handle = plimsoll_wire::Handle(0);
        let produce = plimsoll_wire::Produce { handle, durability, also: None, batch: &batch };
        let frame = encoded(|out| {
            assert_eq!(produce.encode(CorrelationId(100 + number), out), Ok(()));
        });
        world.send(socket, &frame);
    }
    world.take(socket);
}

#[test]
fn other_settings_are_durable_when_told_and_every_shard_goes_by_them() {
    let mut world = World::new(2);
    let socket = world.hello(1);
    create(&mut world, socket, 2, TopicRetention::UNLIMITED);
    for partition in 0..2 {
        produce(&mut world, partition, 20);
        assert_eq!(start(&mut world, partition), 0);
    }
    assert_eq!(settings(&mut world, socket, true).0, Some(TopicRetention::UNLIMITED));
    let changes = AlterTopic {
        name: "t",
        retention_bytes: Some(2 << 20),
        segment_bytes: Some(3 << 20),
        default_durability: Some(AckLevel::Memory),
        ..AlterTopic::default()
    };
    world.disks_stand_still = true;
    world.send(socket, &encoded(|out| changes.encode(CorrelationId(7), out)));
    assert_eq!(world.answers(socket), [], "it is not durable yet");
    world.disks_stand_still = false;
    world.run();
    assert_eq!(world.answers(socket), [(7, Answer::Empty)]);
    for partition in 0..2 {
        // Three batches a segment, seven of them are 2 MiB.
        assert_eq!(start(&mut world, partition), 12, "partition {partition}");
    }
    let bytes = TopicRetention { age_ms: 0, bytes: 2 << 20 };
    assert_eq!(settings(&mut world, socket, true), (Some(bytes), 3 << 20, AckLevel::Memory));
    assert_eq!(settings(&mut world, socket, false).0, None, "older clients are not told");

    let mut world = world.restart();
    let socket = world.hello(0);
    assert_eq!(settings(&mut world, socket, true), (Some(bytes), 3 << 20, AckLevel::Memory));
    assert_eq!(start(&mut world, 1), 12);
    let everything = AlterTopic { name: "t", retention_bytes: Some(0), ..AlterTopic::default() };
    assert_eq!(alter(&mut world, socket, everything), Answer::Empty);
    produce(&mut world, 1, 20);
    assert_eq!(start(&mut world, 1), 12, "from now on everything stays");
}

#[test]
fn what_cannot_be_altered_is_refused_and_changes_nothing() {
    let mut world = World::new(2);
    let socket = world.hello(0);
    let missing = AlterTopic { name: "t", ..AlterTopic::default() };
    let refused = alter(&mut world, socket, missing);
    assert!(matches!(refused, Answer::Error { code: ErrorCode::TopicNotFound, .. }), "{refused:?}");
    create(&mut world, socket, 1, TopicRetention { age_ms: HOUR_MS, bytes: 0 });
    let before = settings(&mut world, socket, true);
    for wrong in [
        AlterTopic { retention_ms: Some(1), ..missing },
        AlterTopic { retention_bytes: Some(5), segment_bytes: Some(1), ..missing },
    ] {
        let refused = alter(&mut world, socket, wrong);
        assert!(
            matches!(refused, Answer::Error { code: ErrorCode::InvalidTopic, .. }),
            "{refused:?}"
        );
    }
    assert_eq!(settings(&mut world, socket, true), before);
    let mut world = world.restart();
    let socket = world.hello(0);
    assert_eq!(settings(&mut world, socket, true), before);
}

/// Timers of an idle server: none without retention, and none when all is gone.
#[test]
fn an_idle_topic_ages_and_what_does_not_age_sets_no_timer() {
    let mut world = World::new(2);
    let socket = world.hello(0);
    create(&mut world, socket, 2, TopicRetention::UNLIMITED);
    for partition in 0..2 {
        produce(&mut world, partition, 20);
    }
    world.advance(HOUR / 60);
    let timers = |world: &World| -> usize {
        world.shards.iter().filter(|shard| shard.poll_timeout().is_some()).count()
    };
    let without = timers(&world);
    let aging = AlterTopic { name: "t", retention_ms: Some(8 * HOUR_MS), ..AlterTopic::default() };
    assert_eq!(alter(&mut world, socket, aging), Answer::Empty);
    assert_eq!(timers(&world), 2);
    for _ in 0..7 {
        world.advance(HOUR);
    }
    assert_eq!(start(&mut world, 0), 0);
    for _ in 0..4 {
        world.advance(HOUR);
    }
    for partition in 0..2 {
        assert_eq!(start(&mut world, partition), 20, "partition {partition}");
    }
    assert_eq!(world.stat("removed_segments"), 14);
    // Timers of the connections that have just asked.
    world.advance(HOUR / 60);
    assert_eq!(timers(&world), without);
    world.clock.now.unix_ms += 30 * 24 * 3_600_000;
    produce(&mut world, 0, 1);
    let told = world.reports.iter().filter(|(_, it)| matches!(it, Report::ClockLeapt { .. }));
    assert!(told.count() >= 1, "a leap of the clock is told where data ages");
}
