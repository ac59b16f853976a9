//! A member of a consumer group by hand: what it asks, and what it is told.

use plimsoll_device::SocketId;
use plimsoll_shard::ShardLimits;
use plimsoll_wire::{
    Assignor, CommitMode, CommitOffsets, CorrelationId, DescribeGroup, Durability, ErrorCode,
    Generation, Heartbeat, JoinGroup, MemberId, Offset, OffsetToCommit, PartitionIndex, TopicId,
    TopicPartition,
};

use super::client::{Answer, Member, batch};
use super::{World, limits};

pub fn join(group: &'static str) -> JoinGroup<'static> {
    JoinGroup {
        group,
        member: MemberId::NONE,
        instance: "",
        client: "test",
        session_timeout_ms: 0,
        rebalance_timeout_ms: 0,
        assignor: Assignor::Sticky,
        topics: vec!["t"],
        owned: Vec::new(),
        share: None,
    }
}

pub fn joined(world: &mut World, socket: SocketId, join: &JoinGroup<'_>) -> Member {
    let answer = world.ask(socket, |out| join.encode(CorrelationId(9), out));
    let Answer::Member(member) = answer else { panic!("{answer:?}") };
    member
}

pub fn partition(partition: u32) -> TopicPartition {
    TopicPartition { topic: TopicId(1), partition: PartitionIndex(partition) }
}

pub fn commit(member: &Member, partition_index: u32, offset: u64) -> CommitOffsets<'static> {
    let offset = Some(Offset::new(offset));
    CommitOffsets {
        group: "g",
        member: member.id,
        generation: member.generation,
        mode: CommitMode::Forward,
        offsets: vec![OffsetToCommit {
            partition: partition(partition_index),
            offset,
            metadata: "",
        }],
    }
}

pub fn reset(partition_index: u32, offset: Option<u64>) -> CommitOffsets<'static> {
    let offset = offset.map(Offset::new);
    CommitOffsets {
        group: "g",
        member: MemberId::NONE,
        generation: Generation(0),
        mode: CommitMode::Exact,
        offsets: vec![OffsetToCommit {
            partition: partition(partition_index),
            offset,
            metadata: "",
        }],
    }
}

pub fn committed(world: &mut World, socket: SocketId, commit: &CommitOffsets<'_>) -> Answer {
    world.ask(socket, |out| commit.encode(CorrelationId(7), out))
}

pub fn beat(world: &mut World, socket: SocketId, member: &Member) -> Answer {
    let heartbeat = Heartbeat { group: "g", member: member.id, generation: member.generation };
    world.ask(socket, |out| heartbeat.encode(CorrelationId(8), out))
}

pub fn describe(world: &mut World, socket: SocketId) -> Answer {
    let describe = DescribeGroup { group: "g", with_share: false };
    world.ask(socket, |out| describe.encode(CorrelationId(6), out))
}

/// A topic of some partitions with ten records in partition 0, and a connection to shard 0.
pub fn with_topic(shards: u16, partitions: u32) -> (World, SocketId) {
    with_topic_and_limits(shards, partitions, limits())
}

pub fn with_topic_and_limits(
    shards: u16,
    partitions: u32,
    limits: ShardLimits,
) -> (World, SocketId) {
    let mut world = World::with_limits(shards, limits);
    let socket = world.hello(0);
    world.create(socket, "t", partitions);
    world.bind(socket, 0, "t", 0);
    world.produce(socket, 0, Durability::Disk, None, &batch(10, b"x"));
    world.take(socket);
    (world, socket)
}

pub fn code(answer: &Answer) -> ErrorCode {
    let Answer::Error { code, .. } = answer else { panic!("{answer:?}") };
    *code
}
