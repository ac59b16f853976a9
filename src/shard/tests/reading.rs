//! Fetches and subscriptions: what is seen, when, and how much.

mod world;

use std::time::Duration;

use plimsoll_device::SocketId;
use plimsoll_shard::ShardLimits;
use plimsoll_wire::{
    AckLevel, CorrelationId, Credit, DeleteTopic, Durability, ErrorCode, Fate, Fetch, Handle,
    Offset, Offsets, OffsetsWhat, Unsubscribe, Visible,
};
use world::World;
use world::client::{Answer, batch, batch_at, encoded, fetch, records};

fn seen(answers: &[(u32, Answer)]) -> Vec<u64> {
    let mut offsets = Vec::new();
    for (_, answer) in answers {
        match answer {
            Answer::Delivery { batches, .. } | Answer::Fetched { batches, .. } => {
                offsets.extend(records(batches).into_iter().map(|(offset, _)| offset));
            }
            other => panic!("no batches: {other:?}"),
        }
    }
    offsets
}

fn error(answers: &[(u32, Answer)]) -> ErrorCode {
    match answers {
        [(_, Answer::Error { code, fate: Fate::NotAppend, .. })] => *code,
        other => panic!("not one error: {other:?}"),
    }
}

fn ask_fetch(world: &mut World, socket: SocketId, fetch: Fetch) {
    world.send(socket, &encoded(|out| fetch.encode(CorrelationId(40), out)));
}

#[test]
fn visible_hides_what_has_not_reached_the_level() {
    let mut world = World::new(1);
    let socket = world.bound();
    world.produce(socket, 1, Durability::Disk, None, &batch(2, b"a"));
    world.disks_stand_still = true;
    world.produce(socket, 2, Durability::Memory, None, &batch(3, b"b"));
    world.take(socket);
    for (visible, expected) in [(Visible::Disk, 0..2), (Visible::Memory, 0..5)] {
        ask_fetch(&mut world, socket, Fetch { visible, ..fetch(0, 1, 0) });
        let answers = world.answers(socket);
        assert_eq!(seen(&answers), expected.collect::<Vec<u64>>(), "{visible}");
    }
    ask_fetch(&mut world, socket, Fetch { visible: Visible::Disk, ..fetch(2, 1, 5_000) });
    assert_eq!(world.answers(socket), [], "between the watermarks a reader waits");
}

/// The producer went on and had its acks for what the next repair cut off.
#[test]
fn behind_a_batch_that_a_consumer_found_damaged_nothing_is_appended() {
    let mut world = World::new(1);
    let socket = world.bound();
    for correlation in 1..=20 {
        world.produce(socket, correlation, Durability::Disk, None, &batch(1, &[7; 90_000]));
    }
    world.take(socket);
    let path = "topics/1/0/00000000000000000000.segment";
    world.disks[0].flip_bit(path, 5 * 90_071 + 1_000, 3);
    let mut world = world.restart();
    let socket = world.hello(0);
    world.bind(socket, 0, "t", 0);
    ask_fetch(&mut world, socket, fetch(7, 1, 0));
    assert_eq!(seen(&world.answers(socket)).first(), Some(&7), "what is behind is sound");
    world.produce(socket, 1, Durability::Disk, None, &batch(1, b"nobody knows yet"));
    assert!(matches!(world.acks(socket)[..], [(AckLevel::Disk, 1, 1, _)]));
    ask_fetch(&mut world, socket, fetch(5, 1, 0));
    assert_eq!(error(&world.answers(socket)), ErrorCode::DataDamaged);
    world.produce(socket, 2, Durability::Disk, None, &batch(1, b"too late"));
    let answers = world.answers(socket);
    let [(2, Answer::Error { code: ErrorCode::DataDamaged, fate: Fate::Refused, .. })] =
        answers[..]
    else {
        panic!("{answers:?}")
    };
}

#[test]
fn a_long_poll_is_answered_by_the_record_that_it_waits_for() {
    let mut world = World::new(1);
    let (producer, consumer) = (world.bound(), world.hello(0));
    world.bind(consumer, 0, "t", 0);
    ask_fetch(&mut world, consumer, fetch(0, 1, 60_000));
    assert_eq!(world.answers(consumer), []);
    world.produce(producer, 1, Durability::Memory, None, &batch(1, b"a"));
    assert_eq!(seen(&world.answers(consumer)), [0]);
}

