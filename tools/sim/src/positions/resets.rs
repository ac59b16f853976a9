//! Resets of a group's positions, and its deletion: the one thing by which a position goes back.
//!
//! A reset that was asked for may happen from then on; one that was answered has happened, once and
//! for all, and one that was refused has not. What a newcomer gets wrong: one of which nobody heard
//! an answer may still happen while that process lives, behind whatever else was asked since.

use std::collections::BTreeMap;

use plimsoll_client::Instant;
use plimsoll_wire::Offset;

use super::{Known, Positions, View, raise};

/// Where each partition's position is to be; none: it is to be forgotten.
pub(crate) type Wanted = BTreeMap<u32, Option<Offset>>;

/// Which of a group's resets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ResetId(usize);

/// A reset.
pub(super) struct Reset {
    wanted: Wanted,
    /// Nobody knows whether it has happened, and it still may.
    is_open: bool,
    /// What was known before it was asked for.
    before: Known,
    /// Members that had partitions then, by their seats.
    active: Vec<(usize, Instant)>,
}

impl Positions {
    /// Somebody asks for a reset.
    pub(crate) fn ask_reset(&mut self, wanted: &Wanted, (now, life): (Instant, usize)) -> ResetId {
        let active = self.views.iter().filter(|(_, view)| view.is_active(now, life));
        let active = active.map(|(seat, view)| (*seat, view.since)).collect();
        let before = self.committed.clone();
        for (partition, to) in wanted {
            let known = self.committed.get(partition).copied();
            match to {
                Some(to) => {
                    raise(&mut self.asked, *partition, *to);
                    raise(&mut self.asked_since, *partition, *to);
                    let from = known.unwrap_or(Offset::ZERO);
                    // The group never consumes what lies between.
                    self.missed.push((*partition, from..*to));
                    self.committed.entry(*partition).and_modify(|it| *it = (*to).min(*it));
                }
                None => drop(self.committed.remove(partition)),
            }
        }
        self.forget_work(wanted);
        self.resets.push(Reset { wanted: wanted.clone(), is_open: true, before, active });
        ResetId(self.resets.len() - 1)
    }

    /// It has happened, to these partitions; the others were refused.
    pub(crate) fn reset_done(
        &mut self,
        ResetId(at): ResetId,
        done: &Wanted,
        (now, life): (Instant, usize),
    ) -> Result<(), String> {
        let reset = &mut self.resets[at];
        reset.is_open = false;
        let (before, active) = (reset.before.clone(), reset.active.clone());
        let refused: Vec<u32> =
            reset.wanted.keys().filter(|it| !done.contains_key(it)).copied().collect();
        for partition in refused {
            self.restore(partition, &before);
        }
        if !self.has_open_reset() {
            for (partition, to) in done {
                self.asked_since.remove(partition);
                self.committed.remove(partition);
                if let Some(to) = to {
                    raise(&mut self.asked_since, *partition, *to);
                    raise(&mut self.committed, *partition, *to);
                }
            }
        }
        self.forget_work(done);
        let is_still = |(seat, since): &&(usize, Instant)| {
            let view = self.views.get(seat);
            view.is_some_and(|view| view.is_active(now, life) && view.since == *since)
        };
        match active.iter().find(is_still) {
            Some((seat, _)) => {
                Err(format!("it was reset to {done:?} while seat {seat} was a member"))
            }
            None => Ok(()),
        }
    }

    /// It has not happened, and will not.
    pub(crate) fn reset_refused(&mut self, ResetId(at): ResetId) {
        let reset = &mut self.resets[at];
        reset.is_open = false;
        let (before, partitions) = (reset.before.clone(), reset.wanted.clone());
        for partition in partitions.keys() {
            self.restore(*partition, &before);
        }
    }

    /// The process has ended: what has not happened by now never will.
    pub(crate) fn end_life(&mut self) {
        let open: Vec<Wanted> =
            self.resets.iter().filter(|it| it.is_open).map(|it| it.wanted.clone()).collect();
        open.iter().for_each(|wanted| self.forget_work(wanted));
        self.resets.iter_mut().for_each(|reset| reset.is_open = false);
    }

    pub(super) fn has_open_reset(&self) -> bool {
        self.resets.iter().any(|reset| reset.is_open)
    }

    /// What is committed at least, if it was `least` for who knew `before`.
    pub(super) fn reset_since(
        &self,
        before: &super::Knowledge,
        partition: u32,
        least: Option<Offset>,
    ) -> Option<Offset> {
        let since = self.resets[before.resets..].iter();
        let of_it = since.filter_map(|reset| reset.wanted.get(&partition));
        of_it.fold(least, |least, to| least.min(*to))
    }

    /// Whether records from a reset on may be handed out once more now.
    pub(super) fn may_be_reset(&self, partition: u32, offset: Offset) -> bool {
        let open = self.resets.iter().filter(|it| it.is_open);
        let mut of_it = open.filter_map(|reset| reset.wanted.get(&partition));
        of_it.any(|to| to.is_none_or(|to| to <= offset))
    }

    fn restore(&mut self, partition: u32, before: &Known) {
        if let (Some(before), false) = (before.get(&partition), self.has_open_reset()) {
            raise(&mut self.committed, partition, *before);
        }
    }

    /// From there on everything is consumed anew.
    fn forget_work(&mut self, wanted: &Wanted) {
        if self.plan.commits == crate::scenario::Commits::Before {
            self.work.retain(|(partition, offset), _| {
                let to = wanted.get(partition);
                to.is_none_or(|to| to.is_some_and(|to| *offset < to))
            });
        }
        if wanted.values().any(Option::is_none) {
            // Of a group that is gone and comes again, generations are counted anew.
            self.given.clear();
        }
    }
}

impl View {
    /// The server cannot take it for dead, and it has partitions.
    fn is_active(&self, now: Instant, life: usize) -> bool {
        self.life == life && self.alive_until > now && !self.partitions.is_empty()
    }
}
