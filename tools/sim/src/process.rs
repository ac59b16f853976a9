//! The server's process: what `plimsoll-server` does with threads and rings, on the simulated
//! machine.
//!
//! The order of a start and a stop is that of `server/src/serve.rs`, and a shard is driven as in
//! `server/src/shard_thread.rs`. What a newcomer gets wrong: what the machine has finished and the
//! shard was not yet asked about is not lost; a shard that had input is asked at some later turn.

use std::collections::{BTreeMap, VecDeque};

use plimsoll_device::{Arena, ArenaRange, Completion, DiskAction, DiskOp, Now, Op, Token};
use plimsoll_shard::{Mail, Report, Shard, ShardConfig, ShardLimits, TopicSettings};
use plimsoll_sim::{Disk, Issuer, Network, Random, heap_arena, take_back_stores};
use plimsoll_storage::{
    ArenaImage, ArenaVerdict, DataDirId, JOURNALS_DIRECTORY, PartitionId, RECYCLED_SEGMENTS,
    Started, Startup, StartupConfig, StorageConfig, adopt_arenas, journal_path, judge_arena,
};
use plimsoll_wire::ShardIndex;

use crate::ledger::Violation;
use crate::scenario::Settings;

/// The main thread.
const HOST: Issuer = Issuer(u16::MAX);

/// A file in the directory of the arenas: the memory of a shard that is dead, and is kept for
/// nothing else.
pub(crate) struct ArenaFile {
    shard: u16,
    epoch: u64,
    dead: Shard,
}

impl ArenaFile {
    fn bytes(&self) -> &[u8] {
        let arena = self.dead.arena();
        arena.bytes(ArenaRange { start_bytes: 0, length_bytes: arena.length_bytes() })
    }
}

/// What outlives the process as long as the kernel does.
#[derive(Default)]
pub(crate) struct KernelMemory {
    pub(crate) boot: u8,
    pub(crate) arenas: Vec<ArenaFile>,
}

/// The machine that the process runs on.
pub(crate) struct Machine<'a> {
    pub(crate) disk: &'a mut Disk,
    pub(crate) network: &'a mut Network,
    pub(crate) memory: &'a mut KernelMemory,
    pub(crate) now: Now,
}

/// A running process.
pub(crate) struct Process {
    settings: Settings,
    shards: u16,
    phase: Phase,
    pub(crate) threads: Vec<Thread>,
    epoch: u64,
    keep_arenas: bool,
    /// What removes the journals of shards that are gone.
    removals: VecDeque<DiskAction>,
    serving: u16,
    pub(crate) stopped: u16,
    /// Shards whose disk has failed, and since when.
    pub(crate) failed: BTreeMap<u16, Now>,
    /// Something was reported damaged.
    pub(crate) damaged: Option<String>,
    /// A partition is not compacted any more, for what is in it.
    pub(crate) compaction_stopped: Option<String>,
    host_arena: Arena,
}

enum Phase {
    Recovering(Box<Startup>),
    Seeding,
    /// Everybody serves; old files are being removed.
    Removing,
    Serving,
    Stopping,
}

/// A shard's thread.
pub(crate) struct Thread {
    shard: Shard,
    /// It had input, or it has not been asked yet.
    is_due: bool,
    /// Mail to each shard that is in the boxes.
    boxes: Vec<VecDeque<Mail>>,
    /// Mail that found its box full.
    waiting: VecDeque<(usize, Mail)>,
}

/// What a process has to tell.
#[derive(Debug)]
pub(crate) enum News {
    Nothing,
    /// It ended by itself.
    Ended(String),
    /// It broke a promise.
    Broken(Violation),
}

impl Process {
    /// `new_data_dir` is drawn anew by each start, and counts only where there is nothing yet.
    pub(crate) fn start(settings: &Settings, shards: u16, new_data_dir: DataDirId) -> Self {
        let config = StartupConfig { shards, journal_bytes: settings.journal_bytes, new_data_dir };
        Self {
            settings: settings.clone(),
            shards,
            phase: Phase::Recovering(Box::new(Startup::new(config))),
            threads: Vec::new(),
            epoch: 0,
            keep_arenas: false,
            removals: VecDeque::new(),
            serving: 0,
            stopped: 0,
            failed: BTreeMap::new(),
            damaged: None,
            compaction_stopped: None,
            host_arena: heap_arena(1),
        }
    }

