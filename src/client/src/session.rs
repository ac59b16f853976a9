//! What every driver carries out: the four things that a session wants from the machine.
//!
//! A session talks to one server over *links*, one connection for each shard that it needs. The
//! driver dials, reads, writes and tells the time; all decisions are the session's. In any order
//! and at any time:
//!
//! 1. [`poll_dial`](Session::poll_dial): connect this link, then call `handle_connected` or
//!    `handle_lost`.
//! 2. [`poll_transmit`](Session::poll_transmit): write these bytes to this link.
//! 3. Feed what arrives through an [`IncomingFrames`](crate::IncomingFrames) into `handle_frame`.
//! 4. At [`poll_timeout`](Session::poll_timeout) call `handle_timeout`.
//!
//! What a newcomer gets wrong: every `handle_*` may make new work, so poll again after each.

use crate::{Chunk, ConnectionFault, Incoming, Instant};

/// A connection to one shard of the server. Its number is the shard's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u16);

/// A producer or a consumer, as its driver sees it.
pub trait Session {
    /// Links are numbered from 0 to below this. Most are never dialled.
    fn links(&self) -> u16;

    /// A link to connect now, each once. Before `handle_connected` or `handle_lost` for it, the
    /// link is not given out again.
    fn poll_dial(&mut self, now: Instant) -> Option<LinkId>;

    /// The link is connected: nothing was read or written yet.
    fn handle_connected(&mut self, link: LinkId, now: Instant);

    /// The link could not be connected, or is closed. What was polled from it may or may not have
    /// reached the server. The driver reads nothing more from it.
    fn handle_lost(&mut self, link: LinkId, fault: ConnectionFault, now: Instant);

    /// A frame arrived on the link. On an error the driver closes the connection and reports
    /// `handle_lost` with it.
    ///
    /// # Errors
    ///
    /// The server does not keep to the protocol, or has said that it closes.
    fn handle_frame(
        &mut self,
        link: LinkId,
        frame: Incoming<'_>,
        now: Instant,
    ) -> Result<(), ConnectionFault>;

    /// Whole frames to write to the link. None: nothing can be written now.
    fn poll_transmit(&mut self, link: LinkId, now: Instant) -> Option<Chunk>;

    /// Whether [`poll_transmit`](Session::poll_transmit) has something to do, so that a driver need
    /// not wake a thread in vain.
    fn can_transmit(&self, link: LinkId, now: Instant) -> bool;

    /// Whether the driver must close the link and report `handle_lost` with this.
    fn poll_hang_up(&mut self, link: LinkId) -> Option<ConnectionFault>;

    /// When to call `handle_timeout` at the latest, if nothing happens before.
    fn poll_timeout(&self) -> Option<Instant>;

    /// Time has passed.
    fn handle_timeout(&mut self, now: Instant);
}
