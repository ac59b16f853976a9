//! Resets and deletions of a group in share mode: what was said before counts no more.
//!
//! A reset that was answered has happened, once and for all, and one that was refused has not. Of
//! one of which nobody heard an answer either may be true, for each partition, but nothing in
//! between; and it may still happen while that process lives. What a newcomer gets wrong: a group
//! is reset while it has no members, so that everybody was one before it or after it. By that, and
//! not by the time at which it is heard, what is heard belongs to one side.

use std::collections::BTreeMap;

use plimsoll_wire::{MemberId, Offset};

use super::version::Version;
use super::{At, Deliveries, Shelf, When};
use crate::ledger::Place;

/// Where each partition is to begin; none: it is to be forgotten.
pub(crate) type WantedStarts = BTreeMap<Place, Option<Offset>>;

/// Which of a group's resets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShareResetId(usize);

/// A reset.
pub(super) struct Reset {
    wanted: WantedStarts,
    life: usize,
    asked_ms: i64,
    fate: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Nobody knows, and it still may happen.
    Open,
    /// It was answered.
    Done { heard_ms: i64 },
    /// It was refused, or nobody will know.
    Over,
}

/// What may hold since a reset: one of these.
pub(super) struct Layer {
    since: Option<ShareResetId>,
    versions: Vec<Version>,
}

/// On which side of a reset a member is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Before,
    After,
    Unknown,
}

impl Default for Layer {
    fn default() -> Self {
        Self { since: None, versions: vec![Version::default()] }
    }
}

impl Shelf {
    fn top(&mut self) -> &mut Layer {
        if self.layers.is_empty() {
            self.layers.push(Layer::default());
        }
        let last = self.layers.len() - 1;
        &mut self.layers[last]
    }
}

impl Deliveries {
    /// Somebody asks for a reset.
    pub(crate) fn ask_reset(&mut self, wanted: &WantedStarts, when: When) -> ShareResetId {
        let (life, asked_ms) = (when.life, when.now_ms);
        self.resets.push(Reset { wanted: wanted.clone(), life, asked_ms, fate: Fate::Open });
        ShareResetId(self.resets.len() - 1)
    }

    /// It has happened, to these partitions; the others were refused.
    pub(crate) fn reset_done(
        &mut self,
        id: ShareResetId,
        done: &WantedStarts,
        when: When,
    ) -> Result<(), String> {
        let reset = &mut self.resets[id.0];
        reset.wanted.clone_from(done);
        reset.fate = Fate::Done { heard_ms: when.now_ms };
        let asked_ms = reset.asked_ms;
        for (place, to) in done {
            let shelf = self.shelves.entry(*place).or_default();
            shelf.top();
            let version = Version::new(Some(id), to.unwrap_or(Offset::ZERO));
            shelf.layers.push(Layer { since: Some(id), versions: vec![version] });
            self.starts.remove(place);
        }
        let mut members = self.members.iter();
        let active = members.find(|(member, alive)| {
            alive.known_ms < asked_ms && self.is_alive(**member, when) && !done.is_empty()
        });
        match active {
            Some((member, alive)) => {
                Err(format!("it was reset to {done:?} while {member:?} was in it: {alive:?}"))
            }
            None => Ok(()),
        }
    }

    /// It has not happened, and will not.
    pub(crate) fn reset_refused(&mut self, id: ShareResetId) {
        self.resets[id.0].fate = Fate::Over;
    }

    /// The process has ended: what has not happened by now never will. Gives of how many resets
    /// nobody knows.
    pub(crate) fn end_life(&mut self) -> usize {
        let mut open = 0;
        for (number, reset) in self.resets.iter_mut().enumerate() {
            if reset.fate != Fate::Open {
                continue;
            }
            reset.fate = Fate::Over;
            open += 1;
            for (place, to) in &reset.wanted {
                let low = to.unwrap_or(Offset::ZERO);
                let version = Version::new(Some(ShareResetId(number)), low);
                self.shelves.entry(*place).or_default().top().versions.push(version);
                self.starts.remove(place);
            }
        }
        open
    }

    /// Whether a member has said what it says since a reset, as far as is known.
    pub(super) fn may_be_of(&self, since: Option<ShareResetId>, member: MemberId) -> bool {
        since.is_none_or(|reset| self.side(member, reset) != Side::Before)
    }

    pub(super) fn is_surely_of(&self, since: Option<ShareResetId>, member: MemberId) -> bool {
        since.is_none_or(|reset| self.side(member, reset) == Side::After)
    }

    fn side(&self, member: MemberId, reset: ShareResetId) -> Side {
        let Reset { life, asked_ms, fate, .. } = &self.resets[reset.0];
        let Some(alive) = self.members.get(&member) else { return Side::Unknown };
        if alive.life < *life || (alive.life == *life && alive.known_ms < *asked_ms) {
            return Side::Before;
        }
        let is_later = |heard_ms: i64| alive.born_ms.max(alive.seen_ms) > heard_ms;
        let is_after = match fate {
            Fate::Done { heard_ms } => alive.life > *life || is_later(*heard_ms),
            _ => alive.life > *life,
        };
        if is_after { Side::After } else { Side::Unknown }
    }

