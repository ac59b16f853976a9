//! The producer's session against a scripted server: every way in which an append can end. Here
//! producers are not idempotent; `idempotent.rs` has those that are.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod script;

use plimsoll_client::{
    AckLevel, AppendRejected, BatchEvent, BatchOutcome, ConnectionFault, Doubt, Durability,
    Instant, NewRecord, Offset, Producer, ProducerOptions, Refusal, Session, Totals,
};
use plimsoll_wire::{ErrorCode, Fate, Opcode};
use script::{LINK, Told, ack, at_ms, bound, error, hear, hello, told, topic};
use std::time::Duration;

const NOW: Instant = Instant::ORIGIN;

fn options() -> ProducerOptions {
    let mut options = ProducerOptions::default();
    options.linger = Duration::ZERO;
    options.idempotent = false;
    options
}

fn append(producer: &mut Producer<u8>, value: &[u8], now: Instant) {
    producer.append(&NewRecord::of_value(value), now).unwrap();
}

/// A producer whose only partition is connected and bound.
fn ready(options: ProducerOptions) -> Producer<u8> {
    let mut producer = Producer::new(topic(1), options, 0);
    append(&mut producer, b"first", NOW);
    connect(&mut producer, NOW);
    assert_eq!(told(&mut producer, NOW), [produce(1, 1, b"first")]);
    let level = producer.durability().ack_level().unwrap();
    hear(&mut producer, &ack(1, 1, level, 10), NOW).unwrap();
    assert!(producer.poll_event().unwrap().is_final);
    producer
}

fn connect(producer: &mut Producer<u8>, now: Instant) {
    assert_eq!(producer.poll_dial(now), Some(LINK));
    producer.handle_connected(LINK, now);
    assert_eq!(told(producer, now), [Told::Hello]);
    hear(producer, &hello(), now).unwrap();
    producer.flush();
    assert_eq!(told(producer, now), [Told::Bind { partition: 0 }]);
    hear(producer, &bound(2), now).unwrap();
}

fn produce(correlation: u32, records: u32, first_value: &[u8]) -> Told {
    Told::Produce { correlation, records, first_value: first_value.to_vec() }
}

fn outcomes(producer: &mut Producer<u8>) -> Vec<(BatchOutcome, bool)> {
    let poll = || producer.poll_event();
    std::iter::from_fn(poll)
        .map(|BatchEvent { outcome, is_final, .. }| (outcome, is_final))
        .collect()
}

fn acked(base_offset: u64, level: AckLevel) -> BatchOutcome {
    BatchOutcome::Acked { base_offset: Offset::new(base_offset), level }
}

#[test]
fn records_of_one_batch_share_an_ack_and_their_offsets_follow_each_other() {
    let mut producer = ready(options());
    for value in [b"a", b"b", b"c"] {
        append(&mut producer, value, NOW);
    }
    assert_eq!(told(&mut producer, NOW), [produce(2, 3, b"a")]);
    hear(&mut producer, &ack(2, 1, AckLevel::Disk, 11), NOW).unwrap();
    let event = producer.poll_event().unwrap();
    let of_third = event.outcome.of_record(event.partition, 2).acked().unwrap();
    assert_eq!(of_third, (0, Offset::new(13), AckLevel::Disk));
    assert_eq!(producer.buffered_bytes(), 0);
}

#[test]
fn one_ack_for_several_frames_gives_each_its_own_base_offset() {
    let mut producer = ready(options());
    for values in [&[b"a", b"b"][..], &[b"c"], &[b"d", b"e"]] {
        for value in values {
            append(&mut producer, *value, NOW);
        }
        assert_eq!(told(&mut producer, NOW).len(), 1);
    }
    hear(&mut producer, &ack(2, 3, AckLevel::Disk, 20), NOW).unwrap();
    let expected = [20, 22, 23].map(|base| (acked(base, AckLevel::Disk), true));
    assert_eq!(outcomes(&mut producer), expected);
}

