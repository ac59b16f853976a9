//! The member under test, and the words in which it is spoken with.

use plimsoll_client::{Instant, Offset, Session, ShareConsumer, ShareOptions, SharedRecord};
use plimsoll_wire::{
    AcquiredRange, AssignedPartition, AssignedTopic, CorrelationId, DeadReason, Decoded, ErrorCode,
    FRAME_BYTES_MAX, Fetched, Generation, Handle, MemberId, Membership, Opcode, PartitionIndex,
    Request, ShareAcquired, ShareSettled, TopicId, TopicPartition, Verdict, decode_frame,
    encode_empty_response,
};

use crate::script::{LINK, at_ms, bound, hear, hello, watermarks};

pub(crate) const NOW: Instant = Instant::ORIGIN;
/// The server's clock in every answer.
pub(crate) const SERVER_MS: i64 = 1_700_000_000_000;

/// What the member asks on its own link, with the number under which it is answered.
pub(crate) fn asked(member: &mut ShareConsumer, now: Instant) -> Vec<(u32, String)> {
    let mut asked = Vec::new();
    while let Some(chunk) = member.poll_transmit(LINK, now) {
        let mut rest = &chunk[..];
        while !rest.is_empty() {
            let Decoded::Frame(frame) = decode_frame(rest, FRAME_BYTES_MAX).unwrap() else {
                panic!("a chunk holds whole frames");
            };
            rest = &rest[frame.frame_bytes..];
            let request = Request::decode(&frame).unwrap();
            asked.push((frame.correlation.0, in_words(&request)));
        }
    }
    asked
}

fn in_words(request: &Request<'_>) -> String {
    match request {
        Request::Hello(_) => "hello".to_owned(),
        Request::JoinGroup(join) => format!("join as {}", join.member),
        Request::Heartbeat(beat) => format!("{} lives in {}", beat.member, beat.generation),
        Request::LeaveGroup(leave) => format!("{} leaves", leave.member),
        Request::Bind(bind) => format!("bind {} to {}", bind.handle.0, bind.partition.0),
        Request::Unbind(unbind) => format!("unbind {}", unbind.handle.0),
        Request::Fetch(fetch) => format!("fetch {} at {}", fetch.handle.0, fetch.offset),
        Request::ShareAcquire(acquire) => {
            format!("acquire {} in {} ms", acquire.max_records, acquire.wait_ms)
        }
        Request::ShareSettle(settle) => {
            let ranges = settle.ranges.iter().map(|range| {
                let verdict = match range.verdict {
                    Verdict::Accept => "accept".to_owned(),
                    Verdict::Release { delay_ms } => format!("release({delay_ms})"),
                    Verdict::Reject => "reject".to_owned(),
                    Verdict::Defer { until_unix_ms } => format!("defer({until_unix_ms})"),
                    Verdict::Renew => "renew".to_owned(),
                    Verdict::Gone => "gone".to_owned(),
                    Verdict::DeadLettered => "dead-lettered".to_owned(),
                };
                format!("{verdict} {}..={}", range.first, range.last)
            });
            ranges.collect::<Vec<_>>().join(", ")
        }
        other => panic!("{other:?}"),
    }
}

pub(crate) fn words(asked: &[(u32, String)]) -> Vec<&str> {
    asked.iter().map(|(_, words)| &**words).collect()
}

/// The one thing that it asks.
pub(crate) fn only(member: &mut ShareConsumer, now: Instant) -> (u32, String) {
    let mut asked = asked(member, now);
    assert_eq!(asked.len(), 1, "{asked:?}");
    asked.remove(0)
}

pub(crate) fn place() -> TopicPartition {
    TopicPartition { topic: TopicId(1), partition: PartitionIndex(0) }
}

/// A run that the server hands out, of partition 0.
pub(crate) fn run(first: u64, last: u64, deliveries: u32) -> AcquiredRange {
    let (first, last) = (Offset::new(first), Offset::new(last));
    AcquiredRange { partition: place(), first, last, deliveries, dead: None }
}

