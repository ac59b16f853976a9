//! Consumer groups in bad luck: storms, a keeper that dies, clocks that jump, numbers that were
//! made up.

mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use plimsoll_device::SocketId;
use plimsoll_shard::ShardLimits;
use plimsoll_wire::{
    CommitOffsets, CorrelationId, DeleteGroup, DeleteTopic, ErrorCode, Generation, GroupState,
    Heartbeat, JoinGroup, LeaveGroup, MemberId,
};
use world::client::{Answer, Member, encoded};
use world::group::{
    beat, code, commit, committed, describe, join, joined, partition, reset, with_topic,
    with_topic_and_limits,
};
use world::{World, limits};

const SECOND: Duration = Duration::from_secs(1);

/// Members that do at once what they are told, each on a connection of its own.
#[derive(Default)]
struct Crowd {
    members: BTreeMap<SocketId, (Member, BTreeSet<u32>)>,
}

impl Crowd {
    fn join(&mut self, world: &mut World, topic: &'static str) {
        let socket = world.hello(self.members.len() as u16 % 2);
        let wanted = JoinGroup { topics: vec![topic], ..join("g") };
        let member = joined(world, socket, &wanted);
        self.take_in(world, socket, member);
    }

    /// Who has joined says at once that it has let go of all that it was not given.
    fn take_in(&mut self, world: &mut World, socket: SocketId, member: Member) {
        heartbeat(world, socket, &member);
        let held = assigned(&member);
        self.members.insert(socket, (member, held));
    }

    fn leave(&mut self, world: &mut World, which: usize) {
        let Some(socket) = self.members.keys().nth(which).copied() else { panic!("no {which}") };
        let Some((member, _)) = self.members.remove(&socket) else { panic!("it was there") };
        let leave = LeaveGroup { group: "g", member: member.id };
        world.send(socket, &encoded(|out| leave.encode(CorrelationId(5), out)));
    }

    /// Everybody hears and follows, until nobody is told anything more. No partition ever is in
    /// the hands of two.
    fn follow(&mut self, world: &mut World) {
        let mut is_quiet = false;
        while !is_quiet {
            is_quiet = true;
            for (socket, (member, held)) in &mut self.members {
                for (_, answer) in world.answers(*socket) {
                    let Answer::Member(told) = answer else { panic!("{answer:?}") };
                    if told.assigned.is_none() || told.generation < member.generation {
                        continue;
                    }
                    (*held, *member, is_quiet) = (assigned(&told), told, false);
                    heartbeat(world, *socket, member);
                }
            }
            self.held();
        }
    }

    fn held(&self) -> BTreeSet<u32> {
        let mut all = BTreeSet::new();
        for partition in self.members.values().flat_map(|(_, held)| held) {
            assert!(all.insert(*partition), "{partition} is in the hands of two");
        }
        all
    }
}

fn heartbeat(world: &mut World, socket: SocketId, member: &Member) {
    let beat = Heartbeat { group: "g", member: member.id, generation: member.generation };
    world.send(socket, &encoded(|out| beat.encode(CorrelationId(8), out)));
}

fn assigned(member: &Member) -> BTreeSet<u32> {
    member.assigned.iter().flatten().map(|(partition, _)| *partition).collect()
}

#[test]
fn a_hundred_members_that_come_and_go_in_a_second_leave_every_partition_in_one_hand() {
    let (mut world, socket) = with_topic(2, 1);
    world.create(socket, "wide", 40);
    let mut crowd = Crowd::default();
    let (mut came, mut went) = (0, 0);
    for round in 0..100 {
        crowd.join(&mut world, "wide");
        came += 1;
        // Two of three go again, whoever it is; some before they have heard of anything.
        if round % 3 != 0 {
            crowd.leave(&mut world, round * 7 % crowd.members.len());
            went += 1;
        }
        if round % 4 == 3 {
            crowd.follow(&mut world);
        }
        world.advance(SECOND / 100);
    }
    crowd.follow(&mut world);
    assert_eq!((came, went, crowd.members.len()), (100, 66, 34));
    assert_eq!(crowd.held(), (0..40).collect());
    let most = crowd.members.values().map(|(_, held)| held.len()).max();
    assert_eq!(most, Some(2), "40 partitions of 34 members");
    let Answer::Group { state, members, .. } = describe(&mut world, socket) else { panic!() };
    assert_eq!((state, members), (GroupState::Stable, 34));
    while !crowd.members.is_empty() {
        crowd.leave(&mut world, 0);
        crowd.follow(&mut world);
    }
    assert_eq!(code(&describe(&mut world, socket)), ErrorCode::GroupNotFound, "nothing is left");
}

