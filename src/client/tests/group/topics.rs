//! A member that wants several topics.

use plimsoll_client::{CommitFault, GroupConsumer, GroupEvent, GroupOptions, Offset, Topic};
use plimsoll_wire::{
    AssignedPartition, AssignedTopic, CommitOffsetsResponse, CommittedOffset, CorrelationId,
    ErrorCode, Opcode, PartitionIndex, TopicId, TopicPartition,
};

use crate::member::{NOW, answer, asked, connect, delivery, membership, serve, words};
use crate::script::{hear, topic};

/// Partition 0 of two topics are two partitions.
#[test]
fn a_member_of_two_topics_keeps_them_apart() {
    let second = Topic { id: 2, name: "audit".to_owned(), ..topic(1) };
    let topics = vec![topic(4), second];
    let mut member = GroupConsumer::of_topics(topics, "g", GroupOptions::default(), NOW);
    let join = connect(&mut member, NOW);
    let mut has = membership(7, 1, &[(0, Some(5))]);
    let audit = AssignedTopic {
        topic: "audit",
        id: TopicId(2),
        partitions: vec![AssignedPartition { partition: PartitionIndex(0), committed: None }],
    };
    has.topics.as_mut().unwrap().push(audit);
    hear(&mut member, &answer(Opcode::JoinGroup, join[0].0, &has), NOW).unwrap();
    serve(&mut member, NOW);
    assert_eq!(member.assigned().collect::<Vec<_>>(), [("orders", 0), ("audit", 0)]);
    for told in ["orders", "audit"] {
        assert!(matches!(member.poll_event(),
            Some(GroupEvent::Assigned { topic, partitions })
                if *topic == *told && partitions == [0]));
    }
    hear(&mut member, &delivery(1, 5, 3), NOW).unwrap();
    let Some(GroupEvent::Delivered(batches)) = member.poll_event() else { panic!() };
    assert_eq!((batches.topic(), batches.partition), ("audit", 0));
    assert!(member.hand_out(&batches, Offset::new(8)));
    member.commit(false, NOW);
    let sent = asked(&mut member, NOW);
    assert_eq!(words(&sent), ["commit [(0, 8)]"]);
    let of = |topic| TopicPartition { topic: TopicId(topic), partition: PartitionIndex(0) };
    let mut out = Vec::new();
    let offsets =
        vec![CommittedOffset { partition: of(2), error: None, committed: Some(Offset::new(8)) }];
    CommitOffsetsResponse { offsets }.encode(CorrelationId(sent[0].0), &mut out);
    hear(&mut member, &out, NOW).unwrap();
    let commit = member.commit(true, NOW);
    assert!(member.poll_report(commit).unwrap().partitions.is_empty(), "nothing is left of it");
    let commit = member.commit_offsets(&[(0, Offset::new(8), "")], true, NOW);
    let fault = member.poll_report(commit).unwrap().first_fault();
    let refused = CommitFault::Refused(ErrorCode::NotAssigned);
    assert_eq!(fault, Some((0, refused)), "it does not say of which topic");
    member.commit_offsets(&[(("orders", 0), Offset::new(6), "")], true, NOW);
    assert_eq!(words(&asked(&mut member, NOW)), ["commit [(0, 6)]"]);
}
