//! Produce: what is acked, when, and what is said of what is not.

mod world;

use plimsoll_batch::assign;
use plimsoll_shard::Report;
use plimsoll_wire::{AckLevel, CorrelationId, Durability, ErrorCode, Fate, Handle, Unbind};
use world::client::{Answer, batch, produce_frame};
use world::{World, limits};

fn refused(code: ErrorCode, detail_a: u64, detail_b: u64) -> Answer {
    Answer::Error { code, fate: Fate::Refused, handle: Some(Handle(0)), detail_a, detail_b }
}

#[test]
fn each_level_is_acked_when_it_is_reached_and_not_before() {
    let mut world = World::new(1);
    let socket = world.bound();
    world.produce(socket, 10, Durability::Memory, None, &batch(2, b"a"));
    world.produce(socket, 11, Durability::PageCache, None, &batch(3, b"b"));
    let acks = world.acks(socket);
    assert_eq!(acks, [(AckLevel::Memory, 10, 1, 0), (AckLevel::PageCache, 11, 1, 2)]);
    world.disks_stand_still = true;
    world.produce(socket, 12, Durability::Disk, None, &batch(1, b"c"));
    assert_eq!(world.acks(socket), []);
    world.disks_stand_still = false;
    world.run();
    assert_eq!(world.acks(socket), [(AckLevel::Disk, 12, 1, 5)]);
}

#[test]
fn a_batch_with_two_levels_is_acked_twice_in_order() {
    let mut world = World::new(1);
    let socket = world.bound();
    world.lease(socket, 6);
    world.disks_stand_still = true;
    world.produce(socket, 7, Durability::Disk, Some(AckLevel::Memory), &batch(1, b"a"));
    assert_eq!(world.acks(socket), [(AckLevel::Memory, 7, 1, 1)]);
    world.disks_stand_still = false;
    world.run();
    assert_eq!(world.acks(socket), [(AckLevel::Disk, 7, 1, 1)]);
}

#[test]
fn durability_none_is_never_answered_not_even_when_refused() {
    let mut world = World::new(1);
    let socket = world.bound();
    world.produce(socket, 1, Durability::None, None, &batch(1, b"a"));
    let mut broken = batch(1, b"a");
    *broken.last_mut().unwrap() ^= 1;
    world.produce(socket, 2, Durability::None, None, &broken);
    assert_eq!(world.answers(socket), []);
    assert_eq!((world.stat("appended_batches"), world.stat("refused")), (2, 1));
}

#[test]
fn acks_of_frames_that_came_together_are_one_entry() {
    let mut world = World::new(1);
    let socket = world.bound();
    let mut frames = Vec::new();
    for correlation in 0..50 {
        let batch = batch(2, b"v");
        frames.extend(produce_frame(0, correlation, Durability::Memory, None, &batch));
    }
    world.send(socket, &frames);
    let acks = world.acks(socket);
    assert_eq!(acks.iter().map(|ack| ack.2).sum::<u32>(), 50);
    assert!(acks.len() <= 2, "{acks:?}");
}

#[test]
fn each_wrong_batch_is_refused_with_its_own_code_and_the_connection_lives() {
    let mut world = World::new(1);
    let socket = world.bound();
    let good = batch(2, b"value");
    let change = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let cases = [
        (change(75, 99), ErrorCode::BatchCrc, 0, 0),
        (change(60, 9), ErrorCode::BatchCount, 0, 0),
        (change(16, 1), ErrorCode::BatchMagic, 1, 0),
        (change(22, 7), ErrorCode::BatchCodec, 7, 0),
        (change(22, 0x10), ErrorCode::BatchKind, 0, 0),
        (change(11, 0xff), ErrorCode::BatchMalformed, 0, 0),
        (batch(1, &[7; 1 << 20]), ErrorCode::BatchTooLarge, (1 << 20) + 74, 1 << 20),
    ];
    for (correlation, (bytes, code, a, b)) in (0..).zip(cases) {
        world.produce(socket, correlation, Durability::Disk, None, &bytes);
        assert_eq!(world.answers(socket), [(correlation, refused(code, a, b))]);
    }
    world.produce(socket, 7, Durability::Disk, None, &good);
    assert_eq!(world.acks(socket), [(AckLevel::Disk, 7, 1, 0)]);
}

