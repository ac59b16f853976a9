//! What members of a group in share mode say of their records, on whole shards: verdicts that are
//! on disk, that come too late or cannot be right, locks, delays, dead letters.

mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use plimsoll_device::SocketId;
use plimsoll_wire::{
    CorrelationId, DeadReason, DeleteTopic, Durability, ErrorCode, JoinGroup, LeaveGroup, MemberId,
    Offset, PartitionIndex, RangeToSettle, ShareSettings, TopicId, TopicPartition, Verdict,
};
use world::World;
use world::client::{Answer, batch};
use world::group::{code, partition, with_topic};
use world::share::{
    SETTINGS, acquire, acquire_frame, acquired, asked_to_join, deliver_times, describe, join,
    joined, range, settle, settle_frame, settle_the_leap, to_deliver_at,
};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn what_is_accepted_never_comes_back_and_everything_else_does_after_a_restart() {
    for shards in [1, 2, 3] {
        let (mut world, socket) = with_topic(shards, 2);
        let member = joined(&mut world, socket, SETTINGS);
        assert_eq!(acquire(&mut world, socket, member, 100), [(0, 9, 1, None)]);
        let verdicts = [
            range(0, 1, Verdict::Accept),
            range(4, 5, Verdict::Accept),
            range(7, 7, Verdict::Release { delay_ms: 0 }),
        ];
        assert_eq!(settle(&mut world, socket, member, &verdicts), [None, None, None]);
        let mut world = world.restart();
        let socket = world.hello(0);
        world.send(socket, &acquire_frame(member, 1, 0));
        assert_eq!(code(&world.answers(socket)[0].1), ErrorCode::MemberUnknown);
        let member = joined(&mut world, socket, SETTINGS);
        // How often was kept where something was settled, and only there.
        let left = [(2, 3, 1, None), (6, 6, 1, None), (7, 7, 2, None), (8, 9, 1, None)];
        assert_eq!(acquire(&mut world, socket, member, 6), left);
        settle(&mut world, socket, member, &[range(2, 9, Verdict::Accept)]);
        let mut world = world.restart();
        let socket = world.hello(0);
        let member = joined(&mut world, socket, SETTINGS);
        let beyond = acquire(&mut world, socket, member, 100);
        assert!(beyond.iter().all(|range| range.0 >= 10), "{beyond:?}");
    }
}

/// A leap has as many offsets as a lease: one by one nobody would come to its end.
#[test]
fn what_is_gone_may_reach_beyond_what_was_handed_out_and_no_further_than_the_disk() {
    let (world, _) = with_topic(2, 1);
    let mut world = world.restart();
    let socket = world.hello(0);
    world.bind(socket, 0, "t", 0);
    world.produce(socket, 1, Durability::Disk, None, &batch(1, b"y"));
    let [(_, _, _, base)] = world.acks(socket)[..] else { panic!("one ack") };
    let member = joined(&mut world, socket, SETTINGS);
    assert_eq!(acquire(&mut world, socket, member, 11).last(), Some(&(0, 10, 1, None)));
    let other = joined(&mut world, socket, SETTINGS);
    let not_its_own = settle(&mut world, socket, other, &[range(10, base - 1, Verdict::Gone)]);
    assert_eq!(not_its_own, [Some(ErrorCode::NotAcquired)]);
    assert_eq!(settle(&mut world, socket, member, &[range(10, base - 1, Verdict::Gone)]), [None]);
    assert_eq!(acquire(&mut world, socket, member, 9), [(base, base, 1, None)]);
    let beyond = settle(&mut world, socket, member, &[range(base, base + 5, Verdict::Gone)]);
    assert_eq!(beyond, [Some(ErrorCode::NotAcquired)]);
    world.produce(socket, 2, Durability::Disk, None, &batch(1, b"z"));
    world.take(socket);
    settle(&mut world, socket, member, &[range(0, 9, Verdict::Accept)]);
    assert_eq!(acquire(&mut world, socket, member, 9), [(base + 1, base + 1, 1, None)]);
}

