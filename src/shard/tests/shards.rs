//! Two shards and more: handover, forwarding, topics on all of them.

mod world;

use plimsoll_wire::{
    AckLevel, CorrelationId, Credit, DeleteTopic, Describe, Durability, ErrorCode, Fate, Handle,
    Hello, MetadataRequest, Offsets, OffsetsWhat, PartitionIndex, ShardIndex, Stats, TopicId,
    Visible,
};
use world::World;
use world::client::{Answer, answers, batch, encoded, fetch, produce_frame, records};

/// A connection to shard 0 with handle 0 on a partition that shard 1 owns (topic 1, partition 0).
fn remote(world: &mut World) -> plimsoll_device::SocketId {
    let socket = world.bound();
    let describe = Describe { topic: "t", first: PartitionIndex(0), count: 9 };
    let described = world.ask(socket, |out| describe.encode(CorrelationId(4), out));
    assert_eq!(described, Answer::Described(vec![(0, 1)]), "partition 0 is on shard 1");
    socket
}

#[test]
fn a_hello_moves_the_connection_to_the_shard_that_it_names_with_all_that_came_behind_it() {
    let mut world = World::new(3);
    let socket = world.connect();
    let mut bytes = encoded(|out| Hello::new(ShardIndex(2), "test").encode(CorrelationId(1), out));
    let stats = encoded(|out| Stats.encode(CorrelationId(2), out));
    bytes.extend(&stats);
    bytes.extend(&stats[..5]);
    world.send(socket, &bytes);
    let answers = world.answers(socket);
    assert_eq!(answers[0], (1, Answer::Hello { shard: 2 }));
    assert!(matches!(answers[1], (2, Answer::Stats(_))));
    world.send(socket, &stats[5..]);
    assert_eq!(world.answers(socket).len(), 1);
    let hello = Hello::new(ShardIndex(9), "no such shard");
    let socket = world.connect();
    world.send(socket, &encoded(|out| hello.encode(CorrelationId(1), out)));
    assert_eq!(world.answers(socket), [(1, Answer::Hello { shard: 0 })]);
}

#[test]
fn forwarded_batches_are_acked_at_their_levels_in_order() {
    let mut world = World::new(2);
    let socket = remote(&mut world);
    world.lease(socket, 0);
    world.disks_stand_still = true;
    world.produce(socket, 1, Durability::Disk, Some(AckLevel::Memory), &batch(2, b"a"));
    world.produce(socket, 2, Durability::None, None, &batch(2, b"b"));
    assert_eq!(world.acks(socket), [(AckLevel::Memory, 1, 1, 1)]);
    world.disks_stand_still = false;
    world.run();
    assert_eq!(world.acks(socket), [(AckLevel::Disk, 1, 1, 1)]);
    let mut broken = batch(1, b"a");
    *broken.last_mut().unwrap() ^= 1;
    world.produce(socket, 3, Durability::Disk, None, &broken);
    let [(3, Answer::Error { code: ErrorCode::BatchCrc, fate: Fate::Refused, .. })] =
        world.answers(socket)[..]
    else {
        panic!("refused by the other shard");
    };
}

#[test]
fn forwarded_batches_are_bounded_in_bytes_and_all_arrive() {
    let few = plimsoll_shard::ShardLimits { forward_bytes_max: 50_000, ..world::limits() };
    let mut world = World::with_limits(2, few);
    let socket = remote(&mut world);
    let mut frames = Vec::new();
    for correlation in 0..100 {
        let batch = batch(1, &[3; 20_000]);
        frames.extend(produce_frame(0, correlation, Durability::Disk, None, &batch));
    }
    world.send(socket, &frames);
    assert_eq!(world.acks(socket).iter().map(|ack| ack.2).sum::<u32>(), 100);
}

#[test]
fn fetches_and_subscriptions_are_served_across_shards() {
    let mut world = World::new(2);
    let socket = remote(&mut world);
    let ask = encoded(|out| fetch(0, 1, 60_000).encode(CorrelationId(40), out));
    world.send(socket, &ask);
    assert_eq!(world.answers(socket), []);
    world.produce(socket, 1, Durability::None, None, &batch(3, b"a"));
    let [(40, Answer::Fetched { batches, .. })] = &world.answers(socket)[..] else {
        panic!("the long poll is answered");
    };
    assert_eq!(records(batches).len(), 3);
    let end = Offsets { handle: Handle(0), what: OffsetsWhat::End, visible: Visible::Memory };
    let end = world.ask(socket, |out| end.encode(CorrelationId(5), out));
    assert_eq!(end, Answer::Offset(plimsoll_wire::Offset::new(3)));

    world.subscribe(socket, Visible::Memory, 1);
    assert_eq!(world.answers(socket).len(), 2, "the answer and one delivery");
    for correlation in 2..40 {
        world.produce(socket, correlation, Durability::None, None, &batch(1, &[1; 30_000]));
    }
    world.stall(socket, true);
    let credit = Credit { handle: Handle(0), bytes: u32::MAX };
    world.send(socket, &encoded(|out| credit.encode(CorrelationId(0), out)));
    let delivered = world.stat("delivered_bytes");
    assert!(delivered < 1 << 20, "a client that does not read is sent {delivered} bytes");
    world.stall(socket, false);
    let bytes = world.take(socket);
    let offsets: Vec<u64> = answers(&bytes)
        .into_iter()
        .flat_map(|(_, answer)| match answer {
            Answer::Delivery { batches, .. } => records(&batches),
            other => panic!("no delivery: {other:?}"),
        })
        .map(|(offset, _)| offset)
        .collect();
    assert_eq!(offsets, (3..41).collect::<Vec<u64>>());
}

