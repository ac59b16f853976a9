//! Carries a session over the simulated network, as a driver does.
//!
//! No decision is made here but the machine's own: whether a connection can be made, and how a
//! client's end of one goes away. What a newcomer gets wrong: a client that is slow takes nothing
//! from its connections, and so does not learn of their end either.

use std::collections::BTreeMap;

use plimsoll_client::{ConnectionFault, Incoming, IncomingFrames, Instant, LinkId, Session};
use plimsoll_sim::{ClientId, Network};

/// The connections of one session, by link.
#[derive(Default)]
pub(crate) struct Links {
    open: BTreeMap<LinkId, Link>,
    /// The client's machine has closed these; the session does not know yet.
    closed: Vec<ClientId>,
}

struct Link {
    end: ClientId,
    frames: IncomingFrames,
}

/// What a client finds of the machine in one turn.
pub(crate) struct Surroundings<'a> {
    pub(crate) network: &'a mut Network,
    pub(crate) now: Instant,
    /// A process listens.
    pub(crate) listens: bool,
    /// The client takes what has arrived.
    pub(crate) reads: bool,
}

/// Listens in on what a session says and hears.
pub(crate) trait Tap {
    /// A new connection for a link.
    fn connected(&mut self, link: LinkId);
    /// Whole frames that the session has sent.
    fn sent(&mut self, link: LinkId, frames: &[u8], now: Instant);
    /// A frame that the session is about to hear.
    fn heard(&mut self, link: LinkId, frame: &Incoming<'_>);
}

/// Nobody listens.
impl Tap for () {
    fn connected(&mut self, _link: LinkId) {}
    fn sent(&mut self, _link: LinkId, _frames: &[u8], _now: Instant) {}
    fn heard(&mut self, _link: LinkId, _frame: &Incoming<'_>) {}
}

impl Links {
    /// Whether a turn would find something on a connection.
    pub(crate) fn have_news(&self, network: &Network) -> bool {
        self.open.values().any(|link| network.has_news(link.end))
    }

    /// The clients' ends of all connections.
    pub(crate) fn ends(&self) -> impl Iterator<Item = ClientId> {
        self.open.values().map(|link| link.end)
    }

    /// The client's end is closed; the session learns of it in its next turn.
    pub(crate) fn close(&mut self, end: ClientId) {
        self.closed.push(end);
    }

    /// The client's process is gone.
    pub(crate) fn abandon(&mut self, network: &mut Network) {
        for link in std::mem::take(&mut self.open).into_values() {
            network.leave(link.end);
        }
    }

    /// Lets the session do all that it can do now.
    pub(crate) fn turn<S: Session>(&mut self, session: &mut S, around: &mut Surroundings<'_>) {
        self.turn_heard(session, around, &mut ());
    }

    /// As `turn`, with somebody who listens in.
    pub(crate) fn turn_heard<S: Session>(
        &mut self,
        session: &mut S,
        around: &mut Surroundings<'_>,
        tap: &mut impl Tap,
    ) {
        let now = around.now;
        if session.poll_timeout().is_some_and(|timeout| timeout <= now) {
            session.handle_timeout(now);
        }
        while let Some(link) = session.poll_dial(now) {
            if around.listens {
                let (_, end) = around.network.connect();
                self.open.insert(link, Link { end, frames: IncomingFrames::new() });
                tap.connected(link);
                session.handle_connected(link, now);
            } else {
                session.handle_lost(link, ConnectionFault::Io("refused".into()), now);
            }
        }
        let links: Vec<(LinkId, ClientId)> =
            self.open.iter().map(|(id, link)| (*id, link.end)).collect();
        let closed = std::mem::take(&mut self.closed);
        for (link, end) in links {
            if closed.contains(&end) {
                self.lose(session, link, ConnectionFault::Io("closed".into()), around);
                continue;
            }
            self.serve(session, link, around, tap);
        }
    }

    fn serve<S: Session>(
        &mut self,
        session: &mut S,
        id: LinkId,
        around: &mut Surroundings<'_>,
        tap: &mut impl Tap,
    ) {
        let now = around.now;
        if around.reads
            && let Some(fault) = self.receive(session, id, around, tap)
        {
            return self.lose(session, id, fault, around);
        }
        if let Some(fault) = session.poll_hang_up(id) {
            return self.lose(session, id, fault, around);
        }
        let Some(link) = self.open.get(&id) else { return };
        while let Some(chunk) = session.poll_transmit(id, now) {
            tap.sent(id, &chunk, now);
            around.network.send(link.end, &chunk);
        }
    }

    /// Takes what has arrived; gives why the connection is to end, if it is.
    fn receive<S: Session>(
        &mut self,
        session: &mut S,
        id: LinkId,
        around: &mut Surroundings<'_>,
        tap: &mut impl Tap,
    ) -> Option<ConnectionFault> {
        let link = self.open.get_mut(&id)?;
        let bytes = around.network.receive(link.end);
        let mut rest = &bytes[..];
        loop {
            match link.frames.next_frame() {
                Ok(Some(frame)) => {
                    tap.heard(id, &frame);
                    if let Err(fault) = session.handle_frame(id, frame, around.now) {
                        return Some(fault);
                    }
                }
                Ok(None) if rest.is_empty() => break,
                Ok(None) => rest = &rest[link.frames.take_from(rest)..],
                Err(fault) => return Some(fault),
            }
        }
        around.network.is_ended(link.end).then_some(ConnectionFault::ClosedByServer)
    }

    fn lose<S: Session>(
        &mut self,
        session: &mut S,
        id: LinkId,
        fault: ConnectionFault,
        around: &mut Surroundings<'_>,
    ) {
        if let Some(link) = self.open.remove(&id) {
            around.network.leave(link.end);
        }
        session.handle_lost(id, fault, around.now);
    }
}
