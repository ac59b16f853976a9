//! Records that were removed before the group had consumed them.

use plimsoll_client::{
    ConnectionFault, GroupConsumer, GroupError, GroupEvent, GroupOptions, Handout, OnRemoved,
    Session,
};
use plimsoll_wire::{ErrorCode, Fate, Opcode};

use crate::member::{
    NOW, answer, asked, connect, delivery, hand_out, joined, membership, serve, words,
};
use crate::script::{LINK, at_ms, bound, error, hear, topic};

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
    let Some(GroupEvent::Missed { partition: 0, wanted, next, .. }) = member.poll_event() else {
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
    let Some(GroupEvent::Missed { partition: 0, wanted, next, .. }) = member.poll_event() else {
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

/// The partition ended before the committed offset, because damage had taken its end. The member
/// said that 0 records had been removed, and worked everything off again from the beginning.
#[test]
fn an_offset_behind_the_end_is_a_failure_and_not_passed_over() {
    let mut member = joined(GroupOptions::default(), &[(0, Some(8))]);
    let lost = error(Opcode::Delivery, 3, ErrorCode::OffsetOutOfRange, Fate::NotAppend);
    hear(&mut member, &lost, NOW).unwrap();
    assert!(serve(&mut member, NOW).is_empty(), "nothing of it is begun anew");
    let told = member.poll_event();
    assert!(matches!(told, Some(GroupEvent::Failed { partition: 0, .. })), "{told:?}");
}
