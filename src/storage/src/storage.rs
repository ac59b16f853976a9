//! The log of one shard as its shard sees it.
//!
//! It holds the state and carries completions to the files that handle them; the work is there.
//! What a newcomer gets wrong: commits and spills begin in `poll_op`, so that one turn's appends
//! share one.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use plimsoll_batch::Offset;
use plimsoll_device::{
    Arena, ArenaRange, BLOCK_BYTES, DiskCompletion, DiskOp, DiskResult, FileId, Instant, Now,
    OpenMode,
};

use crate::arena_layout::ArenaHeader;
use crate::commit::Commit;
use crate::compaction::Compactor;
use crate::describe::StorageCounters;
use crate::error::{Damage, Failure};
use crate::files::Files;
use crate::flight::{Flight, Purpose};
use crate::frame::Sequence;
use crate::grow::Grow;
use crate::identity::{PartitionId, Slot};
use crate::index_job::IndexJob;
use crate::journal::{Journal, journal_path};
use crate::limits::{COMMITS_MAX, DISK_FULL_RETRY, FRAME_BYTES_MAX, READ_BYTES_MAX, SPILLS_MAX};
use crate::manifest::DataDirId;
use crate::notice::Notice;
use crate::partition::Partition;
use crate::producer_books::ProducerBooks;
use crate::read_job::ReadJob;
use crate::recovered::RecoveredPartition;
use crate::recycled::RecycledFiles;
use crate::remove::Removal;
use crate::retention::Aging;
use crate::seed::Feed;
use crate::span::{SpanId, SpanMemory};
use crate::spill::Stored;
use crate::sweep::Sweeps;

/// One shard's log.
///
/// Three kinds of method: `handle_*` and `handle` take in what the machine says, `poll_*` give out
/// what the machine should do and what the shard should know (poll them until they are empty after
/// every input), the others are the shard's commands and questions.
pub struct Storage {
    pub(crate) data_dir: DataDirId,
    pub(crate) epoch: u64,
    pub(crate) durable_writes: bool,
    pub(crate) memory: SpanMemory,
    pub(crate) partitions: Vec<Option<Box<Partition>>>,
    pub(crate) has_free_slot: bool,
    pub(crate) by_id: BTreeMap<PartitionId, Slot>,
    pub(crate) recovered: BTreeMap<PartitionId, RecoveredPartition>,
    pub(crate) seeding: Seeding,
    /// What only memory held, and is not in this start's yet.
    pub(crate) feeds: VecDeque<Feed>,
    pub(crate) files: Files,
    pub(crate) flight: Flight,
    pub(crate) ops: VecDeque<DiskOp>,
    /// Ends of operations that were never given out.
    pub(crate) refused: VecDeque<DiskCompletion>,
    /// What the clock last said.
    pub(crate) clock: Instant,
    pub(crate) notices: VecDeque<Notice>,
    pub(crate) counters: StorageCounters,
    pub(crate) producers: ProducerBooks,

    pub(crate) journal: Journal,
    pub(crate) journal_file: FileId,
    pub(crate) frame_runs: Vec<SpanId>,
    pub(crate) commits: VecDeque<Commit>,
    /// The last frame known to be durable.
    pub(crate) durable_frame: Sequence,
    /// Partitions whose data the next commit takes.
    pub(crate) urgent: VecDeque<Slot>,
    /// Bytes that wait in `urgent` partitions.
    pub(crate) urgent_bytes: u64,
    /// Partitions that need a longer lease before they may show what they have.
    pub(crate) leases_wanted: VecDeque<Slot>,
    /// Partitions that must be logged whole in a new place.
    pub(crate) snapshots_wanted: VecDeque<Slot>,
    /// How many of them there still are.
    pub(crate) relogs: usize,
    /// Partitions whose leases of an earlier start are to end.
    pub(crate) leases_void: VecDeque<Slot>,
    /// Partitions whose start moves with the next frame.
    pub(crate) trims: VecDeque<Slot>,
    pub(crate) due: BTreeSet<(Instant, Slot)>,
    pub(crate) aging: Aging,
    /// Oldest frame needed, by partition.
    pub(crate) by_oldest: BTreeSet<(Sequence, Slot)>,
    /// Partitions older than this are being logged anew.
    pub(crate) checkpoint_to: Option<Sequence>,
    /// Where the journal stood when the last one ended.
    pub(crate) checkpoint_ended_at: u64,
    pub(crate) anchor: AnchorState,
    pub(crate) anchor_run: SpanId,

