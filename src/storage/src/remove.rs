//! Removing a partition: what is in flight ends first, then its files go, then its directory.
//!
//! The topic is durably deleted before this begins, so a removal that is cut off is taken up by the
//! next start. Files go only when no frame that names them can be in doubt any more.

use alloc::collections::VecDeque;
use alloc::string::String;

use plimsoll_device::{DiskAction, DiskResult, Now};

use crate::flight::Purpose;
use crate::identity::{PartitionId, Slot};
use crate::notice::Notice;
use crate::parting::Parting;
use crate::partition::{TOPICS_DIRECTORY, partition_directory, topic_directory};
use crate::spill::Stored;
use crate::storage::Storage;

/// Files of one partition that are going.
pub(crate) struct Removal {
    id: PartitionId,
    step: Step,
    /// Its files, once they are known.
    parting: Parting,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    List,
    PartWithFiles,
    RemovePartition,
    SyncTopic,
    RemoveTopic,
    SyncTopics,
}

impl Storage {
    /// Closes the partition and removes its files; [`Notice::Removed`] follows. Appends that have
    /// not reached their level never will: the caller answers them.
    pub fn remove_partition(&mut self, slot: Slot, _now: Now) {
        self.forget_age(slot);
        self.forget_compaction(slot);
        let partition = self.partition_mut(slot);
        partition.closing = true;
        partition.urgent = false;
        let (id, due, oldest) = (partition.id, partition.due.take(), partition.oldest_frame.take());
        if let Some(due) = due {
            self.due.remove(&(due, slot));
        }
        if let Some(oldest) = oldest {
            self.by_oldest.remove(&(oldest, slot));
        }
        if self.partition(slot).relog {
            self.partition_mut(slot).relog = false;
            self.relogs -= 1;
        }
        let (theirs, others) =
            core::mem::take(&mut self.stored).into_iter().partition(|it| it.slot == slot);
        self.stored = others;
        let theirs: VecDeque<Stored> = theirs;
        for stored in theirs {
            self.forget_stored(&stored);
        }
        self.urgent.retain(|other| *other != slot);
        self.leases_wanted.retain(|other| *other != slot);
        self.leases_void.retain(|other| *other != slot);
        self.snapshots_wanted.retain(|other| *other != slot);
        self.full_slots.remove(&slot);
        self.by_id.remove(&id);
        self.continue_removal(slot);
    }

    /// Goes on when nothing of the partition is in flight any more.
    pub(crate) fn continue_removal(&mut self, slot: Slot) {
        let partition = self.partition(slot);
        let busy = partition.jobs > 0 || self.commits.iter().any(|commit| commit.concerns(slot));
        if busy {
            return;
        }
        self.forget_producers(slot);
        self.promise_all_files(slot);
        let Some(mut partition) = self.partitions.get_mut(slot.0 as usize).and_then(Option::take)
        else {
            return;
        };
        self.has_free_slot = true;
        self.spill_queue.retain(|other| *other != slot);
        self.memory_order.retain(|other| *other != slot);
        for span in partition.spans.drain(..) {
            self.memory.drop_span(span);
        }
        self.tell_room();
        self.remove_when_settled(partition.id);
    }

    /// Removes what is left of a partition that nobody opens.
    pub(crate) fn remove_files(&mut self, id: PartitionId, _now: Now) {
        self.remove_when_settled(id);
    }

    /// Waits with the files until a later frame says that every frame which names them is durable:
    /// recovery would take a missing file for an extent that never landed, and cut the journal.
    fn remove_when_settled(&mut self, id: PartitionId) {
        if self.failure.is_some() || self.journal_damage.is_some() {
            // Nothing is written any more; the next start removes what belongs to no topic.
            self.notices.push_back(Notice::Removed(id));
            return;
        }
        self.removals_waiting.push_back((self.journal.next.sequence, id));
        self.marker_wanted = true;
    }

    /// Begins the removals that waited for a frame which is durable by now.
    pub(crate) fn start_removals(&mut self) {
        while let Some(&(frame, id)) = self.removals_waiting.front()
            && frame <= self.durable_frame
        {
            self.removals_waiting.pop_front();
            self.remove_partition_files(id);
        }
    }

    fn remove_partition_files(&mut self, id: PartitionId) {
        let job = self.job();
        let parting = Parting::new(partition_directory(id), VecDeque::new());
        self.removals.insert(job, Removal { id, step: Step::List, parting });
        self.submit(Purpose::Remove(job), DiskAction::List { path: partition_directory(id) });
    }

    pub(crate) fn handle_remove(&mut self, number: u64, result: DiskResult) {
        let Some(mut job) = self.removals.remove(&number) else { return };
        let id = job.id;
        let action = match (job.step, result) {
            (Step::List, DiskResult::Listed(Ok(names))) => {
                job.step = Step::PartWithFiles;
                job.parting = Parting::new(partition_directory(id), names.into());
                self.part(&mut job.parting, None)
            }
            // It never had files.
            (Step::List, _) => return self.removed(id),
            (Step::PartWithFiles, result) => self.part(&mut job.parting, Some(&result)),
            (Step::RemovePartition, _) => {
                job.step = Step::SyncTopic;
                Some(DiskAction::SyncDirectory { path: topic_directory(id.topic) })
            }
            (Step::SyncTopic, _) => {
                job.step = Step::RemoveTopic;
                Some(DiskAction::RemoveDirectory { path: topic_directory(id.topic) })
            }
            (Step::RemoveTopic, DiskResult::Done(Ok(()))) => {
                job.step = Step::SyncTopics;
                Some(DiskAction::SyncDirectory { path: String::from(TOPICS_DIRECTORY) })
            }
            // Other partitions of the topic are still there.
            (Step::RemoveTopic | Step::SyncTopics, _) => return self.removed(id),
        };
        let action = action.unwrap_or_else(|| {
            job.step = Step::RemovePartition;
            DiskAction::RemoveDirectory { path: partition_directory(id) }
        });
        self.removals.insert(number, job);
        self.submit(Purpose::Remove(number), action);
    }

    fn removed(&mut self, id: PartitionId) {
        self.forget_promises(id);
        self.topics_ready.remove(&id.topic);
        self.notices.push_back(Notice::Removed(id));
    }
}
