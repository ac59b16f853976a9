//! Topics that are compacted by key, and ends that come while that is done.
//!
//! In a part of the runs, and from a stream of its own. What a newcomer gets wrong: only sealed
//! segments are compacted, and they hold a mebibyte; those of a topic of which old data goes, too,
//! are sealed after a quarter of the age, however small.

use plimsoll_sim::{Random, Survival};
use plimsoll_wire::TopicRetention;

use super::special;
use crate::scenario::{
    Act, CompactionAges, CompactionCut, CompactionPlan, End, Life, Scenario, What,
};

/// In how many of 1,000 runs topics are compacted.
const PERMILLE: u64 = 200;
/// How old data gets where it goes: it is sealed after a quarter of that.
const AGES_MS: [u64; 3] = [8_000, 16_000, 40_000];
const HOUR_MS: u64 = 3_600_000;

/// Has topics compacted in a scenario, or leaves it as it is.
pub(super) fn make(scenario: &mut Scenario) {
    let mut random = Random::new(scenario.seed).stream("compaction by key");
    let random = &mut random;
    // What is damaged in the end says nothing of what was compacted, and who seeks out a full
    // journal counts every byte.
    let is_for_others = scenario.rots || scenario.has(|it| matches!(it, What::HoldFronts { .. }));
    if !random.chance(PERMILLE) || is_for_others {
        return;
    }
    let forgets = scenario.forgets();
    let keys = [1, 3, 8, 40][random.below(4) as usize];
    for topic in &mut scenario.topics {
        topic.compaction = Some(plan(random, keys));
        topic.retention.bytes = 0;
    }
    match random.below(10) {
        _ if forgets => {}
        0..7 => trickle(scenario, random),
        _ => fill(scenario, random),
    }
    settle(scenario);
    alter(scenario);
    if random.chance(700) {
        cut(scenario, random);
    }
}

fn plan(random: &mut Random, keys: u32) -> CompactionPlan {
    CompactionPlan {
        begins_plain: false,
        deletes_old: true,
        ages: ages(random),
        keys,
        deletions_permille: [0, 200, 200, 600][random.below(4) as usize],
        keyless_permille: [0, 0, 100][random.below(3) as usize],
    }
}

fn ages(random: &mut Random) -> CompactionAges {
    let lags_ms = [0, 0, 0, 2_000, 20_000, HOUR_MS];
    let retentions_ms = [0, 1_000, 3_000, 3_000, HOUR_MS];
    CompactionAges {
        lag_ms: lags_ms[random.below(6) as usize],
        tombstone_retention_ms: retentions_ms[random.below(5) as usize],
    }
}

/// Settings that are altered leave what ages as it is: compaction is waited for by these ages.
fn settle(scenario: &mut Scenario) {
    let topics: Vec<TopicRetention> = scenario.topics.iter().map(|it| it.retention).collect();
    for topic in &mut scenario.topics {
        if let Some(plan) = &mut topic.compaction {
            plan.deletes_old = topic.retention != TopicRetention::UNLIMITED;
        }
    }
    for act in scenario.lives.iter_mut().flat_map(|life| &mut life.acts) {
        if let What::AlterTopic { topic, retention, .. } = &mut act.what {
            *retention = topics[*topic];
        }
    }
}

/// Topics that are compacted at times, or at other ages, and batches that nobody can look into.
///
/// From streams of their own.
fn alter(scenario: &mut Scenario) {
    let mut random = Random::new(scenario.seed).stream("compacted at times");
    let random = &mut random;
    if !random.chance(350) {
        return;
    }
    for topic in &mut scenario.topics {
        if let Some(plan) = &mut topic.compaction {
            plan.begins_plain = random.chance(600);
        }
    }
    for producer in &mut scenario.producers {
        producer.compresses = random.chance(300);
    }
    let mut other = Random::new(scenario.seed).stream("compacted at other ages");
    let alters_ages = other.chance(500);
    let topics = scenario.topics.len() as u64;
    let times_max = [1, 2, 4][random.below(3) as usize];
    for life in &mut scenario.lives {
        for _ in 0..random.below(times_max + 1) {
            let topic = random.below(topics) as usize;
            let compacts = random.chance(600);
            let ages = match scenario.topics[topic].compaction {
                Some(plan) if !alters_ages => plan.ages,
                _ => ages(&mut other),
            };
            let what = What::AlterCleanup { topic, compacts, ages };
            let at = random.below(life.acts.len() as u64 + 1) as usize;
            life.acts.insert(at, Act { wait_us: random.below(20_000), what });
        }
    }
}

