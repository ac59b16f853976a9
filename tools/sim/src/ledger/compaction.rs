//! What may be missing from a topic that is compacted by key.
//!
//! A record goes only for a later one of its key that is there, or, if it deletes its key, when it
//! has stayed for as long as was asked and nothing is left that it hides. What a newcomer gets
//! wrong: for which later record one went is known only at the end, and whether it was old enough
//! only when somebody comes past its place.

use std::collections::{BTreeMap, BTreeSet};

use plimsoll_device::Instant;
use plimsoll_wire::{CleanupPolicy, Offset, TopicCleanup};

use super::{Entry, Ledger, Place, Walk};
use crate::keyed::Keyed;
use crate::met::Met;
use crate::scenario::{CompactionAges, CompactionPlan, TopicPlan};
use crate::value::RecordId;

/// What a batch adds to its only record, at most: its header, and the record's own bytes and key.
const BATCH_BYTES: u64 = 61 + 128;

/// How a topic may be cleaned up: from when somebody asked for it until he was answered another
/// thing.
#[derive(Clone, Copy)]
struct InForce {
    cleanup: TopicCleanup,
    is_answered: bool,
    ended: Option<Instant>,
}

/// What is known of compacted topics.
#[derive(Default)]
pub(crate) struct Compactions {
    plans: Vec<Option<CompactionPlan>>,
    /// Of each topic that is compacted at some time, in the order in which they were asked for.
    in_force: BTreeMap<usize, Vec<InForce>>,
    /// No deletion of a key is begun any more.
    deletes_no_more: bool,
    /// Deletions of keys that were seen to be gone before they were old enough for it.
    gone_young: BTreeSet<RecordId>,
    /// Topics that had the time to be compacted, and what may not be sealed of a partition.
    pub(crate) rested: BTreeMap<usize, u64>,
}

impl Compactions {
    pub(crate) fn new(topics: &[TopicPlan]) -> Self {
        let plans: Vec<_> = topics.iter().map(|topic| topic.compaction).collect();
        let first = |plan: &CompactionPlan| InForce {
            cleanup: plan.at_first(),
            is_answered: true,
            ended: None,
        };
        let in_force = (0..).zip(&plans);
        let in_force = in_force.filter_map(|(topic, plan)| Some((topic, vec![first(&(*plan)?)])));
        Self { in_force: in_force.collect(), plans, ..Self::default() }
    }

    /// The operator asks for a topic to be cleaned up so. It may be from now on, answered or not.
    pub(crate) fn ask_to_alter(&mut self, topic: usize, cleanup: TopicCleanup) {
        let asked = InForce { cleanup, is_answered: false, ended: None };
        self.in_force.entry(topic).or_default().push(asked);
    }

    /// The operator was answered that a topic is cleaned up so from now on.
    pub(crate) fn altered(&mut self, topic: usize, cleanup: TopicCleanup, now: Instant) {
        let of_topic = self.in_force.entry(topic).or_default();
        for earlier in of_topic.iter_mut() {
            earlier.ended.get_or_insert(now);
        }
        of_topic.push(InForce { cleanup, is_answered: true, ended: None });
    }

    /// How a topic is cleaned up, as was answered last.
    pub(crate) fn answered(&self, topic: usize) -> Option<TopicCleanup> {
        let of_topic = self.in_force.get(&topic)?;
        of_topic.iter().rfind(|it| it.is_answered).map(|it| it.cleanup)
    }

    /// How a topic is said to be cleaned up is how that was answered last, or how somebody has
    /// asked for it since.
    pub(crate) fn check_cleanup(&self, topic: usize, said: TopicCleanup) -> Result<(), String> {
        let Some(of_topic) = self.in_force.get(&topic) else { return Ok(()) };
        if of_topic.iter().any(|it| it.ended.is_none() && it.cleanup == said) {
            return Ok(());
        }
        let answered = self.answered(topic);
        Err(format!("topic {topic} is said to be {said:?}, and was altered to {answered:?}"))
    }

