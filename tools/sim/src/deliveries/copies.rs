//! Copies in the dead-letter topic: each is of a record, byte for byte, and says why it is there.
//!
//! What a newcomer gets wrong: a crash between the copy and the verdict makes a second copy, so
//! that any number of them is right but none.

use plimsoll_client::DeadLetterHeader;
use plimsoll_wire::{DeadReason, Offset};

use super::{At, Deliveries, Known, Word};
use crate::ledger::{Ledger, Place};
use crate::met::Met;
use crate::value::{RecordId, id_of, value_of};

/// A copy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeadCopy {
    id: RecordId,
    reason: DeadReason,
}

/// What the headers of a copy say.
#[derive(Default)]
struct Origin<'a> {
    reason: &'a str,
    topic: &'a str,
    partition: Option<u32>,
    offset: Option<u64>,
    group: &'a str,
    deliveries: Option<u32>,
}

impl<'a> Origin<'a> {
    fn of(headers: &[(&'a [u8], &'a [u8])]) -> Self {
        let mut origin = Self::default();
        for (name, value) in headers {
            let value = core::str::from_utf8(value).unwrap_or_default();
            let is = |header: DeadLetterHeader| *name == header.name().as_bytes();
            if is(DeadLetterHeader::Reason) {
                origin.reason = value;
            } else if is(DeadLetterHeader::Topic) {
                origin.topic = value;
            } else if is(DeadLetterHeader::Partition) {
                origin.partition = value.parse().ok();
            } else if is(DeadLetterHeader::Offset) {
                origin.offset = value.parse().ok();
            } else if is(DeadLetterHeader::Group) {
                origin.group = value;
            } else if is(DeadLetterHeader::Deliveries) {
                origin.deliveries = value.parse().ok();
            }
        }
        origin
    }
}

impl Ledger {
    /// The group whose dead records are copied to a topic.
    pub(crate) fn dead_letters_of(&self, topic: usize) -> Option<usize> {
        self.shares.iter().position(|share| share.plan.dead_letters == Some(topic))
    }

    /// Whether a place is in a topic of dead records.
    pub(crate) fn has_copies(&self, place: Place) -> bool {
        self.dead_letters_of(place.topic).is_some()
    }

    /// Whether what a consumer was shown is a copy; it goes into the books of its group.
    pub(crate) fn saw_copy(
        &mut self,
        topic: usize,
        value: &[u8],
        headers: &[(&[u8], &[u8])],
    ) -> bool {
        let origin = Origin::of(headers);
        let Some(share) = self.dead_letters_of(topic).filter(|_| !origin.reason.is_empty()) else {
            return false;
        };
        let outcome = self.check_copy(share, value, &origin);
        self.of_share(share, outcome);
        true
    }

    /// A topic was deleted, and copies with it.
    pub(crate) fn lose_copies(&mut self, topic: usize) {
        if let Some(share) = self.dead_letters_of(topic) {
            self.meet(Met::DeadLettersGone);
            self.shares[share].lose_copies();
        }
    }

    fn check_copy(
        &mut self,
        share: usize,
        value: &[u8],
        origin: &Origin<'_>,
    ) -> Result<(), String> {
        let id = id_of(value).ok_or("a copy has no value")?;
        let entry = self.entry(id).ok_or("a copy is of what nobody produced")?;
        let (place, length) = (entry.place, entry.length);
        if value != value_of(id, length) {
            return Err(format!("the copy of {id:?} has other bytes"));
        }
        let reason = match origin.reason {
            "rejected" => DeadReason::Rejected,
            "too many deliveries" => DeadReason::TooManyDeliveries,
            other => return Err(format!("the copy of {id:?} is there because of {other:?}")),
        };
        let offset = Offset::new(origin.offset.ok_or("a copy of no offset")?);
        let is_it = origin.topic == crate::client::name_of(place.topic)
            && origin.partition == Some(place.partition)
            && origin.group == crate::client::name_of_share(share);
        if !is_it {
            let text = format!("{}/{:?} at {offset}", origin.topic, origin.partition);
            return Err(format!("the copy of {id:?} says that it is of {text}"));
        }
        self.tell(place, offset, id);
        self.shares[share].copied((place, offset), DeadCopy { id, reason }, origin.deliveries)?;
        self.meet(Met::DeadLettered);
        Ok(())
    }
}

impl Deliveries {
    fn copied(&mut self, at: At, copy: DeadCopy, deliveries: Option<u32>) -> Result<(), String> {
        let max = self.plan.deliveries_max;
        let record = self.known_mut(at);
        let is_right = deliveries.is_some_and(|deliveries| match copy.reason {
            // Also if that was before a reset: copies stay.
            DeadReason::Rejected => record.says(Word::Refused) && (1..=max).contains(&deliveries),
            DeadReason::TooManyDeliveries => deliveries == max,
        });
        if !is_right {
            let deliveries = deliveries.unwrap_or(0);
            return Err(format!("{at:?}: {copy:?} after {deliveries} deliveries: {record:?}"));
        }
        self.copies.entry(at).or_default().push(copy);
        Ok(())
    }

    /// The dead-letter topic was deleted.
    fn lose_copies(&mut self) {
        self.copies.clear();
        let shelves = self.shelves.values_mut();
        for record in shelves.flat_map(|shelf| shelf.records.values_mut()) {
            let is_dead = record.last.is_some_and(|last| last.dead.is_some());
            let is_refused = record.says(Word::DeadLettered) || record.says(Word::Refused);
            record.may_have_lost_copy |= is_refused || is_dead;
        }
    }

    /// Whether there is a copy of this record.
    pub(super) fn has_copy(&self, at: At, id: RecordId) -> bool {
        self.copies.get(&at).is_some_and(|copies| copies.iter().any(|copy| copy.id == id))
    }

    /// The places that the group consumes.
    pub(crate) fn consumes(&self, place: Place) -> bool {
        self.plan.topics.contains(&place.topic)
    }
}

impl Known {
    /// Whether anybody has ever said it.
    fn says(&self, word: Word) -> bool {
        self.said.iter().any(|(_, said)| *said == word)
    }
}
