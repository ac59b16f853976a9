//! Storage on a simulated disk, by the start that a server makes.

use std::collections::BTreeMap;

use plimsoll_device::Arena;
use plimsoll_sim::{Disk, heap_arena};
use plimsoll_storage::{
    DataDirId, PartitionId, RecoveredPartition, Startup, StartupConfig, Storage, StorageConfig,
    adopt_arenas, journal_bytes_min,
};

/// Large enough for what the tests have in flight, small enough to run out on purpose.
const ARENA_BYTES: usize = 16 << 20;

/// The storage of shard `shard` of `shards`, which has the whole disk to itself.
pub fn storage(disk: &mut Disk, shard: u16, shards: u16) -> Storage {
    let config = StartupConfig {
        shards,
        journal_bytes: journal_bytes_min(ARENA_BYTES),
        new_data_dir: DataDirId([7; 16]),
    };
    let mut startup = Startup::new(config);
    let mut arena: Arena = heap_arena(ARENA_BYTES);
    let mut started = loop {
        if let Some(outcome) = startup.outcome() {
            break outcome.unwrap();
        }
        while let Some(op) = startup.poll_op() {
            disk.submit(op, &arena);
        }
        startup.handle(disk.complete_one(&mut arena).unwrap());
    };
    adopt_arenas(&mut started.partitions, &[]);
    let journal = started.journals.into_iter().nth(usize::from(shard)).unwrap();
    let own = |id: &PartitionId| id.owner(shards) == shard;
    let recovered: BTreeMap<PartitionId, RecoveredPartition> =
        started.partitions.into_iter().filter(|(id, _)| own(id)).collect();
    let config = StorageConfig {
        data_dir: started.manifest.data_dir,
        epoch: started.manifest.epoch,
        boot_id: [1; 16],
        durable_writes: false,
        journal: journal.journal,
        journal_damage: journal.damage,
        other_damage: None,
        recycled_segments_max: plimsoll_storage::RECYCLED_SEGMENTS,
        recovered,
    };
    Storage::new(config, arena)
}
