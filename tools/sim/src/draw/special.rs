//! Runs that seek out one place where logs break: commits side by side, a journal that is nearly
//! full, a start after a start, reads from the disk, a full disk.
//!
//! Most runs stay as they were drawn. What a newcomer gets wrong: such a run is not a test of one
//! bug. Everything else goes on in it, and it ends like all others.

use plimsoll_sim::{Random, Survival};
use plimsoll_wire::Durability;

use crate::scenario::{Act, DiskFault, End, Life, Scenario, What};

/// The largest record that still goes through the journal by itself.
const INLINE_BYTES: u64 = 60_000;

/// Makes something special of a scenario, or leaves it as it is.
pub(super) fn make(scenario: &mut Scenario, random: &mut Random) {
    match random.below(100) {
        0..14 => bursts(scenario, random),
        14..24 => relay(scenario, random),
        24..27 => flood(scenario, random),
        27..35 => catch_up(scenario, random),
        35..37 => fill(scenario, random),
        37..42 => passing(scenario, random),
        42..45 => inherit(scenario, random),
        45..48 => lap(scenario, random),
        48..52 => reuse(scenario, random),
        _ => {}
    }
}

/// Here and there a write is short, where nothing else is wrong: the machine may always do that.
pub(super) fn shorten_writes(scenario: &mut Scenario) {
    let mut random = Random::new(scenario.seed).stream("short writes");
    if !random.chance(80) {
        return;
    }
    for life in &mut scenario.lives {
        let at = random.below(life.acts.len() as u64 + 1) as usize;
        let what = What::Fault { kind: DiskFault::ShortWrite, nth: 1 + random.below(12) };
        life.acts.insert(at, Act { wait_us: 0, what });
    }
}

/// All producers want all that they send on disk, and send as much at once as they can.
fn hurry(scenario: &mut Scenario) {
    for producer in &mut scenario.producers {
        producer.durability = Durability::Disk;
        producer.in_flight_batches_max = 64;
        producer.linger_us = 0;
    }
}

fn append(scenario: &Scenario, random: &mut Random, (records, bytes): (u32, u64)) -> What {
    let producer = random.below(scenario.producers.len() as u64) as usize;
    let partitions = scenario.topics[scenario.producers[producer].topic].partitions;
    let partition = random.below(u64::from(partitions)) as u32;
    What::Append { producer, partition, records, bytes: 8 + random.below(bytes) as u32 }
}

fn power(random: &mut Random) -> End {
    let survivals = [Survival::Nothing, Survival::Newest, Survival::Random];
    End::Power(survivals[random.below(3) as usize])
}

/// So much at once that a second commit begins beside one in flight, and an end about there.
fn bursts(scenario: &mut Scenario, random: &mut Random) {
    hurry(scenario);
    let shards = 1 + random.below(2) as u16;
    let count = 1 + random.below(4);
    scenario.lives = (0..count)
        .map(|_| {
            let end = if random.chance(700) { power(random) } else { End::Kill };
            let mut life = Life::calm(shards, end);
            for _ in 0..1 + random.below(4) {
                // The topics may have to be made before.
                life.acts.push(Act { wait_us: 20_000 + random.below(5_000), what: What::Nothing });
                for _ in 0..4 + random.below(12) {
                    let what = append(scenario, random, (2, 60_000));
                    life.acts.push(Act { wait_us: random.below(50), what });
                }
            }
            life.acts.push(Act { wait_us: 3_000, what: What::Nothing });
            life.cut_at_served_flush = random.chance(800).then(|| 1 + random.below(30));
            life
        })
        .collect();
}

