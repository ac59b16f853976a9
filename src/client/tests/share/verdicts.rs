//! What the member tells the server, how often, and what it makes of the answers.

use plimsoll_client::{
    ConnectionFault, Decision, Session, SettleFault, ShareConsumer, ShareError, ShareOptions,
    SharedRecord,
};
use plimsoll_wire::{ErrorCode, Fate, Opcode};
use std::time::Duration;

use crate::member::{
    NOW, acquired, asked, connect, hand_out, joined, left, membership, only, run, settled, take,
    words,
};
use crate::script::{LINK, at_ms, batch, error, hear};

/// A member at work on the records 10 to 13.
fn at_work() -> (ShareConsumer, Vec<SharedRecord>) {
    let mut options = ShareOptions::default();
    // So few that it does not ask for more on its own.
    options.records_max = 4;
    let mut member = joined(options);
    hand_out(&mut member, &[run(10, 13, 1)], &batch(10, 4, 0));
    let records = std::iter::from_fn(|| member.poll_record(NOW)).take(4).collect();
    assert!(asked(&mut member, NOW).is_empty());
    (member, records)
}

fn accept(member: &mut ShareConsumer, record: &SharedRecord) {
    member.decide(record, Decision::Accept, NOW);
}

fn faults(member: &mut ShareConsumer) -> Vec<(u64, SettleFault)> {
    let unsettled = member.take_unsettled();
    unsettled.iter().map(|of| (of.offset.value(), of.fault)).collect()
}

#[test]
fn verdicts_gather_while_others_are_under_way_and_neighbours_go_together() {
    let (mut member, records) = at_work();
    accept(&mut member, &records[0]);
    let (id, said) = only(&mut member, NOW);
    assert_eq!(said, "accept 10..=10");
    let last = member.decide(&records[3], Decision::Accept, NOW);
    accept(&mut member, &records[2]);
    let delay = Duration::from_millis(5);
    member.decide(&records[1], Decision::Release { delay }, NOW);
    assert!(asked(&mut member, NOW).is_empty(), "one at a time");
    hear(&mut member, &settled(id, &[None]), NOW).unwrap();
    let asked = asked(&mut member, NOW);
    assert_eq!(asked[0].1, "release(5) 11..=11, accept 12..=13");
    assert!(!member.has_settled(last));
    hear(&mut member, &settled(asked[0].0, &[None, None]), NOW).unwrap();
    assert!(member.has_settled(member.last_settle()) && faults(&mut member).is_empty());
}

#[test]
fn of_a_run_that_was_settled_in_part_each_record_is_asked_for_by_itself() {
    let (mut member, records) = at_work();
    accept(&mut member, &records[3]);
    let (id, _) = only(&mut member, NOW);
    records[..3].iter().for_each(|record| accept(&mut member, record));
    hear(&mut member, &settled(id, &[None]), NOW).unwrap();
    let (id, said) = only(&mut member, NOW);
    assert_eq!(said, "accept 10..=12");
    hear(&mut member, &settled(id, &[Some(ErrorCode::LockLost)]), NOW).unwrap();
    let (id, said) = only(&mut member, NOW);
    assert_eq!(said, "accept 10..=10, accept 11..=11, accept 12..=12");
    let errors = [
        Some(ErrorCode::AlreadySettled),
        Some(ErrorCode::LockLost),
        Some(ErrorCode::AlreadySettled),
    ];
    hear(&mut member, &settled(id, &errors), NOW).unwrap();
    assert_eq!(faults(&mut member), [(11, SettleFault::LockLost)]);
    assert_eq!(member.unsettled(), 0);
}

#[test]
fn after_a_lost_connection_the_same_verdicts_are_sent_again_and_done_before_is_done() {
    let (mut member, records) = at_work();
    accept(&mut member, &records[0]);
    assert_eq!(only(&mut member, NOW).1, "accept 10..=10");
    member.handle_lost(LINK, ConnectionFault::ClosedByServer, NOW);
    accept(&mut member, &records[1]);
    let again = at_ms(1000);
    let asked = connect(&mut member, again);
    assert_eq!(words(&asked), ["7 lives in 1", "accept 10..=11"]);
    hear(&mut member, &settled(asked[1].0, &[Some(ErrorCode::AlreadySettled)]), again).unwrap();
    assert_eq!((member.unsettled(), faults(&mut member)), (0, vec![]));
}