    pub(crate) spill_queue: VecDeque<Slot>,
    pub(crate) spills: usize,
    pub(crate) spilling: BTreeMap<Slot, Stored>,
    /// Data that has moved to its segment, durably, and is to be logged as such.
    pub(crate) stored: VecDeque<Stored>,
    /// Partitions in the order in which they took memory; for when it runs short.
    pub(crate) memory_order: VecDeque<Slot>,
    /// Somebody was told `NoRoom`.
    pub(crate) room_wanted: bool,
    /// A reader was.
    pub(crate) read_room_wanted: bool,
    /// Kept for one read, so that reads go on when appends have taken all other memory.
    pub(crate) read_run: SpanId,
    pub(crate) grows: BTreeMap<Slot, Grow>,
    pub(crate) topics_ready: BTreeSet<u32>,
    /// Partitions whose files wait for room on the disk.
    pub(crate) full_slots: BTreeSet<Slot>,
    /// The disk was full; when to try again.
    pub(crate) disk_full: Option<Instant>,

    pub(crate) reads: BTreeMap<u64, ReadJob>,
    pub(crate) index_jobs: BTreeMap<u64, IndexJob>,
    pub(crate) indexes: crate::index_job::IndexCache,
    pub(crate) removals: BTreeMap<u64, Removal>,
    /// Partitions whose files go when the frame is durable.
    pub(crate) removals_waiting: VecDeque<(Sequence, PartitionId)>,
    pub(crate) sweeps: Sweeps,
    pub(crate) compaction: Compactor,
    pub(crate) recycled: RecycledFiles,
    /// A frame is wanted although there may be nothing to put into it.
    pub(crate) marker_wanted: bool,
    pub(crate) next_job: u64,

    pub(crate) failure: Option<Failure>,
    pub(crate) journal_damage: Option<Damage>,
    pub(crate) other_damage: Option<Damage>,
    pub(crate) stop: StopState,
}

/// How far a start is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seeding {
    /// Partitions are being opened.
    Opening,
    /// What recovery found is being made durable here.
    Logging,
    /// It is; other shards may not be as far: nothing old may be written over.
    Waiting,
    /// All shards are.
    Done,
}

/// How far a stop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StopState {
    Running,
    /// Appends are refused, data is made durable.
    Flushing,
    /// The last frame with anything in it is on its way.
    LastFrame,
    /// One without entries is, which says that the last one is on disk: rot in that is no torn tail
    /// then.
    Witness,
    Stopped,
}

/// Whether an anchor is being written, and which head it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AnchorState {
    Idle,
    Writing(crate::journal::Mark),
}

/// What a shard's storage is made from.
pub struct StorageConfig {
    /// From the manifest.
    pub data_dir: DataDirId,
    /// From the manifest: the number of this start.
    pub epoch: u64,
    /// The boot of the machine, for the arena's header.
    pub boot_id: [u8; 16],
    /// Writes that are durable by themselves (RWF_DSYNC), or writes and then a flush.
    pub durable_writes: bool,
    /// The journal as recovery left it; its number is the shard's.
    pub journal: Journal,
    /// Damage that recovery found in the journal: nothing is appended then.
    pub journal_damage: Option<Damage>,
    /// Damage in the journal of another shard, of this start or of one before: what was in it of a
    /// partition that is found nowhere is not known.
    pub other_damage: Option<Damage>,
    /// How many files of deleted segments are kept for new ones, at most.
    pub recycled_segments_max: usize,
    /// What recovery found of the partitions that this shard owns.
    pub recovered: BTreeMap<PartitionId, RecoveredPartition>,
}

impl Storage {
    /// The log of a shard, before its partitions are opened. `arena` is new and zeroed.
    ///
    /// # Panics
    /// When the arena is smaller than [`ARENA_BYTES_MIN`](crate::ARENA_BYTES_MIN).
    pub fn new(config: StorageConfig, arena: Arena) -> Self {
        let mut memory = span_memory(&config, arena);
        let (frame_runs, anchor_run, read_run) = take_runs(&mut memory);
        Self {
            data_dir: config.data_dir,
            epoch: config.epoch,
            durable_writes: config.durable_writes,
            memory,
            partitions: Vec::new(),
            has_free_slot: false,
            by_id: BTreeMap::new(),
            recovered: config.recovered,
            seeding: Seeding::Opening,
            feeds: VecDeque::new(),
            files: Files::new(),
            flight: Flight::new(),
            ops: VecDeque::new(),
            refused: VecDeque::new(),
            clock: Instant::ORIGIN,
            notices: VecDeque::new(),
            counters: StorageCounters::default(),
            producers: ProducerBooks::new(config.journal.area_bytes),
            journal_file: FileId(0),
            checkpoint_ended_at: config.journal.head.position,
            durable_frame: Sequence(config.journal.next.sequence.0 - 1),
            recycled: RecycledFiles::new(config.journal.index, config.recycled_segments_max),
            journal: config.journal,
            frame_runs,
            commits: VecDeque::new(),
            urgent: VecDeque::new(),
            urgent_bytes: 0,
            leases_wanted: VecDeque::new(),
            snapshots_wanted: VecDeque::new(),
            relogs: 0,
            leases_void: VecDeque::new(),
            trims: VecDeque::new(),
            due: BTreeSet::new(),
            aging: Aging::default(),
            by_oldest: BTreeSet::new(),
            checkpoint_to: None,
            anchor: AnchorState::Idle,
            anchor_run,
            spill_queue: VecDeque::new(),
            spills: 0,
            spilling: BTreeMap::new(),
            stored: VecDeque::new(),
            memory_order: VecDeque::new(),
            room_wanted: false,
            read_room_wanted: false,
            read_run,
            grows: BTreeMap::new(),
            topics_ready: BTreeSet::new(),
            full_slots: BTreeSet::new(),
            disk_full: None,
            reads: BTreeMap::new(),
            index_jobs: BTreeMap::new(),
            indexes: crate::index_job::IndexCache::new(),
            removals: BTreeMap::new(),
            removals_waiting: VecDeque::new(),
            sweeps: Sweeps::default(),
            compaction: Compactor::default(),
            marker_wanted: false,
            next_job: 0,
            failure: None,
            journal_damage: config.journal_damage,
            other_damage: config.other_damage,
            stop: StopState::Running,
        }
        .with_journal_open()
    }

