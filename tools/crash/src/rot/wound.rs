//! Damage to a directory in memory: dealt, and taken back.

use std::fmt;

use plimsoll_tests::Random;

use super::files::Files;
use super::structures::{Region, STRUCTURES, Structure};

const BLOCK: usize = 4096;

/// What is done to the files.
#[derive(Clone, Debug)]
pub(crate) struct Wound {
    /// In words.
    pub(crate) what: String,
    /// What the first byte of it belonged to.
    pub(crate) structure: Structure,
    /// It touches a frame that no later frame knows to be on disk.
    pub(crate) touches_last_frame: bool,
    cuts: Vec<Cut>,
}

#[derive(Clone, Debug)]
enum Cut {
    Bytes { path: String, at: usize, bytes: Vec<u8> },
    Length { path: String, length: usize },
}

impl Wound {
    /// One bit of a structure; each structure as often as the others, or any bit of all.
    pub(crate) fn flip(files: &Files, map: &Places, random: &mut Random) -> Wound {
        let region = map.any(random);
        let at = random.below(region.bytes.start as u64..region.bytes.end as u64) as usize;
        let bit = random.below(0..8) as u8;
        let byte = files.0[&region.path][at] ^ (1 << bit);
        let what = format!("bit {bit} of byte {at} of {} flipped", region.path);
        let cuts = vec![Cut::Bytes { path: region.path.clone(), at, bytes: vec![byte] }];
        map.wound(what, region.structure, cuts)
    }

    /// A block zeroed, swapped, replaced by an older version of itself or by another one, or all
    /// from somewhere on cut off.
    pub(crate) fn block(
        files: &Files,
        older: &[Files],
        map: &Places,
        random: &mut Random,
    ) -> Wound {
        let region = map.any(random);
        let path = &region.path;
        let at = random.below(region.bytes.start as u64..region.bytes.end as u64) as usize;
        let at = at - at % BLOCK;
        let block = |path: &str, at: usize| {
            let bytes = &files.0[path];
            bytes[at..(at + BLOCK).min(bytes.len())].to_vec()
        };
        let there = block(path, at);
        let put = |path: &str, at, bytes| Cut::Bytes { path: path.to_owned(), at, bytes };
        let other = map.any(random);
        let other_at = other.bytes.start - other.bytes.start % BLOCK;
        let mut other_block = block(&other.path, other_at);
        let fits = other_block.len() == there.len();
        let (what, cuts) = match random.below(0..5) {
            0 => ("zeroed".to_owned(), vec![put(path, at, vec![0; there.len()])]),
            1 if fits => {
                let cuts = vec![put(path, at, other_block), put(&other.path, other_at, there)];
                (format!("swapped with byte {other_at} of {}", other.path), cuts)
            }
            2 => {
                let versions = older.iter().filter_map(|files| files.0.get(path));
                let versions = versions.filter_map(|old| old.get(at..at + there.len()));
                let versions: Vec<&[u8]> = versions.filter(|old| *old != there).collect();
                if versions.is_empty() {
                    ("zeroed".to_owned(), vec![put(path, at, vec![0; there.len()])])
                } else {
                    let old = random.one_of(&versions).to_vec();
                    ("replaced by an older version".to_owned(), vec![put(path, at, old)])
                }
            }
            3 => {
                let cut = Cut::Length { path: path.clone(), length: at };
                ("and all behind it cut off".to_owned(), vec![cut])
            }
            _ => {
                other_block.truncate(there.len());
                let what = format!("replaced by byte {other_at} of {}", other.path);
                (what, vec![put(path, at, other_block)])
            }
        };
        let what = format!("the block at byte {at} of {path} {what}");
        map.wound(what, region.structure, cuts)
    }

    /// Which files it touches, and where in each its first byte lies.
    pub(crate) fn touches(&self) -> impl Iterator<Item = (&str, usize)> {
        self.cuts.iter().map(|cut| match cut {
            Cut::Bytes { path, at, .. } => (path.as_str(), *at),
            Cut::Length { path, length } => (path.as_str(), *length),
        })
    }

    /// Deals it. What comes back takes it back.
    pub(crate) fn deal(&self, files: &mut Files) -> Healing {
        let mut healing = Vec::new();
        for cut in &self.cuts {
            match cut {
                Cut::Bytes { path, at, bytes } => {
                    let Some(file) = files.0.get_mut(path) else { continue };
                    let place = &mut file[*at..at + bytes.len()];
                    healing.push((path.clone(), *at, place.to_vec()));
                    place.copy_from_slice(bytes);
                }
                Cut::Length { path, length } => {
                    let Some(file) = files.0.get_mut(path) else { continue };
                    healing.push((path.clone(), *length, file.split_off(*length)));
                }
            }
        }
        Healing(healing)
    }
}

impl fmt::Display for Wound {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = STRUCTURES.iter().find(|(structure, _)| *structure == self.structure);
        write!(formatter, "{} ({})", self.what, name.map_or("", |(_, name)| name))
    }
}

/// What was there before a wound.
pub(crate) struct Healing(Vec<(String, usize, Vec<u8>)>);

impl Healing {
    pub(crate) fn heal(self, files: &mut Files) {
        for (path, at, bytes) in self.0.into_iter().rev() {
            let Some(file) = files.0.get_mut(&path) else { continue };
            if file.len() < at + bytes.len() {
                file.resize(at + bytes.len(), 0);
            }
            file[at..at + bytes.len()].copy_from_slice(&bytes);
        }
    }
}

/// Where damage may be dealt.
pub(crate) struct Places {
    regions: Vec<Region>,
    by_structure: Vec<Vec<usize>>,
    bytes: u64,
}

impl Places {
    pub(crate) fn new(regions: Vec<Region>) -> Places {
        let of = |structure: Structure| {
            let numbers = (0..regions.len()).filter(|at| regions[*at].structure == structure);
            numbers.collect::<Vec<usize>>()
        };
        let by_structure = STRUCTURES.iter().map(|(structure, _)| of(*structure)).collect();
        let bytes = regions.iter().map(|region| region.bytes.len() as u64).sum();
        Places { regions, by_structure, bytes }
    }

    /// Structures that the directory does not have.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let pairs = STRUCTURES.iter().zip(&self.by_structure);
        pairs.filter(|(_, places)| places.is_empty()).map(|((_, name), _)| *name).collect()
    }

    fn wound(&self, what: String, structure: Structure, cuts: Vec<Cut>) -> Wound {
        let last = self.regions.iter().filter(|it| it.structure == Structure::LastFrame);
        let last: Vec<&Region> = last.collect();
        let touches_last_frame = cuts.iter().any(|cut| {
            let (path, touched) = match cut {
                Cut::Bytes { path, at, bytes } => (path, *at..at + bytes.len()),
                // All frames are gone with the last one: that is more than a torn tail.
                Cut::Length { path, length } => (path, *length..length + 1),
            };
            last.iter().any(|region| {
                let (start, end) = (region.bytes.start, region.bytes.end);
                region.path == *path && touched.start < end && start < touched.end
            })
        });
        Wound { what, structure, touches_last_frame, cuts }
    }

    fn any(&self, random: &mut Random) -> &Region {
        if random.once_in(4) {
            let mut at = random.below(0..self.bytes);
            for region in &self.regions {
                if at < region.bytes.len() as u64 {
                    return region;
                }
                at -= region.bytes.len() as u64;
            }
        }
        loop {
            let numbers = &self.by_structure[random.below(0..STRUCTURES.len() as u64) as usize];
            if !numbers.is_empty() {
                return &self.regions[random.one_of(numbers)];
            }
        }
    }
}
