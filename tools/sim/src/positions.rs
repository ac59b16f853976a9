//! What a consumer group was told, asked for and did, and whether its positions were kept (P5).
//!
//! It knows what its members heard and sent, and what was handed to their applications. What a
//! newcomer gets wrong: what is heard may have been said long ago. A position is too low only
//! against what somebody knew before the question was asked.

use core::ops::Range;
use std::collections::{BTreeMap, BTreeSet};

use plimsoll_client::Instant;
use plimsoll_wire::{Generation, MemberId, Offset};

use self::resets::Reset;
use crate::scenario::{Commits, GroupPlan};

mod resets;

pub(crate) use resets::{ResetId, Wanted};

/// Committed offsets by partition, as far as anybody knows of them.
pub(crate) type Known = BTreeMap<u32, Offset>;

/// What was known of a group when somebody asked something.
#[derive(Clone, Debug, Default)]
pub(crate) struct Knowledge {
    pub(crate) committed: Known,
    /// How many resets had been asked for; and whether one of them was open.
    resets: usize,
    is_open: bool,
}

impl Knowledge {
    /// What was known later takes the place of what was known before.
    pub(crate) fn renew(&mut self, later: &Self) {
        if later.resets >= self.resets {
            *self = later.clone();
        }
    }
}

/// The books of one group.
pub(crate) struct Positions {
    pub(crate) plan: GroupPlan,
    /// Not every offset has a record: a position may lie behind some that are gone.
    has_gaps: bool,
    /// What is committed durably, as somebody was told.
    committed: Known,
    /// The highest that anybody asked to commit, ever, and since the last reset that was answered.
    asked: Known,
    asked_since: Known,
    /// Every reset that was asked for.
    resets: Vec<Reset>,
    /// What follows the highest record that a member has worked off.
    worked: Known,
    /// Members were told that the group goes on behind these, which it has not consumed.
    missed: Vec<(u32, Range<Offset>)>,
    /// How often each record was worked on.
    work: BTreeMap<(u32, Offset), u32>,
    /// Who was given a partition last, and by which assignment.
    given: BTreeMap<u32, (Generation, MemberId)>,
    /// What the members that live now hold, each by its seat.
    views: BTreeMap<usize, View>,
}

/// What a living member may hand out.
#[derive(Clone, Debug, Default)]
struct View {
    partitions: BTreeSet<u32>,
    /// The server cannot take it for dead before this.
    alive_until: Instant,
    /// The life of the server of which that is true.
    life: usize,
    /// Since when it has any.
    since: Instant,
}

impl Positions {
    pub(crate) fn new(plan: &GroupPlan, has_gaps: bool) -> Self {
        Self {
            plan: plan.clone(),
            has_gaps,
            committed: Known::new(),
            asked: Known::new(),
            asked_since: Known::new(),
            resets: Vec::new(),
            worked: Known::new(),
            missed: Vec::new(),
            work: BTreeMap::new(),
            given: BTreeMap::new(),
            views: BTreeMap::new(),
        }
    }

    /// What is known now, for who asks something.
    pub(crate) fn known(&self) -> Knowledge {
        Knowledge {
            committed: self.committed.clone(),
            resets: self.resets.len(),
            is_open: self.has_open_reset(),
        }
    }

    /// Whether what was said to who knew `before` was said when what is known now held.
    pub(crate) fn is_of_now(&self, before: &Knowledge) -> bool {
        before.resets == self.resets.len() && !before.is_open
    }

    /// Whether the group has consumed all up to before `end`, and knows that this is safe.
    pub(crate) fn has_committed(&self, partition: u32, end: Offset) -> bool {
        self.committed.get(&partition).is_some_and(|committed| *committed >= end)
    }

    /// A member was told that the group goes on elsewhere, because what it wanted has gone.
    pub(crate) fn miss(&mut self, partition: u32, missed: Range<Offset>) {
        self.missed.push((partition, missed));
    }

    /// Whether the group was told to go on at `end`, or beyond.
    pub(crate) fn has_missed(&self, partition: u32, end: Offset) -> bool {
        self.missed.iter().any(|(of, missed)| *of == partition && missed.end >= end)
    }

    /// An application has decided to go on at `to`, where the partition begins.
    pub(crate) fn skip_to(&mut self, partition: u32, to: Offset) {
        raise(&mut self.worked, partition, to);
    }

    /// A member to which nothing is known to be committed asks to commit an offset. Of a group that
    /// wants only what comes from now on, it is where it begins.
    pub(crate) fn begin_at(&mut self, partition: u32, offset: Offset) {
        if self.worked.get(&partition).is_none_or(|worked| *worked < offset) {
            self.miss(partition, Offset::ZERO..offset);
            raise(&mut self.worked, partition, offset);
        }
    }

    /// A member asks to commit an offset.
    pub(crate) fn ask(&mut self, partition: u32, offset: Offset) -> Result<(), String> {
        raise(&mut self.asked, partition, offset);
        raise(&mut self.asked_since, partition, offset);
        let worked = self.worked.get(&partition).copied();
        let is_ahead = worked.is_none_or(|worked| worked < offset);
        if self.plan.commits != Commits::Before && is_ahead && !self.has_gaps {
            return Err(format!(
                "partition {partition}: a commit of {offset} is asked for, ahead of the work, \
                 which has come to {worked:?}"
            ));
        }
        Ok(())
    }

