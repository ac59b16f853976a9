//! A disk that pauses while something is on its way to it: an append that is given up, a commit
//! of a member that is replaced, a list of partitions that is told anew.
//!
//! In a part of the runs, and from a stream of its own. What a newcomer gets wrong: by itself a
//! pause is nothing. Somebody has to go on meanwhile as if what is on its way were settled.

use plimsoll_sim::{Random, Survival};
use plimsoll_wire::{Durability, Visible};

use crate::scenario::{Act, Commits, End, Life, Scenario, What};

/// In how many of 1,000 runs appends are in doubt for long; and members, of those with groups.
const DOUBTS_PERMILLE: u64 = 30;
const MEMBERS_PERMILLE: u64 = 250;

/// Has the disk pause in a scenario, or leaves it as it is.
pub(super) fn make(scenario: &mut Scenario) {
    let mut random = Random::new(scenario.seed).stream("pauses");
    let random = &mut random;
    if random.chance(DOUBTS_PERMILLE) {
        return doubt(scenario, random);
    }
    if scenario.groups.is_empty() || !random.chance(MEMBERS_PERMILLE) {
        return;
    }
    match random.below(2) {
        0 => take_over(scenario, random),
        _ => tell_anew(scenario, random),
    }
}

fn act(wait_us: u64, what: What) -> Act {
    Act { wait_us, what }
}

fn peaceful(scenario: &Scenario) -> Life {
    let last = &scenario.lives[scenario.lives.len() - 1];
    Life::calm(last.shards, last.end)
}

/// Batches that are in doubt, and of which the first is given up before the others.
fn doubt(scenario: &mut Scenario, random: &mut Random) {
    let producer = random.below(scenario.producers.len() as u64) as usize;
    let plan = &mut scenario.producers[producer];
    (plan.idempotent, plan.durability) = (true, Durability::Disk);
    (plan.in_flight_batches_max, plan.linger_us) = (64, 0);
    let partitions = u64::from(scenario.topics[plan.topic].partitions);
    let mut life = peaceful(scenario);
    for _ in 0..1 + random.below(3) {
        let partition = random.below(partitions) as u32;
        let append = What::Append { producer, partition, records: 1, bytes: 300 };
        life.acts.push(act(30_000, append));
        life.acts.push(act(100_000, What::DiskPause { ms: 3_000 + random.below(2_500) as u32 }));
        for _ in 0..2 + random.below(3) {
            life.acts.push(act(random.below(900_000), append));
        }
        life.acts.push(act(random.below(600_000), What::Cut { client: producer }));
        life.acts.push(act(3_500_000, What::Nothing));
    }
    let last = scenario.lives.len() - 1;
    scenario.lives[last] = life;
}

/// Records that somebody can be handed while the disk pauses.
fn feed(scenario: &mut Scenario, group: usize, random: &mut Random) -> What {
    for member in &mut scenario.groups[group].members {
        (member.visible, member.work_us) = (Visible::Memory, 0);
    }
    let topic = scenario.groups[group].topic;
    let producer = scenario.producers.iter().position(|producer| producer.topic == topic);
    let Some(producer) = producer else { return What::Nothing };
    let plan = &mut scenario.producers[producer];
    (plan.durability, plan.linger_us) = (Durability::Memory, 0);
    let partition = random.below(u64::from(scenario.topics[topic].partitions)) as u32;
    What::Append { producer, partition, records: 2, bytes: 100 }
}

fn drawn_member(scenario: &Scenario, group: usize, random: &mut Random) -> usize {
    let first = scenario.producers.len() + scenario.consumers.len();
    let before: usize = scenario.groups[..group].iter().map(|it| it.members.len()).sum();
    first + before + random.below(scenario.groups[group].members.len() as u64) as usize
}

/// Members that commit before they work are replaced while a commit is on its way, and live on.
fn take_over(scenario: &mut Scenario, random: &mut Random) {
    let group = random.below(scenario.groups.len() as u64) as usize;
    scenario.groups[group].commits = Commits::Before;
    scenario.groups[group].members.iter_mut().for_each(|member| member.is_static = true);
    let mut life = peaceful(scenario);
    life.acts.push(act(3_000_000, What::Nothing));
    for _ in 0..3 + random.below(4) {
        let append = feed(scenario, group, random);
        life.acts.push(act(20_000, append));
        life.acts.push(act(300_000, What::DiskPause { ms: 100 + random.below(500) as u32 }));
        life.acts.push(act(0, append));
        let client = drawn_member(scenario, group, random);
        life.acts.push(act(2_000 + random.below(30_000), What::Restart { client }));
        life.acts.push(act(1_200_000, What::Nothing));
    }
    let last = scenario.lives.len() - 1;
    scenario.lives[last] = life;
}

/// Members come and go while commits of others are on their way, and then power fails.
fn tell_anew(scenario: &mut Scenario, random: &mut Random) {
    let group = random.below(scenario.groups.len() as u64) as usize;
    scenario.groups[group].commits = Commits::Manual { delay_ms: 0 };
    let mut life = peaceful(scenario);
    life.acts.push(act(3_000_000, What::Nothing));
    let append = feed(scenario, group, random);
    life.acts.push(act(20_000, append));
    life.acts.push(act(300_000, What::DiskPause { ms: 3_000 }));
    life.acts.push(act(0, append));
    for _ in 0..1 + random.below(3) {
        let client = drawn_member(scenario, group, random);
        life.acts.push(act(random.below(30_000), What::Restart { client }));
        life.acts.push(act(random.below(20_000), append));
    }
    life.acts.push(act(random.below(900_000), What::Nothing));
    life.end = End::Power(Survival::Nothing);
    let last = scenario.lives.len() - 1;
    scenario.lives[last] = life;
}