#[test]
fn two_levels_are_two_events_and_only_the_deeper_is_final() {
    let mut choices = options();
    choices.also = Some(AckLevel::Memory);
    choices.durability = Durability::Disk.into();
    let mut producer: Producer<u8> = Producer::new(topic(1), choices, 0);
    append(&mut producer, b"x", NOW);
    connect(&mut producer, NOW);
    told(&mut producer, NOW);
    hear(&mut producer, &ack(1, 1, AckLevel::Memory, 7), NOW).unwrap();
    assert_eq!(outcomes(&mut producer), [(acked(7, AckLevel::Memory), false)]);
    hear(&mut producer, &ack(1, 1, AckLevel::Disk, 7), NOW).unwrap();
    assert_eq!(outcomes(&mut producer), [(acked(7, AckLevel::Disk), true)]);
}

#[test]
fn a_deep_ack_answers_the_shallow_level_as_well() {
    let mut choices = options();
    choices.also = Some(AckLevel::Disk);
    choices.durability = Durability::Memory.into();
    let mut producer: Producer<u8> = Producer::new(topic(1), choices, 0);
    append(&mut producer, b"x", NOW);
    connect(&mut producer, NOW);
    told(&mut producer, NOW);
    hear(&mut producer, &ack(1, 1, AckLevel::Disk, 7), NOW).unwrap();
    let expected = [(acked(7, AckLevel::Memory), false), (acked(7, AckLevel::Disk), true)];
    assert_eq!(outcomes(&mut producer), expected);
}

#[test]
fn a_refused_batch_is_told_and_the_window_goes_on_around_it() {
    let mut producer = ready(options());
    for value in [b"a", b"b"] {
        append(&mut producer, value, NOW);
        told(&mut producer, NOW);
    }
    let refused = error(Opcode::Produce, 2, ErrorCode::BatchTooLarge, Fate::Refused);
    hear(&mut producer, &refused, NOW).unwrap();
    hear(&mut producer, &ack(3, 1, AckLevel::Disk, 11), NOW).unwrap();
    let outcomes = outcomes(&mut producer);
    assert!(matches!(&outcomes[0].0, BatchOutcome::Refused(Refusal::Server(error))
            if error.code == ErrorCode::BatchTooLarge));
    assert_eq!(outcomes[1], (acked(11, AckLevel::Disk), true));
    let totals = producer.totals();
    assert_eq!(totals, Totals { acked: 2, refused: 1, ..Totals::default() });
}

#[test]
fn an_unknown_fate_is_told_and_never_sent_again() {
    let mut producer = ready(options());
    append(&mut producer, b"a", NOW);
    told(&mut producer, NOW);
    let unknown = error(Opcode::Produce, 2, ErrorCode::Overloaded, Fate::Unknown);
    hear(&mut producer, &unknown, NOW).unwrap();
    assert!(matches!(
        outcomes(&mut producer)[..],
        [(BatchOutcome::Unknown(Doubt::Server(_)), true)]
    ));
    producer.handle_timeout(at_ms(1000));
    assert_eq!(told(&mut producer, at_ms(1000)), []);
}

#[test]
fn a_batch_refused_for_a_full_disk_is_sent_again_before_younger_ones() {
    let mut producer = ready(options());
    append(&mut producer, b"a", NOW);
    told(&mut producer, NOW);
    let full = error(Opcode::Produce, 2, ErrorCode::DiskFull, Fate::Refused);
    hear(&mut producer, &full, NOW).unwrap();
    append(&mut producer, b"b", NOW);
    assert_eq!(told(&mut producer, NOW), [], "the partition pauses");
    let later = producer.poll_timeout().unwrap() + Duration::from_millis(50);
    producer.handle_timeout(later);
    assert_eq!(told(&mut producer, later), [produce(3, 1, b"a"), produce(4, 1, b"b")]);
}

