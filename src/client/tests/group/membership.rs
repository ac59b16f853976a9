//! Joining, following assignments, being forgotten.

use plimsoll_client::{
    CommitFault, ConnectionFault, GroupConsumer, GroupEvent, GroupOptions, LossReason, Offset,
    Session, StartAt,
};
use plimsoll_wire::{Assignment, ErrorCode, Fate, Opcode, TopicId};
use std::time::Duration;

use crate::member::{
    NONE, NOW, answer, asked, assignment, committed, connect, delivery, empty, hand_out, joined,
    membership, serve, words,
};
use crate::script::{LINK, at_ms, error, hear, topic};

#[test]
fn partitions_begin_at_the_committed_offset_and_without_one_where_the_options_say() {
    for (from, second) in [(StartAt::Beginning, 5), (at_time(), 50)] {
        let mut options = GroupOptions::default();
        options.from = from;
        let mut member = GroupConsumer::new(topic(2), "g", options, NOW);
        let asked = connect(&mut member, NOW);
        let has = membership(7, 1, &[(0, Some(42)), (1, NONE)]);
        hear(&mut member, &answer(Opcode::JoinGroup, asked[0].0, &has), NOW).unwrap();
        let rest = serve(&mut member, NOW);
        let second = format!("subscribe 1 at {second}");
        for wanted in ["subscribe 0 at 42", "7 lives in 1", &second] {
            assert!(words(&rest).contains(&wanted), "{wanted}: {rest:?}");
        }
    }
}

fn at_time() -> StartAt {
    StartAt::Timestamp { unix_ms: 1000 }
}

#[test]
fn a_member_lives_at_the_interval_that_the_server_tells() {
    let mut member = joined(GroupOptions::default(), &[]);
    member.handle_timeout(at_ms(999));
    assert!(asked(&mut member, at_ms(999)).is_empty());
    assert_eq!(member.poll_timeout(), Some(at_ms(1000)));
    member.handle_timeout(at_ms(1000));
    assert_eq!(words(&asked(&mut member, at_ms(1000))), ["7 lives in 1"]);
}

/// Only the partition that goes stops; the other is not even asked about.
#[test]
fn an_assignment_stops_what_goes_keeps_what_stays_and_is_then_acknowledged() {
    let mut member = joined(GroupOptions::default(), &[(0, Some(5)), (1, Some(5))]);
    hear(&mut member, &delivery(0, 5, 3), NOW).unwrap();
    hear(&mut member, &delivery(1, 5, 3), NOW).unwrap();
    hear(&mut member, &assignment(2, &[(1, Some(5))]), NOW).unwrap();
    let asked = asked(&mut member, NOW);
    assert_eq!(words(&asked), ["unsubscribe 0", "unbind 0", "7 lives in 2"]);
    assert!(matches!(member.poll_event(),
        Some(GroupEvent::Revoked { partitions, .. }) if partitions == [0]));
    hear(&mut member, &delivery(0, 8, 3), NOW).unwrap();
    assert_eq!(hand_out(&mut member, NOW), (1, 8));
    assert!(member.poll_event().is_none(), "nothing of the partition that went");
}

#[test]
fn records_taken_before_their_partition_went_are_not_handed_out() {
    let mut member = joined(GroupOptions::default(), &[(0, Some(5))]);
    hear(&mut member, &delivery(0, 5, 3), NOW).unwrap();
    let Some(GroupEvent::Delivered(taken)) = member.poll_event() else { panic!() };
    hear(&mut member, &assignment(2, &[]), NOW).unwrap();
    hear(&mut member, &assignment(3, &[(0, Some(5))]), NOW).unwrap();
    assert!(!member.hand_out(&taken, Offset::new(8)), "it is another holding of the partition");
}

/// A handle that is used again too early would take the deliveries of the partition before it.
#[test]
fn a_handle_is_used_again_only_when_the_server_has_freed_it() {
    let mut member = joined(GroupOptions::default(), &[(0, Some(5))]);
    hear(&mut member, &assignment(2, &[]), NOW).unwrap();
    let farewell = asked(&mut member, NOW);
    hear(&mut member, &assignment(3, &[(2, Some(5))]), NOW).unwrap();
    assert_eq!(asked(&mut member, NOW)[0].1, "bind 1 to 2");
    hear(&mut member, &empty(Opcode::Unsubscribe, farewell[0].0), NOW).unwrap();
    hear(&mut member, &empty(Opcode::Unbind, farewell[1].0), NOW).unwrap();
    let both = [(2, Some(5)), (3, Some(5))];
    hear(&mut member, &assignment(4, &both), NOW).unwrap();
    assert_eq!(asked(&mut member, NOW)[0].1, "bind 0 to 3");
}

