//! A journal of arbitrary entries: neither a start, nor `verify`, nor `inspect` panics, what a
//! start reports as sound, `verify` reports as sound, and a journal that is made larger says what
//! it said before.
//!
//! Random bytes hardly ever make a frame that checks. The input is therefore cut into bodies, and
//! each gets a frame that follows on the one before it, laid out by `FORMAT.md` and not by the code
//! under test. A few header fields come from the input too, so that chains break in every way.

#![expect(clippy::expect_used, reason = "a panic is how a broken promise is reported")]

use std::collections::{BTreeMap, VecDeque};

use plimsoll_batch::Offset;
use plimsoll_device::{
    DiskAction, DiskCompletion, DiskOp, DiskResult, FileId, IoError, IoErrorKind, Memory, OpenMode,
};
use plimsoll_storage::{
    DataDirId, DataFiles, FRAME_HEADER_BYTES, Manifest, PartitionId, Started, Startup,
    StartupConfig, StartupError, adopt_arenas, inspect, journal_path, segment_path, verify,
};

const BLOCK_BYTES: usize = 4096;
const AREA_BYTES: usize = 32 * BLOCK_BYTES;
const FILE_BYTES: usize = 2 * BLOCK_BYTES + AREA_BYTES;
const DIR: [u8; 16] = [3; 16];
const NOT_FOUND: IoError = IoError::new(IoErrorKind::NotFound, 2);

/// A journal, started from, verified and inspected.
///
/// # Panics
///
/// When what the module promises is broken.
pub fn journal_recovery(bytes: &[u8]) {
    let Some((&[head_block, segment], input)) = bytes.split_first_chunk() else { return };
    let mut files = Directory::default();
    let mut manifest = vec![0; BLOCK_BYTES];
    Manifest { data_dir: DataDirId(DIR), epoch: 9, shards: 1, counts: Default::default() }
        .encode(&mut manifest);
    files.0.insert("MANIFEST".to_owned(), manifest);
    files.0.insert(journal_path(0), journal(usize::from(head_block) % 40, input));
    if segment > 0 {
        let path = segment_path(PartitionId::METADATA, Offset::ZERO);
        files.0.insert(path, vec![segment; 64 * BLOCK_BYTES]);
    }
    let is_damaged = match recover(&mut files.clone(), FILE_BYTES) {
        Err(_) => true,
        Ok(found) => {
            let is_damaged = !found.damages.is_empty();
            if segment % 2 == 1 && !is_damaged {
                enlarge(files.clone(), &found);
            }
            is_damaged
        }
    };
    let mut damages = 0;
    let end = verify(&mut files, |_| None, &mut |_| damages += 1);
    assert!(end.is_ok() && (damages > 0 || !is_damaged), "verify misses what a start finds");
    inspect(&mut files, &journal_path(0), &mut String::new()).expect("it has an anchor");
}

/// A sound journal is made larger and says what it said before.
fn enlarge(mut directory: Directory, found: &Started) {
    let grown = recover(&mut directory, FILE_BYTES + 3 * BLOCK_BYTES).expect("it was sound");
    let again = recover(&mut directory, FILE_BYTES).expect("it was sound");
    assert_eq!((grown.grown.as_slice(), grown.frames), (&[0][..], found.frames));
    assert!(again.damages.is_empty() && again.frames == found.frames);
    assert_eq!(again.partitions, found.partitions);
}

/// A start, one operation after the other. The only thing that may stop it here is a frame of an
/// epoch that the manifest does not know.
fn recover(directory: &mut Directory, journal_bytes: usize) -> Result<Started, StartupError> {
    let mut machine = Machine { directory, open: BTreeMap::new(), done: VecDeque::new() };
    let new_data_dir = DataDirId([4; 16]);
    let config = StartupConfig { shards: 1, journal_bytes: journal_bytes as u64, new_data_dir };
    let mut startup = Startup::new(config);
    for _ in 0..10_000 {
        while let Some(op) = startup.poll_op() {
            machine.submit(op);
        }
        if let Some(outcome) = startup.outcome() {
            return match outcome {
                Ok(mut started) => {
                    adopt_arenas(&mut started.partitions, &[]);
                    Ok(started)
                }
                Err(StartupError::OldManifest { known, path, epoch }) => {
                    Err(StartupError::OldManifest { known, path, epoch })
                }
                Err(other) => panic!("no operation failed: {other}"),
            };
        }
        let completion = machine.done.pop_front().expect("a start has something in flight");
        startup.handle(completion);
    }
    panic!("a start ends");
}

