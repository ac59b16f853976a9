//! What is told where a journal frame rotted: nobody takes what is left for all that there was.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod world;

use core::ops::Range;

use plimsoll_device::SocketId;
use plimsoll_storage::{FrameHeader, journal_path};
use plimsoll_wire::{
    CommitOffsets, CorrelationId, DescribeGroup, Durability, ErrorCode, MetadataRequest, Offset,
    OffsetToCommit, PartitionIndex, TopicId, TopicPartition,
};
use world::World;
use world::client::{Answer, batch, encoded, fetch};
use world::group::{code, commit, committed, describe, join, joined, reset, with_topic};

const BLOCK: usize = 4096;

/// Where the frames of a shard's journal begin.
fn frames(world: &World, shard: u16) -> Vec<u64> {
    let journal = world.disks[usize::from(shard)].read_file(&journal_path(shard)).unwrap();
    let places = (2 * BLOCK..journal.len()).step_by(BLOCK);
    places.filter(|at| FrameHeader::decode(&journal[*at..]).is_some()).map(|at| at as u64).collect()
}

/// Starts anew with one bit of a frame of shard 0 changed.
fn rotten(mut world: World, frame: u64) -> World {
    world.disks[0].flip_bit(&journal_path(0), frame + 90, 3);
    world.restart()
}

fn produce(world: &mut World, socket: SocketId, numbers: Range<u32>, value: &[u8]) {
    for correlation in numbers {
        world.produce(socket, correlation, Durability::Disk, None, &batch(1, value));
        assert_eq!(world.acks(socket).len(), 1);
    }
}

/// The log of offsets ended before the lost frame and counted as read: a group was told an older
/// commit, and worked off again what it had done with.
#[test]
fn a_group_whose_commits_may_be_lost_is_not_told_older_ones() {
    let (mut world, socket) = with_topic(1, 1);
    let member = joined(&mut world, socket, &join("g"));
    committed(&mut world, socket, &commit(&member, 0, 5));
    let lost = frames(&world, 0).len();
    let answer = committed(&mut world, socket, &commit(&member, 0, 8));
    assert!(matches!(answer, Answer::Committed(_)), "{answer:?}");
    produce(&mut world, socket, 1..4, b"behind");
    let frame = frames(&world, 0)[lost];
    let mut world = rotten(world, frame);
    let socket = world.hello(0);
    let answer = world.ask(socket, |out| join("g").encode(CorrelationId(9), out));
    assert_eq!(code(&answer), ErrorCode::DataDamaged);
    assert_eq!(code(&describe(&mut world, socket)), ErrorCode::DataDamaged);
}

/// Who had read all that was left was told nothing, and one who stood behind it that his records
/// had been removed.
#[test]
fn who_comes_to_an_end_behind_which_records_may_be_lost_is_told() {
    let mut world = World::new(1);
    let socket = world.bound();
    produce(&mut world, socket, 1..4, b"there");
    let lost = frames(&world, 0).len();
    produce(&mut world, socket, 4..7, b"lost");
    let frame = frames(&world, 0)[lost];
    let mut world = rotten(world, frame);
    let socket = world.hello(0);
    world.bind(socket, 0, "t", 0);
    for (offset, is_there) in [(2, true), (3, false), (5, false)] {
        let request = fetch(offset, 1, 1_000);
        let answer = world.ask(socket, |out| request.encode(CorrelationId(1), out));
        match answer {
            Answer::Error { code, .. } => {
                assert_eq!((code, is_there), (ErrorCode::DataDamaged, false), "{offset}");
            }
            _ => assert!(is_there, "{offset}: {answer:?}"),
        }
    }
}

