//! A ring in a directory of its own, and the completions that it hands out.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_device::{
    Completion, DiskAction, DiskOp, DiskResult, FileId, Memory, Op, OpenMode, SocketId, SocketOp,
    Token,
};
use plimsoll_ring::{DirectoryLock, Ring, RingConfig};
use tempfile::TempDir;

pub(crate) struct Machine {
    pub(crate) ring: Ring,
    _dir: TempDir,
    next_token: u64,
}

pub(crate) fn directory() -> TempDir {
    TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

pub(crate) fn config(dir: &Path) -> RingConfig {
    let lock = DirectoryLock::acquire(dir, Duration::from_secs(5)).unwrap();
    RingConfig::new(dir.to_owned(), Arc::new(lock))
}

impl Machine {
    pub(crate) fn new() -> Self {
        let dir = directory();
        let ring = Ring::new(config(dir.path())).unwrap();
        Self { ring, _dir: dir, next_token: 0 }
    }

    /// In a directory of somebody else.
    pub(crate) fn within(dir: &Path) -> Self {
        Self { ring: Ring::new(config(dir)).unwrap(), _dir: directory(), next_token: 0 }
    }

    /// In a directory that is locked already: the ring holds a lock of its own, elsewhere.
    pub(crate) fn beside_a_lock(dir: &TempDir) -> Self {
        let elsewhere = directory();
        let config = RingConfig { data_dir: dir.path().to_owned(), ..config(elsewhere.path()) };
        Self { ring: Ring::new(config).unwrap(), _dir: elsewhere, next_token: 0 }
    }

    pub(crate) fn listening() -> (Self, SocketAddr) {
        let dir = directory();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let config = RingConfig { listener: Some(listener), ..config(dir.path()) };
        let mut ring = Ring::new(config).unwrap();
        ring.submit(Op::Socket(SocketOp::Accept));
        (Self { ring, _dir: dir, next_token: 0 }, address)
    }

    pub(crate) fn submit(&mut self, action: DiskAction) -> Token {
        self.next_token += 1;
        let token = Token(self.next_token);
        self.ring.submit(Op::Disk(DiskOp { token, action }));
        token
    }

    /// Carries out one disk operation and waits for its end.
    pub(crate) fn disk(&mut self, action: DiskAction) -> DiskResult {
        let token = self.submit(action);
        let deadline = self.ring.refresh_now().monotonic + Duration::from_secs(20);
        let mut result = None;
        while result.is_none() {
            assert!(self.ring.refresh_now().monotonic < deadline, "no completion");
            let handle = |completion: Completion<'_>| {
                if let Completion::Disk(done) = completion {
                    assert_eq!(done.token, token);
                    result = Some(done.result);
                }
            };
            self.ring.turn(Some(deadline), handle).unwrap();
        }
        result.unwrap()
    }

    pub(crate) fn done(&mut self, action: DiskAction) {
        match self.disk(action) {
            DiskResult::Done(result) => result.unwrap(),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn open(&mut self, file: u32, path: &str, mode: OpenMode) -> u64 {
        let path = path.to_owned();
        match self.disk(DiskAction::Open { file: FileId(file), path, mode }) {
            DiskResult::Opened(length) => length.unwrap(),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn write(
        &mut self,
        file: u32,
        position_bytes: u64,
        source: Memory,
    ) -> (Memory, usize) {
        let action =
            DiskAction::Write { file: FileId(file), position_bytes, source, durable: true };
        match self.disk(action) {
            DiskResult::Written(memory, length) => (memory, length.unwrap()),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn read(
        &mut self,
        file: u32,
        position_bytes: u64,
        target: Memory,
    ) -> (Memory, usize) {
        match self.disk(DiskAction::Read { file: FileId(file), position_bytes, target }) {
            DiskResult::Read(memory, length) => (memory, length.unwrap()),
            other => panic!("{other:?}"),
        }
    }

    /// Turns until `until` says that it has seen what it waits for.
    pub(crate) fn turn_until(
        &mut self,
        mut until: impl FnMut(&mut Vec<Op>, Completion<'_>) -> bool,
    ) {
        let deadline = self.ring.refresh_now().monotonic + Duration::from_secs(20);
        let mut seen = false;
        let mut ops = Vec::new();
        while !seen {
            assert!(self.ring.refresh_now().monotonic < deadline, "did not happen");
            self.ring
                .turn(Some(deadline), |completion| seen |= until(&mut ops, completion))
                .unwrap();
            for op in ops.drain(..) {
                self.ring.submit(op);
            }
        }
    }
}

pub(crate) fn receive(socket: SocketId) -> Op {
    Op::Socket(SocketOp::Receive { socket, into: None })
}

pub(crate) fn send(socket: SocketId, head: &[u8], body: Memory) -> Op {
    Op::Socket(SocketOp::Send { socket, head: head.to_vec(), body })
}
