//! An idempotent producer's session against a scripted server that loses connections, answers late
//! and forgets: every record is told acked once, in order, under a stamp that a server can know
//! again; or its fate is told as unknown.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod script;

use plimsoll_client::{
    AckLevel, BatchOutcome, ConnectionFault, Doubt, Durability, Instant, NewRecord, Offset,
    Producer, ProducerIdentity, ProducerOptions, Refusal, Resume, Session,
};
use plimsoll_wire::{CorrelationId, ErrorCode, ErrorResponse, Fate, Handle, Opcode};
use script::{LINK, Told, ack, at_ms, bound, error, hear, hello, identity, told, topic};
use std::time::Duration;

const NOW: Instant = Instant::ORIGIN;

fn options() -> ProducerOptions {
    let mut options = ProducerOptions::default();
    options.linger = Duration::ZERO;
    options
}

fn append(producer: &mut Producer<u8>, value: &[u8], now: Instant) {
    producer.append(&NewRecord::of_value(value), now).unwrap();
    producer.flush();
}

fn produce(correlation: u32, id: i64, sequence: i32, value: &[u8]) -> Told {
    Told::Stamped { correlation, records: 1, first_value: value.to_vec(), id, sequence }
}

/// Connects; the partition is bound, and known by `id` if it had no identity.
fn connect(producer: &mut Producer<u8>, id: Option<u64>, now: Instant) {
    assert_eq!(producer.poll_dial(now), Some(LINK));
    producer.handle_connected(LINK, now);
    assert_eq!(told(producer, now), [Told::Hello]);
    hear(producer, &hello(), now).unwrap();
    let asked = told(producer, now);
    let bind = Told::Bind { partition: 0 };
    match id {
        Some(id) => {
            assert_eq!(asked, [bind, Told::InitProducer { correlation: 3 }]);
            hear(producer, &bound(2), now).unwrap();
            hear(producer, &identity(3, id), now).unwrap();
        }
        None => {
            assert_eq!(asked, [bind]);
            hear(producer, &bound(2), now).unwrap();
        }
    }
}

/// A producer with these records on their way, each in a batch of its own.
fn sent(options: ProducerOptions, values: &[&[u8]]) -> Producer<u8> {
    let mut producer = Producer::new(topic(1), options, 0);
    append(&mut producer, values[0], NOW);
    connect(&mut producer, Some(7), NOW);
    for value in &values[1..] {
        append(&mut producer, value, NOW);
    }
    let expected = (0..).zip(values).map(|(at, value)| produce(at + 1, 7, at as i32, value));
    assert_eq!(told(&mut producer, NOW), expected.collect::<Vec<_>>());
    producer
}

fn outcomes(producer: &mut Producer<u8>) -> Vec<BatchOutcome> {
    std::iter::from_fn(|| producer.poll_event()).map(|event| event.outcome).collect()
}

fn acked(base_offset: u64) -> BatchOutcome {
    BatchOutcome::Acked { base_offset: Offset::new(base_offset), level: AckLevel::Disk }
}

fn out_of_sequence(correlation: u32, expected: u64, got: u64) -> Vec<u8> {
    let mut out = Vec::new();
    ErrorResponse {
        opcode: Opcode::Produce,
        code: ErrorCode::OutOfSequence,
        fate: Fate::Refused,
        handle: Some(Handle(0)),
        detail_a: expected,
        detail_b: got,
        message: "scripted",
    }
    .encode(CorrelationId(correlation), &mut out);
    out
}

#[test]
fn what_a_lost_connection_leaves_open_is_sent_again_in_order_with_the_same_stamps() {
    let mut producer = sent(options(), &[b"a", b"b", b"c"]);
    hear(&mut producer, &ack(1, 1, AckLevel::Disk, 10), NOW).unwrap();
    producer.handle_lost(LINK, ConnectionFault::ClosedByServer, NOW);
    assert_eq!(outcomes(&mut producer), [acked(10)], "nothing is unknown yet");
    append(&mut producer, b"d", NOW);
    let later = at_ms(100);
    connect(&mut producer, None, later);
    let expected = [produce(1, 7, 1, b"b"), produce(2, 7, 2, b"c"), produce(3, 7, 3, b"d")];
    assert_eq!(told(&mut producer, later), expected);
    hear(&mut producer, &ack(1, 3, AckLevel::Disk, 11), later).unwrap();
    assert_eq!(outcomes(&mut producer), [acked(11), acked(12), acked(13)]);
    assert_eq!(producer.totals().acked, 4);
}

