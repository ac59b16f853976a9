//! The log of topics, which is shortened: a record for each change that there ever was would make
//! every start slower than the one before.

mod world;

use std::collections::BTreeMap;

use plimsoll_device::{Completion, SocketId};
use plimsoll_shard::ShardLimits;
use plimsoll_sim::Faults;
use plimsoll_wire::{
    AlterTopic, CorrelationId, CreateTopic, Decoded, DeleteTopic, Durability, MetadataRequest,
    Response, TopicId, decode_frame,
};
use world::World;
use world::client::{Answer, batch, encoded};

fn short() -> ShardLimits {
    ShardLimits { metadata_fresh_bytes_min: 1 << 10, ..world::limits() }
}

fn delete(world: &mut World, socket: SocketId, name: &str) {
    let deleted = world.ask(socket, |out| DeleteTopic { name }.encode(CorrelationId(8), out));
    assert_eq!(deleted, Answer::Empty);
}

fn alter(world: &mut World, socket: SocketId, name: &str, flush_interval_ms: u32) {
    let changes = AlterTopic {
        name,
        flush_interval_ms: Some(flush_interval_ms),
        retention_bytes: Some(u64::from(flush_interval_ms)),
        ..AlterTopic::default()
    };
    let altered = world.ask(socket, |out| changes.encode(CorrelationId(7), out));
    assert_eq!(altered, Answer::Empty);
}

fn created(world: &mut World, socket: SocketId, name: &str) -> u32 {
    match world.create(socket, name, 1) {
        Answer::Created(TopicId(id)) => id,
        other => panic!("{other:?}"),
    }
}

fn create_frame(correlation: u32, name: &str) -> Vec<u8> {
    let topic = CreateTopic {
        name,
        partitions: 1,
        default_durability: None,
        flush_interval_ms: 0,
        segment_bytes: 0,
        max_batch_bytes: 0,
        retention: plimsoll_wire::TopicRetention::UNLIMITED,
        cleanup: plimsoll_wire::TopicCleanup::DEFAULT,
    };
    encoded(|out| topic.encode(CorrelationId(correlation), out))
}

/// Each topic by name: its id, its partitions, and what `alter` sets.
fn topics(world: &mut World) -> BTreeMap<String, (u32, usize, u32, u64)> {
    let socket = world.hello(0);
    let request = MetadataRequest { with_retention: true, ..MetadataRequest::default() };
    world.send(socket, &encoded(|out| request.encode(CorrelationId(9), out)));
    let bytes = world.take(socket);
    let Ok(Decoded::Frame(frame)) = decode_frame(&bytes, 4 << 20) else { panic!("one frame") };
    let Ok(Response::Metadata(metadata)) = Response::decode(&frame) else { panic!("metadata") };
    let topics = metadata.topics.iter().map(|topic| {
        let bytes = topic.retention.map_or(0, |retention| retention.bytes);
        let settings = (topic.id.0, topic.shards.len(), topic.flush_interval_ms, bytes);
        (topic.name.to_string(), settings)
    });
    topics.collect()
}

/// How long the log is shows in what a start reads of it.
#[test]
fn after_many_changes_the_log_is_short_and_topics_ids_and_settings_are_as_they_were() {
    for shards in [1, 2] {
        let mut world = World::with_limits(shards, short());
        let socket = world.hello(0);
        world.create(socket, "kept", 3);
        created(&mut world, socket, "altered");
        let mut highest = 2;
        for round in 0..100 {
            assert_eq!(created(&mut world, socket, "passing"), highest + 1);
            alter(&mut world, socket, "altered", 1_000 + round);
            delete(&mut world, socket, "passing");
            highest += 1;
        }
        assert!(world.stat("metadata_shortened") >= 10, "{}", world.stat("metadata_shortened"));
        let before = topics(&mut world);
        assert_eq!((before["kept"].0, before["kept"].1), (1, 3));
        assert_eq!((before["altered"].0, before["altered"].2), (2, 1_099));
        // Until it is shortened once more, nothing but deletions stands for the highest id.
        for _ in 0..3 {
            world = world.restart();
            assert_eq!(topics(&mut world), before);
            let read_bytes = world.stat("metadata_fresh_bytes");
            assert!((1..3 << 10).contains(&read_bytes), "{read_bytes}");
        }
        let socket = world.hello(0);
        assert_eq!(created(&mut world, socket, "new"), highest + 1);
    }
}