#[test]
fn a_long_poll_waits_for_enough_bytes_or_its_time() {
    let mut world = World::new(1);
    let socket = world.bound();
    ask_fetch(&mut world, socket, fetch(0, 1_000, 5_000));
    world.produce(socket, 1, Durability::None, None, &batch(1, &[1; 600]));
    assert_eq!(world.answers(socket), [], "600 bytes are too few");
    world.produce(socket, 2, Durability::None, None, &batch(1, &[1; 600]));
    assert_eq!(seen(&world.answers(socket)), [0, 1]);

    ask_fetch(&mut world, socket, fetch(2, 1_000, 5_000));
    world.produce(socket, 3, Durability::None, None, &batch(1, &[1; 600]));
    world.advance(Duration::from_millis(4_900));
    assert_eq!(world.answers(socket), []);
    world.advance(Duration::from_millis(200));
    assert_eq!(seen(&world.answers(socket)), [2], "what there is when the time is up");

    ask_fetch(&mut world, socket, fetch(3, 1, 1_000));
    world.advance(Duration::from_millis(1_100));
    assert_eq!(seen(&world.answers(socket)), [0; 0], "nothing is an answer, too");
}

#[test]
fn an_offset_beyond_the_end_is_out_of_range() {
    let mut world = World::new(1);
    let socket = world.bound();
    world.produce(socket, 1, Durability::None, None, &batch(2, b"a"));
    ask_fetch(&mut world, socket, fetch(3, 1, 0));
    let [(40, Answer::Error { code: ErrorCode::OffsetOutOfRange, detail_a, detail_b, .. })] =
        world.answers(socket)[..]
    else {
        panic!("out of range");
    };
    assert_eq!((detail_a, detail_b), (0, 2));
    ask_fetch(&mut world, socket, fetch(0, 1, 60_001));
    assert_eq!(error(&world.answers(socket)), ErrorCode::InvalidRequest);
}

#[test]
fn a_subscription_delivers_everything_in_order_and_without_holes() {
    let mut world = World::new(1);
    let (producer, consumer) = (world.bound(), world.hello(0));
    world.bind(consumer, 0, "t", 0);
    world.produce(producer, 0, Durability::None, None, &batch(10, b"before"));
    world.subscribe(consumer, Visible::Memory, 1 << 30);
    let mut answers = world.answers(consumer);
    assert!(matches!(answers.remove(0), (50, Answer::Subscribed(_))));
    for correlation in 1..100 {
        let value = vec![7; 100 * correlation as usize];
        world.produce(producer, correlation, Durability::None, None, &batch(3, &value));
        answers.extend(world.answers(consumer));
    }
    assert_eq!(seen(&answers), (0..10 + 3 * 99).collect::<Vec<u64>>());
    assert!(answers.iter().all(|(correlation, _)| *correlation == 50));
}

/// A delivery without batches was sent for the gap, and clients took the connection for broken.
#[test]
fn a_subscription_steps_over_offsets_that_were_never_given_out_without_a_word() {
    let mut world = World::new(1);
    let producer = world.bound();
    let large = batch(2, &[1; 400_000]);
    world.produce(producer, 0, Durability::Disk, None, &large);
    world.stop();
    let mut world = World::restart(world);
    let socket = world.hello(0);
    world.bind(socket, 0, "t", 0);
    world.produce(socket, 1, Durability::Disk, None, &batch(1, b"lease"));
    let mut world = World::restart(world);
    let (consumer, producer) = (world.hello(0), world.hello(0));
    world.bind(consumer, 0, "t", 0);
    world.bind(producer, 0, "t", 0);
    world.subscribe(consumer, Visible::Disk, 1 << 30);
    let mut answers = world.answers(consumer);
    assert!(matches!(answers.remove(0), (50, Answer::Subscribed(_))));
    assert_eq!(seen(&answers), [0, 1, 2]);
    let is_empty =
        |answer: &Answer| matches!(answer, Answer::Delivery { batches, .. } if batches.is_empty());
    assert!(answers.iter().all(|(_, answer)| !is_empty(answer)), "{}", answers.len());
    world.produce(producer, 2, Durability::Disk, None, &batch(1, b"behind the gap"));
    let after = seen(&world.answers(consumer));
    assert!(after.len() == 1 && after[0] > 1 << 19, "{after:?}");
}