#[test]
fn no_more_than_five_batches_of_a_partition_are_in_flight_and_the_next_one_grows() {
    let mut producer = sent(options(), &[b"a", b"b", b"c", b"d", b"e"]);
    for value in [b"f", b"g"] {
        producer.append(&NewRecord::of_value(value), NOW).unwrap();
        assert_eq!(told(&mut producer, NOW), []);
    }
    hear(&mut producer, &ack(1, 1, AckLevel::Disk, 10), NOW).unwrap();
    let both = Told::Stamped {
        correlation: 6,
        records: 2,
        first_value: b"f".to_vec(),
        id: 7,
        sequence: 5,
    };
    assert_eq!(told(&mut producer, NOW), [both]);
}

#[test]
fn behind_a_refused_batch_all_wait_and_go_again_in_order() {
    let mut producer = sent(options(), &[b"a", b"b", b"c"]);
    let full = error(Opcode::Produce, 1, ErrorCode::DiskFull, Fate::Refused);
    hear(&mut producer, &full, NOW).unwrap();
    append(&mut producer, b"d", NOW);
    hear(&mut producer, &out_of_sequence(2, 0, 1), NOW).unwrap();
    let later = producer.poll_timeout().unwrap() + Duration::from_millis(50);
    producer.handle_timeout(later);
    assert_eq!(told(&mut producer, later), [], "one is still on its way");
    hear(&mut producer, &out_of_sequence(3, 0, 2), later).unwrap();
    let values = [b"a", b"b", b"c", b"d"];
    let expected = (0..).zip(values).map(|(at, value)| produce(at + 4, 7, at as i32, value));
    assert_eq!(told(&mut producer, later), expected.collect::<Vec<_>>());
    assert_eq!(outcomes(&mut producer), []);
}

#[test]
fn what_follows_a_batch_that_is_refused_for_good_goes_on_under_a_new_identity() {
    let mut producer = sent(options(), &[b"a", b"b", b"c"]);
    let large = error(Opcode::Produce, 1, ErrorCode::BatchTooLarge, Fate::Refused);
    hear(&mut producer, &large, NOW).unwrap();
    assert!(matches!(outcomes(&mut producer)[..], [BatchOutcome::Refused(Refusal::Server(_))]));
    for (correlation, got) in [(2, 1), (3, 2)] {
        hear(&mut producer, &out_of_sequence(correlation, 0, got), NOW).unwrap();
    }
    assert_eq!(told(&mut producer, NOW), [Told::InitProducer { correlation: 4 }]);
    hear(&mut producer, &identity(4, 8), NOW).unwrap();
    assert_eq!(told(&mut producer, NOW), [produce(4, 8, 0, b"b"), produce(5, 8, 1, b"c")]);
}

#[test]
fn what_is_refused_again_and_again_is_sent_again_ever_more_rarely() {
    let mut producer = sent(options(), &[b"a"]);
    let mut now = NOW;
    let mut waits = Vec::new();
    for correlation in 1..9 {
        let full = error(Opcode::Produce, correlation, ErrorCode::DiskFull, Fate::Refused);
        hear(&mut producer, &full, now).unwrap();
        let refused_at = now;
        while told(&mut producer, now).is_empty() {
            now = producer.poll_timeout().unwrap().max(now + Duration::from_millis(1));
            producer.handle_timeout(now);
        }
        waits.push(now.since(refused_at).as_millis());
    }
    assert!(waits.is_sorted() && waits[0] < 100 && waits[7] >= 1_600, "{waits:?}");
    assert!(waits[7] < 2_000, "{waits:?}");
}

#[test]
fn an_unknown_fate_is_cleared_up_by_sending_again() {
    let mut producer = sent(options(), &[b"a"]);
    let unknown = error(Opcode::Produce, 1, ErrorCode::DiskFailed, Fate::Unknown);
    hear(&mut producer, &unknown, NOW).unwrap();
    assert_eq!(outcomes(&mut producer), []);
    let later = producer.poll_timeout().unwrap() + Duration::from_millis(50);
    producer.handle_timeout(later);
    assert_eq!(told(&mut producer, later), [produce(2, 7, 0, b"a")]);
    hear(&mut producer, &ack(2, 1, AckLevel::Disk, 10), later).unwrap();
    assert_eq!(outcomes(&mut producer), [acked(10)]);
}