#[test]
fn a_gap_in_the_correlation_ids_of_a_handle_ends_the_connection() {
    let mut world = World::new(1);
    let socket = world.bound();
    world.produce(socket, u32::MAX, Durability::Memory, None, &batch(1, b"a"));
    world.produce(socket, 0, Durability::Memory, None, &batch(1, b"a"));
    assert_eq!(world.acks(socket).len(), 2, "the id counts modulo 2^32");
    world.produce(socket, 2, Durability::Memory, None, &batch(1, b"a"));
    assert_eq!(world.answers(socket), [(2, refused(ErrorCode::Sequence, 1, 2))]);
    assert!(world.is_closed(socket));
}

#[test]
fn a_handle_that_is_not_bound_costs_the_batch_only() {
    let mut world = World::new(1);
    let socket = world.bound();
    let answer = world.ask(socket, |out| {
        Unbind { handle: Handle(0) }.encode(CorrelationId(9), out);
    });
    assert_eq!(answer, Answer::Empty);
    world.produce(socket, 1, Durability::Disk, None, &batch(1, b"a"));
    let answers = world.answers(socket);
    assert_eq!(answers, [(1, refused(ErrorCode::HandleUnknown, 0, 0))]);
    assert!(matches!(world.bind(socket, 0, "t", 0), Answer::Bound(_)));
}

#[test]
fn beyond_the_in_flight_limit_the_server_stops_reading_until_acks_have_left() {
    let mut world =
        World::with_limits(1, plimsoll_shard::ShardLimits { in_flight_frames_max: 4, ..limits() });
    let socket = world.bound();
    world.disks_stand_still = true;
    let batch = batch(1, &[1; 10_000]);
    for correlation in 0..100 {
        world.produce(socket, correlation, Durability::Disk, None, &batch);
    }
    assert_eq!(world.stat("appended_batches"), 1 + 4);
    assert!(world.untaken_bytes(socket) > 500_000, "{}", world.untaken_bytes(socket));
    world.disks_stand_still = false;
    world.run();
    assert_eq!(world.acks(socket).iter().map(|ack| ack.2).sum::<u32>(), 100);
}

#[test]
fn a_failed_flush_answers_unknown_then_refuses_while_reads_go_on() {
    let mut world = World::new(1);
    let socket = world.bound();
    world.produce(socket, 1, Durability::Disk, None, &batch(1, b"kept"));
    assert_eq!(world.acks(socket), [(AckLevel::Disk, 1, 1, 0)]);
    world.disks_stand_still = true;
    world.fail_disk();
    world.produce(socket, 2, Durability::Disk, Some(AckLevel::Memory), &batch(1, b"lost"));
    assert_eq!(world.acks(socket), [(AckLevel::Memory, 2, 1, 1)]);
    world.disks_stand_still = false;
    world.run();
    let [(2, Answer::Error { code: ErrorCode::DiskFailed, fate: Fate::Unknown, .. })] =
        world.answers(socket)[..]
    else {
        panic!("one answer: unknown");
    };
    world.produce(socket, 3, Durability::Memory, None, &batch(1, b"late"));
    assert_eq!(world.answers(socket), [(3, refused(ErrorCode::DiskFailed, 0, 0))]);
    let fetch = world::client::fetch(0, 1, 0);
    let Answer::Fetched { watermarks, batches } =
        world.ask(socket, |out| fetch.encode(CorrelationId(4), out))
    else {
        panic!("reads go on");
    };
    assert_eq!(watermarks.disk.value(), 1);
    assert_eq!(world::client::records(&batches)[0], (0, b"kept".to_vec()));
}

