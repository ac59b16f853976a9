//! What is known about a batch, for the receipts of its records.
//!
//! All records of a batch share one [`BatchFate`]; a driver puts it behind its own kind of lock
//! and wakes who waits.

use crate::{AppendError, BatchEvent, BatchOutcome};
use plimsoll_wire::{AckLevel, Offset};

/// What has become of a batch so far.
#[derive(Clone, Debug, Default)]
pub struct BatchFate {
    /// The acks so far, the shallower first.
    acks: [Option<(AckLevel, Offset)>; 2],
    settled: Option<BatchOutcome>,
}

/// A record that was acked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Its partition.
    pub partition: u32,
    /// Its place there.
    pub offset: Offset,
    /// How deep it sits.
    pub level: AckLevel,
}

impl BatchFate {
    /// Notes what an event says.
    pub fn note<A>(&mut self, event: &BatchEvent<A>) {
        if let BatchOutcome::Acked { base_offset, level } = event.outcome {
            let place = usize::from(self.acks[0].is_some());
            self.acks[place] = Some((level, base_offset));
        }
        if event.is_final {
            self.settled = Some(event.outcome.clone());
        }
    }

    /// Whether nothing more will be heard.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.settled.is_some()
    }

    /// What is known of a record of the batch at `level`; `None`: nothing yet.
    #[must_use]
    pub fn of_record(
        &self,
        partition: u32,
        index: u32,
        level: AckLevel,
    ) -> Option<Result<Ack, AppendError>> {
        let reached = self.acks.iter().flatten().find(|(reached, _)| *reached >= level);
        let outcome = match (reached, &self.settled) {
            (Some(&(level, base_offset)), _) => BatchOutcome::Acked { base_offset, level },
            (None, Some(BatchOutcome::Acked { .. })) => {
                return Some(Err(AppendError::LevelNotAsked { level }));
            }
            (None, Some(outcome)) => outcome.clone(),
            (None, None) => return None,
        };
        let acked = outcome.of_record(partition, index).acked();
        Some(acked.map(|(partition, offset, level)| Ack { partition, offset, level }))
    }
}
