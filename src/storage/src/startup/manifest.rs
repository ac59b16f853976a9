//! The manifest: its epoch goes up before anything else of a start is written.
//!
//! It is raised when the journals have been read: one that knows of fewer starts than they do is an
//! older copy, and nothing is written then. What a newcomer gets wrong: a new number of shards is
//! said only when their journals are there, or the next start would miss them.

use plimsoll_device::{BLOCK_BYTES, Buffer, DiskAction};

use super::Startup;
use super::error::StartupError;
use super::recycled::LIST_RECYCLED;
use super::steps::{FILE, Step, write};
use crate::journal::journal_path;
use crate::manifest::{DataDirId, Manifest};

impl Startup {
    pub(super) fn begin_epoch(&mut self, found: Option<Manifest>) {
        let data_dir = found.map_or(self.config.new_data_dir, |manifest| manifest.data_dir);
        let epoch = found.map_or(0, |manifest| manifest.epoch) + 1;
        // The new number of shards is not said before their journals are there.
        let shards = found.map_or(0, |manifest| manifest.shards);
        let mut counts = found.map(|manifest| manifest.counts).unwrap_or_default();
        if let Some(manifest) = found.filter(|found| found.shards > 0) {
            // Versions that kept no list say this much.
            counts.change(manifest.epoch, manifest.shards);
        }
        self.manifest = Some(Manifest { data_dir, epoch, shards, counts });
    }

    /// All that was found has been read: from here on there is something to write.
    pub(super) fn say_epoch(&mut self) -> Result<Step, StartupError> {
        let known = self.manifest.map_or(0, |manifest| manifest.epoch - 1);
        let starts = self.replayed.iter().map(|(index, (_, it))| (it.newest_epoch, *index));
        match starts.max() {
            Some((epoch, index)) if epoch > known => {
                let path = journal_path(index);
                Err(StartupError::OldManifest { known, path, epoch })
            }
            _ => {
                self.consider_growing();
                Ok(Step::CreateManifest)
            }
        }
    }

    pub(super) fn epoch_said(&mut self) -> Result<Step, StartupError> {
        self.has_epoch = true;
        self.next_journal()
    }

    pub(super) fn write_manifest(&self) -> DiskAction {
        let mut buffer = Buffer::zeroed(BLOCK_BYTES);
        if let Some(manifest) = &self.manifest {
            manifest.encode(&mut buffer);
        }
        write(FILE, 0, buffer)
    }

    pub(super) fn data_dir(&self) -> DataDirId {
        self.manifest.map_or(self.config.new_data_dir, |manifest| manifest.data_dir)
    }

    /// Every journal of this start is there: the manifest says so, if it does not yet.
    pub(super) fn say_shards(&mut self) -> Step {
        match &mut self.manifest {
            Some(manifest) if manifest.shards != self.config.shards => {
                manifest.shards = self.config.shards;
                manifest.counts.change(manifest.epoch, manifest.shards);
                self.has_journals = true;
                Step::CreateManifest
            }
            _ => LIST_RECYCLED,
        }
    }
}
