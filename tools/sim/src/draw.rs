//! Draws a scenario from a seed.
//!
//! Each run has a character: some are calm and long, some are nothing but crashes. What a newcomer
//! gets wrong: a choice that is drawn evenly for every act gives runs that are all alike, so the
//! shares themselves are drawn first.

mod administration;
mod compaction;
mod groups;
mod moments;
mod pauses;
mod retention;
mod share;
mod special;

use plimsoll_sim::{Random, Survival};
use plimsoll_storage::journal_bytes_min;
use plimsoll_wire::{AckLevel, Durability, TopicRetention, Visible};

use crate::scenario::{
    Act, ConsumerPlan, DiskFault, End, Life, ProducerPlan, Scenario, Settings, TopicPlan, Weights,
    What,
};

/// Small, so that memory is scarce, the journal goes round, and a run takes little time.
const ARENA_BYTES: usize = 4 << 20;

/// The scenario of a seed.
#[must_use]
pub fn draw(seed: u64) -> Scenario {
    let mut random = Random::new(seed).stream("scenario");
    let random = &mut random;
    let topics: Vec<TopicPlan> = (0..1 + random.below(2)).map(|_| topic(random)).collect();
    let producers: Vec<_> = (0..1 + random.below(3)).map(|_| producer(random, &topics)).collect();
    let consumers: Vec<_> = (0..1 + random.below(2)).map(|_| consumer(random, &topics)).collect();
    let character = Character::draw(random);
    let clients = producers.len() + consumers.len();
    let cast = Cast { topics: &topics, producers: &producers, clients };
    let mut lives: Vec<Life> =
        (0..1 + random.below(5)).map(|_| life(random, &character, &cast)).collect();
    let settings = settings(random);
    let rots = random.chance(40);
    for life in &mut lives {
        let flushes = [10, 40, 160][random.below(3) as usize];
        life.cut_at_flush = random.chance(250).then(|| 1 + random.below(flushes));
    }
    let (groups, shares) = (Vec::new(), Vec::new());
    let mut scenario =
        Scenario { seed, settings, topics, producers, consumers, groups, shares, lives, rots };
    special::make(&mut scenario, random);
    special::shorten_writes(&mut scenario);
    groups::make(&mut scenario);
    administration::make(&mut scenario);
    pauses::make(&mut scenario);
    retention::make(&mut scenario);
    moments::make(&mut scenario);
    compaction::make(&mut scenario);
    share::make(&mut scenario);
    administration::make_of_shares(&mut scenario);
    share::set_clock(&mut scenario);
    scenario
}

struct Cast<'a> {
    topics: &'a [TopicPlan],
    producers: &'a [ProducerPlan],
    clients: usize,
}

/// What sets one run apart from others.
struct Character {
    shards_max: u64,
    acts_max: u64,
    bytes_max: u64,
    /// In 1,000 acts.
    network_permille: u64,
    disk_permille: u64,
    faults: Vec<DiskFault>,
    cut_permille: u64,
}

impl Character {
    fn draw(random: &mut Random) -> Self {
        use DiskFault as F;
        let faults = [
            vec![F::Write, F::ShortWrite, F::Sync, F::SyncDrops],
            vec![F::SyncDrops],
            vec![F::Read, F::Open, F::Allocate, F::Name],
            vec![F::FlipRead],
            vec![F::Misdirect],
        ];
        let shares = [5, 8, 11, 13, 14];
        let drawn = random.below(14);
        let which = shares.iter().position(|below| drawn < *below).unwrap_or(0);
        Self {
            shards_max: 1 + random.below(3),
            acts_max: 5 + random.below(60),
            bytes_max: [200, 2_000, 2_000, 30_000, 150_000][random.below(5) as usize],
            network_permille: [0, 50, 200][random.below(3) as usize],
            disk_permille: [0, 0, 20, 60][random.below(4) as usize],
            faults: faults[which].clone(),
            cut_permille: random.below(900),
        }
    }
}

fn settings(random: &mut Random) -> Settings {
    let mut weight = |usual: u64| usual * [1, 4, 16][random.below(3) as usize];
    let weights = Weights {
        turn: weight(12),
        disk: weight(3),
        network: weight(3),
        mail: weight(3),
        client: weight(3),
    };
    Settings {
        arena_bytes: ARENA_BYTES,
        journal_bytes: journal_bytes_min(ARENA_BYTES),
        durable_writes: random.chance(300),
        stale_room: random.chance(300),
        mailbox_max: [1, 8, 1024][random.below(3) as usize],
        share_window_max: 100_000,
        weights,
    }
}

