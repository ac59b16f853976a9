//! What the members of a group in share mode agree on.
//!
//! It is not kept: after a restart of the server the members bring it again. What a newcomer gets
//! wrong: a dead-letter topic is a name. Deleted and created again, it is used again.

use alloc::borrow::ToOwned;
use alloc::string::String;
use core::fmt;
use core::time::Duration;

use plimsoll_wire::{ShareBegin, ShareSettings};

const LOCK_MS: u32 = 30_000;
const DELIVERIES_MAX: u32 = 5;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SharePolicy {
    /// How long a member has a record to itself.
    pub(crate) lock: Duration,
    /// How often a record is handed out.
    pub(crate) deliveries_max: u32,
    /// Where the group begins in a partition of which it knows nothing.
    pub(crate) begin: ShareBegin,
    /// Where dead records go.
    pub(crate) dead_letter: Option<String>,
}

impl SharePolicy {
    /// What is asked for, with the server's values where nothing is.
    pub(crate) fn of(settings: &ShareSettings<'_>) -> Self {
        let or = |wanted: u32, default: u32| if wanted == 0 { default } else { wanted };
        let dead_letter = settings.dead_letter;
        Self {
            lock: Duration::from_millis(u64::from(or(settings.lock_ms, LOCK_MS))),
            deliveries_max: or(settings.deliveries_max, DELIVERIES_MAX),
            begin: settings.begin,
            dead_letter: (!dead_letter.is_empty()).then(|| dead_letter.to_owned()),
        }
    }
}

impl fmt::Display for SharePolicy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a lock of {} ms, ", self.lock.as_millis())?;
        match self.deliveries_max {
            u32::MAX => formatter.write_str("any number of deliveries, ")?,
            max => write!(formatter, "{max} deliveries at most, ")?,
        }
        match &self.dead_letter {
            Some(topic) => write!(formatter, "dead letters to {topic}, ")?,
            None => formatter.write_str("no dead-letter topic, ")?,
        }
        match self.begin {
            ShareBegin::Beginning => formatter.write_str("from the beginning"),
            ShareBegin::End => formatter.write_str("from the end"),
            ShareBegin::Timestamp { unix_ms } => write!(formatter, "from the time {unix_ms}"),
        }
    }
}
