//! A disk with a cache that only a flush empties, and that can be cut off at any instant.
//!
//! Two images: what a reader sees, and what is durable. A write goes into the first and into the
//! cache; a flush moves to the second whatever was *complete* when the flush came. What a newcomer
//! gets wrong: a write that is still on its way when a flush comes is not covered by it, although
//! its bytes can be read already.

use std::sync::{Mutex, MutexGuard, PoisonError};

use plimsoll_tests::Random;

use crate::fault::{Broken, Faults};
use crate::image::Image;
use crate::loss::{Fate, Loss, SECTOR_BYTES};

/// Whether a disk keeps its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Temper {
    /// A flush makes durable what was complete.
    Honest,
    /// A flush is acknowledged and does nothing.
    LiesAboutFlushes,
}

/// It does nothing more: power, wire or platter are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failed;

/// Names a write between its beginning and its completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WriteId(u64);

/// What a disk has done since it was switched on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) writes: u64,
    pub(crate) flushes: u64,
    /// Writes, reads and flushes that were made to fail.
    pub(crate) failed: u64,
}

/// What a cut did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) kept: u64,
    pub(crate) lost: u64,
    pub(crate) torn: u64,
}

pub(crate) struct Disk {
    temper: Temper,
    bytes: u64,
    /// The largest piece that the file system believes to be written whole.
    block_bytes: usize,
    state: Mutex<State>,
}

struct State {
    seen: Image,
    durable: Image,
    /// What no flush has covered, in order of arrival.
    cached: Vec<Write>,
    next_id: u64,
    is_dead: bool,
    faults: Faults,
    counts: Counts,
}

struct Write {
    id: WriteId,
    position: u64,
    bytes: Box<[u8]>,
    is_complete: bool,
}

impl Disk {
    /// Switched on, with this on it. Blocks are not torn, but for those of journal frames.
    pub(crate) fn new(image: Image, temper: Temper, block_bytes: usize) -> Disk {
        let bytes = image.bytes();
        let state = State {
            seen: image.clone(),
            durable: image,
            cached: Vec::new(),
            next_id: 0,
            is_dead: false,
            faults: Faults::default(),
            counts: Counts::default(),
        };
        Disk { temper, bytes, block_bytes, state: Mutex::new(state) }
    }

    /// Its size.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads `bytes` from `position` on.
    pub(crate) fn read(&self, position: u64, bytes: usize) -> Result<Vec<u8>, Failed> {
        let mut state = self.state();
        if state.is_dead || !self.has(position, bytes) || state.faults.read_fails() {
            state.counts.failed += 1;
            return Err(Failed);
        }
        let mut read = vec![0; bytes];
        state.seen.read(position, &mut read);
        Ok(read)
    }

    /// Takes a write. It counts as done with [`complete_write`](Disk::complete_write) only.
    pub(crate) fn begin_write(&self, position: u64, bytes: &[u8]) -> Result<WriteId, Failed> {
        let mut state = self.state();
        if state.is_dead || !self.has(position, bytes.len()) || state.faults.write_fails(bytes) {
            state.counts.failed += 1;
            return Err(Failed);
        }
        let id = WriteId(state.next_id);
        state.next_id += 1;
        state.counts.writes += 1;
        state.seen.write(position, bytes);
        state.cached.push(Write { id, position, bytes: bytes.into(), is_complete: false });
        Ok(id)
    }

    /// From now on a flush covers it.
    pub(crate) fn complete_write(&self, id: WriteId) -> Result<(), Failed> {
        let mut state = self.state();
        if state.is_dead {
            return Err(Failed);
        }
        if let Some(write) = state.cached.iter_mut().find(|write| write.id == id) {
            write.is_complete = true;
        }
        Ok(())
    }

    /// Makes everything durable that is complete, if it is an honest disk.
    pub(crate) fn flush(&self) -> Result<(), Failed> {
        let mut state = self.state();
        if state.is_dead {
            return Err(Failed);
        }
        if let Some(broken) = state.faults.flush_fails() {
            state.counts.failed += 1;
            if broken == Broken::AndForgets {
                state.forget();
            }
            return Err(Failed);
        }
        state.counts.flushes += 1;
        if self.temper == Temper::Honest {
            state.write_back();
        }
        Ok(())
    }

