//! A server's life: checks, lock, recovery, threads, ready, signal, stop.
//!
//! It holds the order of a start and a stop, and no rule of the log. What a newcomer gets wrong:
//! signals are blocked before the first thread starts, and the directory's lock is taken before
//! anything of the log is read.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use plimsoll_device::{DiskAction, DiskOp, Op, Token};
use plimsoll_ring::host::{self, Finding as _, FlushMethod, Verdict};
use plimsoll_ring::{
    DirectoryLock, LockError, Ring, RingConfig, Signals, available_cores, boot_id,
    ignore_sigpipe_and_sigxfsz, raise_open_files_limit, random_bytes,
};
use plimsoll_shard::{ShardConfig, ShardLimits, TopicSettings};
use plimsoll_storage::{
    DataDirId, JOURNALS_DIRECTORY, PartitionId, Started, StartupConfig, StorageConfig,
    adopt_arenas, journal_bytes_min, journal_path,
};
use plimsoll_wire::ShardIndex;

use crate::arenas::Arenas;
use crate::config::{Config, CoreChoice};
use crate::control::{Control, ShardNews};
use crate::error::ServeError;
use crate::mailboxes::Mailboxes;
use crate::recovery::{check_journals, recover};
use crate::shard_thread::{self, ShardStart};

/// The smallest arena that a server takes: it has room for several of the largest batches.
const ARENA_BYTES_LEAST: usize = 16 << 20;
/// How long the writes of a killed server may take to land before a start gives up.
const LOCK_WAIT: Duration = Duration::from_secs(30);
/// How long a lock is waited for whose holder is alive.
const LIVE_LOCK_WAIT: Duration = Duration::from_secs(1);
/// Partitions that go on at their lease are named in the log, as long as they are few.
const JUMPED_SHOWN_MAX: usize = 16;
/// How often the main thread looks up from waiting for a signal.
const WATCH: Duration = Duration::from_secs(1);
/// How often a stop that takes long says what it waits for.
const STOP_SAYS: Duration = Duration::from_secs(5);

/// Serves until SIGTERM or SIGINT, then finishes and gives back.
///
/// Prints the ready line on stdout when clients may come; everything else goes to the log.
pub fn run(config: &Config) -> Result<(), ServeError> {
    let system = |what| move |source| ServeError::System { what, source };
    // Before any thread: they inherit the mask.
    let signals = Signals::block().map_err(system("blocking signals"))?;
    ignore_sigpipe_and_sigxfsz();
    raise_open_files_limit();
    let begun = Instant::now();
    let cores = cores(&config.cores)?;
    check_sizes(config)?;
    check_host(&config.data_dir, &config.arena_dir)?;
    let lock = Arc::new(lock(&config.data_dir)?);
    let mut server = Server::recover(config, &cores, &lock)?;
    server.wait_until_serving()?;
    server.remove_old()?;
    server.announce(begun.elapsed());
    server.watch(&signals)?;
    server.stop()
}

struct Server {
    listener_address: std::net::SocketAddr,
    shards: u16,
    epoch: u64,
    arenas: Arenas,
    keep_arenas: bool,
    orphans: Vec<u16>,
    ring: Ring,
    control: Arc<Control>,
    boxes: Arc<Mailboxes>,
    news: Receiver<(u16, ShardNews)>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    fn recover(
        config: &Config,
        cores: &[usize],
        lock: &Arc<DirectoryLock>,
    ) -> Result<Self, ServeError> {
        let system = |what| move |source| ServeError::System { what, source };
        let listener = TcpListener::bind(config.listen)
            .map_err(|source| ServeError::Listen { address: config.listen, source })?;
        let address = listener.local_addr().map_err(system("reading the port"))?;
        let shards = u16::try_from(cores.len()).unwrap_or(u16::MAX);
        let ring_config = RingConfig::new(config.data_dir.clone(), Arc::clone(lock));
        let mut ring = Ring::new(ring_config).map_err(ServeError::Ring)?;
        let new_data_dir = DataDirId(random_bytes().map_err(system("getting random bytes"))?);
        let startup = StartupConfig { shards, journal_bytes: config.journal_bytes, new_data_dir };
        let begun = Instant::now();
        let mut started = recover(&mut ring, startup)?;
        let boot_id = boot_id().map_err(|error| ServeError::Setting(error.to_string()))?;
        let arenas = Arenas::find(&config.arena_dir, started.manifest.data_dir, boot_id)?;
        if let Err(error) = check_journals(&started.journals, config.arena_bytes) {
            // If the arenas do not fit either, they are what was asked too much of.
            arenas.check_room(&vec![config.arena_bytes; cores.len()])?;
            return Err(error);
        }
        let adopted = adopt_arenas(&mut started.partitions, &arenas.images());
        log_recovery(&started, arenas.count(), adopted, begun.elapsed());

        let (sender, news) = channel();
        let mut server = Self {
            listener_address: address,
            shards,
            epoch: started.manifest.epoch,
            keep_arenas: !started.damages.is_empty(),
            arenas,
            orphans: started.orphans.clone(),
            ring,
            control: Arc::default(),
            boxes: Mailboxes::new(cores.len()),
            news,
            threads: Vec::new(),
        };
        let durable_writes = choose_flush_method(&config.data_dir);
        log_memory_bound(config.arena_bytes, shards);
        let mut listener = Some(listener);
        let storages = started.share_out(boot_id, durable_writes, config.recycled_segments_max);
        let lengths = storages.iter().map(|storage| arena_bytes(storage, config.arena_bytes));
        let lengths: Vec<usize> = lengths.collect();
        server.arenas.check_room(&lengths)?;
        for (storage, arena_bytes) in storages.into_iter().zip(lengths) {
            let index = storage.journal.index;
            let start = ShardStart {
                core: cores[usize::from(index)],
                data_dir: config.data_dir.clone(),
                lock: Arc::clone(lock),
                listener: listener.take(),
                arena_path: server.arenas.path(index, server.epoch),
                arena_bytes,
                shard: shard_config(index, shards, server.epoch, config),
                storage,
                boxes: Arc::clone(&server.boxes),
                control: Arc::clone(&server.control),
                news: sender.clone(),
            };
            let thread = std::thread::Builder::new().name(format!("shard-{index}"));
            let thread = thread.spawn(move || shard_thread::run(start));
            server.threads.push(thread.map_err(system("starting a thread"))?);
        }
        Ok(server)
    }