    /// How old something has to be that was begun then: the least of what may have been in force
    /// since. None: nobody has the topic compacted.
    fn ages(&self, topic: usize, begun: Instant) -> Option<CompactionAges> {
        let since = self.in_force.get(&topic)?.iter();
        let since = since.filter(|it| it.ended.is_none_or(|ended| ended >= begun));
        let compacting = since.filter(|it| it.cleanup.policy != CleanupPolicy::Delete);
        let ages = compacting.map(|it| CompactionAges {
            lag_ms: it.cleanup.compaction_lag_ms,
            tombstone_retention_ms: it.cleanup.tombstone_retention_ms,
        });
        ages.reduce(|one, other| CompactionAges {
            lag_ms: one.lag_ms.min(other.lag_ms),
            tombstone_retention_ms: one.tombstone_retention_ms.min(other.tombstone_retention_ms),
        })
    }

    /// Whether a topic is compacted at some time or other: its records have keys.
    pub(crate) fn compacts(&self, topic: usize) -> bool {
        self.plan(topic).is_some()
    }

    fn plan(&self, topic: usize) -> Option<CompactionPlan> {
        self.plans.get(topic).copied().flatten()
    }

    /// The key of a record of this topic that is about to be begun.
    pub(crate) fn keyed(&self, topic: usize, id: RecordId) -> Keyed {
        let plan = self.plan(topic);
        plan.map_or(Keyed::default(), |plan| Keyed::of(&plan, id, !self.deletes_no_more))
    }

    pub(crate) fn deletes_no_more(&mut self) {
        self.deletes_no_more = true;
    }
}

impl Ledger {
    /// A reader was shown what is at `to`, and nothing since `last`: what is known to be in between
    /// has gone, and must have been old enough.
    pub(super) fn passed_over(&mut self, walk: usize, last: Option<Offset>, to: Offset) {
        let Walk { place, from, .. } = self.walks[walk];
        let from = last.map_or(from, |last| Offset::new(last.value() + 1));
        if !self.compactions.compacts(place.topic) || self.is_damaged || from >= to {
            return;
        }
        let between = self.told.range((place, from)..(place, to));
        let gone: Vec<(Offset, RecordId)> = between.map(|((_, at), id)| (*at, *id)).collect();
        for (offset, id) in gone {
            let entry = &self.entries[id.0 as usize];
            let was_there = entry.required && entry.offset == Some(offset);
            if was_there && offset >= self.starts.known(place) {
                self.missed((place, offset), id);
            }
        }
    }

    /// Something that was acked is not there.
    fn missed(&mut self, (place, offset): (Place, Offset), id: RecordId) {
        let Entry { keyed, written_ms, begun, .. } = self.entries[id.0 as usize];
        let is_young = |age_ms| self.starts.clock.is_young(age_ms, written_ms, begun);
        let why_not = match self.compactions.ages(place.topic, begun) {
            None => Some(String::from("nobody has its topic compacted")),
            Some(CompactionAges { lag_ms, tombstone_retention_ms }) => {
                if keyed.deletes && is_young(tombstone_retention_ms) {
                    self.compactions.gone_young.insert(id);
                }
                let is_within_lag = lag_ms > 0 && is_young(lag_ms);
                is_within_lag.then(|| format!("it was written less than {lag_ms} ms ago"))
            }
        };
        let Some(why_not) = why_not else { return };
        self.note_what_may_go(place);
        if !self.starts.may_have_gone(place, offset) {
            self.violate(format!("{place:?}: {id:?} at {offset} is gone, and {why_not}"));
        }
    }

    /// Whether a later record of its key may have taken a record's place, as far as is known now.
    pub(super) fn may_be_superseded(&self, entry: &Entry) -> bool {
        let is_later = |other: &Entry| {
            other.place == entry.place
                && other.keyed.key == entry.keyed.key
                && (other.offset.is_none() || other.offset > entry.offset || other.keyed.deletes)
        };
        entry.keyed.key.is_some() && self.entries.iter().any(is_later)
    }
}

/// What of one partition that is compacted may be missing at the end.
pub(crate) struct Excuses<'a> {
    ledger: &'a Ledger,
    plan: CompactionPlan,
    /// The last record of each key that is there.
    there: BTreeMap<u32, Offset>,
    /// Deletions of each key that may have gone by now; those of which nobody knows where they
    /// were count as the last.
    gone: BTreeMap<u32, Offset>,
}

