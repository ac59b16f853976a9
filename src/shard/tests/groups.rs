//! Consumer groups on whole shards: members, commits, restarts, and everything that comes too late.

mod world;

use std::time::Duration;

use plimsoll_wire::{
    Assignor, CommitOffsets, CorrelationId, DeleteGroup, DeleteTopic, Durability, ErrorCode,
    GroupState, Heartbeat, JoinGroup, LeaveGroup, ListGroups, Offset, OffsetToCommit, TopicId,
    TopicPartition,
};
use world::World;
use world::client::{Answer, Member, batch, encoded};
use world::group::{
    beat, code, commit, committed, describe, join, joined, partition, reset, with_topic,
};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_committed_offset_survives_the_server_and_is_told_to_the_next_member() {
    for shards in [1, 3] {
        let (mut world, socket) = with_topic(shards, 2);
        let member = joined(&mut world, socket, &join("g"));
        assert_eq!(member.assigned, Some(vec![(0, None), (1, None)]));
        let answer = committed(&mut world, socket, &commit(&member, 0, 7));
        assert_eq!(answer, Answer::Committed(vec![(partition(0), None, Some(7))]));
        let mut world = world.restart();
        let socket = world.hello(0);
        assert_eq!(code(&beat(&mut world, socket, &member)), ErrorCode::MemberUnknown);
        assert_eq!(
            code(&committed(&mut world, socket, &commit(&member, 0, 8))),
            ErrorCode::MemberUnknown
        );
        let again = JoinGroup { member: member.id, owned: vec![partition(0)], ..join("g") };
        let again = joined(&mut world, socket, &again);
        assert_ne!(again.id, member.id);
        assert!(again.generation > member.generation);
        assert_eq!(again.assigned, Some(vec![(0, Some(7))]), "what it holds, at once");
        world.advance(3 * SECOND);
        let [(0, Answer::Member(told))] = &world.answers(socket)[..] else { panic!("told") };
        assert_eq!(told.assigned, Some(vec![(0, Some(7)), (1, None)]), "the rest, later");
    }
}

#[test]
fn a_commit_is_answered_only_when_it_is_on_disk() {
    let (mut world, socket) = with_topic(1, 1);
    let member = joined(&mut world, socket, &join("g"));
    world.disks_stand_still = true;
    world.send(socket, &encoded(|out| commit(&member, 0, 5).encode(CorrelationId(7), out)));
    assert!(world.answers(socket).is_empty());
    let Answer::Group { offsets, .. } = describe(&mut world, socket) else { panic!("described") };
    assert!(offsets.is_empty(), "what is not durable is not told either");
    world.send(socket, &encoded(|out| commit(&member, 0, 5).encode(CorrelationId(8), out)));
    assert!(world.answers(socket).is_empty(), "the same again is not durable sooner");
    world.disks_stand_still = false;
    world.run();
    let ends = Answer::Committed(vec![(partition(0), None, Some(5))]);
    assert_eq!(world.answers(socket), [(7, ends.clone()), (8, ends)]);
}

/// Under `before` two members would else be handed the same records: the one whose commit is on its
/// way, and the one that begins where the group was before it.
#[test]
fn a_partition_is_given_on_only_when_the_commits_of_its_holder_are_on_disk() {
    let (mut world, socket) = with_topic(1, 1);
    let named = JoinGroup { instance: "i", ..join("g") };
    let member = joined(&mut world, socket, &named);
    world.disks_stand_still = true;
    world.send(socket, &encoded(|out| commit(&member, 0, 5).encode(CorrelationId(7), out)));
    let next = world.hello(0);
    let other = joined(&mut world, next, &named);
    assert_eq!(other.assigned, Some(vec![]), "not from where its predecessor began");
    world.disks_stand_still = false;
    world.run();
    let taken = Answer::Committed(vec![(partition(0), None, Some(5))]);
    assert_eq!(world.answers(socket), [(7, taken)]);
    let [(0, Answer::Member(told))] = &world.answers(next)[..] else { panic!("told") };
    assert_eq!(told.assigned, Some(vec![(0, Some(5))]));
}

