//! Groups in share mode over the topics of a run: what they allow, and what happens to whom.
//!
//! In a part of the runs, and from a stream of its own: what else a seed draws stays as it is.
//! What a newcomer gets wrong: a run in which the clock is set for other reasons has none of these
//! groups; in some that have one it is set for their sake. None is where topics are compacted, and
//! records go that nobody has settled.

use plimsoll_sim::{Random, Survival};
use plimsoll_wire::{Durability, TopicRetention};

use crate::scenario::{Act, End, Life, Scenario, SharePlan, SharerPlan, Temper, TopicPlan, What};

/// In how many of 1,000 runs there is such a group, if the clock is left alone.
const PERMILLE: u64 = 160;

/// In how many of 1,000 runs with such a group the wall clock is set.
const CLOCK_PERMILLE: u64 = 600;
/// About as much as records are delayed, and more than anybody waits.
const LEAPS_MS: [i64; 5] = [40, 700, 2_500, 3_600_000, 400 * 24 * 3_600_000];

/// Adds a group in share mode to a scenario, or leaves it as it is.
pub(super) fn make(scenario: &mut Scenario) {
    let mut random = Random::new(scenario.seed).stream("share mode");
    let random = &mut random;
    let is_compacted = scenario.topics.iter().any(|topic| topic.compaction.is_some());
    if !random.chance(PERMILLE) || scenario.sets_clock() || is_compacted {
        return;
    }
    let group = group(scenario, random);
    let small_window = random.chance(200);
    scenario.settings.share_window_max = if small_window { 1 + random.below(8) } else { 100_000 };
    if !scenario.forgets() {
        for producer in &mut scenario.producers {
            producer.delay_ms = [0, 0, 30, 900, 3_000][random.below(5) as usize];
        }
    }
    let first = scenario.producers.len() + scenario.consumers.len() + scenario.seats().count();
    let sharers = group.sharers.len() as u64;
    let (lock_ms, has_dead_letters) = (group.lock_ms, group.dead_letters.is_some());
    scenario.shares = vec![group];
    let acts_max = [4, 10, 30][random.below(3) as usize];
    for number in 0..scenario.lives.len() {
        let appends = 1 + random.below(acts_max);
        let mut acts: Vec<Act> = (0..appends).map(|_| append(scenario, random)).collect();
        let on_members = random.below(acts_max);
        acts.extend((0..on_members).map(|_| on_a_member(random, (first, sharers))));
        let life = &mut scenario.lives[number];
        for act in acts {
            let at = random.below(life.acts.len() as u64 + 1) as usize;
            life.acts.insert(at, act);
        }
        if has_dead_letters && random.chance(120) {
            let ms = [20, 400, 2_000][random.below(3) as usize];
            let at = random.below(life.acts.len() as u64 + 1) as usize;
            let what = What::DropDeadLetters { share: 0, ms };
            life.acts.insert(at, Act { wait_us: wait_us(random), what });
        }
        give_time(life, lock_ms, random);
    }
}

/// Has the wall clock set in a run with a group in share mode, or leaves it alone.
pub(super) fn set_clock(scenario: &mut Scenario) {
    let mut random = Random::new(scenario.seed).stream("clock in share mode");
    let random = &mut random;
    if scenario.shares.is_empty() || !random.chance(CLOCK_PERMILLE) {
        return;
    }
    let lives = scenario.lives.len() as u64;
    for _ in 0..2 + random.below(8) {
        let by_ms = LEAPS_MS[random.below(5) as usize];
        let by_ms = if random.chance(500) { by_ms } else { -by_ms };
        let life = &mut scenario.lives[random.below(lives) as usize];
        let at = random.below(life.acts.len() as u64 + 1) as usize;
        let what = What::SetClock { by_ms };
        life.acts.insert(at, Act { wait_us: wait_us(random), what });
        if random.chance(400) {
            // Somebody has put it right.
            let at = at + 1 + random.below((life.acts.len() - at) as u64) as usize;
            let what = What::SetClock { by_ms: -by_ms };
            life.acts.insert(at, Act { wait_us: wait_us(random), what });
        }
    }
}

/// Members need a while to be let in, and locks to end; and then an end comes at any moment.
fn give_time(life: &mut Life, lock_ms: u32, random: &mut Random) {
    if random.chance(700) {
        life.cut_after = None;
    }
    for _ in 0..random.below(3) {
        let at = random.below(life.acts.len() as u64 + 1) as usize;
        let wait_us = random.below(u64::from(lock_ms) * 2_500);
        life.acts.insert(at, Act { wait_us, what: What::Nothing });
    }
    if random.chance(350) {
        life.cut_at_flush = None;
        life.cut_at_served_flush = Some(3 + random.below(60));
        life.end = End::Power(Survival::Nothing);
    }
}