    pub(crate) fn is_serving(&self) -> bool {
        matches!(self.phase, Phase::Serving)
    }

    /// Whether it is past the reading of its journals.
    pub(crate) fn has_recovered(&self) -> bool {
        !matches!(self.phase, Phase::Recovering(_))
    }

    pub(crate) fn has_stopped(&self) -> bool {
        matches!(self.phase, Phase::Stopping) && self.stopped == self.shards
    }

    /// The main thread has something to hand to the machine.
    pub(crate) fn poll_host(&mut self, machine: &mut Machine<'_>) -> News {
        let Phase::Recovering(startup) = &mut self.phase else { return News::Nothing };
        while let Some(op) = startup.poll_op() {
            machine.disk.submit_as(HOST, op, &self.host_arena);
        }
        match startup.outcome() {
            None => News::Nothing,
            Some(Err(error)) => News::Ended(error.to_string()),
            Some(Ok(started)) => {
                self.take_over(started, machine);
                News::Nothing
            }
        }
    }

    /// Every shard begins with what was found.
    fn take_over(&mut self, mut started: Started, machine: &mut Machine<'_>) {
        let data_dir = started.manifest.data_dir;
        let boot_id = [machine.memory.boot; 16];
        let counts = |file: &ArenaFile| {
            matches!(judge_arena(file.bytes(), data_dir, boot_id), ArenaVerdict::Counts(_))
        };
        machine.memory.arenas.retain(counts);
        machine.memory.arenas.sort_by_key(|file| (file.epoch, file.shard));
        let images = machine.memory.arenas.iter().filter_map(|file| {
            match judge_arena(file.bytes(), data_dir, boot_id) {
                ArenaVerdict::Counts(header) => Some(ArenaImage { header, bytes: file.bytes() }),
                _ => None,
            }
        });
        let images: Vec<ArenaImage<'_>> = images.collect();
        adopt_arenas(&mut started.partitions, &images);
        self.epoch = started.manifest.epoch;
        self.keep_arenas = !started.damages.is_empty();
        self.damaged = started.damages.first().map(ToString::to_string);
        for orphan in &started.orphans {
            self.removals.push_back(DiskAction::Remove { path: journal_path(*orphan) });
        }
        if !self.removals.is_empty() {
            let path = JOURNALS_DIRECTORY.into();
            self.removals.push_back(DiskAction::SyncDirectory { path });
        }
        let configs = started.share_out(boot_id, self.settings.durable_writes, RECYCLED_SEGMENTS);
        for (index, storage) in (0..).zip(configs) {
            self.threads.push(self.thread(index, storage, machine.now));
        }
        self.phase = Phase::Seeding;
    }

    fn thread(&self, index: u16, config: StorageConfig, now: Now) -> Thread {
        let configured = self.settings.arena_bytes;
        let needed = config.arena_bytes_needed();
        let mut arena = heap_arena(needed.max(configured));
        arena.note_stores();
        let limits = ShardLimits {
            frame_bytes_max: 1 << 20,
            receive_bytes_max: 2 << 20,
            send_backlog_bytes_max: 256 << 10,
            lent_bytes_max: configured / 4,
            forward_bytes_max: 1 << 20,
            outbox_max: 64,
            // So that logs of offsets and of topics are shortened, also in a short life.
            offset_log_fresh_bytes_min: 4 << 10,
            metadata_fresh_bytes_min: 256,
            share_window_max: self.settings.share_window_max,
            ..ShardLimits::default()
        };
        let shard = ShardConfig {
            index: ShardIndex(index),
            shards: self.shards,
            epoch: self.epoch,
            server_name: "plimsoll simulated".into(),
            limits,
            topic_defaults: TopicSettings::default(),
        };
        let storage = plimsoll_storage::Storage::new(config, arena);
        Thread {
            shard: Shard::new(shard, storage, now),
            is_due: true,
            boxes: (0..self.shards).map(|_| VecDeque::new()).collect(),
            waiting: VecDeque::new(),
        }
    }