#[test]
fn a_committed_offset_never_goes_back_but_by_a_reset_of_an_empty_group() {
    let (mut world, socket) = with_topic(2, 1);
    let member = joined(&mut world, socket, &join("g"));
    committed(&mut world, socket, &commit(&member, 0, 7));
    let late = committed(&mut world, socket, &commit(&member, 0, 3));
    assert_eq!(late, Answer::Committed(vec![(partition(0), None, Some(7))]));
    assert_eq!(code(&committed(&mut world, socket, &reset(0, Some(2)))), ErrorCode::GroupNotEmpty);
    let leave = LeaveGroup { group: "g", member: member.id };
    assert_eq!(world.ask(socket, |out| leave.encode(CorrelationId(5), out)), Answer::Empty);
    let set = committed(&mut world, socket, &reset(0, Some(2)));
    assert_eq!(set, Answer::Committed(vec![(partition(0), None, Some(2))]));
    let removed = committed(&mut world, socket, &reset(0, None));
    assert_eq!(removed, Answer::Committed(vec![(partition(0), None, None)]));
    assert_eq!(code(&describe(&mut world, socket)), ErrorCode::GroupNotFound);
    let mut world = world.restart();
    let socket = world.hello(0);
    assert_eq!(code(&describe(&mut world, socket)), ErrorCode::GroupNotFound);
}

#[test]
fn offsets_that_cannot_be_right_are_refused_one_by_one() {
    for shards in [1, 2] {
        let (mut world, socket) = with_topic(shards, 2);
        let member = joined(&mut world, socket, &join("g"));
        let other = TopicPartition { topic: TopicId(9), ..partition(0) };
        let long = "x".repeat(5_000);
        let to = |partition, offset| OffsetToCommit {
            partition,
            offset: Some(Offset::new(offset)),
            metadata: "",
        };
        let offsets = vec![
            to(partition(0), 11),
            to(other, 1),
            to(partition(2), 1),
            OffsetToCommit { metadata: &long, ..to(partition(0), 1) },
            OffsetToCommit { offset: None, ..to(partition(0), 1) },
            OffsetToCommit { metadata: "mine", ..to(partition(0), 10) },
        ];
        let mixed = CommitOffsets { offsets, ..commit(&member, 0, 0) };
        let Answer::Committed(ends) = committed(&mut world, socket, &mixed) else { panic!() };
        let errors: Vec<Option<ErrorCode>> = ends.iter().map(|end| end.1).collect();
        let expected = [
            Some(ErrorCode::OffsetOutOfRange),
            Some(ErrorCode::TopicNotFound),
            Some(ErrorCode::PartitionNotFound),
            Some(ErrorCode::InvalidRequest),
            Some(ErrorCode::InvalidRequest),
            None,
        ];
        assert_eq!(errors, expected);
        let Answer::Group { offsets, state, members } = describe(&mut world, socket) else {
            panic!("described")
        };
        assert_eq!(offsets, [(partition(0), 10, "mine".to_string())]);
        assert_eq!((state, members), (GroupState::Stable, 1));
    }
}

#[test]
fn a_partition_moves_when_it_is_let_go_and_the_old_member_commits_until_then() {
    for shards in [1, 2, 3] {
        let (mut world, one) = with_topic(shards, 2);
        let two = world.hello(shards - 1);
        let first = joined(&mut world, one, &join("g"));
        let second = joined(&mut world, two, &join("g"));
        assert_eq!(second.assigned, Some(vec![]));
        let [(0, Answer::Member(told))] = &world.answers(one)[..] else { panic!("told unasked") };
        assert_eq!(told.assigned, Some(vec![(0, None)]));
        let told = told.clone();
        let Answer::Committed(ends) = committed(&mut world, one, &commit(&first, 1, 0)) else {
            panic!("committed")
        };
        assert_eq!(ends[0].1, None, "it works on what it holds");
        let unchanged = beat(&mut world, one, &told);
        assert!(matches!(unchanged, Answer::Member(Member { assigned: None, .. })));
        let [(0, Answer::Member(moved))] = &world.answers(two)[..] else { panic!("told") };
        assert_eq!(moved.assigned, Some(vec![(1, Some(0))]), "with what was committed");
        let late = committed(&mut world, one, &commit(&told, 1, 0));
        assert_eq!(
            late,
            Answer::Committed(vec![(partition(1), Some(ErrorCode::NotAssigned), Some(0))])
        );
    }
}

