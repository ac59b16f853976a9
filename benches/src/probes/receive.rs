//! The limits of L3, L4 and L11: what one core takes in from a socket.
//!
//! Receive, CRC-32C of each frame, copy: the least that a server must do with every byte. For L11
//! also an O_DIRECT write of the copy in pieces of 1 MiB. Frames of 64 KiB for L3 and L11, of
//! 10 KiB for L4. The receiver has core 0, a sender with blocking writes core 1; the limit is the
//! better of two ways to receive, for which one wins depends on the size.

use std::io::{self, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use io_uring::{cqueue, opcode, types};

use super::ping_pong::loopback_pair;
use crate::affinity::{PEER_CORE, SERVER_CORE, join, pin};
use crate::aligned::Aligned;
use crate::cpu_time;
use crate::prepared_file::{PIECE_BYTES, PreparedFile};
use crate::uring::{BufferGroup, Done, Uring};

/// What the receiver came to.
#[derive(Clone, Copy, Debug)]
pub struct Intake {
    /// Bytes per second of wall time.
    pub bytes_per_second: f64,
    /// CPU time of the receiving thread, per byte.
    pub cpu_ns_per_byte: f64,
}

/// How to receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// One request for many completions, into buffers that the kernel picks.
    Multishot,
    /// One request a completion, into one large buffer.
    SingleShot,
}

/// Receives, checks and copies frames of `frame_bytes` for `time`, both ways, and returns the
/// better one by throughput.
///
/// # Errors
///
/// Those of the sockets and of the ring.
pub fn best(frame_bytes: usize, time: Duration) -> io::Result<Intake> {
    let multishot = intake(Way::Multishot, frame_bytes, None, time)?;
    let single_shot = intake(Way::SingleShot, frame_bytes, None, time)?;
    Ok(match multishot.bytes_per_second > single_shot.bytes_per_second {
        true => multishot,
        false => single_shot,
    })
}

/// Receives, checks and copies frames of `frame_bytes` for `time`; writes the copy to `file`
/// where there is one.
///
/// # Errors
///
/// Those of the sockets, of the ring, and of the writes.
pub fn intake(
    way: Way,
    frame_bytes: usize,
    file: Option<&PreparedFile>,
    time: Duration,
) -> io::Result<Intake> {
    let (ours, theirs) = loopback_pair()?;
    thread::scope(|scope| {
        let sender = scope.spawn(move || pin(PEER_CORE).and_then(|()| send_until_closed(theirs)));
        let receiver = scope.spawn(move || {
            pin(SERVER_CORE)?;
            match way {
                Way::Multishot => receive_multishot(&ours, Copies::new(frame_bytes, file), time),
                Way::SingleShot => receive_single(&ours, Copies::new(frame_bytes, file), time),
            }
        });
        let intake = join(receiver);
        join(sender)?;
        intake
    })
}

fn send_until_closed(mut socket: TcpStream) -> io::Result<()> {
    let bytes = Aligned::new(PIECE_BYTES);
    while socket.write_all(&bytes).is_ok() {}
    Ok(())
}

/// The token of a receive. A write has the index of its piece.
const RECEIVE: u64 = u64::MAX;
const SINGLE_SHOT_BYTES: usize = 256 << 10;
const MULTISHOT_BYTES: usize = 64 << 10;
const MULTISHOT_BUFFERS: u16 = 64;
const GROUP: u16 = 1;

fn receive_single(socket: &TcpStream, mut copies: Copies, time: Duration) -> io::Result<Intake> {
    let mut buffer = Aligned::new(SINGLE_SHOT_BYTES);
    let mut ring = Uring::new(64)?;
    let mut clock = Clock::start(time)?;
    let descriptor = types::Fd(socket.as_raw_fd());
    while clock.is_running() {
        let length = SINGLE_SHOT_BYTES as u32;
        let receive =
            opcode::Recv::new(descriptor, buffer.as_mut_ptr(), length).build().user_data(RECEIVE);
        // SAFETY: `buffer` outlives the ring and is read only after the receive is done.
        unsafe { ring.push(&receive)? };
        let done = loop {
            let done = ring.wait()?;
            if done.token == RECEIVE {
                break done;
            }
            copies.written(done)?;
        };
        clock.bytes += done.bytes()? as u64;
        copies.take(&mut ring, &buffer[..done.bytes()?])?;
    }
    let intake = clock.stop()?;
    copies.finish(&mut ring)?;
    Ok(intake)
}

fn receive_multishot(socket: &TcpStream, mut copies: Copies, time: Duration) -> io::Result<Intake> {
    let (mut buffers, mut ring) = buffers_with_ring()?;
    let mut clock = Clock::start(time)?;
    let descriptor = types::Fd(socket.as_raw_fd());
    let mut is_armed = false;
    while clock.is_running() {
        if !is_armed {
            let receive = opcode::RecvMulti::new(descriptor, GROUP).build().user_data(RECEIVE);
            // SAFETY: it names no memory; the group's buffers outlive the ring.
            unsafe { ring.push(&receive)? };
            is_armed = true;
        }
        let done = ring.wait()?;
        if done.token != RECEIVE {
            copies.written(done)?;
            continue;
        }
        is_armed = cqueue::more(done.flags);
        if done.is_out_of_buffers() {
            continue;
        }
        let (id, bytes) = buffers.received(done)?;
        clock.bytes += bytes.len() as u64;
        copies.take(&mut ring, bytes)?;
        buffers.give_back(id);
    }
    let intake = clock.stop()?;
    copies.finish(&mut ring)?;
    Ok(intake)
}

