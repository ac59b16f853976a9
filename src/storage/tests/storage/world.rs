//! A world: one disk, a clock, a model, and the log's present life.

mod appending;
mod checking;
pub(crate) mod compacted;
mod ending;
mod reading;
mod starting;
mod trimming;

use std::collections::{BTreeMap, BTreeSet};

use plimsoll_batch::Offset;
use plimsoll_sim::{Clock, Random, Survival, copy_of};
use plimsoll_storage::{
    Lent, Notice, PartitionConfig, PartitionId, ReadError, ReadId, Retention, Slot, StartupError,
    Storage,
};

use crate::machine::{Issuer, Machine};
use crate::model::Partition;

/// The life ended in the middle: the world was told to cut it here.
#[derive(Debug)]
pub(crate) struct Cut;

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    /// The process dies; the kernel's memory is still there.
    Kill,
    /// The process dies, and the directory of the arenas with it.
    KillLosingArenas,
    /// Power fails.
    Power(Survival),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) arena_bytes: usize,
    pub(crate) journal_bytes: u64,
    pub(crate) durable_writes: bool,
    pub(crate) recycled_segments_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            arena_bytes: 4 << 20,
            journal_bytes: 8 << 20,
            durable_writes: false,
            recycled_segments_max: plimsoll_storage::RECYCLED_SEGMENTS,
        }
    }
}

/// The running shards.
pub(crate) struct Life {
    pub(crate) shards: Vec<Storage>,
    pub(crate) slots: BTreeMap<PartitionId, (usize, Slot)>,
    pub(crate) ids: BTreeMap<(usize, Slot), PartitionId>,
    pub(crate) served: bool,
    pub(crate) seeded: usize,
    pub(crate) stopped: usize,
    pub(crate) failed: BTreeSet<usize>,
    pub(crate) removing: BTreeSet<PartitionId>,
    pub(crate) rooms: usize,
    pub(crate) leaps: usize,
    pub(crate) leaps_believed: usize,
    pub(crate) disk_rooms: usize,
    pub(crate) compaction_stopped: Vec<ReadError>,
    pub(crate) reads: BTreeMap<(usize, ReadId), Result<Lent, ReadError>>,
    pub(crate) located: BTreeMap<(usize, ReadId), Result<Offset, ReadError>>,
}

pub(crate) struct World {
    pub(crate) machine: Machine,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) settings: Settings,
    pub(crate) model: BTreeMap<PartitionId, Partition>,
    pub(crate) life: Option<Life>,
    pub(crate) images: Vec<Vec<u8>>,
    /// The life that has ended had shown something.
    served: bool,
    pub(crate) boot: u8,
    pub(crate) lives: u64,
    /// Operations that completed, over all lives.
    pub(crate) steps: u64,
    /// An operation will fail: what a reader is refused for that is no fault.
    pub(crate) may_fail: bool,
    pub(crate) cut_at: Option<u64>,
    pub(crate) start_error: Option<StartupError>,
    pub(crate) host_done: bool,
    pub(crate) epoch: u64,
    /// What the last start cut off its journals.
    pub(crate) cut_bytes: u64,
}

pub(crate) const CONFIG: PartitionConfig = PartitionConfig {
    segment_bytes: 256 << 10,
    batch_bytes_max: 1 << 20,
    flush_interval: std::time::Duration::from_millis(100),
    retention: Retention::UNLIMITED,
    compaction: None,
};

pub(crate) fn id(topic: u32, partition: u32) -> PartitionId {
    PartitionId { topic, partition }
}

impl World {
    pub(crate) fn new(seed: u64, settings: Settings) -> Self {
        let random = Random::new(seed);
        Self {
            machine: Machine::new(&random.stream("machine")),
            clock: Clock::new(),
            random: random.stream("world"),
            settings,
            model: BTreeMap::new(),
            life: None,
            images: Vec::new(),
            served: false,
            boot: 1,
            lives: 0,
            steps: 0,
            may_fail: false,
            cut_at: None,
            start_error: None,
            host_done: false,
            epoch: 0,
            cut_bytes: 0,
        }
    }