#[test]
fn a_member_that_falls_silent_is_dead_and_its_work_no_longer_counts() {
    let (mut world, one) = with_topic(2, 2);
    let two = world.hello(1);
    let first = joined(&mut world, one, &join("g"));
    let Answer::Member(_) = beat(&mut world, one, &first) else { panic!() };
    let mut second = joined(&mut world, two, &join("g"));
    for _ in 0..3 {
        world.advance(4 * SECOND);
        let beat = Heartbeat { group: "g", member: second.id, generation: second.generation };
        world.send(two, &encoded(|out| beat.encode(CorrelationId(8), out)));
        for (_, answer) in world.answers(two) {
            let Answer::Member(told) = answer else { panic!("{answer:?}") };
            second.generation = told.generation;
        }
    }
    world.take(one);
    assert_eq!(code(&beat(&mut world, one, &first)), ErrorCode::MemberUnknown);
    assert_eq!(code(&committed(&mut world, one, &commit(&first, 0, 5))), ErrorCode::MemberUnknown);
    let Answer::Member(Member { assigned: None, .. }) = beat(&mut world, two, &second) else {
        panic!("it has heard of everything")
    };
    let Answer::Group { members: 1, state: GroupState::Stable, .. } = describe(&mut world, two)
    else {
        panic!("one is left")
    };
    assert_eq!(world.stat("members_expired"), 1);
}

#[test]
fn a_group_waits_for_its_topic_and_forgets_the_offsets_of_a_deleted_one() {
    let mut world = World::new(2);
    let socket = world.hello(0);
    let member = joined(&mut world, socket, &join("g"));
    assert_eq!(member.assigned, Some(vec![]), "the topic does not exist yet");
    let other = world.hello(1);
    world.create(other, "t", 1);
    let [(0, Answer::Member(told))] = &world.answers(socket)[..] else { panic!("told") };
    let told = told.clone();
    assert_eq!(told.assigned, Some(vec![(0, None)]));
    committed(&mut world, socket, &commit(&told, 0, 0));
    let delete = DeleteTopic { name: "t" };
    world.ask(other, |out| delete.encode(CorrelationId(4), out));
    let [(0, Answer::Member(gone))] = &world.answers(socket)[..] else { panic!("told") };
    assert_eq!(gone.assigned, Some(vec![]));
    let gone = gone.clone();
    world.create(other, "t", 1);
    world.take(socket);
    let Answer::Member(anew) = beat(&mut world, socket, &gone) else { panic!() };
    let anew = anew.assigned.or(Some(vec![(0, None)]));
    assert_eq!(anew, Some(vec![(0, None)]), "another topic with the old name");
    let mut world = world.restart();
    let socket = world.hello(0);
    assert_eq!(code(&describe(&mut world, socket)), ErrorCode::GroupNotFound);
}

#[test]
fn groups_are_listed_from_all_shards_and_deleted_durably() {
    let (mut world, socket) = with_topic(3, 1);
    for group in ["g", "a", "b", "c"] {
        let commit = CommitOffsets { group, ..reset(0, Some(4)) };
        let answer = world.ask(socket, |out| commit.encode(CorrelationId(7), out));
        assert!(matches!(answer, Answer::Committed(_)), "{answer:?}");
    }
    let list = |world: &mut World| {
        world.ask(socket, |out| ListGroups::default().encode(CorrelationId(3), out))
    };
    let Answer::Groups(groups) = list(&mut world) else { panic!("listed") };
    let names: Vec<&str> = groups.iter().map(|group| group.0.as_str()).collect();
    assert_eq!(names, ["a", "b", "c", "g"]);
    assert!(groups.iter().all(|group| (group.1, group.2) == (0, 1)));
    let delete = DeleteGroup { group: "g" };
    assert_eq!(world.ask(socket, |out| delete.encode(CorrelationId(5), out)), Answer::Empty);
    let again = world.ask(socket, |out| delete.encode(CorrelationId(5), out));
    assert_eq!(code(&again), ErrorCode::GroupNotFound);
    let mut world = world.restart();
    let socket = world.hello(0);
    let answer = world.ask(socket, |out| ListGroups::default().encode(CorrelationId(3), out));
    let Answer::Groups(groups) = answer else { panic!("listed") };
    assert_eq!(groups.len(), 3, "{groups:?}");
}

