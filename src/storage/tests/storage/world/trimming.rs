//! Deleting records from the front, and what of the files is to go with them.

use plimsoll_batch::Offset;
use plimsoll_storage::{PartitionId, TrimError};

use super::World;

impl World {
    /// Asks for it; the start follows when that is durable.
    pub(crate) fn delete_records(&mut self, id: PartitionId, to: Offset) -> Result<(), TrimError> {
        let life = self.life();
        let (shard, slot) = life.slots[&id];
        life.shards[shard].delete_records(slot, to)?;
        let partition = self.model.get_mut(&id).expect("in the model");
        partition.start_wanted = partition.start_wanted.max(to);
        Ok(())
    }

    /// Base offsets of the partition's segment files, in order.
    pub(crate) fn segments(&self, id: PartitionId) -> Vec<u64> {
        let directory = plimsoll_storage::partition_directory(id);
        let files = self.machine.disk.files().into_iter();
        let of_partition = files.filter_map(|path| {
            let name = path.strip_prefix(&directory)?.strip_prefix('/')?;
            name.strip_suffix(".segment")?.parse().ok()
        });
        let mut bases: Vec<u64> = of_partition.collect();
        bases.sort_unstable();
        bases
    }

    /// Files that wait for a segment.
    pub(crate) fn recycled(&self) -> Vec<String> {
        let files = self.machine.disk.files().into_iter();
        files.filter(|path| path.starts_with("recycled/")).collect()
    }

    /// At rest, no file is there that only has records below the start.
    pub(crate) fn check_files(&self) {
        for (id, partition) in &self.model {
            let bases = self.segments(*id);
            for pair in bases.windows(2) {
                let is_needed = pair[1] > partition.start.value();
                assert!(is_needed, "{id}: {bases:?} of a start of {}", partition.start);
            }
        }
        assert_eq!(self.machine.disk.twins(), None, "a file has two names");
    }
}
