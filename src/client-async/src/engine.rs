//! Carries out what a session wants: one task for each connection, one short lock.
//!
//! The *keeper* of a link dials it, then reads and writes at once in the same task. It ends when
//! the producer or consumer is closed. The lock is never held across an await.

use crate::clock::{Clock, WallClock};
use crate::transport::Transport;
use plimsoll_client::{Chunk, ConnectionFault, IncomingFrames, Instant, LinkId, Session};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// A session that an engine can drive.
pub trait Driven: Session + Send + 'static {
    /// Tells what it has to tell to whoever waits; the engine's lock is held.
    fn tell(&mut self);

    /// Whether it needs no connection any more.
    fn is_over(&self) -> bool {
        false
    }
}

/// A session and the keepers of its links. It has no transport of its own: its keepers do.
#[derive(Debug)]
pub struct Engine<S> {
    state: Mutex<State<S>>,
    keepers: Vec<Notify>,
    /// Told to all who wait for room, for a flush, for records.
    pub(crate) progress: Notify,
    pub(crate) clock: Clock,
    pub(crate) address: String,
    connect_timeout: Duration,
    spawn_keeper: fn(Arc<Engine<S>>, LinkId),
}

#[derive(Debug)]
pub(crate) struct State<S> {
    pub(crate) session: S,
    pub(crate) wall: WallClock,
    pub(crate) is_closed: bool,
    has_keeper: Vec<bool>,
    is_dial_due: Vec<bool>,
}

