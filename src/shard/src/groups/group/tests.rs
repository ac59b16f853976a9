//! Members come, go, fall silent and are fenced; no partition is ever held twice.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

struct Life {
    group: Group,
    now: Instant,
    partitions: u32,
    numbers: u64,
}

fn topic(partitions: u32) -> impl Fn(&str) -> Option<TopicShape> {
    move |name| (name == "t").then_some(TopicShape { id: TopicId(1), partitions })
}

impl Life {
    fn new(partitions: u32) -> Life {
        let group = Group::new(Arc::from("g"));
        Life { group, now: Instant::from_nanos(1), partitions, numbers: 0 }
    }

    fn joining(&mut self, instance: &str) -> Joining {
        self.numbers += 1;
        Joining {
            client: Client::NOBODY,
            former: MemberId::NONE,
            number: MemberId(self.numbers),
            instance: instance.to_string(),
            name: "test".to_string(),
            session_timeout: 10 * SECOND,
            rebalance_timeout: 60 * SECOND,
            assignor: Assignor::Sticky,
            topics: BTreeSet::from(["t".to_string()]),
            owned: Vec::new(),
            share: None,
        }
    }

    fn join_as(&mut self, joining: Joining) -> Result<MemberId, GroupProblem> {
        let id = self.group.join(joining, self.now, Generation(100))?;
        self.rebalance();
        Ok(id)
    }

    fn join(&mut self, instance: &str) -> MemberId {
        let joining = self.joining(instance);
        self.join_as(joining).unwrap()
    }

    fn rebalance(&mut self) -> BTreeSet<MemberId> {
        let changed = self.group.rebalance(topic(self.partitions), self.now);
        self.check();
        changed
    }

    /// The member says that it goes by what it was told last.
    fn follow(&mut self, id: MemberId) -> BTreeSet<MemberId> {
        let told = self.group.members[&id].told;
        let has_let_go = self.group.heartbeat(id, told, Client::NOBODY, self.now).unwrap();
        let changed = if has_let_go { self.group.settle(self.now) } else { BTreeSet::new() };
        self.check();
        changed
    }

    fn held(&self, id: MemberId) -> Vec<u32> {
        self.group.members[&id].assigned.keys().map(|it| it.partition.0).collect()
    }

    fn check(&self) {
        let mut held = BTreeSet::new();
        for member in self.group.members.values() {
            for partition in member.assigned.keys().chain(member.leaving.keys()) {
                assert!(held.insert(*partition), "{partition:?} is held twice");
                assert_eq!(self.group.holders.get(partition), Some(&member.id));
            }
        }
        assert_eq!(held.len(), self.group.holders.len());
    }
}

fn partition(partition: u32) -> TopicPartition {
    TopicPartition { topic: TopicId(1), partition: PartitionIndex(partition) }
}

#[test]
fn a_partition_moves_only_when_its_holder_has_let_go() {
    let mut life = Life::new(4);
    let one = life.join("");
    assert_eq!(life.held(one), [0, 1, 2, 3]);
    let before = life.group.members[&one].told;
    let two = life.join("");
    assert_eq!(life.held(one), [0, 1]);
    assert!(life.held(two).is_empty(), "the first may be at work on them");
    assert_eq!(life.group.state(), GroupState::Rebalancing);
    let still = life.group.heartbeat(one, before, Client::NOBODY, life.now);
    assert_eq!(still, Ok(false), "it goes by the old assignment");
    assert_eq!(life.follow(one), BTreeSet::from([two]));
    assert_eq!(life.held(two), [2, 3]);
    assert_eq!(life.group.state(), GroupState::Stable);
}

#[test]
fn only_the_holder_of_a_generation_commits() {
    let mut life = Life::new(2);
    let one = life.join("");
    let first = life.group.members[&one].told;
    let two = life.join("");
    let member = &life.group.members[&one];
    assert!(member.may_commit(partition(1), first), "it may commit until it has let go");
    assert!(!life.group.members[&two].may_commit(partition(1), Generation(u64::MAX)));
    life.follow(one);
    assert!(!life.group.members[&one].may_commit(partition(1), first));
    let told = life.group.members[&two].told;
    assert!(life.group.members[&two].may_commit(partition(1), told));
    life.group.leave(two).unwrap();
    life.rebalance();
    let member = &life.group.members[&one];
    assert_eq!(life.held(one), [0, 1]);
    assert!(member.may_commit(partition(1), member.told));
    assert!(!member.may_commit(partition(1), first), "what it did before the other had it");
    assert!(member.may_commit(partition(0), first), "this one it never lost");
}

#[test]
fn a_dead_member_is_unknown_and_what_it_held_is_free_at_once() {
    let mut life = Life::new(3);
    let (one, two) = (life.join(""), life.join(""));
    life.follow(one);
    life.group.leave(one).unwrap();
    life.rebalance();
    assert_eq!(life.held(two), [0, 1, 2]);
    let told = life.group.generation;
    let problem = life.group.heartbeat(one, told, Client::NOBODY, life.now);
    assert_eq!(problem, Err(GroupProblem::MemberUnknown));
    assert!(matches!(
        life.group.check_committer(one, CommitMode::Forward),
        Err(GroupProblem::MemberUnknown)
    ));
}

