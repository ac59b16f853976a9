//! A journal that rots while nobody runs, where the server must notice.
//!
//! A bit is flipped in a frame that a later frame knows to be on disk. What a newcomer gets wrong:
//! above that mark a frame that does not check is a torn tail, and is cut in silence by design.

use plimsoll_sim::Random;
use plimsoll_storage::{Anchor, FRAME_HEADER_BYTES, FrameHeader, JOURNALS_DIRECTORY};

use super::World;

/// Where frames begin: behind the two anchors.
const FRAMES_AT: usize = 2 * BLOCK_BYTES;
const BLOCK_BYTES: usize = plimsoll_device::BLOCK_BYTES;

impl World<'_> {
    /// Lets a journal rot below its durable mark; false if none has anything there.
    pub(super) fn rot(&mut self) -> bool {
        let mut random = Random::new(self.scenario.seed).stream("rot");
        let journals = self.disk.files().into_iter().filter(|path| is_journal(path));
        for path in journals.collect::<Vec<_>>() {
            let Some(bytes) = self.disk.read_file(&path) else { continue };
            let frames = chain(&bytes);
            // One that rots cannot speak for itself, as the frames of a journal that grew would.
            let knows = |frame: &FrameHeader| frame.durable_through.0.min(frame.sequence.0 - 1);
            let knew = frames.iter().map(|(_, frame)| knows(frame)).max().unwrap_or(0);
            let sure: Vec<_> =
                frames.iter().filter(|(_, frame)| frame.sequence.0 <= knew).collect();
            if sure.is_empty() {
                continue;
            }
            let (at, frame) = sure[random.below(sure.len() as u64) as usize];
            let within = random.below((FRAME_HEADER_BYTES + frame.body_bytes) as u64);
            self.note(|| format!("{path}: frame {} rots at {within}", frame.sequence));
            self.disk.flip_bit(&path, *at as u64 + within, random.below(8) as u8);
            return true;
        }
        false
    }
}

fn is_journal(path: &str) -> bool {
    path.starts_with(JOURNALS_DIRECTORY) && path.ends_with(".journal")
}

/// The frames from the head on, each with its place in the file.
fn chain(bytes: &[u8]) -> Vec<(usize, FrameHeader)> {
    let copies = bytes.chunks(BLOCK_BYTES).take(2).filter_map(Anchor::decode);
    let Some(anchor) = copies.max_by_key(|anchor| anchor.generation) else { return Vec::new() };
    let area = bytes.len() - FRAMES_AT;
    let (mut sequence, mut check) = (anchor.head, anchor.previous_check);
    let mut position = anchor.head_position;
    let mut frames = Vec::new();
    loop {
        let within = position % area as u64;
        let front = position - within + area as u64;
        let next = [position, front].into_iter().find_map(|position| {
            let at = FRAMES_AT + (position % area as u64) as usize;
            let frame = FrameHeader::decode(&bytes[at..])?;
            let follows = frame.sequence == sequence
                && frame.previous_check == check
                && frame.position == position;
            (follows && frame.body(&bytes[at..]).is_some()).then_some((at, frame))
        });
        let Some((at, frame)) = next else { return frames };
        (sequence, check) = (frame.sequence.next(), frame.check);
        position = frame.position + frame.length_bytes as u64;
        frames.push((at, frame));
    }
}