    /// Whether somebody else was given the partition by a later assignment than `generation`.
    pub(crate) fn is_given_on(
        &self,
        partition: u32,
        (member, generation): (MemberId, Generation),
    ) -> bool {
        let given = self.given.get(&partition);
        given.is_some_and(|(since, other)| *other != member && *since > generation)
    }

    /// Somebody is told what is committed. `before` is what was known when he asked.
    pub(crate) fn told(
        &mut self,
        partition: u32,
        offset: Option<Offset>,
        before: &Knowledge,
    ) -> Result<(), String> {
        let least = before.committed.get(&partition).copied();
        if let Some(before) = self.reset_since(before, partition, least)
            && offset.is_none_or(|offset| offset < before)
        {
            return Err(format!(
                "partition {partition}: the committed offset goes back from {before} to {offset:?}"
            ));
        }
        let Some(offset) = offset else { return Ok(()) };
        let is_of_now = self.is_of_now(before);
        let asked = if is_of_now { &self.asked_since } else { &self.asked };
        let asked = asked.get(&partition);
        if asked.is_none_or(|asked| *asked < offset) {
            return Err(format!(
                "partition {partition}: {offset} is committed, and nobody asked for more than \
                 {asked:?}"
            ));
        }
        if is_of_now {
            raise(&mut self.committed, partition, offset);
        }
        Ok(())
    }

    /// A member is told that it has a partition by an assignment, and had it not by the one before.
    pub(crate) fn give(
        &mut self,
        partition: u32,
        member: MemberId,
        generation: Generation,
    ) -> Result<(), String> {
        match self.given.get(&partition) {
            Some((since, other)) if *since == generation && *other != member => Err(format!(
                "partition {partition}: given to two members by one assignment, {generation:?}"
            )),
            Some((since, _)) if *since > generation => Ok(()),
            _ => {
                self.given.insert(partition, (generation, member));
                Ok(())
            }
        }
    }

    /// The server has heard a member at `sent_at`, or later: how long it is one at least.
    pub(crate) fn heard_by_server(&mut self, seat: usize, sent_at: Instant, life: usize) {
        let timeout = u64::from(self.plan.session_timeout_ms);
        let view = self.views.entry(seat).or_default();
        let until = sent_at + core::time::Duration::from_millis(timeout);
        let before = if view.life == life { view.alive_until } else { Instant::ORIGIN };
        (view.alive_until, view.life) = (until.max(before), life);
    }

    /// The member of a seat may hand out records of these partitions now.
    pub(crate) fn hold(
        &mut self,
        seat: usize,
        partitions: &BTreeSet<u32>,
        (now, life): (Instant, usize),
    ) -> Result<(), String> {
        let is_alive = |view: &View| view.life == life && view.alive_until > now;
        let view = self.views.entry(seat).or_default();
        let before = std::mem::replace(&mut view.partitions, partitions.clone());
        if before.is_empty() {
            view.since = now;
        }
        if !is_alive(view) {
            // It may be out, and not know.
            return Ok(());
        }
        for partition in partitions.difference(&before) {
            let other = self.views.iter().find(|(other, view)| {
                **other != seat && is_alive(view) && view.partitions.contains(partition)
            });
            if let Some((other, _)) = other {
                return Err(format!(
                    "partition {partition}: seat {seat} has it, and seat {other} has not let go"
                ));
            }
        }
        Ok(())
    }

    /// The member of a seat is gone, or about to.
    pub(crate) fn let_go(&mut self, seat: usize) {
        self.views.remove(&seat);
    }

    /// A record is handed to the application: under `before`, nobody else ever gets it.
    pub(crate) fn hand_out(&mut self, partition: u32, offset: Offset) -> Result<(), String> {
        if self.plan.commits != Commits::Before || self.may_be_reset(partition, offset) {
            return Ok(());
        }
        let times = self.work.entry((partition, offset)).or_default();
        *times += 1;
        if *times > 1 {
            return Err(format!("partition {partition}: {offset} is handed out once more"));
        }
        Ok(())
    }

    /// A record was worked off.
    pub(crate) fn work_off(&mut self, partition: u32, offset: Offset) {
        if self.plan.commits != Commits::Before {
            *self.work.entry((partition, offset)).or_default() += 1;
        }
        raise(&mut self.worked, partition, Offset::new(offset.value() + 1));
    }

    /// At the end: what is committed was worked off, every record of it.
    pub(crate) fn judge(
        &self,
        partition: u32,
        log: impl Iterator<Item = Offset>,
    ) -> Result<(), String> {
        let Some(committed) = self.committed.get(&partition) else { return Ok(()) };
        if self.plan.commits == Commits::Before {
            return Ok(());
        }
        for offset in log.take_while(|offset| offset < committed) {
            let is_it =
                |(of, missed): &(u32, Range<Offset>)| *of == partition && missed.contains(&offset);
            if !self.work.contains_key(&(partition, offset)) && !self.missed.iter().any(is_it) {
                return Err(format!(
                    "partition {partition}: {committed} is committed, and {offset} was never \
                     worked off"
                ));
            }
        }
        Ok(())
    }
}

fn raise(known: &mut Known, partition: u32, offset: Offset) {
    let highest = known.entry(partition).or_insert(offset);
    *highest = offset.max(*highest);
}