#[test]
fn a_member_that_does_not_let_go_has_its_time() {
    let mut life = Life::new(2);
    let one = life.join("");
    life.join("");
    life.now = life.now + 9 * SECOND;
    let before = Generation(0);
    life.group.heartbeat(one, before, Client::NOBODY, life.now).unwrap();
    let member = &life.group.members[&one];
    assert_eq!(member.deadline(), life.now + 10 * SECOND, "its session ends first");
    for _ in 0..7 {
        life.now = life.now + 9 * SECOND;
        life.group.heartbeat(one, before, Client::NOBODY, life.now).unwrap();
    }
    assert!(life.group.members[&one].deadline() < life.now, "alive, but holds up the others");
    life.follow(one);
    assert!(life.group.members[&one].deadline() > life.now);
}

#[test]
fn a_static_member_comes_back_to_its_place_and_its_double_is_fenced() {
    let mut life = Life::new(4);
    let (one, two) = (life.join("a"), life.join("b"));
    life.follow(one);
    let (held, others) = (life.held(one), life.held(two));
    let generation = life.group.generation;
    let joining = life.joining("a");
    let again = life.join_as(joining).unwrap();
    assert_ne!(again, one);
    assert_eq!((life.held(again), life.held(two)), (held, others), "nothing moves");
    assert!(life.group.members[&again].told > generation);
    assert!(life.group.members[&two].told <= generation, "nobody else is told anything");
    let told = life.group.generation;
    let problem = life.group.heartbeat(one, told, Client::NOBODY, life.now);
    assert_eq!(problem, Err(GroupProblem::MemberFenced));
    let joining = Joining { former: one, ..life.joining("a") };
    assert_eq!(life.join_as(joining), Err(GroupProblem::MemberFenced));
}

#[test]
fn members_of_an_earlier_server_keep_what_nobody_else_has() {
    let mut life = Life::new(4);
    life.group.claims_until = Some(life.now + SECOND);
    let claims = |partitions: &[u32]| partitions.iter().map(|it| partition(*it)).collect();
    let joining = Joining { owned: claims(&[2, 3]), former: MemberId(77), ..life.joining("") };
    let two = life.join_as(joining).unwrap();
    assert_eq!(life.held(two), [2, 3], "the others may still be claimed");
    let joining = Joining { owned: claims(&[0, 3]), former: MemberId(78), ..life.joining("") };
    let one = life.join_as(joining).unwrap();
    assert_eq!(life.held(one), [0], "3 is held by another");
    life.now = life.now + SECOND;
    assert_eq!(life.group.settle(life.now), BTreeSet::from([one]));
    assert_eq!((life.held(one), life.held(two)), (alloc::vec![0, 1], alloc::vec![2, 3]));
}

#[test]
fn members_must_agree_on_the_assignor_unless_one_is_alone() {
    let mut life = Life::new(2);
    let one = life.join("");
    let joining = Joining { assignor: Assignor::Range, ..life.joining("") };
    let problem = Err(GroupProblem::OtherAssignor(Assignor::Sticky));
    assert_eq!(life.join_as(joining), problem);
    let joining = Joining { assignor: Assignor::Range, former: one, ..life.joining("") };
    assert_eq!(life.join_as(joining), Ok(one));
    assert_eq!(life.group.assignor, Assignor::Range);
}

#[test]
fn topics_that_grow_appear_and_go_are_followed() {
    let mut life = Life::new(1);
    let one = life.join("");
    life.partitions = 3;
    assert_eq!(life.rebalance(), BTreeSet::from([one]));
    assert_eq!(life.held(one), [0, 1, 2]);
    let place = Place::default();
    life.group.places.insert(partition(0), place);
    assert_eq!(life.group.forget_topic(TopicId(1)), 1);
    life.partitions = 0;
    assert_eq!(life.rebalance(), BTreeSet::from([one]));
    assert!(life.held(one).is_empty());
}

#[test]
fn a_storm_of_members_never_gives_one_partition_to_two() {
    let mut life = Life::new(40);
    let mut seed = 7_u64;
    let mut members: Vec<MemberId> = Vec::new();
    for round in 0..600 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let dice = (seed >> 33) as usize;
        match dice % 4 {
            0 if members.len() < 60 => members.push(life.join("")),
            1 if !members.is_empty() => {
                let gone = members.swap_remove(dice / 4 % members.len());
                life.group.leave(gone).unwrap();
                life.rebalance();
            }
            _ if !members.is_empty() => {
                let id = members[dice / 4 % members.len()];
                life.follow(id);
            }
            _ => {}
        }
        assert_eq!(life.group.members.len(), members.len(), "round {round}");
    }
    // In the end everybody follows, and every partition is held.
    for _ in 0..3 {
        for id in members.clone() {
            life.follow(id);
        }
    }
    assert_eq!(life.group.holders.len(), 40);
    assert_eq!(life.group.state(), GroupState::Stable);
}
