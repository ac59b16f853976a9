//! Groups in share mode on whole shards: who is a member, where a group begins, what is handed out
//! to whom, what is left of it after a restart, a reset and a deletion.

mod world;

use std::time::Duration;

use plimsoll_wire::{
    CommitMode, CommitOffsets, CorrelationId, DeleteGroup, DeleteRecords, DeleteTopic,
    DescribeGroup, Durability, ErrorCode, Generation, GroupMode, Heartbeat, JoinGroup, LeaveGroup,
    ListGroups, MemberId, Offset, OffsetToCommit, PartitionIndex, ShareBegin, ShareSettings,
    TopicId, Verdict,
};
use world::World;
use world::client::{Answer, Member, batch, batch_at, encoded, fetch};
use world::group::{code, partition, with_topic};
use world::share::{
    SETTINGS, acquire, acquire_frame, acquired, asked_to_join, describe, join, joined, range,
    settle, settle_frame,
};

const SECOND: Duration = Duration::from_secs(1);

/// A member that fetches what it has been given there must not wait for it in vain.
#[test]
fn a_fetch_within_the_leap_of_a_restart_is_answered_at_once_and_finds_nothing() {
    let (world, _) = with_topic(2, 1);
    let mut world = world.restart();
    let socket = world.hello(0);
    world.bind(socket, 0, "t", 0);
    let answer = world.ask(socket, |out| fetch(10, 1, 0).encode(CorrelationId(5), out));
    let Answer::Fetched { watermarks, batches } = answer else { panic!("{answer:?}") };
    assert!(batches.is_empty() && watermarks.disk > Offset::new(10), "{watermarks:?}");
}

#[test]
fn each_record_goes_to_one_member() {
    let (mut world, one) = with_topic(2, 1);
    let two = world.hello(1);
    let (first, second) = (joined(&mut world, one, SETTINGS), joined(&mut world, two, SETTINGS));
    assert_eq!(acquire(&mut world, one, first, 4), [(0, 3, 1, None)]);
    assert_eq!(acquire(&mut world, two, second, 4), [(4, 7, 1, None)]);
    let lost = [Some(ErrorCode::LockLost)];
    assert_eq!(settle(&mut world, two, second, &[range(0, 0, Verdict::Accept)]), lost);
    assert_eq!(settle(&mut world, one, first, &[range(0, 0, Verdict::Accept)]), [None]);
    assert_eq!(acquire(&mut world, one, first, 4), [(8, 9, 1, None)]);
    assert_eq!(acquire(&mut world, two, second, 4), []);
}

#[test]
fn whoever_waits_gets_what_is_appended_or_freed() {
    for shards in [1, 3] {
        let (mut world, one) = with_topic(shards, 4);
        let two = world.hello(shards - 1);
        let first = joined(&mut world, one, SETTINGS);
        let second = joined(&mut world, two, SETTINGS);
        acquire(&mut world, one, first, 10);
        world.send(two, &acquire_frame(second, 10, 10_000));
        assert!(world.answers(two).is_empty());
        world.produce(one, 1, Durability::Disk, None, &batch(2, b"y"));
        world.take(one);
        assert_eq!(acquired(&mut world, two), [(10, 11, 1, None)]);
        world.send(two, &acquire_frame(second, 10, 10_000));
        settle(&mut world, one, first, &[range(3, 3, Verdict::Release { delay_ms: 0 })]);
        assert_eq!(acquired(&mut world, two), [(3, 3, 2, None)]);
        world.send(two, &acquire_frame(second, 10, 3_000));
        world.advance(2 * SECOND);
        assert!(world.answers(two).is_empty());
        world.advance(SECOND);
        assert_eq!(acquired(&mut world, two), [], "it has waited long enough");
        world.send(two, &acquire_frame(second, 10, 10_000));
        world.send(two, &acquire_frame(second, 10, 0));
        assert_eq!(world.answers(two).len(), 2, "the second ends the first");
    }
}