#[test]
fn a_member_that_was_forgotten_says_what_it_does_not_know_and_joins_again() {
    let (mut member, records) = at_work();
    accept(&mut member, &records[0]);
    assert_eq!(only(&mut member, NOW).1, "accept 10..=10");
    member.handle_lost(LINK, ConnectionFault::ClosedByServer, NOW);
    accept(&mut member, &records[1]);
    let again = at_ms(1000);
    let asked = connect(&mut member, again);
    let unknown = |opcode, id| error(opcode, id, ErrorCode::MemberUnknown, Fate::NotAppend);
    hear(&mut member, &unknown(Opcode::Heartbeat, asked[0].0), again).unwrap();
    hear(&mut member, &unknown(Opcode::ShareSettle, asked[1].0), again).unwrap();
    let told = faults(&mut member);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.contains(&(10, SettleFault::Unknown)), "{told:?}");
    assert!(!member.is_held(&records[2], again), "it is handed out anew");
    accept(&mut member, &records[2]);
    assert_eq!(faults(&mut member), [(12, SettleFault::LockLost)]);
    let (id, said) = only(&mut member, again);
    assert_eq!(said, "join as 7");
    hear(&mut member, &membership(id, 8, 1), again).unwrap();
    assert_eq!(words(&crate::member::asked(&mut member, again))[0], "8 lives in 1");
}

/// The server hands a record out anew at once, and answers the release when it is on disk: it was
/// told to be unknown.
#[test]
fn a_released_record_that_comes_again_before_the_answer_was_released() {
    let mut member = joined(ShareOptions::default());
    hand_out(&mut member, &[run(10, 10, 1)], &batch(10, 1, 0));
    let record = member.poll_record(NOW).unwrap();
    assert!(member.poll_record(NOW).is_none());
    let acquire = only(&mut member, NOW).0;
    let delay = Duration::ZERO;
    let id = member.decide(&record, Decision::Release { delay }, NOW);
    let settle = only(&mut member, NOW).0;
    hear(&mut member, &acquired(acquire, &[run(10, 10, 2)]), NOW).unwrap();
    assert!(member.has_settled(id) && faults(&mut member).is_empty());
    hear(&mut member, &settled(settle, &[None]), NOW).unwrap();
    let (fetch, said) = only(&mut member, NOW);
    assert_eq!(said, "fetch 0 at 10");
    hear(&mut member, &crate::member::fetched(fetch, &batch(10, 1, 0)), NOW).unwrap();
    let again = member.poll_record(NOW).unwrap();
    assert_eq!(again.deliveries, 2);
    accept(&mut member, &record);
    assert_eq!(faults(&mut member), [(10, SettleFault::LockLost)], "that was another time");
}

#[test]
fn a_verdict_that_the_server_cannot_take_now_is_sent_again() {
    let (mut member, records) = at_work();
    accept(&mut member, &records[0]);
    let (id, _) = only(&mut member, NOW);
    let overloaded = error(Opcode::ShareSettle, id, ErrorCode::Overloaded, Fate::NotAppend);
    hear(&mut member, &overloaded, NOW).unwrap();
    assert!(asked(&mut member, NOW).is_empty(), "not at once");
    let later = member.poll_timeout().unwrap();
    member.handle_timeout(later);
    assert_eq!(only(&mut member, later).1, "accept 10..=10");
}

#[test]
fn locks_are_renewed_before_half_of_their_time_is_over() {
    let (mut member, records) = at_work();
    let (renewal, now) = loop {
        let now = member.poll_timeout().unwrap();
        assert!(now < at_ms(15_000), "half of the lock's time");
        member.handle_timeout(now);
        let said = asked(&mut member, now);
        if let Some(renewal) = said.into_iter().find(|(_, said)| said.contains("renew")) {
            break (renewal, now);
        }
    };
    assert_eq!(renewal.1, "renew 10..=13");
    hear(&mut member, &settled(renewal.0, &[None]), now).unwrap();
    assert!(member.is_held(&records[0], at_ms(35_000)), "it counts from the renewal on");
}

#[test]
fn a_record_whose_lock_could_not_be_renewed_is_told_to_be_lost() {
    let (mut member, records) = at_work();
    accept(&mut member, &records[3]);
    let (id, _) = only(&mut member, NOW);
    hear(&mut member, &settled(id, &[None]), NOW).unwrap();
    let at = at_ms(10_000);
    member.handle_timeout(at);
    let find = |said: Vec<(u32, String)>| said.into_iter().find(|(_, it)| it.contains("renew"));
    let (id, said) = find(asked(&mut member, at)).unwrap();
    assert_eq!(said, "renew 10..=12");
    hear(&mut member, &settled(id, &[Some(ErrorCode::LockLost)]), at).unwrap();
    let (id, said) = find(asked(&mut member, at)).unwrap();
    assert_eq!(said, "renew 10..=10, renew 11..=11, renew 12..=12");
    hear(&mut member, &settled(id, &[None, Some(ErrorCode::LockLost), None]), at).unwrap();
    assert_eq!([0, 1, 2].map(|it| member.is_held(&records[it], at)), [true, false, true],);
    assert!(member.poll_notice().unwrap().to_string().contains("locks of 1 records"));
}

