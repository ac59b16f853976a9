//! A member that says what it got, what it says of it, and what of that was answered.
//!
//! What a newcomer gets wrong: only what `flush` has answered counts as told. That a verdict is
//! given is said before it is, so that one that was taken is never unheard of.

use std::collections::BTreeSet;
use std::time::Duration;

use plimsoll_client_blocking::{Client, ShareConsumer, ShareError, ShareOptions, SharedRecord};
use plimsoll_tests::{Random, value_id};

use super::{DEAD, GROUP, JOBS};
use crate::crew::Voice;

/// What was handed to somebody else is free after this, if that one was not heard any more.
const LOCK: Duration = Duration::from_secs(2);
const RECORDS_AT_ONCE_MAX: u64 = 40;
/// For an answer, and for a dead letter, before it is the server's to have it copied.
const SETTLE: Duration = Duration::from_millis(250);
/// For records.
const WAIT: Duration = Duration::from_millis(50);

/// Partition and offset.
pub(super) type Place = (u32, u64);

/// What comes of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Accepted,
    Rejected,
    Released,
}

/// What a member says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It was handed the record with this number.
    Handed { place: Place, id: u64 },
    /// It is about to say so.
    Given { place: Place, verdict: Verdict },
    /// The server has taken it.
    Answered { place: Place, verdict: Verdict },
}

/// Whether a member rejects this job, whoever it is.
pub(super) fn is_rejected(id: u64) -> bool {
    id % 23 == 7
}

pub(super) struct Member {
    consumer: ShareConsumer,
    /// Whoever has none gives final verdicts alone.
    random: Option<Random>,
    voice: Voice<Heard>,
}

impl Member {
    pub(super) fn join(
        address: &str,
        random: Option<Random>,
        voice: Voice<Heard>,
    ) -> Result<Member, String> {
        let client = Client::connect(address).map_err(|error| error.to_string())?;
        let mut options = ShareOptions::default();
        options.lock = LOCK;
        options.deliveries_max = u32::MAX;
        options.dead_letter = Some(DEAD.to_owned());
        options.settle_timeout = SETTLE;
        let consumer = client.share_consumer(&[JOBS], GROUP, options);
        let consumer = consumer.map_err(|error| error.to_string())?;
        Ok(Member { consumer, random, voice })
    }

    /// Until it is over, or the membership is.
    pub(super) fn work(mut self) -> Result<(), String> {
        while !self.voice.is_over() {
            let random = self.random.as_mut();
            let most = random.map_or(RECORDS_AT_ONCE_MAX, |it| it.below(1..RECORDS_AT_ONCE_MAX));
            let records = match self.consumer.poll(most as usize, WAIT) {
                Ok(records) => records,
                Err(ShareError::Disconnected { .. }) => continue,
                Err(error) => return Err(error.to_string()),
            };
            let given: Vec<(Place, Verdict)> =
                records.iter().map(|record| self.judge(record)).collect();
            let untaken = self.settle()?;
            for (place, verdict) in given {
                if !untaken.contains(&place) {
                    self.voice.say(Heard::Answered { place, verdict });
                }
            }
        }
        Ok(())
    }

    fn judge(&mut self, record: &SharedRecord) -> (Place, Verdict) {
        let place = (record.partition, record.offset.value());
        let id = record.value().and_then(value_id);
        let id = id.unwrap_or_else(|| panic!("the job at {place:?} is changed"));
        self.voice.say(Heard::Handed { place, id });
        let is_released = self.random.as_mut().is_some_and(|it| it.once_in(8));
        let verdict = match is_released {
            true => Verdict::Released,
            false if is_rejected(id) => Verdict::Rejected,
            false => Verdict::Accepted,
        };
        self.voice.say(Heard::Given { place, verdict });
        match verdict {
            Verdict::Accepted => self.consumer.accept(record),
            Verdict::Rejected => self.consumer.reject(record, "chosen"),
            Verdict::Released => {
                let delay_ms = self.random.as_mut().map_or(0, |it| it.below(0..200));
                self.consumer.release(record, Duration::from_millis(delay_ms));
            }
        }
        (place, verdict)
    }

    /// Waits until every verdict is answered, or it is over; those that were not taken.
    fn settle(&self) -> Result<BTreeSet<Place>, String> {
        loop {
            match self.consumer.flush() {
                Ok(()) => return Ok(BTreeSet::new()),
                Err(ShareError::NotSettled(unsettled)) => {
                    let places = unsettled.iter().map(|of| (of.partition, of.offset.value()));
                    return Ok(places.collect());
                }
                Err(ShareError::Pending { .. } | ShareError::Disconnected { .. })
                    if !self.voice.is_over() => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}