    /// Completes an operation of the disk.
    pub(crate) fn complete_disk(&mut self, machine: &mut Machine<'_>) -> News {
        let Some(issuer) = machine.disk.choose() else { return News::Nothing };
        if issuer != HOST {
            let thread = &mut self.threads[usize::from(issuer.0)];
            let completion = machine.disk.complete_chosen(thread.shard.arena_mut());
            // What the disk has stored there was no store of the process.
            thread.shard.arena_mut().take_noted();
            thread.shard.handle(Completion::Disk(completion), machine.now);
            thread.is_due = true;
            return News::Nothing;
        }
        let completion = machine.disk.complete_chosen(&mut self.host_arena);
        match &mut self.phase {
            Phase::Recovering(startup) => {
                startup.handle(completion);
                self.poll_host(machine)
            }
            Phase::Removing => match completion.result {
                plimsoll_device::DiskResult::Done(Ok(())) => {
                    self.remove_next(machine);
                    News::Nothing
                }
                other => News::Ended(format!("an old journal cannot be removed: {other:?}")),
            },
            _ => News::Nothing,
        }
    }

    /// Completes an operation on a socket.
    pub(crate) fn complete_network(&mut self, machine: &mut Machine<'_>) {
        let Some(issuer) = machine.network.choose() else { return };
        let thread = &mut self.threads[usize::from(issuer.0)];
        let completion = machine.network.complete_chosen(thread.shard.arena());
        thread.shard.handle(Completion::Socket(completion), machine.now);
        thread.is_due = true;
    }

    /// The boxes that hold mail: from whom, to whom.
    pub(crate) fn mail(&self) -> Vec<(usize, usize)> {
        let mut full = Vec::new();
        for (from, thread) in self.threads.iter().enumerate() {
            for (to, mail) in thread.boxes.iter().enumerate() {
                if !mail.is_empty() {
                    full.push((from, to));
                }
            }
        }
        full
    }

    /// Delivers the first letter of a box.
    pub(crate) fn deliver(&mut self, (from, to): (usize, usize), now: Now) {
        let Some(mail) = self.threads[from].boxes[to].pop_front() else { return };
        let sender = ShardIndex(u16::try_from(from).unwrap_or(u16::MAX));
        self.threads[to].shard.handle_mail(sender, mail, now);
        self.threads[to].is_due = true;
        // The sender looks again when its box has room.
        self.threads[from].is_due |= !self.threads[from].waiting.is_empty();
    }

    /// The shards that are to be asked what they want.
    pub(crate) fn due(&self, now: Now) -> Vec<usize> {
        let is_due = |thread: &Thread| {
            let timeout = thread.shard.poll_timeout();
            thread.is_due || timeout.is_some_and(|timeout| timeout <= now.monotonic)
        };
        let threads = self.threads.iter().enumerate();
        threads.filter(|(_, thread)| is_due(thread)).map(|(index, _)| index).collect()
    }

    pub(crate) fn poll_timeout(&self) -> Option<plimsoll_device::Instant> {
        self.threads.iter().filter_map(|thread| thread.shard.poll_timeout()).min()
    }

    /// Takes all that a shard wants.
    pub(crate) fn turn(&mut self, index: usize, machine: &mut Machine<'_>) -> News {
        let thread = &mut self.threads[index];
        thread.is_due = false;
        let timeout = thread.shard.poll_timeout();
        if timeout.is_some_and(|timeout| timeout <= machine.now.monotonic) {
            thread.shard.handle_timeout(machine.now);
        }
        let issuer = Issuer(u16::try_from(index).unwrap_or(HOST.0));
        while let Some(op) = thread.shard.poll_op() {
            match op {
                Op::Disk(op) => machine.disk.submit_as(issuer, op, thread.shard.arena()),
                Op::Socket(op) => machine.network.submit_as(issuer, op, thread.shard.arena()),
            }
        }
        thread.send(self.settings.mailbox_max);
        while let Some(report) = self.threads[index].shard.poll_report() {
            match self.take_report(issuer.0, report, machine) {
                News::Nothing => {}
                news => return news,
            }
        }
        // Others may know by now of what it has stored.
        self.threads[index].shard.arena_mut().take_noted();
        News::Nothing
    }