    fn wait_until_serving(&self) -> Result<(), ServeError> {
        let mut serving = 0;
        while serving < self.shards {
            match self.news.recv() {
                Ok((_, ShardNews::Serving)) => serving += 1,
                Ok((shard, news)) => return Err(self.ended(shard, news)),
                Err(_) => return Err(ServeError::ShardEnded("a shard's thread died".into())),
            }
        }
        Ok(())
    }

    /// Every shard holds what these held.
    fn remove_old(&mut self) -> Result<(), ServeError> {
        if !self.keep_arenas {
            self.arenas.remove_left()?;
        }
        if self.orphans.is_empty() {
            return Ok(());
        }
        for orphan in std::mem::take(&mut self.orphans) {
            self.carry_out(DiskAction::Remove { path: journal_path(orphan) })?;
        }
        self.carry_out(DiskAction::SyncDirectory { path: JOURNALS_DIRECTORY.into() })
    }

    fn carry_out(&mut self, action: DiskAction) -> Result<(), ServeError> {
        self.ring.submit(Op::Disk(DiskOp { token: Token(0), action }));
        let mut done = false;
        while !done {
            self.ring.turn(None, |_| done = true).map_err(ServeError::Turn)?;
        }
        Ok(())
    }

    fn announce(&self, elapsed: Duration) {
        self.control.start_accepting();
        self.wake_all();
        let (listen, shards, pid) = (self.listener_address, self.shards, std::process::id());
        let recovered_ms = elapsed.as_millis();
        let line = format!(
            "plimsoll ready listen={listen} shards={shards} pid={pid} recovered_ms={recovered_ms}"
        );
        // Whoever waits for the line may be behind a pipe, and a closed one or a full disk is not
        // the server's trouble.
        let mut stdout = std::io::stdout().lock();
        if let Err(error) = writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
            tracing::warn!("the ready line cannot be written to stdout ({error}): {line}");
        }
    }

    /// Waits for a signal, or for a shard that ends by itself.
    fn watch(&self, signals: &Signals) -> Result<(), ServeError> {
        loop {
            let signal = signals.wait_timeout(WATCH);
            let signal = signal
                .map_err(|source| ServeError::System { what: "waiting for a signal", source })?;
            if let Some(signal) = signal {
                tracing::info!(?signal, "stopping");
                return Ok(());
            }
            match self.news.try_recv() {
                Ok((_, ShardNews::Serving)) | Err(TryRecvError::Empty) => {}
                Ok((shard, news)) => return Err(self.ended(shard, news)),
                Err(TryRecvError::Disconnected) => {
                    return Err(ServeError::ShardEnded("every shard's thread died".into()));
                }
            }
            if self.threads.iter().any(JoinHandle::is_finished) {
                return Err(ServeError::ShardEnded(
                    "a shard's thread died; see the log above, then restart".into(),
                ));
            }
        }
    }

    fn stop(self) -> Result<(), ServeError> {
        self.control.stop();
        self.wake_all();
        let (mut clean, begun) = (true, Instant::now());
        let mut waits_for: BTreeSet<u16> = (0..self.shards).collect();
        while !waits_for.is_empty() {
            match self.news.recv_timeout(STOP_SAYS) {
                Ok((shard, ShardNews::Stopped { clean: this })) => {
                    clean &= this;
                    waits_for.remove(&shard);
                }
                Ok((_, ShardNews::Serving)) => {}
                Ok((shard, news)) => return Err(self.ended(shard, news)),
                Err(RecvTimeoutError::Timeout) => {
                    let waited = begun.elapsed();
                    tracing::warn!(?waits_for, ?waited, "shards that still write or still answer");
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(ServeError::ShardEnded("a shard's thread died".into()));
                }
            }
        }
        for thread in self.threads {
            if thread.join().is_err() {
                return Err(ServeError::ShardEnded("a shard's thread died".into()));
            }
        }
        if clean && !self.keep_arenas {
            self.arenas.remove_all(self.shards, self.epoch)?;
        }
        Ok(())
    }

    fn wake_all(&self) {
        for shard in 0..usize::from(self.shards) {
            self.boxes.wake(shard);
        }
    }

    fn ended(&self, shard: u16, news: ShardNews) -> ServeError {
        match news {
            ShardNews::Ended(error) => error,
            news => ServeError::ShardEnded(format!("shard {shard} ended by itself: {news:?}")),
        }
    }
}