pub(crate) fn dead_run(offset: u64, deliveries: u32) -> AcquiredRange {
    let dead = Some(DeadReason::TooManyDeliveries);
    AcquiredRange { dead, ..run(offset, offset, deliveries) }
}

/// The lock lasts 30 s.
pub(crate) fn acquired(correlation: u32, ranges: &[AcquiredRange]) -> Vec<u8> {
    let mut out = Vec::new();
    ShareAcquired { lock_ms: 30_000, warning: None, unix_ms: SERVER_MS, ranges: ranges.to_vec() }
        .encode(CorrelationId(correlation), &mut out);
    out
}

pub(crate) fn fetched(correlation: u32, batches: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Fetched { handle: Handle(0), watermarks: watermarks(100), batches }
        .encode(CorrelationId(correlation), &mut out)
        .unwrap();
    out
}

pub(crate) fn settled(correlation: u32, errors: &[Option<ErrorCode>]) -> Vec<u8> {
    let mut out = Vec::new();
    ShareSettled { errors: errors.to_vec() }.encode(CorrelationId(correlation), &mut out);
    out
}

pub(crate) fn membership(correlation: u32, member: u64, generation: u64) -> Vec<u8> {
    let partition = AssignedPartition { partition: PartitionIndex(0), committed: None };
    let topic = AssignedTopic { topic: "orders", id: TopicId(1), partitions: vec![partition] };
    let mut out = Vec::new();
    Membership {
        member: MemberId(member),
        generation: Generation(generation),
        heartbeat_interval_ms: 3000,
        topics: Some(vec![topic]),
    }
    .encode(Opcode::JoinGroup, CorrelationId(correlation), &mut out);
    out
}

pub(crate) fn left(correlation: u32) -> Vec<u8> {
    let mut out = Vec::new();
    encode_empty_response(Opcode::LeaveGroup, CorrelationId(correlation), &mut out);
    out
}

pub(crate) fn connect(member: &mut ShareConsumer, now: Instant) -> Vec<(u32, String)> {
    assert_eq!(member.poll_dial(now), Some(LINK));
    member.handle_connected(LINK, now);
    assert_eq!(words(&asked(member, now)), ["hello"]);
    hear(member, &hello(), now).unwrap();
    asked(member, now)
}

/// Member 7 of generation 1, which nobody has asked for records yet.
pub(crate) fn joined(options: ShareOptions) -> ShareConsumer {
    let mut member = ShareConsumer::new(vec!["orders".to_owned()], "g", None, options, NOW);
    join(&mut member);
    member
}

pub(crate) fn join(member: &mut ShareConsumer) {
    let asked = connect(member, NOW);
    assert_eq!(words(&asked), ["join as 0"]);
    hear(member, &membership(asked[0].0, 7, 1), NOW).unwrap();
    assert_eq!(only(member, NOW).1, "7 lives in 1");
}

/// The member asks for records, gets these runs, and fetches them: these batches.
pub(crate) fn hand_out(member: &mut ShareConsumer, ranges: &[AcquiredRange], batches: &[u8]) {
    assert!(member.poll_record(NOW).is_none());
    let (id, words) = only(member, NOW);
    assert!(words.starts_with("acquire "), "{words}");
    hear(member, &acquired(id, ranges), NOW).unwrap();
    let (id, words) = only(member, NOW);
    assert!(words.starts_with("bind 0 to 0"), "{words}");
    hear(member, &bound(id), NOW).unwrap();
    let (id, words) = only(member, NOW);
    let first = ranges.iter().map(|range| range.first).min().unwrap();
    assert_eq!(words, format!("fetch 0 at {first}"));
    hear(member, &fetched(id, batches), NOW).unwrap();
}

/// Everything that is ready.
pub(crate) fn take(member: &mut ShareConsumer) -> Vec<SharedRecord> {
    std::iter::from_fn(|| member.poll_record(at_ms(1))).collect()
}
