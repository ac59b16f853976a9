//! A world: one disk, a clock, a model, and the log's present life.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use plimsoll_batch::{Batch, BatchLimits, Batches, Offset};
use plimsoll_device::{DiskAction, DiskOp, Token};
use plimsoll_sim::{Clock, Random, Survival, copy_of, heap_arena};
use plimsoll_storage::{
    AppendError, Appended, ArenaHeader, ArenaImage, Cursor, DataDirId, Lent, Level, Notice,
    PartitionConfig, PartitionId, ReadError, ReadId, ReadOutcome, Slot, Started, Startup,
    StartupConfig, StartupError, Storage, StorageConfig, adopt_arenas, arena_bytes_needed,
    journal_path,
};

use crate::machine::{Issuer, Machine};
use crate::model::{self, Partition};

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
}

impl Default for Settings {
    fn default() -> Self {
        Self { arena_bytes: 4 << 20, journal_bytes: 8 << 20, durable_writes: false }
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
    pub(crate) disk_rooms: usize,
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
    pub(crate) boot: u8,
    pub(crate) lives: u64,
    /// Operations that completed, over all lives.
    pub(crate) steps: u64,
    pub(crate) cut_at: Option<u64>,
    pub(crate) start_error: Option<StartupError>,
    pub(crate) host_done: bool,
    pub(crate) epoch: u64,
}

pub(crate) const CONFIG: PartitionConfig = PartitionConfig {
    segment_bytes: 256 << 10,
    batch_bytes_max: 1 << 20,
    flush_interval: std::time::Duration::from_millis(100),
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
            boot: 1,
            lives: 0,
            steps: 0,
            cut_at: None,
            start_error: None,
            host_done: false,
            epoch: 0,
        }
    }

    pub(crate) fn life(&mut self) -> &mut Life {
        self.life.as_mut().expect("a life has begun")
    }

    /// Begins a life and compares what it has with the model.
    pub(crate) fn start(&mut self, shards: u16) -> Result<(), Cut> {
        self.start_unchecked(shards)?;
        self.check_all()
    }

    pub(crate) fn start_unchecked(&mut self, shards: u16) -> Result<(), Cut> {
        assert!(self.life.is_none(), "one life at a time");
        self.lives += 1;
        let mut started = self.recover(shards)?;
        self.epoch = started.manifest.epoch;
        let of_this_boot = self.images.iter().filter_map(|bytes| {
            let header = ArenaHeader::decode(bytes).ok()?;
            (header.boot_id == [self.boot; 16]).then_some(ArenaImage { header, bytes })
        });
        let images: Vec<ArenaImage<'_>> = of_this_boot.collect();
        adopt_arenas(&mut started.partitions, &images);
        let mut life = Life {
            shards: Vec::new(),
            slots: BTreeMap::new(),
            ids: BTreeMap::new(),
            served: false,
            seeded: 0,
            stopped: 0,
            failed: BTreeSet::new(),
            removing: BTreeSet::new(),
            rooms: 0,
            disk_rooms: 0,
            reads: BTreeMap::new(),
            located: BTreeMap::new(),
        };
        let mut recovered: Vec<BTreeMap<_, _>> = (0..shards).map(|_| BTreeMap::new()).collect();
        for (id, partition) in started.partitions {
            recovered[usize::from(id.owner(shards))].insert(id, partition);
        }
        for (journal, recovered) in started.journals.into_iter().zip(recovered) {
            let needed = arena_bytes_needed(&recovered);
            let config = StorageConfig {
                data_dir: started.manifest.data_dir,
                epoch: started.manifest.epoch,
                boot_id: [self.boot; 16],
                durable_writes: self.settings.durable_writes,
                journal: journal.journal,
                journal_damage: journal.damage,
                recovered,
            };
            // As tight as it may be, but for what fewer shards than before take over.
            let tight = needed < self.settings.arena_bytes * 3 / 2;
            let arena_bytes = if tight { self.settings.arena_bytes } else { needed };
            life.shards.push(Storage::new(config, heap_arena(arena_bytes)));
        }
        for (&id, partition) in &self.model {
            let shard = usize::from(id.owner(shards));
            let slot = life.shards[shard].open_partition(id, partition.config);
            life.slots.insert(id, (shard, slot));
            life.ids.insert((shard, slot), id);
        }
        for storage in &mut life.shards {
            storage.finish_opening(self.clock.now);
        }
        self.life = Some(life);
        let mut bound = 0;
        loop {
            self.pump();
            let life = self.life();
            if life.seeded == life.shards.len() {
                break;
            }
            let went_on = self.step()?;
            assert!(went_on, "nothing goes on, and not all shards are seeded");
            bound += 1;
            assert!(bound < 200_000, "seeding does not end");
        }
        self.served(&started.orphans)
    }

    fn recover(&mut self, shards: u16) -> Result<Started, Cut> {
        let config = StartupConfig {
            shards,
            journal_bytes: self.settings.journal_bytes,
            new_data_dir: DataDirId([7; 16]),
        };
        let mut startup = Startup::new(config);
        loop {
            while let Some(op) = startup.poll_op() {
                self.machine.submit_host(op);
            }
            match startup.outcome() {
                Some(Ok(started)) => return Ok(started),
                Some(Err(error)) => {
                    assert_eq!(self.machine.disk.pending(), 0, "a failed start left operations");
                    self.start_error = Some(error);
                    return Err(Cut);
                }
                None => {}
            }
            let (_, completion) =
                self.machine.complete_one(&mut []).expect("a start goes on until its outcome");
            startup.handle(completion);
            self.count_step()?;
        }
    }

    fn served(&mut self, orphans: &[u16]) -> Result<(), Cut> {
        let life = self.life();
        life.served = true;
        for storage in &mut life.shards {
            storage.all_seeded();
        }
        let mut actions: VecDeque<DiskAction> = orphans
            .iter()
            .map(|orphan| DiskAction::Remove { path: journal_path(*orphan) })
            .collect();
        if !orphans.is_empty() {
            actions.push_back(DiskAction::SyncDirectory { path: "journal".to_string() });
        }
        self.images.clear();
        for action in actions {
            self.host_done = false;
            self.machine.submit_host(DiskOp { token: Token(1), action });
            while !self.host_done {
                self.step()?;
            }
        }
        Ok(())
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
        self.clock.advance(due.since(now));
        for storage in &mut life.shards {
            if storage.poll_timeout().is_some_and(|due| due <= self.clock.now.monotonic) {
                storage.handle_timeout(self.clock.now);
            }
        }
        self.pump();
        Ok(true)
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

    pub(crate) fn try_append(
        &mut self,
        id: PartitionId,
        mut bytes: Vec<u8>,
        level: Level,
    ) -> Result<Appended, AppendError> {
        let now = self.clock.now;
        let epoch = self.epoch as u32;
        let life = self.life.as_mut().expect("a life has begun");
        let (shard, slot) = life.slots[&id];
        let storage = &mut life.shards[shard];
        let batch = Batch::validate(&bytes, &BatchLimits::default()).expect("a sound batch");
        let appended = storage.append(slot, &batch, level, now)?;
        plimsoll_batch::assign(&mut bytes, appended.base, epoch);
        let partition = self.model.get_mut(&id).expect("in the model");
        assert!(!life.failed.contains(&shard), "a failed shard took an append");
        assert!(appended.base >= partition.shown, "{id}: {appended:?} was shown before");
        assert!(appended.base >= partition.end(), "{id}: {appended:?} was given out before");
        partition.batches.push(model::Batch { base: appended.base, next: appended.next, bytes });
        partition.saw(storage.watermarks(slot));
        Ok(appended)
    }

    /// Appends, waiting for room as long as it takes.
    pub(crate) fn append(
        &mut self,
        id: PartitionId,
        bytes: &[u8],
        level: Level,
    ) -> Result<Appended, Cut> {
        loop {
            match self.try_append(id, bytes.to_vec(), level) {
                Ok(appended) => return Ok(appended),
                Err(AppendError::NoRoom) => self.wait_for_room()?,
                Err(error) => panic!("{id}: {error}"),
            }
        }
    }

    /// The notice must come.
    pub(crate) fn wait_for_room(&mut self) -> Result<(), Cut> {
        let before = self.life().rooms;
        let mut bound = 0;
        loop {
            self.pump();
            if self.life().rooms > before || !self.life().failed.is_empty() {
                return Ok(());
            }
            let went_on = self.step()?;
            assert!(went_on, "no room, and nothing goes on");
            bound += 1;
            assert!(bound < 20_000, "room does not come");
        }
    }

    /// Reads from `from` to the end of `level`, comparing with the model. Gives what it could not.
    pub(crate) fn read_from(
        &mut self,
        id: PartitionId,
        from: Offset,
        level: Level,
        bytes_max: usize,
        hints: bool,
    ) -> Result<Result<usize, ReadError>, Cut> {
        let life = self.life();
        let (shard, slot) = life.slots[&id];
        let limit = life.shards[shard].watermarks(slot).at(level);
        let mut cursor = Cursor::at(from);
        let mut count = 0;
        let mut turns = 0;
        while cursor.offset() < limit {
            turns += 1;
            assert!(turns < 100_000, "{id}: a reader goes round in circles at {}", cursor.offset());
            let lent = match self.read_once(shard, slot, cursor, level, bytes_max)? {
                Ok(Some(lent)) => lent,
                Ok(None) => break,
                Err(error) => return Ok(Err(error)),
            };
            let life = self.life.as_mut().expect("a life has begun");
            let storage = &mut life.shards[shard];
            let marks = storage.watermarks(slot);
            let partition = &self.model[&id];
            let mut expected = partition.expected(cursor.offset(), marks.at(level)).iter();
            let mut end = cursor.offset();
            for batch in Batches::new(storage.bytes(lent.range)) {
                let batch = batch.expect("whole batches are lent");
                let wanted = expected.next();
                let wanted = wanted.unwrap_or_else(|| {
                    panic!("{id}: {} beyond {marks:?} at {level:?}", batch.header().base_offset)
                });
                assert_eq!(batch.header().base_offset, wanted.base, "{id} from {cursor:?}");
                assert!(batch.bytes() == wanted.bytes, "{id}: other bytes at {}", wanted.base);
                end = wanted.next;
                count += 1;
            }
            assert!(lent.next.offset() >= end, "{id}: the cursor stays behind");
            assert!(lent.next.offset() > cursor.offset(), "{id}: the cursor stands still");
            let skipped = partition.expected(end, lent.next.offset()).len();
            assert_eq!(skipped, 0, "{id}: {:?} skips batches after {end}", lent.next);
            cursor = if hints { lent.next } else { Cursor::at(lent.next.offset()) };
            storage.release(lent);
        }
        let left = self.model[&id].expected(cursor.offset(), limit).len();
        assert_eq!(left, 0, "{id}: the reader ends at {} of {limit}", cursor.offset());
        Ok(Ok(count))
    }

    pub(crate) fn read_once(
        &mut self,
        shard: usize,
        slot: Slot,
        cursor: Cursor,
        level: Level,
        bytes_max: usize,
    ) -> Result<Result<Option<Lent>, ReadError>, Cut> {
        let mut bound = 0;
        loop {
            let outcome = self.life().shards[shard].read(slot, cursor, level, bytes_max);
            let result = match outcome {
                Ok(ReadOutcome::Ready(lent)) => Ok(Some(lent)),
                Ok(ReadOutcome::UpToDate) => Ok(None),
                Ok(ReadOutcome::Pending(read)) => self.await_read(shard, read)?.map(Some),
                Err(error) => Err(error),
            };
            if !matches!(result, Err(ReadError::NoRoom)) {
                return Ok(result);
            }
            self.wait_for_room()?;
            bound += 1;
            assert!(bound < 1_000, "there is never room for a read");
        }
    }

    pub(crate) fn await_read(
        &mut self,
        shard: usize,
        read: ReadId,
    ) -> Result<Result<Lent, ReadError>, Cut> {
        let mut bound = 0;
        loop {
            self.pump();
            if let Some(result) = self.life().reads.remove(&(shard, read)) {
                return Ok(result);
            }
            assert!(self.step()?, "a read is never answered");
            bound += 1;
            assert!(bound < 100_000, "a read is not answered");
        }
    }

    pub(crate) fn locate(&mut self, id: PartitionId, timestamp_ms: i64) -> Result<Offset, Cut> {
        let (shard, slot) = self.life().slots[&id];
        let read = self.life().shards[shard].locate_timestamp(slot, timestamp_ms).expect("room");
        let mut bound = 0;
        loop {
            self.pump();
            if let Some(result) = self.life().located.remove(&(shard, read)) {
                return Ok(result.expect("located"));
            }
            assert!(self.step()?, "a search is never answered");
            bound += 1;
            assert!(bound < 100_000, "a search is not answered");
        }
    }

    /// Right after a start: what is there is a prefix of what was appended, and has all it must.
    fn check_all(&mut self) -> Result<(), Cut> {
        let ids: Vec<PartitionId> = self.model.keys().copied().collect();
        for id in ids {
            self.check_partition(id)?;
        }
        Ok(())
    }

    fn check_partition(&mut self, id: PartitionId) -> Result<(), Cut> {
        let life = self.life();
        let (shard, slot) = life.slots[&id];
        let marks = life.shards[shard].watermarks(slot);
        let partition = self.model.get_mut(&id).expect("in the model");
        assert!(marks.memory >= partition.shown, "{id}: {marks:?} below {}", partition.shown);
        assert!(marks.disk >= partition.disk, "{id}: {marks:?} below disk {}", partition.disk);
        // Which batches are there is what reading says; it compares each with the model.
        let kept = self.count_kept(id)?;
        let partition = self.model.get_mut(&id).expect("in the model");
        let must = partition.batches.partition_point(|batch| batch.next <= partition.must);
        assert!(kept >= must, "{id}: {kept} batches, {must} survive ({})", partition.must);
        partition.batches.truncate(kept);
        if !partition.may_jump {
            assert_eq!(marks.memory, partition.end().max(partition.shown), "{id} jumped");
        }
        partition.may_jump = false;
        let marks = self.life().shards[shard].watermarks(slot);
        let partition = self.model.get_mut(&id).expect("in the model");
        partition.seen = None;
        partition.checked = true;
        partition.saw(marks);
        partition.must = Offset::ZERO;
        let random_from = Offset::new(self.random.below(partition.end().value() + 1));
        let sizes = [1, 5_000, 100_000, 1 << 20];
        let bytes_max = sizes[self.random.below(4) as usize];
        let fine = "what was recovered can be read";
        self.read_from(id, random_from, Level::Memory, bytes_max, true)?.expect(fine);
        if self.random.chance(300) {
            self.read_from(id, Offset::ZERO, Level::Disk, 1, false)?.expect(fine);
        }
        Ok(())
    }

    /// How many batches of the model are there.
    fn count_kept(&mut self, id: PartitionId) -> Result<usize, Cut> {
        let (shard, slot) = self.life().slots[&id];
        let limit = self.life().shards[shard].watermarks(slot).memory;
        let mut cursor = Cursor::at(Offset::ZERO);
        let mut kept = 0;
        while cursor.offset() < limit {
            let lent = match self.read_once(shard, slot, cursor, Level::Memory, 300_000)? {
                Ok(Some(lent)) => lent,
                Ok(None) => break,
                Err(error) => panic!("{id}: {error}"),
            };
            let life = self.life.as_mut().expect("a life has begun");
            let storage = &mut life.shards[shard];
            let partition = &self.model[&id];
            for batch in Batches::new(storage.bytes(lent.range)) {
                let batch = batch.expect("whole batches are lent");
                let wanted = partition.batches.get(kept);
                let wanted = wanted.unwrap_or_else(|| panic!("{id}: more than was appended"));
                assert_eq!(batch.header().base_offset, wanted.base, "{id}: a hole or a ghost");
                assert!(batch.bytes() == wanted.bytes, "{id}: other bytes at {}", wanted.base);
                kept += 1;
            }
            assert!(lent.next.offset() > cursor.offset(), "{id}: the cursor stands still");
            cursor = lent.next;
            storage.release(lent);
        }
        Ok(kept)
    }

    /// A clean stop.
    pub(crate) fn stop(&mut self) -> Result<(), Cut> {
        let now = self.clock.now;
        for storage in &mut self.life().shards {
            storage.stop(now);
        }
        let mut bound = 0;
        loop {
            self.pump();
            let life = self.life();
            if life.stopped == life.shards.len() {
                break;
            }
            assert!(self.step()?, "a stop does not end");
            bound += 1;
            assert!(bound < 100_000, "a stop does not end");
        }
        let failed = !self.life().failed.is_empty();
        for partition in self.model.values_mut() {
            partition.must = if failed { partition.disk } else { partition.end() };
            partition.may_jump |= failed;
            partition.checked = false;
            if !failed {
                let seen = partition.seen.expect("seen");
                assert!(seen.disk >= partition.end(), "a stop leaves {seen:?}");
            }
        }
        while self.machine.disk.pending() > 0 {
            self.step()?;
        }
        self.life = None;
        self.machine.disk.kill();
        Ok(())
    }

    /// The life ends at once.
    pub(crate) fn crash(&mut self, crash: Crash) {
        let life = self.life.take();
        let served = life.as_ref().is_some_and(|life| life.served);
        if let Some(life) = life {
            self.images.extend(life.shards.iter().map(|storage| copy_of(storage.arena())));
        }
        self.machine.forget();
        match crash {
            Crash::Kill => self.machine.disk.kill(),
            Crash::KillLosingArenas => {
                self.machine.disk.kill();
                self.images.clear();
            }
            Crash::Power(survival) => {
                self.machine.disk.power_loss_leaving(survival);
                self.images.clear();
                self.boot += 1;
            }
        }
        let keeps_memory = crash == Crash::Kill;
        for partition in self.model.values_mut() {
            partition.may_jump |= !keeps_memory;
            let served = served && partition.checked;
            partition.checked = false;
            partition.must = match (served, keeps_memory) {
                // A start that was cut off before it had served has shown nothing new.
                (false, true) => partition.must,
                (false, false) => partition.must.min(partition.disk),
                (true, true) => partition.shown,
                (true, false) => partition.disk,
            };
            partition.seen = None;
        }
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