/// One member was to let go, the other to get: the next server knows of neither.
#[test]
fn a_server_that_dies_in_the_middle_of_a_rebalance_gives_no_partition_to_two() {
    for is_late in [false, true] {
        let (mut world, one) = with_topic(2, 2);
        let two = world.hello(1);
        let first = joined(&mut world, one, &join("g"));
        committed(&mut world, one, &commit(&first, 0, 4));
        let second = joined(&mut world, two, &join("g"));
        assert_eq!(second.assigned, Some(vec![]), "the first has not let go yet");
        let mut world = world.restart();
        let (one, two) = (world.hello(0), world.hello(1));
        let first_again =
            JoinGroup { member: first.id, owned: vec![partition(0), partition(1)], ..join("g") };
        let second_again = JoinGroup { member: second.id, ..join("g") };
        // Whoever comes first: what the first still works on is not given to the second.
        let late = is_late.then(|| joined(&mut world, two, &second_again));
        let first = joined(&mut world, one, &first_again);
        let second = late.unwrap_or_else(|| joined(&mut world, two, &second_again));
        assert_eq!(second.assigned, Some(vec![]));
        assert!(first.assigned.iter().flatten().any(|of| *of == (0, Some(4))), "{first:?}");
        let mut crowd = Crowd::default();
        crowd.take_in(&mut world, one, first);
        crowd.take_in(&mut world, two, second);
        world.advance(3 * SECOND);
        crowd.follow(&mut world);
        assert_eq!(crowd.held(), BTreeSet::from([0, 1]));
        assert!(crowd.members.values().all(|(_, held)| held.len() == 1), "one each");
    }
}

/// The time of day decides nothing here; it is only written beside a commit.
#[test]
fn a_time_of_day_that_jumps_ends_no_member_and_takes_back_no_commit() {
    let (mut world, socket) = with_topic(1, 1);
    let member = joined(&mut world, socket, &join("g"));
    for (jump_ms, offset) in [(-86_400_000, 3), (2 * 86_400_000, 5), (-3_600_000, 8)] {
        world.clock.now.unix_ms += jump_ms;
        world.advance(SECOND);
        assert!(matches!(beat(&mut world, socket, &member), Answer::Member(_)));
        let answer = committed(&mut world, socket, &commit(&member, 0, offset));
        assert_eq!(answer, Answer::Committed(vec![(partition(0), None, Some(offset))]));
    }
    assert_eq!(world.stat("members_expired"), 0);
    let mut world = world.restart();
    let socket = world.hello(0);
    let member = joined(&mut world, socket, &JoinGroup { owned: vec![partition(0)], ..join("g") });
    assert_eq!(member.assigned, Some(vec![(0, Some(8))]));
}

/// As after a pause of the whole machine: nobody was heard for an hour.
#[test]
fn a_server_that_stood_still_takes_its_members_back_with_what_they_hold() {
    let (mut world, one) = with_topic(1, 2);
    let two = world.hello(0);
    let mut crowd = Crowd::default();
    for socket in [one, two] {
        let member = joined(&mut world, socket, &join("g"));
        crowd.take_in(&mut world, socket, member);
    }
    crowd.follow(&mut world);
    world.advance(3600 * SECOND);
    for (socket, (member, held)) in crowd.members.clone() {
        // The last one to be declared dead was given everything before.
        world.take(socket);
        assert_eq!(code(&beat(&mut world, socket, &member)), ErrorCode::MemberUnknown);
        let late = committed(&mut world, socket, &commit(&member, 0, 5));
        assert_eq!(code(&late), ErrorCode::MemberUnknown, "others may have it by now");
        let owned = held.iter().map(|it| partition(*it)).collect();
        let again = JoinGroup { member: member.id, owned, ..join("g") };
        let again = joined(&mut world, socket, &again);
        assert_ne!(again.id, member.id);
        crowd.take_in(&mut world, socket, again);
    }
    crowd.follow(&mut world);
    assert_eq!(crowd.held(), BTreeSet::from([0, 1]));
    assert!(crowd.members.values().all(|(_, held)| held.len() == 1), "one each, as before");
}

