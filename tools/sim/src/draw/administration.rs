//! Groups that are reset and deleted, while members come and go, and shortly before an end.
//!
//! In a part of the runs with groups, and from a stream of its own. What a newcomer gets wrong: the
//! server refuses it while the group has a member, and one that has died is a member until it is
//! missed.

use plimsoll_sim::{Random, Survival};

use crate::scenario::{Act, End, Life, ResetTo, Scenario, What};

/// In how many of 1,000 runs with groups these are administered.
const PERMILLE: u64 = 500;

/// In how many of 1,000 runs with a group in share mode that one is.
const SHARE_PERMILLE: u64 = 800;

/// A group, by its number.
#[derive(Clone, Copy)]
enum Of {
    Group(usize),
    Share(usize),
}

/// Has groups administered in a scenario, or leaves it as it is.
pub(super) fn make(scenario: &mut Scenario) {
    let mut random = Random::new(scenario.seed).stream("administration");
    let random = &mut random;
    if scenario.groups.is_empty() || !random.chance(PERMILLE) {
        return;
    }
    let groups = scenario.groups.len() as u64;
    insert(scenario, random, |random| Of::Group(random.below(groups) as usize));
}

/// As [`make`], of groups in share mode.
pub(super) fn make_of_shares(scenario: &mut Scenario) {
    let mut random = Random::new(scenario.seed).stream("administration in share mode");
    let random = &mut random;
    if scenario.shares.is_empty() || !random.chance(SHARE_PERMILLE) {
        return;
    }
    let shares = scenario.shares.len() as u64;
    insert(scenario, random, |random| Of::Share(random.below(shares) as usize));
    for life in &mut scenario.lives {
        if random.chance(350) {
            cut_off(life, Of::Share(random.below(shares) as usize), random);
        }
    }
}

/// Power fails while a reset is on its way to the disk, which rests: it was not answered, and has
/// happened as a whole or not at all.
fn cut_off(life: &mut Life, of: Of, random: &mut Random) {
    let acts = [
        (0, dismiss(of, 5_000)),
        (1_900_000, What::DiskPause { ms: 400 }),
        (0, what(random, of)),
        (4_000 + random.below(40_000), What::Nothing),
    ];
    life.acts.extend(acts.map(|(wait_us, what)| Act { wait_us, what }));
    (life.cut_after, life.cut_at_flush, life.cut_at_served_flush) = (None, None, None);
    let survivals = [Survival::Nothing, Survival::Nothing, Survival::Random, Survival::Newest];
    life.end = End::Power(survivals[random.below(4) as usize]);
}

fn insert(scenario: &mut Scenario, random: &mut Random, which: impl Fn(&mut Random) -> Of) {
    let times_max = [2, 3, 6][random.below(3) as usize];
    for life in &mut scenario.lives {
        for _ in 0..random.below(times_max) {
            let of = which(random);
            let acts = once(random, of);
            let at = random.below(life.acts.len() as u64 + 1) as usize;
            let behind = at + acts.len();
            life.acts.splice(at..at, acts);
            if random.chance(250) {
                // The end comes soon after the answer, or before it.
                life.acts.truncate(behind);
                let most_us = [500, 3_000, 30_000][random.below(3) as usize];
                let wait_us = random.below(most_us);
                life.acts.push(Act { wait_us, what: What::Nothing });
                life.cut_after = None;
                if random.chance(700) {
                    life.end = End::Power(Survival::Nothing);
                }
            }
        }
    }
}

/// A group is left by its members, most often, and then something is done to it.
fn once(random: &mut Random, of: Of) -> Vec<Act> {
    let mut acts = Vec::new();
    if random.chance(800) {
        let ms = [300, 900, 2_500][random.below(3) as usize];
        // They have done something by then.
        let wait_us = [0, 600_000, 2_600_000][random.below(3) as usize];
        acts.push(Act { wait_us, what: dismiss(of, ms) });
    }
    if random.chance(200) {
        acts.push(Act { wait_us: 0, what: What::DiskPause { ms: 1 + random.below(60) as u32 } });
    }
    let waits_us = [0, 5_000, 50_000, 700_000, 1_700_000];
    let wait_us = waits_us[random.below(5) as usize];
    acts.push(Act { wait_us, what: what(random, of) });
    if random.chance(300) {
        let wait_us = random.below(400_000);
        acts.push(Act { wait_us, what: what(random, of) });
    }
    if random.chance(300) {
        let what = match of {
            Of::Group(group) => What::DescribeGroup { group },
            Of::Share(share) => What::DescribeShare { share },
        };
        acts.push(Act { wait_us: random.below(20_000), what });
    }
    acts
}

fn dismiss(of: Of, ms: u32) -> What {
    match of {
        Of::Group(group) => What::Dismiss { group, ms },
        Of::Share(share) => What::DismissShare { share, ms },
    }
}

fn what(random: &mut Random, of: Of) -> What {
    let to = match random.below(8) {
        0..2 => ResetTo::Beginning,
        2 => ResetTo::End,
        3 => ResetTo::MsAgo(random.below(3_000) as i64),
        _ => ResetTo::Permille(random.below(1_001) as u32),
    };
    let is_deletion = random.below(10) < 2;
    let mut is_dry = || random.chance(120);
    match of {
        Of::Group(group) if is_deletion => What::DeleteGroup { group },
        Of::Group(group) => What::ResetGroup { group, to, is_dry: is_dry() },
        Of::Share(share) if is_deletion => What::DeleteShare { share },
        Of::Share(share) => {
            let is_dry = is_dry();
            What::ResetShare { share, nth: random.below(2) as usize, to, is_dry }
        }
    }
}
