//! Topics of which something goes: by size, by age, by the operator's word; and clocks that leap.
//!
//! In a part of the runs, and from a stream of its own. What a newcomer gets wrong: nothing goes
//! but whole segments, which hold a mebibyte at least. They are sealed earlier only where data
//! ages, after a quarter of the age; so a size that is smaller than a segment needs an age to act.

use plimsoll_client::OnRemoved;
use plimsoll_sim::{Random, Survival};
use plimsoll_wire::TopicRetention;

use super::special;
use crate::scenario::{Act, End, Life, Scenario, What};

/// In how many of 1,000 runs something may go.
const PERMILLE: u64 = 250;
/// Records that fill a segment soon.
const LARGE_BYTES: u64 = 60_000;
/// Time that clients spend waiting costs steps; longer ones only where there are few clients.
const AGES_S: [u64; 4] = [1, 4, 12, 40];
const HOUR_S: u64 = 3_600;

/// Lets something go in a scenario, or leaves it as it is.
pub(super) fn make(scenario: &mut Scenario) {
    let mut random = Random::new(scenario.seed).stream("what may go");
    let random = &mut random;
    if !random.chance(PERMILLE) {
        return;
    }
    for topic in &mut scenario.topics {
        topic.retention = retention(random);
    }
    for group in &mut scenario.groups {
        let policies = [OnRemoved::Start, OnRemoved::End, OnRemoved::Error];
        group.on_removed = policies[random.below(3) as usize];
    }
    match random.below(10) {
        0..3 => trickle(scenario, random),
        3..5 => fill(scenario, random),
        5..7 => leap(scenario, random),
        7 => return delete(scenario, random),
        _ => {}
    }
    let topics = scenario.topics.len() as u64;
    let partitions: Vec<u32> = scenario.topics.iter().map(|topic| topic.partitions).collect();
    let acts_max = [2, 5, 12][random.below(3) as usize];
    for life in &mut scenario.lives {
        for _ in 0..random.below(acts_max) {
            let topic = random.below(topics) as usize;
            let what = match random.below(10) {
                0..3 => What::AlterTopic {
                    topic,
                    retention: retention(random),
                    segment_bytes: (1 + random.below(3)) << 20,
                },
                3 => What::DeleteRecords {
                    topic,
                    partition: random.below(u64::from(partitions[topic])) as u32,
                    permille: random.below(1_001) as u32,
                },
                4..7 => What::DescribeTopic { topic },
                // So little that it is followed at once.
                7 => What::SetClock { by_ms: random.below(4_000) as i64 - 2_000 },
                _ => What::Nothing,
            };
            let at = random.below(life.acts.len() as u64 + 1) as usize;
            life.acts.insert(at, Act { wait_us: wait_us(random), what });
        }
    }
}

fn wait_us(random: &mut Random) -> u64 {
    match random.below(4) {
        0 => 0,
        1 => random.below(300_000),
        2 => random.below(2_000_000),
        _ => random.below(8_000_000),
    }
}

fn retention(random: &mut Random) -> TopicRetention {
    let age_ms = match random.below(10) {
        0 => 0,
        1..9 => AGES_S[random.below(4) as usize] * 1_000,
        _ => HOUR_S * 1_000,
    };
    let bytes = match random.below(10) {
        0..4 => 0,
        4..7 => 1 + random.below(4_000),
        _ => 1 + random.below(1_500_000),
    };
    TopicRetention { age_ms, bytes }
}

fn append(scenario: &Scenario, random: &mut Random, (records, bytes): (u32, u64)) -> What {
    let producer = random.below(scenario.producers.len() as u64) as usize;
    let partitions = scenario.topics[scenario.producers[producer].topic].partitions;
    let partition = random.below(u64::from(partitions)) as u32;
    What::Append { producer, partition, records, bytes: 8 + random.below(bytes) as u32 }
}

/// Little by little, so that segments are sealed by their age: many small ones.
fn trickle(scenario: &mut Scenario, random: &mut Random) {
    let count = scenario.lives.len();
    let life = &scenario.lives[random.below(count as u64) as usize];
    let (mut life, at) = (life.clone(), random.below(count as u64) as usize);
    let wait_us = [200_000, 1_000_000, 3_000_000][random.below(3) as usize];
    for _ in 0..8 + random.below(30) {
        let records = 1 + random.below(3) as u32;
        let what = append(scenario, random, (records, 1_500));
        life.acts.push(Act { wait_us: random.below(wait_us), what });
    }
    life.cut_after = None;
    if random.chance(500) {
        // Files go behind what makes them needless, and never before.
        life.cut_at_removal = Some(1 + random.below(6));
        life.end = if random.chance(500) { End::Kill } else { End::Power(Survival::Random) };
    }
    scenario.lives[at] = life;
}

