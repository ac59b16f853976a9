//! One partition's place in a consumer: what it waits for, and what credit it has out.
//!
//! A place is used again for another partition, but only after the server has answered that the
//! handle is free. What a newcomer gets wrong: answers and deliveries of the partition before may
//! still be under way, so everything that names a place names its occupant too.

use super::delivery::Located;
use super::options::StartAt;
use crate::group::Asked;
use crate::{Instant, LinkId};
use core::time::Duration;
use plimsoll_wire::{Handle, Offset};

/// What a request on a consumer's link was for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// The next step of a subscription.
    Step(SlotId),
    /// The end of one.
    Farewell(SlotId),
    /// The group that the consumer is a member of.
    Group(Asked),
}

/// A partition of one of the topics that are consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// Its number among them.
    pub(crate) topic: usize,
    pub(crate) partition: u32,
}

/// A place among the subscriptions, and which of its occupants is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotId {
    pub(super) index: usize,
    pub(super) occupant: u32,
}

#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) place: Place,
    pub(super) link: LinkId,
    pub(super) handle: Handle,
    pub(super) occupant: u32,
    pub(super) start: StartAt,
    /// Where to go if the start lies outside the partition.
    pub(super) if_gone: IfGone,
    /// The offset that follows what was delivered.
    pub(super) next: Option<Offset>,
    /// The start that lay outside the partition, while it is found out where to go on instead.
    pub(super) missed: Option<Offset>,
    /// Where the time lies that was asked for.
    pub(super) located: Option<Located>,
    pub(super) step: Step,
    /// Nothing is to be delivered yet, wherever it starts.
    pub(super) is_held: bool,
    pub(super) retry_at: Option<Instant>,
    /// All credit that the server has, that waits here, or that it is owed.
    pub(super) granted_bytes: usize,
    /// Delivered and not yet given back by the driver.
    pub(super) unreleased_bytes: usize,
    /// Given back by the driver and not yet told to the server.
    pub(super) owed_bytes: usize,
}

/// What the subscription waits for next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Bind,
    /// Bound: find the offset if it is not known, then subscribe.
    Start,
    Deliver,
    Failed,
    /// Given up: unsubscribe and unbind are asked, and so many of them not yet answered.
    Leaving {
        unanswered: u8,
    },
    /// Nobody's.
    Free,
}

/// What becomes of a subscription whose start lies outside the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfGone {
    Fail,
    Beginning,
    End,
}

impl Subscription {
    pub(super) fn new(link: LinkId, handle: Handle) -> Subscription {
        Subscription {
            place: Place { topic: 0, partition: 0 },
            link,
            handle,
            occupant: 0,
            start: StartAt::Beginning,
            if_gone: IfGone::Fail,
            next: None,
            missed: None,
            located: None,
            step: Step::Free,
            is_held: false,
            retry_at: None,
            granted_bytes: 0,
            unreleased_bytes: 0,
            owed_bytes: 0,
        }
    }

    /// A new occupant.
    pub(super) fn occupy(&mut self, place: Place, start: StartAt, if_gone: IfGone) {
        *self = Subscription {
            place,
            start,
            if_gone,
            occupant: self.occupant,
            step: Step::Bind,
            ..Subscription::new(self.link, self.handle)
        };
    }

    pub(super) fn is_occupied(&self) -> bool {
        !matches!(self.step, Step::Leaving { .. } | Step::Free)
    }
}

/// The smallest share of the credit: a partition with less would wait for every record.
pub(super) const CREDIT_BYTES_MIN: usize = 4 << 10;

/// The wait before a request is made again that the server was too busy for.
pub(crate) const RETRY_DELAY: Duration = Duration::from_millis(200);
