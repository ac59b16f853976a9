//! From what was found to what is done: lines for people, and steps.
//!
//! A journal that is damaged, or that has to say something else of a partition, is made anew with a
//! snapshot of each partition that it is the last to have logged. What a newcomer gets wrong: the
//! repair counts as a start of the server, so that what it writes is newer than all before.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use plimsoll_batch::{BatchBuilder, Offset, assign};
use plimsoll_device::BLOCK_BYTES;

use crate::encoding::block_ceil;
use crate::frame::Sequence;
use crate::identity::PartitionId;
use crate::journal::journal_path;
use crate::limits::journal_bytes_min;
use crate::manifest::Manifest;
use crate::origin::marked_epoch;
use crate::partition::SegmentName;
use crate::recovered::{Place, RecoveredPartition};
use crate::repair::{Cut, REPAIR_DIRECTORY, RepairConfig, RepairError, RepairLine, UNFINISHED};
use crate::repair_journal::beyond_all;
use crate::repair_partition::{Point, cut, next_offset_of, read_exactly, segments_of};
use crate::repair_state::{Found, FoundJournal, FoundPartition};
use crate::repair_steps::{Logged, RepairStep, journal_of};
use crate::verify::{DataFiles, MANIFEST_PATH};

/// Steps by kind; their order is `into_steps`'s.
pub(crate) struct Plan {
    /// Where this repair keeps what it cuts.
    side: String,
    /// What is kept there, for people: a line for each file.
    kept: String,
    copies: Vec<RepairStep>,
    writes: Vec<RepairStep>,
    manifest: Vec<RepairStep>,
    journals: Vec<RepairStep>,
    gone: BTreeSet<String>,
    pub(crate) cuts: u64,
}

