//! A server of some shards on simulated disks, with sockets that the test holds the other end of.
//!
//! Everything happens in `World::run`, in an order that follows from the seed and the calls alone.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

pub mod client;
pub mod group;
pub mod share;
mod start;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use plimsoll_device::{
    Buffer, Completion, IoError, IoErrorKind, Memory, Op, RECEIVE_POOLED_BYTES, Received,
    SocketCompletion, SocketId, SocketOp,
};
use plimsoll_shard::{Report, Shard, ShardConfig, ShardLimits, TopicSettings};
use plimsoll_sim::{Clock, Disk, Random};
use plimsoll_wire::ShardIndex;

const CANCELLED: IoError = IoError::new(IoErrorKind::Cancelled, 125);

pub struct World {
    pub shards: Vec<Shard>,
    pub disks: Vec<Disk>,
    pub reports: Vec<(usize, Report)>,
    pub clock: Clock,
    /// Disks complete nothing while this is set.
    pub disks_stand_still: bool,
    /// The most bytes that one receive delivers.
    pub chunk_bytes: usize,
    sockets: BTreeMap<SocketId, Socket>,
    connected: u32,
    epoch: u64,
}

#[derive(Default)]
struct Socket {
    shard: usize,
    to_server: VecDeque<u8>,
    from_server: Vec<u8>,
    receive: Option<Option<(Buffer, usize)>>,
    send: Option<(Vec<u8>, Memory)>,
    /// The client takes nothing.
    is_stalled: bool,
    has_finished: bool,
    is_closed: bool,
}

pub fn limits() -> ShardLimits {
    ShardLimits { frame_bytes_max: 4 << 20, receive_bytes_max: 16 << 20, ..ShardLimits::default() }
}

impl World {
    pub fn new(shards: u16) -> Self {
        Self::with_limits(shards, limits())
    }

    pub fn with_limits(shards: u16, limits: ShardLimits) -> Self {
        let random = Random::new(1);
        let disks = (0..shards).map(|index| Disk::new(&random.stream(&format!("disk {index}"))));
        Self::start(disks.collect(), limits, Clock::new(), 1)
    }

    /// The process is killed and another one started. The arenas are gone, as after a power loss.
    pub fn restart(self) -> Self {
        let mut disks = self.disks;
        disks.iter_mut().for_each(Disk::kill);
        Self::start(disks, limits(), self.clock, self.epoch + 1)
    }

    /// As `restart`, and what was not flushed may be gone.
    pub fn lose_power(self) -> Self {
        let mut disks = self.disks;
        disks.iter_mut().for_each(Disk::power_loss);
        Self::start(disks, limits(), self.clock, self.epoch + 1)
    }

    fn start(disks: Vec<Disk>, limits: ShardLimits, clock: Clock, epoch: u64) -> Self {
        let shards = u16::try_from(disks.len()).unwrap();
        let mut world = Self {
            shards: Vec::new(),
            disks: Vec::new(),
            reports: Vec::new(),
            clock,
            disks_stand_still: false,
            chunk_bytes: usize::MAX,
            sockets: BTreeMap::new(),
            connected: 0,
            epoch,
        };
        for (index, mut disk) in (0..shards).zip(disks) {
            let storage = start::storage(&mut disk, index, shards);
            let config = ShardConfig {
                index: ShardIndex(index),
                shards,
                epoch,
                server_name: "plimsoll test".to_string(),
                limits,
                topic_defaults: TopicSettings::default(),
            };
            world.shards.push(Shard::new(config, storage, clock.now));
            world.disks.push(disk);
        }
        world.run();
        let serving =
            world.reports.iter().filter(|(_, report)| matches!(report, Report::Serving)).count();
        assert_eq!(serving, usize::from(shards), "{:?}", world.reports);
        world
    }

    /// A connection that shard 0 accepts.
    pub fn connect(&mut self) -> SocketId {
        self.connect_with(Socket::default())
    }

    /// As `connect`, of a client that takes nothing that it is sent.
    pub fn connect_deaf(&mut self) -> SocketId {
        self.connect_with(Socket { is_stalled: true, ..Socket::default() })
    }

    fn connect_with(&mut self, end: Socket) -> SocketId {
        let socket = SocketId(self.connected);
        self.connected += 1;
        self.sockets.insert(socket, end);
        let accepted = SocketCompletion::Accepted { socket };
        self.shards[0].handle(Completion::Socket(accepted), self.clock.now);
        self.run();
        socket
    }

    pub fn send(&mut self, socket: SocketId, bytes: &[u8]) {
        self.socket(socket).to_server.extend(bytes);
        self.run();
    }

    /// Everything that has arrived at the client since the last time.
    pub fn take(&mut self, socket: SocketId) -> Vec<u8> {
        std::mem::take(&mut self.socket(socket).from_server)
    }

    /// The client stops reading, or begins again.
    pub fn stall(&mut self, socket: SocketId, is_stalled: bool) {
        self.socket(socket).is_stalled = is_stalled;
        self.run();
    }

    /// The client sends no more.
    pub fn finish(&mut self, socket: SocketId) {
        self.socket(socket).has_finished = true;
        self.run();
    }

    pub fn is_closed(&mut self, socket: SocketId) -> bool {
        self.socket(socket).is_closed
    }

    /// Bytes that the client has sent and the server has not yet taken.
    pub fn untaken_bytes(&mut self, socket: SocketId) -> usize {
        self.socket(socket).to_server.len()
    }