/// What was in doubt was told refused: a copy of it on the lost connection might still arrive.
#[test]
fn a_batch_in_doubt_is_never_told_refused_and_those_in_doubt_behind_it_are_not_sent_again() {
    let mut producer = sent(options(), &[b"a", b"b"]);
    producer.handle_lost(LINK, ConnectionFault::ClosedByServer, NOW);
    append(&mut producer, b"c", NOW);
    let later = at_ms(100);
    connect(&mut producer, None, later);
    assert_eq!(told(&mut producer, later).len(), 3);
    let gone = error(Opcode::Produce, 1, ErrorCode::DiskFailed, Fate::Refused);
    hear(&mut producer, &gone, later).unwrap();
    hear(&mut producer, &out_of_sequence(2, 0, 1), later).unwrap();
    hear(&mut producer, &out_of_sequence(3, 0, 2), later).unwrap();
    let [BatchOutcome::Unknown(_), BatchOutcome::Unknown(_)] = outcomes(&mut producer)[..] else {
        panic!("both were in doubt");
    };
    assert_eq!(told(&mut producer, later), [Told::InitProducer { correlation: 3 }]);
    hear(&mut producer, &identity(3, 8), later).unwrap();
    assert_eq!(told(&mut producer, later), [produce(4, 8, 0, b"c")]);
}

/// Power failed, and a level that does not survive it had been acked.
#[test]
fn a_server_that_lost_what_it_acked_gets_what_is_open_under_a_new_identity() {
    let mut producer = sent(options(), &[b"a", b"b", b"c"]);
    hear(&mut producer, &ack(1, 1, AckLevel::Disk, 10), NOW).unwrap();
    producer.handle_lost(LINK, ConnectionFault::ClosedByServer, NOW);
    let later = at_ms(100);
    connect(&mut producer, None, later);
    assert_eq!(told(&mut producer, later).len(), 2);
    hear(&mut producer, &out_of_sequence(1, 0, 1), later).unwrap();
    hear(&mut producer, &out_of_sequence(2, 0, 2), later).unwrap();
    assert_eq!(told(&mut producer, later), [Told::InitProducer { correlation: 3 }]);
    hear(&mut producer, &identity(3, 8), later).unwrap();
    assert_eq!(told(&mut producer, later), [produce(3, 8, 0, b"b"), produce(4, 8, 1, b"c")]);
    assert_eq!(outcomes(&mut producer), [acked(10)], "and nothing is unknown");
}

#[test]
fn a_producer_that_was_forgotten_doubts_what_it_sent_before_and_goes_on_with_the_rest() {
    let mut producer = sent(options(), &[b"a", b"b"]);
    hear(&mut producer, &ack(1, 1, AckLevel::Disk, 10), NOW).unwrap();
    producer.handle_lost(LINK, ConnectionFault::ClosedByServer, NOW);
    append(&mut producer, b"c", NOW);
    let later = at_ms(100);
    connect(&mut producer, None, later);
    assert_eq!(told(&mut producer, later).len(), 2);
    for correlation in [1, 2] {
        let code = ErrorCode::ProducerUnknown;
        let forgotten = error(Opcode::Produce, correlation, code, Fate::Refused);
        hear(&mut producer, &forgotten, later).unwrap();
    }
    assert!(matches!(
        outcomes(&mut producer)[..],
        [BatchOutcome::Acked { .. }, BatchOutcome::Unknown(Doubt::ConnectionLost(_))]
    ));
    told(&mut producer, later);
    hear(&mut producer, &identity(3, 8), later).unwrap();
    assert_eq!(told(&mut producer, later), [produce(3, 8, 0, b"c")]);
}

#[test]
fn what_cannot_be_cleared_up_within_the_delivery_timeout_is_unknown() {
    let mut choices = options();
    choices.delivery_timeout = Duration::from_secs(1);
    let mut producer = sent(choices, &[b"a"]);
    producer.handle_lost(LINK, ConnectionFault::ClosedByServer, NOW);
    producer.handle_timeout(at_ms(900));
    assert_eq!(outcomes(&mut producer), []);
    producer.handle_timeout(at_ms(1200));
    let outcomes = outcomes(&mut producer);
    assert!(matches!(outcomes[..], [BatchOutcome::Unknown(Doubt::ConnectionLost(_))]));
}