#[test]
fn a_verdict_is_answered_only_when_it_is_on_disk() {
    let (mut world, socket) = with_topic(1, 1);
    let member = joined(&mut world, socket, SETTINGS);
    acquire(&mut world, socket, member, 10);
    world.disks_stand_still = true;
    world.send(socket, &settle_frame(member, &[range(0, 3, Verdict::Accept)]));
    assert!(world.answers(socket).is_empty());
    world.send(socket, &settle_frame(member, &[range(0, 3, Verdict::Accept)]));
    assert!(world.answers(socket).is_empty(), "nor is that it was settled before");
    world.disks_stand_still = false;
    world.run();
    let settled = Answer::Settled(vec![None]);
    let again = Answer::Settled(vec![Some(ErrorCode::AlreadySettled)]);
    assert_eq!(world.answers(socket), [(21, settled), (21, again)]);
}

#[test]
fn a_lock_ends_by_itself_and_a_verdict_behind_it_is_lost() {
    let (mut world, one) = with_topic(2, 1);
    let two = world.hello(1);
    let (first, second) = (joined(&mut world, one, SETTINGS), joined(&mut world, two, SETTINGS));
    acquire(&mut world, one, first, 10);
    world.send(two, &acquire_frame(second, 5, 60_000));
    world.advance(4 * SECOND);
    assert_eq!(settle(&mut world, one, first, &[range(5, 9, Verdict::Renew)]), [None]);
    world.advance(SECOND);
    assert_eq!(acquired(&mut world, two), [(0, 4, 2, None)], "the others were renewed");
    let late = [range(0, 0, Verdict::Accept), range(5, 5, Verdict::Accept)];
    let lost = Some(ErrorCode::LockLost);
    assert_eq!(settle(&mut world, one, first, &late), [lost, None]);
    world.advance(4 * SECOND);
    let late = range(6, 6, Verdict::Accept);
    assert_eq!(settle(&mut world, one, first, &[late]), [lost], "also if nobody has it yet");
    assert_eq!(acquire(&mut world, one, first, 2), [(6, 7, 2, None)]);
}

/// It was looked at again and again, without end, because nobody who waited wanted it.
#[test]
fn a_lock_that_ends_where_nobody_waits_is_looked_at_once() {
    let (mut world, one) = with_topic(1, 1);
    world.create(one, "idle", 1);
    let two = world.hello(0);
    let first = joined(&mut world, one, SETTINGS);
    let other = JoinGroup { topics: vec!["idle"], ..join(SETTINGS) };
    let Answer::Member(second) = asked_to_join(&mut world, two, &other) else { panic!() };
    acquire(&mut world, one, first, 10);
    world.send(two, &acquire_frame(second.id, 5, 60_000));
    world.advance(6 * SECOND);
    let next = world.shards[0].poll_timeout();
    assert!(next.is_some_and(|next| next > world.clock.now.monotonic), "{next:?}");
    assert_eq!(describe(&mut world, one).waiting, 10);
}

#[test]
fn what_is_delayed_comes_at_its_time_and_not_before_also_after_a_restart() {
    let (mut world, socket) = with_topic(2, 1);
    let member = joined(&mut world, socket, SETTINGS);
    acquire(&mut world, socket, member, 10);
    let unix_ms = world.clock.now.unix_ms;
    let verdicts = [
        range(0, 0, Verdict::Release { delay_ms: 8_000 }),
        range(1, 1, Verdict::Defer { until_unix_ms: unix_ms + 4_000 }),
        range(2, 9, Verdict::Accept),
    ];
    assert_eq!(settle(&mut world, socket, member, &verdicts), [None; 3]);
    let described = describe(&mut world, socket);
    assert_eq!((described.delayed, described.in_flight), (2, 0));
    world.advance(SECOND);
    let mut world = world.restart();
    let socket = world.hello(0);
    let member = joined(&mut world, socket, SETTINGS);
    settle_the_leap(&mut world, socket, member);
    world.send(socket, &acquire_frame(member, 10, 60_000));
    world.advance(Duration::from_millis(2_900));
    assert_eq!(world.answers(socket), [], "3.9 s: early");
    world.advance(Duration::from_millis(100));
    assert_eq!(acquired(&mut world, socket), [(1, 1, 1, None)], "a deferral is no delivery");
    world.send(socket, &acquire_frame(member, 10, 60_000));
    world.advance(Duration::from_millis(3_900));
    assert!(world.answers(socket).is_empty(), "7.9 s: early");
    world.advance(Duration::from_millis(100));
    assert_eq!(acquired(&mut world, socket), [(0, 0, 2, None)]);
}