/// A journal whose head stands at a block of the first laps, with the frames that the input
/// describes.
fn journal(head_block: usize, mut input: &[u8]) -> Vec<u8> {
    let mut file = vec![0; FILE_BYTES];
    let head = (head_block * BLOCK_BYTES) as u64;
    write_anchor(&mut file, head);
    let (mut position, mut sequence, mut previous_check) = (head, 1_u64, 0);
    while let Some((&[length, lag, tweak, value], rest)) = input.split_first_chunk() {
        let (body, rest) = rest.split_at(rest.len().min(usize::from(length) * 8));
        input = rest;
        let entries: Vec<u8> = body.chunks_exact(12).flat_map(entry).collect();
        let body = if lag < 192 { &entries[..] } else { body };
        let end = (FRAME_HEADER_BYTES + body.len()).next_multiple_of(BLOCK_BYTES);
        let at = (position % AREA_BYTES as u64) as usize;
        if at + end > AREA_BYTES {
            position += (AREA_BYTES - at) as u64;
        }
        let at = 2 * BLOCK_BYTES + (position % AREA_BYTES as u64) as usize;
        let durable_through = sequence.saturating_sub(u64::from(lag % 4));
        let frame = &mut file[at..at + end];
        frame.fill(0);
        frame[..4].copy_from_slice(b"PLJF");
        frame[8..10].copy_from_slice(&1_u16.to_le_bytes());
        frame[12..16].copy_from_slice(&(end as u32).to_le_bytes());
        frame[16..32].copy_from_slice(&DIR);
        frame[32..40].copy_from_slice(&1_u64.to_le_bytes());
        frame[40..48].copy_from_slice(&sequence.to_le_bytes());
        frame[48..56].copy_from_slice(&position.to_le_bytes());
        frame[56..64].copy_from_slice(&durable_through.to_le_bytes());
        frame[68..72].copy_from_slice(&(body.len() as u32).to_le_bytes());
        frame[72..76].copy_from_slice(&u32::to_le_bytes(previous_check));
        frame[FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + body.len()].copy_from_slice(body);
        frame[64..68].copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
        if value > 0 {
            frame[8 + usize::from(tweak) % 72] ^= value;
        }
        let check = crc32c::crc32c(&frame[8..FRAME_HEADER_BYTES]);
        frame[4..8].copy_from_slice(&check.to_le_bytes());
        (position, sequence, previous_check) = (position + end as u64, sequence + 1, check);
    }
    file
}

/// An entry whose lengths fit, with values in its fields that can come to something.
fn entry(choices: &[u8]) -> Vec<u8> {
    const VALUES: [u64; 12] =
        [0, 1, 2, 100, 200, 4096, 4196, 8192, 1 << 20, 1 << 62, u64::MAX - 8191, u64::MAX];
    let value = |at: usize| VALUES[usize::from(choices[at]) % VALUES.len()];
    let mut out = vec![choices[0] % 4, choices[1] & 1, 0, 0, 0, 0, 0, 0];
    out.extend_from_slice(&0_u32.to_le_bytes());
    out.extend_from_slice(&u32::from(choices[1] >> 7).to_le_bytes());
    out.extend((2..8).flat_map(|at| value(at).to_le_bytes()));
    let inline = usize::from(choices[8]) % 4 * 100;
    let sealed = u32::from(choices[9] % 3);
    match choices[0] % 4 {
        1 => {
            let blocks = u32::from(choices[9] % 8) * BLOCK_BYTES as u32;
            let crc = crc32c::crc32c(&vec![choices[10]; blocks as usize]);
            let at = out.len() - 8;
            out[at..at + 4].copy_from_slice(&blocks.to_le_bytes());
            out[at + 4..].copy_from_slice(&crc.to_le_bytes());
            out.extend_from_slice(&(inline as u64).to_le_bytes());
        }
        2 => {
            out.extend_from_slice(&sealed.to_le_bytes());
            out.extend_from_slice(&(inline as u32).to_le_bytes());
            out.extend((0..2 * sealed as usize).flat_map(|at| value(at % 2 + 10).to_le_bytes()));
        }
        _ => out.truncate(24),
    }
    if choices[0] % 4 == 1 || choices[0] % 4 == 2 {
        out.resize(out.len() + inline.next_multiple_of(8), choices[11]);
    }
    let length = out.len() as u32;
    out[4..8].copy_from_slice(&length.to_le_bytes());
    out
}