fn append(scenario: &Scenario, random: &mut Random) -> Act {
    let topics = &scenario.shares[0].topics;
    let producers = scenario.producers.iter().enumerate();
    let fits = producers.filter(|(_, producer)| topics.contains(&producer.topic));
    let fits: Vec<usize> = fits.map(|(number, _)| number).collect();
    let bytes_max = [60, 60, 3_000][random.below(3) as usize];
    let what = match fits.get(random.below(fits.len().max(1) as u64) as usize) {
        Some(producer) => {
            let partitions = scenario.topics[scenario.producers[*producer].topic].partitions;
            What::Append {
                producer: *producer,
                partition: random.below(u64::from(partitions)) as u32,
                records: 1 + random.below(6) as u32,
                bytes: 8 + random.below(bytes_max) as u32,
            }
        }
        None => What::Nothing,
    };
    Act { wait_us: wait_us(random), what }
}

fn wait_us(random: &mut Random) -> u64 {
    match random.below(10) {
        0..4 => random.below(2_000),
        4..7 => random.below(20_000),
        7..9 => random.below(200_000),
        _ => random.below(900_000),
    }
}

fn on_a_member(random: &mut Random, (first, sharers): (usize, u64)) -> Act {
    let client = first + random.below(sharers) as usize;
    let what = match random.below(12) {
        0..4 => What::Restart { client },
        4..6 => What::Cut { client },
        6 => What::Silence { client, ms: 1 + random.below(1_500) as u32 },
        7 => What::Slow { client, ms: 1 + random.below(1_500) as u32 },
        8 => What::Leave { client },
        9..11 => What::DiskPause { ms: 1 + random.below(300) as u32 },
        _ => What::Nothing,
    };
    Act { wait_us: wait_us(random), what }
}

fn group(scenario: &mut Scenario, random: &mut Random) -> SharePlan {
    let mut topics = vec![random.below(scenario.topics.len() as u64) as usize];
    let fed = scenario.producers[random.below(scenario.producers.len() as u64) as usize].topic;
    if random.chance(500) || !scenario.producers.iter().any(|it| topics.contains(&it.topic)) {
        topics.push(fed);
        topics.sort_unstable();
        topics.dedup();
    }
    for producer in &mut scenario.producers {
        // What is not on disk is not handed out: a group that waits for it does nothing.
        if topics.contains(&producer.topic) && random.chance(500) {
            producer.durability = Durability::Disk;
        }
    }
    let dead_letters = random.chance(700).then(|| {
        scenario.topics.push(TopicPlan {
            partitions: 1 + random.below(2) as u32,
            segment_bytes: 1 << 20,
            flush_interval_ms: 20,
            retention: TopicRetention::UNLIMITED,
            compaction: None,
        });
        scenario.topics.len() - 1
    });
    SharePlan {
        topics,
        dead_letters,
        lock_ms: [100, 200, 600][random.below(3) as usize],
        deliveries_max: [1, 2, 2, 3, 5, u32::MAX][random.below(6) as usize],
        session_timeout_ms: [500, 500, 1_200][random.below(3) as usize],
        sharers: (0..1 + random.below(3)).map(|_| sharer(random)).collect(),
    }
}

fn sharer(random: &mut Random) -> SharerPlan {
    let tempers = [
        Temper { releases: 100, delays: 60, rejects: 80, hangs: 40, sleeps: 10 },
        Temper { releases: 300, delays: 100, rejects: 200, hangs: 200, sleeps: 30 },
        Temper { releases: 20, delays: 10, rejects: 400, hangs: 10, sleeps: 0 },
        Temper { releases: 0, delays: 0, rejects: 0, hangs: 0, sleeps: 0 },
        Temper { releases: 100, delays: 500, rejects: 20, hangs: 50, sleeps: 10 },
    ];
    SharerPlan {
        records_max: [1, 3, 100][random.below(3) as usize],
        hands: [1, 3, 8][random.below(3) as usize],
        work_us: [0, 2_000, 100_000, 500_000][random.below(4) as usize],
        temper: tempers[random.below(5) as usize],
        haunts: random.chance(400),
    }
}