    /// Whether one was a member before the last reset of a partition, and the other one after it.
    pub(super) fn is_of_before(&self, place: Place, one: MemberId, other: MemberId) -> bool {
        let layers = self.shelves.get(&place).map_or(&[][..], |shelf| &shelf.layers[..]);
        let mut resets = layers.iter().filter_map(|layer| layer.since);
        resets.any(|reset| {
            self.side(one, reset) == Side::Before && self.side(other, reset) == Side::After
        })
    }

    /// Whether a reset may lie between one who was a member and another one.
    pub(super) fn may_part(&self, place: Place, one: MemberId, other: MemberId) -> bool {
        let mut resets = self.resets.iter().enumerate();
        resets.any(|(number, reset)| {
            let id = ShareResetId(number);
            reset.fate != Fate::Over
                && reset.wanted.contains_key(&place)
                && self.side(one, id) != Side::After
                && self.side(other, id) != Side::Before
        })
    }

    /// Nobody who was a member before a reset is one after it.
    pub(super) fn check_member(
        &self,
        place: Place,
        member: MemberId,
        since_ms: i64,
    ) -> Result<(), String> {
        let life = self.members.get(&member).map(|alive| alive.life);
        for (number, reset) in self.resets.iter().enumerate() {
            if let Fate::Done { heard_ms } = reset.fate
                && life == Some(reset.life)
                && since_ms > heard_ms
                && reset.wanted.contains_key(&place)
                && self.side(member, ShareResetId(number)) == Side::Before
            {
                return Err(format!("{place:?} was reset, and {member:?} is still in the group"));
            }
        }
        Ok(())
    }

    /// Which layer what a member says and hears belongs to, and whether that is sure.
    fn layer_of(&self, place: Place, member: MemberId) -> (usize, bool) {
        let layers = self.shelves.get(&place).map_or(&[][..], |shelf| &shelf.layers[..]);
        let may_be = |layer: &Layer| self.may_be_of(layer.since, member);
        let at = layers.iter().rposition(may_be).unwrap_or(0);
        (at, layers.get(at).is_none_or(|layer| self.is_surely_of(layer.since, member)))
    }

    /// What must hold of what a member says, if it is sure which that is.
    pub(super) fn versions_of(&mut self, place: Place, member: MemberId) -> &mut [Version] {
        self.shelves.entry(place).or_default().top();
        let (at, is_sure) = self.layer_of(place, member);
        let layers = self.shelves.get_mut(&place).map(|shelf| &mut shelf.layers);
        match layers.and_then(|layers| layers.get_mut(at)) {
            Some(layer) if is_sure => &mut layer.versions,
            _ => &mut [],
        }
    }

    /// What a member was told agrees with a version of what may hold; those with which it does not
    /// are no longer possible.
    pub(super) fn hold(
        &mut self,
        place: Place,
        member: MemberId,
        check: impl Fn(&Version, &Self) -> Result<(), String>,
    ) -> Result<(), String> {
        self.shelves.entry(place).or_default().top();
        let (at, is_sure) = self.layer_of(place, member);
        if !is_sure {
            return Ok(());
        }
        let layers = &self.shelves[&place].layers;
        let outcomes: Vec<_> =
            layers[at].versions.iter().map(|version| check(version, self)).collect();
        let Some(first) = outcomes.iter().find_map(|outcome| outcome.clone().err()) else {
            return Ok(());
        };
        if outcomes.iter().any(Result::is_ok) {
            let shelf = self.shelves.entry(place).or_default();
            let mut outcomes = outcomes.iter();
            shelf.layers[at].versions.retain(|_| outcomes.next().is_none_or(Result::is_ok));
            return Ok(());
        }
        let is_top = at + 1 == layers.len();
        let open = self.open_resets(place);
        let happened = open.into_iter().find(|version| self.may_be_of(version.since, member));
        let Some(version) = happened.filter(|_| is_top) else { return Err(first) };
        // It has happened by now.
        let layer = Layer { since: version.since, versions: vec![version] };
        self.shelves.entry(place).or_default().layers.push(layer);
        Ok(())
    }

    /// Whether what a member is told now belongs to what holds now.
    pub(super) fn is_of_now(&self, place: Place, member: MemberId) -> bool {
        let layers = self.shelves.get(&place).map_or(0, |shelf| shelf.layers.len());
        let (at, is_sure) = self.layer_of(place, member);
        at + 1 >= layers && is_sure
    }

    /// What may hold now, each with all that it allows.
    pub(super) fn possible(&self, place: Place) -> Vec<Version> {
        let top = self.shelves.get(&place).and_then(|shelf| shelf.layers.last());
        let versions = top.map_or_else(|| vec![Version::default()], |top| top.versions.clone());
        versions.into_iter().chain(self.open_resets(place)).collect()
    }

    /// Before the wall clock shows this nobody is handed a record, as somebody asked for.
    pub(super) fn due_unix_ms(&self, at: At) -> i64 {
        let versions = self.possible(at.0);
        versions.iter().filter_map(|version| version.due_unix_ms(at.1)).max().unwrap_or(0)
    }

    /// What holds if a reset has happened of which nobody knows.
    fn open_resets(&self, place: Place) -> Vec<Version> {
        let open = self.resets.iter().enumerate().filter(|(_, it)| it.fate == Fate::Open);
        let of_it = open.filter_map(|(number, reset)| {
            let low = reset.wanted.get(&place)?.unwrap_or(Offset::ZERO);
            Some(Version::new(Some(ShareResetId(number)), low))
        });
        of_it.collect()
    }
}

#[cfg(test)]
mod tests;