/// An error settles its frame: an ack after it answers what the client no longer waits for, and a
/// client takes that for a broken server.
#[test]
fn the_ack_of_a_weaker_level_goes_before_the_error_that_settles_its_frame() {
    let mut world = World::new(1);
    let socket = world.bound();
    world.lease(socket, 1);
    world.disks_stand_still = true;
    world.fail_disk();
    world.produce(socket, 2, Durability::Disk, None, &batch(1, b"lost"));
    world.disks_stand_still = false;
    // It is taken in the turn in which the write of the one before fails.
    world.produce(socket, 3, Durability::Disk, Some(AckLevel::Memory), &batch(1, b"lost too"));
    let answers = world.answers(socket);
    let place = |what: &str, is_it: &dyn Fn(&(u32, Answer)) -> bool| {
        answers.iter().position(is_it).unwrap_or_else(|| panic!("no {what} in {answers:?}"))
    };
    let ack = place("ack", &|(_, answer)| matches!(answer, Answer::Acks(_)));
    let error = place("error", &|(correlation, answer)| {
        *correlation == 3 && matches!(answer, Answer::Error { fate: Fate::Unknown, .. })
    });
    assert!(ack < error, "{answers:?}");
}

#[test]
fn without_append_memory_a_producer_waits_and_nobody_else_does() {
    let mut world = World::new(1);
    let (socket, neighbour) = (world.bound(), world.hello(0));
    world.disks_stand_still = true;
    let batch = batch(1, &[1; 900_000]);
    for correlation in 0..60 {
        world.produce(socket, correlation, Durability::Disk, None, &batch);
    }
    assert!(world.untaken_bytes(socket) > 20 << 20, "{}", world.untaken_bytes(socket));
    assert!(world.stat("waits_for_append_memory") > 0);
    let stats = world.ask(neighbour, |out| plimsoll_wire::Stats.encode(CorrelationId(1), out));
    assert!(matches!(stats, Answer::Stats(_)));
    world.disks_stand_still = false;
    world.run();
    assert_eq!(world.acks(socket).iter().map(|ack| ack.2).sum::<u32>(), 60);
}

#[test]
fn a_full_disk_refuses_appends_and_takes_them_again_when_there_is_room() {
    let mut world = World::new(1);
    let socket = world.bound();
    world.produce(socket, 0, Durability::Disk, None, &batch(1, b"before"));
    assert_eq!(world.acks(socket).len(), 1);
    world.disks[0].faults.no_space = true;
    let large = batch(1, &[1; 900_000]);
    let mut correlation = 0;
    let is_full = (1..80).any(|next| {
        correlation = next;
        world.produce(socket, next, Durability::Memory, None, &large);
        world.advance(std::time::Duration::from_millis(100));
        let full = refused(ErrorCode::DiskFull, 0, 0);
        world.answers(socket).iter().any(|(_, answer)| *answer == full)
    });
    assert!(is_full, "the disk is full and nobody says so");
    for _ in 0..5 {
        correlation += 1;
        world.produce(socket, correlation, Durability::Memory, None, &large);
        world.take(socket);
    }
    let told = |world: &World, is_it: fn(&Report) -> bool| {
        world.reports.iter().filter(|(_, report)| is_it(report)).count()
    };
    let full = |report: &Report| matches!(report, Report::DiskFull);
    assert_eq!(told(&world, full), 1, "told once, not for each append");
    let fetch = world::client::fetch(0, 1, 0);
    let fetched = world.ask(socket, |out| fetch.encode(CorrelationId(4), out));
    assert!(matches!(fetched, Answer::Fetched { .. }), "reads go on");
    world.disks[0].faults.no_space = false;
    world.advance(std::time::Duration::from_secs(1));
    world.take(socket);
    world.produce(socket, correlation + 1, Durability::Disk, None, &large);
    assert_eq!(world.acks(socket).len(), 1, "appends resume by themselves");
    assert_eq!(told(&world, |report| matches!(report, Report::DiskHasRoom)), 1);
    assert_eq!(told(&world, full), 1);
}

