//! The comparison of the books at the end of a run, in the manner of Jepsen's Kafka workload.
//!
//! What can be seen at once is seen by the ledger: two values at one offset, two offsets of one
//! value, refused and yet there, out of order. Here is what only the end can tell: lost, skipped,
//! seen and then gone, holes.

use std::collections::BTreeMap;

use plimsoll_wire::{AckLevel, Offset};

use crate::ledger::{Entry, Excuses, Ledger, Place, Seen, Violation, Walk};
use crate::met::Met;
use crate::value::RecordId;

type Log = BTreeMap<Offset, RecordId>;
type AllExcuses<'a> = BTreeMap<Place, Excuses<'a>>;

/// Compares all that is known with what the `last` walks found, which read everything.
///
/// Gives what it met.
pub(crate) fn judge(ledger: &Ledger, last: &[usize]) -> Result<Vec<Met>, Violation> {
    let start = |place: &Place| ledger.starts.known(*place);
    let mut logs: BTreeMap<Place, Log> = BTreeMap::new();
    for walk in last {
        let Walk { place, seen, .. } = &ledger.walks[*walk];
        // What went while it was read was read by one and not by the other.
        let left = seen.iter().filter(|seen| seen.offset >= start(place));
        let found: Log = left.map(|seen| (seen.offset, seen.id)).collect();
        let is_compacted = ledger.compactions.compacts(place.topic);
        match logs.get_mut(place) {
            // What went while it was read was read by one and not by the other.
            Some(other) if is_compacted => keep_what_both_have(other, found),
            Some(other) if !agree(other, &found) => {
                let text = format!("{place:?}: what is in memory is not what is on disk");
                return Err(Violation(text));
            }
            Some(other) if other.len() >= found.len() => {}
            _ => drop(logs.insert(*place, found)),
        }
    }
    let excuses: AllExcuses<'_> = logs
        .iter()
        .filter_map(|(place, log)| Some((*place, Excuses::of(ledger, *place, log)?)))
        .collect();
    let met = lost(ledger, &logs, &excuses)?;
    for walk in &ledger.walks {
        let empty = Log::new();
        let is_excused = |id: RecordId| is_excused(ledger, &excuses, id);
        let log = logs.get(&walk.place).unwrap_or(&empty);
        compare(walk, log, start(&walk.place), is_excused)?;
    }
    ledger.judge_shares(&logs)?;
    for (place, log) in &logs {
        match excuses.get(place) {
            Some(excuses) => is_small(ledger, (*place, log), excuses)?,
            None => holes(ledger, *place, log)?,
        }
        for (number, group) in ledger.groups.iter().enumerate() {
            if group.plan.topic == place.topic {
                let excuses = excuses.get(place);
                let stays = |id: &RecordId| excuses.is_none_or(|excuses| excuses.stays(*id));
                let stays = log.iter().filter(|(_, id)| stays(id)).map(|(offset, _)| *offset);
                let judged = group.judge(place.partition, stays);
                judged.map_err(|text| Violation(format!("group {number}: {text}")))?;
            }
        }
    }
    Ok(met)
}

/// Whether two logs of one partition are the same, as far as both go: one may have been read on a
/// little further.
fn agree(one: &Log, other: &Log) -> bool {
    let last = |log: &Log| log.last_key_value().map(|(offset, _)| *offset);
    let Some(end) = last(one).min(last(other)) else { return true };
    one.range(..=end).eq(other.range(..=end))
}

/// Every record that must be there is there, where it was said to be.
fn lost(
    ledger: &Ledger,
    logs: &BTreeMap<Place, Log>,
    excuses: &AllExcuses<'_>,
) -> Result<Vec<Met>, Violation> {
    let mut met = Vec::new();
    for (number, entry) in (0..).zip(&ledger.entries) {
        let id = RecordId(number);
        let start = ledger.starts.known(entry.place);
        let stays = |offset: &Offset| entry.required && *offset >= start;
        let Some(offset) = entry.offset.filter(stays) else { continue };
        let found = logs.get(&entry.place).and_then(|log| log.get(&offset));
        let excuse = excuses.get(&entry.place).filter(|_| found.is_none());
        if found == Some(&id) {
            if entry.is_compressed && excuses.contains_key(&entry.place) {
                met.push(Met::CompressedStays);
            }
            continue;
        } else if let Some(why) = excuse.and_then(|excuses| excuses.excuse(entry)) {
            met.push(why);
        } else {
            return Err(Violation(format!("{id:?} is lost: {entry:?}, found {found:?}")));
        }
    }
    Ok(met)
}