impl Plan {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            side: format!("{REPAIR_DIRECTORY}/{name}"),
            kept: String::new(),
            copies: Vec::new(),
            writes: Vec::new(),
            manifest: Vec::new(),
            journals: Vec::new(),
            gone: BTreeSet::new(),
            cuts: 0,
        }
    }

    pub(crate) fn make<F: DataFiles, R: FnMut(RepairLine)>(
        &mut self,
        files: &mut F,
        found: &Found,
        config: &RepairConfig,
        report: &mut R,
    ) -> Result<(), RepairError> {
        let epoch = found.manifest.epoch + 1;
        let mut homes: BTreeSet<u16> = BTreeSet::new();
        for (number, journal) in &found.journals {
            if journal.damaged {
                homes.insert(*number);
                report(journal_line(*number, journal));
            } else if journal.names_rotten {
                // Also if its partition moved on: no later one may find them wrong again.
                homes.insert(*number);
            }
        }
        let is_live = |id: &PartitionId| !found.topics.is_deleted(*id);
        let mut partitions: BTreeMap<PartitionId, RecoveredPartition> = BTreeMap::new();
        for (id, partition) in &found.partitions {
            let mut state = partition.state.clone();
            if is_live(id) {
                self.put_right(*id, partition, report);
                if partition.is_changed() {
                    homes.insert(state.journal);
                    self.end(files, *id, partition, &mut state, report)?;
                }
                state.lease = partition.lease.max(state.next_offset);
            }
            partitions.insert(*id, state);
        }
        Self::name_topics_again(found, &mut partitions, (epoch, config), report);
        self.replace_manifest(files, &Manifest { epoch, ..found.manifest }, report);
        // The metadata topic's journal comes last: what the others hold says which topics it needs.
        for home in homes.into_iter().rev() {
            let here = partitions.iter().filter(|(_, state)| state.journal == home);
            let mut logged = Vec::new();
            for (id, state) in here {
                logged.push(match is_live(id) {
                    true => Logged::of(*id, state, &mut self.writes),
                    false => Logged::empty(*id, state.next_offset),
                });
            }
            self.replace_journal((home, epoch), &logged, found, config);
        }
        Ok(())
    }

    /// All steps, in their order.
    pub(crate) fn into_steps(self) -> Vec<RepairStep> {
        let mut steps = self.copies;
        let kept = self.kept.into_bytes();
        if !steps.is_empty() {
            let (path, length_bytes) = (format!("{}/kept.txt", self.side), kept.len() as u64);
            steps.push(RepairStep::Create { path, bytes: kept, length_bytes });
        }
        steps.extend(self.writes);
        steps.extend(self.manifest);
        steps.extend(self.journals);
        if !self.gone.is_empty() {
            let path = format!("{}/{UNFINISHED}", self.side);
            let mut bytes = Vec::new();
            for gone in &self.gone {
                bytes.extend_from_slice(gone.as_bytes());
                bytes.push(b'\n');
            }
            let length_bytes = bytes.len() as u64;
            steps.push(RepairStep::Create { path: path.clone(), bytes, length_bytes });
            steps.extend(self.gone.into_iter().map(|path| RepairStep::Remove { path }));
            steps.push(RepairStep::Remove { path });
        }
        steps
    }

    /// What is derived, or filled up with zeros: no record goes.
    fn put_right<R: FnMut(RepairLine)>(
        &mut self,
        id: PartitionId,
        partition: &FoundPartition,
        report: &mut R,
    ) {
        for path in &partition.indexes {
            let what = "derived index: removed; it is made anew when it is needed".to_string();
            report(RepairLine::Change { path: path.clone(), what });
            self.keep_whole(path, &format!("partition={id} index"));
            self.gone.insert(path.clone());
        }
        for (path, position, length) in &partition.paddings {
            let what = format!("{length} bytes from byte {position} on are zeroed: no data");
            report(RepairLine::Change { path: path.clone(), what });
            self.keep(path, (*position, *length as u64), Vec::new(), &format!("partition={id}"));
            let (path, position_bytes, bytes) = (path.clone(), *position, vec![0; *length]);
            self.writes.push(RepairStep::WriteAt { path, position_bytes, bytes });
        }
    }

    /// Ends a partition's log early, and says so.
    fn end<F: DataFiles, R: FnMut(RepairLine)>(
        &mut self,
        files: &mut F,
        id: PartitionId,
        partition: &FoundPartition,
        state: &mut RecoveredPartition,
        report: &mut R,
    ) -> Result<(), RepairError> {
        self.cuts += 1;
        let end = Point { segment: state.active, position: state.end(), offset: state.next_offset };
        let (at, why) = match (&partition.cut, &partition.lost) {
            (Some((at, what)), Some(lost)) => (*at, format!("{what}; {lost}")),
            (Some((at, what)), None) => (*at, what.clone()),
            (None, lost) => (end, lost.clone().unwrap_or_default()),
        };
        let length_bytes = self.set_aside(files, id, state, at);
        report(RepairLine::Cut(Cut {
            partition: id,
            path: state.name_of(at.segment).path(id),
            position_bytes: at.position,
            length_bytes,
            first: at.offset,
            end: partition.known_end.max(at.offset),
            next: partition.lease.max(at.offset),
            why,
        }));
        if partition.cut.is_some() {
            self.end_compacted(id, state, at);
            cut(files, id, state, at)?;
        }
        Ok(())
    }

    /// A segment that was compacted takes no data again: it stays sealed, and is filled up with
    /// zeros behind what is left of it.
    fn end_compacted(&mut self, id: PartitionId, state: &RecoveredPartition, at: Point) {
        let name = state.name_of(at.segment);
        let path = name.path(id);
        if name.generation == 0 {
            return;
        }
        if at.position == 0 {
            self.gone.insert(path);
            return;
        }
        let filled = block_ceil(at.position) - at.position;
        if filled > 0 {
            let bytes = vec![0; usize::try_from(filled).unwrap_or(0)];
            self.writes.push(RepairStep::WriteAt { path, position_bytes: at.position, bytes });
        }
    }

    /// Keeps what is behind a place, and gives how many bytes of data that is.
    fn set_aside<F: DataFiles>(
        &mut self,
        files: &mut F,
        id: PartitionId,
        state: &RecoveredPartition,
        at: Point,
    ) -> u64 {
        let mut cut_bytes = 0;
        let mut known = BTreeSet::new();
        for (base, length) in segments_of(state) {
            let path = state.name_of(base).path(id);
            known.insert(path.clone());
            if base < at.segment {
                continue;
            }
            let run = state.runs.iter().find(|run| run.segment == base);
            let from = if base == at.segment { at.position } else { 0 };
            cut_bytes += length.saturating_sub(from);
            let more = run.map_or(&[][..], |run| {
                let skip = from.saturating_sub(run.stored);
                run.bytes.get(usize::try_from(skip).unwrap_or(usize::MAX)..).unwrap_or_default()
            });
            let what = format!("partition={id}");
            self.gone.insert(state.name_of(base).index_path(id));
            if base > at.segment {
                self.keep_whole(&path, &what);
                self.gone.insert(path.clone());
            }
            // Of the segment that ends here, all that its file has: new data will be put there.
            let is_last = base == at.segment && has_data(files, &path, from);
            let stored = if is_last { files.length_bytes(&path).unwrap_or(from) } else { from };
            if stored > from || !more.is_empty() {
                let length = stored.saturating_sub(from);
                self.keep(&path, (from, length), more.to_vec(), &what);
            }
        }
        // Files behind it that only lost frames can have named.
        let directory = crate::partition::partition_directory(id);
        for name in files.list(&directory).unwrap_or_default() {
            let is_segment = name.ends_with(".segment");
            let file = SegmentName::of_file(&name).filter(|_| is_segment);
            let Some(file) = file else { continue };
            let path = format!("{directory}/{name}");
            if file.segment > at.segment && !known.contains(&path) {
                cut_bytes += files.length_bytes(&path).unwrap_or(0);
                self.keep_whole(&path, &format!("partition={id}"));
                self.gone.extend([path, file.index_path(id)]);
            }
        }
        cut_bytes
    }

    /// Topics that exist, by what is there of them, and that the metadata topic knows no longer.
    fn name_topics_again<R: FnMut(RepairLine)>(
        found: &Found,
        partitions: &mut BTreeMap<PartitionId, RecoveredPartition>,
        (epoch, config): (u64, &RepairConfig),
        report: &mut R,
    ) {
        let metadata = PartitionId::METADATA;
        let is_changed = found.partitions.get(&metadata).is_some_and(FoundPartition::is_changed);
        let mut nameless: BTreeMap<u32, u32> = BTreeMap::new();
        for (id, state) in partitions.iter() {
            let is_known = found.topics.created.contains_key(&id.topic)
                || found.topics.is_deleted(*id)
                || id.is_internal();
            // A lease without a record is no reason to have a topic.
            if is_changed && !is_known && state.next_offset > Offset::ZERO {
                let count = nameless.entry(id.topic).or_default();
                *count = (*count).max(id.partition + 1);
            }
        }
        begin_anew(found, partitions, epoch, &nameless);
        let Some(state) = partitions.get_mut(&metadata).filter(|_| !nameless.is_empty()) else {
            return;
        };
        let Some(run) = state.runs.back_mut() else { return };
        state.next_offset = state.next_offset.max(state.lease);
        for (topic, count) in nameless {
            let what = "its name is lost: created anew as a topic that was found again".to_string();
            let path = crate::partition::topic_directory(topic);
            report(RepairLine::Change { path, what });
            let mut builder = BatchBuilder::new();
            let value = (config.topics.create)(topic, count);
            if builder.append(0, None, Some(&value), &[]).is_err() {
                continue;
            }
            let mut batch = Vec::new();
            builder.finish_into(&mut batch);
            assign(&mut batch, state.next_offset, marked_epoch(metadata, epoch));
            let Some(next) = next_offset_of(&batch) else { continue };
            run.end += batch.len() as u64;
            run.bytes.extend_from_slice(&batch);
            state.next_offset = next;
        }
        state.lease = state.next_offset;
    }

    fn replace_manifest<F: DataFiles, R: FnMut(RepairLine)>(
        &mut self,
        files: &mut F,
        manifest: &Manifest,
        report: &mut R,
    ) {
        let mut old = vec![0; BLOCK_BYTES];
        let is_read = read_exactly(files, MANIFEST_PATH, 0, &mut old).is_ok();
        let is_sound =
            is_read && Manifest::decode(&old).is_ok_and(|old| old.epoch + 1 == manifest.epoch);
        if !is_sound {
            let Manifest { epoch, shards, .. } = manifest;
            let what = format!("made anew: start {epoch}, {shards} shards");
            report(RepairLine::Change { path: MANIFEST_PATH.to_string(), what });
        }
        self.keep(MANIFEST_PATH, (0, BLOCK_BYTES as u64), Vec::new(), "");
        let mut bytes = vec![0; BLOCK_BYTES];
        manifest.encode(&mut bytes);
        let path = format!("{MANIFEST_PATH}.new");
        let length_bytes = BLOCK_BYTES as u64;
        self.manifest.push(RepairStep::Create { path: path.clone(), bytes, length_bytes });
        self.manifest.push(RepairStep::Rename { from: path, to: MANIFEST_PATH.to_string() });
    }

    fn replace_journal(
        &mut self,
        (number, epoch): (u16, u64),
        partitions: &[Logged],
        found: &Found,
        config: &RepairConfig,
    ) {
        let path = journal_path(number);
        let lengths = found.journals.values().map(|journal| journal.file_bytes);
        let longest = lengths.max().filter(|length| *length > 0).unwrap_or(config.journal_bytes);
        let own = found.journals.get(&number).map_or(0, |journal| journal.file_bytes);
        let usual = if own > 0 { own } else { longest };
        let whose = (found.manifest.data_dir, number, epoch);
        // One that lost its end may be too short to work with.
        let (front, length_bytes) = journal_of(whose, partitions, usual.max(journal_bytes_min(0)));
        self.keep_whole(&path, "journal");
        let new = format!("{path}.new");
        self.journals.push(RepairStep::Create { path: new.clone(), bytes: front, length_bytes });
        self.journals.push(RepairStep::Rename { from: new, to: path });
    }

    fn keep(&mut self, from: &str, (position, length): (u64, u64), more: Vec<u8>, what: &str) {
        let name = format!("{}-at-{position}", from.replace('/', "-"));
        let (to, tail) = (format!("{}/{name}", self.side), more.len());
        self.kept +=
            &format!("{name} from={from} position={position} bytes={length}+{tail} {what}\n");
        let (from, position_bytes, length_bytes) = (from.to_string(), position, length);
        self.copies.push(RepairStep::Copy { from, position_bytes, length_bytes, more, to });
    }

    fn keep_whole(&mut self, from: &str, what: &str) {
        let name = from.replace('/', "-");
        self.kept += &format!("{name} from={from} position=0 whole {what}\n");
        let (from, to) = (from.to_string(), format!("{}/{name}", self.side));
        self.copies.push(RepairStep::Link { from, to });
    }
}