/// All topics that were created in the lost frame or behind it were said not to exist, with the
/// advice to create them; and what other shards had of them was removed.
#[test]
fn a_topic_of_which_nobody_can_tell_is_not_said_to_be_missing_and_keeps_its_files() {
    let mut world = World::new(2);
    let socket = world.hello(0);
    world.create(socket, "t", 2);
    let lost = frames(&world, 0).len();
    world.create(socket, "u", 2);
    for partition in 0..2 {
        world.bind(socket, partition, "u", partition);
    }
    for correlation in 0..4 {
        let value = batch(1, &[7; 100_000]);
        let frame = world::client::produce_frame(
            correlation % 2,
            correlation,
            Durability::Disk,
            None,
            &value,
        );
        world.send(socket, &frame);
        world.take(socket);
    }
    let files = |world: &World| -> Vec<String> {
        let of_u = |path: &String| path.starts_with("topics/2/");
        world.disks[1].files().into_iter().filter(of_u).collect()
    };
    let before = files(&world);
    assert!(!before.is_empty());
    let frame = frames(&world, 0)[lost];
    let world = rotten(world, frame);
    // Whatever was to be removed is gone by the second.
    let mut world = world.restart();
    assert_eq!(files(&world), before);
    for shard in 0..2 {
        let socket = world.hello(shard);
        assert!(!matches!(world.bind(socket, 0, "t", 0), Answer::Error { .. }));
        assert_eq!(code(&world.bind(socket, 1, "u", 0)), ErrorCode::DataDamaged);
        for (topics, is_told) in [(vec!["t"], false), (vec!["t", "u"], true), (vec![], true)] {
            let request = MetadataRequest { topics, with_retention: false, with_cleanup: false };
            world.send(socket, &encoded(|out| request.encode(CorrelationId(3), out)));
            let answers = world.answers(socket);
            let is_error =
                matches!(answers[..], [(3, Answer::Error { code: ErrorCode::DataDamaged, .. })]);
            assert_eq!(is_error, is_told, "{answers:?}");
        }
    }
}

/// What sound shards kept of groups in topics that nobody knew any more was dropped when the log of
/// offsets was next shortened: the repair brought the topics back, and groups began anew in them.
#[test]
fn what_groups_have_committed_in_topics_of_which_nobody_can_tell_is_there_after_the_repair() {
    let mut world = World::new(2);
    let socket = world.hello(0);
    world.create(socket, "t", 1);
    world.bind(socket, 0, "t", 0);
    world.produce(socket, 1, Durability::Disk, None, &batch(10, b"x"));
    world.take(socket);
    let lost = frames(&world, 0).len();
    world.create(socket, "u", 1);
    let of = |group, topic, offset, metadata| {
        let partition = TopicPartition { topic: TopicId(topic), partition: PartitionIndex(0) };
        let offsets = vec![OffsetToCommit { partition, offset: Some(offset), metadata }];
        CommitOffsets { group, offsets, ..reset(0, None) }
    };
    let groups = ["a", "b", "c", "d", "e", "f", "g", "h"];
    for group in groups {
        committed(&mut world, socket, &of(group, 2, Offset::ZERO, "of u"));
    }
    let described = |world: &mut World, group| {
        let socket = world.hello(0);
        let describe = DescribeGroup { group, with_share: false };
        world.ask(socket, |out| describe.encode(CorrelationId(6), out))
    };
    let frame = frames(&world, 0)[lost];
    let mut world = rotten(world, frame);
    let is_served = |world: &mut World, group| match described(world, group) {
        Answer::Error { code, .. } => code != ErrorCode::DataDamaged,
        _ => true,
    };
    let served = groups.into_iter().find(|group| is_served(&mut world, *group));
    let group = served.expect("the sound shard keeps one of them");
    let (socket, note) = (world.hello(0), "n".repeat(4_000));
    for round in 0..1_300 {
        let answer = committed(&mut world, socket, &of(group, 1, Offset::new(round % 10), &note));
        assert!(matches!(answer, Answer::Committed(_)), "{answer:?}");
    }
    // Changed once more, the bit is right again, as after a repair.
    let mut world = rotten(world, frame);
    let Answer::Group { offsets, .. } = described(&mut world, group) else { panic!("it is there") };
    let of_u = offsets.iter().find(|(partition, ..)| partition.topic == TopicId(2));
    assert!(of_u.is_some_and(|(_, offset, note)| (*offset, &**note) == (0, "of u")), "{of_u:?}");
}