#[test]
fn a_disk_that_stays_full_refuses_in_the_end() {
    let mut choices = options();
    choices.delivery_timeout = Duration::from_millis(100);
    let mut producer = ready(choices);
    append(&mut producer, b"a", NOW);
    told(&mut producer, NOW);
    let full = error(Opcode::Produce, 2, ErrorCode::DiskFull, Fate::Refused);
    hear(&mut producer, &full, at_ms(100)).unwrap();
    assert!(matches!(outcomes(&mut producer)[..], [(BatchOutcome::Refused(_), true)]));
}

#[test]
fn a_lost_connection_makes_sent_batches_unknown_and_keeps_the_unsent_ones() {
    let mut choices = options();
    choices.in_flight_batches_max = 1;
    let mut producer = ready(choices);
    append(&mut producer, b"sent", NOW);
    assert_eq!(told(&mut producer, NOW), [produce(2, 1, b"sent")]);
    append(&mut producer, b"unsent", NOW);
    assert_eq!(told(&mut producer, NOW), [], "the window is full");
    producer.handle_lost(LINK, ConnectionFault::ClosedByServer, NOW);
    assert!(matches!(
        outcomes(&mut producer)[..],
        [(BatchOutcome::Unknown(Doubt::ConnectionLost(ConnectionFault::ClosedByServer)), true)]
    ));
    assert_eq!(producer.poll_dial(NOW), None, "not at once");
    connect(&mut producer, at_ms(100));
    assert_eq!(told(&mut producer, at_ms(100)), [produce(1, 1, b"unsent")]);
}

#[test]
fn a_server_that_never_answers_loses_the_connection() {
    let mut choices = options();
    choices.delivery_timeout = Duration::from_secs(1);
    let mut producer = ready(choices);
    append(&mut producer, b"a", NOW);
    told(&mut producer, NOW);
    producer.handle_timeout(at_ms(500));
    assert_eq!(producer.poll_hang_up(LINK), None);
    producer.handle_timeout(at_ms(1200));
    let fault = ConnectionFault::Silent(Duration::from_secs(1));
    assert_eq!(producer.poll_hang_up(LINK), Some(fault));
}

#[test]
fn without_a_server_records_are_refused_after_the_delivery_timeout_and_say_why() {
    let mut choices = options();
    choices.delivery_timeout = Duration::from_secs(1);
    let mut producer: Producer<u8> = Producer::new(topic(1), choices, 0);
    append(&mut producer, b"a", NOW);
    assert_eq!(producer.poll_dial(NOW), Some(LINK));
    producer.handle_lost(LINK, ConnectionFault::Io("refused".into()), NOW);
    producer.handle_timeout(at_ms(1500));
    let outcomes = outcomes(&mut producer);
    let [(BatchOutcome::Refused(refusal), true)] = &outcomes[..] else {
        panic!("{outcomes:?}");
    };
    assert!(refusal.to_string().contains("refused); is the server running?"), "{refusal}");
}

#[test]
fn a_topic_that_is_gone_refuses_what_waits_for_it() {
    let mut producer: Producer<u8> = Producer::new(topic(1), options(), 0);
    append(&mut producer, b"a", NOW);
    producer.poll_dial(NOW);
    producer.handle_connected(LINK, NOW);
    told(&mut producer, NOW);
    hear(&mut producer, &hello(), NOW).unwrap();
    told(&mut producer, NOW);
    let gone = error(Opcode::Bind, 2, ErrorCode::TopicNotFound, Fate::NotAppend);
    hear(&mut producer, &gone, NOW).unwrap();
    assert!(matches!(outcomes(&mut producer)[..], [(BatchOutcome::Refused(_), true)]));
}

#[test]
fn a_batch_lingers_until_it_is_due_full_or_flushed() {
    let mut choices = options();
    choices.linger = Duration::from_millis(10);
    choices.batch_bytes = 300;
    let mut producer = ready(choices);
    append(&mut producer, b"a", at_ms(100));
    assert_eq!(told(&mut producer, at_ms(109)), []);
    assert_eq!(told(&mut producer, at_ms(110)), [produce(2, 1, b"a")]);
    append(&mut producer, b"b", at_ms(110));
    append(&mut producer, &[7; 300], at_ms(110));
    assert_eq!(told(&mut producer, at_ms(110)), [produce(3, 2, b"b")]);
    append(&mut producer, b"c", at_ms(110));
    producer.flush();
    assert_eq!(told(&mut producer, at_ms(110)), [produce(4, 1, b"c")]);
}