/// Partitions of these topics that only a lost journal can have named: they begin behind all
/// offsets that they may have had.
fn begin_anew(
    found: &Found,
    partitions: &mut BTreeMap<PartitionId, RecoveredPartition>,
    epoch: u64,
    topics: &BTreeMap<u32, u32>,
) {
    for (topic, count) in topics {
        for partition in 0..*count {
            let id = PartitionId { topic: *topic, partition };
            let journal = id.owner(found.manifest.shards);
            let is_damaged = found.journals.get(&journal).is_some_and(|it| it.damaged);
            if is_damaged && !partitions.contains_key(&id) {
                let place = Place { epoch, journal, sequence: Sequence(1) };
                let mut state = RecoveredPartition::begin(Offset::ZERO, place);
                state.lease = beyond_all(Offset::ZERO);
                partitions.insert(id, state);
            }
        }
    }
}

/// Whether there is anything but zeros close behind a place.
fn has_data<F: DataFiles>(files: &mut F, path: &str, from: u64) -> bool {
    let mut bytes = vec![0; 16 * BLOCK_BYTES];
    match files.read(path, from, &mut bytes) {
        Ok(read) => bytes[..read].iter().any(|byte| *byte != 0),
        // It may have, and this disk does not give it.
        Err(_) => true,
    }
}

fn journal_line(number: u16, journal: &FoundJournal) -> RepairLine {
    let mut what = match journal.lost {
        true => "made anew: nothing of it can be read".to_string(),
        false => format!("made anew from the {} frames that can be read", journal.frames),
    };
    for gap in &journal.gaps {
        let (first, next, position) = (gap.first, gap.next, gap.position_bytes);
        what += &match next {
            Some(next) if next > first => {
                format!("; lost: frame {first} at byte {position} to before frame {next}")
            }
            Some(_) => format!("; lost: a part of frame {first} at byte {position}"),
            None => {
                format!("; lost: frame {first} at byte {position}, if it was, and what followed")
            }
        };
    }
    RepairLine::Change { path: journal_path(number), what }
}