#[test]
fn what_a_member_held_is_free_when_it_leaves_or_dies() {
    let (mut world, one) = with_topic(2, 1);
    let two = world.hello(1);
    let (first, second) = (joined(&mut world, one, SETTINGS), joined(&mut world, two, SETTINGS));
    acquire(&mut world, one, first, 10);
    world.send(two, &acquire_frame(second, 10, 10_000));
    let leave = LeaveGroup { group: "g", member: first };
    assert_eq!(world.ask(one, |out| leave.encode(CorrelationId(5), out)), Answer::Empty);
    assert_eq!(acquired(&mut world, two), [(0, 9, 2, None)]);
    world.send(one, &settle_frame(first, &[range(0, 0, Verdict::Accept)]));
    assert_eq!(code(&world.answers(one)[0].1), ErrorCode::MemberUnknown);
    let short = JoinGroup { session_timeout_ms: 1_000, ..join(SETTINGS) };
    let Answer::Member(third) = asked_to_join(&mut world, one, &short) else { panic!() };
    settle(&mut world, two, second, &[range(0, 9, Verdict::Release { delay_ms: 0 })]);
    assert_eq!(acquire(&mut world, one, third.id, 10), [(0, 9, 3, None)]);
    world.advance(2 * SECOND);
    assert_eq!(world.stat("members_expired"), 1);
    assert_eq!(describe(&mut world, two).waiting, 10);
}

#[test]
fn a_second_client_with_the_same_instance_takes_the_place_of_the_first() {
    let (mut world, one) = with_topic(1, 1);
    let two = world.hello(0);
    let named = JoinGroup { instance: "i", ..join(SETTINGS) };
    let Answer::Member(first) = asked_to_join(&mut world, one, &named) else { panic!() };
    assert_eq!(first.assigned, Some(vec![(0, None)]));
    assert_eq!(acquire(&mut world, one, first.id, 3), [(0, 2, 1, None)]);
    world.send(one, &acquire_frame(first.id, 10, 0));
    world.take(one);
    world.send(one, &acquire_frame(first.id, 10, 10_000));
    let Answer::Member(second) = asked_to_join(&mut world, two, &named) else { panic!() };
    assert_eq!(code(&world.answers(one)[0].1), ErrorCode::MemberFenced, "who waited is told");
    assert_eq!(acquire(&mut world, two, second.id, 10), [(0, 9, 2, None)]);
    world.send(one, &settle_frame(first.id, &[range(0, 2, Verdict::Accept)]));
    assert_eq!(code(&world.answers(one)[0].1), ErrorCode::MemberFenced);
    let beat = Heartbeat { group: "g", member: second.id, generation: second.generation };
    let answer = world.ask(two, |out| beat.encode(CorrelationId(8), out));
    assert!(matches!(answer, Answer::Member(Member { assigned: None, .. })), "{answer:?}");
}

#[test]
fn a_group_keeps_its_mode_and_its_members_agree_on_the_settings() {
    let (mut world, socket) = with_topic(2, 1);
    let classic = JoinGroup { share: None, ..join(SETTINGS) };
    let Answer::Member(member) = asked_to_join(&mut world, socket, &classic) else { panic!() };
    let share = asked_to_join(&mut world, socket, &join(SETTINGS));
    assert_eq!(code(&share), ErrorCode::GroupMismatch);
    world.send(socket, &acquire_frame(member.id, 1, 0));
    assert_eq!(code(&world.answers(socket)[0].1), ErrorCode::GroupMismatch);
    let commit = |member: MemberId, generation, mode| CommitOffsets {
        group: "g",
        member,
        generation,
        mode,
        offsets: vec![OffsetToCommit {
            partition: partition(0),
            offset: Some(Offset::new(5)),
            metadata: "",
        }],
    };
    let commits = commit(member.id, member.generation, CommitMode::Forward);
    world.ask(socket, |out| commits.encode(CorrelationId(7), out));
    let leave = LeaveGroup { group: "g", member: member.id };
    world.ask(socket, |out| leave.encode(CorrelationId(5), out));
    let share = asked_to_join(&mut world, socket, &join(SETTINGS));
    assert_eq!(code(&share), ErrorCode::GroupMismatch, "what it has consumed counts, too");
    let delete = DeleteGroup { group: "g" };
    world.ask(socket, |out| delete.encode(CorrelationId(5), out));
    let member = joined(&mut world, socket, SETTINGS);
    let other = ShareSettings { lock_ms: 1_000, ..SETTINGS };
    let refused = asked_to_join(&mut world, socket, &join(other));
    assert_eq!(code(&refused), ErrorCode::GroupMismatch);
    for (member, generation) in [(member, Generation(u64::MAX)), (MemberId::NONE, Generation(0))] {
        let commits = commit(member, generation, CommitMode::Forward);
        let refused = world.ask(socket, |out| commits.encode(CorrelationId(7), out));
        let expected = if member == MemberId::NONE {
            ErrorCode::GroupNotEmpty
        } else {
            ErrorCode::GroupMismatch
        };
        assert_eq!(code(&refused), expected);
    }
    let mut world = world.restart();
    let socket = world.hello(0);
    let refused = asked_to_join(&mut world, socket, &classic);
    assert_eq!(code(&refused), ErrorCode::GroupMismatch, "its mode is durable");
    let list = ListGroups { with_mode: true };
    let answer = world.ask(socket, |out| list.encode(CorrelationId(3), out));
    assert_eq!(answer, Answer::Modes(vec![("g".to_string(), GroupMode::Share, 1)]));
    world.ask(socket, |out| delete.encode(CorrelationId(5), out));
    let commits = commit(MemberId::NONE, Generation(0), CommitMode::Forward);
    world.ask(socket, |out| commits.encode(CorrelationId(7), out));
    let mut world = world.restart();
    let socket = world.hello(0);
    let Answer::Member(_) = asked_to_join(&mut world, socket, &classic) else {
        panic!("it was deleted, and made again in the other mode")
    };
}