    /// Whether death could come between two stores that nobody else knows of.
    pub(crate) fn is_within_stores(&self) -> bool {
        self.threads.iter().any(|thread| thread.shard.arena().noted() > 1)
    }

    fn take_report(&mut self, shard: u16, report: Report, machine: &mut Machine<'_>) -> News {
        match report {
            Report::Serving => {
                self.serving += 1;
                if self.serving == self.shards && matches!(self.phase, Phase::Seeding) {
                    if !self.keep_arenas {
                        let epoch = self.epoch;
                        machine.memory.arenas.retain(|file| file.epoch >= epoch);
                    }
                    self.phase = Phase::Removing;
                    self.remove_next(machine);
                }
            }
            Report::Failed(_) if self.failed.contains_key(&shard) => {
                return News::Broken(Violation(format!("shard {shard} tells of two failures")));
            }
            Report::Failed(_) => drop(self.failed.insert(shard, machine.now)),
            Report::Damaged(damage) => self.damaged = Some(damage.to_string()),
            Report::CompactionStopped(text) => self.compaction_stopped = Some(text),
            Report::MetadataUnreadable(text) => return News::Ended(text),
            Report::Stopped => self.stopped += 1,
            _ => {}
        }
        News::Nothing
    }

    /// Removes the journals of shards that are gone, one by one, and then takes clients.
    fn remove_next(&mut self, machine: &mut Machine<'_>) {
        let Some(action) = self.removals.pop_front() else {
            self.phase = Phase::Serving;
            self.threads[0].shard.start_accepting();
            self.threads[0].is_due = true;
            return;
        };
        machine.disk.submit_as(HOST, DiskOp { token: Token(0), action }, &self.host_arena);
    }

    /// SIGTERM.
    pub(crate) fn stop(&mut self, now: Now) {
        self.phase = Phase::Stopping;
        for thread in &mut self.threads {
            thread.shard.stop(now);
            thread.is_due = true;
        }
    }

    /// It has stopped: gives whether everything is on disk.
    pub(crate) fn finish(self, memory: &mut KernelMemory) -> bool {
        let is_clean = self.failed.is_empty();
        if is_clean && !self.keep_arenas {
            let epoch = self.epoch;
            memory.arenas.retain(|file| file.epoch != epoch);
        } else {
            self.leave_arenas(memory);
        }
        is_clean
    }

    /// It dies earlier than it seemed: between the last stores to its arenas.
    pub(crate) fn die_within_stores(&mut self, random: &mut Random) {
        for thread in &mut self.threads {
            take_back_stores(thread.shard.arena_mut(), random);
        }
    }

    /// It dies: what its arenas hold stays in the kernel's memory.
    pub(crate) fn leave_arenas(self, memory: &mut KernelMemory) {
        for (shard, thread) in (0..).zip(self.threads) {
            memory.arenas.push(ArenaFile { shard, epoch: self.epoch, dead: thread.shard });
        }
    }

    /// What the shards count, where it is not nothing.
    pub(crate) fn stats(&self) -> Vec<Vec<(&'static str, u64)>> {
        let stats = self.threads.iter().map(|thread| thread.shard.stats());
        stats.map(|stats| stats.into_iter().filter(|(_, value)| *value > 0).collect()).collect()
    }

    /// Where partitions of the scenario's topics live.
    pub(crate) fn owner(&self, topic: u32, partition: u32) -> u16 {
        PartitionId { topic, partition }.owner(self.shards)
    }
}

impl Thread {
    fn send(&mut self, mailbox_max: usize) {
        loop {
            let next = self.waiting.pop_front();
            let next =
                next.or_else(|| self.shard.poll_mail().map(|(to, mail)| (usize::from(to.0), mail)));
            let Some((to, mail)) = next else { return };
            if self.boxes[to].len() >= mailbox_max {
                return self.waiting.push_front((to, mail));
            }
            self.boxes[to].push_back(mail);
        }
    }
}
