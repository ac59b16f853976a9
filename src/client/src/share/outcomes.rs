//! What a driver tells the application when it has waited.
//!
//! Drivers wait and know addresses; what the waiting has come to is judged here, once for all of
//! them. What a newcomer gets wrong: a verdict that was not answered in time is not given up, so
//! that its flush may be called again.

use alloc::string::String;
use alloc::vec::Vec;
use core::iter::from_fn;

use super::{SettleId, ShareConsumer, ShareError, ShareNotice, SharedRecord};
use crate::Instant;

impl ShareConsumer {
    /// Up to `records_max` records, from now on at work; none if none is ready.
    pub fn poll_records(&mut self, records_max: usize, now: Instant) -> Option<Vec<SharedRecord>> {
        let records: Vec<SharedRecord> =
            from_fn(|| self.poll_record(now)).take(records_max).collect();
        (!records.is_empty()).then_some(records)
    }

    /// Everything that the member has heard since the last call.
    pub fn take_notices(&mut self) -> Vec<ShareNotice> {
        from_fn(|| self.poll_notice()).collect()
    }

    /// Why there is no answer, if there is no connection. The driver knows to which address.
    #[must_use]
    pub fn disconnected(&self, address: &str) -> Option<ShareError> {
        let fault = self.last_fault()?.clone();
        Some(ShareError::Disconnected { address: String::from(address), fault })
    }

    /// What a flush has come to that waited for everything up to `last`, or for long enough.
    ///
    /// # Errors
    ///
    /// Verdicts that were not taken, or not answered yet.
    pub fn flushed(&mut self, last: SettleId, address: &str) -> Result<(), ShareError> {
        if !self.has_settled(last) {
            let pending = ShareError::Pending { verdicts: self.unsettled() };
            return Err(self.disconnected(address).unwrap_or(pending));
        }
        match self.take_unsettled() {
            unsettled if unsettled.is_empty() => Ok(()),
            unsettled => Err(ShareError::NotSettled(unsettled)),
        }
    }

    /// Nothing is to be waited for any more by who leaves: the good-bye was taken, or nobody is
    /// there to take it.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.is_ended() || self.last_fault().is_some()
    }
}