#[test]
fn a_group_begins_where_it_wants_to_and_that_is_durable() {
    for shards in [1, 2] {
        let mut world = World::new(shards);
        let socket = world.bound();
        for (correlation, unix_ms) in [(0, 1_000), (1, 2_000), (2, 3_000)] {
            world.produce(socket, correlation, Durability::Disk, None, &batch_at(unix_ms, b"x"));
        }
        world.take(socket);
        let begins = [
            (ShareBegin::Beginning, 0),
            (ShareBegin::Timestamp { unix_ms: 1_500 }, 1),
            (ShareBegin::End, 3),
        ];
        for (begin, start) in begins {
            let member = joined(&mut world, socket, ShareSettings { begin, ..SETTINGS });
            assert_eq!(describe(&mut world, socket).start, Offset::new(start), "{begin:?}");
            let leave = LeaveGroup { group: "g", member };
            world.ask(socket, |out| leave.encode(CorrelationId(5), out));
            if begin != ShareBegin::End {
                let delete = DeleteGroup { group: "g" };
                world.ask(socket, |out| delete.encode(CorrelationId(5), out));
            }
        }
        world.produce(socket, 3, Durability::Disk, None, &batch(1, b"x"));
        let mut world = world.restart();
        let socket = world.hello(0);
        let settings = ShareSettings { begin: ShareBegin::End, ..SETTINGS };
        let member = joined(&mut world, socket, settings);
        assert_eq!(acquire(&mut world, socket, member, 1), [(3, 3, 1, None)]);
    }
}

/// After a crash the group would else begin behind what it had handed out.
#[test]
fn nothing_is_handed_out_before_it_is_durable_where_the_group_begins() {
    let (mut world, socket) = with_topic(1, 1);
    world.disks_stand_still = true;
    let member = joined(&mut world, socket, SETTINGS);
    world.send(socket, &acquire_frame(member, 9, 10_000));
    assert!(world.answers(socket).is_empty());
    world.disks_stand_still = false;
    world.run();
    assert_eq!(acquired(&mut world, socket), [(0, 8, 1, None)]);
}

/// It could be taken back by a power cut, and the offset would stand for another record.
#[test]
fn only_what_is_on_disk_is_handed_out() {
    let (mut world, socket) = with_topic(1, 1);
    let member = joined(&mut world, socket, SETTINGS);
    acquire(&mut world, socket, member, 10);
    world.send(socket, &acquire_frame(member, 9, 10_000));
    world.disks_stand_still = true;
    world.produce(socket, 1, Durability::Memory, None, &batch(1, b"y"));
    let answers = world.answers(socket);
    assert!(!answers.iter().any(|(_, it)| matches!(it, Answer::Acquired(_))), "{answers:?}");
    world.disks_stand_still = false;
    world.advance(SECOND);
    assert_eq!(acquired(&mut world, socket), [(10, 10, 1, None)]);
}