/// A member that goes by the header: it takes what comes, defers what is early, and asks for more.
/// Gives by how many ms what it shows is late.
fn take_in_time(
    world: &mut World,
    (socket, member): (SocketId, MemberId),
    times: &BTreeMap<u64, i64>,
) -> Vec<i64> {
    let mut late = Vec::new();
    loop {
        let answers = world.answers(socket);
        let [(20, Answer::Acquired(answer))] = &answers[..] else {
            assert!(answers.is_empty(), "{answers:?}");
            return late;
        };
        let mut verdicts = Vec::new();
        for run in &answer.ranges {
            let offsets = run.first.value()..=run.last.value();
            let is_hole = times.range(offsets.clone()).next().is_none();
            verdicts
                .extend(is_hole.then(|| range(*offsets.start(), *offsets.end(), Verdict::Gone)));
            for (offset, until_unix_ms) in times.range(offsets).map(|(at, time)| (*at, *time)) {
                assert_eq!(run.deliveries, 1, "a deferral is no delivery");
                let is_early = answer.unix_ms < until_unix_ms;
                late.extend((!is_early).then(|| world.clock.now.unix_ms - until_unix_ms));
                let early = Verdict::Defer { until_unix_ms };
                let verdict = if is_early { early } else { Verdict::Accept };
                verdicts.push(range(offset, offset, verdict));
            }
        }
        let errors = settle(world, socket, member, &verdicts);
        assert!(errors.iter().all(Option::is_none), "{errors:?}");
        world.send(socket, &acquire_frame(member, 10_000, 30_000));
    }
}

/// Nobody looks at the clock but the server: its own timers alone say when to.
#[test]
fn what_is_to_be_delivered_later_is_there_within_its_100_ms() {
    for shards in [1, 2] {
        let mut world = World::new(shards);
        let mut socket = world.bound();
        let begin_ms = world.clock.now.unix_ms;
        for index in 0..20 {
            // Some at the same time, one whose time is over.
            let time = begin_ms - 5 + i64::from(index / 2) * 777;
            world.produce(socket, index, Durability::Disk, None, &to_deliver_at(time));
        }
        let mut shown = Vec::new();
        for of_life in [10, 20] {
            socket = world.hello(shards - 1);
            let times = deliver_times(&mut world, socket);
            assert_eq!(times.len(), 20);
            let member = joined(&mut world, socket, SETTINGS);
            world.send(socket, &acquire_frame(member, 10_000, 30_000));
            while shown.len() < of_life {
                shown.extend(take_in_time(&mut world, (socket, member), &times));
                let due = world.shards.iter().filter_map(plimsoll_shard::Shard::poll_timeout);
                let due = due.min().expect("it waits for something");
                world.advance(due.since(world.clock.now.monotonic));
            }
            world = world.restart();
        }
        assert_eq!(shown.len(), 20);
        assert!(shown[2..].iter().all(|late_ms| (0..=100).contains(late_ms)), "{shown:?}");
    }
}

#[test]
fn verdicts_that_cannot_be_right_are_refused_one_by_one() {
    let (mut world, socket) = with_topic(2, 2);
    let member = joined(&mut world, socket, SETTINGS);
    acquire(&mut world, socket, member, 5);
    settle(&mut world, socket, member, &[range(1, 1, Verdict::Accept)]);
    let other = TopicPartition { topic: TopicId(9), ..partition(0) };
    let beyond = TopicPartition { partition: PartitionIndex(7), ..partition(0) };
    let at = |partition, range: RangeToSettle| RangeToSettle { partition, ..range };
    let verdicts = [
        range(1, 1, Verdict::Accept),
        range(5, 5, Verdict::Accept),
        range(3, u64::MAX, Verdict::Release { delay_ms: 0 }),
        range(4, 3, Verdict::Accept),
        at(other, range(0, 0, Verdict::Accept)),
        at(beyond, range(0, 0, Verdict::Accept)),
        at(partition(1), range(0, 0, Verdict::Accept)),
        range(0, 2, Verdict::Accept),
        range(0, 2, Verdict::Reject),
    ];
    let errors = settle(&mut world, socket, member, &verdicts);
    let expected = [
        Some(ErrorCode::AlreadySettled),
        Some(ErrorCode::NotAcquired),
        Some(ErrorCode::NotAcquired),
        Some(ErrorCode::OffsetOutOfRange),
        Some(ErrorCode::TopicNotFound),
        Some(ErrorCode::NotAcquired),
        Some(ErrorCode::NotAcquired),
        Some(ErrorCode::AlreadySettled),
        Some(ErrorCode::AlreadySettled),
    ];
    assert_eq!(errors, expected);
    assert_eq!(acquire(&mut world, socket, member, 10), [(3, 4, 2, None), (5, 9, 1, None)]);
}