#[test]
fn the_id_of_a_deleted_topic_stays_given_out_when_nothing_else_is_left_in_the_log() {
    let mut world = World::with_limits(1, ShardLimits { metadata_fresh_bytes_min: 0, ..short() });
    let socket = world.hello(0);
    for id in 1..=9 {
        assert_eq!(created(&mut world, socket, "passing"), id);
        delete(&mut world, socket, "passing");
    }
    let mut world = world.restart();
    assert!(topics(&mut world).is_empty());
    let read_bytes = world.stat("metadata_fresh_bytes");
    assert!((1..300).contains(&read_bytes), "{read_bytes}");
    let socket = world.hello(0);
    assert_eq!(created(&mut world, socket, "passing"), 10);
}

#[test]
fn an_id_stays_given_out_when_its_deletion_has_the_log_shortened() {
    let mut by_deletions = 0;
    for alterations in 0..8 {
        let limits = ShardLimits { metadata_fresh_bytes_min: 0, ..short() };
        let mut world = World::with_limits(1, limits);
        let socket = world.hello(0);
        assert_eq!(created(&mut world, socket, "kept"), 1);
        assert_eq!(created(&mut world, socket, "passing"), 2);
        (0..alterations).for_each(|number| alter(&mut world, socket, "kept", 50 + number));
        let before = world.stat("metadata_shortened");
        delete(&mut world, socket, "passing");
        by_deletions += world.stat("metadata_shortened") - before;
        let mut world = world.restart();
        let socket = world.hello(0);
        assert_eq!(created(&mut world, socket, "new"), 3, "after {alterations} alterations");
    }
    assert!(by_deletions > 0, "no deletion had the log shortened");
}

/// The disk completes one operation, and all that follows from it happens.
fn complete_one(world: &mut World) -> bool {
    let completion = world.disks[0].complete_one(world.shards[0].arena_mut());
    let Some(completion) = completion else { return false };
    let now = world.clock.now;
    world.shards[0].handle(Completion::Disk(completion), now);
    world.run();
    true
}

