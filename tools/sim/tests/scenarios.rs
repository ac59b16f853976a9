//! Scenarios that found something, written out, so that no change of what seeds draw loses them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use plimsoll_sim::Survival;
use plimsoll_simulate::{
    Act, End, Life, ProducerPlan, Scenario, Settings, TopicPlan, Weights, What, attempt,
};
use plimsoll_wire::{Durability, TopicRetention};

const HOUR_MS: i64 = 3_600_000;

fn settings() -> Settings {
    Settings {
        arena_bytes: 4 << 20,
        journal_bytes: plimsoll_storage::journal_bytes_min(4 << 20),
        durable_writes: true,
        stale_room: true,
        mailbox_max: 8,
        share_window_max: 100_000,
        weights: Weights { turn: 192, disk: 3, network: 48, mail: 48, client: 48 },
    }
}

fn life(acts: Vec<(u64, What)>, end: End) -> Life {
    let acts = acts.into_iter().map(|(wait_us, what)| Act { wait_us, what }).collect();
    Life { acts, ..Life::calm(1, end) }
}

/// One topic of two partitions and one producer, which wants all on disk.
fn scenario(retention: TopicRetention, lives: Vec<Life>) -> Scenario {
    Scenario {
        seed: 1,
        settings: settings(),
        topics: vec![TopicPlan {
            partitions: 2,
            segment_bytes: 1 << 20,
            flush_interval_ms: 100,
            retention,
            compaction: None,
        }],
        producers: vec![ProducerPlan {
            topic: 0,
            durability: Durability::Disk,
            also: None,
            in_flight_batches_max: 64,
            linger_us: 0,
            idempotent: true,
            delay_ms: 0,
            compresses: false,
        }],
        consumers: Vec::new(),
        groups: Vec::new(),
        shares: Vec::new(),
        lives,
        rots: false,
    }
}

fn append(partition: u32) -> What {
    What::Append { producer: 0, partition, records: 1, bytes: 2_000 }
}

/// The clock was two hours ahead for a moment, and something was written meanwhile. It was put
/// right, and the server started again: the newest data is of the future, so that the clock of then
/// was believed. Then the clock leapt far ahead, and data of a few seconds was taken for two hours
/// old.
#[test]
fn a_second_leap_of_the_clock_takes_nothing_young() {
    let retention = TopicRetention { age_ms: 12_000, bytes: 0 };
    let leap = |hours: i64| What::SetClock { by_ms: hours * HOUR_MS };
    let describe = What::DescribeTopic { topic: 0 };
    for end in [End::Stop, End::Kill, End::Power(Survival::Nothing)] {
        let leaps = vec![
            (60_000, append(0)),
            (20_000, leap(2)),
            (0, append(1)),
            (20_000, leap(-2)),
            (0, append(0)),
            (20_000, What::Nothing),
        ];
        let leaps_again = vec![
            (2_000_000, leap(24 * 400)),
            (0, append(0)),
            (100_000, describe),
            (50_000, describe),
        ];
        let lives = vec![life(leaps, end), life(leaps_again, End::Kill)];
        let outcome = attempt(&scenario(retention, lives), None);
        assert!(outcome.is_ok(), "{end:?}: {outcome:?}");
    }
}

/// What a producer had in doubt when its connection broke came again after the clock had leapt by
/// more than producers may rest: nobody knew it any more, and it was written twice.
#[test]
fn a_leap_of_the_clock_makes_no_producer_write_twice() {
    let leap = What::SetClock { by_ms: 24 * 400 * HOUR_MS };
    for in_doubt_us in [2_000, 10_000, 50_000] {
        let acts = vec![
            (100_000, What::DiskPause { ms: 500 }),
            (0, append(0)),
            (in_doubt_us, What::Cut { client: 0 }),
            (0, leap),
            (900_000, What::Nothing),
        ];
        let lives = vec![life(acts, End::Kill)];
        let outcome = attempt(&scenario(TopicRetention::UNLIMITED, lives), None);
        assert!(outcome.is_ok(), "after {in_doubt_us} us: {outcome:?}");
    }
}

/// Power took what was young, and nothing but old data was left, which went; so did the gap behind
/// it. This is no finding but one that the simulator once took for it.
#[test]
fn what_power_took_keeps_nothing_from_going() {
    let retention = TopicRetention { age_ms: HOUR_MS as u64, bytes: 0 };
    let mut scenario = scenario(
        retention,
        vec![life(
            vec![
                (20_000, append(0)),
                (300_000, What::DiskPause { ms: 3_000 }),
                (0, What::SetClock { by_ms: 12 * HOUR_MS }),
                (2_857, append(0)),
                (802_217, What::Nothing),
            ],
            End::Power(Survival::Nothing),
        )],
    );
    scenario.producers[0].durability = Durability::Memory;
    let outcome = attempt(&scenario, None);
    assert!(outcome.is_ok(), "{outcome:?}");
}