fn write_anchor(file: &mut [u8], head_position: u64) {
    file[..8].copy_from_slice(b"PLJANCHR");
    file[12..16].copy_from_slice(&1_u32.to_le_bytes());
    file[16..32].copy_from_slice(&DIR);
    file[40..48].copy_from_slice(&1_u64.to_le_bytes());
    file[48..56].copy_from_slice(&head_position.to_le_bytes());
    let check = crc32c::crc32c(&file[12..72]);
    file[8..12].copy_from_slice(&check.to_le_bytes());
}

/// A data directory in memory.
#[derive(Clone, Default)]
struct Directory(BTreeMap<String, Vec<u8>>);

impl DataFiles for Directory {
    fn list(&mut self, directory: &str) -> Result<Vec<String>, IoError> {
        let prefix = if directory.is_empty() { String::new() } else { format!("{directory}/") };
        let within = self.0.keys().filter_map(|path| path.strip_prefix(&prefix));
        let mut names: Vec<String> =
            within.filter_map(|rest| rest.split('/').next()).map(str::to_owned).collect();
        names.dedup();
        Ok(names)
    }

    fn length_bytes(&mut self, path: &str) -> Result<u64, IoError> {
        self.0.get(path).map(|file| file.len() as u64).ok_or(NOT_FOUND)
    }

    fn read(&mut self, path: &str, position: u64, buffer: &mut [u8]) -> Result<usize, IoError> {
        let file = self.0.get(path).ok_or(NOT_FOUND)?;
        let rest = file.get(usize::try_from(position).unwrap_or(usize::MAX)..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }
}

/// Carries out operations at once and gives their ends in the order of asking.
struct Machine<'a> {
    directory: &'a mut Directory,
    open: BTreeMap<FileId, String>,
    done: VecDeque<DiskCompletion>,
}

impl Machine<'_> {
    fn submit(&mut self, op: DiskOp) {
        let result = self.perform(op.action);
        self.done.push_back(DiskCompletion { token: op.token, result });
    }

    fn perform(&mut self, action: DiskAction) -> DiskResult {
        match action {
            DiskAction::Open { file, path, mode } => {
                if mode != OpenMode::Existing {
                    self.directory.0.insert(path.clone(), Vec::new());
                }
                let length = self.directory.length_bytes(&path);
                self.open.insert(file, path);
                DiskResult::Opened(length)
            }
            DiskAction::Read { file, position_bytes, target: Memory::Buffer(mut buffer) } => {
                let path = self.open[&file].clone();
                let read = self.directory.read(&path, position_bytes, &mut buffer);
                DiskResult::Read(Memory::Buffer(buffer), read)
            }
            DiskAction::Write { file, position_bytes, source: Memory::Buffer(buffer), .. } => {
                let content = self.directory.0.entry(self.open[&file].clone()).or_default();
                let (start, length) = (position_bytes as usize, buffer.len());
                content.resize(content.len().max(start + length), 0);
                content[start..start + length].copy_from_slice(&buffer);
                DiskResult::Written(Memory::Buffer(buffer), Ok(length))
            }
            DiskAction::Rename { from, to } => {
                let renamed = self.directory.0.remove(&from).ok_or(NOT_FOUND);
                let renamed = renamed.map(|file| drop(self.directory.0.insert(to, file)));
                DiskResult::Done(renamed)
            }
            DiskAction::List { path } => DiskResult::Listed(self.directory.list(&path)),
            DiskAction::Close { file } => {
                self.open.remove(&file);
                DiskResult::Done(Ok(()))
            }
            _ => DiskResult::Done(Ok(())),
        }
    }
}