fn topic(random: &mut Random) -> TopicPlan {
    TopicPlan {
        partitions: 1 + random.below(3) as u32,
        segment_bytes: [1 << 20, 1 << 20, 4 << 20][random.below(3) as usize],
        flush_interval_ms: [1, 20, 100][random.below(3) as usize],
        retention: TopicRetention::UNLIMITED,
        compaction: None,
    }
}

fn producer(random: &mut Random, topics: &[TopicPlan]) -> ProducerPlan {
    use Durability as D;
    let durability = [D::Disk, D::Disk, D::PageCache, D::Memory, D::None][random.below(5) as usize];
    let levels = [None, Some(AckLevel::Memory), Some(AckLevel::PageCache), Some(AckLevel::Disk)];
    ProducerPlan {
        topic: random.below(topics.len() as u64) as usize,
        durability,
        also: levels[random.below(4) as usize],
        in_flight_batches_max: [1, 3, 64][random.below(3) as usize],
        linger_us: [0, 0, 1_000][random.below(3) as usize],
        idempotent: random.chance(700),
        delay_ms: 0,
        compresses: false,
    }
}

fn consumer(random: &mut Random, topics: &[TopicPlan]) -> ConsumerPlan {
    ConsumerPlan {
        topic: random.below(topics.len() as u64) as usize,
        visible: [Visible::Disk, Visible::PageCache, Visible::Memory][random.below(3) as usize],
        credit_bytes: [1, 64 << 10, 16 << 20][random.below(3) as usize],
        hoards: random.chance(300),
    }
}

fn life(random: &mut Random, character: &Character, cast: &Cast<'_>) -> Life {
    let shards = 1 + random.below(character.shards_max) as u16;
    let acts = 1 + random.below(character.acts_max);
    let acts = (0..acts).map(|_| act(random, character, cast)).collect();
    let cut_after = random.chance(character.cut_permille).then(|| match random.below(3) {
        0 => 1 + random.below(80),
        1 => 1 + random.below(400),
        _ => 1 + random.below(4_000),
    });
    let end = match random.below(12) {
        0 => End::Stop,
        1 => End::StopThenPower,
        2..6 => End::Kill,
        6 => End::KillLosingArenas,
        7..9 => End::Power(Survival::Nothing),
        9 => End::Power(Survival::Newest),
        _ => End::Power(Survival::Random),
    };
    Life { acts, cut_after, ..Life::calm(shards, end) }
}

fn act(random: &mut Random, character: &Character, cast: &Cast<'_>) -> Act {
    let wait_us = match random.below(10) {
        0..4 => 0,
        4..7 => random.below(300),
        7..9 => random.below(5_000),
        _ => random.below(200_000),
    };
    let drawn = random.below(1_000);
    let what = if drawn < character.network_permille {
        on_the_network(random, cast)
    } else if drawn < character.network_permille + character.disk_permille {
        on_the_disk(random, character)
    } else if drawn > 990 {
        let bytes = [8, 1_000, 40_000][random.below(3) as usize];
        What::Passing { bytes, lasts_ms: 0 }
    } else {
        append(random, character, cast)
    };
    Act { wait_us, what }
}

fn append(random: &mut Random, character: &Character, cast: &Cast<'_>) -> What {
    let producer = random.below(cast.producers.len() as u64) as usize;
    let partitions = cast.topics[cast.producers[producer].topic].partitions;
    let bytes = 8 + random.below(character.bytes_max) as u32;
    let records = if bytes > 10_000 { 1 } else { 1 + random.below(5) as u32 };
    What::Append { producer, partition: random.below(u64::from(partitions)) as u32, records, bytes }
}

fn on_the_network(random: &mut Random, cast: &Cast<'_>) -> What {
    let client = random.below(cast.clients as u64) as usize;
    match random.below(7) {
        0 | 1 => What::Cut { client },
        2 => What::Silence { client, ms: 1 + random.below(4_000) as u32 },
        3 => What::Leave { client },
        4 => What::Slow { client, ms: 1 + random.below(2_000) as u32 },
        5 => What::Restart { client },
        _ => What::Stray { bytes: random.below(200) as u32 },
    }
}

fn on_the_disk(random: &mut Random, character: &Character) -> What {
    match random.below(4) {
        0 => {
            let ms_max = [20, 1_500, 6_000][random.below(3) as usize];
            What::DiskPause { ms: 1 + random.below(ms_max) as u32 }
        }
        1 => What::DiskFull { full: random.chance(600) },
        _ => What::Fault {
            kind: character.faults[random.below(character.faults.len() as u64) as usize],
            nth: 1 + random.below(30),
        },
    }
}
