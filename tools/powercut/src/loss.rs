//! What a power cut leaves of the writes that no flush covered.
//!
//! Each write is kept, lost, or torn between its sectors. Kept ones are applied in the order in
//! which they came; because any others may be missing, that gives every state that a disk which
//! writes back in any order can be cut in.

use plimsoll_tests::Random;

/// The smallest piece that a disk writes whole.
pub(crate) const SECTOR_BYTES: usize = 512;

/// How a cut chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Everything is kept: the cache was written back in time.
    Nothing,
    /// Nothing is kept.
    Everything,
    /// The first ones are kept, up to a random one, which is torn.
    Tail,
    /// Each write is kept once in so many times.
    Some(u64),
    /// Each sector of each write is kept once in so many times.
    Torn(u64),
    /// All but a random one are kept.
    AllButOne,
    /// Only a random one is kept.
    OnlyOne,
}

/// What becomes of one write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Kept,
    Lost,
    /// A bit for each sector: is it kept?
    Torn(Vec<bool>),
}

impl Loss {
    /// Any of them.
    pub(crate) fn any(random: &mut Random) -> Loss {
        match random.below(0..12) {
            0 => Loss::Nothing,
            1..=2 => Loss::Everything,
            3..=4 => Loss::Tail,
            5..=6 => Loss::Some(random.below(2..5)),
            7..=9 => Loss::Torn(random.below(2..4)),
            10 => Loss::AllButOne,
            _ => Loss::OnlyOne,
        }
    }

    /// The fate of each of these writes, given by their lengths in bytes, oldest first.
    pub(crate) fn fates(self, lengths: &[usize], random: &mut Random) -> Vec<Fate> {
        let one = random.below(0..lengths.len().max(1) as u64) as usize;
        let fate = |(index, &length): (usize, &usize)| match self {
            Loss::Nothing => Fate::Kept,
            Loss::Everything => Fate::Lost,
            Loss::Tail if index == one => torn(length, 2, random),
            Loss::Tail => kept_if(index < one),
            Loss::Some(times) => kept_if(random.once_in(times)),
            Loss::Torn(times) => torn(length, times, random),
            Loss::AllButOne => kept_if(index != one),
            Loss::OnlyOne => kept_if(index == one),
        };
        lengths.iter().enumerate().map(fate).collect()
    }
}

fn kept_if(is_kept: bool) -> Fate {
    if is_kept { Fate::Kept } else { Fate::Lost }
}

fn torn(length_bytes: usize, times: u64, random: &mut Random) -> Fate {
    let sectors = length_bytes.div_ceil(SECTOR_BYTES);
    Fate::Torn((0..sectors).map(|_| random.once_in(times)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_of_losing_keeps_what_its_name_says() {
        let lengths = [4096, 512, 8192, 1024];
        let kept = |loss: Loss, seed| {
            let fates = loss.fates(&lengths, &mut Random::new(seed));
            fates.iter().filter(|fate| **fate == Fate::Kept).count()
        };
        for seed in 0..50 {
            assert_eq!(kept(Loss::Nothing, seed), 4);
            assert_eq!(kept(Loss::Everything, seed), 0);
            assert_eq!(kept(Loss::AllButOne, seed), 3);
            assert_eq!(kept(Loss::OnlyOne, seed), 1);
            let tail = Loss::Tail.fates(&lengths, &mut Random::new(seed));
            let torn = tail.iter().position(|fate| matches!(fate, Fate::Torn(_))).unwrap();
            assert!(tail[..torn].iter().all(|fate| *fate == Fate::Kept));
            assert!(tail[torn + 1..].iter().all(|fate| *fate == Fate::Lost));
        }
    }

    #[test]
    fn a_torn_write_has_a_bit_for_each_of_its_sectors() {
        let fates = Loss::Torn(2).fates(&[4096, 513], &mut Random::new(1));
        let sectors = |fate: &Fate| match fate {
            Fate::Torn(sectors) => sectors.len(),
            _ => 0,
        };
        assert_eq!((sectors(&fates[0]), sectors(&fates[1])), (8, 2));
    }

    #[test]
    fn with_nothing_to_lose_there_is_no_fate() {
        for seed in 0..100 {
            let mut random = Random::new(seed);
            assert_eq!(Loss::any(&mut random).fates(&[], &mut random), []);
        }
    }
}