#[test]
fn what_is_rejected_or_handed_out_too_often_goes_to_the_dead_letter_topic() {
    let (mut world, socket) = with_topic(2, 1);
    world.create(socket, "dead", 1);
    let settings = ShareSettings { dead_letter: "dead", deliveries_max: 2, ..SETTINGS };
    let member = joined(&mut world, socket, settings);
    acquire(&mut world, socket, member, 2);
    let release = Verdict::Release { delay_ms: 0 };
    settle(&mut world, socket, member, &[range(0, 0, Verdict::Reject), range(1, 1, release)]);
    let (rejected, too_many) = (DeadReason::Rejected, DeadReason::TooManyDeliveries);
    let expected = [(0, 0, 1, Some(rejected)), (1, 1, 2, None)];
    assert_eq!(acquire(&mut world, socket, member, 2), expected);
    // The copy failed, and the work, too.
    settle(&mut world, socket, member, &[range(0, 1, release)]);
    let mut world = world.restart();
    let socket = world.hello(0);
    let member = joined(&mut world, socket, settings);
    let expected = [(0, 0, 1, Some(rejected)), (1, 1, 2, Some(too_many))];
    assert_eq!(acquire(&mut world, socket, member, 2), expected);
    let verdicts = [range(0, 1, Verdict::DeadLettered)];
    assert_eq!(settle(&mut world, socket, member, &verdicts), [None]);
    let described = describe(&mut world, socket);
    assert_eq!((described.start, described.dead_lettered), (Offset::new(2), 2));
    assert_eq!(acquire(&mut world, socket, member, 1), [(2, 2, 1, None)]);
}

#[test]
fn without_a_dead_letter_topic_what_is_dead_is_done_with_and_counted() {
    let (mut world, socket) = with_topic(1, 1);
    let settings = ShareSettings { deliveries_max: 1, ..SETTINGS };
    let member = joined(&mut world, socket, settings);
    acquire(&mut world, socket, member, 2);
    let release = Verdict::Release { delay_ms: 0 };
    settle(&mut world, socket, member, &[range(0, 0, Verdict::Reject), range(1, 1, release)]);
    assert_eq!(acquire(&mut world, socket, member, 1), [(2, 2, 1, None)]);
    let described = describe(&mut world, socket);
    assert_eq!((described.start, described.dropped), (Offset::new(2), 2));
}

#[test]
fn what_becomes_of_records_is_counted() {
    let (mut world, socket) = with_topic(1, 1);
    let member = joined(&mut world, socket, SETTINGS);
    assert_eq!(acquire(&mut world, socket, member, 10), [(0, 9, 1, None)]);
    assert_eq!((world.stat("share_acquired"), world.stat("share_locks")), (10, 10));
    let verdicts = [
        range(0, 1, Verdict::Accept),
        range(2, 2, Verdict::Release { delay_ms: 60_000 }),
        range(3, 5, Verdict::Reject),
        range(6, 6, Verdict::DeadLettered),
        range(7, 7, Verdict::Renew),
    ];
    assert_eq!(settle(&mut world, socket, member, &verdicts), [None; 5]);
    assert_eq!(world.stat("share_locks"), 3);
    // Who asks finds what was rejected dead, and nowhere to go.
    assert_eq!(acquire(&mut world, socket, member, 10), []);
    world.advance(6 * SECOND);
    assert_eq!(acquire(&mut world, socket, member, 2), [(7, 8, 2, None)]);
    let leave = LeaveGroup { group: "g", member };
    assert_eq!(world.ask(socket, |out| leave.encode(CorrelationId(5), out)), Answer::Empty);
    let names = ["accepted", "released", "rejected", "dead_lettered", "dropped", "timed_out"];
    let counts = names.map(|name| world.stat(&format!("share_{name}")));
    assert_eq!(counts, [2, 1, 3, 1, 3, 3]);
    assert_eq!((world.stat("share_abandoned"), world.stat("share_locks")), (2, 0));
}