    fn with_journal_open(mut self) -> Self {
        let path = journal_path(self.journal.index);
        self.journal_file = self.hold_file(&path, OpenMode::Existing);
        self
    }

    /// The arena, for the machine that registers it or reads what is written from it.
    pub fn arena(&self) -> &Arena {
        self.memory.arena()
    }

    /// The arena, for a simulated machine that fills what is read into it.
    pub fn arena_mut(&mut self) -> &mut Arena {
        self.memory.arena_mut()
    }

    /// Bytes of the arena, for the CRC of what is sent from it.
    pub fn bytes(&self, range: ArenaRange) -> &[u8] {
        self.memory.arena().bytes(range)
    }

    /// Begins a clean stop: appends are refused, everything is made durable, then
    /// [`Notice::Stopped`].
    pub fn stop(&mut self, _now: Now) {
        if self.stop != StopState::Running {
            return;
        }
        self.stop = StopState::Flushing;
        while let Some((_, slot)) = self.due.pop_first() {
            self.partition_mut(slot).due = None;
            self.want_commit(slot);
        }
    }

    /// Takes in the end of a disk operation.
    pub fn handle(&mut self, completion: DiskCompletion, now: Now) {
        self.look_at_clocks(now);
        self.handle_one(completion);
        self.handle_refused();
    }

    pub(crate) fn handle_one(&mut self, completion: DiskCompletion) {
        let purpose = self.flight.finish(completion.token);
        match (purpose, completion.result) {
            (Purpose::Open(file), DiskResult::Opened(result)) => self.handle_opened(file, result),
            (Purpose::Close(file), _) => self.files.closed(file),
            (Purpose::CommitWrite(commit, part), DiskResult::Written(_, result)) => {
                self.handle_commit_write(commit, part, result);
            }
            (Purpose::CommitSync(commit, file), DiskResult::Done(result)) => {
                self.handle_commit_sync(commit, file, result);
            }
            (Purpose::SpillWrite(slot, part), DiskResult::Written(_, result)) => {
                self.handle_spill_write(slot, part, result);
            }
            (Purpose::SpillSync(slot, file), DiskResult::Done(result)) => {
                self.handle_spill_sync(slot, file, result);
            }
            (Purpose::Grow(slot), result) => self.handle_grow(slot, &result),
            (Purpose::AnchorWrite(part), DiskResult::Written(_, result)) => {
                self.handle_anchor_write(part, result);
            }
            (Purpose::AnchorSync, DiskResult::Done(result)) => self.handle_anchor_sync(result),
            (Purpose::ReadPiece(read, run), DiskResult::Read(memory, result)) => {
                self.handle_read_piece(read, run, &memory, result);
            }
            (Purpose::Index(job), result) => self.handle_index(job, result),
            (Purpose::Remove(job), result) => self.handle_remove(job, result),
            (Purpose::Sweep, result) => self.handle_sweep(result),
            (Purpose::Compact, result) => self.handle_compaction(result),
            (Purpose::RemoveRecycled, _) => self.handle_recycled_removed(),
            (purpose, result) => panic!("{result:?} does not answer {purpose:?}"),
        }
    }

    /// Takes in that the instant of `poll_timeout` has come.
    pub fn handle_timeout(&mut self, now: Now) {
        self.look_at_clocks(now);
        self.retain_due();
        self.compact_due();
        while let Some(&(due, slot)) = self.due.first()
            && due <= now.monotonic
        {
            self.due.pop_first();
            self.partition_mut(slot).due = None;
            self.want_commit(slot);
        }
        if self.disk_full.is_some_and(|retry| retry <= now.monotonic) {
            self.disk_full = Some(now.monotonic + DISK_FULL_RETRY);
            self.retry_full_disk();
        }
    }

