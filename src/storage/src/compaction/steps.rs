//! How a pass goes on: from one completion to the next operation.
//!
//! One operation at a time, and a pause after so many bytes. What a newcomer gets wrong: whatever
//! happens meanwhile (a topic removed, a start moved, a stop) is looked at here, before each step,
//! and not where it happens.

use alloc::string::String;

use plimsoll_batch::{Batch, Offset};
use plimsoll_device::{Buffer, DiskAction, Memory, OpenMode};

use super::output::{Output, Rule};
use super::pass::{Class, Group, NewFile, Pass, Phase};
use super::source::{Found, Source};
use crate::error::{Damage, ReadError};
use crate::flight::Purpose;
use crate::identity::Slot;
use crate::notice::Notice;
use crate::partition::{SegmentName, partition_directory};
use crate::storage::Storage;

/// What a step came to.
enum Step {
    /// The next one can follow.
    Go,
    /// Something has to come first.
    Wait,
    /// The pass is over.
    Done,
    /// A segment cannot be read: the partition is left alone.
    Stopped(ReadError),
}

impl Storage {
    /// Goes on with the pass, or begins the next one.
    pub(crate) fn run_compaction(&mut self) {
        loop {
            let Some(mut pass) = self.compaction.pass.take() else {
                match self.begin_pass() {
                    true => continue,
                    false => return,
                }
            };
            let waits = pass.in_flight
                || pass.phase == Phase::Switching
                || self.compaction.resume_at.is_some_and(|at| at > self.clock);
            if waits {
                self.compaction.pass = Some(pass);
                return;
            }
            self.compaction.resume_at = None;
            if !self.may_go_on(&pass) {
                let slot = pass.slot;
                self.end_pass(pass);
                if self.is_open(slot) {
                    self.consider_compaction(slot);
                }
                continue;
            }
            match self.step(&mut pass) {
                Step::Go => self.compaction.pass = Some(pass),
                Step::Wait => {
                    self.compaction.pass = Some(pass);
                    return;
                }
                Step::Done => self.pass_done(pass),
                Step::Stopped(error) => {
                    let slot = pass.slot;
                    self.partition_mut(slot).compaction.is_stopped = true;
                    self.notices.push_back(Notice::CompactionStopped(slot, error));
                    self.end_pass(pass);
                }
            }
        }
    }

    fn begin_pass(&mut self) -> bool {
        let Some(slot) = self.compaction.waiting.pop_front() else { return false };
        let stored = self.stored_before(slot);
        let partition = self.partition_mut(slot);
        partition.compaction.waits = false;
        let (Some(settings), Some(now_ms)) =
            (partition.config.compaction, self.aging.clock.now_ms())
        else {
            return true;
        };
        let partition = self.partition(slot);
        let segments = partition.compactable(stored, settings.lag, now_ms);
        let Some(last) = segments.last() else { return true };
        let until = partition.segment_after(last.base).unwrap_or(partition.active);
        let dirty = segments.iter().find(|it| !it.compacted.is_clean());
        let from = dirty.map_or(until, |first| first.base).max(partition.compaction.compared_to);
        self.compaction.pass = Some(Pass {
            slot,
            id: partition.id,
            settings,
            now_ms,
            begun: self.clock,
            segment_bytes: partition.config.segment_bytes,
            segments,
            until,
            keys: super::keys::Keys::default(),
            compared: from.min(until)..from.min(until),
            phase: Phase::Compare,
            at: 0,
            source: None,
            output: Output::default(),
            group: None,
            next_group: None,
            file: None,
            is_blind: false,
            in_flight: false,
        });
        self.partition_mut(slot).jobs += 1;
        true
    }

    fn may_go_on(&self, pass: &Pass) -> bool {
        let partition = self.partition(pass.slot);
        // A start that has moved takes what the pass is at.
        let first = pass.segments.get(pass.group.as_ref().map_or(pass.at, |it| it.members.start));
        self.may_compact(pass.slot)
            && first.is_none_or(|first| partition.first_planned <= first.base)
    }

