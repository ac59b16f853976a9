//! What a power loss does to each change that no flush has covered.
//!
//! It decides by the random stream or by request, and touches no file. What a newcomer gets wrong:
//! a write is not lost or kept as one. It may be torn at any sector, also with later sectors there
//! and earlier ones not.

use core::ops::Range;

use crate::random::Random;

/// Which of the changes without a flush a power loss leaves. Changes are numbered from 0 in the
/// order in which they completed; [`Disk::unflushed`](crate::Disk::unflushed) counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    /// Any of them, some torn: the random stream decides.
    Random,
    /// The latest of them, as many as the random stream decides, and none of those before: a device
    /// that writes in another order than it was asked to.
    Newest,
    /// None.
    Nothing,
    /// All.
    Everything,
    /// Only this one.
    Only(usize),
    /// All but this one.
    AllBut(usize),
}

/// What became of one write.
#[derive(Clone, Debug)]
pub(super) enum Fate {
    Lost,
    Whole,
    /// The sectors before this share of the write, in 1/1024.
    Front(usize),
    /// Each sector by itself, decided by this seed.
    Scattered(u64),
}

impl Fate {
    /// Lost, whole or torn, in comparable shares.
    pub(super) fn of_write_in_flight(random: &mut Random) -> Self {
        match random.below(3) {
            0 => Self::Lost,
            1 => Self::Whole,
            _ => Self::torn(random),
        }
    }

    pub(super) fn torn(random: &mut Random) -> Self {
        if random.chance(500) {
            Self::Front(random.index(1024))
        } else {
            Self::Scattered(random.next_u64())
        }
    }

    /// The runs of sectors that are there afterwards, of `sectors` in all.
    pub(super) fn surviving(&self, sectors: usize) -> Vec<Range<usize>> {
        let whole = |range: Range<usize>| if range.is_empty() { vec![] } else { vec![range] };
        match self {
            Self::Lost => vec![],
            Self::Whole => whole(0..sectors),
            Self::Front(share) => whole(0..sectors * share / 1024),
            Self::Scattered(seed) => {
                let mut random = Random::new(*seed);
                (0..sectors).filter(|_| random.chance(500)).map(|at| at..at + 1).collect()
            }
        }
    }
}

/// The decisions of one power loss.
pub(super) struct Fates {
    survival: Survival,
    /// The stamps without a flush, sorted; their positions are the numbers of [`Survival`].
    stamps: Vec<u64>,
    kept_permille: u64,
    /// The first that [`Survival::Newest`] keeps.
    newest_from: u64,
    random: Random,
}

impl Fates {
    pub(super) fn new(survival: Survival, stamps: Vec<u64>, random: &mut Random) -> Self {
        // A device loses all, nothing, or some: each is worth trying as often.
        let kept_permille = match random.below(4) {
            0 => 0,
            1 => 1000,
            _ => random.below(1000),
        };
        let newest_from = match survival {
            Survival::Newest if !stamps.is_empty() => stamps[random.index(stamps.len())],
            _ => 0,
        };
        let random = Random::new(random.next_u64());
        Self { survival, stamps, kept_permille, newest_from, random }
    }

    pub(super) fn of(&mut self, stamp: u64) -> Fate {
        let number = || self.stamps.binary_search(&stamp).ok();
        let kept = match self.survival {
            Survival::Random => return self.by_chance(),
            Survival::Newest => stamp >= self.newest_from,
            Survival::Nothing => false,
            Survival::Everything => true,
            Survival::Only(only) => number() == Some(only),
            Survival::AllBut(lost) => number() != Some(lost),
        };
        if kept { Fate::Whole } else { Fate::Lost }
    }

    fn by_chance(&mut self) -> Fate {
        let torn = !self.kept_permille.is_multiple_of(1000) && self.random.chance(250);
        match self.random.chance(self.kept_permille) {
            _ if torn => Fate::torn(&mut self.random),
            true => Fate::Whole,
            false => Fate::Lost,
        }
    }
}