/// Otherwise an operator could not make room but by hand.
#[test]
fn on_a_full_disk_a_topic_can_be_deleted() {
    let mut world = World::new(1);
    let socket = world.bound();
    world.disks[0].faults.no_space = true;
    let large = batch(1, &[1; 900_000]);
    let is_full = (1..80).any(|next| {
        world.produce(socket, next, Durability::Memory, None, &large);
        world.advance(std::time::Duration::from_millis(100));
        let full = refused(ErrorCode::DiskFull, 0, 0);
        world.answers(socket).iter().any(|(_, answer)| *answer == full)
    });
    assert!(is_full, "the disk is full and nobody says so");
    let delete = plimsoll_wire::DeleteTopic { name: "t" };
    let other = world.hello(0);
    assert_eq!(world.ask(other, |out| delete.encode(CorrelationId(8), out)), Answer::Empty);
}

#[test]
fn topics_and_their_records_survive_a_restart_and_ids_are_not_used_again() {
    let mut world = World::new(2);
    let socket = world.bound();
    world.create(socket, "gone", 3);
    world.produce(socket, 1, Durability::Disk, None, &batch(2, b"kept"));
    assert_eq!(world.acks(socket).len(), 1);
    let delete = plimsoll_wire::DeleteTopic { name: "gone" };
    assert_eq!(world.ask(socket, |out| delete.encode(CorrelationId(8), out)), Answer::Empty);

    let mut world = world.restart();
    let socket = world.hello(1);
    let all = plimsoll_wire::MetadataRequest::default();
    let metadata = world.ask(socket, |out| all.encode(CorrelationId(1), out));
    assert_eq!(metadata, Answer::Metadata(vec![("t".to_string(), 1)]));
    assert_eq!(world.create(socket, "new", 1), Answer::Created(plimsoll_wire::TopicId(3)));
    assert!(matches!(world.bind(socket, 0, "t", 0), Answer::Bound(_)));
    let fetch = world::client::fetch(0, 1, 0);
    let Answer::Fetched { batches, .. } =
        world.ask(socket, |out| fetch.encode(CorrelationId(4), out))
    else {
        panic!("the topic is there");
    };
    assert_eq!(world::client::records(&batches).len(), 2);
    world.produce(socket, 1, Durability::Disk, None, &batch(1, b"more"));
    let [(AckLevel::Disk, 1, 1, base)] = world.acks(socket)[..] else { panic!("one ack") };
    assert!(base >= 2, "no offset is given out twice");
}

#[test]
fn a_deleted_topic_answers_what_waits_and_what_comes() {
    let mut world = World::new(1);
    let socket = world.bound();
    let delete = plimsoll_wire::DeleteTopic { name: "t" };
    assert_eq!(world.ask(socket, |out| delete.encode(CorrelationId(8), out)), Answer::Empty);
    world.produce(socket, 1, Durability::Disk, None, &batch(1, b"a"));
    let answers = world.answers(socket);
    assert_eq!(answers, [(1, refused(ErrorCode::TopicNotFound, 0, 0))]);
    // The name is free again and stands for another topic; the old handle does not.
    assert_eq!(world.create(socket, "t", 1), Answer::Created(plimsoll_wire::TopicId(2)));
    world.produce(socket, 2, Durability::Disk, None, &batch(1, b"a"));
    let answers = world.answers(socket);
    assert_eq!(answers, [(2, refused(ErrorCode::TopicNotFound, 0, 0))]);
}

#[test]
fn the_base_offset_that_a_producer_wrote_does_not_matter_to_the_crc() {
    let mut world = World::new(1);
    let socket = world.bound();
    let mut odd = batch(1, b"a");
    assign(&mut odd, plimsoll_wire::Offset::new(5), 3);
    world.produce(socket, 1, Durability::Memory, None, &odd);
    assert_eq!(world.acks(socket), [(AckLevel::Memory, 1, 1, 0)]);
}
