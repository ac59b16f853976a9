//! A member of a group against a scripted server: joining, following assignments, commits, and
//! what happens when the server forgets it or the application does.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod script;

use plimsoll_client::{
    CommitFault, CommitPolicy, ConnectionFault, GroupConsumer, GroupError, GroupEvent,
    GroupOptions, Handout, Instant, LossReason, Offset, OnRemoved, Session, StartAt,
};
use plimsoll_wire::{
    AssignedPartition, AssignedTopic, Assignment, CommitOffsetsResponse, CommittedOffset,
    CorrelationId, Decoded, Delivery, ErrorCode, FRAME_BYTES_MAX, Fate, Generation, Handle,
    MemberId, Membership, Opcode, PartitionIndex, Request, Subscribed, TopicId, TopicPartition,
    decode_frame, encode_empty_response,
};
use script::{LINK, at_ms, batch, bound, error, hear, hello, located, topic, watermarks};
use std::time::Duration;

const NOW: Instant = Instant::ORIGIN;
const NONE: Option<u64> = None;

/// What the member asks, with the number under which it is answered.
fn asked(member: &mut GroupConsumer, now: Instant) -> Vec<(u32, String)> {
    let mut asked = Vec::new();
    while let Some(chunk) = member.poll_transmit(LINK, now) {
        let mut rest = &chunk[..];
        while !rest.is_empty() {
            let Decoded::Frame(frame) = decode_frame(rest, FRAME_BYTES_MAX).unwrap() else {
                panic!("a chunk holds whole frames");
            };
            rest = &rest[frame.frame_bytes..];
            let request = Request::decode(&frame).unwrap();
            if !matches!(request, Request::Credit(_)) {
                asked.push((frame.correlation.0, in_words(&request)));
            }
        }
    }
    asked
}

fn in_words(request: &Request<'_>) -> String {
    match request {
        Request::Hello(_) => "hello".to_owned(),
        Request::JoinGroup(join) => {
            let owned: Vec<u32> = join.owned.iter().map(|owned| owned.partition.0).collect();
            format!("join as {} with {owned:?}", join.member)
        }
        Request::Heartbeat(beat) => format!("{} lives in {}", beat.member, beat.generation),
        Request::LeaveGroup(leave) => format!("{} leaves", leave.member),
        Request::CommitOffsets(commit) => {
            let of_one = |of: &plimsoll_wire::OffsetToCommit<'_>| {
                (of.partition.partition.0, of.offset.unwrap().value())
            };
            format!("commit {:?}", commit.offsets.iter().map(of_one).collect::<Vec<_>>())
        }
        Request::Bind(bind) => format!("bind {} to {}", bind.handle.0, bind.partition.0),
        Request::Subscribe(to) => format!("subscribe {} at {}", to.handle.0, to.offset),
        Request::Offsets(of) => format!("locate {}", of.handle.0),
        Request::Unsubscribe(from) => format!("unsubscribe {}", from.handle.0),
        Request::Unbind(unbind) => format!("unbind {}", unbind.handle.0),
        other => panic!("{other:?}"),
    }
}

fn words(asked: &[(u32, String)]) -> Vec<&str> {
    asked.iter().map(|(_, words)| &**words).collect()
}

fn membership(member: u64, generation: u64, has: &[(u32, Option<u64>)]) -> Membership<'static> {
    let partitions = has.iter().map(|(partition, committed)| AssignedPartition {
        partition: PartitionIndex(*partition),
        committed: committed.map(Offset::new),
    });
    Membership {
        member: MemberId(member),
        generation: Generation(generation),
        heartbeat_interval_ms: 1000,
        topics: Some(vec![AssignedTopic {
            topic: "orders",
            id: TopicId(1),
            partitions: partitions.collect(),
        }]),
    }
}

fn answer(opcode: Opcode, correlation: u32, membership: &Membership<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    membership.encode(opcode, CorrelationId(correlation), &mut out);
    out
}

fn assignment(generation: u64, has: &[(u32, Option<u64>)]) -> Vec<u8> {
    let mut out = Vec::new();
    Assignment { group: "g", membership: membership(7, generation, has) }.encode(&mut out);
    out
}

fn empty(opcode: Opcode, correlation: u32) -> Vec<u8> {
    let mut out = Vec::new();
    encode_empty_response(opcode, CorrelationId(correlation), &mut out);
    out
}

