//! Partitions that are withdrawn while the application is at work on them.

use std::time::Duration;

use plimsoll_client::{
    CommitFault, GroupConsumer, GroupEvent, GroupOptions, Handed, Handout, Session,
};
use plimsoll_wire::{ErrorCode, Fate, Opcode};

use crate::member::{
    NONE, NOW, answer, asked, assignment, auto, committed, delivery, hand_out, joined, membership,
    serve, words,
};
use crate::script::{at_ms, error, hear};

/// The rebalance takes partition 0 away while the application is at work on a batch of it.
fn withdrawn_at_work(options: GroupOptions) -> GroupConsumer {
    let mut member = joined(options, &[(0, Some(5)), (1, Some(5))]);
    hear(&mut member, &delivery(0, 5, 3), NOW).unwrap();
    hand_out(&mut member, NOW);
    hear(&mut member, &assignment(2, &[(1, Some(5))]), NOW).unwrap();
    assert!(serve(&mut member, NOW).is_empty(), "its holder is at work on it");
    member
}

#[test]
fn a_partition_is_let_go_of_when_what_was_handed_out_of_it_is_committed() {
    let mut member = withdrawn_at_work(GroupOptions::default());
    let commit = member.commit(true, NOW);
    let sent = asked(&mut member, NOW);
    assert_eq!(words(&sent), ["commit [(0, 8)]"]);
    hear(&mut member, &committed(sent[0].0, &[(0, Ok(8))]), NOW).unwrap();
    assert_eq!(words(&asked(&mut member, NOW)), ["7 lives in 2"]);
    assert!(member.poll_report(commit).unwrap().first_fault().is_none());
}

#[test]
fn an_application_that_asks_again_after_it_was_told_lets_go() {
    let mut member = withdrawn_at_work(GroupOptions::default());
    member.polled(NOW);
    assert!(asked(&mut member, NOW).is_empty(), "it was not told yet");
    assert_eq!(member.withdrawn().count(), 0);
    assert!(matches!(member.poll_notice(), Some(GroupEvent::Revoked { .. })));
    assert_eq!(member.withdrawn().collect::<Vec<_>>(), [("orders", 0)]);
    member.waits(NOW);
    assert!(asked(&mut member, NOW).is_empty(), "the same call still waits");
    member.polled(NOW);
    assert_eq!(words(&asked(&mut member, NOW)), ["7 lives in 2"]);
    assert_eq!(member.withdrawn().count(), 0);
}

#[test]
fn a_commit_without_waiting_is_answered_before_its_partition_is_let_go_of() {
    let mut member = withdrawn_at_work(GroupOptions::default());
    member.poll_notice();
    member.commit(false, NOW);
    let sent = asked(&mut member, NOW);
    member.polled(NOW);
    assert!(asked(&mut member, NOW).is_empty());
    hear(&mut member, &committed(sent[0].0, &[(0, Ok(8))]), NOW).unwrap();
    assert_eq!(words(&asked(&mut member, NOW)), ["7 lives in 2"]);
}

#[test]
fn an_application_that_does_nothing_lets_go_in_time() {
    let mut member = withdrawn_at_work(GroupOptions::default());
    member.handle_timeout(at_ms(29_999));
    let before = asked(&mut member, at_ms(29_999));
    assert_eq!(words(&before), ["7 lives in 1"], "it holds on to it");
    let all = answer(Opcode::Heartbeat, before[0].0, &membership(7, 2, &[(1, Some(5))]));
    hear(&mut member, &all, at_ms(29_999)).unwrap();
    member.handle_timeout(at_ms(30_000));
    assert_eq!(words(&asked(&mut member, at_ms(30_000))), ["7 lives in 2"]);
    let commit = member.commit(true, at_ms(30_000));
    let sent = asked(&mut member, at_ms(30_000));
    assert_eq!(words(&sent), ["commit [(0, 8)]"], "it is told what becomes of it");
    let gone = committed(sent[0].0, &[(0, Err(ErrorCode::NotAssigned))]);
    hear(&mut member, &gone, at_ms(30_000)).unwrap();
    assert!(member.poll_report(commit).unwrap().first_fault().is_some());
}