    /// When `handle_timeout` is wanted next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let due = self.due.first().map(|(due, _)| *due);
        let age = self.aging.due.first().map(|(due, _)| *due);
        [due, age, self.disk_full, self.compaction.timeout()].into_iter().flatten().min()
    }

    /// The next operation for the machine.
    pub fn poll_op(&mut self) -> Option<DiskOp> {
        if self.ops.is_empty() {
            self.feed();
            self.handle_refused();
            self.run_compaction();
            self.start_spills();
            self.start_commits();
            // A checkpoint may have to move data before it can go on, and memory that is given
            // back without an operation may not be enough yet: then nobody else would go on.
            // Each round may ask every partition once; what still waits then waits for something.
            for _ in 0..self.memory_order.len() / SPILLS_MAX + 1 {
                if !self.ops.is_empty() || self.spill_queue.is_empty() {
                    break;
                }
                self.start_spills();
                self.start_commits();
            }
            self.start_spills();
            self.check_stopped();
            while let Some((file, close)) = self.files.close_doomed() {
                self.submit(Purpose::Close(file), close);
            }
        }
        self.ops.pop_front()
    }

    /// The next news for the shard.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        let notice = self.notices.pop_front();
        if let Some(Notice::Advanced(slot)) = &notice
            && let Some(Some(partition)) = self.partitions.get_mut(slot.0 as usize)
        {
            partition.advanced = false;
        }
        notice
    }

    pub(crate) fn partition(&self, slot: Slot) -> &Partition {
        match self.partitions.get(slot.0 as usize) {
            Some(Some(partition)) => partition,
            _ => panic!("{slot:?} is open"),
        }
    }

    pub(crate) fn partition_mut(&mut self, slot: Slot) -> &mut Partition {
        match self.partitions.get_mut(slot.0 as usize) {
            Some(Some(partition)) => partition,
            _ => panic!("{slot:?} is open"),
        }
    }

    /// Partitions come and go; jobs that end later look before they touch one.
    pub(crate) fn is_open(&self, slot: Slot) -> bool {
        matches!(self.partitions.get(slot.0 as usize), Some(Some(_)))
    }

    pub(crate) fn notify_advanced(&mut self, slot: Slot) {
        let partition = self.partition_mut(slot);
        if !partition.advanced {
            partition.advanced = true;
            self.notices.push_back(Notice::Advanced(slot));
        }
    }

    pub(crate) fn job(&mut self) -> u64 {
        self.next_job += 1;
        self.next_job
    }

    fn check_stopped(&mut self) {
        if self.stop == StopState::LastFrame && self.commits.is_empty() {
            self.stop = StopState::Witness;
            self.write_witness();
        }
        if self.stop == StopState::Witness && self.commits.is_empty() {
            self.stop = StopState::Stopped;
            self.notices.push_back(Notice::Stopped);
        }
        // A commit that failed stays; when nothing is on its way, nothing more will come.
        let stuck = self.failure.is_some() || self.journal_damage.is_some();
        if self.stop < StopState::Stopped
            && self.stop > StopState::Running
            && stuck
            && self.flight.count() == 0
        {
            self.stop = StopState::Stopped;
            self.notices.push_back(Notice::Stopped);
        }
    }

    /// The offset after every offset that was ever given out here.
    pub(crate) fn end_of(&self, slot: Slot) -> Offset {
        self.partition(slot).published.offset
    }
}

/// Memory that is never given back: for frames, for the anchor, for one read at least.
fn take_runs(memory: &mut SpanMemory) -> (Vec<SpanId>, SpanId, SpanId) {
    let read_bytes = (READ_BYTES_MAX + BLOCK_BYTES).min(memory.arena().length_bytes() / 8);
    let mut run = |bytes| {
        memory.take_run(bytes).unwrap_or_else(|| panic!("the least arena has room for frames"))
    };
    let frames = (0..COMMITS_MAX).map(|_| run(FRAME_BYTES_MAX)).collect();
    (frames, run(BLOCK_BYTES), run(read_bytes))
}

fn span_memory(config: &StorageConfig, arena: Arena) -> SpanMemory {
    let header = arena_header(config, arena.length_bytes() as u64);
    SpanMemory::new(arena, &header)
}

fn arena_header(config: &StorageConfig, length_bytes: u64) -> ArenaHeader {
    let least = crate::limits::ARENA_BYTES_MIN as u64;
    assert!(length_bytes >= least, "the arena is too small");
    ArenaHeader {
        boot_id: config.boot_id,
        data_dir: config.data_dir,
        epoch: config.epoch,
        shard: config.journal.index,
        length_bytes,
    }
}