    fn step(&mut self, pass: &mut Pass) -> Step {
        match pass.phase {
            Phase::Compare => self.compare(pass),
            Phase::Probe => self.probe(pass),
            Phase::Begin => self.begin_group(pass),
            Phase::Write => self.write_group(pass),
            Phase::SyncFile => match pass.file.as_ref().map(|it| it.file) {
                Some(file) => {
                    pass.in_flight = true;
                    self.submit_on(file, Purpose::Compact, DiskAction::SyncData { file });
                    Step::Wait
                }
                None => Step::Done,
            },
            Phase::SyncNames => {
                pass.in_flight = true;
                let path = partition_directory(pass.id);
                self.submit(Purpose::Compact, DiskAction::SyncDirectory { path });
                Step::Wait
            }
            Phase::Ready(_) | Phase::Switching => Step::Wait,
        }
    }

    /// Gathers the keys of what was not compacted yet.
    fn compare(&mut self, pass: &mut Pass) -> Step {
        if pass.source.is_none() {
            if pass.at == pass.segments.len() {
                pass.compared.end = pass.until;
                return begin_probing(pass);
            }
            if pass.end_of(pass.at) <= pass.compared.start {
                pass.at += 1;
                return Step::Go;
            }
        }
        let mut source = self.source_of(pass, pass.at);
        loop {
            let found = match source.next() {
                Found::Batch(batch) => {
                    match note_keys(&mut pass.keys, pass.compared.start, &batch) {
                        None => continue,
                        Some(full_at) => {
                            self.files.release(source.file);
                            pass.compared.end = full_at;
                            return begin_probing(pass);
                        }
                    }
                }
                other => Ended::of(other),
            };
            return match found {
                Ended::End => {
                    self.files.release(source.file);
                    pass.at += 1;
                    Step::Go
                }
                other => self.read_on(pass, source, other),
            };
        }
    }

    /// Sees what a segment would lose.
    fn probe(&mut self, pass: &mut Pass) -> Step {
        let is_over = pass.segments.get(pass.at).is_none_or(|next| next.base >= pass.compared.end);
        if is_over {
            if pass.group.is_none() {
                return Step::Done;
            }
            pass.phase = Phase::Begin;
            return Step::Go;
        }
        if pass.source.is_none() {
            pass.output = Output::dry(pass.is_blind);
        }
        let at = pass.at;
        match self.put_segment(pass, at) {
            Ok(true) => {
                let probed = Group {
                    members: at..at + 1,
                    class: pass.class_of(at),
                    length: pass.output.length,
                    is_changed: pass.output.removed > 0,
                    tombstones: pass.output.tombstones,
                    is_blind: pass.is_blind,
                };
                pass.is_blind = pass.output.is_blind;
                join_group(pass, probed);
                Step::Go
            }
            Ok(false) => Step::Go,
            Err(step) => step,
        }
    }

    /// Has the group written anew, if that is of use, or only noted as clean.
    fn begin_group(&mut self, pass: &mut Pass) -> Step {
        let Some(group) = &pass.group else { return Step::Done };
        let first = pass.segments[group.members.start];
        if group.is_changed || group.members.len() > 1 {
            let is_free = self.partition(pass.slot).compaction.is_swept;
            if !is_free || self.sweeps_concern(pass.id) {
                // A sweep could take the new file for one of an earlier life.
                self.sweep_before_compaction(pass.slot);
                return Step::Wait;
            }
            let members = pass.segments[group.members.clone()].iter();
            let newest = members.map(|it| it.compacted.generation).max().unwrap_or(0);
            let name = SegmentName { segment: first.base, generation: newest + 1 };
            let file = self.hold_file(&name.path(pass.id), OpenMode::CreateEmpty);
            pass.file = Some(NewFile { name, file, written_to: 0 });
            pass.output = Output::new(group.is_blind);
            (pass.phase, pass.at) = (Phase::Write, group.members.start);
            return Step::Go;
        }
        let is_news = group.class == Class::Dirty
            || (first.compacted.is_clean() && group.tombstones != first.compacted.tombstones);
        if is_news {
            let entry = pass.entry(group, self.aging.clock.written());
            pass.phase = Phase::Ready(entry);
            return Step::Wait;
        }
        group_done(pass);
        Step::Go
    }