#[test]
fn a_commit_under_way_is_answered_before_the_heartbeat_that_lets_go() {
    let mut member = joined(GroupOptions::default(), &[(0, Some(5))]);
    hear(&mut member, &delivery(0, 5, 3), NOW).unwrap();
    hand_out(&mut member, NOW);
    let commit = member.commit(true, NOW);
    let sent = asked(&mut member, NOW);
    assert_eq!(words(&sent), ["commit [(0, 8)]"]);
    hear(&mut member, &assignment(2, &[]), NOW).unwrap();
    assert_eq!(words(&asked(&mut member, NOW)), ["unsubscribe 0", "unbind 0"]);
    hear(&mut member, &committed(sent[0].0, &[(0, Ok(8))]), NOW).unwrap();
    assert_eq!(words(&asked(&mut member, NOW)), ["7 lives in 2"]);
    assert!(member.poll_report(commit).unwrap().first_fault().is_none());
}

#[test]
fn a_member_that_was_forgotten_joins_again_and_goes_on_without_a_break() {
    let mut member = joined(GroupOptions::default(), &[(0, Some(5)), (1, Some(5))]);
    member.handle_timeout(at_ms(1000));
    let beat = asked(&mut member, at_ms(1000));
    let unknown = error(Opcode::Heartbeat, beat[0].0, ErrorCode::MemberUnknown, Fate::NotAppend);
    hear(&mut member, &unknown, at_ms(1000)).unwrap();
    let join = asked(&mut member, at_ms(1000));
    assert_eq!(words(&join), ["join as 7 with [0, 1]"]);
    let has = membership(9, 4, &[(1, Some(5))]);
    hear(&mut member, &answer(Opcode::JoinGroup, join[0].0, &has), at_ms(1000)).unwrap();
    let asked = asked(&mut member, at_ms(1000));
    assert_eq!(words(&asked), ["unsubscribe 0", "unbind 0", "9 lives in 4"]);
    let lost = member.poll_event();
    assert!(
        matches!(lost, Some(GroupEvent::Lost { partitions, reason: LossReason::Forgotten, .. })
        if partitions == [0])
    );
    hear(&mut member, &delivery(1, 5, 3), at_ms(1000)).unwrap();
    assert_eq!(hand_out(&mut member, at_ms(1000)), (1, 8));
}

#[test]
fn what_others_have_consumed_meanwhile_is_not_consumed_again() {
    let mut member = joined(GroupOptions::default(), &[(0, Some(5))]);
    member.handle_timeout(at_ms(1000));
    let beat = asked(&mut member, at_ms(1000));
    let unknown = error(Opcode::Heartbeat, beat[0].0, ErrorCode::MemberUnknown, Fate::NotAppend);
    hear(&mut member, &unknown, at_ms(1000)).unwrap();
    let join = asked(&mut member, at_ms(1000));
    let has = membership(9, 4, &[(0, Some(20))]);
    hear(&mut member, &answer(Opcode::JoinGroup, join[0].0, &has), at_ms(1000)).unwrap();
    let rest = serve(&mut member, at_ms(1000));
    assert!(words(&rest).contains(&"subscribe 1 at 20"), "{rest:?}");
}

#[test]
fn a_commit_of_a_lost_membership_fails_and_is_not_sent_by_the_next() {
    let mut member = joined(GroupOptions::default(), &[(0, Some(5))]);
    hear(&mut member, &delivery(0, 5, 3), NOW).unwrap();
    hand_out(&mut member, NOW);
    let commit = member.commit(true, NOW);
    let sent = asked(&mut member, NOW);
    let code = ErrorCode::MemberUnknown;
    hear(&mut member, &error(Opcode::CommitOffsets, sent[0].0, code, Fate::NotAppend), NOW)
        .unwrap();
    assert_eq!(words(&asked(&mut member, NOW)), ["join as 7 with [0]"]);
    let report = member.poll_report(commit).unwrap();
    assert_eq!(report.first_fault(), Some((0, CommitFault::MembershipLost)));
}