    /// Another world, between two lives, with all that this one has on disk and in memory.
    pub(crate) fn after(&self, seed: u64) -> Self {
        assert!(self.life.is_none(), "it is between two lives");
        let mut world = Self::new(seed, self.settings);
        for path in self.machine.disk.files() {
            let bytes = self.machine.disk.read_file(&path).expect("a file has content");
            world.machine.disk.write_file(&path, &bytes);
        }
        world.model.clone_from(&self.model);
        world.images.clone_from(&self.images);
        (world.boot, world.epoch, world.clock) = (self.boot, self.epoch, self.clock);
        world
    }

    pub(crate) fn life(&mut self) -> &mut Life {
        self.life.as_mut().expect("a life has begun")
    }

    fn count_step(&mut self) -> Result<(), Cut> {
        self.steps += 1;
        if self.cut_at == Some(self.steps) {
            return Err(Cut);
        }
        Ok(())
    }

    /// Takes operations and notices from all shards until there are none.
    pub(crate) fn pump(&mut self) {
        let Some(life) = &mut self.life else { return };
        for shard in 0..life.shards.len() {
            loop {
                let storage = &mut life.shards[shard];
                let mut any = false;
                while let Some(op) = storage.poll_op() {
                    any = true;
                    self.machine.submit(shard, op, storage);
                }
                if let Some(notice) = storage.poll_notice() {
                    any = true;
                    note(Parts { life, shard }, &mut self.model, notice);
                }
                if !any {
                    break;
                }
            }
        }
    }

    /// One completion, or, if nothing is in flight, the next timer. False when nothing goes on.
    pub(crate) fn step(&mut self) -> Result<bool, Cut> {
        self.pump();
        let life = self.life.as_mut().expect("a life has begun");
        if let Some((issuer, completion)) = self.machine.complete_one(&mut life.shards) {
            match issuer {
                Issuer::Host => self.host_done = true,
                Issuer::Shard(shard) => life.shards[shard].handle(completion, self.clock.now),
            }
            self.pump();
            self.count_step()?;
            return Ok(true);
        }
        let now = self.clock.now.monotonic;
        let due = life.shards.iter().filter_map(Storage::poll_timeout).min();
        let Some(due) = due else { return Ok(false) };
        self.advance(due.since(now));
        let Some(life) = &mut self.life else { return Ok(false) };
        for storage in &mut life.shards {
            if storage.poll_timeout().is_some_and(|due| due <= self.clock.now.monotonic) {
                storage.handle_timeout(self.clock.now);
            }
        }
        self.pump();
        Ok(true)
    }

    /// Lets time go by, with nobody looking.
    pub(crate) fn advance(&mut self, passed: std::time::Duration) {
        self.clock.advance(passed);
        for partition in self.model.values_mut() {
            partition.now_ms = self.clock.now.unix_ms;
        }
    }

    /// Lets so much time go by, a second at a time.
    pub(crate) fn settle_for(&mut self, time: std::time::Duration) {
        let until = self.clock.now.monotonic + time;
        while self.clock.now.monotonic < until {
            while self.machine.disk.pending() > 0 {
                self.step().expect("nothing cuts it");
            }
            self.advance(std::time::Duration::from_secs(1));
            let now = self.clock.now;
            for storage in &mut self.life().shards {
                storage.handle_timeout(now);
            }
            self.pump();
        }
        self.check_marks();
    }

    /// Other settings for a partition.
    pub(crate) fn set_config(&mut self, id: PartitionId, config: PartitionConfig) {
        let now = self.clock.now;
        let partition = self.model.get_mut(&id).expect("in the model");
        partition.config = config;
        let life = self.life.as_mut().expect("a life has begun");
        let (shard, slot) = life.slots[&id];
        life.shards[shard].set_config(slot, config, now);
    }

    /// Lets everything come to rest. What was appended is on disk then.
    pub(crate) fn settle(&mut self) -> Result<(), Cut> {
        let mut bound = 0;
        while self.step()? {
            bound += 1;
            assert!(bound < 100_000, "the log does not come to rest");
        }
        self.check_marks();
        let life = self.life.as_ref().expect("a life has begun");
        for (id, partition) in &self.model {
            let (shard, _) = life.slots[id];
            if life.failed.contains(&shard) {
                continue;
            }
            let seen = partition.seen.expect("watermarks were seen");
            assert!(seen.disk >= partition.end(), "{id} rests at {seen:?} of {}", partition.end());
        }
        Ok(())
    }