    /// Writes what stays of the group.
    fn write_group(&mut self, pass: &mut Pass) -> Step {
        let Some(group) = &pass.group else { return Step::Done };
        let is_over = pass.at == group.members.end;
        if is_over {
            pass.output.finish();
        }
        if let Some(blocks) = pass.output.take_blocks(is_over) {
            self.write_blocks(pass, blocks);
            return Step::Wait;
        }
        if is_over {
            pass.phase = Phase::SyncFile;
            return Step::Go;
        }
        let at = pass.at;
        match self.put_segment(pass, at) {
            Ok(true) => {
                pass.at += 1;
                Step::Go
            }
            Ok(false) => Step::Go,
            Err(step) => step,
        }
    }

    /// Puts batches of the segment into the output until more of it has to be read or written. True
    /// at its end.
    fn put_segment(&mut self, pass: &mut Pass, at: usize) -> Result<bool, Step> {
        let mut source = self.source_of(pass, at);
        let rule = Rule { keys: &pass.keys, drops_tombstones: pass.class_of(at) == Class::Ripe };
        loop {
            let ended = match source.next() {
                Found::Batch(batch) => {
                    pass.output.take(&batch, &rule);
                    if pass.output.has_blocks() {
                        pass.source = Some(source);
                        return Ok(false);
                    }
                    continue;
                }
                other => Ended::of(other),
            };
            return match ended {
                Ended::End => {
                    self.files.release(source.file);
                    if pass.phase == Phase::Probe {
                        pass.output.finish();
                    }
                    Ok(true)
                }
                other => Err(self.read_on(pass, source, other)),
            };
        }
    }

    fn source_of(&mut self, pass: &mut Pass, at: usize) -> Source {
        if let Some(source) = pass.source.take() {
            return source;
        }
        let segment = pass.segments[at];
        let generation = segment.compacted.generation;
        let path = SegmentName { segment: segment.base, generation }.path(pass.id);
        let file = self.hold_file(&path, OpenMode::Existing);
        Source::new(file, (pass.id, self.epoch), (segment, pass.end_of(at)))
    }

    fn read_on(&mut self, pass: &mut Pass, source: Source, ended: Ended) -> Step {
        let file = source.file;
        pass.source = Some(source);
        match ended {
            Ended::Wanted(position_bytes, length) => {
                let target = Memory::Buffer(Buffer::zeroed(length));
                let action = DiskAction::Read { file, position_bytes, target };
                pass.in_flight = true;
                self.submit_on(file, Purpose::Compact, action);
                Step::Wait
            }
            Ended::Damaged(position, what) => Step::Stopped(self.damaged(pass, position, what)),
            Ended::End => Step::Go,
        }
    }

    pub(super) fn damaged(&self, pass: &Pass, position_bytes: u64, what: String) -> ReadError {
        let path = pass.source.as_ref().map(|source| self.files.path(source.file).into());
        let path = path.unwrap_or_default();
        ReadError::Damaged(Damage { path, position_bytes, partition: Some(pass.id), what })
    }

    pub(super) fn write_blocks(&mut self, pass: &mut Pass, blocks: Buffer) {
        let Some(NewFile { file, written_to, .. }) = pass.file else { return };
        let source = Memory::Buffer(blocks);
        let (position_bytes, durable) = (written_to, false);
        pass.in_flight = true;
        let action = DiskAction::Write { file, position_bytes, source, durable };
        self.submit_on(file, Purpose::Compact, action);
    }

    fn pass_done(&mut self, pass: Pass) {
        let slot = pass.slot;
        let state = &mut self.partition_mut(slot).compaction;
        state.compared_to = pass.compared.end;
        state.is_blind = pass.is_blind;
        self.counters.compactions += 1;
        self.end_pass(pass);
        self.consider_compaction(slot);
    }

