//! What the ring costs against the plain system calls: ping-pong over loopback, and large writes.
//!
//! `cargo run --release -p plimsoll-ring --example ring_cost -- <directory on a disk>`

use std::error::Error;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll_device::{
    Arena, ArenaRange, Completion, DiskAction, DiskOp, DiskResult, FileId, Memory, Op, OpenMode,
    Received, SocketCompletion, SocketOp, Token,
};
use plimsoll_ring::{
    ArenaRegistration, DirectoryLock, Ring, RingConfig, create_arena, ignore_sigpipe_and_sigxfsz,
    remove_arena,
};

const ROUND_TRIPS: usize = 20_000;
const RUNS: usize = 5;
const WRITE_BYTES: usize = 1 << 20;
const WRITES: u64 = 512;
const PASSES: usize = 4;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    ignore_sigpipe_and_sigxfsz();
    let dir = std::env::args().nth(1).ok_or("usage: ring_cost <directory on a disk>")?;
    let dir = Path::new(&dir);
    for _ in 0..RUNS {
        let plain = ping_pong(|listener| plain_echo(&listener))?;
        let ring_dir = dir.to_owned();
        let ring = ping_pong(move |listener| ring_echo(listener, &ring_dir))?;
        println!("ping-pong p50: plain {plain:?}, ring {ring:?}");
    }
    for _ in 0..RUNS {
        let plain = plain_writes(dir)?;
        let depth_1 = ring_writes(dir, 1)?;
        let depth_4 = ring_writes(dir, 4)?;
        println!(
            "1 MiB writes, MB/s: pwrite {plain:.0}, ring {depth_1:.0}, 4 at once {depth_4:.0}"
        );
    }
    Ok(())
}

/// Median of a round trip of 100 bytes against an echo on another thread.
fn ping_pong(echo: impl FnOnce(TcpListener) + Send + 'static) -> Outcome<Duration> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let server = std::thread::spawn(move || echo(listener));
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut bytes = [7; 100];
    let mut times = Vec::with_capacity(ROUND_TRIPS);
    for _ in 0..ROUND_TRIPS {
        let started = Instant::now();
        stream.write_all(&bytes)?;
        stream.read_exact(&mut bytes)?;
        times.push(started.elapsed());
    }
    drop(stream);
    server.join().map_err(|_| "the echo failed")?;
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

#[expect(clippy::unwrap_used, reason = "an example may stop at an error")]
fn plain_echo(listener: &TcpListener) {
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_nodelay(true).unwrap();
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes).unwrap() {
            0 => return,
            length => stream.write_all(&bytes[..length]).unwrap(),
        }
    }
}

#[expect(clippy::unwrap_used, reason = "an example may stop at an error")]
fn ring_echo(listener: TcpListener, dir: &Path) {
    let mut ring = ring(dir, Some(listener)).unwrap();
    ring.submit(Op::Socket(SocketOp::Accept));
    let mut ops = Vec::new();
    let mut closed = false;
    while !closed {
        let handle = |completion: Completion<'_>| match completion {
            Completion::Socket(SocketCompletion::Accepted { socket }) => {
                ops.push(SocketOp::Receive { socket, into: None });
            }
            Completion::Socket(SocketCompletion::Received { socket, data }) => match data {
                Received::Pooled([]) => ops.push(SocketOp::Close { socket }),
                Received::Pooled(bytes) => {
                    ops.push(SocketOp::Send { socket, head: bytes.to_vec(), body: Memory::None });
                    ops.push(SocketOp::Receive { socket, into: None });
                }
                _ => closed = true,
            },
            Completion::Socket(SocketCompletion::Closed { .. }) => closed = true,
            _ => {}
        };
        ring.turn(None, handle).unwrap();
        ops.drain(..).for_each(|op| ring.submit(Op::Socket(op)));
    }
}

