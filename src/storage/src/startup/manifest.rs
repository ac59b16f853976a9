//! The manifest: its epoch goes up before anything else of a start is written.
//!
//! What a newcomer gets wrong: a new number of shards is said only when their journals are there,
//! or the next start would miss them.

use plimsoll_device::{BLOCK_BYTES, Buffer, DiskAction};

use super::Startup;
use super::error::StartupError;
use super::steps::{FILE, Step, write};
use crate::manifest::{DataDirId, Manifest};

impl Startup {
    pub(super) fn begin_epoch(&mut self, found: Option<Manifest>) -> Result<Step, StartupError> {
        let data_dir = found.map_or(self.config.new_data_dir, |manifest| manifest.data_dir);
        let epoch = found.map_or(0, |manifest| manifest.epoch) + 1;
        // The new number of shards is not said before their journals are there.
        let shards = found.map_or(0, |manifest| manifest.shards);
        self.manifest = Some(Manifest { data_dir, epoch, shards });
        Ok(Step::CreateManifest)
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
                self.has_journals = true;
                Step::CreateManifest
            }
            _ => Step::Done,
        }
    }
}