    /// Cuts the power: everything fails from now on. What is left, and what became of the cache.
    pub(crate) fn cut(&self, loss: Loss, random: &mut Random) -> (Image, Cut) {
        let mut state = self.state();
        state.is_dead = true;
        let mut image = state.durable.clone();
        let lengths: Vec<usize> = state.cached.iter().map(|write| write.bytes.len()).collect();
        let mut cut = Cut::default();
        for (write, fate) in state.cached.iter().zip(loss.fates(&lengths, random)) {
            match fate {
                Fate::Kept => {
                    cut.kept += 1;
                    image.write(write.position, &write.bytes);
                }
                Fate::Lost => cut.lost += 1,
                Fate::Torn(sectors) => {
                    cut.torn += 1;
                    self.keep_torn(write, &sectors, &mut image);
                }
            }
        }
        (image, cut)
    }

    fn keep_torn(&self, write: &Write, sectors: &[bool], image: &mut Image) {
        let is_frame = Faults::is_frame(&write.bytes);
        let whole_bytes = if is_frame { SECTOR_BYTES } else { self.block_bytes } as u64;
        let mut last = None;
        for (index, piece) in write.bytes.chunks(SECTOR_BYTES).enumerate() {
            let position = write.position + (index * SECTOR_BYTES) as u64;
            // Its first sector decides for a whole block.
            let is_kept = match last {
                Some((block, is_kept)) if block == position / whole_bytes => is_kept,
                _ => sectors[index],
            };
            last = Some((position / whole_bytes, is_kept));
            if is_kept {
                image.write(position, piece);
            }
        }
    }

    /// It was switched off for good: lets go of its bytes, since it stays on the shelf.
    pub(crate) fn scrap(&self) {
        let mut state = self.state();
        state.is_dead = true;
        (state.seen, state.durable) = (Image::new(0), Image::new(0));
        state.cached = Vec::new();
    }

    /// What a reader sees now.
    pub(crate) fn image(&self) -> Image {
        self.state().seen.clone()
    }

    /// How many writes no flush has covered.
    pub(crate) fn cached(&self) -> usize {
        self.state().cached.len()
    }

    /// What it has done.
    pub(crate) fn counts(&self) -> Counts {
        self.state().counts
    }

    /// From now on it fails like this.
    pub(crate) fn fail(&self, faults: Faults) {
        self.state().faults = faults;
    }

