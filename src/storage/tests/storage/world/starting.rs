//! The beginning of a life: recovery, seeding, and what comes after all shards have seeded.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use plimsoll_device::{DiskAction, DiskOp, Token};
use plimsoll_sim::heap_arena;
use plimsoll_storage::{
    ArenaHeader, ArenaImage, DataDirId, Started, Startup, StartupConfig, Storage, adopt_arenas,
    journal_path,
};

use super::{Cut, Life, Settings, World};

impl World {
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
        self.cut_bytes = started.cut_bytes;
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
            leaps: 0,
            leaps_believed: 0,
            disk_rooms: 0,
            compaction_stopped: Vec::new(),
            reads: BTreeMap::new(),
            located: BTreeMap::new(),
        };
        let boot_id = [self.boot; 16];
        let orphans = started.orphans.clone();
        assert_eq!(self.recycled(), [""; 0], "what an earlier start kept is gone");
        let Settings { durable_writes, recycled_segments_max, .. } = self.settings;
        for config in started.share_out(boot_id, durable_writes, recycled_segments_max) {
            let needed = config.arena_bytes_needed();
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
            if self.may_fail && !self.life().failed.is_empty() {
                return Err(Cut);
            }
            assert!(went_on, "nothing goes on, and not all shards are seeded");
            bound += 1;
            assert!(bound < 200_000, "seeding does not end");
        }
        self.served(&orphans)
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
        assert_eq!(self.machine.disk.twins(), None, "a file has two names");
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
}
