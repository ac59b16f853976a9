//! The member under test, and the words in which it is spoken with.

use plimsoll_client::{
    CommitPolicy, GroupConsumer, GroupEvent, GroupOptions, Instant, Offset, Session,
};
use plimsoll_wire::{
    AssignedPartition, AssignedTopic, Assignment, CommitOffsetsResponse, CommittedOffset,
    CorrelationId, Decoded, Delivery, ErrorCode, FRAME_BYTES_MAX, Generation, Handle, MemberId,
    Membership, Opcode, PartitionIndex, Request, Subscribed, TopicId, TopicPartition, decode_frame,
    encode_empty_response,
};

use crate::script::{LINK, batch, bound, hear, hello, located, topic, watermarks};

pub(crate) const NOW: Instant = Instant::ORIGIN;
pub(crate) const NONE: Option<u64> = None;

/// What the member asks, with the number under which it is answered.
pub(crate) fn asked(member: &mut GroupConsumer, now: Instant) -> Vec<(u32, String)> {
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

pub(crate) fn in_words(request: &Request<'_>) -> String {
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

pub(crate) fn words(asked: &[(u32, String)]) -> Vec<&str> {
    asked.iter().map(|(_, words)| &**words).collect()
}

pub(crate) fn membership(
    member: u64,
    generation: u64,
    has: &[(u32, Option<u64>)],
) -> Membership<'static> {
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

pub(crate) fn answer(opcode: Opcode, correlation: u32, membership: &Membership<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    membership.encode(opcode, CorrelationId(correlation), &mut out);
    out
}

pub(crate) fn assignment(generation: u64, has: &[(u32, Option<u64>)]) -> Vec<u8> {
    let mut out = Vec::new();
    Assignment { group: "g", membership: membership(7, generation, has) }.encode(&mut out);
    out
}

pub(crate) fn empty(opcode: Opcode, correlation: u32) -> Vec<u8> {
    let mut out = Vec::new();
    encode_empty_response(opcode, CorrelationId(correlation), &mut out);
    out
}

pub(crate) fn committed(correlation: u32, of: &[(u32, Result<u64, ErrorCode>)]) -> Vec<u8> {
    let of_one = |(partition, result): &(u32, Result<u64, ErrorCode>)| CommittedOffset {
        partition: TopicPartition { topic: TopicId(1), partition: PartitionIndex(*partition) },
        error: result.err(),
        committed: result.ok().map(Offset::new),
    };
    let (offsets, mut out) = (of.iter().map(of_one).collect(), Vec::new());
    CommitOffsetsResponse { offsets }.encode(CorrelationId(correlation), &mut out);
    out
}

pub(crate) fn delivery(handle: u32, base_offset: u64, records: u8) -> Vec<u8> {
    let (batches, mut out) = (batch(base_offset, records, 0), Vec::new());
    Delivery { handle: Handle(handle), watermarks: watermarks(100), batches: &batches }
        .encode(CorrelationId(3), &mut out)
        .unwrap();
    out
}

/// Answers all that is asked about subscriptions, and gives back the rest.
pub(crate) fn serve(member: &mut GroupConsumer, now: Instant) -> Vec<(u32, String)> {
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

pub(crate) fn connect(member: &mut GroupConsumer, now: Instant) -> Vec<(u32, String)> {
    assert_eq!(member.poll_dial(now), Some(LINK));
    member.handle_connected(LINK, now);
    assert_eq!(words(&asked(member, now)), ["hello"]);
    hear(member, &hello(), now).unwrap();
    asked(member, now)
}

/// Member 7 of generation 1.
pub(crate) fn joined(options: GroupOptions, has: &[(u32, Option<u64>)]) -> GroupConsumer {
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
            Some(GroupEvent::Assigned { partitions: told, .. }) if told == partitions));
    }
    member
}

/// Takes the next delivery and hands all of it out.
pub(crate) fn hand_out(member: &mut GroupConsumer, now: Instant) -> (u32, u64) {
    member.polled(now);
    let Some(GroupEvent::Delivered(mut batches)) = member.poll_event() else {
        panic!("a delivery is due");
    };
    let next = batches.next().unwrap().unwrap().header().next_offset();
    assert!(member.hand_out(&batches, next));
    (batches.partition, next.value())
}

pub(crate) fn auto() -> GroupOptions {
    let mut options = GroupOptions::default();
    options.commit = CommitPolicy::AUTO;
    options
}