    fn has(&self, position: u64, bytes: usize) -> bool {
        position.checked_add(bytes as u64).is_some_and(|end| end <= self.bytes)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn write_back(&mut self) {
        let State { cached, durable, .. } = self;
        cached.retain(|write| {
            if write.is_complete {
                durable.write(write.position, &write.bytes);
            }
            !write.is_complete
        });
    }

    /// Loses the journal frames that are in the cache, so that readers see what was there before.
    /// The file system's own writes stay: whether it survives that is not the question here.
    fn forget(&mut self) {
        self.cached.retain(|write| !Faults::is_frame(&write.bytes));
        self.seen = self.durable.clone();
        for write in &self.cached {
            self.seen.write(write.position, &write.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(temper: Temper) -> Disk {
        Disk::new(Image::new(1 << 20), temper, SECTOR_BYTES)
    }

    fn write(disk: &Disk, position: u64, byte: u8) {
        let id = disk.begin_write(position, &[byte; 4096]).unwrap();
        disk.complete_write(id).unwrap();
    }

    /// The byte there after a cut that loses what it can.
    fn left(disk: &Disk, position: u64) -> u8 {
        let (image, _) = disk.cut(Loss::Everything, &mut Random::new(1));
        let mut read = [0];
        image.read(position, &mut read);
        read[0]
    }

    #[test]
    fn what_was_flushed_survives_and_what_was_not_does_not() {
        let disk = disk(Temper::Honest);
        write(&disk, 0, 1);
        disk.flush().unwrap();
        write(&disk, 0, 2);
        assert_eq!(disk.read(0, 1).unwrap(), [2]);
        assert_eq!(left(&disk, 0), 1);
    }

    #[test]
    fn a_flush_does_not_cover_a_write_that_is_on_its_way() {
        let disk = disk(Temper::Honest);
        let id = disk.begin_write(0, &[1; 512]).unwrap();
        disk.flush().unwrap();
        disk.complete_write(id).unwrap();
        assert_eq!(left(&disk, 0), 0);
    }

    #[test]
    fn a_liar_loses_what_it_said_was_flushed() {
        let disk = disk(Temper::LiesAboutFlushes);
        write(&disk, 0, 1);
        disk.flush().unwrap();
        assert_eq!(left(&disk, 0), 0);
    }

    #[test]
    fn a_torn_write_is_kept_in_whole_sectors() {
        let disk = disk(Temper::Honest);
        write(&disk, 0, 1);
        let (image, cut) = disk.cut(Loss::Torn(2), &mut Random::new(3));
        let mut read = [0; 4096];
        image.read(0, &mut read);
        let sectors: Vec<bool> = read.chunks(SECTOR_BYTES).map(|sector| sector[0] == 1).collect();
        for (sector, is_kept) in read.chunks(SECTOR_BYTES).zip(&sectors) {
            assert!(sector.iter().all(|byte| *byte == u8::from(*is_kept)));
        }
        assert!(sectors.contains(&true) && sectors.contains(&false), "{sectors:?}");
        assert_eq!(cut, Cut { torn: 1, ..Cut::default() });
    }

    #[test]
    fn blocks_that_a_file_system_wants_whole_are_whole_and_frames_are_torn() {
        for (magic, tears) in [(*b"XDB3", false), (*b"PLJF", true)] {
            let disk = Disk::new(Image::new(1 << 20), Temper::Honest, 4096);
            let mut bytes = [1; 8192];
            bytes[..4].copy_from_slice(&magic);
            let id = disk.begin_write(4096, &bytes).unwrap();
            disk.complete_write(id).unwrap();
            let (image, _) = disk.cut(Loss::Torn(2), &mut Random::new(3));
            let mut read = [0; 8192];
            image.read(4096, &mut read);
            let sectors: Vec<bool> = read.chunks(512).map(|sector| sector[511] == 1).collect();
            let is_torn = |block: &[bool]| block.contains(&true) && block.contains(&false);
            assert_eq!(sectors.chunks(8).any(is_torn), tears, "{sectors:?}");
        }
    }

    #[test]
    fn nothing_works_after_a_cut() {
        let disk = disk(Temper::Honest);
        let id = disk.begin_write(0, &[1; 512]).unwrap();
        disk.cut(Loss::Nothing, &mut Random::new(1));
        assert_eq!(disk.complete_write(id), Err(Failed));
        assert_eq!(disk.flush(), Err(Failed));
        assert_eq!(disk.read(0, 512), Err(Failed));
        assert_eq!(disk.begin_write(0, &[2; 512]), Err(Failed));
    }

    #[test]
    fn a_scrapped_disk_holds_no_bytes_and_does_nothing() {
        let disk = disk(Temper::Honest);
        write(&disk, 0, 1);
        let image = disk.image();
        disk.scrap();
        assert_eq!((disk.image().bytes(), disk.cached()), (0, 0));
        assert_eq!((disk.read(0, 1), disk.flush()), (Err(Failed), Err(Failed)));
        let mut read = [0];
        image.read(0, &mut read);
        assert_eq!(read, [1]);
    }

    #[test]
    fn a_failed_flush_forgets_frames_and_the_next_flush_succeeds_without_them() {
        let disk = disk(Temper::Honest);
        let mut frame = [7; 4096];
        frame[..4].copy_from_slice(b"PLJF");
        let id = disk.begin_write(0, &frame).unwrap();
        disk.complete_write(id).unwrap();
        write(&disk, 4096, 1);
        disk.fail(Faults::flush_once());
        assert_eq!(disk.flush(), Err(Failed));
        assert_eq!(disk.flush(), Ok(()));
        assert_eq!(disk.read(0, 1).unwrap(), [0]);
        assert_eq!(left(&disk, 4096), 1);
    }
}