/// Whether a later record of its key, or the end of a deletion, is why a record is not there.
fn is_excused(ledger: &Ledger, excuses: &AllExcuses<'_>, id: RecordId) -> bool {
    let excuse = |entry: &Entry| excuses.get(&entry.place)?.excuse(entry);
    ledger.entry(id).and_then(excuse).is_some()
}

/// Of what two read, what both were shown, and what lies behind all that one of them was.
fn keep_what_both_have(one: &mut Log, mut other: Log) {
    let last = |log: &Log| log.last_key_value().map(|(offset, _)| *offset);
    let end = last(one).min(last(&other)).unwrap_or(Offset::ZERO);
    one.retain(|offset, _| *offset > end || other.contains_key(offset));
    other.retain(|offset, _| *offset > end);
    one.append(&mut other);
}

/// What had the time to be compacted is.
fn is_small(
    ledger: &Ledger,
    (place, log): (Place, &Log),
    excuses: &Excuses<'_>,
) -> Result<(), Violation> {
    let Some(active_bytes) = ledger.compactions.rested.get(&place.topic) else { return Ok(()) };
    let checked = excuses.check_size(log, *active_bytes);
    checked.map_err(|text| Violation(format!("{place:?} is not compacted: {text}")))
}

/// What a consumer was shown is there, and what is there it was shown.
fn compare(
    walk: &Walk,
    log: &Log,
    start: Offset,
    is_excused: impl Fn(RecordId) -> bool,
) -> Result<(), Violation> {
    let Walk { place, visible, from, seen, .. } = walk;
    for Seen { offset, id, life, required, .. } in seen {
        let is_there = log.get(offset) == Some(id);
        if *required && *offset >= start && !is_there && !is_excused(*id) {
            return Err(Violation(format!(
                "{place:?}: {id:?} was shown at {offset} in life {life} to a consumer at \
                 {visible:?}, and is gone"
            )));
        }
    }
    let Some(Seen { offset: last, .. }) = seen.last() else { return Ok(()) };
    let mut shown = seen.iter().map(|seen| seen.offset).peekable();
    for (offset, id) in log.range(*from..=*last) {
        while shown.next_if(|seen| seen < offset).is_some() {}
        // It may have been compacted away between what one reader saw and what another did.
        if shown.next_if_eq(offset).is_none() && !is_excused(*id) {
            return Err(Violation(format!(
                "{place:?}: a consumer at {visible:?} that came to {last} was not shown {id:?} at \
                 {offset}"
            )));
        }
    }
    Ok(())
}

/// What survives is a prefix of what was there together; and without a loss of memory nothing is
/// lost at all.
fn holes(ledger: &Ledger, place: Place, log: &Log) -> Result<(), Violation> {
    let start = ledger.starts.known(place);
    let of_place = ledger.entries.iter().filter(|entry| entry.place == place);
    let of_place = of_place.filter(|entry| entry.offset.is_none_or(|offset| offset >= start));
    let acked: Vec<_> = of_place.filter(|entry| entry.level >= Some(AckLevel::Memory)).collect();
    // By life, the first offset that was acked in it and is gone.
    let mut gone: BTreeMap<usize, Offset> = BTreeMap::new();
    for entry in &acked {
        if let Some(offset) = entry.offset.filter(|offset| !log.contains_key(offset)) {
            let first = gone.entry(entry.acked_in).or_insert(offset);
            *first = offset.min(*first);
        }
    }
    for entry in &acked {
        let hole = gone.get(&entry.acked_in);
        if let (Some(offset), Some(hole)) = (entry.offset, hole)
            && log.contains_key(&offset)
            && *hole < offset
        {
            return Err(Violation(format!("{place:?}: {hole} is gone and {offset} is not")));
        }
    }
    let ends = log.last_key_value().map_or(start.value(), |(offset, _)| offset.value() + 1);
    if !ledger.has_lost_memory && ends - start.value() != log.len() as u64 {
        let found = log.len();
        let text = format!("{place:?}: {found} records from {start} to {ends}, memory was kept");
        return Err(Violation(text));
    }
    Ok(())
}