#[test]
fn the_window_never_passes_the_limits_of_server_and_options() {
    let mut producer = ready(options());
    for value in [b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"h", b"i"] {
        append(&mut producer, value, NOW);
        producer.flush();
    }
    assert_eq!(told(&mut producer, NOW).len(), 8, "the server takes eight");
    hear(&mut producer, &ack(2, 1, AckLevel::Disk, 11), NOW).unwrap();
    assert_eq!(told(&mut producer, NOW), [produce(10, 1, b"i")]);
}

#[test]
fn memory_is_bounded_and_room_comes_back_with_acks() {
    let mut choices = options();
    choices.buffer_bytes_max = 1000;
    let mut producer = ready(choices);
    let mut taken = 0;
    while let Ok(place) = producer.append(&NewRecord::of_value(&[1; 100]), NOW) {
        assert_eq!(place.index, taken);
        taken += 1;
    }
    assert!((5..=10).contains(&taken), "{taken} records of 100 bytes fit in 1000");
    assert!(!producer.has_room());
    let full = producer.append(&NewRecord::of_value(b"x"), NOW).unwrap_err();
    assert_eq!(full, AppendRejected::Full);
    assert_eq!(told(&mut producer, NOW).len(), 1);
    hear(&mut producer, &ack(2, 1, AckLevel::Disk, 11), NOW).unwrap();
    append(&mut producer, b"x", NOW);
}

#[test]
fn a_record_that_no_batch_can_hold_is_rejected_and_nothing_changes() {
    let mut producer = ready(options());
    let large = producer.append(&NewRecord::of_value(&vec![0; 2 << 20]), NOW).unwrap_err();
    assert!(matches!(large, AppendRejected::TooLarge { .. }), "{large}");
    let nowhere = producer.append(&NewRecord::of_value(b"x").to_partition(9), NOW).unwrap_err();
    assert_eq!(nowhere, AppendRejected::NoSuchPartition { partition: 9, partitions: 1 });
    assert_eq!((producer.buffered_bytes(), producer.oldest_outstanding()), (0, None));
    assert_eq!(told(&mut producer, NOW), []);
}

#[test]
fn without_durability_a_batch_is_over_when_it_is_sent() {
    let mut choices = options();
    choices.durability = Durability::None.into();
    let mut producer: Producer<u8> = Producer::new(topic(1), choices, 0);
    append(&mut producer, b"a", NOW);
    connect(&mut producer, NOW);
    assert_eq!(told(&mut producer, NOW), [produce(1, 1, b"a")]);
    assert_eq!(outcomes(&mut producer), [(BatchOutcome::Sent, true)]);
    append(&mut producer, b"b", NOW);
    assert_eq!(told(&mut producer, NOW), [produce(2, 1, b"b")]);
}

#[test]
fn an_ack_of_something_that_was_not_sent_ends_the_connection() {
    let mut producer = ready(options());
    let fault = hear(&mut producer, &ack(2, 1, AckLevel::Disk, 11), NOW).unwrap_err();
    assert_eq!(fault, ConnectionFault::Unexpected("an ack"));
}

#[test]
fn an_aborted_producer_refuses_the_unsent_and_doubts_the_sent() {
    let mut producer = ready(options());
    append(&mut producer, b"sent", NOW);
    told(&mut producer, NOW);
    append(&mut producer, b"unsent", NOW);
    producer.abort(NOW);
    let outcomes = outcomes(&mut producer);
    assert!(matches!(outcomes[0].0, BatchOutcome::Unknown(_)));
    assert_eq!(outcomes[1].0, BatchOutcome::Refused(Refusal::Closed));
    assert_eq!(producer.buffered_bytes(), 0);
}
