//! What is committed when, and what becomes of it.

use plimsoll_client::{CommitFault, GroupEvent, GroupOptions, Offset, Session};
use plimsoll_wire::{ErrorCode, Opcode};

use crate::member::{
    NOW, asked, assignment, auto, committed, delivery, empty, hand_out, joined, serve, words,
};
use crate::script::{at_ms, hear};

#[test]
fn auto_commits_what_was_handed_out_before_the_last_call_and_no_more() {
    let mut member = joined(auto(), &[(0, Some(5))]);
    hear(&mut member, &delivery(0, 5, 3), NOW).unwrap();
    hear(&mut member, &delivery(0, 8, 3), NOW).unwrap();
    hand_out(&mut member, NOW);
    hand_out(&mut member, NOW);
    member.handle_timeout(at_ms(5000));
    let sent = asked(&mut member, at_ms(5000));
    assert!(words(&sent).contains(&"commit [(0, 8)]"), "{sent:?}");
}

#[test]
fn auto_commits_when_partitions_go_and_at_the_end() {
    let mut member = joined(auto(), &[(0, Some(5)), (1, Some(5))]);
    for handle in [0, 1] {
        hear(&mut member, &delivery(handle, 5, 3), NOW).unwrap();
        hand_out(&mut member, NOW);
    }
    member.polled(NOW);
    hear(&mut member, &assignment(2, &[(1, Some(5))]), NOW).unwrap();
    let sent = serve(&mut member, NOW);
    assert_eq!(words(&sent), ["commit [(0, 8), (1, 8)]"]);
    hear(&mut member, &committed(sent[0].0, &[(0, Ok(8)), (1, Ok(8))]), NOW).unwrap();
    assert_eq!(words(&asked(&mut member, NOW)), ["7 lives in 2"]);
    hear(&mut member, &delivery(1, 8, 3), NOW).unwrap();
    while !matches!(member.poll_event(), Some(GroupEvent::Revoked { .. })) {}
    hand_out(&mut member, NOW);
    member.polled(NOW);
    member.leave(NOW);
    let sent = asked(&mut member, NOW);
    assert_eq!(words(&sent), ["commit [(1, 11)]"]);
    hear(&mut member, &committed(sent[0].0, &[(1, Ok(11))]), NOW).unwrap();
    let sent = asked(&mut member, NOW);
    assert_eq!(words(&sent), ["7 leaves"]);
    assert!(!member.is_ended());
    hear(&mut member, &empty(Opcode::LeaveGroup, sent[0].0), NOW).unwrap();
    assert!(member.is_ended());
}

#[test]
fn each_partition_of_a_commit_has_its_own_end_and_what_is_overloaded_is_sent_again() {
    let mut member = joined(GroupOptions::default(), &[(0, Some(5)), (1, Some(5))]);
    for handle in [0, 1] {
        hear(&mut member, &delivery(handle, 5, 3), NOW).unwrap();
        hand_out(&mut member, NOW);
    }
    let commit = member.commit(true, NOW);
    let sent = asked(&mut member, NOW);
    let answers = [(0, Err(ErrorCode::NotAssigned)), (1, Err(ErrorCode::Overloaded))];
    hear(&mut member, &committed(sent[0].0, &answers), NOW).unwrap();
    assert!(member.poll_report(commit).is_none());
    member.handle_timeout(at_ms(200));
    let sent = asked(&mut member, at_ms(200));
    assert_eq!(words(&sent), ["commit [(1, 8)]"]);
    hear(&mut member, &committed(sent[0].0, &[(1, Ok(8))]), at_ms(200)).unwrap();
    let report = member.poll_report(commit).unwrap();
    let fault = CommitFault::Refused(ErrorCode::NotAssigned);
    assert_eq!(report.first_fault(), Some((0, fault)));
    assert_eq!(report.partitions[1].result, Ok(Offset::new(8)));
}

#[test]
fn a_manual_commit_is_told_of_records_whose_partition_went_meanwhile() {
    let mut member = joined(GroupOptions::default(), &[(0, Some(5))]);
    hear(&mut member, &delivery(0, 5, 3), NOW).unwrap();
    hand_out(&mut member, NOW);
    hear(&mut member, &assignment(2, &[]), NOW).unwrap();
    serve(&mut member, NOW);
    let commit = member.commit(true, NOW);
    let sent = asked(&mut member, NOW);
    assert_eq!(words(&sent), ["commit [(0, 8)]"]);
    let answers = [(0, Err(ErrorCode::NotAssigned))];
    hear(&mut member, &committed(sent[0].0, &answers), NOW).unwrap();
    assert!(member.poll_report(commit).unwrap().first_fault().is_some());
}

#[test]
fn a_commit_without_an_answer_ends_in_time() {
    let mut member = joined(GroupOptions::default(), &[(0, Some(5))]);
    hear(&mut member, &delivery(0, 5, 3), NOW).unwrap();
    hand_out(&mut member, NOW);
    let commit = member.commit(true, NOW);
    member.handle_timeout(at_ms(29_999));
    assert!(member.poll_report(commit).is_none());
    member.handle_timeout(at_ms(30_000));
    let report = member.poll_report(commit).unwrap();
    assert_eq!(report.first_fault(), Some((0, CommitFault::NoAnswer)));
}

/// Each was a request of its own, and as many were on their way as batches had come.
#[test]
fn commits_that_nobody_awaits_gather_while_one_is_under_way() {
    let mut member = joined(GroupOptions::default(), &[(0, Some(5)), (1, Some(5))]);
    let commit = |member: &mut _, handle, offset| {
        hear(member, &delivery(handle, offset, 3), NOW).unwrap();
        hand_out(member, NOW);
        member.commit(false, NOW);
    };
    commit(&mut member, 0, 5);
    let first = asked(&mut member, NOW);
    assert_eq!(words(&first), ["commit [(0, 8)]"]);
    for (handle, offset) in [(0, 8), (1, 5), (0, 11)] {
        commit(&mut member, handle, offset);
    }
    member.commit_offsets::<u32>(&[], false, NOW);
    assert_eq!(words(&asked(&mut member, NOW)), [""; 0], "one at a time");
    hear(&mut member, &committed(first[0].0, &[(0, Ok(8))]), NOW).unwrap();
    let second = asked(&mut member, NOW);
    assert_eq!(words(&second), ["commit [(0, 14), (1, 8)]"]);
    let answers = [(0, Ok(14)), (1, Err(ErrorCode::NotAssigned))];
    hear(&mut member, &committed(second[0].0, &answers), NOW).unwrap();
    while let Some(event) = member.poll_event() {
        if let GroupEvent::CommitFailed(report) = event {
            let refused = CommitFault::Refused(ErrorCode::NotAssigned);
            assert_eq!(report.first_fault(), Some((1, refused)), "one report for all of them");
            return;
        }
    }
    panic!("a commit that failed is told");
}
