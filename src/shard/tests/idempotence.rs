//! Idempotent producers at the shard: identities, and what is said of a batch that comes again.

mod world;

use plimsoll_batch::{ProducerStamp, stamp};
use plimsoll_wire::{AckLevel, CorrelationId, Durability, ErrorCode, Fate, Handle, InitProducer};
use world::World;
use world::client::{Answer, batch, produce_frame};

fn refused(code: ErrorCode, detail_a: u64, detail_b: u64) -> Answer {
    Answer::Error { code, fate: Fate::Refused, handle: Some(Handle(0)), detail_a, detail_b }
}

/// A batch of two records.
fn stamped(id: i64, epoch: i16, base_sequence: i32) -> Vec<u8> {
    let mut bytes = batch(2, b"value");
    stamp(&mut bytes, ProducerStamp { id, epoch, base_sequence });
    bytes
}

#[test]
fn no_identity_is_given_twice_by_whichever_shard() {
    let mut world = World::new(3);
    let mut ids = Vec::new();
    for shard in [0, 1, 2, 1] {
        let socket = world.hello(shard);
        for correlation in 0..3 {
            let init = |out: &mut Vec<u8>| InitProducer.encode(CorrelationId(correlation), out);
            let Answer::Identity { producer_id, batches_max } = world.ask(socket, init) else {
                panic!("an identity is given");
            };
            assert_eq!(batches_max, 5);
            assert!(i64::try_from(producer_id).is_ok(), "{producer_id} is positive in a batch");
            ids.push(producer_id);
        }
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 12);
}

#[test]
fn a_batch_that_comes_again_is_acked_where_it_was_and_written_once() {
    let mut world = World::new(2);
    let socket = world.bound();
    for (correlation, sequence) in [(1, 0), (2, 2), (3, 0), (4, 2), (5, 4)] {
        let batch = stamped(7, 0, sequence);
        world.produce(socket, correlation, Durability::Disk, None, &batch);
    }
    let acks = world.acks(socket);
    let offsets: Vec<(u32, u64)> = acks.iter().map(|ack| (ack.1, ack.3)).collect();
    assert_eq!(offsets, [(1, 0), (2, 2), (3, 0), (4, 2), (5, 4)]);
    assert_eq!((world.stat("duplicates"), world.stat("appended_batches")), (2, 4));
}

/// Somebody was told that a record is on disk, because it had been sent twice.
#[test]
fn a_batch_that_comes_again_is_not_acked_before_the_first_one_has_reached_the_level() {
    let mut world = World::new(1);
    let socket = world.bound();
    world.lease(socket, 9);
    world.disks_stand_still = true;
    world.produce(socket, 10, Durability::Memory, None, &stamped(7, 0, 0));
    assert_eq!(world.acks(socket), [(AckLevel::Memory, 10, 1, 1)]);
    let also = Some(AckLevel::Memory);
    world.produce(socket, 11, Durability::Disk, also, &stamped(7, 0, 0));
    assert_eq!(world.acks(socket), [(AckLevel::Memory, 11, 1, 1)]);
    world.disks_stand_still = false;
    world.run();
    assert_eq!(world.acks(socket), [(AckLevel::Disk, 11, 1, 1)], "and the disk is not waited for");
}

#[test]
fn a_batch_from_another_connection_through_another_shard_is_known_again() {
    let mut world = World::new(2);
    let first = world.bound();
    world.produce(first, 1, Durability::Disk, None, &stamped(7, 0, 0));
    assert_eq!(world.acks(first).len(), 1);
    let second = world.hello(1);
    assert!(matches!(world.bind(second, 0, "t", 0), Answer::Bound(_)));
    world.send(second, &produce_frame(0, 50, Durability::Disk, None, &stamped(7, 0, 0)));
    assert_eq!(world.acks(second), [(AckLevel::Disk, 50, 1, 0)]);
}

#[test]
fn what_does_not_come_next_is_refused_with_what_would() {
    let mut world = World::new(1);
    let socket = world.bound();
    let mut ask = |correlation, stamped: Vec<u8>| {
        world.produce(socket, correlation, Durability::Disk, None, &stamped);
        world.answers(socket).remove(0).1
    };
    let unknown = refused(ErrorCode::ProducerUnknown, 0, 0);
    assert_eq!(ask(1, stamped(7, 0, 2)), unknown);
    assert_eq!(ask(2, stamped(7, 0, -1)), unknown, "an identity without a sequence");
    assert!(matches!(ask(3, stamped(7, 0, 0)), Answer::Acks(_)));
    assert_eq!(ask(4, stamped(7, 0, 6)), refused(ErrorCode::OutOfSequence, 2, 6));
    assert!(matches!(ask(5, stamped(7, 3, 0)), Answer::Acks(_)));
    assert_eq!(ask(6, stamped(7, 0, 2)), refused(ErrorCode::ProducerFenced, 3, 0));
    assert!(matches!(ask(7, batch(1, b"of nobody")), Answer::Acks(_)));
}

/// It was told refused, although the first one may be there after a restart.
#[test]
fn on_a_failed_disk_a_batch_that_comes_again_is_acked_or_unknown_and_never_refused() {
    let mut world = World::new(1);
    let socket = world.bound();
    world.produce(socket, 1, Durability::Disk, None, &stamped(7, 0, 0));
    assert_eq!(world.acks(socket).len(), 1);
    world.fail_disk();
    world.produce(socket, 2, Durability::Disk, None, &stamped(7, 0, 2));
    let unknown = Answer::Error {
        code: ErrorCode::DiskFailed,
        fate: Fate::Unknown,
        handle: Some(Handle(0)),
        detail_a: 0,
        detail_b: 0,
    };
    assert_eq!(world.answers(socket), [(2, unknown.clone())]);
    world.produce(socket, 3, Durability::Disk, None, &stamped(7, 0, 2));
    assert_eq!(world.answers(socket), [(3, unknown)]);
    world.produce(socket, 4, Durability::Disk, None, &stamped(7, 0, 0));
    assert_eq!(world.acks(socket), [(AckLevel::Disk, 4, 1, 0)]);
    world.produce(socket, 5, Durability::Disk, None, &stamped(7, 0, 4));
    assert_eq!(world.answers(socket), [(5, refused(ErrorCode::DiskFailed, 0, 0))]);
}

#[test]
fn a_restarted_server_knows_what_it_has_and_nothing_else() {
    let mut world = World::new(1);
    let socket = world.bound();
    world.produce(socket, 1, Durability::Disk, None, &stamped(7, 0, 0));
    world.disks_stand_still = true;
    world.produce(socket, 2, Durability::Memory, None, &stamped(7, 0, 2));
    assert_eq!(world.acks(socket).len(), 2, "and the arena is lost now");
    let mut world = world.restart();
    let socket = world.hello(0);
    assert!(matches!(world.bind(socket, 0, "t", 0), Answer::Bound(_)));
    world.produce(socket, 1, Durability::Disk, None, &stamped(7, 0, 0));
    assert_eq!(world.acks(socket), [(AckLevel::Disk, 1, 1, 0)]);
    world.produce(socket, 2, Durability::Disk, None, &stamped(7, 0, 4));
    assert_eq!(world.answers(socket), [(2, refused(ErrorCode::OutOfSequence, 2, 4))]);
    world.produce(socket, 3, Durability::Disk, None, &stamped(7, 0, 2));
    assert_eq!(world.acks(socket).len(), 1);
}