/// In this order, for the last is dropped first: the kernel may write to the buffers for as long
/// as the ring is there.
fn buffers_with_ring() -> io::Result<(BufferGroup, Uring)> {
    let mut ring = Uring::new(64)?;
    let buffers = ring.provide(GROUP, MULTISHOT_BUFFERS, MULTISHOT_BYTES)?;
    Ok((buffers, ring))
}

/// Wall and CPU time of the receiving thread.
struct Clock {
    start: Instant,
    cpu: Duration,
    time: Duration,
    bytes: u64,
}

impl Clock {
    fn start(time: Duration) -> io::Result<Self> {
        Ok(Self { start: Instant::now(), cpu: cpu_time::of_this_thread()?, time, bytes: 0 })
    }

    fn is_running(&self) -> bool {
        self.start.elapsed() < self.time
    }

    fn stop(self) -> io::Result<Intake> {
        let cpu = cpu_time::of_this_thread()? - self.cpu;
        Ok(Intake {
            bytes_per_second: self.bytes as f64 / self.start.elapsed().as_secs_f64(),
            cpu_ns_per_byte: cpu.as_nanos() as f64 / self.bytes as f64,
        })
    }
}

const PIECES: usize = 16;

/// Where the frames are copied to: pieces of 1 MiB, in turn, written out when they are full.
struct Copies<'a> {
    pieces: Vec<Aligned>,
    is_in_flight: [bool; PIECES],
    current: usize,
    filled_bytes: usize,
    file: Option<&'a PreparedFile>,
    written_bytes: u64,
    frame_bytes: usize,
    /// Of the frame that is being received.
    taken_bytes: usize,
    crc: u32,
}

impl<'a> Copies<'a> {
    fn new(frame_bytes: usize, file: Option<&'a PreparedFile>) -> Self {
        Self {
            pieces: (0..PIECES).map(|_| Aligned::new(PIECE_BYTES)).collect(),
            is_in_flight: [false; PIECES],
            current: 0,
            filled_bytes: 0,
            file,
            written_bytes: 0,
            frame_bytes,
            taken_bytes: 0,
            crc: 0,
        }
    }

    /// Checks and copies what was received, cut at the ends of frames and of pieces.
    fn take(&mut self, ring: &mut Uring, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = (self.frame_bytes - self.taken_bytes).min(PIECE_BYTES - self.filled_bytes);
            let (part, rest) = bytes.split_at(room.min(bytes.len()));
            self.crc = crc32c::crc32c_append(self.crc, part);
            let end = self.filled_bytes + part.len();
            self.pieces[self.current][self.filled_bytes..end].copy_from_slice(part);
            (self.filled_bytes, bytes) = (end, rest);
            self.taken_bytes += part.len();
            if self.taken_bytes == self.frame_bytes {
                std::hint::black_box(self.crc);
                (self.taken_bytes, self.crc) = (0, 0);
            }
            if self.filled_bytes == PIECE_BYTES {
                self.next_piece(ring)?;
            }
        }
        Ok(())
    }

    fn next_piece(&mut self, ring: &mut Uring) -> io::Result<()> {
        if let Some(prepared) = self.file {
            let file = types::Fd(prepared.file.as_raw_fd());
            let memory = self.pieces[self.current].as_ptr();
            let write = opcode::Write::new(file, memory, PIECE_BYTES as u32)
                .offset(self.written_bytes % prepared.length_bytes)
                .build()
                .user_data(self.current as u64);
            // SAFETY: the piece is not touched before `written` has seen its completion, and
            // `finish` waits for all of them.
            unsafe { ring.push(&write)? };
            self.is_in_flight[self.current] = true;
            self.written_bytes += PIECE_BYTES as u64;
        }
        (self.current, self.filled_bytes) = ((self.current + 1) % PIECES, 0);
        while self.is_in_flight[self.current] {
            let done = ring.wait_for(|done| done.token != RECEIVE)?;
            self.written(done)?;
        }
        Ok(())
    }

    fn written(&mut self, done: Done) -> io::Result<()> {
        self.is_in_flight[done.token as usize] = false;
        match done.bytes()? {
            PIECE_BYTES => Ok(()),
            short => Err(io::Error::other(format!("a write of {short} bytes"))),
        }
    }

    fn finish(&mut self, ring: &mut Uring) -> io::Result<()> {
        while self.is_in_flight.contains(&true) {
            let done = ring.wait_for(|done| done.token != RECEIVE)?;
            self.written(done)?;
        }
        Ok(())
    }
}