fn cores(choice: &CoreChoice) -> Result<Vec<usize>, ServeError> {
    let available = available_cores()
        .map_err(|source| ServeError::System { what: "asking for the cores", source })?;
    match choice {
        CoreChoice::Auto => {
            let shards = available.shards_max();
            Ok(available.numbers.into_iter().take(shards).collect())
        }
        CoreChoice::List(list) if list.is_empty() => {
            Err(ServeError::Setting("--cores needs at least one core".into()))
        }
        CoreChoice::List(list) => {
            match list.iter().find(|core| !available.numbers.contains(core)) {
                Some(core) => Err(ServeError::Setting(format!(
                    "core {core} is not one that this process may use; there are {:?}",
                    available.numbers
                ))),
                None => Ok(list.clone()),
            }
        }
    }
}

fn check_sizes(config: &Config) -> Result<(), ServeError> {
    let block = plimsoll_device::BLOCK_BYTES;
    if config.arena_bytes < ARENA_BYTES_LEAST || !config.arena_bytes.is_multiple_of(block) {
        let text = format!(
            "--arena-bytes is at least {ARENA_BYTES_LEAST} and a multiple of {block}, not {}",
            config.arena_bytes
        );
        return Err(ServeError::Setting(text));
    }
    let least = journal_bytes_min(config.arena_bytes);
    if config.journal_bytes < least || !config.journal_bytes.is_multiple_of(block as u64) {
        let text = format!(
            "--journal-bytes is at least {least} beside this arena and a multiple of {block}, \
             not {}",
            config.journal_bytes
        );
        return Err(ServeError::Setting(text));
    }
    Ok(())
}

fn check_host(data_dir: &Path, arena_dir: &Path) -> Result<(), ServeError> {
    let unusable = |source| ServeError::DataDir { path: data_dir.to_owned(), source };
    // Before anything is made: a start that is refused leaves nothing behind.
    if let Err(source) = std::fs::read_dir(arena_dir) {
        return Err(ServeError::ArenaDir { path: arena_dir.to_owned(), source });
    }
    std::fs::create_dir_all(data_dir).map_err(unusable)?;
    let uring = host::io_uring();
    if uring.verdict() == Verdict::Failure {
        return Err(ServeError::Setup(in_one_sentence(&uring.to_string(), uring.remedy())));
    }
    let direct = host::direct_io(data_dir);
    if let host::DirectIoOutcome::Fails(error) = &direct.outcome
        && matches!(
            error.kind(),
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem
        )
    {
        return Err(unusable(std::io::Error::new(error.kind(), error.to_string())));
    }
    if direct.verdict() == Verdict::Failure {
        return Err(ServeError::DirectIo(in_one_sentence(&direct.to_string(), direct.remedy())));
    }
    if let Ok(file_system) = host::file_system(data_dir)
        && file_system.verdict() != Verdict::Fine
    {
        tracing::warn!("{}", in_one_sentence(&file_system.to_string(), file_system.remedy()));
    }
    Ok(())
}

fn in_one_sentence(finding: &str, remedy: Option<String>) -> String {
    match remedy {
        Some(remedy) => format!("{finding}: {remedy}"),
        None => finding.to_owned(),
    }
}

/// Waits for the writes of a dead server to land, but not for a live one to end.
fn lock(data_dir: &Path) -> Result<DirectoryLock, ServeError> {
    let begun = Instant::now();
    loop {
        match DirectoryLock::acquire(data_dir, LIVE_LOCK_WAIT) {
            Ok(lock) => return Ok(lock),
            Err(LockError::Held { pid: Some(pid), .. })
                if !is_alive(pid) && begun.elapsed() < LOCK_WAIT => {}
            Err(error) => return Err(ServeError::Lock(error)),
        }
    }
}

fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state follows the name, which is in parentheses and may hold anything.
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    matches!(state, Some(state) if state != 'Z' && state != 'X')
}

fn choose_flush_method(data_dir: &Path) -> bool {
    match host::choose_flush_method(data_dir) {
        Ok(probe) => {
            let durable_writes = probe.method == FlushMethod::DurableWrite;
            tracing::info!(
                "commits use {} (RWF_DSYNC {:?}, write and fdatasync {:?}, medians)",
                if durable_writes { "RWF_DSYNC" } else { "write and fdatasync" },
                probe.durable_write_p50,
                probe.write_then_flush_p50,
            );
            durable_writes
        }
        Err(error) => {
            tracing::warn!("commits use write and fdatasync; the probe failed: {error}");
            false
        }
    }
}

/// What the server may use, at most, with nobody's help but its clients'.
fn log_memory_bound(arena_bytes: usize, shards: u16) {
    let limits = ShardLimits::default();
    let arenas = arena_bytes * usize::from(shards);
    let receive = limits.receive_bytes_max * usize::from(shards);
    let forward = limits.forward_bytes_max * usize::from(shards);
    let keys = plimsoll_storage::COMPACTION_KEY_BYTES_MAX * usize::from(shards);
    tracing::info!(
        "memory: arenas {arenas} bytes (tmpfs), receive buffers up to {receive}, forwarded \
         batches up to {forward}, keys of topics that are compacted up to {keys}, each \
         connection up to {} waiting to be sent; bound without connections: {} bytes",
        limits.send_backlog_bytes_max,
        arenas + receive + forward + keys,
    );
}

/// What recovery found and did, in one line; and a line for each damage.
fn log_recovery(started: &Started, arenas: usize, adopted_bytes: u64, took: Duration) {
    let jumped: Vec<&PartitionId> =
        started.partitions.iter().filter(|(_, it)| it.jumps).map(|(id, _)| id).collect();
    let shown = jumped.iter().take(JUMPED_SHOWN_MAX).map(ToString::to_string);
    let shown = shown.collect::<Vec<String>>().join(" ");
    let more = if jumped.len() > JUMPED_SHOWN_MAX { " ..." } else { "" };
    tracing::info!(
        epoch = started.manifest.epoch,
        new = started.is_new,
        journals = started.journals.len() + started.orphans.len(),
        frames = started.frames,
        cut_bytes = started.cut_bytes,
        journal_bytes_read = started.read_bytes,
        partitions = started.partitions.len(),
        arenas,
        arena_bytes_taken = adopted_bytes,
        leases_used = jumped.len(),
        offsets_jumped = format_args!("[{shown}{more}]"),
        damages = started.damages.len(),
        took_ms = took.as_millis(),
        "recovered"
    );
    for damage in &started.damages {
        tracing::error!(
            "damaged: {damage}; the shard's partitions can be read and not written: stop the \
             server, and run `plimsoll repair` on the data directory"
        );
    }
}

/// What recovery found has to fit, even if fewer shards than before share it, or nothing of it can
/// be moved to the disk.
fn arena_bytes(storage: &StorageConfig, configured: usize) -> usize {
    let (journal, needed) = (&storage.journal, storage.arena_bytes_needed());
    let shard = journal.index;
    if needed > configured {
        tracing::warn!(
            shard,
            "the arena has {needed} bytes until the next start, not {configured}: so much was \
             found that is not in segments yet"
        );
        if journal.file_bytes() < journal_bytes_min(needed) {
            tracing::warn!(
                shard,
                "its journal found no room on the disk to grow with the arena: appends may have \
                 to wait; make room and start again, or start with as many shards as before"
            );
        }
    }
    needed.max(configured)
}

fn shard_config(index: u16, shards: u16, epoch: u64, config: &Config) -> ShardConfig {
    let Config { arena_bytes, producer_expiry, .. } = *config;
    let limits = ShardLimits::default();
    // Every partition that was written to holds at least one page of its shard's arena.
    let pages = arena_bytes / plimsoll_device::BLOCK_BYTES / 2;
    let partitions_max = (pages as u64 * u64::from(shards)).min(limits.partitions_max);
    // Consumers that never read must leave most of the arena to producers.
    let lent_bytes_max = limits.lent_bytes_max.min(arena_bytes / 4);
    ShardConfig {
        index: ShardIndex(index),
        shards,
        epoch,
        server_name: concat!("plimsoll ", env!("CARGO_PKG_VERSION")).into(),
        limits: ShardLimits { partitions_max, lent_bytes_max, producer_expiry, ..limits },
        topic_defaults: TopicSettings::default(),
    }
}