fn committed(correlation: u32, of: &[(u32, Result<u64, ErrorCode>)]) -> Vec<u8> {
    let of_one = |(partition, result): &(u32, Result<u64, ErrorCode>)| CommittedOffset {
        partition: TopicPartition { topic: TopicId(1), partition: PartitionIndex(*partition) },
        error: result.err(),
        committed: result.ok().map(Offset::new),
    };
    let (offsets, mut out) = (of.iter().map(of_one).collect(), Vec::new());
    CommitOffsetsResponse { offsets }.encode(CorrelationId(correlation), &mut out);
    out
}

fn delivery(handle: u32, base_offset: u64, records: u8) -> Vec<u8> {
    let (batches, mut out) = (batch(base_offset, records, 0), Vec::new());
    Delivery { handle: Handle(handle), watermarks: watermarks(100), batches: &batches }
        .encode(CorrelationId(3), &mut out)
        .unwrap();
    out
}

/// Answers all that is asked about subscriptions, and gives back the rest.
fn serve(member: &mut GroupConsumer, now: Instant) -> Vec<(u32, String)> {
    let mut rest = Vec::new();
    loop {
        let asked = asked(member, now);
        if asked.is_empty() {
            return rest;
        }
        for (correlation, words) in asked {
            let handle = words.split(' ').nth(1).and_then(|handle| handle.parse().ok());
            let answer = match words.split(' ').next().unwrap() {
                "bind" => bound(correlation),
                "locate" => located(correlation, 50),
                "unsubscribe" => empty(Opcode::Unsubscribe, correlation),
                "unbind" => empty(Opcode::Unbind, correlation),
                "subscribe" => {
                    let (handle, mut out) = (Handle(handle.unwrap()), Vec::new());
                    Subscribed { handle, watermarks: watermarks(100) }
                        .encode(CorrelationId(correlation), &mut out);
                    rest.push((correlation, words));
                    out
                }
                _ => {
                    rest.push((correlation, words));
                    continue;
                }
            };
            hear(member, &answer, now).unwrap();
        }
    }
}

fn connect(member: &mut GroupConsumer, now: Instant) -> Vec<(u32, String)> {
    assert_eq!(member.poll_dial(now), Some(LINK));
    member.handle_connected(LINK, now);
    assert_eq!(words(&asked(member, now)), ["hello"]);
    hear(member, &hello(), now).unwrap();
    asked(member, now)
}

/// Member 7 of generation 1.
fn joined(options: GroupOptions, has: &[(u32, Option<u64>)]) -> GroupConsumer {
    let mut member = GroupConsumer::new(topic(4), "g", options, NOW);
    let asked = connect(&mut member, NOW);
    assert_eq!(words(&asked), ["join as 0 with []"]);
    let answer = answer(Opcode::JoinGroup, asked[0].0, &membership(7, 1, has));
    hear(&mut member, &answer, NOW).unwrap();
    let rest = serve(&mut member, NOW);
    assert!(words(&rest).contains(&"7 lives in 1"), "{rest:?}");
    if !has.is_empty() {
        let partitions = has.iter().map(|has| has.0).collect::<Vec<_>>();
        assert!(matches!(member.poll_event(),
            Some(GroupEvent::Assigned { partitions: told }) if told == partitions));
    }
    member
}

/// Takes the next delivery and hands all of it out.
fn hand_out(member: &mut GroupConsumer, now: Instant) -> (u32, u64) {
    member.polled(now);
    let Some(GroupEvent::Delivered(mut batches)) = member.poll_event() else {
        panic!("a delivery is due");
    };
    let next = batches.next().unwrap().unwrap().header().next_offset();
    assert!(member.hand_out(&batches, next));
    (batches.partition, next.value())
}

fn auto() -> GroupOptions {
    let mut options = GroupOptions::default();
    options.commit = CommitPolicy::AUTO;
    options
}

#[test]
fn partitions_begin_at_the_committed_offset_and_without_one_where_the_options_say() {
    for (from, second) in [(StartAt::Beginning, 5), (StartAt::End, 100), (at_time(), 50)] {
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
        Some(GroupEvent::Revoked { partitions }) if partitions == [0]));
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
    assert!(matches!(lost, Some(GroupEvent::Lost { partitions, reason: LossReason::Forgotten })
        if partitions == [0]));
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