    pub fn advance(&mut self, by: Duration) {
        self.clock.advance(by);
        for shard in &mut self.shards {
            shard.handle_timeout(self.clock.now);
        }
        self.run();
    }

    /// The next flush and the next write fail on every shard.
    pub fn fail_disk(&mut self) {
        for disk in &mut self.disks {
            let counts = disk.counts();
            disk.faults.fail_sync_nth = Some(counts.syncs + 1);
            disk.faults.fail_write_nth = Some(counts.writes + 1);
        }
    }

    pub fn stop(&mut self) {
        for shard in &mut self.shards {
            shard.stop(self.clock.now);
        }
        self.run();
    }

    pub fn stat(&self, name: &str) -> u64 {
        let stats = self.shards.iter().flat_map(Shard::stats);
        stats.filter(|(other, _)| *other == name).map(|(_, value)| value).sum()
    }

    /// Lets happen what can happen, until nothing more does.
    pub fn run(&mut self) {
        while self.step() {}
    }

    fn socket(&mut self, socket: SocketId) -> &mut Socket {
        self.sockets.get_mut(&socket).unwrap()
    }

    fn step(&mut self) -> bool {
        let mut has_moved = false;
        for index in 0..self.shards.len() {
            while let Some(op) = self.shards[index].poll_op() {
                has_moved = true;
                match op {
                    Op::Disk(op) => self.disks[index].submit(op, self.shards[index].arena()),
                    Op::Socket(op) => self.take_op(index, op),
                }
            }
            while let Some((to, mail)) = self.shards[index].poll_mail() {
                has_moved = true;
                let from = ShardIndex(index as u16);
                self.shards[usize::from(to.0)].handle_mail(from, mail, self.clock.now);
            }
            while let Some(report) = self.shards[index].poll_report() {
                self.reports.push((index, report));
            }
        }
        has_moved |= self.deliver_sockets();
        for index in 0..self.shards.len() {
            if self.disks_stand_still {
                break;
            }
            let shard = &mut self.shards[index];
            if let Some(completion) = self.disks[index].complete_one(shard.arena_mut()) {
                has_moved = true;
                shard.handle(Completion::Disk(completion), self.clock.now);
            }
        }
        has_moved
    }

    fn take_op(&mut self, shard: usize, op: SocketOp) {
        match op {
            SocketOp::Accept => {}
            SocketOp::Receive { socket, into } => {
                let socket = self.socket(socket);
                assert!(socket.receive.is_none(), "one receive in flight");
                socket.shard = shard;
                socket.receive = Some(into);
            }
            SocketOp::Send { socket, head, body } => {
                assert!(!head.is_empty() || body.length_bytes() > 0, "a send sends something");
                let socket = self.socket(socket);
                assert!(socket.send.is_none(), "one send in flight");
                socket.shard = shard;
                socket.send = Some((head, body));
            }
            SocketOp::Close { socket } => self.close(shard, socket),
        }
    }

    fn close(&mut self, shard: usize, id: SocketId) {
        let now = self.clock.now;
        let socket = self.socket(id);
        assert!(!socket.is_closed, "a socket is closed once");
        socket.is_closed = true;
        let (receive, send) = (socket.receive.take(), socket.send.take());
        let shard = &mut self.shards[shard];
        if let Some(into) = receive {
            let data = Received::Failed(into.map(|(buffer, _)| buffer), CANCELLED);
            let received = SocketCompletion::Received { socket: id, data };
            shard.handle(Completion::Socket(received), now);
        }
        if let Some((head, body)) = send {
            let sent = SocketCompletion::Sent { socket: id, head, body, result: Err(CANCELLED) };
            shard.handle(Completion::Socket(sent), now);
        }
        let closed = SocketCompletion::Closed { socket: id };
        shard.handle(Completion::Socket(closed), now);
    }

    fn deliver_sockets(&mut self) -> bool {
        let mut has_moved = false;
        let (now, chunk_bytes) = (self.clock.now, self.chunk_bytes);
        for (&id, socket) in &mut self.sockets {
            let shard = &mut self.shards[socket.shard];
            if !socket.is_stalled
                && let Some((head, body)) = socket.send.take()
            {
                has_moved = true;
                socket.from_server.extend(&head);
                match &body {
                    Memory::Arena(range) => {
                        socket.from_server.extend(shard.arena().bytes(*range));
                    }
                    Memory::Buffer(buffer) => socket.from_server.extend(&buffer[..]),
                    Memory::None => {}
                }
                let sent = SocketCompletion::Sent { socket: id, head, body, result: Ok(()) };
                shard.handle(Completion::Socket(sent), now);
            }
            let is_readable = !socket.to_server.is_empty() || socket.has_finished;
            if is_readable && let Some(into) = socket.receive.take() {
                has_moved = true;
                let room = match &into {
                    Some((buffer, at)) => buffer.len() - at,
                    None => RECEIVE_POOLED_BYTES,
                };
                let count = room.min(chunk_bytes).min(socket.to_server.len());
                let bytes: Vec<u8> = socket.to_server.drain(..count).collect();
                let data = match into {
                    Some((mut buffer, at)) => {
                        buffer[at..at + count].copy_from_slice(&bytes);
                        Received::Owned(buffer, count)
                    }
                    None => Received::Pooled(&bytes),
                };
                let received = SocketCompletion::Received { socket: id, data };
                shard.handle(Completion::Socket(received), now);
            }
        }
        has_moved
    }
}