#[test]
fn numbers_that_nobody_gave_out_are_no_member_and_no_right() {
    let (mut world, socket) = with_topic(1, 2);
    let member = joined(&mut world, socket, &join("g"));
    let other = world.hello(0);
    let second = joined(&mut world, other, &join("g"));
    world.take(socket);
    // A generation to come: who names it has heard of everything, and is told what there is.
    let ahead = Member { generation: Generation(u64::MAX), ..second.clone() };
    let Answer::Member(told) = beat(&mut world, other, &ahead) else { panic!("it lives") };
    assert_eq!(told.assigned, Some(vec![]), "what the first has not let go of");
    let answer = committed(&mut world, other, &commit(&ahead, 1, 3));
    let refused = Some(ErrorCode::NotAssigned);
    assert_eq!(answer, Answer::Committed(vec![(partition(1), refused, None)]));
    // A member of another time, or of nobody.
    let nobody = Member { id: MemberId(77), ..member.clone() };
    assert_eq!(code(&beat(&mut world, socket, &nobody)), ErrorCode::MemberUnknown);
    let answer = committed(&mut world, socket, &commit(&nobody, 0, 3));
    assert_eq!(code(&answer), ErrorCode::MemberUnknown);
    let owned = vec![partition(0), partition(1)];
    let claims = JoinGroup { member: nobody.id, owned, ..join("g") };
    let third = joined(&mut world, other, &claims);
    assert_ne!(third.id, nobody.id);
    assert_eq!(third.assigned, Some(vec![]), "what others hold cannot be claimed");
}

/// It heartbeats, so that its session never ends, and goes on by the assignment that it had: but
/// for a time of its own what it is to let go of is nobody's for as long as it likes.
#[test]
fn a_member_that_heartbeats_and_does_not_let_go_is_dead_after_its_rebalance_timeout() {
    for shards in [1, 2] {
        let (mut world, one) = with_topic(shards, 2);
        let two = world.hello(shards - 1);
        let stubborn = JoinGroup { rebalance_timeout_ms: 20_000, ..join("g") };
        let first = joined(&mut world, one, &stubborn);
        let mut second = joined(&mut world, two, &join("g"));
        assert_eq!(second.assigned, Some(vec![]));
        for second_of_20 in 1..20 {
            world.advance(SECOND);
            world.take(one);
            let Answer::Member(told) = beat(&mut world, one, &first) else { panic!("it lives") };
            assert_eq!(told.assigned, Some(vec![(0, None)]), "it is told again what it has");
            let beaten = beat(&mut world, two, &second);
            let Answer::Member(Member { assigned: None, .. }) = beaten else {
                panic!("{beaten:?} after {second_of_20} s: the first may be at work on it")
            };
        }
        // Until then its work counts, on the partition that it was to let go of as well.
        let taken = committed(&mut world, one, &commit(&first, 0, 4));
        assert_eq!(taken, Answer::Committed(vec![(partition(0), None, Some(4))]));
        let taken = committed(&mut world, one, &commit(&first, 1, 0));
        assert_eq!(taken, Answer::Committed(vec![(partition(1), None, Some(0))]));
        world.advance(SECOND);
        world.take(one);
        assert_eq!(code(&beat(&mut world, one, &first)), ErrorCode::MemberUnknown);
        for index in [0, 1] {
            let late = committed(&mut world, one, &commit(&first, index, 9));
            assert_eq!(code(&late), ErrorCode::MemberUnknown);
        }
        assert_eq!(world.stat("members_expired"), 1);
        for (_, answer) in world.answers(two) {
            let Answer::Member(told) = answer else { panic!("{answer:?}") };
            second = told;
        }
        let all = Some(vec![(0, Some(4)), (1, Some(0))]);
        assert_eq!(second.assigned, all, "with what the first had committed in time");
        let beaten = beat(&mut world, two, &second);
        assert!(matches!(beaten, Answer::Member(Member { assigned: None, .. })), "{beaten:?}");
        // It is a member as any other when it has joined again.
        let again = joined(&mut world, one, &JoinGroup { member: first.id, ..stubborn.clone() });
        assert_ne!(again.id, first.id);
    }
}