#[test]
fn a_committed_offset_that_is_gone_is_told_and_the_partition_goes_on_at_its_beginning() {
    let mut member = GroupConsumer::new(topic(1), "g", GroupOptions::default(), NOW);
    let join = connect(&mut member, NOW);
    let has = membership(7, 1, &[(0, Some(2))]);
    hear(&mut member, &answer(Opcode::JoinGroup, join[0].0, &has), NOW).unwrap();
    let bind = asked(&mut member, NOW);
    hear(&mut member, &bound(bind[0].0), NOW).unwrap();
    let to = asked(&mut member, NOW);
    assert_eq!(words(&to), ["subscribe 0 at 2"]);
    let gone = error(Opcode::Subscribe, to[0].0, ErrorCode::OffsetOutOfRange, Fate::NotAppend);
    hear(&mut member, &gone, NOW).unwrap();
    assert_eq!(words(&asked(&mut member, NOW)), ["subscribe 0 at 5"]);
    member.poll_event();
    let Some(GroupEvent::Missed { partition: 0, wanted, next }) = member.poll_event() else {
        panic!("three records were missed");
    };
    assert_eq!((wanted.value(), next.value()), (2, 5));
}

/// A subscription that stood and then fell behind what was deleted is over at the server, so there
/// must be another.
#[test]
fn a_subscription_that_retention_overtakes_is_made_again_at_the_beginning() {
    let mut member = joined(GroupOptions::default(), &[(0, Some(2))]);
    let gone = error(Opcode::Delivery, 3, ErrorCode::OffsetOutOfRange, Fate::NotAppend);
    hear(&mut member, &gone, NOW).unwrap();
    assert_eq!(words(&serve(&mut member, NOW)), ["subscribe 0 at 5"]);
    let told = member.poll_event();
    assert!(matches!(told, Some(GroupEvent::Missed { partition: 0, .. })), "{told:?}");
    hear(&mut member, &delivery(0, 5, 3), NOW).unwrap();
    assert_eq!(hand_out(&mut member, NOW), (0, 8));
}

#[test]
fn a_member_that_is_told_to_goes_on_at_the_end_where_its_offset_was_removed() {
    let mut options = GroupOptions::default();
    options.on_removed = OnRemoved::End;
    let mut member = joined(options, &[(0, Some(2))]);
    let gone = error(Opcode::Delivery, 3, ErrorCode::OffsetOutOfRange, Fate::NotAppend);
    hear(&mut member, &gone, NOW).unwrap();
    assert_eq!(words(&serve(&mut member, NOW)), ["subscribe 0 at 50"]);
    let Some(GroupEvent::Missed { partition: 0, wanted, next }) = member.poll_event() else {
        panic!("48 records were missed");
    };
    assert_eq!((wanted.value(), next.value()), (2, 50));
}

/// The end is asked for; if the connection goes meanwhile, the next one knows it.
#[test]
fn a_member_that_loses_its_connection_while_it_looks_for_the_end_still_tells_what_was_missed() {
    let mut options = GroupOptions::default();
    options.on_removed = OnRemoved::End;
    let mut member = joined(options, &[(0, Some(2))]);
    let gone = error(Opcode::Delivery, 3, ErrorCode::OffsetOutOfRange, Fate::NotAppend);
    hear(&mut member, &gone, NOW).unwrap();
    member.handle_lost(LINK, ConnectionFault::ClosedByServer, NOW);
    let asked = connect(&mut member, at_ms(500));
    hear(&mut member, &bound(asked[0].0), at_ms(500)).unwrap();
    assert!(words(&serve(&mut member, at_ms(500))).contains(&"subscribe 0 at 100"));
    let told = member.poll_event();
    assert!(matches!(told, Some(GroupEvent::Missed { partition: 0, .. })), "{told:?}");
}

#[test]
fn a_member_that_is_told_to_fails_where_its_offset_was_removed_and_goes_on_elsewhere() {
    let mut options = GroupOptions::default();
    options.on_removed = OnRemoved::Error;
    let mut member = joined(options, &[(0, Some(2)), (1, Some(5))]);
    let gone = error(Opcode::Delivery, 3, ErrorCode::OffsetOutOfRange, Fate::NotAppend);
    hear(&mut member, &gone, NOW).unwrap();
    hear(&mut member, &delivery(1, 5, 3), NOW).unwrap();
    let mut handout = Handout::default();
    handout.ask();
    let failed = handout.poll_batch(&mut member, NOW).unwrap_err();
    let GroupError::Removed { topic, partition, committed, start } = failed else {
        panic!("{failed}");
    };
    assert_eq!((&*topic, partition, committed.value(), start.value()), ("orders", 0, 2, 5));
    assert!(serve(&mut member, NOW).is_empty(), "it is not subscribed to again");
    assert_eq!(hand_out(&mut member, NOW), (1, 8));
}

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