fn ring(dir: &Path, listener: Option<TcpListener>) -> Outcome<Ring> {
    let lock = Arc::new(DirectoryLock::acquire(dir, Duration::from_secs(5))?);
    Ok(Ring::new(RingConfig { listener, ..RingConfig::new(dir.to_owned(), lock) })?)
}

/// Memory in tmpfs, for so many writes at once, whose file is gone already.
fn arena(writes: usize) -> Outcome<Arena> {
    let path = Path::new("/dev/shm").join(format!("ring-cost-{}", std::process::id()));
    let mut arena = create_arena(&path, writes * WRITE_BYTES)?;
    remove_arena(&path)?;
    let all = ArenaRange { start_bytes: 0, length_bytes: writes * WRITE_BYTES };
    arena.bytes_mut(all).fill(7);
    Ok(arena)
}

fn plain_writes(dir: &Path) -> Outcome<f64> {
    let path = dir.join("ring-cost");
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(libc::O_DIRECT)
        .open(&path)?;
    let arena = arena(1)?;
    let bytes = arena.bytes(ArenaRange { start_bytes: 0, length_bytes: WRITE_BYTES });
    let mut best = Duration::MAX;
    // The first pass allocates; the others overwrite, and are what counts.
    for _ in 0..PASSES {
        let started = Instant::now();
        for number in 0..WRITES {
            file.write_all_at(bytes, number * WRITE_BYTES as u64)?;
        }
        best = best.min(started.elapsed());
    }
    std::fs::remove_file(path)?;
    Ok(megabytes_per_second(best))
}

fn ring_writes(dir: &Path, depth: usize) -> Outcome<f64> {
    let arena = arena(depth)?;
    let mut ring = ring(dir, None)?;
    if ring.register_arena(&arena) != ArenaRegistration::Registered {
        println!("the arena is not registered");
    }
    let path = "ring-cost".to_owned();
    let mode = OpenMode::CreateNew;
    run(&mut ring, vec![DiskAction::Open { file: FileId(0), path: path.clone(), mode }])?;
    let mut best = Duration::MAX;
    for _ in 0..PASSES {
        best = best.min(write_pass(&mut ring, depth)?);
    }
    run(&mut ring, vec![DiskAction::Remove { path }])?;
    Ok(megabytes_per_second(best))
}

/// Writes the whole file with `depth` writes in flight.
fn write_pass(ring: &mut Ring, depth: usize) -> Outcome<Duration> {
    let started = Instant::now();
    let mut next = 0;
    let mut free: Vec<usize> = (0..depth).collect();
    let mut ended = 0;
    let mut failed = None;
    while ended < WRITES {
        while next < WRITES
            && let Some(slot) = free.pop()
        {
            let range = ArenaRange { start_bytes: slot * WRITE_BYTES, length_bytes: WRITE_BYTES };
            let action = DiskAction::Write {
                file: FileId(0),
                position_bytes: next * WRITE_BYTES as u64,
                source: Memory::Arena(range),
                durable: false,
            };
            ring.submit(Op::Disk(DiskOp { token: Token(next), action }));
            next += 1;
        }
        ring.turn(None, |completion| {
            if let Completion::Disk(done) = completion
                && let DiskResult::Written(Memory::Arena(range), result) = done.result
            {
                free.push(range.start_bytes / WRITE_BYTES);
                ended += 1;
                failed = failed.or(result.err());
            }
        })?;
    }
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(started.elapsed()),
    }
}

fn run(ring: &mut Ring, actions: Vec<DiskAction>) -> Outcome<()> {
    let mut left = actions.len();
    for action in actions {
        ring.submit(Op::Disk(DiskOp { token: Token(0), action }));
    }
    while left > 0 {
        ring.turn(None, |_| left -= 1)?;
    }
    Ok(())
}

fn megabytes_per_second(time: Duration) -> f64 {
    WRITES as f64 * WRITE_BYTES as f64 / 1e6 / time.as_secs_f64()
}