#[test]
fn a_server_that_is_silent_loses_the_connection_long_before_the_delivery_timeout() {
    let mut producer = sent(options(), &[b"a"]);
    producer.handle_timeout(at_ms(31_000));
    let fault = ConnectionFault::Silent(Duration::from_secs(30));
    assert_eq!(producer.poll_hang_up(LINK), Some(fault));
}

#[test]
fn a_level_that_was_told_before_the_connection_was_lost_is_not_told_again() {
    let mut choices = options();
    choices.durability = Durability::Disk.into();
    choices.also = Some(AckLevel::Memory);
    let mut producer = sent(choices, &[b"a"]);
    hear(&mut producer, &ack(1, 1, AckLevel::Memory, 10), NOW).unwrap();
    assert_eq!(outcomes(&mut producer).len(), 1);
    producer.handle_lost(LINK, ConnectionFault::ClosedByServer, NOW);
    let later = at_ms(100);
    connect(&mut producer, None, later);
    told(&mut producer, later);
    hear(&mut producer, &ack(1, 1, AckLevel::Memory, 10), later).unwrap();
    hear(&mut producer, &ack(1, 1, AckLevel::Disk, 10), later).unwrap();
    assert_eq!(outcomes(&mut producer), [acked(10)]);
}

#[test]
fn an_unsent_batch_that_expires_leaves_no_gap() {
    let mut choices = options();
    choices.delivery_timeout = Duration::from_secs(1);
    let mut producer: Producer<u8> = Producer::new(topic(1), choices, 0);
    append(&mut producer, b"late", NOW);
    assert_eq!(producer.poll_dial(NOW), Some(LINK));
    producer.handle_lost(LINK, ConnectionFault::Io("refused".into()), NOW);
    append(&mut producer, b"kept", at_ms(500));
    producer.handle_timeout(at_ms(1100));
    assert!(matches!(outcomes(&mut producer)[..], [BatchOutcome::Refused(_)]));
    connect(&mut producer, Some(7), at_ms(1100));
    assert_eq!(told(&mut producer, at_ms(1100)), [produce(1, 7, 0, b"kept")]);
}

#[test]
fn an_aborted_producer_doubts_what_it_sent_and_refuses_the_rest() {
    let mut producer = sent(options(), &[b"a"]);
    producer.append(&NewRecord::of_value(b"unsent"), NOW).unwrap();
    producer.abort(NOW);
    assert!(matches!(
        outcomes(&mut producer)[..],
        [BatchOutcome::Unknown(_), BatchOutcome::Refused(Refusal::Closed)]
    ));
    assert_eq!(producer.buffered_bytes(), 0);
}

/// Small batches, five in flight and a slow disk would be a slow producer.
#[test]
fn a_full_batch_grows_on_while_the_window_is_full() {
    let mut choices = options();
    choices.batch_bytes = 300;
    let mut producer = sent(choices, &[b"a", b"b", b"c", b"d", b"e"]);
    for _ in 0..10 {
        let taken = producer.append(&NewRecord::of_value(&[7; 200]), NOW).unwrap();
        assert!(taken.index == 0 || !taken.poll, "there is nothing to send");
        assert_eq!(told(&mut producer, NOW), []);
    }
    hear(&mut producer, &ack(1, 1, AckLevel::Disk, 10), NOW).unwrap();
    let [Told::Stamped { records: 10, sequence: 5, .. }] = told(&mut producer, NOW)[..] else {
        panic!("one batch has all ten");
    };
}

#[test]
fn records_without_a_key_leave_a_partition_whose_window_is_full() {
    let mut choices = options();
    choices.batch_bytes = 100;
    let mut producer: Producer<u8> = Producer::new(topic(2), choices, 0);
    let mut places = Vec::new();
    for _ in 0..12 {
        let record = [7; 100];
        places.push(producer.append(&NewRecord::of_value(&record), NOW).unwrap().partition);
    }
    // Nothing is sent yet: five batches of each partition, and then the open ones grow.
    assert_eq!(places, [0, 1].repeat(6));
}