#[test]
fn without_credit_nothing_is_delivered_and_credit_pays_for_whole_frames() {
    let mut world = World::new(1);
    let (producer, consumer) = (world.bound(), world.hello(0));
    world.bind(consumer, 0, "t", 0);
    world.subscribe(consumer, Visible::Memory, 0);
    for correlation in 0..10 {
        world.produce(producer, correlation, Durability::None, None, &batch(1, &[1; 1000]));
    }
    assert_eq!(world.answers(consumer).len(), 1, "only that it is subscribed");
    let credit =
        |bytes| encoded(|out| Credit { handle: Handle(0), bytes }.encode(CorrelationId(0), out));
    world.send(consumer, &credit(1));
    let [(50, Answer::Delivery { frame_bytes, .. })] = world.answers(consumer)[..] else {
        panic!("one delivery for one byte of credit");
    };
    world.send(consumer, &credit(frame_bytes as u32 - 1));
    assert_eq!(world.answers(consumer), [], "zero is not above zero");
    world.send(consumer, &credit(1));
    assert_eq!(world.answers(consumer).len(), 1);
}

#[test]
fn one_handle_has_one_subscription_and_nothing_follows_its_end() {
    let mut world = World::new(1);
    let socket = world.bound();
    let unsubscribe =
        encoded(|out| Unsubscribe { handle: Handle(0) }.encode(CorrelationId(9), out));
    world.send(socket, &unsubscribe);
    assert_eq!(error(&world.answers(socket)), ErrorCode::NotSubscribed);
    world.subscribe(socket, Visible::Memory, 1 << 20);
    assert_eq!(world.answers(socket).len(), 1);
    world.subscribe(socket, Visible::Memory, 1 << 20);
    assert_eq!(error(&world.answers(socket)), ErrorCode::AlreadySubscribed);
    world.send(socket, &unsubscribe);
    assert_eq!(world.answers(socket), [(9, Answer::Empty)]);
    world.produce(socket, 1, Durability::None, None, &batch(1, b"a"));
    assert_eq!(world.answers(socket), []);
}

#[test]
fn a_subscription_ends_with_an_error_when_its_topic_is_deleted() {
    let mut world = World::new(1);
    let (other, consumer) = (world.bound(), world.hello(0));
    world.bind(consumer, 0, "t", 0);
    world.subscribe(consumer, Visible::Memory, 1 << 20);
    world.take(consumer);
    world.ask(other, |out| DeleteTopic { name: "t" }.encode(CorrelationId(1), out));
    assert_eq!(error(&world.answers(consumer)), ErrorCode::TopicNotFound);
}

#[test]
fn a_consumer_that_never_reads_holds_up_nobody_and_costs_a_bounded_amount() {
    let mut world = World::new(1);
    let (producer, deaf) = (world.bound(), world.hello(0));
    world.bind(deaf, 0, "t", 0);
    world.subscribe(deaf, Visible::Memory, u32::MAX);
    world.take(deaf);
    world.stall(deaf, true);
    for correlation in 0..64 {
        world.produce(producer, correlation, Durability::Disk, None, &batch(1, &[1; 100_000]));
        assert_eq!(world.acks(producer).len(), 1);
    }
    assert!(world.stat("delivered_bytes") < 3 << 20, "{}", world.stat("delivered_bytes"));
    world.stall(deaf, false);
    assert_eq!(seen(&world.answers(deaf)), (0..64).collect::<Vec<u64>>());
}

#[test]
fn offsets_name_the_beginning_the_end_and_a_time() {
    let mut world = World::new(1);
    let socket = world.bound();
    world.produce(socket, 1, Durability::Disk, None, &batch(2, b"a"));
    world.disks_stand_still = true;
    world.produce(socket, 2, Durability::None, None, &batch(3, b"b"));
    world.disks_stand_still = false;
    world.take(socket);
    let mut ask = |what, visible| {
        let offsets = Offsets { handle: Handle(0), what, visible };
        world.ask(socket, |out| offsets.encode(CorrelationId(5), out))
    };
    let at = |offset| Answer::Offset(Offset::new(offset));
    assert_eq!(ask(OffsetsWhat::Beginning, Visible::Disk), at(0));
    assert_eq!(ask(OffsetsWhat::End, Visible::Memory), at(5));
    let mut time = |unix_ms| ask(OffsetsWhat::Timestamp { unix_ms }, Visible::Memory);
    assert_eq!(time(1_001), at(0), "the first batch has records up to then");
    assert_eq!(time(1_002), at(2), "only the second batch has");
    assert_eq!(time(1_003), at(5), "none has: the end");
}