/// Its time is up before that of its session, which is what was looked at last.
#[test]
fn a_rebalance_timeout_within_a_session_does_not_wait_for_its_end() {
    let (mut world, one) = with_topic(1, 2);
    let two = world.hello(0);
    let minute = JoinGroup { session_timeout_ms: 60_000, ..join("g") };
    let first = JoinGroup { rebalance_timeout_ms: 5_000, ..minute.clone() };
    let first = joined(&mut world, one, &first);
    joined(&mut world, two, &minute);
    world.advance(4 * SECOND);
    assert_eq!(world.stat("members_expired"), 0);
    world.advance(SECOND);
    world.take(one);
    assert_eq!(code(&beat(&mut world, one, &first)), ErrorCode::MemberUnknown);
}

fn leave(world: &mut World, socket: SocketId, group: &'static str, member: &Member) {
    let leave = LeaveGroup { group, member: member.id };
    let left = world.ask(socket, |out| leave.encode(CorrelationId(5), out));
    assert_eq!(left, Answer::Empty);
}

fn refused(world: &mut World, socket: SocketId, join: &JoinGroup<'_>) {
    let answer = world.ask(socket, |out| join.encode(CorrelationId(9), out));
    assert_eq!(code(&answer), ErrorCode::Overloaded);
    assert!(!world.is_closed(socket), "the connection stays");
}