/// A server whose disk was full answered no commit, the member waited for that, was taken for dead,
/// and lost what it had kept as well.
#[test]
fn a_commit_that_is_not_answered_does_not_keep_a_member_from_letting_go_in_time() {
    let mut options = GroupOptions::default();
    options.let_go_timeout = Duration::from_secs(10);
    let mut member = withdrawn_at_work(options);
    member.poll_notice();
    member.commit(false, NOW);
    let sent = asked(&mut member, NOW);
    assert_eq!(words(&sent), ["commit [(0, 8)]"]);
    member.polled(NOW);
    member.handle_timeout(at_ms(9_999));
    let before = asked(&mut member, at_ms(9_999));
    assert!(!words(&before).contains(&"7 lives in 2"), "it waits: {before:?}");
    member.handle_timeout(at_ms(10_000));
    assert!(words(&asked(&mut member, at_ms(10_000))).contains(&"7 lives in 2"));
}

/// A commit names the generation that the member goes by: for a partition of a later one it would
/// be refused.
#[test]
fn what_comes_waits_until_what_goes_is_let_go_of() {
    let mut member = withdrawn_at_work(GroupOptions::default());
    hear(&mut member, &assignment(3, &[(1, Some(5)), (2, NONE)]), NOW).unwrap();
    assert!(serve(&mut member, NOW).is_empty());
    assert!(matches!(member.poll_event(), Some(GroupEvent::Revoked { .. })));
    assert!(member.poll_event().is_none());
    member.polled(NOW);
    let asked = serve(&mut member, NOW);
    assert!(words(&asked).contains(&"7 lives in 3"), "{asked:?}");
    assert!(matches!(member.poll_event(),
        Some(GroupEvent::Assigned { partitions, .. }) if partitions == [2]));
}

#[test]
fn under_auto_the_last_batch_is_committed_with_the_next_call_and_only_then_let_go_of() {
    let mut member = withdrawn_at_work(auto());
    member.polled(NOW);
    let sent = asked(&mut member, NOW);
    assert_eq!(words(&sent), ["commit [(0, 8)]"]);
    hear(&mut member, &committed(sent[0].0, &[(0, Ok(8))]), NOW).unwrap();
    assert_eq!(words(&asked(&mut member, NOW)), ["7 lives in 2"]);
}

#[test]
fn what_was_committed_or_never_handed_out_holds_nothing_up() {
    let mut member = joined(GroupOptions::default(), &[(0, Some(5)), (1, Some(5))]);
    hear(&mut member, &delivery(0, 5, 3), NOW).unwrap();
    hand_out(&mut member, NOW);
    member.commit(false, NOW);
    let sent = asked(&mut member, NOW);
    hear(&mut member, &committed(sent[0].0, &[(0, Ok(8))]), NOW).unwrap();
    hear(&mut member, &delivery(1, 5, 3), NOW).unwrap();
    hear(&mut member, &assignment(2, &[]), NOW).unwrap();
    assert!(words(&asked(&mut member, NOW)).contains(&"7 lives in 2"));
}

#[test]
fn a_lost_membership_gives_up_what_it_held_on_to() {
    let mut member = withdrawn_at_work(GroupOptions::default());
    member.handle_timeout(at_ms(1000));
    let beat = asked(&mut member, at_ms(1000));
    let unknown = error(Opcode::Heartbeat, beat[0].0, ErrorCode::MemberUnknown, Fate::NotAppend);
    hear(&mut member, &unknown, at_ms(1000)).unwrap();
    assert_eq!(words(&asked(&mut member, at_ms(1000))), ["join as 7 with [1]"]);
    let commit = member.commit(true, at_ms(1000));
    let fault = member.poll_report(commit).unwrap().first_fault();
    assert_eq!(fault, Some((0, CommitFault::MembershipLost)));
}

/// A driver's application that waits for records hears that it is to commit, once.
#[test]
fn who_waits_for_records_hears_what_is_withdrawn_and_lets_go_with_the_next_call() {
    let mut member = joined(GroupOptions::default(), &[(0, Some(5))]);
    hear(&mut member, &delivery(0, 5, 3), NOW).unwrap();
    let mut handout = Handout::default();
    let mut poll = |member: &mut GroupConsumer, is_new: bool| {
        if is_new {
            handout.ask();
        }
        loop {
            handout.open();
            match handout.poll_batch(member, NOW).unwrap() {
                Handed::Again => {}
                handed => return handed,
            }
        }
    };
    assert!(matches!(poll(&mut member, true), Handed::Given(_)));
    assert!(matches!(poll(&mut member, true), Handed::Wait));
    hear(&mut member, &assignment(2, &[]), NOW).unwrap();
    let Handed::Withdrawn(partitions) = poll(&mut member, false) else { panic!() };
    assert_eq!(partitions, [(String::from("orders"), 0)]);
    assert!(serve(&mut member, NOW).is_empty());
    assert!(matches!(poll(&mut member, true), Handed::Wait));
    assert_eq!(words(&serve(&mut member, NOW)), ["7 lives in 2"]);
}
