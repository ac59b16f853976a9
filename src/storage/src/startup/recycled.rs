//! The directory of recycled files: made first, and emptied as the last thing of a start.
//!
//! Their list was that of the process that kept them. What a newcomer gets wrong: such a file may
//! have had another name on its way, and a power loss may give that back too. So it is not used
//! again here, where nobody knows; a file that has gone harms nobody, under however many names.
//!
//! The other way round, a file may have left this directory just before the process died. Whoever
//! finds it under its new name writes to it, and flushes the directory that it is in; without a
//! flush of this one as well, a power loss gives it its old name back.

use alloc::format;
use alloc::string::ToString;

use plimsoll_device::{DiskAction, DiskResult};

use super::Startup;
use super::error::{StartupError, done, made};
use super::steps::Step;
use crate::partition::RECYCLED_DIRECTORY;

pub(super) const MAKE_RECYCLED: Step = Step::Recycled(RecycledStep::Make);
pub(super) const LIST_RECYCLED: Step = Step::Recycled(RecycledStep::List);

#[derive(Clone, Copy, Debug)]
pub(super) enum RecycledStep {
    Make,
    List,
    Remove,
    Flush,
}

impl Startup {
    pub(super) fn recycled_action(&self, step: RecycledStep) -> Option<DiskAction> {
        let path = RECYCLED_DIRECTORY.to_string();
        Some(match step {
            RecycledStep::Make => DiskAction::CreateDirectory { path },
            RecycledStep::List => DiskAction::List { path },
            RecycledStep::Remove => DiskAction::Remove { path: self.recycled.front()?.clone() },
            RecycledStep::Flush => DiskAction::SyncDirectory { path },
        })
    }

    pub(super) fn advance_recycled(
        &mut self,
        step: RecycledStep,
        result: DiskResult,
    ) -> Result<Step, StartupError> {
        match (step, result) {
            (RecycledStep::Make, result) => {
                return made(&result, RECYCLED_DIRECTORY).map(|()| Step::OpenManifest);
            }
            (RecycledStep::List, DiskResult::Listed(names)) => {
                let names = done(names, "listing", RECYCLED_DIRECTORY)?;
                let ours = names.iter().filter(|name| name.ends_with(".segment"));
                self.recycled = ours.map(|name| format!("{RECYCLED_DIRECTORY}/{name}")).collect();
            }
            (RecycledStep::Flush, DiskResult::Done(result)) => {
                return done(result, "flushing a directory", RECYCLED_DIRECTORY)
                    .map(|()| Step::Done);
            }
            // What does not go now goes with another start.
            (RecycledStep::List | RecycledStep::Remove | RecycledStep::Flush, _) => {
                self.recycled.pop_front();
            }
        }
        let is_empty = self.recycled.is_empty();
        Ok(Step::Recycled(if is_empty { RecycledStep::Flush } else { RecycledStep::Remove }))
    }
}