/// What a group commits without a member: it makes the group if there is none.
fn set(group: &'static str, partition_index: u32, offset: u64) -> CommitOffsets<'static> {
    CommitOffsets { group, ..reset(partition_index, Some(offset)) }
}

#[test]
fn beyond_the_limit_of_groups_no_group_is_made_until_one_is_gone() {
    let limits = ShardLimits { groups_max: 2, ..limits() };
    let (mut world, socket) = with_topic_and_limits(1, 2, limits);
    let first = joined(&mut world, socket, &join("a"));
    joined(&mut world, socket, &join("b"));
    refused(&mut world, socket, &join("c"));
    // A commit made a group as well, past the limit.
    let past = committed(&mut world, socket, &set("c", 0, 4));
    assert_eq!(code(&past), ErrorCode::Overloaded);
    let other = world.hello(0);
    joined(&mut world, other, &join("b"));
    // A group goes with its last member when it has committed nothing.
    world.take(socket);
    leave(&mut world, socket, "a", &first);
    let first = joined(&mut world, socket, &join("c"));
    refused(&mut world, socket, &join("a"));
    // It stays for what it has committed, until it is deleted.
    let taken = CommitOffsets { group: "c", ..commit(&first, 0, 4) };
    assert!(matches!(committed(&mut world, socket, &taken), Answer::Committed(_)));
    leave(&mut world, socket, "c", &first);
    refused(&mut world, socket, &join("a"));
    let moved = committed(&mut world, socket, &set("c", 0, 7));
    assert!(matches!(moved, Answer::Committed(_)), "one that is there is not refused: {moved:?}");
    let delete = DeleteGroup { group: "c" };
    assert_eq!(world.ask(socket, |out| delete.encode(CorrelationId(5), out)), Answer::Empty);
    joined(&mut world, socket, &join("a"));
    // Or with members that nobody hears any more.
    refused(&mut world, socket, &join("c"));
    world.advance(11 * SECOND);
    world.take(socket);
    joined(&mut world, socket, &join("c"));
    joined(&mut world, socket, &join("d"));
    refused(&mut world, socket, &join("e"));
}

#[test]
fn beyond_the_limit_of_members_nobody_joins_until_one_is_gone() {
    let limits = ShardLimits { group_members_max: 2, ..limits() };
    let (mut world, socket) = with_topic_and_limits(1, 2, limits);
    let first = joined(&mut world, socket, &join("g"));
    let named = JoinGroup { instance: "i", ..join("h") };
    let second = joined(&mut world, socket, &named);
    refused(&mut world, socket, &join("g"));
    refused(&mut world, socket, &join("new"));
    let nothing_is_left = DeleteGroup { group: "new" };
    let answer = world.ask(socket, |out| nothing_is_left.encode(CorrelationId(5), out));
    assert_eq!(code(&answer), ErrorCode::GroupNotFound);
    // Who is a member already was refused, too, when it changed its mind about its topics.
    let more = JoinGroup { member: first.id, topics: vec!["t", "u"], ..join("g") };
    assert_eq!(joined(&mut world, socket, &more).id, first.id);
    // And who took the place of its own former self.
    let successor = joined(&mut world, socket, &named);
    assert_ne!(successor.id, second.id);
    refused(&mut world, socket, &JoinGroup { instance: "j", ..join("h") });
    leave(&mut world, socket, "h", &successor);
    let other = world.hello(0);
    joined(&mut world, other, &join("g"));
    world.take(socket);
    refused(&mut world, socket, &named);
    world.advance(11 * SECOND);
    world.take(socket);
    assert_eq!(world.stat("members_expired"), 2);
    joined(&mut world, socket, &named);
    world.take(other);
    joined(&mut world, other, &join("g"));
    refused(&mut world, socket, &join("g"));
}

#[test]
fn beyond_the_limit_of_offsets_only_those_that_are_there_move_until_some_are_gone() {
    let limits = ShardLimits { committed_offsets_max: 2, ..limits() };
    let (mut world, socket) = with_topic_and_limits(1, 2, limits);
    world.create(socket, "u", 1);
    let taken = |world: &mut World, commit: &CommitOffsets<'_>| {
        let answer = committed(world, socket, commit);
        let Answer::Committed(ends) = answer else { panic!("{answer:?}") };
        assert_eq!(ends[0].1, None);
    };
    let is_full = |world: &mut World, commit: &CommitOffsets<'_>| {
        assert_eq!(code(&committed(world, socket, commit)), ErrorCode::Overloaded);
        assert!(!world.is_closed(socket), "the connection stays");
    };
    let member = joined(&mut world, socket, &join("g"));
    taken(&mut world, &commit(&member, 0, 4));
    taken(&mut world, &set("h", 0, 4));
    is_full(&mut world, &commit(&member, 1, 0));
    is_full(&mut world, &set("new", 0, 4));
    taken(&mut world, &commit(&member, 0, 5));
    taken(&mut world, &set("h", 0, 3));
    let Answer::Group { offsets, .. } = describe(&mut world, socket) else { panic!("described") };
    assert_eq!(offsets, [(partition(0), 5, String::new())], "nothing of what was refused");
    // One that is removed makes room, and so does a group that is deleted.
    let removed = CommitOffsets { group: "h", ..reset(0, None) };
    assert!(matches!(committed(&mut world, socket, &removed), Answer::Committed(_)));
    taken(&mut world, &commit(&member, 1, 0));
    is_full(&mut world, &set("h", 0, 4));
    leave(&mut world, socket, "g", &member);
    let delete = DeleteGroup { group: "g" };
    assert_eq!(world.ask(socket, |out| delete.encode(CorrelationId(5), out)), Answer::Empty);
    taken(&mut world, &set("h", 0, 4));
    taken(&mut world, &set("h", 1, 0));
    is_full(&mut world, &set("g", 0, 4));
    // And so does a topic.
    let delete = DeleteTopic { name: "t" };
    assert_eq!(world.ask(socket, |out| delete.encode(CorrelationId(4), out)), Answer::Empty);
    let mut of_other = set("g", 0, 0);
    of_other.offsets[0].partition.topic = plimsoll_wire::TopicId(2);
    taken(&mut world, &of_other);
}
