//! Carries out what a session wants: two threads for each connection, one lock.
//!
//! The *keeper* of a link dials, writes, and waits for time to pass; its *reader* reads. Both call
//! the session under the lock and do everything slow (system calls, checksums of deliveries,
//! callbacks) outside it. A link that nobody needs has no threads.
//!
//! A thread that waits for an ack writes by itself if the keeper sleeps: that saves a change of
//! threads. What a newcomer gets wrong: reports are made outside the lock, so a callback may send.

use crate::clock::{Clock, WallClock};
use crate::dial::{dial, io_fault};
use plimsoll_client::{Chunk, ConnectionFault, IncomingFrames, Instant, LinkId, Session};
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// A session, and how to tell what it has to tell.
pub(crate) trait Driven: Session + Send + 'static {
    type Report;

    /// Takes what is to be told, with the lock held.
    fn take_reports(&mut self) -> Vec<Self::Report>;

    /// Tells it, without the lock.
    fn tell(report: Self::Report);
}

/// A session with its threads.
#[derive(Debug)]
pub(crate) struct Engine<S> {
    state: Mutex<State<S>>,
    /// Wakes the keeper of each link.
    keepers: Vec<Condvar>,
    /// Wakes those who wait for the session: for room, for a flush, for records.
    pub(crate) progress: Condvar,
    pub(crate) clock: Clock,
    pub(crate) address: String,
    connect_timeout: Duration,
}

#[derive(Debug)]
pub(crate) struct State<S> {
    pub(crate) session: S,
    pub(crate) wall: WallClock,
    pub(crate) is_closed: bool,
    /// Reports that were taken and are being told.
    pub(crate) telling: usize,
    /// How many threads wait for progress.
    waiting: usize,
    links: Vec<LinkState>,
}

#[derive(Debug, Default)]
struct LinkState {
    has_keeper: bool,
    is_dial_due: bool,
    is_keeper_waiting: bool,
    /// When a waiting keeper wakes by itself.
    keeper_wakes_at: Option<Instant>,
    stream: Option<Arc<TcpStream>>,
    /// A thread other than the keeper is writing.
    is_lent: bool,
    /// Why the reader has stopped.
    fault: Option<ConnectionFault>,
}