#[test]
fn a_reset_sets_the_start_and_forgets_what_was_behind_it() {
    let (mut world, socket) = with_topic(2, 1);
    let member = joined(&mut world, socket, SETTINGS);
    acquire(&mut world, socket, member, 10);
    settle(&mut world, socket, member, &[range(4, 9, Verdict::Accept)]);
    let reset = |offset: Option<u64>| CommitOffsets {
        group: "g",
        member: MemberId::NONE,
        generation: Generation(0),
        mode: CommitMode::Exact,
        offsets: vec![OffsetToCommit {
            partition: partition(0),
            offset: offset.map(Offset::new),
            metadata: "",
        }],
    };
    let refused = world.ask(socket, |out| reset(Some(2)).encode(CorrelationId(7), out));
    assert_eq!(code(&refused), ErrorCode::GroupNotEmpty);
    let leave = LeaveGroup { group: "g", member };
    world.ask(socket, |out| leave.encode(CorrelationId(5), out));
    let set = world.ask(socket, |out| reset(Some(2)).encode(CorrelationId(7), out));
    assert_eq!(set, Answer::Committed(vec![(partition(0), None, Some(2))]));
    let beyond = world.ask(socket, |out| reset(Some(11)).encode(CorrelationId(7), out));
    let out_of_range = Some(ErrorCode::OffsetOutOfRange);
    assert_eq!(beyond, Answer::Committed(vec![(partition(0), out_of_range, Some(2))]));
    let mut world = world.restart();
    let socket = world.hello(0);
    let member = joined(&mut world, socket, SETTINGS);
    assert_eq!(acquire(&mut world, socket, member, 8), [(2, 9, 1, None)]);
    let leave = LeaveGroup { group: "g", member };
    world.ask(socket, |out| leave.encode(CorrelationId(5), out));
    let delete = DeleteGroup { group: "g" };
    assert_eq!(world.ask(socket, |out| delete.encode(CorrelationId(5), out)), Answer::Empty);
    let mut world = world.restart();
    let socket = world.hello(0);
    let describe = DescribeGroup { group: "g", with_share: true };
    let answer = world.ask(socket, |out| describe.encode(CorrelationId(6), out));
    assert_eq!(code(&answer), ErrorCode::GroupNotFound);
}

#[test]
fn what_is_deleted_is_done_with() {
    let (mut world, socket) = with_topic(2, 1);
    let member = joined(&mut world, socket, SETTINGS);
    acquire(&mut world, socket, member, 2);
    let delete = DeleteRecords { topic: "t", partition: PartitionIndex(0), to: Offset::new(5) };
    world.ask(socket, |out| delete.encode(CorrelationId(4), out));
    // What was handed out, or is known to be there, comes back as gone.
    assert_eq!(settle(&mut world, socket, member, &[range(0, 1, Verdict::Gone)]), [None]);
    assert_eq!(acquire(&mut world, socket, member, 3), [(2, 4, 1, None)]);
    world.send(socket, &acquire_frame(member, 9, 0));
    world.take(socket);
    world.send(socket, &acquire_frame(member, 9, 10_000));
    world.produce(socket, 1, Durability::Disk, None, &batch(1, b"y"));
    world.take(socket);
    assert_eq!(describe(&mut world, socket).start, Offset::new(5), "it has heard of it since");
    let late = settle(&mut world, socket, member, &[range(2, 4, Verdict::Gone)]);
    assert_eq!(late, [Some(ErrorCode::AlreadySettled)]);
    let delete = DeleteTopic { name: "t" };
    world.send(socket, &encoded(|out| delete.encode(CorrelationId(4), out)));
    world.take(socket);
    let gone = settle(&mut world, socket, member, &[range(6, 6, Verdict::Accept)]);
    assert_eq!(gone, [Some(ErrorCode::TopicNotFound)]);
    let other = world.hello(1);
    world.create(other, "t", 1);
    world.take(socket);
    assert_eq!(acquire(&mut world, socket, member, 10), [], "another topic, from its beginning");
    assert_eq!(describe(&mut world, socket).partition.topic, TopicId(2));
}

