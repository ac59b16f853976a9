//! A consumer of all partitions of a topic: what it was shown, in order.
//!
//! What a newcomer gets wrong: when a partition fails, the application makes a new consumer at its
//! position, and its way goes on as if nothing had been.

use core::fmt;
use core::time::Duration;
use std::collections::BTreeMap;

use plimsoll_client::{
    Consumer, ConsumerEvent, ConsumerOptions, DeliveredBatches, ErrorCode, Instant, Offset,
    Session, Topic,
};
use plimsoll_sim::Network;
use plimsoll_wire::Visible;

use super::links::{Links, Surroundings};
use crate::keyed::Shown;
use crate::ledger::{Ledger, Place};
use crate::scenario::ConsumerPlan;

/// How long an application waits before it tries a failed partition again.
const RETRY: Duration = Duration::from_millis(50);

/// How long a consumer that hoards keeps what it was given.
const HOARDS: Duration = Duration::from_millis(3);
/// The least that a session gives as credit for one partition.
const CREDIT_BYTES_MIN: usize = 4 << 10;

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
    /// What it was given, and gave no credit back for.
    held: Vec<DeliveredBatches>,
    /// When it does.
    release_at: Option<Instant>,
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
            held: Vec::new(),
            release_at: None,
        }
    }

    /// Where its way through a partition begins.
    pub(crate) fn begin_at(&mut self, partition: u32, offset: Offset) {
        self.positions.insert(partition, offset);
    }

    /// Goes on at its positions.
    pub(crate) fn begin(&mut self, topic: &Topic, ledger: &mut Ledger, now: Instant) {
        for partition in 0..topic.partitions() {
            let place = Place { topic: self.plan.topic, partition };
            let (visible, from) = (self.plan.visible, self.position(partition));
            let walk = self.walks.entry(partition);
            let walk = walk.or_insert_with(|| ledger.walk(place, visible, from));
            ledger.walk_on(*walk);
        }
        let mut options = ConsumerOptions::default();
        options.visible = self.plan.visible;
        options.credit_bytes = self.plan.credit_bytes;
        options.positions = self.positions.clone();
        options.link = super::link_options();
        self.session = Consumer::new(topic.clone(), options, now).ok();
        (self.begin_again, self.release_at) = (None, None);
        self.held.clear();
    }

    /// Its present ways through the partitions.
    pub(crate) fn walks(&self) -> impl Iterator<Item = usize> {
        self.walks.values().copied()
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.session.is_some()
    }

    /// Its process dies. By turns it has noted all but the last record, nothing, or two thirds, and
    /// begins there, maybe within a batch.
    pub(crate) fn die(&mut self, network: &mut Network) {
        self.links.abandon(network);
        self.session = None;
        self.walks.clear();
        self.deaths += 1;
        for position in self.positions.values_mut() {
            *position = Offset::new(match self.deaths % 3 {
                1 => position.value().saturating_sub(1),
                2 => 0,
                _ => position.value() / 3 * 2,
            });
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
        self.begin_again.into_iter().chain(self.release_at).chain(session).min()
    }

    pub(crate) fn turn(&mut self, ledger: &mut Ledger, around: &mut Surroundings<'_>) {
        if self.begin_again.is_some_and(|at| at <= around.now)
            && let Some(session) = self.session.take()
        {
            self.links.abandon(around.network);
            self.begin(session.topic(), ledger, around.now);
        }
        let Some(session) = &mut self.session else { return };
        let share = self.plan.credit_bytes / session.topic().partitions().max(1);
        let share = (share as usize).max(CREDIT_BYTES_MIN);
        loop {
            let mut has_released = false;
            if self.release_at.is_some_and(|at| at <= around.now) {
                self.release_at = None;
                for batches in self.held.drain(..) {
                    session.release(&batches);
                    has_released = true;
                }
            }
            self.links.turn(session, around);
            while let Some(event) = session.poll_event() {
                match event {
                    ConsumerEvent::Delivered(mut batches) => {
                        let Some(&walk) = self.walks.get(&batches.partition) else { continue };
                        let visible = self.plan.visible;
                        let positions = &mut self.positions;
                        if let Err(text) =
                            note_all(&mut batches, positions, ledger, (walk, visible))
                        {
                            return ledger.violate(text);
                        }
                        let of_it = self.held.iter().filter(|it| it.partition == batches.partition);
                        let held: usize = of_it.map(DeliveredBatches::credit_bytes).sum();
                        if held >= share {
                            let text =
                                format!("{held} bytes wait, {share} are its credit, and more");
                            return ledger.violate(text);
                        }
                        if self.plan.hoards {
                            self.held.push(batches);
                            self.release_at.get_or_insert(around.now + HOARDS);
                            continue;
                        }
                        session.release(&batches);
                        has_released = true;
                    }
                    ConsumerEvent::Failed { partition, error, .. } => {
                        ledger.heard_of_read(self.plan.topic, partition, error.code);
                        self.begin_again = Some(around.now + RETRY);
                        let start = Offset::new(error.detail_a);
                        let position = self.positions.entry(partition).or_insert(Offset::ZERO);
                        if error.code == ErrorCode::OffsetOutOfRange && start > *position {
                            // Its place has gone from the front: it goes on at what is left.
                            let place = Place { topic: self.plan.topic, partition };
                            ledger.saw_start(place, start, Offset::ZERO);
                            *position = start;
                        }
                    }
                    _ => {}
                }
            }
            if !has_released {
                return;
            }
        }
    }
}

/// Notes every record that was delivered on a walk, and where the consumer stands behind it.
fn note_all(
    batches: &mut DeliveredBatches,
    positions: &mut BTreeMap<u32, Offset>,
    ledger: &mut Ledger,
    (walk, visible): (usize, Visible),
) -> Result<(), String> {
    for batch in batches.by_ref() {
        let batch = batch.map_err(|error| error.to_string())?;
        let marks = *batch.watermarks();
        let limit = marks.at(visible.level());
        for record in batch.records() {
            let record = record.map_err(|error| format!("{error:?}"))?;
            if record.offset >= limit {
                ledger.violate(format!("{} is shown beyond {marks:?}", record.offset));
            }
            if ledger.has_copies(ledger.walks[walk].place) {
                let headers = record.headers.clone();
                let headers: Vec<(&[u8], &[u8])> =
                    headers.map(|it| (it.name, it.value.unwrap_or_default())).collect();
                let topic = ledger.walks[walk].place.topic;
                ledger.saw_copy(topic, record.value.unwrap_or_default(), &headers);
            }
            ledger.delivered(walk, &Shown::of(&record));
            positions.insert(batch.partition(), Offset::new(record.offset.value() + 1));
        }
        if marks.memory < marks.page_cache || marks.page_cache < marks.disk {
            ledger.violate(format!("watermarks out of order: {marks:?}"));
        }
    }
    Ok(())
}

impl fmt::Display for ConsumerClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ConsumerPlan { topic, visible, .. } = &self.plan;
        write!(f, "topic {topic} at {visible:?}: {:?}", self.positions)
    }
}