#[test]
fn work_that_hangs_is_not_renewed_for_ever() {
    let mut options = ShareOptions::default();
    options.hold_max = Duration::from_secs(5);
    let mut member = joined(options);
    hand_out(&mut member, &[run(10, 11, 1)], &batch(10, 2, 0));
    assert!(member.poll_record(NOW).is_some());
    asked(&mut member, NOW);
    member.handle_timeout(at_ms(10_000));
    let said = words(&asked(&mut member, at_ms(10_000))).join(", ");
    assert!(!said.contains("renew"), "{said}");
    assert!(said.contains("defer(0) 11..=11"), "nobody has seen the other one: {said}");
}

/// An application that was busy for longer than `hold_max` was shown records that were being given
/// back, and somebody else worked on them at the same time.
#[test]
fn what_was_given_back_unseen_is_not_shown_afterwards() {
    let mut options = ShareOptions::default();
    options.hold_max = Duration::from_secs(5);
    let mut member = joined(options);
    hand_out(&mut member, &[run(10, 11, 1)], &batch(10, 2, 0));
    asked(&mut member, NOW);
    member.handle_timeout(at_ms(10_000));
    assert!(member.poll_record(at_ms(10_000)).is_none());
    let said = words(&asked(&mut member, at_ms(10_000))).join(", ");
    assert!(said.contains("defer(0) 10..=11"), "{said}");
}

#[test]
fn whoever_leaves_gives_everything_back_before_it_goes() {
    let mut member = joined(ShareOptions::default());
    hand_out(&mut member, &[run(10, 12, 1)], &batch(10, 3, 0));
    let records: Vec<SharedRecord> =
        std::iter::from_fn(|| member.poll_record(NOW)).take(2).collect();
    accept(&mut member, &records[0]);
    let asked = asked(&mut member, NOW);
    let (acquire, settle) = (&asked[0], &asked[1]);
    assert!(acquire.1.starts_with("acquire 97"), "{asked:?}");
    assert_eq!(settle.1, "accept 10..=10");
    member.leave(NOW);
    let (ends, said) = only(&mut member, NOW);
    assert_eq!(said, "acquire 1 in 0 ms", "it ends the one that waits");
    hear(&mut member, &acquired(acquire.0, &[]), NOW).unwrap();
    hear(&mut member, &acquired(ends, &[run(20, 20, 1)]), NOW).unwrap();
    hear(&mut member, &settled(settle.0, &[None]), NOW).unwrap();
    let (id, said) = only(&mut member, NOW);
    assert_eq!(said, "release(0) 11..=11, defer(0) 12..=12, defer(0) 20..=20");
    hear(&mut member, &settled(id, &[None, None, None]), NOW).unwrap();
    let (id, said) = only(&mut member, NOW);
    assert_eq!(said, "7 leaves");
    hear(&mut member, &left(id), NOW).unwrap();
    assert!(member.is_ended() && take(&mut member).is_empty());
}

/// Every driver said it in its own words.
#[test]
fn a_flush_says_what_was_not_answered_and_what_was_not_taken() {
    let (mut member, records) = at_work();
    accept(&mut member, &records[0]);
    let last = member.last_settle();
    let waits = member.flushed(last, "here");
    assert!(matches!(waits, Err(ShareError::Pending { verdicts: 1 })), "{waits:?}");
    let (id, _) = only(&mut member, NOW);
    hear(&mut member, &settled(id, &[Some(ErrorCode::LockLost)]), NOW).unwrap();
    let refused = member.flushed(last, "here");
    assert!(matches!(&refused, Err(ShareError::NotSettled(all)) if all.len() == 1), "{refused:?}");
    assert!(member.flushed(last, "here").is_ok(), "it was told once");
    accept(&mut member, &records[1]);
    let last = member.last_settle();
    assert!(member.disconnected("here").is_none() && !member.has_left());
    member.handle_lost(LINK, ConnectionFault::ClosedByServer, NOW);
    let lost = member.flushed(last, "here");
    assert!(matches!(&lost, Err(ShareError::Disconnected { address, .. }) if address == "here"));
    assert!(member.has_left(), "nobody would take its good-bye");
}
