//! Whether damage was noticed, named where it is, and kept from readers.

use std::collections::BTreeMap;

use plimsoll_storage::{
    Damage, Finding, PartitionId, TopicRecord, VerifyError, partition_directory, verify,
};

use super::files::Files;
use super::replay::{Answer, Delivered, Outcome};
use super::wound::Wound;
use crate::violation::Violation;

/// Where the base offset is in a batch.
const BASE: std::ops::Range<usize> = 0..8;
/// Where the epoch is.
const EPOCH: std::ops::Range<usize> = 12..16;

/// What `verify` said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verified {
    /// Damage, in the damaged file, at or before the damaged byte.
    Named,
    /// A note: a torn tail, an unknown file.
    Noted,
    Silent,
}

/// What a start and its readers made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Served {
    /// It did not start, with a sentence.
    Refused,
    /// It started, and said what it does not serve or append to.
    Told,
    /// Less was there, as after a torn tail.
    Cut,
    /// A batch alone in its epoch, behind a gap, was delivered at another offset of the gap.
    Moved,
    /// Everything was delivered.
    Whole,
}

/// What readers got.
#[derive(Clone, Copy, Debug, Default)]
struct Harm {
    is_short: bool,
    is_told: bool,
    is_moved: bool,
}

/// Verifies the damaged files and compares what was served with what should have been.
pub(crate) fn judge(
    wound: &Wound,
    files: &mut Files,
    outcome: &Outcome,
    sound: &BTreeMap<PartitionId, Answer>,
) -> Result<(Verified, Served), Violation> {
    let (verified, words) = verified(wound, files)?;
    let Outcome::Served { damages, partitions } = outcome else {
        if verified == Verified::Silent {
            return Err(broken(wound, "a start refuses it and verify says nothing"));
        }
        return Ok((verified, Served::Refused));
    };
    let mut all = Harm { is_told: !damages.is_empty(), ..Harm::default() };
    for (id, expected) in sound {
        let Some(answer) = partitions.get(id) else { continue };
        let harm = compare(wound, *id, answer, expected, !damages.is_empty())?;
        if (harm.is_short || harm.is_told) && !may_harm(wound, *id) {
            let words = format!("{id} suffers from damage of another: {:?}", answer.damages);
            return Err(broken(wound, &words));
        }
        all.is_short |= harm.is_short;
        all.is_told |= harm.is_told;
        all.is_moved |= harm.is_moved;
    }
    let served = match all {
        Harm { is_told: true, .. } => Served::Told,
        Harm { is_short: true, .. } => Served::Cut,
        Harm { is_moved: true, .. } => Served::Moved,
        Harm { .. } => Served::Whole,
    };
    if served == Served::Told && verified == Verified::Silent {
        return Err(broken(wound, "a server names damage and verify says nothing"));
    }
    // A known limit: nothing tells a torn last frame from a rotten one.
    if served == Served::Cut && !wound.touches_last_frame {
        let words = words.join("; ");
        return Err(broken(wound, &format!("cut like a torn tail; verify says: {words}")));
    }
    Ok((verified, served))
}

fn verified(wound: &Wound, files: &mut Files) -> Result<(Verified, Vec<String>), Violation> {
    let (mut damages, mut notes): (Vec<Damage>, Vec<String>) = (Vec::new(), Vec::new());
    let end = verify(files, topic_record, &mut |finding| match finding {
        Finding::Damage(damage) => damages.push(damage),
        Finding::Note { path, what } => notes.push(format!("{path}: {what}")),
    });
    if let Err(error) = end {
        let is_manifest = wound.touches().any(|(path, _)| path == "MANIFEST");
        let is_named = is_manifest && !matches!(error, VerifyError::Unreadable(_));
        return match is_named {
            true => Ok((Verified::Named, vec![error.to_string()])),
            false => Err(broken(wound, &format!("verify gives up: {error}"))),
        };
    }
    let words: Vec<String> = damages.iter().map(ToString::to_string).collect();
    if damages.is_empty() {
        let verified = if notes.is_empty() { Verified::Silent } else { Verified::Noted };
        return Ok((verified, notes));
    }
    let is_named = damages.iter().any(|damage| {
        let mut touched = wound.touches();
        touched.any(|(path, at)| {
            let is_there = damage.path == path && damage.position_bytes <= at as u64;
            // What contradicts the manifest names both.
            is_there
                || (path == "MANIFEST" && damage.what.contains(path))
                || is_behind(damage, path)
        })
    });
    match is_named {
        true => Ok((Verified::Named, words)),
        false => Err(broken(wound, &format!("verify names another place: {}", words.join("; ")))),
    }
}

