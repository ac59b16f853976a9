//! What is acquired, fetched and handed out.

use plimsoll_batch::{BatchBuilder, assign};
use plimsoll_client::{DELIVER_AFTER_HEADER, Header, Offset, ShareOptions};
use plimsoll_wire::{ErrorCode, Fate, Opcode};

use crate::member::{
    NOW, SERVER_MS, acquired, asked, hand_out, joined, only, run, settled, take, words,
};
use crate::script::{at_ms, batch, error, hear};

#[test]
fn it_asks_for_records_only_when_somebody_wants_some() {
    let mut member = joined(ShareOptions::default());
    assert!(asked(&mut member, NOW).is_empty());
    assert!(member.poll_record(NOW).is_none());
    assert_eq!(only(&mut member, NOW).1, "acquire 100 in 5000 ms");
    assert!(member.poll_record(NOW).is_none());
    assert!(asked(&mut member, NOW).is_empty(), "one request at a time");
}

#[test]
fn of_a_batch_only_what_was_acquired_is_handed_out() {
    let mut member = joined(ShareOptions::default());
    hand_out(&mut member, &[run(11, 12, 1), run(14, 14, 3)], &batch(10, 6, 0));
    let records = take(&mut member);
    let seen: Vec<(u64, u32)> =
        records.iter().map(|record| (record.offset.value(), record.deliveries)).collect();
    assert_eq!(seen, [(11, 1), (12, 1), (14, 3)]);
    assert_eq!((records[0].topic(), records[0].value()), ("orders", Some(&[1_u8][..])));
}

#[test]
fn offsets_without_a_record_are_told_to_be_gone() {
    let mut member = joined(ShareOptions::default());
    hand_out(&mut member, &[run(10, 19, 1)], &batch(12, 3, 0));
    let said = words(&asked(&mut member, NOW)).join(", ");
    assert!(said.contains("gone 10..=11"), "{said}");
    assert!(said.contains("fetch 0 at 15"), "{said}");
}

/// After a power loss a partition goes on a million offsets further; a hundred at a time took a
/// minute.
#[test]
fn a_leap_of_offsets_is_gone_up_to_the_next_record() {
    let mut member = joined(ShareOptions::default());
    hand_out(&mut member, &[run(10, 19, 1)], &batch(90, 3, 0));
    let said = words(&asked(&mut member, NOW)).join(", ");
    assert!(said.contains("gone 10..=89"), "{said}");
}

#[test]
fn what_the_partition_has_no_more_is_gone() {
    let mut member = joined(ShareOptions::default());
    assert!(member.poll_record(NOW).is_none());
    let (id, _) = only(&mut member, NOW);
    hear(&mut member, &acquired(id, &[run(2, 6, 1)]), NOW).unwrap();
    let (id, _) = only(&mut member, NOW);
    hear(&mut member, &crate::script::bound(id), NOW).unwrap();
    let (id, _) = only(&mut member, NOW);
    // The partition begins at 5 now.
    let refused = error(Opcode::Fetch, id, ErrorCode::OffsetOutOfRange, Fate::NotAppend);
    hear(&mut member, &refused, NOW).unwrap();
    assert_eq!(words(&asked(&mut member, NOW)), ["gone 2..=4", "fetch 0 at 5"]);
}

/// Behind damage it went through a million offsets, three at a time and without a pause.
#[test]
fn who_cannot_read_rests_before_asking_for_more() {
    let mut member = joined(ShareOptions::default());
    assert!(member.poll_record(NOW).is_none());
    let (id, _) = only(&mut member, NOW);
    hear(&mut member, &acquired(id, &[run(2, 6, 1)]), NOW).unwrap();
    let (id, _) = only(&mut member, NOW);
    hear(&mut member, &crate::script::bound(id), NOW).unwrap();
    let (id, _) = only(&mut member, NOW);
    let damaged = error(Opcode::Fetch, id, ErrorCode::DataDamaged, Fate::NotAppend);
    hear(&mut member, &damaged, NOW).unwrap();
    assert!(member.poll_record(NOW).is_none());
    let said = words(&asked(&mut member, NOW)).join(", ");
    assert!(said.contains("2..=6") && !said.contains("acquire"), "{said}");
    let rested = at_ms(1_000);
    plimsoll_client::Session::handle_timeout(&mut member, rested);
    let said = words(&asked(&mut member, rested)).join(", ");
    assert!(said.contains("acquire"), "{said}");
}