#[test]
fn a_topic_is_known_on_every_shard_when_its_creation_is_answered() {
    let mut world = World::new(3);
    let (first, last) = (world.hello(0), world.hello(2));
    assert_eq!(world.create(last, "wide", 7), Answer::Created(TopicId(1)));
    let Answer::Error { code: ErrorCode::TopicExists, .. } = world.create(first, "wide", 1) else {
        panic!("the name is taken");
    };
    for (handle, partition) in (0..7).zip(0..7) {
        assert!(matches!(world.bind(first, handle, "wide", partition), Answer::Bound(_)));
        assert!(matches!(world.bind(last, handle, "wide", partition), Answer::Bound(_)));
    }
    let describe = Describe { topic: "wide", first: PartitionIndex(2), count: 100 };
    let described = world.ask(last, |out| describe.encode(CorrelationId(4), out));
    assert_eq!(described, Answer::Described(vec![(2, 0), (3, 1), (4, 2), (5, 0), (6, 1)]));
    let all = MetadataRequest::default();
    let metadata = world.ask(last, |out| all.encode(CorrelationId(4), out));
    assert_eq!(metadata, Answer::Metadata(vec![("wide".to_string(), 7)]));

    let delete = DeleteTopic { name: "wide" };
    assert_eq!(world.ask(first, |out| delete.encode(CorrelationId(6), out)), Answer::Empty);
    for socket in [first, last] {
        let metadata = world.ask(socket, |out| all.encode(CorrelationId(4), out));
        assert_eq!(metadata, Answer::Metadata(Vec::new()));
        world.send(socket, &produce_frame(1, 1, Durability::Disk, None, &batch(1, b"a")));
        let answers = world.answers(socket);
        let [(1, Answer::Error { code: ErrorCode::TopicNotFound, .. })] = answers[..] else {
            panic!("the topic is gone: {answers:?}");
        };
    }
}

#[test]
fn invalid_topics_are_refused() {
    let mut world = World::new(2);
    let socket = world.hello(1);
    for (name, partitions) in [("", 1), ("a/b", 1), ("__metadata", 1), ("a", 0), ("a", 100_001)] {
        let Answer::Error { code: ErrorCode::InvalidTopic, .. } =
            world.create(socket, name, partitions)
        else {
            panic!("{name} with {partitions} partitions");
        };
    }
    let unknown = DeleteTopic { name: "unknown" };
    let answer = world.ask(socket, |out| unknown.encode(CorrelationId(6), out));
    assert!(matches!(answer, Answer::Error { code: ErrorCode::TopicNotFound, .. }));
}

fn create_frame(name: &str, correlation: u32) -> Vec<u8> {
    let create = plimsoll_wire::CreateTopic {
        name,
        partitions: 1,
        default_durability: None,
        flush_interval_ms: 0,
        segment_bytes: 0,
        max_batch_bytes: 0,
        retention: plimsoll_wire::TopicRetention::UNLIMITED,
        cleanup: plimsoll_wire::TopicCleanup::DEFAULT,
    };
    encoded(|out| create.encode(CorrelationId(correlation), out))
}

#[test]
fn a_creation_is_answered_only_when_its_record_is_on_disk() {
    let mut world = World::new(2);
    let socket = world.hello(1);
    world.disks_stand_still = true;
    world.send(socket, &create_frame("t", 2));
    assert_eq!(world.answers(socket), []);
    world.disks_stand_still = false;
    world.run();
    assert_eq!(world.answers(socket), [(2, Answer::Created(TopicId(1)))]);
}

/// A client that lost its connection asks again. While the first change is on its way to the disk
/// "it exists" and "it does not exist" could both be taken back by a power loss; after a failed
/// disk both were said of one topic, and a restart showed which.
#[test]
fn whether_a_topic_exists_is_not_said_while_it_is_undecided() {
    let mut world = World::new(1);
    let socket = world.hello(0);
    let delete = encoded(|out| DeleteTopic { name: "t" }.encode(CorrelationId(3), out));
    world.disks_stand_still = true;
    let create = create_frame("t", 2);
    for request in [&create, &create_frame("t", 4), &delete] {
        world.send(socket, request);
    }
    let undecided = |answers: &[(u32, Answer)], expected| {
        for (_, answer) in answers {
            let Answer::Error { code, .. } = answer else { panic!("{answer:?}") };
            assert_eq!(*code, expected);
        }
        answers.len()
    };
    assert_eq!(undecided(&world.answers(socket), ErrorCode::Overloaded), 2);
    world.disks_stand_still = false;
    world.run();
    assert_eq!(world.answers(socket), [(2, Answer::Created(TopicId(1)))]);
    let mut world = World::new(1);
    let socket = world.hello(0);
    world.fail_disk();
    for request in [&create, &create, &delete] {
        world.send(socket, request);
    }
    assert_eq!(undecided(&world.answers(socket), ErrorCode::DiskFailed), 3);
}

#[test]
fn a_stop_of_all_shards_acks_what_was_forwarded() {
    let mut world = World::new(2);
    let socket = remote(&mut world);
    world.disks_stand_still = true;
    world.produce(socket, 1, Durability::Disk, None, &batch(1, b"a"));
    world.stop();
    world.disks_stand_still = false;
    world.run();
    let answers = world.answers(socket);
    assert!(matches!(answers[0].1, Answer::Acks(_)), "{answers:?}");
    assert!(world.is_closed(socket));
    let stopped = world.reports.iter();
    let stopped = stopped.filter(|(_, it)| matches!(it, plimsoll_shard::Report::Stopped));
    assert_eq!(stopped.count(), 2);
}
