//! From the state of a group in share mode to its log, and back.
//!
//! Nothing here knows of batches or disks: facts go out in the order in which they happened, and
//! come back in the order of the log. What a newcomer gets wrong: the order in which facts of
//! different keys come back is that of the log, but of one key only the last may be left.

use alloc::vec::Vec;

use plimsoll_batch::Offset;
use plimsoll_wire::TopicPartition;

use super::record::ShareFact;
use super::standing::Standing;
use super::window::{Change, Glance, Window};
use super::{Share, SharePartition, Stage};

impl Share {
    /// What is to be appended to the log.
    pub(crate) fn take_unwritten(&mut self) -> Vec<(TopicPartition, ShareFact)> {
        core::mem::take(&mut self.unwritten)
    }

    pub(crate) fn has_unwritten(&self) -> bool {
        !self.unwritten.is_empty()
    }

    /// It could not be appended.
    pub(crate) fn put_back(&mut self, mut facts: Vec<(TopicPartition, ShareFact)>) {
        facts.append(&mut self.unwritten);
        self.unwritten = facts;
    }

    /// These facts were appended, in a batch of their own that ends at `next`.
    pub(crate) fn note_written(&mut self, facts: &[(TopicPartition, ShareFact)], next: Offset) {
        for (partition, fact) in facts {
            let ShareFact::Start(Some((incarnation, _))) = fact else { continue };
            // An earlier beginning, or an end of it, says nothing of the one that is to come.
            let Some(known) = self.partitions.get(partition) else { continue };
            if known.incarnation != *incarnation {
                continue;
            }
            if let Some(written) = self.opening.get_mut(partition) {
                written.get_or_insert(next);
            }
        }
    }

    /// The log is on disk up to there. Whether there are partitions now from which something may be
    /// handed out.
    pub(crate) fn note_durable(&mut self, disk: Offset) -> bool {
        let mut has_opened = false;
        let partitions = &mut self.partitions;
        self.opening.retain(|partition, written| {
            let is_durable = written.is_some_and(|written| written <= disk);
            if is_durable && let Some(known) = partitions.get_mut(partition) {
                known.stage = Stage::Open;
                has_opened = true;
            }
            !is_durable
        });
        has_opened
    }

    /// Puts back what a record says.
    pub(crate) fn restore(&mut self, partition: TopicPartition, fact: ShareFact) {
        let incarnation = match fact {
            ShareFact::Start(None) => {
                self.partitions.remove(&partition);
                return;
            }
            ShareFact::Start(Some((incarnation, _))) | ShareFact::Run(incarnation, ..) => {
                incarnation
            }
        };
        let known = self.partitions.entry(partition).or_insert_with(SharePartition::sought);
        if known.is_sought() || known.incarnation < incarnation {
            known.incarnation = incarnation;
            known.window = Window::default();
            // Runs without a start are of a partition whose end was forgotten before they were.
            known.stage = Stage::Opening;
        }
        match fact {
            _ if incarnation < known.incarnation => {}
            ShareFact::Start(Some((_, start))) => {
                if known.stage == Stage::Opening {
                    known.stage = Stage::Open;
                }
                known.window.drop_before(start);
            }
            ShareFact::Run(_, first, span) => known.window.restore(first, span),
            ShareFact::Start(None) => {}
        }
    }

    /// Everything has been put back; partitions that do not exist any more are forgotten.
    pub(crate) fn finish_restoring(&mut self, exists: impl Fn(TopicPartition) -> bool) {
        self.partitions.retain(|partition, it| it.stage == Stage::Open && exists(*partition));
        self.standing = Standing::default();
        for (partition, it) in &mut self.partitions {
            it.window.advance();
            self.standing.note(*partition, Glance::default(), it.window.glance());
            self.standing.unwatched.insert(*partition);
        }
    }

    /// Everything that a start has to find in the log.
    pub(crate) fn kept(&self) -> Vec<(TopicPartition, ShareFact)> {
        let mut kept = Vec::new();
        for (partition, it) in self.partitions.iter().filter(|(_, it)| !it.is_sought()) {
            let start = ShareFact::Start(Some((it.incarnation, it.window.start())));
            kept.push((*partition, start));
            let runs = it.window.kept();
            let runs = runs.map(|(first, span)| ShareFact::Run(it.incarnation, first, span));
            kept.extend(runs.map(|run| (*partition, run)));
        }
        kept
    }

    /// Notes what is to be written of changes in a window that began at `old_start`.
    pub(super) fn write(
        &mut self,
        partition: TopicPartition,
        old_start: Offset,
        changes: Vec<Change>,
    ) {
        let Some(known) = self.partitions.get(&partition) else { return };
        let (incarnation, start) = (known.incarnation, known.window.start());
        let open = changes.into_iter().filter(|(_, span)| span.last >= start);
        let runs = open.map(|(first, span)| ShareFact::Run(incarnation, first, span));
        self.unwritten.extend(runs.map(|run| (partition, run)));
        if start > old_start {
            let start = ShareFact::Start(Some((incarnation, start)));
            self.unwritten.push((partition, start));
        }
    }
}