/// Lives that are killed early, each with a power loss soon after the next start: what a start
/// found, and did not make safe, is gone.
fn relay(scenario: &mut Scenario, random: &mut Random) {
    hurry(scenario);
    let bytes = [500, 30_000, 60_000][random.below(3) as usize];
    let mut lives = Vec::new();
    let mut shards = 1 + random.below(2) as u16;
    for _ in 0..1 + random.below(3) {
        let mut busy = Life::calm(shards, End::Kill);
        for _ in 0..2 + random.below(20) {
            let records = 1 + random.below(4) as u32;
            let what = append(scenario, random, (records, bytes));
            busy.acts.push(Act { wait_us: random.below(3_000), what });
        }
        if random.chance(300) {
            busy.cut_at_flush = Some(1 + random.below(12));
        } else {
            busy.cut_at_served_flush = Some(1 + random.below(12));
        }
        if random.chance(300) {
            shards = 1 + random.below(2) as u16;
        }
        let mut quiet = Life::calm(shards, power(random));
        for _ in 0..random.below(3) {
            let what = append(scenario, random, (1, bytes.min(1_000)));
            quiet.acts.push(Act { wait_us: random.below(3_000), what });
        }
        quiet.acts.push(Act { wait_us: 1_000 + random.below(40_000), what: What::Nothing });
        quiet.cut_at_served_flush = random.chance(500).then(|| 1 + random.below(3));
        lives.extend([busy, quiet]);
    }
    scenario.lives = lives;
}

/// So much through the journal that it goes round and runs nearly full, while its anchors are slow.
fn flood(scenario: &mut Scenario, random: &mut Random) {
    hurry(scenario);
    let mut life = Life::calm(1, power(random));
    let appends = 120 + random.below(250);
    let (few, holds_at) = (random.chance(500), random.below(appends));
    for number in 0..appends {
        // Small ones make frames of one block, large ones fill the journal.
        let bytes = if number % 3 == 0 { 3_000 } else { INLINE_BYTES };
        let what = append(scenario, random, (1, bytes));
        let wait_us = if few { random.below(1_500) } else { random.below(100) };
        life.acts.push(Act { wait_us, what });
        if number == holds_at {
            let ms = 20 + random.below(2_000) as u32;
            life.acts.push(Act { wait_us: 0, what: What::HoldFronts { ms } });
        }
    }
    life.acts.push(Act { wait_us: random.below(50_000), what: What::Nothing });
    let last = scenario.lives.len() - 1;
    scenario.lives[last] = life;
}

/// More than a whole journal, frame by frame, while no anchor becomes durable: the next start
/// begins to read where the last one that did says.
fn lap(scenario: &mut Scenario, random: &mut Random) {
    hurry(scenario);
    let end = if random.chance(700) { power(random) } else { End::Kill };
    let mut life = Life::calm(1, end);
    let appends = 200 + random.below(120);
    let holds_at = 5 + random.below(60);
    for number in 0..appends {
        if number == holds_at {
            life.acts.push(Act { wait_us: 0, what: What::HoldFronts { ms: 60_000 } });
        }
        // Each alone in its frame: two of them would go to the segment.
        let What::Append { producer, partition, .. } = append(scenario, random, (1, 1)) else {
            continue;
        };
        let bytes = 40_000 + random.below(INLINE_BYTES - 40_000) as u32;
        let what = What::Append { producer, partition, records: 1, bytes };
        life.acts.push(Act { wait_us: 200 + random.below(600), what });
    }
    let last = scenario.lives.len() - 1;
    scenario.lives[last] = life;
}

/// Consumers read what is only on the disk, while reads lie.
fn catch_up(scenario: &mut Scenario, random: &mut Random) {
    hurry(scenario);
    let shards = 1 + random.below(2) as u16;
    let mut filling = Life::calm(shards, End::Stop);
    for _ in 0..15 + random.below(40) {
        let records = 1 + random.below(3) as u32;
        let what = append(scenario, random, (records, INLINE_BYTES));
        filling.acts.push(Act { wait_us: random.below(3_000), what });
    }
    filling.acts.push(Act { wait_us: 30_000, what: What::Nothing });
    let mut reading = Life::calm(shards, if random.chance(500) { End::Kill } else { End::Stop });
    let (first, count) = (scenario.producers.len(), scenario.consumers.len() as u64);
    reading.acts.push(Act { wait_us: 10_000, what: What::Nothing });
    for _ in 0..4 + random.below(20) {
        let client = first + random.below(count) as usize;
        let nth = 1 + random.below(6);
        let fault = What::Fault { kind: DiskFault::FlipRead, nth };
        if random.chance(600) {
            reading.acts.push(Act { wait_us: 0, what: fault });
        }
        reading.acts.push(Act { wait_us: 0, what: What::Restart { client } });
        reading.acts.push(Act { wait_us: random.below(20_000), what: What::Nothing });
    }
    scenario.lives = vec![filling, reading];
}

