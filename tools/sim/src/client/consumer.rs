//! A consumer of all partitions of a topic: what it was shown, in order.
//!
//! What a newcomer gets wrong: when a partition fails, the application makes a new consumer at its
//! position, and its way goes on as if nothing had been.

use core::fmt;
use core::time::Duration;
use std::collections::BTreeMap;

use plimsoll_client::{Consumer, ConsumerEvent, ConsumerOptions, Instant, Offset, Session, Topic};
use plimsoll_sim::Network;

use super::links::{Links, Surroundings};
use crate::ledger::{Ledger, Place};
use crate::scenario::ConsumerPlan;

/// How long an application waits before it tries a failed partition again.
const RETRY: Duration = Duration::from_millis(50);

/// A consumer of the run, through all its restarts.
pub(crate) struct ConsumerClient {
    pub(crate) plan: ConsumerPlan,
    session: Option<Consumer>,
    pub(crate) links: Links,
    /// Its present ways through the partitions.
    walks: BTreeMap<u32, usize>,
    /// What follows what it was shown.
    positions: BTreeMap<u32, Offset>,
    /// A partition has failed; when to begin again.
    begin_again: Option<Instant>,
    /// How often its process has died.
    deaths: u32,
}

impl ConsumerClient {
    pub(crate) fn new(plan: ConsumerPlan) -> Self {
        Self {
            plan,
            session: None,
            links: Links::default(),
            walks: BTreeMap::new(),
            positions: BTreeMap::new(),
            begin_again: None,
            deaths: 0,
        }
    }

    /// Goes on at its positions.
    pub(crate) fn begin(&mut self, topic: &Topic, ledger: &mut Ledger, now: Instant) {
        for partition in 0..topic.partitions() {
            let place = Place { topic: self.plan.topic, partition };
            let (visible, from) = (self.plan.visible, self.position(partition));
            self.walks.entry(partition).or_insert_with(|| ledger.walk(place, visible, from));
        }
        let mut options = ConsumerOptions::default();
        options.visible = self.plan.visible;
        options.credit_bytes = self.plan.credit_bytes;
        options.positions = self.positions.clone();
        options.link = super::link_options();
        self.session = Consumer::new(topic.clone(), options, now).ok();
        self.begin_again = None;
    }

    /// Its present ways through the partitions.
    pub(crate) fn walks(&self) -> impl Iterator<Item = usize> {
        self.walks.values().copied()
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.session.is_some()
    }

    /// Its process dies. By turns it has noted no record yet, and begins at the beginning, or all
    /// but the last, and begins there, maybe within a batch.
    pub(crate) fn die(&mut self, network: &mut Network) {
        self.links.abandon(network);
        self.session = None;
        self.walks.clear();
        self.deaths += 1;
        if self.deaths.is_multiple_of(2) {
            self.positions.clear();
        }
        for position in self.positions.values_mut() {
            *position = Offset::new(position.value().saturating_sub(1));
        }
    }

    /// The offset that follows all that it was shown of a partition.
    pub(crate) fn position(&self, partition: u32) -> Offset {
        self.positions.get(&partition).copied().unwrap_or(Offset::ZERO)
    }

    pub(crate) fn is_ready(&self, network: &Network, now: Instant, reads: bool) -> bool {
        let due = self.poll_timeout().is_some_and(|timeout| timeout <= now);
        due || (reads && self.session.is_some() && self.links.have_news(network))
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let session = self.session.as_ref().and_then(Session::poll_timeout);
        self.begin_again.into_iter().chain(session).min()
    }

    pub(crate) fn turn(&mut self, ledger: &mut Ledger, around: &mut Surroundings<'_>) {
        if self.begin_again.is_some_and(|at| at <= around.now)
            && let Some(session) = self.session.take()
        {
            self.links.abandon(around.network);
            self.begin(session.topic(), ledger, around.now);
        }
        let Some(session) = &mut self.session else { return };
        loop {
            self.links.turn(session, around);
            let mut has_released = false;
            while let Some(event) = session.poll_event() {
                match event {
                    ConsumerEvent::Delivered(mut batches) => {
                        let Some(&walk) = self.walks.get(&batches.partition) else { continue };
                        for batch in batches.by_ref() {
                            let batch = match batch {
                                Ok(batch) => batch,
                                Err(error) => return ledger.violate(format!("{error}")),
                            };
                            let marks = *batch.watermarks();
                            let limit = marks.at(self.plan.visible.level());
                            for record in batch.records() {
                                let Ok(record) = record else {
                                    return ledger.violate(format!("{record:?}"));
                                };
                                if record.offset >= limit {
                                    let at = record.offset;
                                    ledger.violate(format!("{at} is shown beyond {marks:?}"));
                                }
                                let value = record.value.unwrap_or_default();
                                ledger.delivered(walk, record.offset, value);
                                let next = Offset::new(record.offset.value() + 1);
                                self.positions.insert(batch.partition(), next);
                            }
                            if marks.memory < marks.page_cache || marks.page_cache < marks.disk {
                                ledger.violate(format!("watermarks out of order: {marks:?}"));
                            }
                        }
                        session.release(&batches);
                        has_released = true;
                    }
                    ConsumerEvent::Failed { .. } => self.begin_again = Some(around.now + RETRY),
                    _ => {}
                }
            }
            if !has_released {
                return;
            }
        }
    }
}

impl fmt::Display for ConsumerClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ConsumerPlan { topic, visible, .. } = &self.plan;
        write!(f, "topic {topic} at {visible:?}: {:?}", self.positions)
    }
}
