//! The consumer's session against a scripted server: credit, positions, damage, and what comes in
//! pieces.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod script;

use plimsoll_batch::Codec;
use plimsoll_client::{
    ConnectionFault, Consumer, ConsumerEvent, ConsumerOptions, DeliveredBatches, DeliveryError,
    IncomingFrames, Instant, Offset, Session, StartAt,
};
use plimsoll_wire::{ErrorCode, Fate, Opcode};
use script::{
    LINK, Told, at_ms, batch, batch_at, bound, compressed, delivery, error, hear, hello, located,
    subscribed, told, topic,
};

const NOW: Instant = Instant::ORIGIN;

fn consumer(from: StartAt, credit_bytes: u32) -> Consumer {
    let mut options = ConsumerOptions::default();
    options.from = from;
    options.credit_bytes = credit_bytes;
    Consumer::new(topic(1), options, NOW).unwrap()
}

/// Dials, greets, binds; gives what the consumer then subscribes to.
fn subscribe(consumer: &mut Consumer, now: Instant) -> Told {
    assert_eq!(consumer.poll_dial(now), Some(LINK));
    consumer.handle_connected(LINK, now);
    assert_eq!(told(consumer, now), [Told::Hello]);
    hear(consumer, &hello(), now).unwrap();
    assert_eq!(told(consumer, now), [Told::Bind { partition: 0 }]);
    hear(consumer, &bound(2), now).unwrap();
    let mut told = told(consumer, now);
    assert_eq!(told.len(), 1);
    hear(consumer, &subscribed(3), now).unwrap();
    told.remove(0)
}

fn delivered(consumer: &mut Consumer) -> DeliveredBatches {
    match consumer.poll_event() {
        Some(ConsumerEvent::Delivered(batches)) => batches,
        other => panic!("{other:?}"),
    }
}

fn offsets(batches: &mut DeliveredBatches) -> Vec<u64> {
    batches
        .flat_map(|batch| {
            let records = batch.unwrap().owned_records().collect::<Vec<_>>();
            records.into_iter().map(|record| record.unwrap().offset.value())
        })
        .collect()
}

#[test]
fn the_start_is_taken_from_the_binding_where_it_is_known_there() {
    for (from, offset) in
        [(StartAt::Beginning, 5), (StartAt::End, 100), (StartAt::Offset(Offset::new(42)), 42)]
    {
        let mut consumer = consumer(from, 8192);
        let expected = Told::Subscribe { offset, credit_bytes: 8192 };
        assert_eq!(subscribe(&mut consumer, NOW), expected);
    }
}

#[test]
fn records_before_the_wanted_offset_are_left_out() {
    let mut consumer = consumer(StartAt::Offset(Offset::new(12)), 8192);
    subscribe(&mut consumer, NOW);
    let batches = [batch(8, 2, 0), batch(10, 5, 0)].concat();
    hear(&mut consumer, &delivery(&batches), NOW).unwrap();
    assert_eq!(offsets(&mut delivered(&mut consumer)), [12, 13, 14]);
    assert_eq!(consumer.delivered_up_to(0), Some(Offset::new(15)));
}

/// The server names the batch, and it is for the client to find the record in it.
#[test]
fn a_time_begins_at_its_first_record_and_what_follows_is_wanted_whatever_its_time() {
    let begin = |offset| {
        let mut consumer = consumer(StartAt::Timestamp { unix_ms: 70 }, 8192);
        consumer.poll_dial(NOW);
        consumer.handle_connected(LINK, NOW);
        for frame in [hello(), bound(2), located(3, offset), subscribed(4)] {
            hear(&mut consumer, &frame, NOW).unwrap();
        }
        consumer
    };
    let mut consumer = begin(8);
    let batches = [batch_at(8, &[68, 69, 70, 60]), batch_at(12, &[65, 71])].concat();
    hear(&mut consumer, &delivery(&batches), NOW).unwrap();
    assert_eq!(offsets(&mut delivered(&mut consumer)), [10, 11, 12, 13]);

    let mut at_the_end = begin(100);
    hear(&mut at_the_end, &delivery(&batch_at(100, &[50, 60])), NOW).unwrap();
    assert_eq!(offsets(&mut delivered(&mut at_the_end)), [100, 101], "no batch reaches into it");
}

#[test]
fn credit_is_given_back_only_for_what_was_consumed() {
    let mut consumer = consumer(StartAt::Beginning, 8192);
    subscribe(&mut consumer, NOW);
    let frame = delivery(&batch(5, 10, 200));
    for _ in 0..2 {
        hear(&mut consumer, &frame, NOW).unwrap();
    }
    assert_eq!(told(&mut consumer, NOW), []);
    let first = delivered(&mut consumer);
    consumer.release(&first);
    assert_eq!(told(&mut consumer, NOW), [], "less than half of the credit");
    let second = delivered(&mut consumer);
    consumer.release(&second);
    let bytes = 2 * frame.len() as u32;
    assert_eq!(told(&mut consumer, NOW), [Told::Credit { bytes }]);
}

#[test]
fn after_a_lost_connection_it_goes_on_behind_what_was_delivered_with_the_credit_that_is_left() {
    let mut consumer = consumer(StartAt::Beginning, 8192);
    subscribe(&mut consumer, NOW);
    let frame = delivery(&batch(5, 10, 200));
    hear(&mut consumer, &frame, NOW).unwrap();
    consumer.handle_lost(LINK, ConnectionFault::ClosedByServer, NOW);
    let credit_bytes = 8192 - frame.len() as u32;
    let expected = Told::Subscribe { offset: 15, credit_bytes };
    assert_eq!(subscribe(&mut consumer, at_ms(1000)), expected);
    assert_eq!(offsets(&mut delivered(&mut consumer)), (5..15).collect::<Vec<u64>>());
}