    /// Lets go of everything that the pass held. What it wrote and nobody counts is swept away.
    pub(super) fn end_pass(&mut self, pass: Pass) {
        let Pass { slot, id, source, file, begun, .. } = pass;
        let took_ms = self.clock.since(begun).as_millis();
        self.counters.compaction_ms += u64::try_from(took_ms).unwrap_or(u64::MAX);
        if let Some(source) = source {
            self.files.release(source.file);
        }
        self.partition_mut(slot).jobs -= 1;
        if let Some(file) = file {
            self.files.release(file.file);
            self.want_sweep(id);
        }
        if self.partition(slot).closing {
            self.continue_removal(slot);
        }
    }

    /// The group counts. What follows it is begun with the next turn: the frame has more to say.
    pub(super) fn group_switched(&mut self, slot: Slot) {
        if let Some(pass) = self.compaction.pass.as_mut().filter(|pass| pass.slot == slot) {
            if let Some(file) = pass.file.take() {
                self.files.release(file.file);
                self.counters.compacted_away_records += pass.output.removed;
            }
            group_done(pass);
        }
    }

    /// Whether the file is the one that the pass writes.
    pub(crate) fn is_being_compacted(&self, slot: Slot, segment: Offset, generation: u32) -> bool {
        let pass = self.compaction.pass.as_ref().filter(|pass| pass.slot == slot);
        let file = pass.and_then(|pass| pass.file.as_ref());
        file.is_some_and(|file| file.name == SegmentName { segment, generation })
    }

    /// A pass may write when no file of an earlier life is left.
    fn sweep_before_compaction(&mut self, slot: Slot) {
        let (id, is_swept) = (self.partition(slot).id, self.partition(slot).compaction.is_swept);
        if !is_swept && !self.sweeps_concern(id) {
            self.want_sweep(id);
        }
    }
}

/// Where the batches of a segment stopped.
enum Ended {
    Wanted(u64, usize),
    End,
    Damaged(u64, String),
}

impl Ended {
    fn of(found: Found<'_>) -> Self {
        match found {
            Found::Wanted(position, length) => Self::Wanted(position, length),
            Found::Damaged(position, what) => Self::Damaged(position, what),
            Found::End | Found::Batch(_) => Self::End,
        }
    }
}

fn begin_probing(pass: &mut Pass) -> Step {
    (pass.phase, pass.at) = (Phase::Probe, 0);
    Step::Go
}

/// Notes the keys of a batch from an offset on; gives the offset of the first record for whose key
/// there is no room. Of a batch that cannot be looked into nothing is known, and nothing is lost:
/// what came before it stays.
fn note_keys(keys: &mut super::keys::Keys, from: Offset, batch: &Batch<'_>) -> Option<Offset> {
    // A batch is taken by all of its records or not at all: what is later in it may not decode.
    let all_decode = batch.records().ok()?.all(|record| record.is_ok());
    let records = batch.records().ok().filter(|_| all_decode)?;
    for record in records.flatten().filter(|record| record.offset >= from) {
        if let Some(key) = record.key
            && !keys.note(key, record.offset)
        {
            return Some(record.offset);
        }
    }
    None
}

/// Takes the segment into the group before it, or has that begun and keeps it for the next.
fn join_group(pass: &mut Pass, probed: Group) {
    pass.at += 1;
    let joins = pass.group.as_ref().is_some_and(|group| pass.joins(group, &probed));
    match &mut pass.group {
        None => pass.group = Some(probed),
        Some(group) if joins => {
            group.members.end = probed.members.end;
            group.length += probed.length;
            group.is_changed |= probed.is_changed;
            group.tombstones = group.tombstones.saturating_add(probed.tombstones);
            group.class = match (group.class, probed.class) {
                (Class::Clean(one), Class::Clean(other)) => Class::Clean(one.max(other)),
                (class, _) => class,
            };
        }
        Some(_) => {
            pass.next_group = Some(probed);
            pass.phase = Phase::Begin;
        }
    }
}

/// On to what follows a group.
fn group_done(pass: &mut Pass) {
    pass.group = pass.next_group.take();
    pass.at = pass.group.as_ref().map_or(pass.at, |group| group.members.end);
    pass.phase = Phase::Probe;
}