#[test]
fn without_its_dead_letter_topic_a_group_is_not_joined_and_its_dead_records_wait() {
    let (mut world, socket) = with_topic(2, 1);
    let settings = ShareSettings { dead_letter: "dead", ..SETTINGS };
    let refused = asked_to_join(&mut world, socket, &join(settings));
    assert_eq!(code(&refused), ErrorCode::DeadLetterTopicNotFound);
    let own =
        asked_to_join(&mut world, socket, &join(ShareSettings { dead_letter: "t", ..SETTINGS }));
    assert_eq!(code(&own), ErrorCode::InvalidRequest);
    world.create(socket, "dead", 1);
    let member = joined(&mut world, socket, settings);
    acquire(&mut world, socket, member, 3);
    settle(&mut world, socket, member, &[range(0, 0, Verdict::Reject)]);
    let delete = DeleteTopic { name: "dead" };
    world.ask(socket, |out| delete.encode(CorrelationId(4), out));
    world.send(socket, &acquire_frame(member, 2, 0));
    let answers = world.answers(socket);
    let [(20, Answer::Acquired(answer))] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!(answer.warning, Some(ErrorCode::DeadLetterTopicNotFound));
    assert_eq!(answer.ranges.len(), 1, "the others go on");
    assert_eq!(answer.ranges[0].first, Offset::new(3));
    assert_eq!(describe(&mut world, socket).dead, 1);
    world.send(socket, &acquire_frame(member, 9, 10_000));
    world.take(socket);
    world.send(socket, &acquire_frame(member, 9, 10_000));
    let other = world.hello(1);
    world.create(other, "dead", 1);
    assert_eq!(acquired(&mut world, socket), [(0, 0, 1, Some(DeadReason::Rejected))]);
}

#[test]
fn after_a_failed_disk_nothing_is_said_to_be_settled_and_nothing_more_handed_out() {
    let (mut world, socket) = with_topic(1, 1);
    let member = joined(&mut world, socket, SETTINGS);
    acquire(&mut world, socket, member, 5);
    world.fail_disk();
    for _ in 0..2 {
        world.send(socket, &settle_frame(member, &[range(0, 0, Verdict::Accept)]));
        assert_eq!(code(&world.answers(socket)[0].1), ErrorCode::DiskFailed);
    }
    world.send(socket, &acquire_frame(member, 5, 0));
    assert_eq!(code(&world.answers(socket)[0].1), ErrorCode::DiskFailed);
}

/// What memory knows of verdicts that the log had no room for must reach the log before anybody is
/// told again: a member that asks once more hears that they are settled.
#[test]
fn verdicts_that_found_no_memory_are_on_disk_before_they_are_said_to_be_settled() {
    let mut world = World::new(1);
    let socket = world.bound();
    world.produce(socket, 0, Durability::Disk, None, &batch(4_000, b"x"));
    world.take(socket);
    let member = joined(&mut world, socket, SETTINGS);
    assert_eq!(acquire(&mut world, socket, member, 4_000), [(0, 3_999, 1, None)]);
    world.disks_stand_still = true;
    let producer = world.hello(0);
    world.bind(producer, 0, "t", 0);
    for correlation in 0..600 {
        world.produce(producer, correlation, Durability::Disk, None, &batch(1, &[1; 50_000]));
    }
    assert!(world.stat("waits_for_append_memory") > 0);
    // Every second one, so that each is a fact of its own.
    let accepts: Vec<_> = (0..2_000).map(|at| range(2 * at, 2 * at, Verdict::Accept)).collect();
    world.send(socket, &settle_frame(member, &accepts));
    assert_eq!(code(&world.answers(socket)[0].1), ErrorCode::Overloaded);
    world.disks_stand_still = false;
    world.run();
    let again = settle(&mut world, socket, member, &accepts);
    assert!(again.iter().all(|error| *error == Some(ErrorCode::AlreadySettled)), "{again:?}");
    let mut world = world.restart();
    let socket = world.hello(0);
    let member = joined(&mut world, socket, SETTINGS);
    let left = acquire(&mut world, socket, member, 2);
    assert_eq!(left, [(1, 1, 1, None), (3, 3, 1, None)]);
}
