//! What the main thread and the shards' threads tell each other.
//!
//! Two flags one way, one channel the other way; no state of a shard is shared. What a newcomer
//! gets wrong: a flag wakes nobody. Whoever sets one also rings the shards' doorbells.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::ServeError;

/// What the main thread asks of all shards.
#[derive(Default)]
pub(crate) struct Control {
    accept: AtomicBool,
    stop: AtomicBool,
}

impl Control {
    /// Clients may come.
    pub(crate) fn start_accepting(&self) {
        self.accept.store(true, Ordering::Release);
    }

    /// The server is to finish.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    pub(crate) fn accepting(&self) -> bool {
        self.accept.load(Ordering::Acquire)
    }

    pub(crate) fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

/// What a shard's thread tells the main thread.
#[derive(Debug)]
pub(crate) enum ShardNews {
    /// It serves; every shard has seeded.
    Serving,
    /// It has stopped; true when all of it is durable in its journal.
    Stopped {
        /// Nothing of it is in memory only.
        clean: bool,
    },
    /// It could not start, or cannot go on.
    Ended(ServeError),
}
