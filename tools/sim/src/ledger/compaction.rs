//! What may be missing from a topic that is compacted by key.
//!
//! A record goes only for a later one of its key that is there, or, if it deletes its key, when it
//! has stayed for as long as was asked and nothing is left that it hides. What a newcomer gets
//! wrong: for which later record one went is known only at the end, and whether it was old enough
//! only when somebody comes past its place.

use std::collections::{BTreeMap, BTreeSet};

use plimsoll_wire::{CleanupPolicy, Offset};

use super::{Entry, Ledger, Place, Walk};
use crate::keyed::Keyed;
use crate::met::Met;
use crate::scenario::{CompactionPlan, TopicPlan};
use crate::value::RecordId;

/// What a batch adds to its only record, at most: its header, and the record's own bytes and key.
const BATCH_BYTES: u64 = 61 + 128;

/// What is known of compacted topics.
#[derive(Default)]
pub(crate) struct Compactions {
    plans: Vec<Option<CompactionPlan>>,
    /// Which topics are compacted, as was answered last.
    compacts_now: BTreeSet<usize>,
    /// Topics of which the operator has asked for that, in which life, and was not answered.
    asked: Vec<(usize, usize)>,
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
        let is_compacted = |plan: &Option<CompactionPlan>| plan.is_some_and(|it| !it.begins_plain);
        let compacted = (0..).zip(&plans).filter(|(_, plan)| is_compacted(plan));
        let compacts_now = compacted.map(|(topic, _)| topic).collect();
        Self { plans, compacts_now, ..Self::default() }
    }

    /// The operator asks for a topic to be compacted, or not to be.
    pub(crate) fn ask_to_alter(&mut self, topic: usize, life: usize) {
        self.asked.push((topic, life));
    }

    /// The operator was answered that a topic is compacted from now on, or not any more.
    pub(crate) fn altered(&mut self, topic: usize, compacts: bool) {
        self.asked.pop();
        if compacts {
            self.compacts_now.insert(topic);
        } else {
            self.compacts_now.remove(&topic);
        }
    }

    /// Whether a topic is compacted at present, if nobody is about to alter it.
    pub(crate) fn compacts_now(&self, topic: usize) -> bool {
        self.compacts_now.contains(&topic)
    }

    /// How a topic is said to be cleaned up is how that was answered last. What was asked for in
    /// this life and never answered may come yet.
    pub(crate) fn check_policy(
        &self,
        (topic, life): (usize, usize),
        policy: CleanupPolicy,
    ) -> Result<(), String> {
        let Some(plan) = self.plan(topic) else { return Ok(()) };
        let answered = plan.policy(self.compacts_now(topic));
        if policy == answered || self.asked.contains(&(topic, life)) {
            return Ok(());
        }
        Err(format!("topic {topic} is said to be {policy:?}, and was altered to {answered:?}"))
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
        let Some(plan) = self.compactions.plan(place.topic) else { return };
        let from = last.map_or(from, |last| Offset::new(last.value() + 1));
        if self.is_damaged || from >= to {
            return;
        }
        let between = self.told.range((place, from)..(place, to));
        let gone: Vec<(Offset, RecordId)> = between.map(|((_, at), id)| (*at, *id)).collect();
        for (offset, id) in gone {
            let entry = &self.entries[id.0 as usize];
            let was_there = entry.required && entry.offset == Some(offset);
            if !was_there || offset < self.starts.known(place) {
                continue;
            }
            let Entry { keyed, written_ms, begun, .. } = *entry;
            let is_young = |age_ms| self.starts.clock.is_young(age_ms, written_ms, begun);
            let (lag_ms, stays_ms) = (plan.lag_ms, plan.tombstone_retention_ms);
            let (is_within_lag, is_young_deletion) =
                (is_young(lag_ms), keyed.deletes && is_young(stays_ms));
            if is_young_deletion {
                self.compactions.gone_young.insert(id);
            }
            if lag_ms > 0 && is_within_lag {
                self.note_what_may_go(place);
                if !self.starts.may_have_gone(place, offset) {
                    self.violate(format!(
                        "{place:?}: {id:?} at {offset} was written less than {lag_ms} ms ago, and \
                         is gone"
                    ));
                }
            }
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
            let stays_ms = plan.tombstone_retention_ms;
            let is_young = ledger.starts.clock.is_young(stays_ms, written_ms, begun)
                || ledger.compactions.gone_young.contains(&id);
            if let (Some(key), false) = (entry.keyed.key, is_young) {
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
