//! Dead records are copied first and settled then.

use plimsoll_client::{
    ConnectionFault, DeadLetterHeader, Decision, LinkId, Session, ShareConsumer, ShareOptions,
};
use plimsoll_wire::{AckLevel, Decoded, FRAME_BYTES_MAX, Request, decode_frame};
use std::time::Duration;

use crate::member::{NOW, asked, dead_run, hand_out, join, only, run};
use crate::script::{ack, at_ms, batch, bound, hello, identity, topic};

/// The link of the producer inside, to shard 0.
const COPIES: LinkId = LinkId(1);

fn member() -> ShareConsumer {
    let mut dead_letter = topic(1);
    dead_letter.name = "dead".to_owned();
    let (topics, options) = (vec!["orders".to_owned()], ShareOptions::default());
    let mut member = ShareConsumer::new(topics, "g", Some(dead_letter), options, NOW);
    join(&mut member);
    member
}

fn hear_copies(member: &mut ShareConsumer, bytes: &[u8]) {
    let mut incoming = plimsoll_client::IncomingFrames::new();
    assert_eq!(incoming.take_from(bytes), bytes.len());
    while let Some(frame) = incoming.next_frame().unwrap() {
        member.handle_frame(COPIES, frame, at_ms(10)).unwrap();
    }
}

/// The headers of the copy that the producer inside sends, as text, and its correlation.
fn copy(member: &mut ShareConsumer) -> (u32, Vec<(String, String)>) {
    let now = at_ms(10);
    member.handle_timeout(now);
    assert_eq!(member.poll_dial(now), Some(COPIES));
    member.handle_connected(COPIES, now);
    let mut answer = Some(hello());
    for _ in 0..10 {
        member.handle_timeout(now);
        while let Some(chunk) = member.poll_transmit(COPIES, now) {
            let mut rest = &chunk[..];
            while !rest.is_empty() {
                let Decoded::Frame(frame) = decode_frame(rest, FRAME_BYTES_MAX).unwrap() else {
                    panic!("a chunk holds whole frames");
                };
                rest = &rest[frame.frame_bytes..];
                match Request::decode(&frame).unwrap() {
                    Request::Hello(_) => {}
                    Request::Bind(_) => answer = Some(bound(frame.correlation.0)),
                    Request::InitProducer => {
                        let mut both = answer.take().unwrap_or_default();
                        both.extend(identity(frame.correlation.0, 5));
                        answer = Some(both);
                    }
                    Request::Produce(produce) => {
                        let limits = Default::default();
                        let batch =
                            plimsoll_batch::Batch::validate(produce.batch, &limits).unwrap();
                        let record = batch.records().unwrap().next().unwrap().unwrap();
                        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                        let headers = record.headers.clone();
                        let headers =
                            headers.map(|header| (text(header.name), text(header.value.unwrap())));
                        return (frame.correlation.0, headers.collect());
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        if let Some(bytes) = answer.take() {
            hear_copies(member, &bytes);
        }
    }
    panic!("no copy is sent");
}

fn value(headers: &[(String, String)], name: DeadLetterHeader) -> &str {
    let found = headers.iter().find(|(of, _)| of == name.name());
    &found.unwrap_or_else(|| panic!("{headers:?}")).1
}

#[test]
fn what_was_handed_out_too_often_is_copied_before_it_is_settled_and_never_shown() {
    let mut member = member();
    hand_out(&mut member, &[dead_run(10, 6)], &batch(10, 1, 0));
    assert!(member.poll_record(NOW).is_none());
    let said = asked(&mut member, NOW);
    assert!(said.iter().all(|(_, said)| said.starts_with("acquire")), "{said:?}");
    let (id, headers) = copy(&mut member);
    assert_eq!(value(&headers, DeadLetterHeader::Reason), "too many deliveries");
    assert_eq!(value(&headers, DeadLetterHeader::Topic), "orders");
    assert_eq!(value(&headers, DeadLetterHeader::Offset), "10");
    assert_eq!(value(&headers, DeadLetterHeader::Deliveries), "6");
    assert!(asked(&mut member, at_ms(10)).is_empty(), "not before the copy is there");
    hear_copies(&mut member, &ack(id, 1, AckLevel::Disk, 0));
    assert_eq!(only(&mut member, at_ms(10)).1, "dead-lettered 10..=10");
}

#[test]
fn the_reason_of_a_rejection_stands_in_the_copy() {
    let mut member = member();
    hand_out(&mut member, &[run(10, 10, 2)], &batch(10, 1, 0));
    let record = member.poll_record(NOW).unwrap();
    asked(&mut member, NOW);
    let id = member.decide(&record, Decision::Reject { reason: "no such user" }, NOW);
    let (copied, headers) = copy(&mut member);
    assert_eq!(value(&headers, DeadLetterHeader::Reason), "rejected");
    assert_eq!(value(&headers, DeadLetterHeader::Detail), "no such user");
    assert!(!member.has_settled(id));
    hear_copies(&mut member, &ack(copied, 1, AckLevel::Disk, 0));
    assert_eq!(only(&mut member, at_ms(10)).1, "dead-lettered 10..=10");
}

#[test]
fn a_rejection_that_cannot_be_copied_is_left_to_the_server() {
    let mut member = member();
    hand_out(&mut member, &[run(10, 10, 2)], &batch(10, 1, 0));
    let record = member.poll_record(NOW).unwrap();
    asked(&mut member, NOW);
    member.decide(&record, Decision::Reject { reason: "no such user" }, NOW);
    assert_eq!(member.poll_dial(NOW), Some(COPIES));
    member.handle_lost(COPIES, ConnectionFault::ClosedByServer, NOW);
    let late = at_ms(0) + Duration::from_secs(31);
    member.handle_timeout(late);
    let said = asked(&mut member, late);
    assert!(said.iter().any(|(_, said)| said == "reject 10..=10"), "{said:?}");
}
