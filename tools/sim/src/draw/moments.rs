//! Moments that are short: a start between the making of a name and its flush, shards that log what
//! others had, a removal beside the frame that it follows, an operator's word on its way to disk.
//!
//! In a part of the runs, and from a stream of its own. What a newcomer gets wrong: other runs meet
//! such a moment, too, but the end hardly ever comes in it, and an order that holds by luck is not
//! seen. Here the end is put there, or the disk holds back one half of it.

use plimsoll_sim::{Random, Survival};
use plimsoll_wire::Durability;

use crate::scenario::{Act, End, Life, ResetTo, Scenario, What};

/// In how many of 1,000 runs starts are killed one after the other.
const STUMBLES_PERMILLE: u64 = 60;
/// In how many of 1,000 runs starts with another number of shards are killed.
const HAND_OVERS_PERMILLE: u64 = 40;
/// Of 1,000 runs that end over a removal, in how many the journal is slow then.
const SLOW_JOURNALS_PERMILLE: u64 = 700;

/// In how many of 1,000 runs with groups power fails over a reset.
const SLOW_RESETS_PERMILLE: u64 = 120;

/// Seeks out such a moment in a scenario, or leaves it as it is.
pub(super) fn make(scenario: &mut Scenario) {
    let mut random = Random::new(scenario.seed).stream("moments");
    let random = &mut random;
    if random.chance(STUMBLES_PERMILLE) {
        stumble(scenario, random);
    } else if random.chance(HAND_OVERS_PERMILLE) {
        hand_over(scenario, random);
    }
    for life in &mut scenario.lives {
        if life.cut_at_removal.is_some() && random.chance(SLOW_JOURNALS_PERMILLE) {
            slow_journal(life, random);
        }
    }
    let mut random = Random::new(scenario.seed).stream("slow resets");
    if !scenario.groups.is_empty() && random.chance(SLOW_RESETS_PERMILLE) {
        slow_reset(scenario, &mut random);
    }
}

/// The first starts of all die over one of their flushes, the next one takes what they left, and
/// power fails after it has served.
fn stumble(scenario: &mut Scenario, random: &mut Random) {
    let shards = 1 + random.below(2) as u16;
    let flushes = 4 + 2 * u64::from(shards);
    let mut lives = Vec::new();
    for _ in 0..1 + random.below(3) {
        let mut cut_off = Life::calm(shards, End::Kill);
        cut_off.acts.push(Act { wait_us: 1_000_000, what: What::Nothing });
        cut_off.cut_at_flush = Some(1 + random.below(flushes));
        lives.push(cut_off);
    }
    let survivals = [Survival::Nothing, Survival::Nothing, Survival::Random];
    let mut serves = Life::calm(shards, End::Power(survivals[random.below(3) as usize]));
    let producer = random.below(scenario.producers.len() as u64) as usize;
    scenario.producers[producer].durability = Durability::Disk;
    for _ in 0..1 + random.below(3) {
        let append = What::Append { producer, partition: 0, records: 1, bytes: 500 };
        serves.acts.push(Act { wait_us: random.below(40_000), what: append });
    }
    serves.acts.push(Act { wait_us: 30_000, what: What::Nothing });
    lives.push(serves);
    scenario.lives.splice(0..0, lives);
}

/// Much is in journals alone, and starts that give partitions to other shards die while these log
/// what they were given.
fn hand_over(scenario: &mut Scenario, random: &mut Random) {
    let shards = 1 + random.below(3) as u16;
    let ends = [End::Kill, End::KillLosingArenas, End::Power(Survival::Random)];
    let mut end = || ends[random.below(3) as usize];
    let mut busy = Life::calm(shards, end());
    let mut cut_off = [Life::calm(1 + shards % 3, end()), Life::calm(1 + (shards + 1) % 3, end())];
    let producer = random.below(scenario.producers.len() as u64) as usize;
    let plan = &mut scenario.producers[producer];
    (plan.durability, plan.in_flight_batches_max, plan.linger_us) = (Durability::Disk, 64, 0);
    let partitions = u64::from(scenario.topics[plan.topic].partitions);
    busy.acts.push(Act { wait_us: 20_000, what: What::Nothing });
    for _ in 0..20 + random.below(40) {
        let partition = random.below(partitions) as u32;
        let bytes = 30_000 + random.below(30_000) as u32;
        let append = What::Append { producer, partition, records: 1, bytes };
        busy.acts.push(Act { wait_us: 200 + random.below(600), what: append });
    }
    for life in &mut cut_off {
        life.acts.push(Act { wait_us: 1_000_000, what: What::Nothing });
        life.cut_at_flush = Some(3 + random.below(16));
    }
    let cut_off = cut_off.into_iter().take(1 + random.below(2) as usize);
    scenario.lives.splice(0..0, [busy].into_iter().chain(cut_off));
}

/// What is written to journals stays in flight while files are being removed.
fn slow_journal(life: &mut Life, random: &mut Random) {
    let is_deletion = |act: &&Act| matches!(act.what, What::DeleteRecords { .. });
    let deletions = life.acts.iter().rev().skip(1).take_while(is_deletion).count();
    let len = life.acts.len();
    let at = match deletions {
        0 => len - (len / 2).min(random.below(len as u64 / 2 + 1) as usize),
        // Before the last of them at the latest.
        _ => len - 2 - random.below(deletions as u64) as usize,
    };
    let hold = What::HoldJournals { ms: 1 + random.below(300) as u32 };
    life.acts.insert(at, Act { wait_us: random.below(1_000), what: hold });
}

/// A group has worked and is left, the journals take nothing for a while, somebody resets it, and
/// power fails meanwhile.
fn slow_reset(scenario: &mut Scenario, random: &mut Random) {
    let group = random.below(scenario.groups.len() as u64) as usize;
    let topic = scenario.groups[group].topic;
    let shards = scenario.lives[scenario.lives.len() - 1].shards;
    let mut life = Life::calm(shards, End::Power(Survival::Nothing));
    let mut then = |wait_us, what| life.acts.push(Act { wait_us, what });
    let producer = scenario.producers.iter().position(|producer| producer.topic == topic);
    if let Some(producer) = producer {
        scenario.producers[producer].durability = Durability::Disk;
        for partition in 0..scenario.topics[topic].partitions {
            then(20_000, What::Append { producer, partition, records: 2, bytes: 100 });
        }
    }
    then(3_000_000, What::Dismiss { group, ms: 2_500 });
    then(1_800_000, What::HoldJournals { ms: 2_000 });
    let to = if random.chance(500) { ResetTo::Beginning } else { ResetTo::Permille(500) };
    then(random.below(5_000), What::ResetGroup { group, to, is_dry: false });
    then(random.below(300_000), What::Nothing);
    scenario.lives.push(life);
}