/// What the index knows of a time is up to megabytes before it; and what is in memory it does not
/// know at all.
#[test]
fn the_place_of_a_time_is_the_first_batch_that_reaches_it_on_disk_and_in_memory() {
    let mut world = World::new(1);
    let socket = world.bound();
    for batch in 0..200_u32 {
        let bytes = batch_at(i64::from(batch) * 10, &vec![7; 30_000]);
        world.produce(socket, batch, Durability::Disk, None, &bytes);
    }
    let check = |world: &mut World, socket: SocketId| {
        let mut ask = |what| {
            let offsets = Offsets { handle: Handle(0), what, visible: Visible::Disk };
            world.ask(socket, |out| offsets.encode(CorrelationId(5), out))
        };
        for (unix_ms, offset) in [(-5, 0), (0, 0), (1, 1), (700, 70), (1_989, 199)] {
            let answer = ask(OffsetsWhat::Timestamp { unix_ms });
            assert_eq!(answer, Answer::Offset(Offset::new(offset)), "at {unix_ms}");
        }
        // Behind the gap that a start without its arena leaves.
        let after = ask(OffsetsWhat::Timestamp { unix_ms: 1_991 });
        assert_eq!(after, ask(OffsetsWhat::End), "no record is as late");
    };
    world.take(socket);
    check(&mut world, socket);
    let mut world = world.restart();
    let socket = world.hello(0);
    world.bind(socket, 0, "t", 0);
    check(&mut world, socket);
    assert!(world.stat("read_bytes") > 0, "the disk was asked");
}

#[test]
fn a_topic_that_goes_while_a_time_is_looked_for_is_an_error() {
    let mut world = World::new(1);
    let socket = world.bound();
    for batch in 0..100_u32 {
        let bytes = batch_at(i64::from(batch), &vec![7; 30_000]);
        world.produce(socket, batch, Durability::Disk, None, &bytes);
    }
    let mut world = world.restart();
    let (socket, other) = (world.hello(0), world.hello(0));
    world.bind(socket, 0, "t", 0);
    world.disks_stand_still = true;
    let what = OffsetsWhat::Timestamp { unix_ms: 99 };
    let offsets = Offsets { handle: Handle(0), what, visible: Visible::Disk };
    world.send(socket, &encoded(|out| offsets.encode(CorrelationId(5), out)));
    world.send(other, &encoded(|out| DeleteTopic { name: "t" }.encode(CorrelationId(1), out)));
    assert_eq!(world.answers(socket), []);
    world.disks_stand_still = false;
    world.run();
    assert_eq!(error(&world.answers(socket)), ErrorCode::TopicNotFound);
    assert_eq!(world.answers(other), [(1, Answer::Empty)]);
}

/// Sends that nobody takes held the memory that reads need, and the shard asked for it again and
/// again within one turn, in which no completion can bring any.
#[test]
fn consumers_that_stop_reading_leave_a_shard_at_work_and_get_everything_when_they_go_on() {
    // Four times what the arena has.
    let limits = ShardLimits { lent_bytes_max: 64 << 20, ..world::limits() };
    let mut world = World::with_limits(1, limits);
    let producer = world.bound();
    for correlation in 1..=24 {
        let large = batch(1, &[correlation as u8; 1_000_000]);
        world.produce(producer, correlation, Durability::Disk, None, &large);
    }
    let consumers: Vec<SocketId> = (0..24).map(|_| world.hello(0)).collect();
    for consumer in &consumers {
        world.bind(*consumer, 0, "t", 0);
        world.stall(*consumer, true);
        world.subscribe(*consumer, Visible::Disk, 1 << 30);
    }
    // An answer without batches would say that there are no records.
    let late = world.hello(0);
    world.bind(late, 0, "t", 0);
    let answer = world.ask(late, |out| fetch(0, 1, 0).encode(CorrelationId(5), out));
    assert_eq!(error(&[(5, answer)]), ErrorCode::Overloaded);
    for consumer in &consumers {
        world.stall(*consumer, false);
    }
    for consumer in consumers {
        let mut answers = world.answers(consumer);
        answers.retain(|(_, answer)| matches!(answer, Answer::Delivery { .. }));
        assert_eq!(seen(&answers), (0..24).collect::<Vec<u64>>());
    }
}