#[test]
fn a_full_window_hands_out_no_more_until_something_is_done() {
    let limits = plimsoll_shard::ShardLimits { share_window_max: 4, ..world::limits() };
    let mut world = World::with_limits(1, limits);
    let socket = world.bound();
    world.produce(socket, 0, Durability::Disk, None, &batch(10, b"x"));
    world.take(socket);
    let member = joined(&mut world, socket, SETTINGS);
    assert_eq!(acquire(&mut world, socket, member, 10), [(0, 3, 1, None)]);
    assert_eq!(acquire(&mut world, socket, member, 10), []);
    settle(&mut world, socket, member, &[range(1, 1, Verdict::Accept)]);
    assert_eq!(acquire(&mut world, socket, member, 10), [(4, 4, 1, None)]);
    world.send(socket, &acquire_frame(member, 10, 10_000));
    world.send(socket, &settle_frame(member, &[range(0, 0, Verdict::Accept)]));
    let answers = world.answers(socket);
    assert!(answers.iter().any(|(id, it)| *id == 20 && matches!(it, Answer::Acquired(_))));
    assert_eq!(describe(&mut world, socket).in_flight, 4);
}

/// The log has a place for every verdict ever made, unless somebody makes it shorter.
#[test]
fn the_log_is_shortened_and_no_verdict_goes() {
    let limits =
        plimsoll_shard::ShardLimits { offset_log_fresh_bytes_min: 32 << 10, ..world::limits() };
    let mut world = World::with_limits(1, limits);
    let socket = world.bound();
    world.produce(socket, 0, Durability::Disk, None, &batch(10, b"x"));
    world.take(socket);
    let member = joined(&mut world, socket, ShareSettings { deliveries_max: u32::MAX, ..SETTINGS });
    acquire(&mut world, socket, member, 10);
    let verdicts = [
        range(2, 3, Verdict::Accept),
        range(4, 4, Verdict::Reject),
        range(6, 6, Verdict::Release { delay_ms: 1_000_000 }),
    ];
    settle(&mut world, socket, member, &verdicts);
    let release = range(0, 0, Verdict::Release { delay_ms: 0 });
    let mut rounds = 1;
    while world.stat("offset_logs_shortened") < 2 {
        settle(&mut world, socket, member, &[release]);
        rounds += 1;
        assert_eq!(acquire(&mut world, socket, member, 1), [(0, 0, rounds, None)]);
    }
    let mut world = world.restart();
    let socket = world.hello(0);
    let described = describe(&mut world, socket);
    assert_eq!((described.start, described.delayed, described.dead), (Offset::ZERO, 1, 1));
    let member = joined(&mut world, socket, ShareSettings { deliveries_max: u32::MAX, ..SETTINGS });
    let again = acquire(&mut world, socket, member, 6);
    let firsts: Vec<u64> = again.iter().map(|range| range.0).collect();
    assert_eq!(firsts, [0, 1, 5, 7], "{again:?}");
    assert!(again[0].2 >= rounds, "{again:?}");
}

/// A member that is refused has nothing: a record would be dead in the end that nobody ever had.
#[test]
fn what_a_member_is_refused_is_not_handed_out_and_not_counted() {
    let mut world = World::new(1);
    let socket = world.bound();
    world.produce(socket, 0, Durability::Disk, None, &batch(4_000, b"x"));
    world.take(socket);
    let member = joined(&mut world, socket, SETTINGS);
    assert_eq!(acquire(&mut world, socket, member, 4_000), [(0, 3_999, 1, None)]);
    // Every second one stays, so that the end of each lock is a fact of its own.
    let accepts: Vec<_> = (0..2_000).map(|at| range(2 * at, 2 * at, Verdict::Accept)).collect();
    settle(&mut world, socket, member, &accepts);
    world.disks_stand_still = true;
    let producer = world.hello(0);
    world.bind(producer, 0, "t", 0);
    for correlation in 0..600 {
        world.produce(producer, correlation, Durability::Disk, None, &batch(1, &[1; 50_000]));
    }
    assert!(world.stat("waits_for_append_memory") > 0);
    world.advance(5 * SECOND);
    world.send(socket, &acquire_frame(member, 2, 0));
    assert_eq!(code(&world.answers(socket)[0].1), ErrorCode::Overloaded);
    world.disks_stand_still = false;
    world.run();
    let again = acquire(&mut world, socket, member, 2);
    assert_eq!(again, [(1, 1, 2, None), (3, 3, 2, None)]);
}