fn append(scenario: &Scenario, random: &mut Random, (records, bytes): (u64, u64)) -> What {
    let producer = random.below(scenario.producers.len() as u64) as usize;
    let partitions = scenario.topics[scenario.producers[producer].topic].partitions;
    let partition = random.below(u64::from(partitions)) as u32;
    let (records, bytes) = (1 + random.below(records) as u32, 8 + random.below(bytes) as u32);
    What::Append { producer, partition, records, bytes }
}

/// Little by little, so that many small segments are sealed by their age.
fn trickle(scenario: &mut Scenario, random: &mut Random) {
    let age_ms = AGES_MS[random.below(3) as usize];
    for topic in &mut scenario.topics {
        topic.partitions = topic.partitions.min(2);
        topic.retention.age_ms = age_ms;
    }
    keep_places(scenario);
    let (producers, consumers) = (scenario.producers.len(), scenario.consumers.len() as u64);
    let mut lives = Vec::new();
    for _ in 0..1 + random.below(3) {
        let mut life = calm(scenario, random);
        for _ in 0..4 + random.below(12) {
            let what = append(scenario, random, (4, 1_200));
            life.acts.push(Act { wait_us: random.below(age_ms * 100), what });
            if random.chance(200) {
                // Somebody reads from the front while segments take each other's place.
                let client = producers + random.below(consumers) as usize;
                life.acts.push(Act { wait_us: 0, what: What::Restart { client } });
            }
        }
        life.acts.push(Act { wait_us: random.below(age_ms * 300), what: What::Nothing });
        lives.push(life);
    }
    let at = random.below(scenario.lives.len() as u64) as usize;
    scenario.lives.splice(at..=at, lives);
}

/// So much that segments fill.
fn fill(scenario: &mut Scenario, random: &mut Random) {
    special::make_narrow(scenario);
    for topic in &mut scenario.topics {
        topic.segment_bytes = 1 << 20;
    }
    let mut life = calm(scenario, random);
    for _ in 0..30 + random.below(60) {
        let what = append(scenario, random, (1, 60_000));
        life.acts.push(Act { wait_us: random.below(4_000), what });
    }
    life.acts.push(Act { wait_us: random.below(3_000_000), what: What::Nothing });
    let last = scenario.lives.len() - 1;
    scenario.lives[last] = life;
}

fn calm(scenario: &Scenario, random: &mut Random) -> Life {
    let like = &scenario.lives[random.below(scenario.lives.len() as u64) as usize];
    Life::calm(like.shards, like.end)
}

/// Acts that name a partition that is not there any more name the first.
fn keep_places(scenario: &mut Scenario) {
    let partitions: Vec<u32> = scenario.topics.iter().map(|topic| topic.partitions).collect();
    let topics: Vec<usize> = scenario.producers.iter().map(|producer| producer.topic).collect();
    for act in scenario.lives.iter_mut().flat_map(|life| &mut life.acts) {
        if let What::Append { producer, partition, .. } = &mut act.what {
            *partition %= partitions[topics[*producer]];
        }
    }
}

/// Lives end while segments are compacted: also those that only begin what others left.
fn cut(scenario: &mut Scenario, random: &mut Random) {
    for life in &mut scenario.lives {
        if random.chance(400) {
            continue;
        }
        let operations = [3, 8, 20][random.below(3) as usize];
        let files = 1 + random.below(3) as usize;
        let operations = random.below(operations);
        let alone = random.chance(300);
        let operations = if alone { operations % 2 } else { operations };
        life.cut_at_compaction = Some(CompactionCut { files, alone, operations });
        (life.cut_after, life.cut_at_flush, life.cut_at_served_flush) = (None, None, None);
        life.end = match random.below(4) {
            _ if alone => End::Kill,
            0 => End::Kill,
            1 => End::Power(Survival::Nothing),
            2 => End::Power(Survival::Newest),
            _ => End::Power(Survival::Random),
        };
        let wait_us = random.below(2_500_000);
        life.acts.push(Act { wait_us, what: What::Nothing });
    }
}