/// The partition begins behind all that was acquired: what nobody has been handed is left out too.
#[test]
fn a_leap_to_the_beginning_of_the_partition_is_gone_at_once() {
    let mut member = joined(ShareOptions::default());
    assert!(member.poll_record(NOW).is_none());
    let (id, _) = only(&mut member, NOW);
    hear(&mut member, &acquired(id, &[run(0, 1, 1)]), NOW).unwrap();
    let (id, _) = only(&mut member, NOW);
    hear(&mut member, &crate::script::bound(id), NOW).unwrap();
    let (id, _) = only(&mut member, NOW);
    // The partition begins at 5 now.
    let refused = error(Opcode::Fetch, id, ErrorCode::OffsetOutOfRange, Fate::NotAppend);
    hear(&mut member, &refused, NOW).unwrap();
    assert_eq!(asked(&mut member, NOW)[0].1, "gone 0..=4");
}

/// Nothing is left of the partition: it was all compacted away, or never was.
#[test]
fn where_no_record_is_left_everything_is_gone_up_to_what_is_on_disk() {
    let mut member = joined(ShareOptions::default());
    hand_out(&mut member, &[run(10, 19, 1), run(30, 31, 2)], &[]);
    let said = words(&asked(&mut member, NOW)).join(", ");
    assert!(said.contains("gone 10..=19") && said.contains("gone 30..=99"), "{said}");
    assert!(!said.contains("fetch"), "{said}");
}

/// Of a partition from which records in the middle have gone the others are handed out, and only
/// the holes are told.
#[test]
fn holes_between_records_are_gone_and_no_leap() {
    let mut member = joined(ShareOptions::default());
    let batches = [batch(12, 1, 0), batch(16, 1, 0)].concat();
    hand_out(&mut member, &[run(10, 16, 1)], &batches);
    let seen: Vec<u64> = take(&mut member).iter().map(|record| record.offset.value()).collect();
    assert_eq!(seen, [12, 16]);
    assert_eq!(asked(&mut member, NOW)[0].1, "gone 10..=11, gone 13..=15");
}

fn delayed(base_offset: u64, times_ms: &[i64]) -> Vec<u8> {
    let (mut builder, mut bytes) = (BatchBuilder::new(), Vec::new());
    for time_ms in times_ms {
        let text = time_ms.to_string();
        let header = Header::new(DELIVER_AFTER_HEADER, text.as_bytes());
        builder.append(1000, None, Some(b"x"), &[header]).unwrap();
    }
    builder.finish_into(&mut bytes);
    assign(&mut bytes, Offset::new(base_offset), 0);
    bytes
}

#[test]
fn a_record_whose_time_has_not_come_by_the_servers_clock_is_deferred() {
    let mut member = joined(ShareOptions::default());
    let batches = delayed(10, &[SERVER_MS - 1, SERVER_MS, SERVER_MS + 1]);
    hand_out(&mut member, &[run(10, 12, 1)], &batches);
    assert_eq!(only(&mut member, NOW).1, format!("defer({}) 12..=12", SERVER_MS + 1));
    assert_eq!(take(&mut member).len(), 2);
}

#[test]
fn a_server_that_gives_more_than_was_asked_for_is_not_believed() {
    let options = ShareOptions::default();
    let mut member = joined(options);
    assert!(member.poll_record(NOW).is_none());
    let (id, _) = only(&mut member, NOW);
    assert!(hear(&mut member, &acquired(id, &[run(0, 100, 1)]), NOW).is_err());
    let mut member = joined(ShareOptions::default());
    assert!(member.poll_record(NOW).is_none());
    let (id, _) = only(&mut member, NOW);
    assert!(hear(&mut member, &acquired(id, &[run(5, 4, 1)]), NOW).is_err());
}

/// A process that slept over its lock handed out what others had by then.
#[test]
fn what_is_ready_for_longer_than_its_lock_is_not_handed_out() {
    let mut member = joined(ShareOptions::default());
    hand_out(&mut member, &[run(10, 11, 1)], &batch(10, 2, 0));
    assert!(member.poll_record(at_ms(29_999)).is_some());
    assert!(member.poll_record(at_ms(30_000)).is_none());
}

#[test]
fn a_batch_that_cannot_be_read_is_released_and_told() {
    let mut member = joined(ShareOptions::default());
    let unreadable = crate::script::compressed(10, plimsoll_batch::Codec::Gzip, |_| vec![1, 2, 3]);
    hand_out(&mut member, &[run(10, 12, 1)], &unreadable);
    let (id, said) = asked(&mut member, NOW).remove(0);
    assert_eq!(said, "release(1000) 10..=12");
    assert!(member.poll_notice().unwrap().to_string().contains("orders/0 from 10 on"));
    hear(&mut member, &settled(id, &[None]), NOW).unwrap();
    assert!(member.poll_record(NOW).is_none());
}