/// Records that are young are deleted by the operator, and the process dies over their files: what
/// has not gone by then does not go by itself.
fn delete(scenario: &mut Scenario, random: &mut Random) {
    let age_ms = 40_000;
    for topic in &mut scenario.topics {
        topic.retention = TopicRetention { age_ms, bytes: 0 };
    }
    let last = scenario.lives.len() - 1;
    let mut life = Life { acts: Vec::new(), ..scenario.lives[last].clone() };
    for _ in 0..2 + random.below(2) {
        for _ in 0..2 + random.below(6) {
            let what = append(scenario, random, (1, 4_000));
            life.acts.push(Act { wait_us: random.below(40_000), what });
        }
        // By then what there is has been sealed.
        life.acts.push(Act { wait_us: age_ms / 4 * 1_000 + 1_200_000, what: What::Nothing });
    }
    for (topic, plan) in scenario.topics.iter().enumerate() {
        for partition in 0..plan.partitions {
            let permille = [500, 1_000][random.below(2) as usize];
            let what = What::DeleteRecords { topic, partition, permille };
            life.acts.push(Act { wait_us: random.below(3_000), what });
        }
    }
    life.acts.push(Act { wait_us: 50_000, what: What::Nothing });
    (life.cut_after, life.cut_at_flush, life.cut_at_served_flush) = (None, None, None);
    life.cut_at_removal = Some(1 + random.below(3));
    life.end = if random.chance(600) { End::Kill } else { End::Power(Survival::Random) };
    scenario.lives[last] = life;
}

/// So much that segments fill.
fn fill(scenario: &mut Scenario, random: &mut Random) {
    special::make_narrow(scenario);
    for topic in &mut scenario.topics {
        let age_ms = if random.chance(300) { 10_000 } else { 0 };
        topic.retention = TopicRetention { age_ms, bytes: 1 + random.below(900_000) };
    }
    let last = scenario.lives.len() - 1;
    let mut acts = Vec::new();
    for _ in 0..30 + random.below(60) {
        let what = append(scenario, random, (1, LARGE_BYTES));
        acts.push(Act { wait_us: random.below(4_000), what });
    }
    scenario.lives[last].acts.extend(acts);
    scenario.lives[last].cut_after = None;
}

/// The clock is wrong for a while, or for good, while data is young by the right one.
fn leap(scenario: &mut Scenario, random: &mut Random) {
    let ages_s = [HOUR_S / 2, HOUR_S, 3 * HOUR_S];
    for topic in &mut scenario.topics {
        topic.retention.age_ms = ages_s[random.below(3) as usize] * 1_000;
    }
    let leaps_s = [2 * HOUR_S, 12 * HOUR_S, 400 * 24 * HOUR_S];
    let count = scenario.lives.len() as u64;
    for _ in 0..1 + random.below(3) {
        let by_ms = leaps_s[random.below(3) as usize] as i64 * 1_000;
        let by_ms = if random.chance(700) { by_ms } else { -by_ms };
        let life = random.below(count) as usize;
        let acts = &mut scenario.lives[life].acts;
        let at = random.below(acts.len() as u64 + 1) as usize;
        acts.insert(at, Act { wait_us: 0, what: What::SetClock { by_ms } });
        let until = at + 1 + random.below((acts.len() - at) as u64) as usize;
        let topic = random.below(scenario.topics.len() as u64) as usize;
        acts.insert(until, Act { wait_us: 3_000, what: What::DescribeTopic { topic } });
        if random.chance(500) {
            // Somebody has put it right.
            acts.insert(until + 1, Act { wait_us: 0, what: What::SetClock { by_ms: -by_ms } });
        } else if random.chance(300) && scenario.groups.is_empty() {
            // It is believed in the end.
            let wait_us = (HOUR_S + 60) * 1_000_000;
            acts.insert(until + 1, Act { wait_us, what: What::DescribeTopic { topic } });
        }
    }
}