/// A disk that is filled and has room again, with nothing else wrong.
fn fill(scenario: &mut Scenario, random: &mut Random) {
    hurry(scenario);
    let producer = random.below(scenario.producers.len() as u64) as usize;
    let mut life = Life::calm(1, power(random));
    for _ in 0..random.below(12) {
        let what = append(scenario, random, (1, 20_000));
        life.acts.push(Act { wait_us: random.below(3_000), what });
    }
    for _ in 0..1 + random.below(2) {
        life.acts.push(Act { wait_us: 5_000, what: What::FillDisk { producer } });
    }
    let last = scenario.lives.len() - 1;
    scenario.lives[last] = life;
}

/// Topics that are written to and deleted, one after the other.
fn passing(scenario: &mut Scenario, random: &mut Random) {
    hurry(scenario);
    for life in &mut scenario.lives {
        for _ in 0..1 + random.below(4) {
            let bytes = [1_000, 30_000, 60_000][random.below(3) as usize];
            let at = random.below(life.acts.len() as u64 + 1) as usize;
            life.acts
                .insert(at, Act { wait_us: 3_000, what: What::Passing { bytes, lasts_ms: 0 } });
        }
        life.acts.push(Act { wait_us: random.below(20_000), what: What::Nothing });
        if random.chance(500) {
            life.end = power(random);
        }
    }
}

/// Topics have one partition each, of small segments, so that these fill.
pub(super) fn make_narrow(scenario: &mut Scenario) {
    for topic in &mut scenario.topics {
        (topic.partitions, topic.segment_bytes) = (1, 1 << 20);
    }
    for act in scenario.lives.iter_mut().flat_map(|life| &mut life.acts) {
        if let What::Append { partition, .. } = &mut act.what {
            *partition = 0;
        }
    }
}

/// Topics with full segments go, and their files become new segments of those that stay; the end
/// comes about there.
fn reuse(scenario: &mut Scenario, random: &mut Random) {
    hurry(scenario);
    make_narrow(scenario);
    let mut life = Life::calm(1, power(random));
    life.acts.push(Act { wait_us: 20_000, what: What::Nothing });
    for _ in 0..1 + random.below(3) {
        life.acts.push(Act { wait_us: 0, what: What::Passing { bytes: 600_000, lasts_ms: 20 } });
        life.acts.push(Act { wait_us: 60_000, what: What::Nothing });
        for _ in 0..8 + random.below(20) {
            let what = append(scenario, random, (1, 150_000));
            life.acts.push(Act { wait_us: random.below(2_000), what });
        }
    }
    life.cut_at_served_flush = random.chance(600).then(|| 20 + random.below(80));
    let last = scenario.lives.len() - 1;
    scenario.lives[last] = life;
}

/// Memory that held the first batches of a topic that is gone is given to the first of another
/// that is written in the same way, and the process dies between the stores of one of them.
fn inherit(scenario: &mut Scenario, random: &mut Random) {
    hurry(scenario);
    scenario.topics.iter_mut().for_each(|topic| topic.partitions = 2);
    let bytes = 100 + random.below(1_100) as u32;
    let mut life = Life::calm(1, End::Kill);
    let passing = What::Passing { bytes, lasts_ms: 200 };
    life.acts.push(Act { wait_us: 30_000, what: passing });
    life.acts.push(Act { wait_us: 300_000, what: What::Nothing });
    for partition in [0, 1, 0, 1, 0, 1] {
        let what = What::Append { producer: 0, partition, records: 1, bytes };
        life.acts.push(Act { wait_us: 5_000, what });
    }
    life.acts.push(Act { wait_us: 5_000, what: What::Nothing });
    // The first of a partition finds nothing: before its lease is durable it is not known.
    life.cut_at_append = Some(3 + random.below(4));
    scenario.lives = vec![life];
}