/// Changes are under way when all is written again, and others come before that is on disk. The
/// power goes after each operation in turn: between the writing and the moving of the start, too.
#[test]
fn a_power_loss_at_any_operation_of_a_shortening_keeps_what_was_answered_and_every_id() {
    let mut operations = 0;
    for cut in 0.. {
        let mut world = World::with_limits(1, short());
        let socket = world.hello(0);
        let mut names = Vec::from(["one", "two", "three"].map(str::to_string));
        names.iter().for_each(|name| drop(world.create(socket, name, 1)));
        let mut highest = 3;
        while world.stat("metadata_shortened") == 0 {
            alter(&mut world, socket, "two", 50);
        }
        world.disks_stand_still = true;
        let several: Vec<String> = (0..20).map(|number| format!("t{number}")).collect();
        for (correlation, name) in (100..).zip(&several) {
            world.send(socket, &create_frame(correlation, name));
            if correlation == 105 {
                let name = "one";
                let delete = DeleteTopic { name };
                world.send(socket, &encoded(|out| delete.encode(CorrelationId(1), out)));
                let changes = AlterTopic {
                    name: "two",
                    flush_interval_ms: Some(77),
                    ..AlterTopic::default()
                };
                world.send(socket, &encoded(|out| changes.encode(CorrelationId(2), out)));
            }
        }
        let is_cut = (0..cut).all(|_| complete_one(&mut world));
        let answers = world.answers(socket);
        let mut world = world.lose_power();
        let after = topics(&mut world);
        for (correlation, answer) in answers {
            match (correlation, answer) {
                (1, Answer::Empty) => names.retain(|name| name != "one"),
                (2, Answer::Empty) => assert_eq!(after["two"].2, 77),
                (correlation, Answer::Created(TopicId(id))) => {
                    let name = &several[correlation as usize - 100];
                    assert_eq!(after[name].0, id);
                    highest = highest.max(id);
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(after["three"].0, 3);
        assert_eq!((after["two"].0, after["two"].3), (2, 50));
        let is_gone = !names.contains(&"one".to_string());
        assert!(!is_gone || !after.contains_key("one"), "its deletion was answered");
        highest = highest.max(after.values().map(|topic| topic.0).max().unwrap_or(0));
        let socket = world.hello(0);
        assert!(created(&mut world, socket, "new") > highest);
        operations = cut;
        if !is_cut {
            break;
        }
    }
    assert!(operations >= 5, "{operations} operations are no shortening");
}

/// A disk that fails while all is being written again answers nothing for sure, and takes nothing.
#[test]
fn a_flush_that_fails_in_the_middle_of_a_shortening_takes_nothing_that_was_answered() {
    let mut world = World::with_limits(1, short());
    let socket = world.hello(0);
    assert_eq!(created(&mut world, socket, "kept"), 1);
    let before = topics(&mut world);
    let mut highest = 1;
    while world.stat("metadata_fresh_bytes") < 900 {
        highest = created(&mut world, socket, "passing");
        delete(&mut world, socket, "passing");
    }
    let appended = world.stat("appended_batches");
    world.disks_stand_still = true;
    world.fail_disk();
    for name in ["a", "b", "c"] {
        world.send(socket, &create_frame(100, name));
    }
    assert!(world.stat("appended_batches") > appended + 3, "all was written again");
    world.disks_stand_still = false;
    world.run();
    for (_, answer) in world.answers(socket) {
        assert!(matches!(answer, Answer::Error { .. }), "{answer:?}");
    }
    world.disks.iter_mut().for_each(|disk| disk.faults = Faults::default());
    let mut world = world.restart();
    let mut after = topics(&mut world);
    after.retain(|name, _| !["a", "b", "c"].contains(&name.as_str()));
    assert_eq!(after, before);
    let socket = world.hello(0);
    assert!(created(&mut world, socket, "new") > highest);
}

/// A world whose memory is full of what the disk does not take, up to the reserve for topics. Then
/// of topics, until one is refused. The names of those that were taken.
fn full_of_topics(metadata_fresh_bytes_min: u64) -> (World, Vec<String>) {
    let limits = ShardLimits { metadata_fresh_bytes_min, ..world::limits() };
    let mut world = World::with_limits(1, limits);
    let (filling, socket) = (world.bound(), world.hello(0));
    world.disks_stand_still = true;
    let large = batch(1, &vec![7; 900_000]);
    let mut correlation = 0;
    while world.stat("waits_for_append_memory") == 0 {
        world.produce(filling, correlation, Durability::Memory, None, &large);
        correlation += 1;
    }
    let mut taken = Vec::new();
    while world.answers(socket).is_empty() {
        let name = format!("{:0>200}", taken.len());
        world.send(socket, &create_frame(100, &name));
        taken.push(name);
    }
    taken.pop();
    (world, taken)
}

/// Memory runs out while all is being written again: the log stays long, and right.
#[test]
fn a_shortening_that_is_refused_in_the_middle_takes_nothing() {
    let (world, taken) = full_of_topics(u64::MAX);
    let room_bytes = world.stat("metadata_fresh_bytes");
    let (mut world, fewer) = full_of_topics(room_bytes * 2 / 3);
    assert!(fewer.len() < taken.len(), "something was written again");
    world.disks_stand_still = false;
    world.run();
    assert_eq!(world.stat("metadata_shortened"), 0, "not all was written again");
    let before = topics(&mut world);
    assert!(fewer.iter().all(|name| before.contains_key(name)));
    let mut world = world.restart();
    assert_eq!(topics(&mut world), before);
}