impl<S: Driven> Engine<S> {
    pub(crate) fn new<T: Transport>(
        session: S,
        clock: Clock,
        address: String,
        connect_timeout: Duration,
    ) -> Arc<Engine<S>> {
        let count = usize::from(session.links());
        Arc::new(Engine {
            state: Mutex::new(State {
                session,
                wall: WallClock::default(),
                is_closed: false,
                has_keeper: vec![false; count],
                is_dial_due: vec![false; count],
            }),
            keepers: (0..count).map(|_| Notify::new()).collect(),
            progress: Notify::new(),
            clock,
            address,
            connect_timeout,
            spawn_keeper: T::spawn_keeper,
        })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is so of the session.
    pub(crate) async fn until(&self, is_so: impl Fn(&S) -> bool) {
        loop {
            let progress = self.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            if is_so(&self.lock().session) {
                return;
            }
            progress.await;
        }
    }

    pub(crate) fn wake(&self, link: LinkId) {
        self.keepers[usize::from(link.0)].notify_one();
    }

    pub(crate) fn wake_all(&self) {
        self.keepers.iter().for_each(Notify::notify_one);
    }

    /// Wakes the keepers that have something to write.
    pub(crate) fn wake_those_with_frames(&self, state: &State<S>) {
        let now = self.clock.now();
        let links = (0..state.has_keeper.len()).map(|link| LinkId(link as u16));
        links
            .filter(|link| state.session.can_transmit(*link, now))
            .for_each(|link| self.wake(link));
    }

    /// Sees to it that links which are to be dialled have a keeper who does it. Must be called
    /// within a runtime.
    pub(crate) fn dial_due(self: &Arc<Self>, state: &mut State<S>, now: Instant) {
        while let Some(link) = state.session.poll_dial(now) {
            let index = usize::from(link.0);
            state.is_dial_due[index] = true;
            if !state.has_keeper[index] {
                state.has_keeper[index] = true;
                (self.spawn_keeper)(Arc::clone(self), link);
            }
            self.wake(link);
        }
    }

    /// Ends all tasks if the session needs none any more.
    pub(crate) fn close_if_over(&self, state: &mut State<S>) {
        if !state.is_closed && state.session.is_over() {
            self.close(state);
        }
    }

    /// Ends all tasks at their next turn.
    pub(crate) fn close(&self, state: &mut State<S>) {
        state.is_closed = true;
        self.wake_all();
        self.progress.notify_waiters();
    }

    /// The keeper of a link: what [`Transport::spawn_keeper`] spawns. It ends when the session is
    /// closed.
    pub async fn keep<T: Transport>(self: Arc<Self>, link: LinkId) {
        while self.wait_for_dial(link).await {
            let dialled = dial::<T>(&self.address, self.connect_timeout).await;
            let fault = match dialled {
                Ok((reading, writing)) => self.serve::<T>(link, reading, writing).await,
                Err(fault) => fault,
            };
            let mut state = self.lock();
            if !state.is_closed {
                state.session.handle_lost(link, fault, self.clock.now());
                self.tell(&mut state);
            }
        }
    }

    /// False: the session is closed.
    async fn wait_for_dial(self: &Arc<Self>, link: LinkId) -> bool {
        let index = usize::from(link.0);
        loop {
            let timeout = {
                let mut state = self.lock();
                if state.is_closed {
                    return false;
                }
                self.turn(&mut state);
                if state.is_dial_due[index] {
                    state.is_dial_due[index] = false;
                    return true;
                }
                state.session.poll_timeout()
            };
            self.wait_as_keeper(link, timeout).await;
        }
    }

    async fn serve<T: Transport>(
        self: &Arc<Self>,
        link: LinkId,
        reading: T::Reading,
        writing: T::Writing,
    ) -> ConnectionFault {
        self.lock().session.handle_connected(link, self.clock.now());
        tokio::select! {
            fault = self.read::<T>(link, reading) => fault,
            fault = self.write::<T>(link, writing) => fault,
        }
    }

    async fn read<T: Transport>(&self, link: LinkId, mut reading: T::Reading) -> ConnectionFault {
        let mut incoming = IncomingFrames::new();
        loop {
            match T::read(&mut reading, &mut incoming).await {
                Ok(0) => return ConnectionFault::ClosedByServer,
                Ok(_) => {}
                Err(error) => return io_fault(&error),
            }
            if let Err(fault) = self.handle_frames(link, &mut incoming) {
                return fault;
            }
        }
    }

    fn handle_frames(
        &self,
        link: LinkId,
        incoming: &mut IncomingFrames,
    ) -> Result<(), ConnectionFault> {
        while let Some(frame) = incoming.next_frame()? {
            let mut state = self.lock();
            let handled = state.session.handle_frame(link, frame, self.clock.now());
            self.tell(&mut state);
            handled?;
        }
        self.wake(link);
        Ok(())
    }

    async fn write<T: Transport>(
        self: &Arc<Self>,
        link: LinkId,
        mut writing: T::Writing,
    ) -> ConnectionFault {
        loop {
            let (chunk, timeout) = match self.next_chunk(link) {
                Ok(next) => next,
                Err(fault) => return fault,
            };
            match chunk {
                Some(chunk) => {
                    if let Err(error) = T::write(&mut writing, chunk).await {
                        return io_fault(&error);
                    }
                }
                None => self.wait_as_keeper(link, timeout).await,
            }
        }
    }

    /// Bytes to write, or until when to wait for some.
    fn next_chunk(
        self: &Arc<Self>,
        link: LinkId,
    ) -> Result<(Option<Chunk>, Option<Instant>), ConnectionFault> {
        let mut state = self.lock();
        let now = self.turn(&mut state);
        if state.is_closed {
            return Err(ConnectionFault::ClosedByClient);
        }
        if let Some(fault) = state.session.poll_hang_up(link) {
            return Err(fault);
        }
        let chunk = state.session.poll_transmit(link, now);
        self.tell(&mut state);
        Ok((chunk, state.session.poll_timeout()))
    }

    /// What is due by time.
    fn turn(self: &Arc<Self>, state: &mut State<S>) -> Instant {
        let now = self.clock.now();
        state.session.handle_timeout(now);
        self.dial_due(state, now);
        self.tell(state);
        now
    }

    fn tell(&self, state: &mut State<S>) {
        state.session.tell();
        self.close_if_over(state);
        self.progress.notify_waiters();
    }

    async fn wait_as_keeper(&self, link: LinkId, timeout: Option<Instant>) {
        let woken = self.keepers[usize::from(link.0)].notified();
        match timeout {
            // What is due and was not done just now is another keeper's: look again, do not spin.
            Some(at) => {
                let left = at.since(self.clock.now()).max(Duration::from_millis(1));
                // Both ends mean the same: look again.
                let _ = tokio::time::timeout(left, woken).await;
            }
            None => woken.await,
        }
    }
}

/// Connects, or says why not in time.
pub(crate) async fn dial<T: Transport>(
    address: &str,
    timeout: Duration,
) -> Result<(T::Reading, T::Writing), ConnectionFault> {
    match tokio::time::timeout(timeout, T::dial(address)).await {
        Ok(dialled) => dialled.map_err(|error| io_fault(&error)),
        Err(_) => Err(ConnectionFault::Silent(timeout)),
    }
}

pub(crate) fn io_fault(error: &io::Error) -> ConnectionFault {
    ConnectionFault::Io(Arc::from(error.to_string()))
}
