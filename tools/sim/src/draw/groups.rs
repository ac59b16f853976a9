//! Consumer groups over the topics of a run: who is in them, and what happens to whom.
//!
//! In a part of the runs, and from a stream of its own: what else a seed draws stays as it is. What
//! a newcomer gets wrong: a group needs time. A member that falls silent is missed after half a
//! second, and for two seconds after a start only those who claim partitions have any.

use plimsoll_client::OnRemoved;
use plimsoll_sim::Random;
use plimsoll_wire::{Assignor, Visible};

use crate::scenario::{Act, Commits, GroupPlan, MemberPlan, Scenario, What};

/// In how many of 1,000 runs there are groups.
const PERMILLE: u64 = 300;

/// Adds groups to a scenario, or leaves it as it is.
pub(super) fn make(scenario: &mut Scenario) {
    let mut random = Random::new(scenario.seed).stream("groups");
    let random = &mut random;
    if !random.chance(PERMILLE) {
        return;
    }
    let topics = scenario.topics.len() as u64;
    scenario.groups = (0..1 + random.below(2)).map(|_| group(random, topics)).collect();
    let mut random_end = Random::new(scenario.seed).stream("groups from the end");
    for group in &mut scenario.groups {
        group.begins_at_end = random_end.chance(250);
    }
    let first = scenario.producers.len() + scenario.consumers.len();
    let members = scenario.seats().count() as u64;
    let groups = scenario.groups.len() as u64;
    // Some are left in peace for the whole run, some are not left in peace at all.
    let acts_max = [3, 8, 25][random.below(3) as usize];
    for life in &mut scenario.lives {
        if random.chance(600) {
            life.cut_after = None;
        }
        for _ in 0..random.below(acts_max) {
            let what = match random.below(100) {
                0..20 => What::DescribeGroup { group: random.below(groups) as usize },
                20..27 => What::Nothing,
                // Commits are under way for long, while members come and go.
                27..35 => What::DiskPause { ms: 1 + random.below(200) as u32 },
                _ => on_a_member(random, (first, members)),
            };
            let at = random.below(life.acts.len() as u64 + 1) as usize;
            life.acts.insert(at, Act { wait_us: wait_us(random), what });
        }
    }
}

fn wait_us(random: &mut Random) -> u64 {
    match random.below(10) {
        0..3 => 0,
        3..6 => random.below(5_000),
        6..8 => random.below(300_000),
        _ => random.below(2_700_000),
    }
}

fn on_a_member(random: &mut Random, (first, members): (usize, u64)) -> What {
    let client = first + random.below(members) as usize;
    match random.below(10) {
        0..5 => What::Restart { client },
        5 | 6 => What::Cut { client },
        7 => What::Silence { client, ms: 1 + random.below(2_500) as u32 },
        8 => What::Slow { client, ms: 1 + random.below(1_500) as u32 },
        _ => What::Leave { client },
    }
}

fn group(random: &mut Random, topics: u64) -> GroupPlan {
    let commits = match random.below(5) {
        0..2 => Commits::Manual { delay_ms: [0, 5, 300][random.below(3) as usize] },
        2 => Commits::Auto { interval_ms: [20, 200][random.below(2) as usize] },
        _ => Commits::Before,
    };
    GroupPlan {
        topic: random.below(topics) as usize,
        commits,
        assignor: if random.chance(700) { Assignor::Sticky } else { Assignor::Range },
        session_timeout_ms: [500, 500, 1_500][random.below(3) as usize],
        on_removed: OnRemoved::Start,
        begins_at_end: false,
        members: (0..1 + random.below(3)).map(|_| member(random)).collect(),
    }
}

fn member(random: &mut Random) -> MemberPlan {
    let levels = [Visible::Disk, Visible::Disk, Visible::PageCache, Visible::Memory];
    MemberPlan {
        is_static: random.chance(500),
        visible: levels[random.below(4) as usize],
        credit_bytes: [1, 64 << 10, 1 << 20][random.below(3) as usize],
        by_record: random.chance(500),
        work_us: [0, 300, 20_000][random.below(3) as usize],
        awaits: random.chance(500),
        note_bytes: [0, 10, 2_000][random.below(3) as usize],
    }
}