impl<'a> Excuses<'a> {
    /// None for a topic that is not compacted.
    pub(crate) fn of(
        ledger: &'a Ledger,
        place: Place,
        log: &BTreeMap<Offset, RecordId>,
    ) -> Option<Self> {
        let plan = ledger.compactions.plan(place.topic)?;
        let (mut there, mut gone) = (BTreeMap::new(), BTreeMap::new());
        for (offset, id) in log {
            if let Some(key) = ledger.entry(*id).and_then(|entry| entry.keyed.key) {
                there.insert(key, *offset);
            }
        }
        let of_place = (0..).map(RecordId).zip(&ledger.entries).filter(|it| it.1.place == place);
        for (id, entry) in of_place.filter(|(_, entry)| entry.keyed.deletes) {
            let Entry { written_ms, begun, .. } = *entry;
            let is_young = |ages: CompactionAges| {
                let stays_ms = ages.tombstone_retention_ms;
                ledger.starts.clock.is_young(stays_ms, written_ms, begun)
                    || ledger.compactions.gone_young.contains(&id)
            };
            let stays = ledger.compactions.ages(place.topic, begun).is_none_or(is_young);
            if let (Some(key), false) = (entry.keyed.key, stays) {
                let last = gone.entry(key).or_insert(Offset::ZERO);
                *last = entry.offset.unwrap_or(Offset::MAX).max(*last);
            }
        }
        Some(Self { ledger, plan, there, gone })
    }

    /// Why a record that is not there may be gone; none: it may not.
    pub(crate) fn excuse(&self, entry: &Entry) -> Option<Met> {
        let (key, offset) = (entry.keyed.key?, entry.offset?);
        match self.there.get(&key) {
            Some(last) if *last > offset => Some(Met::Compacted),
            // It deletes its key, and went between what one reader saw and what another did.
            Some(last)
                if entry.keyed.deletes && *last == offset && self.gone.get(&key) >= Some(last) =>
            {
                Some(Met::DeletionGone)
            }
            // What is left of the key is older: it would be back.
            Some(_) => None,
            None => self.gone.get(&key).filter(|it| **it >= offset).map(|_| Met::DeletionGone),
        }
    }

    /// Whether a record that was read at the end was there for everybody until then, also for who
    /// read later.
    pub(crate) fn stays(&self, id: RecordId) -> bool {
        let Some(entry) = self.ledger.entry(id) else { return true };
        let (Some(key), Some(offset)) = (entry.keyed.key, entry.offset) else { return true };
        let may_end = entry.keyed.deletes && self.gone.get(&key) >= Some(&offset);
        self.there.get(&key) == Some(&offset) && !may_end
    }

    /// Whether there is no more than compaction leaves when it has had the time: as much as it must
    /// leave, nearly as much again that is not worth a pass, and `active_bytes` of a segment that
    /// takes data.
    pub(crate) fn check_size(
        &self,
        log: &BTreeMap<Offset, RecordId>,
        active_bytes: u64,
    ) -> Result<(), String> {
        let entries: Vec<&Entry> = log.values().filter_map(|id| self.ledger.entry(*id)).collect();
        let size = |entry: &&Entry| entry.length as u64 + BATCH_BYTES;
        if entries.iter().any(|entry| entry.is_compressed) {
            // It stays as it is, and with it what nobody knows not to be the latest of its key.
            return Ok(());
        }
        let largest = entries.iter().map(size).max().unwrap_or(0);
        let keyless: u64 = entries.iter().filter(|it| it.keyed.key.is_none()).map(size).sum();
        let clean = u64::from(self.plan.keys) * largest + keyless + BATCH_BYTES;
        let there: u64 = entries.iter().map(|entry| entry.length as u64).sum();
        if there <= 2 * clean + active_bytes {
            return Ok(());
        }
        Err(format!("{there} bytes are there, of which {clean} stay and {active_bytes} may wait"))
    }
}
