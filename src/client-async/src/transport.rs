//! What a runtime brings: sockets, tasks, and whether its types may leave their thread.
//!
//! It decides nothing. What a newcomer gets wrong: everything here may be dropped half done, also a
//! read or a write; the connection is then thrown away.

use crate::{Driven, Engine, Receipt};
use plimsoll_client::{Ack, AppendError, Chunk, IncomingFrames, LinkId};
use std::fmt::Debug;
use std::io;
use std::sync::Arc;

/// A runtime, as a type without values. Clients, producers and consumers are `Send` and `Sync` if
/// it is.
pub trait Transport: Copy + Debug + 'static {
    /// What the server shows for a client that was given no name.
    const CLIENT_NAME: &'static str;

    /// The half of a connection that is read from. When both halves are dropped the connection is
    /// closed.
    type Reading: 'static;

    /// The half of a connection that is written to.
    type Writing: 'static;

    /// What awaiting a receipt makes of it.
    type Waiting: Future<Output = Result<Ack, AppendError>>;

    /// Connects to the first address of `address`, `HOST:PORT`, that answers.
    fn dial(address: &str) -> impl Future<Output = io::Result<(Self::Reading, Self::Writing)>>;

    /// Waits for bytes and puts them into the space of `incoming`. Gives how many, none if the
    /// server has closed. All whole frames were taken out of `incoming` before.
    fn read(
        reading: &mut Self::Reading,
        incoming: &mut IncomingFrames,
    ) -> impl Future<Output = io::Result<usize>>;

    /// Writes all of `chunk`.
    fn write(writing: &mut Self::Writing, chunk: Chunk) -> impl Future<Output = io::Result<()>>;

    /// Spawns [`Engine::keep`].
    fn spawn_keeper<S: Driven>(engine: Arc<Engine<S>>, link: LinkId);

    /// Boxes [`Receipt::wait`].
    fn wait(receipt: Receipt<Self>) -> Self::Waiting;
}