impl<S: Driven> Engine<S> {
    pub(crate) fn new(
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
                telling: 0,
                waiting: 0,
                links: (0..count).map(|_| LinkState::default()).collect(),
            }),
            keepers: (0..count).map(|_| Condvar::new()).collect(),
            progress: Condvar::new(),
            clock,
            address,
            connect_timeout,
        })
    }

    /// A panic of a callback cannot happen under the lock, so the state is whole even if poisoned.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the keeper of a link look again.
    pub(crate) fn wake(&self, state: &mut State<S>, link: LinkId) {
        let index = usize::from(link.0);
        if state.links[index].is_keeper_waiting {
            state.links[index].is_keeper_waiting = false;
            self.keepers[index].notify_one();
        }
    }

    /// The same, unless the keeper would find nothing to do.
    fn wake_for_work(&self, state: &mut State<S>, link: LinkId, now: Instant) {
        let wakes_at = state.links[usize::from(link.0)].keeper_wakes_at;
        let is_earlier = match (state.session.poll_timeout(), wakes_at) {
            (Some(timeout), Some(wakes_at)) => timeout < wakes_at,
            (timeout, _) => timeout.is_some(),
        };
        if is_earlier || state.session.can_transmit(link, now) {
            self.wake(state, link);
        }
    }

    /// Wakes the keepers that have something to do.
    pub(crate) fn wake_those_with_work(&self, state: &mut State<S>) {
        let now = self.clock.now();
        for link in 0..state.links.len() {
            self.wake_for_work(state, LinkId(link as u16), now);
        }
    }

    /// The same, of those that have something to write: cheap enough for each record.
    pub(crate) fn wake_those_with_frames(&self, state: &mut State<S>) {
        let now = self.clock.now();
        for link in (0..state.links.len()).map(|link| LinkId(link as u16)) {
            if state.session.can_transmit(link, now) {
                self.wake(state, link);
            }
        }
    }

    /// Writes what there is to write in this thread if the keeper sleeps, and wakes it if not.
    pub(crate) fn write_now<'a>(&'a self, mut state: MutexGuard<'a, State<S>>, link: LinkId) {
        let index = usize::from(link.0);
        let now = self.clock.now();
        let of_link = &mut state.links[index];
        let stream = match &of_link.stream {
            Some(stream) if of_link.is_keeper_waiting && !of_link.is_lent => Arc::clone(stream),
            _ => return self.wake(&mut state, link),
        };
        let mut chunks = Vec::new();
        gather(&mut state.session, link, now, &mut chunks);
        state.links[index].is_lent = true;
        drop(state);
        let written = write_chunks(&stream, &chunks);
        let mut state = self.lock();
        let of_link = &mut state.links[index];
        if of_link.stream.as_ref().is_some_and(|current| Arc::ptr_eq(current, &stream)) {
            of_link.is_lent = false;
            if let Err(error) = written {
                of_link.fault.get_or_insert_with(|| io_fault(&error));
                self.wake(&mut state, link);
            }
        }
        self.wake_for_work(&mut state, link, now);
        self.tell(state);
    }

    pub(crate) fn wake_all(&self, state: &mut State<S>) {
        for link in 0..state.links.len() {
            self.wake(state, LinkId(link as u16));
        }
    }

    /// Sees to it that links which are to be dialled have a keeper who does it.
    pub(crate) fn dial_due(self: &Arc<Self>, state: &mut State<S>, now: Instant) {
        while let Some(link) = state.session.poll_dial(now) {
            let of_link = &mut state.links[usize::from(link.0)];
            of_link.is_dial_due = true;
            if !of_link.has_keeper {
                of_link.has_keeper = true;
                let engine = Arc::clone(self);
                let name = format!("plimsoll-link-{}", link.0);
                let spawned = thread::Builder::new().name(name).spawn(move || engine.keep(link));
                if let Err(error) = spawned {
                    state.links[usize::from(link.0)] = LinkState::default();
                    state.session.handle_lost(link, io_fault(&error), now);
                }
            }
            self.wake(state, link);
        }
    }

    /// Waits for progress, at most until `deadline`. False: it has passed.
    pub(crate) fn wait_progress<'a>(
        &self,
        mut state: MutexGuard<'a, State<S>>,
        deadline: Option<Instant>,
    ) -> (MutexGuard<'a, State<S>>, bool) {
        let now = self.clock.now();
        let left = deadline.map(|deadline| deadline.since(now));
        if left == Some(Duration::ZERO) {
            return (state, false);
        }
        state.waiting += 1;
        let mut state = match left {
            Some(left) => {
                let waited = self.progress.wait_timeout(state, left);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            None => self.progress.wait(state).unwrap_or_else(PoisonError::into_inner),
        };
        state.waiting -= 1;
        (state, true)
    }

    /// Waits until it is so of the session, at most until `deadline`.
    pub(crate) fn wait_until<'a>(
        &self,
        mut state: MutexGuard<'a, State<S>>,
        deadline: Instant,
        is_so: impl Fn(&S) -> bool,
    ) -> MutexGuard<'a, State<S>> {
        let mut in_time = true;
        while in_time && !is_so(&state.session) {
            (state, in_time) = self.wait_progress(state, Some(deadline));
        }
        state
    }

    /// Ends all threads, now. What the session has to tell is told by the caller.
    pub(crate) fn close(&self, state: &mut State<S>) {
        state.is_closed = true;
        for link in &mut state.links {
            if let Some(stream) = &link.stream {
                // An error means that it is closed already.
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
        self.wake_all(state);
        self.progress.notify_all();
    }

    /// Tells what there is to tell, outside the lock, and wakes who waits for progress.
    pub(crate) fn tell<'a>(&'a self, mut state: MutexGuard<'a, State<S>>) {
        let reports = state.session.take_reports();
        if !reports.is_empty() {
            state = self.tell_all(state, reports);
        }
        if state.waiting > 0 {
            self.progress.notify_all();
        }
    }

    /// The keeper's whole life: one turn for each connection.
    fn keep(self: &Arc<Self>, link: LinkId) {
        while self.wait_for_dial(link) {
            let fault = match dial(&self.address, self.connect_timeout) {
                Ok(stream) => self.serve(link, &Arc::new(stream)),
                Err(fault) => fault,
            };
            let mut state = self.lock();
            let of_link = &mut state.links[usize::from(link.0)];
            of_link.stream = None;
            of_link.is_lent = false;
            of_link.fault = None;
            if !state.is_closed {
                state.session.handle_lost(link, fault, self.clock.now());
            }
            self.tell(state);
        }
    }

    /// False: the session is closed.
    fn wait_for_dial(self: &Arc<Self>, link: LinkId) -> bool {
        let mut state = self.lock();
        loop {
            if state.is_closed {
                return false;
            }
            let now = self.clock.now();
            state.session.handle_timeout(now);
            self.dial_due(&mut state, now);
            let of_link = &mut state.links[usize::from(link.0)];
            if of_link.is_dial_due {
                of_link.is_dial_due = false;
                return true;
            }
            let reports = state.session.take_reports();
            state = if reports.is_empty() {
                self.wait_as_keeper(state, link)
            } else {
                self.tell_all(state, reports)
            };
        }
    }

    /// Writes what the session gives until the connection ends, and says why it ended.
    fn serve(self: &Arc<Self>, link: LinkId, stream: &Arc<TcpStream>) -> ConnectionFault {
        {
            let mut state = self.lock();
            if state.is_closed {
                return ConnectionFault::ClosedByClient;
            }
            state.links[usize::from(link.0)].stream = Some(Arc::clone(stream));
            state.session.handle_connected(link, self.clock.now());
        }
        let (engine, reading) = (Arc::clone(self), Arc::clone(stream));
        let name = format!("plimsoll-read-{}", link.0);
        let reader = thread::Builder::new().name(name).spawn(move || engine.read(link, &reading));
        let reader = match reader {
            Ok(reader) => reader,
            Err(error) => return io_fault(&error),
        };
        let fault = self.write(link, stream);
        let _ = stream.shutdown(Shutdown::Both);
        // The reader's panic, if it had one, was reported by its thread.
        let _ = reader.join();
        fault
    }

    fn write(self: &Arc<Self>, link: LinkId, stream: &TcpStream) -> ConnectionFault {
        let mut chunks = Vec::with_capacity(CHUNKS_MAX);
        loop {
            let mut state = self.lock();
            loop {
                let now = self.clock.now();
                state.session.handle_timeout(now);
                self.dial_due(&mut state, now);
                let of_link = &mut state.links[usize::from(link.0)];
                if let Some(fault) = of_link.fault.take() {
                    return fault;
                }
                if state.is_closed {
                    return ConnectionFault::ClosedByClient;
                }
                if let Some(fault) = state.session.poll_hang_up(link) {
                    return fault;
                }
                if !state.links[usize::from(link.0)].is_lent {
                    gather(&mut state.session, link, now, &mut chunks);
                }
                let reports = state.session.take_reports();
                if !reports.is_empty() {
                    state = self.tell_all(state, reports);
                } else if chunks.is_empty() {
                    state = self.wait_as_keeper(state, link);
                    continue;
                }
                if !chunks.is_empty() {
                    break;
                }
            }
            drop(state);
            if let Err(error) = write_chunks(stream, &chunks) {
                return self.read_fault(link).unwrap_or_else(|| io_fault(&error));
            }
            chunks.clear();
        }
    }

    fn tell_all<'a>(
        &'a self,
        mut state: MutexGuard<'a, State<S>>,
        reports: Vec<S::Report>,
    ) -> MutexGuard<'a, State<S>> {
        state.telling += 1;
        drop(state);
        reports.into_iter().for_each(S::tell);
        let mut state = self.lock();
        state.telling -= 1;
        if state.waiting > 0 {
            self.progress.notify_all();
        }
        state
    }

    /// What the reader knows of the end is nearer to the cause than a failed write.
    fn read_fault(&self, link: LinkId) -> Option<ConnectionFault> {
        self.lock().links[usize::from(link.0)].fault.take()
    }

    fn read(&self, link: LinkId, mut stream: &TcpStream) {
        let mut incoming = IncomingFrames::new();
        let fault = loop {
            match stream.read(incoming.space()) {
                Ok(0) => break ConnectionFault::ClosedByServer,
                Ok(bytes) => incoming.filled(bytes),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => break io_fault(&error),
            }
            if let Err(fault) = self.handle_frames(link, &mut incoming) {
                break fault;
            }
        };
        let mut state = self.lock();
        state.links[usize::from(link.0)].fault = Some(fault);
        self.wake(&mut state, link);
    }

    fn handle_frames(
        &self,
        link: LinkId,
        incoming: &mut IncomingFrames,
    ) -> Result<(), ConnectionFault> {
        while let Some(frame) = incoming.next_frame()? {
            let mut state = self.lock();
            if state.is_closed {
                return Err(ConnectionFault::ClosedByClient);
            }
            let now = self.clock.now();
            let handled = state.session.handle_frame(link, frame, now);
            self.wake_for_work(&mut state, link, now);
            self.tell(state);
            handled?;
        }
        Ok(())
    }

    /// Waits until the session's next timeout, or until somebody wakes the keeper.
    fn wait_as_keeper<'a>(
        &'a self,
        mut state: MutexGuard<'a, State<S>>,
        link: LinkId,
    ) -> MutexGuard<'a, State<S>> {
        let now = self.clock.now();
        let timeout = state.session.poll_timeout();
        let index = usize::from(link.0);
        state.links[index].is_keeper_waiting = true;
        state.links[index].keeper_wakes_at = timeout;
        let mut state = match timeout {
            // What is due and was not done just now is another keeper's: look again, but do not
            // spin.
            Some(at) => {
                let left = at.since(now).max(Duration::from_millis(1));
                let waited = self.keepers[index].wait_timeout(state, left);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            None => self.keepers[index].wait(state).unwrap_or_else(PoisonError::into_inner),
        };
        state.links[index].is_keeper_waiting = false;
        state
    }
}

/// Chunks for one system call.
const CHUNKS_MAX: usize = 32;

/// Bytes for one system call; a single chunk may be larger.
const WRITE_BYTES: usize = 256 << 10;

fn gather<S: Session>(session: &mut S, link: LinkId, now: Instant, chunks: &mut Vec<Chunk>) {
    let mut bytes = 0;
    while chunks.len() < CHUNKS_MAX && bytes < WRITE_BYTES {
        let Some(chunk) = session.poll_transmit(link, now) else { return };
        bytes += chunk.len();
        chunks.push(chunk);
    }
}

fn write_chunks(mut stream: &TcpStream, chunks: &[Chunk]) -> io::Result<()> {
    if let [chunk] = chunks {
        return stream.write_all(chunk);
    }
    let mut slices: Vec<IoSlice<'_>> = chunks.iter().map(|chunk| IoSlice::new(chunk)).collect();
    let mut rest = &mut slices[..];
    while !rest.is_empty() {
        match stream.write_vectored(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(bytes) => IoSlice::advance_slices(&mut rest, bytes),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
