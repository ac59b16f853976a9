//! Accept, release, reject, and what becomes of records without a verdict.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use plimsoll_client_blocking::{
    Compression, DeadLetterHeader, ErrorCode, NewRecord, NewTopic, ProducerOptions, SettleFault,
    ShareError,
};
use plimsoll_tests::Place;

use crate::member::{
    DEAD, GROUP, TOPIC, WAIT, dead_letters, header, join, next, options, produce, server, value,
    wait_until_done,
};

#[test]
fn what_is_accepted_never_comes_again_and_what_is_released_comes_after_its_delay() {
    const DELAY: Duration = Duration::from_millis(700);
    let place = Place::new();
    let server = server(&place);
    let client = server.client();
    produce(&client, (0..40).map(|number| number.to_string()));
    let member = join(&client, options());
    let (mut seen, mut released_at) = (BTreeSet::new(), None);
    while seen.len() < 40 {
        let record = next(&member);
        assert!(seen.insert(value(&record)), "{record:?} came twice");
        assert_eq!(record.deliveries, 1);
        if value(&record) == "7" {
            released_at = Some(Instant::now());
            member.release(&record, DELAY);
        } else {
            member.accept(&record);
        }
    }
    member.flush().unwrap();
    let again = next(&member);
    assert!(released_at.unwrap().elapsed() >= DELAY, "never early");
    assert_eq!((value(&again).as_str(), again.deliveries), ("7", 2));
    member.accept(&again);
    member.flush().unwrap();
    wait_until_done(&client);
    assert!(member.next(Duration::from_millis(300)).unwrap().is_none());
    member.close().unwrap();
}

#[test]
fn a_rejected_record_is_in_the_dead_letter_topic_with_its_reason_and_where_it_came_from() {
    let place = Place::new();
    let server = server(&place);
    let client = server.client();
    produce(&client, ["good".to_owned(), "bad".to_owned()]);
    let member = join(&client, options());
    let mut place_of_bad = (0, 0);
    for _ in 0..2 {
        let record = next(&member);
        if value(&record) == "bad" {
            place_of_bad = (record.partition, record.offset.value());
            member.reject(&record, "not a job");
        } else {
            member.accept(&record);
        }
    }
    member.close().unwrap();
    let letters = dead_letters(&client, 1);
    let [letter] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!((letter.key(), letter.value()), (Some(&b"k"[..]), Some(&b"bad"[..])));
    let of = |name: DeadLetterHeader| header(letter, name.name()).unwrap();
    assert_eq!(of(DeadLetterHeader::Reason), "rejected");
    assert_eq!(of(DeadLetterHeader::Detail), "not a job");
    assert_eq!(of(DeadLetterHeader::Topic), TOPIC);
    assert_eq!(of(DeadLetterHeader::Partition), place_of_bad.0.to_string());
    assert_eq!(of(DeadLetterHeader::Offset), place_of_bad.1.to_string());
    assert_eq!(of(DeadLetterHeader::Group), GROUP);
    assert_eq!(of(DeadLetterHeader::Deliveries), "1");
    wait_until_done(&client);
}

#[test]
fn a_record_that_was_handed_out_too_often_goes_to_the_dead_letter_topic() {
    let place = Place::new();
    let server = server(&place);
    let client = server.client();
    produce(&client, ["poison".to_owned()]);
    let mut options = options();
    options.deliveries_max = 3;
    let member = join(&client, options);
    for delivery in 1..=3 {
        let record = next(&member);
        assert_eq!(record.deliveries, delivery);
        member.release(&record, Duration::ZERO);
    }
    let deadline = Instant::now() + WAIT;
    while client.describe(DEAD).unwrap().iter().all(|of| of.watermarks.disk.value() == 0) {
        assert!(Instant::now() < deadline, "it is copied");
        // Whoever asks for records does the copying.
        assert!(member.next(Duration::from_millis(50)).unwrap().is_none());
    }
    let letters = dead_letters(&client, 1);
    let reason = header(&letters[0], DeadLetterHeader::Reason.name());
    assert_eq!((letters[0].value(), reason), (Some(&b"poison"[..]), Some("too many deliveries")));
    wait_until_done(&client);
    member.close().unwrap();
}

/// The copies went on to the handle of the topic that was deleted.
#[test]
fn what_waits_for_a_dead_letter_topic_that_was_deleted_is_there_when_it_is_made_anew() {
    let place = Place::new();
    let server = server(&place);
    let client = server.client();
    let member = join(&client, options());
    produce(&client, ["first".to_owned()]);
    member.reject(&next(&member), "");
    member.flush().unwrap();
    client.delete_topic(DEAD).unwrap();
    produce(&client, ["second".to_owned(), "third".to_owned()]);
    for _ in 0..2 {
        member.reject(&next(&member), "");
    }
    let _ = member.next(Duration::from_millis(500)).unwrap();
    let topic = NewTopic { name: DEAD, partitions: 2, ..NewTopic::default() };
    client.create_topic(&topic).unwrap();
    let deadline = Instant::now() + WAIT;
    let ends = || client.describe(DEAD).unwrap().into_iter().map(|of| of.watermarks.disk.value());
    while ends().sum::<u64>() < 2 {
        assert!(Instant::now() < deadline, "both are copied: {:?}", member.notices());
        assert!(member.next(Duration::from_millis(50)).unwrap().is_none());
    }
    wait_until_done(&client);
    member.close().unwrap();
}

