//! Records that are deleted from the front: answered when that is durable, and never seen again.

mod world;

use plimsoll_wire::{
    CorrelationId, DeleteRecords, DeleteTopic, Durability, ErrorCode, Handle, Offset, Offsets,
    OffsetsWhat, PartitionIndex, Visible,
};
use world::World;
use world::client::{Answer, batch, encoded, fetch, records};

fn delete(to: u64) -> DeleteRecords<'static> {
    DeleteRecords { topic: "t", partition: PartitionIndex(0), to: Offset::new(to) }
}

fn fetched(world: &mut World, socket: plimsoll_device::SocketId, from: u64) -> Answer {
    world.ask(socket, |out| fetch(from, 1, 0).encode(CorrelationId(40), out))
}

#[test]
fn deleted_records_are_out_of_range_and_stay_so_after_a_restart() {
    for shards in [1, 2] {
        let mut world = World::new(shards);
        let socket = world.bound();
        for correlation in 1..=4 {
            world.produce(socket, correlation, Durability::Disk, None, &batch(3, b"a"));
        }
        world.take(socket);
        let deleted = world.ask(socket, |out| delete(7).encode(CorrelationId(9), out));
        assert_eq!(deleted, Answer::Offset(Offset::new(7)));
        let again = world.ask(socket, |out| delete(2).encode(CorrelationId(10), out));
        assert_eq!(again, Answer::Offset(Offset::new(7)), "the start never goes back");
        let mut world = world.restart();
        let socket = world.hello(0);
        world.bind(socket, 0, "t", 0);
        let Answer::Error { code: ErrorCode::OffsetOutOfRange, .. } =
            fetched(&mut world, socket, 6)
        else {
            panic!("6 is deleted");
        };
        let Answer::Fetched { batches, .. } = fetched(&mut world, socket, 7) else {
            panic!("7 is there");
        };
        // The batch in which the start lies comes whole.
        assert_eq!(records(&batches).first().map(|(offset, _)| *offset), Some(6));
        let what = OffsetsWhat::Timestamp { unix_ms: 0 };
        let asked = Offsets { handle: Handle(0), what, visible: Visible::Disk };
        let first = world.ask(socket, |out| asked.encode(CorrelationId(5), out));
        assert_eq!(first, Answer::Offset(Offset::new(7)), "a time is never found below the start");
    }
}

#[test]
fn a_deletion_waits_for_the_disk_and_is_told_when_its_topic_goes_or_the_disk_fails() {
    let mut world = World::new(1);
    let (socket, other) = (world.bound(), world.hello(0));
    world.produce(socket, 1, Durability::Disk, None, &batch(3, b"a"));
    world.take(socket);
    let beyond = world.ask(socket, |out| delete(4).encode(CorrelationId(8), out));
    assert!(
        matches!(beyond, Answer::Error { code: ErrorCode::OffsetOutOfRange, .. }),
        "{beyond:?}"
    );
    world.disks_stand_still = true;
    world.send(socket, &encoded(|out| delete(3).encode(CorrelationId(9), out)));
    assert_eq!(world.answers(socket), [], "it is not durable yet");
    world.disks_stand_still = false;
    world.run();
    assert_eq!(world.answers(socket), [(9, Answer::Offset(Offset::new(3)))]);
    world.ask(other, |out| DeleteTopic { name: "t" }.encode(CorrelationId(1), out));
    let gone = world.ask(socket, |out| delete(3).encode(CorrelationId(10), out));
    assert!(matches!(gone, Answer::Error { code: ErrorCode::TopicNotFound, .. }), "{gone:?}");
}
