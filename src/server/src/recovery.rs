//! Recovery on the main thread: runs storage's `Startup` on a ring of its own.
//!
//! It carries operations and decides nothing. What a newcomer gets wrong: this is not the end of
//! recovery. What lay in arenas is added later, and the shards log it before clients may come.

use plimsoll_device::{Completion, Op};
use plimsoll_ring::Ring;
use plimsoll_storage::{Started, Startup, StartupConfig};

use crate::error::ServeError;

/// Reads what the directory holds; nothing in it is changed but the manifest's epoch and journals
/// that were missing.
pub(crate) fn recover(ring: &mut Ring, config: StartupConfig) -> Result<Started, ServeError> {
    let mut startup = Startup::new(config);
    loop {
        while let Some(op) = startup.poll_op() {
            ring.submit(Op::Disk(op));
        }
        if let Some(outcome) = startup.outcome() {
            return outcome.map_err(ServeError::Startup);
        }
        let turn = ring.turn(None, |completion| match completion {
            Completion::Disk(completion) => startup.handle(completion),
            Completion::Socket(_) => {}
        });
        turn.map_err(ServeError::Turn)?;
    }
}