/// It was told refused, *surely not written*, after it had been told to be in memory.
#[test]
fn a_batch_that_was_in_doubt_once_is_never_told_refused_even_if_it_is_surely_gone() {
    let mut producer = sent(options(), &[b"a", b"b"]);
    hear(&mut producer, &ack(1, 1, AckLevel::Disk, 10), NOW).unwrap();
    producer.handle_lost(LINK, ConnectionFault::ClosedByServer, NOW);
    let later = at_ms(100);
    connect(&mut producer, None, later);
    told(&mut producer, later);
    hear(&mut producer, &out_of_sequence(1, 0, 1), later).unwrap();
    told(&mut producer, later);
    hear(&mut producer, &identity(3, 8), later).unwrap();
    assert_eq!(told(&mut producer, later), [produce(2, 8, 0, b"b")]);
    let damaged = error(Opcode::Produce, 2, ErrorCode::DataDamaged, Fate::Refused);
    hear(&mut producer, &damaged, later).unwrap();
    assert!(matches!(outcomes(&mut producer)[..], [_, BatchOutcome::Unknown(_)]));
}

/// Goes on as the producer 7, whose next record is the 40th.
fn resumed() -> Producer<u8> {
    let mut options = options();
    let identity = ProducerIdentity { id: 7, epoch: 0 };
    options.resume = Some(Resume { identity, partition: 0, sequence: 40 });
    let mut producer = Producer::new(topic(1), options, 0);
    append(&mut producer, b"a", NOW);
    connect(&mut producer, None, NOW);
    append(&mut producer, b"b", NOW);
    let sent = [produce(1, 7, 40, b"a"), produce(2, 7, 41, b"b")];
    assert_eq!(told(&mut producer, NOW), sent);
    producer
}

#[test]
fn a_producer_goes_on_under_the_identity_of_one_that_is_gone() {
    let mut producer = resumed();
    hear(&mut producer, &ack(1, 1, AckLevel::Disk, 10), NOW).unwrap();
    producer.handle_lost(LINK, ConnectionFault::ClosedByServer, NOW);
    let later = at_ms(100);
    connect(&mut producer, None, later);
    assert_eq!(told(&mut producer, later), [produce(1, 7, 41, b"b")]);
    hear(&mut producer, &ack(1, 1, AckLevel::Disk, 11), later).unwrap();
    assert_eq!(outcomes(&mut producer), [acked(10), acked(11)]);
}

/// Under another identity the server would take what the log has already.
#[test]
fn a_producer_that_goes_on_at_the_wrong_place_is_told_the_right_one_and_writes_nothing() {
    let mut producer = resumed();
    hear(&mut producer, &out_of_sequence(1, 55, 40), NOW).unwrap();
    append(&mut producer, b"c", NOW);
    hear(&mut producer, &out_of_sequence(2, 55, 41), NOW).unwrap();
    append(&mut producer, b"d", NOW);
    assert_eq!(told(&mut producer, NOW), [], "nothing is sent again, and no identity asked for");
    let outcomes = outcomes(&mut producer);
    assert_eq!(outcomes.len(), 4);
    for outcome in outcomes {
        let BatchOutcome::Refused(Refusal::Server(error)) = outcome else { panic!("{outcome:?}") };
        assert_eq!((error.code, error.detail_a), (ErrorCode::OutOfSequence, 55));
    }
    assert_eq!(producer.oldest_outstanding(), None);
}

/// A batch that is given up unsent leaves no gap, and what follows would take its place.
#[test]
fn behind_a_batch_that_was_not_sent_in_time_a_resumed_producer_sends_nothing() {
    let mut options = options();
    options.delivery_timeout = Duration::from_millis(100);
    let identity = ProducerIdentity { id: 7, epoch: 0 };
    options.resume = Some(Resume { identity, partition: 0, sequence: 40 });
    let mut producer = Producer::new(topic(1), options, 0);
    append(&mut producer, b"a", NOW);
    producer.handle_timeout(at_ms(200));
    append(&mut producer, b"b", at_ms(200));
    connect(&mut producer, None, at_ms(200));
    assert_eq!(told(&mut producer, at_ms(200)), []);
    let outcomes = outcomes(&mut producer);
    let is_expired =
        |it: &BatchOutcome| matches!(it, BatchOutcome::Refused(Refusal::Expired { .. }));
    assert!(outcomes.len() == 2 && outcomes.iter().all(is_expired), "{outcomes:?}");
}