/// A known limit: of the only batch of a segment nothing but the segment behind tells the offset.
fn is_behind(damage: &Damage, path: &str) -> bool {
    let directory = |path: &str| path.rsplit_once('/').map(|(directory, _)| directory.to_owned());
    let is_front = damage.position_bytes == 0 && damage.path.as_str() > path;
    is_front && directory(&damage.path) == directory(path)
}

/// What is delivered is what should be, in order; what is left out in the middle was named.
fn compare(
    wound: &Wound,
    id: PartitionId,
    answer: &Answer,
    expected: &Answer,
    is_journal_told: bool,
) -> Result<Harm, Violation> {
    let is_told = !answer.damages.is_empty();
    let (mut next, mut has_hole, mut is_moved) = (0, false, false);
    for delivered in &answer.delivered {
        let found = expected.delivered[next..].iter().position(|it| is_same(it, delivered));
        let Some(found) = found else {
            if is_moved_in_gap(&expected.delivered, next, delivered) {
                is_moved = true;
                next += 1;
                continue;
            }
            // Behind a damaged frame nobody knows of a start that moved in it.
            if delivered.base < expected.start && is_journal_told && delivered.is_genuine() {
                continue;
            }
            let near: Vec<_> =
                expected.delivered[next.saturating_sub(2)..].iter().take(4).collect();
            let near: Vec<_> = near.iter().map(|it| (it.base, it.next, it.bytes.len())).collect();
            let words = format!(
                "{id}: changed bytes are delivered at offset {} up to {}, near {near:?}",
                delivered.base, delivered.next
            );
            return Err(broken(wound, &words));
        };
        has_hole |= found > 0;
        next += found + 1;
    }
    if has_hole && !is_told {
        return Err(broken(wound, &format!("{id}: batches are left out without a word")));
    }
    let is_short = answer.delivered.len() < expected.delivered.len()
        || answer.next_offset < expected.next_offset;
    Ok(Harm { is_short, is_told, is_moved })
}

/// The same batch. No check of its own covers a batch's epoch, and no record depends on it: a
/// reader that begins at the batch takes what fits (`FORMAT.md`); verify compares more.
fn is_same(one: &Delivered, other: &Delivered) -> bool {
    (one.base, one.next) == (other.base, other.next) && is_same_body(one, other)
}

fn is_same_body(one: &Delivered, other: &Delivered) -> bool {
    let rest = |it: &Delivered| [&it.bytes[BASE.end..EPOCH.start], &it.bytes[EPOCH.end..]].concat();
    rest(one) == rest(other)
}

/// A known limit: the offset of a batch must follow, and behind a gap that a start has left any
/// offset does. A batch of the same start behind it tells; where there is none, nothing can.
fn is_moved_in_gap(expected: &[Delivered], at: usize, delivered: &Delivered) -> bool {
    let Some(meant) = expected.get(at) else { return false };
    let gap_begins = at.checked_sub(1).map_or(0, |before| expected[before].next);
    let behind = expected.get(at + 1);
    let fits = behind.is_none_or(|behind| delivered.next <= behind.base);
    let is_alone = behind.is_none_or(|it| it.bytes[EPOCH] != meant.bytes[EPOCH]);
    let is_behind_gap = gap_begins < meant.base && gap_begins <= delivered.base;
    is_behind_gap && fits && is_alone && is_same_body(delivered, meant)
}

/// A segment harms its own partition; the metadata topic, a journal and the manifest harm all.
fn may_harm(wound: &Wound, id: PartitionId) -> bool {
    let own = format!("{}/", partition_directory(id));
    wound.touches().any(|(path, _)| !path.starts_with("topics/") || path.starts_with(&own))
}

/// What a record of the metadata topic says, as `plimsoll verify` reads it.
fn topic_record(value: &[u8]) -> Option<TopicRecord> {
    let (&[version, kind, _, _], rest) = value.split_first_chunk()?;
    let (topic, rest) = rest.split_first_chunk()?;
    let topic = u32::from_le_bytes(*topic);
    match (version, kind) {
        (1..=3, 1) => {
            let partitions = u32::from_le_bytes(*rest.first_chunk()?);
            Some(TopicRecord::Created { topic, partitions })
        }
        (1, 2) => Some(TopicRecord::Deleted { topic }),
        _ => None,
    }
}

fn broken(wound: &Wound, words: &str) -> Violation {
    Violation(format!("{wound}: {words}"))
}