#[test]
fn without_a_dead_letter_topic_a_rejected_record_is_gone() {
    let place = Place::new();
    let server = server(&place);
    let client = server.client();
    produce(&client, ["bad".to_owned()]);
    let mut options = options();
    options.dead_letter = None;
    let member = join(&client, options);
    member.reject(&next(&member), "nobody reads this");
    member.flush().unwrap();
    wait_until_done(&client);
    member.close().unwrap();
}

#[test]
fn a_dead_letter_topic_that_does_not_exist_is_told_before_anything_is_consumed() {
    let place = Place::new();
    let server = server(&place);
    let client = server.client();
    let mut options = options();
    options.dead_letter = Some("nowhere".to_owned());
    let error = client.share_consumer(&[TOPIC], GROUP, options).unwrap_err();
    assert!(
        matches!(&error, ShareError::DeadLetterTopicNotFound { topic } if topic == "nowhere"),
        "{error}"
    );
}

#[test]
fn members_that_do_not_agree_with_the_group_are_not_let_in() {
    let place = Place::new();
    let server = server(&place);
    let client = server.client();
    produce(&client, ["one".to_owned()]);
    let member = join(&client, options());
    let record = next(&member);
    let mut other = options();
    other.deliveries_max = 99;
    let error = join(&client, other).next(WAIT).unwrap_err();
    let is_mismatch = matches!(
        &error,
        ShareError::Ended { error, .. } if error.code == ErrorCode::GroupMismatch
    );
    assert!(is_mismatch, "{error}");
    let says = [&format!("no member of group {GROUP}: "), "deliveries at most", "dead letters to "];
    assert!(says.iter().all(|it| error.to_string().contains(it)), "{error}");
    member.accept(&record);
    member.close().unwrap();
}

/// What was read ahead and not handed out has cost it a delivery.
#[test]
fn a_member_that_closes_gives_back_what_nobody_has_seen_uncounted() {
    let place = Place::new();
    let server = server(&place);
    let client = server.client();
    produce(&client, (0..50).map(|number| number.to_string()));
    let member = join(&client, options());
    let (accepted, open) = (next(&member), next(&member));
    member.accept(&accepted);
    member.close().unwrap();
    let member = join(&client, options());
    let mut seen = BTreeSet::new();
    while seen.len() < 49 {
        let record = next(&member);
        let is_open = (record.partition, record.offset) == (open.partition, open.offset);
        assert_eq!(record.deliveries, if is_open { 2 } else { 1 }, "{record:?}");
        assert!(seen.insert(value(&record)) && value(&record) != value(&accepted));
        member.accept(&record);
    }
    member.close().unwrap();
    wait_until_done(&client);
}

#[test]
fn a_second_verdict_is_told_that_it_does_not_count() {
    let place = Place::new();
    let server = server(&place);
    let client = server.client();
    produce(&client, ["one".to_owned()]);
    let member = join(&client, options());
    let record = next(&member);
    assert!(member.is_held(&record));
    member.accept(&record);
    member.flush().unwrap();
    assert!(!member.is_held(&record));
    member.release(&record, Duration::ZERO);
    let ShareError::NotSettled(unsettled) = member.flush().unwrap_err() else { panic!() };
    assert_eq!(unsettled[0].fault, SettleFault::LockLost);
    assert_eq!((&*unsettled[0].topic, unsettled[0].offset), (TOPIC, record.offset));
    assert!(member.next(Duration::from_millis(200)).unwrap().is_none());
}

#[test]
fn records_of_compressed_batches_are_handed_out_one_by_one() {
    let place = Place::new();
    let server = server(&place);
    let client = server.client();
    for compression in [Compression::Lz4, Compression::Zstd] {
        let mut of_producer = ProducerOptions::default();
        of_producer.compression = compression;
        of_producer.linger = Duration::from_millis(100);
        let producer = client.producer(TOPIC, of_producer).unwrap();
        for number in 0..50 {
            let text = format!("{number} {}", "the same again ".repeat(10));
            producer.send(&NewRecord::of_value(text.as_bytes()).to_partition(0)).unwrap();
        }
        assert_eq!(producer.close().acked, 50);
    }
    let mut few = options();
    few.records_max = 7;
    let members = [join(&client, few.clone()), join(&client, few)];
    let mut seen = 0;
    for member in members.iter().cycle() {
        for record in member.poll(5, Duration::from_millis(100)).unwrap() {
            assert!(value(&record).ends_with("again "));
            member.accept(&record);
            seen += 1;
        }
        if seen == 100 {
            break;
        }
    }
    members.iter().for_each(|member| member.flush().unwrap());
    wait_until_done(&client);
}