#[test]
fn what_cannot_be_a_member_is_refused_and_the_connection_lives() {
    let (mut world, socket) = with_topic(2, 1);
    let long = "x".repeat(250);
    let wrong = [
        JoinGroup { group: "", ..join("g") },
        JoinGroup { group: &long, ..join("g") },
        JoinGroup { instance: &long, ..join("g") },
        JoinGroup { session_timeout_ms: 1, ..join("g") },
        JoinGroup { rebalance_timeout_ms: u32::MAX, ..join("g") },
        JoinGroup { topics: vec![], ..join("g") },
        JoinGroup { topics: vec!["a b"], ..join("g") },
    ];
    for join in wrong {
        let answer = world.ask(socket, |out| join.encode(CorrelationId(9), out));
        assert_eq!(code(&answer), ErrorCode::InvalidRequest, "{join:?}");
    }
    joined(&mut world, socket, &join("g"));
    let other = JoinGroup { assignor: Assignor::Range, ..join("g") };
    let answer = world.ask(socket, |out| other.encode(CorrelationId(9), out));
    assert_eq!(code(&answer), ErrorCode::GroupMismatch);
    let answer = world.ask(socket, |out| ListGroups::default().encode(CorrelationId(3), out));
    assert_eq!(answer, Answer::Groups(vec![("g".to_string(), 1, 0)]));
}

/// The log of offsets has a place for every commit ever made, unless somebody makes it shorter.
#[test]
fn the_log_of_offsets_is_shortened_and_nothing_that_counts_goes() {
    let (mut world, socket) = with_topic(1, 3);
    let note = "n".repeat(4_000);
    let noted = |partition_index, offset, metadata| {
        let offset = Some(Offset::new(offset));
        let partition = partition(partition_index);
        let offsets = vec![OffsetToCommit { partition, offset, metadata }];
        CommitOffsets { offsets, ..reset(0, None) }
    };
    committed(&mut world, socket, &noted(1, 0, "early"));
    committed(&mut world, socket, &noted(2, 0, "to go"));
    committed(&mut world, socket, &reset(2, None));
    for round in 0..2_300 {
        committed(&mut world, socket, &noted(0, round % 10, &note));
    }
    assert_eq!(world.stat("offset_logs_shortened"), 2);
    committed(&mut world, socket, &noted(0, 7, "last"));
    let mut world = world.restart();
    let socket = world.hello(0);
    let Answer::Group { offsets, .. } = describe(&mut world, socket) else { panic!("described") };
    let expected = [(partition(0), 7, "last".to_string()), (partition(1), 0, "early".to_string())];
    assert_eq!(offsets, expected);
}

#[test]
fn after_a_failed_disk_a_commit_is_not_said_to_be_done() {
    let (mut world, socket) = with_topic(1, 1);
    let member = joined(&mut world, socket, &join("g"));
    world.fail_disk();
    let answer = committed(&mut world, socket, &commit(&member, 0, 5));
    assert_eq!(code(&answer), ErrorCode::DiskFailed);
    // The same once more was taken for what is needless, and answered as if it were safe.
    for offset in [5, 6] {
        let answer = committed(&mut world, socket, &commit(&member, 0, offset));
        assert_eq!(code(&answer), ErrorCode::DiskFailed);
    }
    let Answer::Group { offsets, .. } = describe(&mut world, socket) else { panic!("described") };
    assert!(offsets.is_empty());
}

/// A member that commits after every batch costs one entry in the journal for each, and no commit
/// of its own where data is on its way.
#[test]
fn a_commit_of_offsets_is_one_entry_and_goes_with_the_data_that_is_under_way() {
    let (mut world, socket) = with_topic(1, 2);
    let member = joined(&mut world, socket, &join("g"));
    let counts = |world: &World| (world.stat("appended_batches"), world.stat("commits"));
    let (entries, commits) = counts(&world);
    committed(&mut world, socket, &commit(&member, 0, 1));
    assert_eq!(counts(&world), (entries + 1, commits + 1), "alone it takes a commit");

    // Ten batches and ten commits of offsets, while the disk is busy with the first.
    let (entries, commits) = counts(&world);
    world.disks_stand_still = true;
    for number in 1..=10 {
        world.produce(socket, number, Durability::Disk, None, &batch(1, b"x"));
        let commit = commit(&member, 0, u64::from(number));
        world.send(socket, &encoded(|out| commit.encode(CorrelationId(7), out)));
    }
    world.disks_stand_still = false;
    world.run();
    let answers = world.answers(socket);
    let is_taken = |(_, answer): &&(u32, Answer)| matches!(answer, Answer::Committed(_));
    assert_eq!(answers.iter().filter(is_taken).count(), 10);
    let (entries_after, commits_after) = counts(&world);
    // The first offset is committed already: it takes no entry.
    assert_eq!(entries_after - entries, 10 + 9);
    assert!(commits_after - commits <= 3, "{} commits", commits_after - commits);
}