#[test]
fn an_offset_out_of_range_fails_the_partition_and_says_the_range() {
    let mut consumer = consumer(StartAt::Offset(Offset::new(1)), 8192);
    consumer.poll_dial(NOW);
    consumer.handle_connected(LINK, NOW);
    hear(&mut consumer, &hello(), NOW).unwrap();
    hear(&mut consumer, &bound(2), NOW).unwrap();
    let range = error(Opcode::Subscribe, 3, ErrorCode::OffsetOutOfRange, Fate::NotAppend);
    hear(&mut consumer, &range, NOW).unwrap();
    let Some(ConsumerEvent::Failed { partition: 0, error, .. }) = consumer.poll_event() else {
        panic!("the partition must fail");
    };
    assert_eq!((error.detail_a, error.detail_b), (5, 100));
}

#[test]
fn damage_found_by_the_server_ends_the_subscription_with_its_error() {
    let mut consumer = consumer(StartAt::Beginning, 8192);
    subscribe(&mut consumer, NOW);
    let damaged = error(Opcode::Delivery, 3, ErrorCode::DataDamaged, Fate::NotAppend);
    hear(&mut consumer, &damaged, NOW).unwrap();
    assert!(matches!(consumer.poll_event(), Some(ConsumerEvent::Failed { .. })));
}

#[test]
fn a_batch_that_was_changed_on_the_way_never_reaches_the_application() {
    let mut consumer = consumer(StartAt::Beginning, 8192);
    subscribe(&mut consumer, NOW);
    let mut frame = delivery(&batch(5, 3, 0));
    *frame.last_mut().unwrap() ^= 1;
    let fault = hear(&mut consumer, &frame, NOW).unwrap_err();
    assert!(matches!(fault, ConnectionFault::Batch(_)), "{fault}");
    assert!(consumer.poll_event().is_none());
}

#[cfg(feature = "lz4")]
#[test]
fn compressed_batches_are_readable() {
    use std::io::Write;
    let lz4 = |records: &[u8]| {
        let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
        encoder.write_all(records).unwrap();
        encoder.finish().unwrap()
    };
    let mut consumer = consumer(StartAt::Beginning, 8192);
    subscribe(&mut consumer, NOW);
    hear(&mut consumer, &delivery(&compressed(5, Codec::Lz4, lz4)), NOW).unwrap();
    assert_eq!(offsets(&mut delivered(&mut consumer)), (5..55).collect::<Vec<u64>>());
}

#[test]
fn a_codec_that_the_client_does_not_have_is_a_typed_error_for_that_batch() {
    let mut consumer = consumer(StartAt::Beginning, 8192);
    subscribe(&mut consumer, NOW);
    let batches = [compressed(5, Codec::Gzip, |_| vec![1, 2, 3]), batch(55, 1, 0)].concat();
    hear(&mut consumer, &delivery(&batches), NOW).unwrap();
    let mut delivered = delivered(&mut consumer);
    let error = delivered.next().unwrap().unwrap_err();
    assert!(matches!(error, DeliveryError::Decompress(_)), "{error}");
    assert_eq!(offsets(&mut delivered), [55]);
}

#[test]
fn frames_may_be_split_at_every_byte() {
    let batches = [batch(5, 3, 10), batch(8, 2, 10)].concat();
    let bytes = [hello(), bound(2), subscribed(3), delivery(&batches)].concat();
    for split in 0..bytes.len() {
        let mut consumer = consumer(StartAt::Beginning, 8192);
        consumer.poll_dial(NOW);
        consumer.handle_connected(LINK, NOW);
        let mut incoming = IncomingFrames::new();
        for part in [&bytes[..split], &bytes[split..]] {
            assert_eq!(incoming.take_from(part), part.len());
            while let Some(frame) = incoming.next_frame().unwrap() {
                consumer.handle_frame(LINK, frame, NOW).unwrap();
            }
        }
        assert_eq!(offsets(&mut delivered(&mut consumer)), [5, 6, 7, 8, 9], "split at {split}");
    }
}

#[test]
fn a_large_delivery_is_put_together_from_pieces_of_any_size() {
    let bytes = [delivery(&batch(5, 100, 4000)), delivery(&batch(105, 1, 0))].concat();
    for piece_bytes in [1000, 7777, 65_536, 1 << 20] {
        let mut incoming = IncomingFrames::new();
        let mut deliveries = 0;
        for piece in bytes.chunks(piece_bytes) {
            let mut rest = piece;
            while !rest.is_empty() {
                rest = &rest[incoming.take_from(rest)..];
                while incoming.next_frame().unwrap().is_some() {
                    deliveries += 1;
                }
            }
        }
        assert_eq!(deliveries, 2, "in pieces of {piece_bytes}");
    }
}

#[test]
fn arbitrary_bytes_are_an_error_or_nothing_but_never_a_panic() {
    use proptest::prelude::*;
    proptest!(|(bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in 0_usize..300)| {
        let mut valid = delivery(&batch(5, 3, 10));
        valid.truncate(cut.min(valid.len()));
        valid.extend_from_slice(&bytes);
        let mut consumer = consumer(StartAt::Beginning, 8192);
        consumer.poll_dial(NOW);
        consumer.handle_connected(LINK, NOW);
        let _ = hear(&mut consumer, &valid, NOW);
    });
}
