//! A group that wants what comes from now on: where that is, it is told once.

use plimsoll_client::{ConnectionFault, GroupConsumer, GroupEvent, GroupOptions, Session, StartAt};
use plimsoll_wire::{ErrorCode, Fate, Opcode};

use crate::member::{
    NONE, NOW, answer, asked, assignment, committed, connect, delivery, hand_out, membership,
    serve, words,
};
use crate::script::{LINK, at_ms, error, hear, topic};

fn from_end() -> GroupOptions {
    let mut options = GroupOptions::default();
    options.from = StartAt::End;
    options
}

/// A member that has two partitions, one of them without a committed offset, and what it asks then.
fn member() -> (GroupConsumer, Vec<(u32, String)>) {
    let mut member = GroupConsumer::new(topic(2), "g", from_end(), NOW);
    let asked = connect(&mut member, NOW);
    let has = membership(7, 1, &[(0, Some(42)), (1, NONE)]);
    hear(&mut member, &answer(Opcode::JoinGroup, asked[0].0, &has), NOW).unwrap();
    let rest = serve(&mut member, NOW);
    (member, rest)
}

fn correlation(rest: &[(u32, String)], wanted: &str) -> u32 {
    rest.iter().find(|(_, words)| words == wanted).unwrap_or_else(|| panic!("{rest:?}")).0
}

/// The end was looked up at each start. A member that died before its first commit had the next one
/// begin behind all that had come meanwhile, and nobody was told.
#[test]
fn who_begins_at_the_end_commits_it_before_anything_is_delivered() {
    let (mut member, rest) = member();
    assert!(words(&rest).contains(&"subscribe 0 at 42"), "{rest:?}");
    assert!(!words(&rest).iter().any(|words| words.starts_with("subscribe 1")), "{rest:?}");
    let commit = correlation(&rest, "commit [(1, 100)]");
    hear(&mut member, &committed(commit, &[(1, Ok(100))]), NOW).unwrap();
    assert_eq!(words(&serve(&mut member, NOW)), ["subscribe 1 at 100"]);
    assert!(matches!(member.poll_event(), Some(GroupEvent::Assigned { .. })));
    hear(&mut member, &delivery(1, 100, 3), NOW).unwrap();
    assert_eq!(hand_out(&mut member, NOW), (1, 103));
    member.commit(false, NOW);
    assert_eq!(words(&serve(&mut member, NOW)), ["commit [(1, 103)]"]);
}

/// Somebody else has begun there meanwhile.
#[test]
fn a_beginning_that_stands_already_counts() {
    let (mut member, rest) = member();
    let commit = correlation(&rest, "commit [(1, 100)]");
    hear(&mut member, &committed(commit, &[(1, Ok(130))]), NOW).unwrap();
    assert_eq!(words(&serve(&mut member, NOW)), ["subscribe 1 at 130"]);
}

#[test]
fn a_beginning_that_is_refused_is_committed_with_the_next_sign_of_life() {
    let (mut member, rest) = member();
    let commit = correlation(&rest, "commit [(1, 100)]");
    let refused = committed(commit, &[(1, Err(ErrorCode::NotAssigned))]);
    hear(&mut member, &refused, NOW).unwrap();
    assert!(serve(&mut member, NOW).is_empty(), "nothing is delivered");
    member.handle_timeout(at_ms(1000));
    let rest = serve(&mut member, at_ms(1000));
    assert_eq!(words(&rest), ["7 lives in 1", "commit [(1, 100)]"]);
    hear(&mut member, &committed(rest[1].0, &[(1, Ok(100))]), at_ms(1000)).unwrap();
    assert_eq!(words(&serve(&mut member, at_ms(1000))), ["subscribe 1 at 100"]);
}

#[test]
fn a_beginning_survives_a_lost_connection_and_is_not_looked_up_anew() {
    let (mut member, rest) = member();
    correlation(&rest, "commit [(1, 100)]");
    member.handle_lost(LINK, ConnectionFault::ClosedByServer, NOW);
    let later = at_ms(5000);
    member.handle_timeout(later);
    let mut rest = connect(&mut member, later);
    rest.retain(|(_, words)| !words.starts_with("bind"));
    assert_eq!(words(&rest), ["7 lives in 1", "commit [(1, 100)]"]);
}

/// The partition went while its beginning was under way, and came back with one.
#[test]
fn a_partition_that_comes_back_begins_where_the_group_stands() {
    let (mut member, rest) = member();
    let commit = correlation(&rest, "commit [(1, 100)]");
    hear(&mut member, &assignment(2, &[(0, Some(42))]), NOW).unwrap();
    hear(&mut member, &assignment(3, &[(0, Some(42)), (1, Some(120))]), NOW).unwrap();
    hear(&mut member, &committed(commit, &[(1, Ok(100))]), NOW).unwrap();
    let rest = serve(&mut member, NOW);
    assert!(rest.iter().any(|(_, words)| words.ends_with("at 120")), "{rest:?}");
    assert!(!rest.iter().any(|(_, words)| words.ends_with("at 100")), "{rest:?}");
}

/// What it asked as the member that it was counts for nobody any more.
#[test]
fn who_is_forgotten_while_it_begins_commits_its_beginning_anew() {
    let (mut member, rest) = member();
    let commit = correlation(&rest, "commit [(1, 100)]");
    let unknown = error(Opcode::CommitOffsets, commit, ErrorCode::MemberUnknown, Fate::NotAppend);
    hear(&mut member, &unknown, NOW).unwrap();
    let join = asked(&mut member, NOW);
    assert_eq!(words(&join), ["join as 7 with [0, 1]"]);
    let has = membership(9, 4, &[(0, Some(42)), (1, NONE)]);
    hear(&mut member, &answer(Opcode::JoinGroup, join[0].0, &has), NOW).unwrap();
    assert_eq!(words(&serve(&mut member, NOW)), ["9 lives in 4", "commit [(1, 100)]"]);
}
