//! One shard's thread: a ring, a shard, and the loop that carries word between them.
//!
//! The loop takes no decision and holds no lock. What a newcomer gets wrong: it may wait in one
//! place only, the ring's turn, and there not while mail waits in either direction; a letter rings
//! the doorbell of the shard it is for.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use plimsoll_device::{Instant, Now};
use plimsoll_ring::{
    ArenaRegistration, DirectoryLock, Ring, RingConfig, clock, create_arena, gather_huge_pages,
    pin_to_core,
};
use plimsoll_shard::{Report, Shard, ShardConfig};
use plimsoll_storage::{Storage, StorageConfig};
use plimsoll_wire::ShardIndex;

use crate::control::{Control, ShardNews};
use crate::error::ServeError;
use crate::mailboxes::{Mailboxes, Outgoing};
use crate::reports::ReportLog;

/// How long a start may take to put an arena into huge pages. What is not by then, never is: the
/// memory is registered next.
const HUGE_PAGES_TIME_MAX: Duration = Duration::from_millis(500);

/// Everything that a shard's thread begins with.
pub(crate) struct ShardStart {
    pub(crate) core: usize,
    pub(crate) data_dir: PathBuf,
    pub(crate) lock: Arc<DirectoryLock>,
    pub(crate) listener: Option<TcpListener>,
    pub(crate) arena_path: PathBuf,
    pub(crate) arena_bytes: usize,
    pub(crate) storage: StorageConfig,
    pub(crate) shard: ShardConfig,
    pub(crate) boxes: Arc<Mailboxes>,
    pub(crate) control: Arc<Control>,
    pub(crate) news: Sender<(u16, ShardNews)>,
}

/// Runs a shard until it has stopped, and tells how that went.
pub(crate) fn run(start: ShardStart) {
    let (index, news) = (start.shard.index.0, start.news.clone());
    let last = match ShardThread::new(start).and_then(ShardThread::serve) {
        Ok(clean) => ShardNews::Stopped { clean },
        Err(error) => ShardNews::Ended(error),
    };
    // The main thread listens until the last shard has ended; if it is gone, so is the process.
    let _told = news.send((index, last));
}

struct ShardThread {
    index: usize,
    shards: usize,
    ring: Ring,
    shard: Shard,
    boxes: Arc<Mailboxes>,
    outgoing: Outgoing,
    control: Arc<Control>,
    news: Sender<(u16, ShardNews)>,
    log: ReportLog,
    listens: bool,
    has_failed: bool,
    /// Every shard has seeded.
    serves: bool,
}

impl ShardThread {
    fn new(start: ShardStart) -> Result<Self, ServeError> {
        let index = start.shard.index.0;
        if let Err(error) = pin_to_core(start.core) {
            tracing::warn!(shard = index, "cannot be pinned to core {}: {error}", start.core);
        }
        // Made on this thread, so that its pages are near this core.
        let arena =
            create_arena(&start.arena_path, start.arena_bytes).map_err(ServeError::Arena)?;
        let huge_bytes = gather_huge_pages(&arena, HUGE_PAGES_TIME_MAX);
        tracing::info!(
            shard = index,
            "arena of {} bytes, {huge_bytes} of them in huge pages",
            arena.length_bytes()
        );
        let mut config = RingConfig::new(start.data_dir, start.lock);
        let listens = start.listener.is_some();
        config.listener = start.listener;
        let mut ring = Ring::new(config).map_err(ServeError::Ring)?;
        if let ArenaRegistration::Unregistered { reason } = ring.register_arena(&arena) {
            tracing::warn!(
                shard = index,
                "the arena is not registered with the kernel ({reason}): large appends cost more \
                 CPU; raise the limit on locked memory (LimitMEMLOCK=infinity, ulimit -l)"
            );
        }
        start.boxes.set_doorbell(usize::from(index), ring.doorbell());
        let storage = Storage::new(start.storage, arena);
        let shards = usize::from(start.shard.shards);
        let shard = Shard::new(start.shard, storage, ring.now());
        Ok(Self {
            index: usize::from(index),
            shards,
            ring,
            shard,
            outgoing: Outgoing::new(usize::from(index), Arc::clone(&start.boxes)),
            boxes: start.boxes,
            control: start.control,
            news: start.news,
            log: ReportLog::new(index),
            listens,
            has_failed: false,
            serves: false,
        })
    }

    /// True when everything is durable at the end.
    fn serve(mut self) -> Result<bool, ServeError> {
        let mut accepting = false;
        let mut stopping = false;
        loop {
            let now = self.ring.refresh_now();
            if self.listens && !accepting && self.control.accepting() {
                accepting = true;
                self.shard.start_accepting();
            }
            if !stopping && self.control.stopping() {
                stopping = true;
                self.shard.stop(now);
            }
            self.take_mail(now);
            self.pass_on();
            if self.take_reports(now)? {
                return Ok(!self.has_failed);
            }
            let deadline = self.deadline(now);
            let shard = &mut self.shard;
            let mut at = None;
            let turn = self.ring.turn(deadline, |completion| {
                let now = *at.get_or_insert_with(clock);
                shard.handle(completion, now);
            });
            turn.map_err(ServeError::Turn)?;
            let now = self.ring.refresh_now();
            if self.shard.poll_timeout().is_some_and(|timeout| timeout <= now.monotonic) {
                self.shard.handle_timeout(now);
            }
        }
    }

    fn take_mail(&mut self, now: Now) {
        for from in 0..self.shards {
            while let Some(mail) = self.boxes.take(from, self.index) {
                let from = ShardIndex(u16::try_from(from).unwrap_or(u16::MAX));
                self.shard.handle_mail(from, mail, now);
            }
        }
    }

    fn pass_on(&mut self) {
        while let Some(op) = self.shard.poll_op() {
            self.ring.submit(op);
        }
        let shard = &mut self.shard;
        self.outgoing.send(|| shard.poll_mail().map(|(to, mail)| (usize::from(to.0), mail)));
    }

    /// True when the shard has stopped.
    fn take_reports(&mut self, now: Now) -> Result<bool, ServeError> {
        while let Some(report) = self.shard.poll_report() {
            self.log.write(&report, now.unix_ms);
            match report {
                Report::Serving => {
                    self.serves = true;
                    let _told = self.news.send((self.log_shard(), ShardNews::Serving));
                }
                Report::Failed(failure) if !self.serves => {
                    // Nothing that it waits for comes any more.
                    return Err(ServeError::ShardEnded(format!(
                        "the disk failed while shard {} was starting: {failure}; check the disk, \
                         then start again (what was acked is recovered)",
                        self.index
                    )));
                }
                Report::Failed(_) => self.has_failed = true,
                Report::MetadataUnreadable(text) => {
                    let text = format!(
                        "the metadata topic cannot be read ({text}): run `plimsoll verify` on the \
                         data directory"
                    );
                    return Err(ServeError::ShardEnded(text));
                }
                Report::Stopped => return Ok(true),
                _ => {}
            }
        }
        Ok(false)
    }

    fn log_shard(&self) -> u16 {
        u16::try_from(self.index).unwrap_or(u16::MAX)
    }

    /// Until when to wait: not at all while mail waits, in either direction.
    fn deadline(&self, now: Now) -> Option<Instant> {
        let busy = self.outgoing.is_waiting() || self.boxes.has_mail(self.index);
        if busy { Some(now.monotonic) } else { self.shard.poll_timeout() }
    }
}