/// It kept its partitions, went on behind what was to be consumed anew, and its next commit undid
/// the reset.
#[test]
fn a_member_that_was_forgotten_goes_on_where_the_group_was_reset_to() {
    let mut member = joined(GroupOptions::default(), &[(0, Some(5))]);
    hear(&mut member, &delivery(0, 5, 3), NOW).unwrap();
    hand_out(&mut member, NOW);
    member.handle_timeout(at_ms(1000));
    let beat = asked(&mut member, at_ms(1000));
    let unknown = error(Opcode::Heartbeat, beat[0].0, ErrorCode::MemberUnknown, Fate::NotAppend);
    hear(&mut member, &unknown, at_ms(1000)).unwrap();
    let join = asked(&mut member, at_ms(1000));
    let has = membership(9, 4, &[(0, Some(2))]);
    hear(&mut member, &answer(Opcode::JoinGroup, join[0].0, &has), at_ms(1000)).unwrap();
    let rest = serve(&mut member, at_ms(1000));
    assert!(words(&rest).contains(&"subscribe 1 at 2"), "{rest:?}");
}

/// The second commit waited for the answer to the first, and was sent with the number of the new
/// topic: records were skipped of which nobody had seen one.
#[test]
fn a_commit_that_waits_is_not_sent_of_a_topic_that_was_made_anew() {
    let mut member = joined(GroupOptions::default(), &[(0, Some(5))]);
    hear(&mut member, &delivery(0, 5, 3), NOW).unwrap();
    hand_out(&mut member, NOW);
    member.commit_offsets(&[(0, Offset::new(6), "")], false, NOW);
    let first = asked(&mut member, NOW);
    assert_eq!(words(&first), ["commit [(0, 6)]"]);
    member.commit_offsets(&[(0, Offset::new(8), "")], false, NOW);
    let mut anew = membership(7, 4, &[(0, None)]);
    anew.topics.as_mut().unwrap()[0].id = TopicId(2);
    let mut told = Vec::new();
    Assignment { group: "g", membership: anew }.encode(&mut told);
    hear(&mut member, &told, NOW).unwrap();
    hear(&mut member, &committed(first[0].0, &[(0, Err(ErrorCode::TopicNotFound))]), NOW).unwrap();
    let rest = serve(&mut member, NOW);
    assert!(!words(&rest).iter().any(|words| words.starts_with("commit")), "{rest:?}");
}

#[test]
fn a_member_whose_place_was_taken_ends_and_does_not_join_again() {
    let mut member = joined(GroupOptions::default(), &[(0, Some(5))]);
    member.handle_timeout(at_ms(1000));
    let beat = asked(&mut member, at_ms(1000));
    let fenced = error(Opcode::Heartbeat, beat[0].0, ErrorCode::MemberFenced, Fate::NotAppend);
    hear(&mut member, &fenced, at_ms(1000)).unwrap();
    let Some(GroupEvent::Ended(error)) = member.poll_event() else { panic!() };
    assert_eq!(error.code, ErrorCode::MemberFenced);
    assert!(member.is_ended());
    let rest = serve(&mut member, at_ms(1000));
    assert!(rest.is_empty(), "{rest:?}");
    member.polled(at_ms(9000));
    member.handle_timeout(at_ms(9000));
    assert!(asked(&mut member, at_ms(9000)).is_empty());
}

#[test]
fn the_sign_of_life_is_first_on_a_new_connection_and_then_the_commits_that_had_no_answer() {
    let mut member = joined(GroupOptions::default(), &[(0, Some(5))]);
    hear(&mut member, &delivery(0, 5, 3), NOW).unwrap();
    hand_out(&mut member, NOW);
    member.commit(false, NOW);
    asked(&mut member, NOW);
    member.handle_lost(LINK, ConnectionFault::ClosedByServer, NOW);
    let asked = connect(&mut member, at_ms(500));
    assert_eq!(words(&asked), ["bind 0 to 0", "7 lives in 1", "commit [(0, 8)]"]);
}

#[test]
fn an_application_that_never_asks_leaves_and_joins_again_when_it_asks() {
    let mut options = GroupOptions::default();
    options.max_poll_interval = Duration::from_millis(500);
    let mut member = joined(options, &[(0, Some(5))]);
    hear(&mut member, &delivery(0, 5, 3), NOW).unwrap();
    member.handle_timeout(at_ms(500));
    let rest = serve(&mut member, at_ms(500));
    assert_eq!(words(&rest), ["7 leaves"]);
    assert!(matches!(
        member.poll_event(),
        Some(GroupEvent::Lost { reason: LossReason::NotPolled(_), .. })
    ));
    assert!(member.poll_event().is_none(), "nothing of it is handed out any more");
    member.polled(at_ms(800));
    assert_eq!(words(&asked(&mut member, at_ms(800))), ["join as 0 with []"]);
}
