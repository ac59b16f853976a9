//! A member of a group in share mode by hand: what it takes, and what it says of that.

use std::collections::BTreeMap;

use plimsoll_batch::{BatchBuilder, Batches, Header};
use plimsoll_device::SocketId;
use plimsoll_wire::{
    AcquiredRange, Assignor, CorrelationId, DeadReason, DescribeGroup, ErrorCode, Fetch, JoinGroup,
    MemberId, Offset, RangeToSettle, ShareAcquire, ShareBegin, ShareDescription, ShareSettings,
    ShareSettle, Verdict, Visible,
};

use super::World;
use super::client::{Answer, Member, encoded, fetch};
use super::group::partition;

const DELIVER_AFTER: &str = "plimsoll-deliver-after";

pub const SETTINGS: ShareSettings<'static> = ShareSettings {
    lock_ms: 5_000,
    deliveries_max: 3,
    begin: ShareBegin::Beginning,
    dead_letter: "",
};

pub fn join(share: ShareSettings<'static>) -> JoinGroup<'static> {
    JoinGroup {
        group: "g",
        member: MemberId::NONE,
        instance: "",
        client: "test",
        session_timeout_ms: 60_000,
        rebalance_timeout_ms: 0,
        assignor: Assignor::Sticky,
        topics: vec!["t"],
        owned: Vec::new(),
        share: Some(share),
    }
}

pub fn asked_to_join(world: &mut World, socket: SocketId, join: &JoinGroup<'_>) -> Answer {
    world.ask(socket, |out| join.encode(CorrelationId(9), out))
}

pub fn joined(world: &mut World, socket: SocketId, share: ShareSettings<'static>) -> MemberId {
    let answer = asked_to_join(world, socket, &join(share));
    let Answer::Member(Member { id, .. }) = answer else { panic!("{answer:?}") };
    id
}

pub fn acquire_frame(member: MemberId, max_records: u32, wait_ms: u32) -> Vec<u8> {
    let acquire = ShareAcquire { group: "g", member, max_records, wait_ms };
    encoded(|out| acquire.encode(CorrelationId(20), out))
}

/// What the member gets at once.
pub fn acquire(
    world: &mut World,
    socket: SocketId,
    member: MemberId,
    max_records: u32,
) -> Vec<(u64, u64, u32, Option<DeadReason>)> {
    world.send(socket, &acquire_frame(member, max_records, 0));
    acquired(world, socket)
}

pub fn acquired(world: &mut World, socket: SocketId) -> Vec<(u64, u64, u32, Option<DeadReason>)> {
    let answers = world.answers(socket);
    let [(20, Answer::Acquired(answer))] = &answers[..] else { panic!("{answers:?}") };
    let flat = |it: &AcquiredRange| (it.first.value(), it.last.value(), it.deliveries, it.dead);
    answer.ranges.iter().map(flat).collect()
}

pub fn range(first: u64, last: u64, verdict: Verdict) -> RangeToSettle {
    let (first, last) = (Offset::new(first), Offset::new(last));
    RangeToSettle { partition: partition(0), first, last, verdict }
}

pub fn settle_frame(member: MemberId, ranges: &[RangeToSettle]) -> Vec<u8> {
    let settle = ShareSettle { group: "g", member, ranges: ranges.to_vec() };
    encoded(|out| settle.encode(CorrelationId(21), out))
}

pub fn settle(
    world: &mut World,
    socket: SocketId,
    member: MemberId,
    ranges: &[RangeToSettle],
) -> Vec<Option<ErrorCode>> {
    world.send(socket, &settle_frame(member, ranges));
    let answers = world.answers(socket);
    let [(21, Answer::Settled(errors))] = &answers[..] else { panic!("{answers:?}") };
    errors.clone()
}

pub fn describe(world: &mut World, socket: SocketId) -> ShareDescription {
    let describe = DescribeGroup { group: "g", with_share: true };
    let answer = world.ask(socket, |out| describe.encode(CorrelationId(6), out));
    let Answer::Shared(share) = answer else { panic!("{answer:?}") };
    share[0]
}

/// After a start without a clean stop the log goes on behind all offsets that anybody could have
/// seen. Those in between are handed out, as any others, and are gone.
pub fn settle_the_leap(world: &mut World, socket: SocketId, member: MemberId) {
    loop {
        let leap = acquire(world, socket, member, 10_000);
        let is_over = leap.iter().all(|range| range.0 < 10);
        let ranges: Vec<RangeToSettle> =
            leap.into_iter().map(|(first, last, ..)| range(first, last, Verdict::Gone)).collect();
        settle(world, socket, member, &ranges);
        if is_over {
            break;
        }
    }
}

/// A batch of one record that is not to be handed out before this time.
pub fn to_deliver_at(unix_ms: i64) -> Vec<u8> {
    let (mut builder, mut bytes) = (BatchBuilder::new(), Vec::new());
    let time = unix_ms.to_string();
    let header = Header::new(DELIVER_AFTER, time.as_bytes());
    builder.append(1_000, None, Some(b"x"), &[header]).unwrap();
    builder.finish_into(&mut bytes);
    bytes
}

/// The time in the header of each record, by its offset.
pub fn deliver_times(world: &mut World, socket: SocketId) -> BTreeMap<u64, i64> {
    world.bind(socket, 0, "t", 0);
    let all = Fetch { visible: Visible::Disk, ..fetch(0, 1, 0) };
    let answer = world.ask(socket, |out| all.encode(CorrelationId(30), out));
    let Answer::Fetched { batches, .. } = answer else { panic!("{answer:?}") };
    let mut times = BTreeMap::new();
    for batch in Batches::new(&batches) {
        for record in batch.unwrap().records().unwrap().map(Result::unwrap) {
            let mut headers = record.headers.clone();
            let header = headers.find(|header| header.name == DELIVER_AFTER.as_bytes()).unwrap();
            let time = std::str::from_utf8(header.value.unwrap()).unwrap();
            times.insert(record.offset.value(), time.parse().unwrap());
        }
    }
    times
}