    /// The watermarks are those that the notices told.
    pub(crate) fn check_marks(&mut self) {
        let life = self.life.as_mut().expect("a life has begun");
        for (id, (shard, slot)) in &life.slots {
            let marks = life.shards[*shard].watermarks(*slot);
            let partition = self.model.get_mut(id).expect("in the model");
            if let Some(seen) = partition.seen {
                assert_eq!(seen, marks, "{id} moved without a notice");
            }
            partition.saw(marks);
        }
    }

    pub(crate) fn create(&mut self, id: PartitionId, config: PartitionConfig) {
        self.model.insert(id, Partition::new(config));
        if let Some(life) = &mut self.life {
            let shard = usize::from(id.owner(life.shards.len() as u16));
            let slot = life.shards[shard].open_partition(id, config);
            life.slots.insert(id, (shard, slot));
            life.ids.insert((shard, slot), id);
            let marks = life.shards[shard].watermarks(slot);
            let partition = self.model.get_mut(&id).expect("in the model");
            partition.checked = true;
            partition.saw(marks);
        }
    }

    pub(crate) fn remove(&mut self, id: PartitionId) {
        let now = self.clock.now;
        self.model.remove(&id);
        let life = self.life();
        let (shard, slot) = life.slots.remove(&id).expect("it is open");
        life.ids.remove(&(shard, slot));
        life.removing.insert(id);
        life.shards[shard].remove_partition(slot, now);
    }
}

impl World {
    /// The life stands still for ever; how it ended, and what is left, is said by `crash`.
    pub(crate) fn die(&mut self) {
        if let Some(life) = self.life.take() {
            self.served = life.served;
            self.images.extend(life.shards.iter().map(|storage| copy_of(storage.arena())));
        }
        self.machine.forget();
    }

    /// Another world with the same past.
    pub(crate) fn fork(&self) -> Self {
        assert!(self.life.is_none(), "the life has ended");
        Self {
            machine: self.machine.fork(),
            random: self.random.clone(),
            model: self.model.clone(),
            life: None,
            images: self.images.clone(),
            start_error: None,
            ..*self
        }
    }

    /// Another world with the same past, whose power has failed.
    pub(crate) fn fork_at_power_loss(&self, survival: Survival) -> Self {
        let mut fork = self.fork();
        fork.crash(Crash::Power(survival));
        fork
    }
}

struct Parts<'a> {
    life: &'a mut Life,
    shard: usize,
}

fn note(parts: Parts<'_>, model: &mut BTreeMap<PartitionId, Partition>, notice: Notice) {
    let Parts { life, shard } = parts;
    match notice {
        Notice::Advanced(slot) => {
            if let Some(id) = life.ids.get(&(shard, slot))
                && let Some(partition) = model.get_mut(id)
                && partition.checked
            {
                let marks = life.shards[shard].watermarks(slot);
                if life.failed.contains(&shard)
                    && let Some(seen) = partition.seen
                {
                    assert_eq!(seen.disk, marks.disk, "{id} moved after a failure");
                }
                partition.saw(marks);
            }
        }
        Notice::Read(read, result) => {
            life.reads.insert((shard, read), result);
        }
        Notice::Located(read, result) => {
            life.located.insert((shard, read), result);
        }
        Notice::StartMoved(slot) => {
            if let Some(id) = life.ids.get(&(shard, slot))
                && let Some(partition) = model.get_mut(id)
                && partition.checked
            {
                partition.saw(life.shards[shard].watermarks(slot));
            }
        }
        Notice::ClockLeapt { .. } => life.leaps += 1,
        Notice::ClockBelieved { .. } => life.leaps_believed += 1,
        Notice::CompactionStopped(_, error) => life.compaction_stopped.push(error),
        Notice::Room => life.rooms += 1,
        Notice::DiskHasRoom => life.disk_rooms += 1,
        Notice::Failed(_) => assert!(life.failed.insert(shard), "a failure is told once"),
        Notice::Seeded => life.seeded += 1,
        Notice::Removed(id) => {
            life.removing.remove(&id);
        }
        Notice::Stopped => life.stopped += 1,
    }
}
