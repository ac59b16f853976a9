//! A few seeds in every test run; `make sim` runs many.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use plimsoll_simulate::{Campaign, Met, Part, Progress, What, attempt, draw};

/// It runs before any other simulation is believed: something that took order or bytes from outside
/// would make every seed worthless.
#[test]
fn the_same_seed_gives_the_same_bytes() {
    for seed in 1..=6 {
        let (one, other) = (attempt(&draw(seed), None), attempt(&draw(seed), None));
        assert_eq!(one, other, "seed {seed}");
        let mut log = String::new();
        let logged = attempt(&draw(seed), Some(&mut log));
        assert_eq!(one, logged, "seed {seed}, watched");
        assert!(!log.is_empty());
    }
}

#[test]
fn two_seeds_are_two_runs() {
    let hash = |seed| attempt(&draw(seed), None).unwrap().trace_hash;
    assert_ne!(hash(1), hash(2));
}

/// Each found a bug in what ships, most with a test of its own in its crate: a journal whose name
/// was never made durable (819), answers about a topic that is undecided (2455), a partition that
/// moved and was logged in part (3534: records lost; 7981: offsets given out twice), a reader sent
/// to blocks that were still being written (49892), a start that had no room for a full arena
/// behind a damaged journal (26286), a snapshot that wrote over a part of itself (52255: data was
/// kept for ever), an idle segment whose compaction made its journal look damaged (38), what a
/// moved start left and nobody compacted (118), a recycled file that went back to its old name
/// (6191: a segment was gone, and the next start came to no end). Without such a test: a start that
/// moved took away what compaction was about to open, which then stopped (3177), and batches that
/// came again behind a damaged journal were acked behind those that followed them (13984).
#[test]
fn seeds_that_found_something_are_kept() {
    const SEEDS: [u64; 12] =
        [38, 118, 819, 2_455, 3_177, 3_534, 6_191, 7_981, 13_984, 26_286, 49_892, 52_255];
    for seed in SEEDS {
        let scenario = draw(seed);
        assert!(scenario.shares.is_empty(), "seed {seed} is not the run any more that it was");
        let outcome = attempt(&scenario, None);
        assert!(outcome.is_ok(), "seed {seed}: {outcome:?}");
    }
}

/// Groups in share mode are no rarity among the seeds, and do all that they may.
#[test]
fn one_run_in_ten_has_a_group_in_share_mode() {
    let scenarios: Vec<_> = (1..=1_000).map(draw).collect();
    let shares: Vec<_> = scenarios.iter().flat_map(|it| &it.shares).collect();
    assert!(shares.len() >= 100, "only {}", shares.len());
    assert!(shares.iter().any(|share| share.dead_letters.is_none()));
    assert!(shares.iter().any(|share| share.sharers.iter().any(|sharer| sharer.haunts)));
    let delays = scenarios.iter().flat_map(|it| &it.producers).any(|it| it.delay_ms > 0);
    assert!(delays, "nobody delays a record");
    let in_share_mode = scenarios.iter().filter(|it| !it.shares.is_empty());
    let acts: Vec<_> = in_share_mode.flat_map(|it| &it.lives).flat_map(|it| &it.acts).collect();
    let has = |is_it: fn(&What) -> bool| acts.iter().any(|act| is_it(&act.what));
    assert!(has(|what| matches!(what, What::ResetShare { is_dry: false, .. })));
    assert!(has(|what| matches!(what, What::DeleteShare { .. })));
    assert!(has(|what| matches!(what, What::SetClock { .. })));
}

/// Groups in share mode are reset and deleted, some of these are never answered, and clocks leap
/// meanwhile; not only drawn, but met.
#[test]
fn groups_in_share_mode_meet_resets_and_clocks_that_are_set() {
    let mut met = [0; Met::ALL.len()];
    for seed in 1..=250 {
        let scenario = draw(seed);
        if !scenario.shares.is_empty() {
            let summary = attempt(&scenario, None).unwrap();
            met.iter_mut().zip(summary.met).for_each(|(all, one)| *all += one);
        }
    }
    for wanted in [Met::ShareReset, Met::ShareDeleted, Met::ShareResetOpen, Met::ShareClockSet] {
        assert!(met[wanted as usize] > 0, "{wanted:?} was never met");
    }
}

/// A member showed records that it was giving back (2246).
#[test]
fn seeds_that_found_something_in_share_mode_are_kept() {
    let scenario = draw(2_246);
    assert!(!scenario.shares.is_empty(), "it is not the run any more that it was");
    let outcome = attempt(&scenario, None);
    assert!(outcome.is_ok(), "{outcome:?}");
}

/// In this one the record of a topic's creation rots, is told, and the topic with it is not there.
#[test]
fn a_topic_may_go_with_a_journal_of_which_damage_is_told() {
    let outcome = attempt(&draw(1_393), None);
    assert!(outcome.is_ok(), "{outcome:?}");
}

/// In this one a start finds a clock of a year later than the newest of what is on disk; later data
/// was asked for and never written. What is old goes an hour later, and that is in time.
#[test]
fn a_start_may_doubt_its_clock_by_what_is_on_disk() {
    let outcome = attempt(&draw(61_125), None);
    assert!(outcome.is_ok(), "{outcome:?}");
}

/// The shrinker once left out a group and kept the question about it, which ended in a panic of the
/// simulator. What fails here is a promise: `attempt` tells of a panic as of a failure.
#[test]
fn a_scenario_without_any_one_of_its_parts_is_a_scenario() {
    let mut parts = 0;
    for seed in (1..400).chain([49_892]) {
        let scenario = draw(seed);
        let removable = scenario.removable();
        // Each act by itself would take long, and names nothing that others name.
        let is_act = |part: &Part| matches!(part, Part::Act(..));
        for (number, part) in removable.into_iter().filter(|part| !is_act(part)).enumerate() {
            let left = scenario.without(part);
            assert!(left.names_what_is_there(), "seed {seed} without {part:?}: {left}");
            // To run them all would take minutes.
            if (seed + number as u64).is_multiple_of(23) {
                parts += 1;
                let outcome = attempt(&left, None);
                assert!(outcome.is_ok(), "seed {seed} without {part:?}: {outcome:?}\n{left}");
            }
        }
    }
    assert!(parts > 50, "only {parts} were run");
}

#[test]
fn every_promise_is_kept_in_the_first_seeds() {
    let progress = Progress::default();
    let failure = Campaign { first: 1, count: 150, jobs: 2 }.run(&progress);
    if let Some(failure) = failure {
        panic!(
            "seed {}: {}\nagain: cargo run --release -p plimsoll-simulate -- --seed {}",
            failure.seed, failure.violation, failure.seed
        );
    }
    let acked = progress.acked.into_inner();
    assert!(acked > 1_000, "only {acked} records were acked: the runs do too little");
}
