//! The network's part of the limit of L2, and the limit of L7: a frame there and one back.
//!
//! 124 bytes is what a produce frame with one 100-byte record comes to at least. Over loopback,
//! the two sides on two cores; once with io_uring on both sides, once with blocking calls.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use io_uring::{opcode, types};

use crate::affinity::{PEER_CORE, SERVER_CORE, join, pin};
use crate::samples::p50_us;
use crate::uring::Uring;

const FRAME_BYTES: usize = 124;

/// Median round trips, in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct RoundTrips {
    /// io_uring on both sides.
    pub uring_us: f64,
    /// Blocking reads and writes on both sides.
    pub blocking_us: f64,
}

impl RoundTrips {
    /// The better of the two.
    pub fn best_us(self) -> f64 {
        self.uring_us.min(self.blocking_us)
    }
}

/// Plays ping-pong, `time` for each of the two ways.
///
/// # Errors
///
/// Those of the sockets and of the ring.
pub fn p50(time: Duration) -> io::Result<RoundTrips> {
    Ok(RoundTrips {
        uring_us: play(time, uring_pong, uring_ping)?,
        blocking_us: play(time, blocking_pong, blocking_ping)?,
    })
}

/// Two connected sockets over loopback, without delay for small frames.
pub(crate) fn loopback_pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let ours = TcpStream::connect(listener.local_addr()?)?;
    let (theirs, _) = listener.accept()?;
    ours.set_nodelay(true)?;
    theirs.set_nodelay(true)?;
    Ok((ours, theirs))
}

fn play(
    time: Duration,
    pong: fn(TcpStream) -> io::Result<()>,
    ping: fn(TcpStream, Duration) -> io::Result<Vec<Duration>>,
) -> io::Result<f64> {
    let (ours, theirs) = loopback_pair()?;
    thread::scope(|scope| {
        let server = scope.spawn(move || pin(SERVER_CORE).and_then(|()| pong(theirs)));
        let client = scope.spawn(move || pin(PEER_CORE).and_then(|()| ping(ours, time)));
        let mut samples = join(client)?;
        join(server)?;
        Ok(p50_us(&mut samples))
    })
}

#[expect(clippy::needless_pass_by_value, reason = "the socket closes when its side ends")]
fn uring_ping(socket: TcpStream, time: Duration) -> io::Result<Vec<Duration>> {
    let mut side = UringSide::new(&socket)?;
    let (start, mut samples) = (Instant::now(), Vec::new());
    while start.elapsed() < time {
        let before = Instant::now();
        side.send()?;
        side.receive()?;
        samples.push(before.elapsed());
    }
    Ok(samples)
}

#[expect(clippy::needless_pass_by_value, reason = "the socket closes when its side ends")]
fn uring_pong(socket: TcpStream) -> io::Result<()> {
    let mut side = UringSide::new(&socket)?;
    while side.receive()? {
        side.send()?;
    }
    Ok(())
}

fn blocking_ping(mut socket: TcpStream, time: Duration) -> io::Result<Vec<Duration>> {
    let mut frame = [1; FRAME_BYTES];
    let (start, mut samples) = (Instant::now(), Vec::new());
    while start.elapsed() < time {
        let before = Instant::now();
        socket.write_all(&frame)?;
        socket.read_exact(&mut frame)?;
        samples.push(before.elapsed());
    }
    Ok(samples)
}

fn blocking_pong(mut socket: TcpStream) -> io::Result<()> {
    let mut frame = [1; FRAME_BYTES];
    while socket.read_exact(&mut frame).is_ok() {
        socket.write_all(&frame)?;
    }
    Ok(())
}

const SEND: u64 = 1;
const RECEIVE: u64 = 2;

/// One side with a ring: the send is queued and goes to the kernel together with the receive, so
/// that a turn costs one system call.
struct UringSide {
    // Before the memory: the ring is gone before what it writes to.
    ring: Uring,
    socket: types::Fd,
    outgoing: Box<[u8; FRAME_BYTES]>,
    incoming: Box<[u8; FRAME_BYTES]>,
}

impl UringSide {
    fn new(socket: &TcpStream) -> io::Result<Self> {
        Ok(Self {
            ring: Uring::new(8)?,
            socket: types::Fd(socket.as_raw_fd()),
            outgoing: Box::new([1; FRAME_BYTES]),
            incoming: Box::new([1; FRAME_BYTES]),
        })
    }

    fn send(&mut self) -> io::Result<()> {
        let send = opcode::Send::new(self.socket, self.outgoing.as_ptr(), FRAME_BYTES as u32)
            .build()
            .user_data(SEND);
        // SAFETY: `outgoing` is boxed, never written to, and outlives the ring.
        unsafe { self.ring.push(&send) }
    }

    /// Receives a whole frame; `false` when the other side has closed.
    fn receive(&mut self) -> io::Result<bool> {
        let length = FRAME_BYTES as u32;
        let receive = opcode::Recv::new(self.socket, self.incoming.as_mut_ptr(), length)
            .flags(libc::MSG_WAITALL)
            .build()
            .user_data(RECEIVE);
        // SAFETY: `incoming` is boxed, outlives the ring, and is not touched before it is done.
        unsafe { self.ring.push(&receive)? };
        loop {
            let done = self.ring.wait()?;
            match (done.token, done.bytes()) {
                (RECEIVE, bytes) => return Ok(bytes.is_ok_and(|bytes| bytes == FRAME_BYTES)),
                (_, bytes) => drop(bytes?),
            }
        }
    }
}
