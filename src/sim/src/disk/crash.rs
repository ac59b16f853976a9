//! The two ways in which the machine stops.
//!
//! The disk stays usable: what is left of it is what the next start finds. What a newcomer gets
//! wrong: no completion follows for what was in flight, even if it took effect, and a kill loses
//! nothing that had completed.

use plimsoll_device::DiskAction;

use super::survival::{Fate, Fates};
use super::{Disk, Survival};
use crate::memory::heap_arena;

impl Disk {
    /// The process dies: what is in flight may or may not take effect, and is never reported.
    pub fn kill(&mut self) {
        // No read takes effect, so that no arena is needed.
        let mut no_arena = heap_arena(1);
        self.chosen = None;
        while !self.pending.is_empty() {
            let pending = self.pending.remove(self.order.index(self.pending.len()));
            let bytes = pending.written();
            match (&pending.op.action, &pending.inode) {
                (
                    DiskAction::Read { .. } | DiskAction::Close { .. } | DiskAction::List { .. },
                    _,
                ) => {}
                (DiskAction::Write { position_bytes, .. }, Some(inode)) => {
                    let fate = Fate::of_write_in_flight(&mut self.fates);
                    let extends = position_bytes + bytes.len() as u64
                        > self.file(*inode).visible().length_bytes();
                    if !(extends && self.faults.no_space) {
                        self.completed += 1;
                        let at = self.completed;
                        self.file(*inode).write_part(at, *position_bytes, bytes, &fate);
                    }
                }
                _ if self.fates.chance(500) => drop(self.perform(pending, &mut no_arena)),
                _ => {}
            }
        }
        self.open.clear();
        self.forget_unnamed();
        self.note_files();
    }

    /// All that is in flight takes effect, in the order of its submission, but for flushes; it is
    /// never reported, and no flush has covered it, also of writes that were to be durable. What a
    /// power loss leaves of it can then be chosen like the rest: see [`Self::unflushed`].
    pub fn land(&mut self) {
        let mut no_arena = heap_arena(1);
        self.chosen = None;
        for pending in core::mem::take(&mut self.pending) {
            match (&pending.op.action, &pending.inode) {
                (
                    DiskAction::Read { .. }
                    | DiskAction::Close { .. }
                    | DiskAction::List { .. }
                    | DiskAction::SyncData { .. }
                    | DiskAction::SyncDirectory { .. }
                    | DiskAction::SyncAll,
                    _,
                ) => {}
                (DiskAction::Write { position_bytes, .. }, Some(inode)) => {
                    self.completed += 1;
                    let (at, position_bytes) = (self.completed, *position_bytes);
                    self.file(*inode).write(at, position_bytes, pending.written(), false);
                }
                _ => drop(self.perform(pending, &mut no_arena)),
            }
        }
    }

    /// Power fails: as [`Self::kill`], and then any of what is not durable is lost.
    pub fn power_loss(&mut self) {
        self.power_loss_leaving(Survival::Random);
    }

    /// As [`Self::power_loss`], with a say in what survives of the changes without a flush. Unless
    /// that is left to chance, nothing that is in flight takes effect.
    pub fn power_loss_leaving(&mut self, survival: Survival) {
        match survival {
            Survival::Random | Survival::Newest => self.kill(),
            // So that the numbers are those of `unflushed`.
            _ => self.abandon(),
        }
        let mut fates = Fates::new(survival, self.unflushed_stamps(), &mut self.fates);
        for inode in self.inodes.values_mut() {
            inode.lose_power(|stamp| fates.of(stamp));
        }
        self.names.lose_power(|stamp| fates.of(stamp));
        self.forget_unnamed();
        self.note_files();
    }

    /// How many completed changes, of content or of names, a power loss may take now.
    pub fn unflushed(&self) -> usize {
        self.unflushed_stamps().len()
    }

    fn abandon(&mut self) {
        self.chosen = None;
        self.pending.clear();
        self.open.clear();
    }

    fn unflushed_stamps(&self) -> Vec<u64> {
        let contents = self.inodes.values().flat_map(super::Inode::unflushed);
        let mut stamps: Vec<u64> = contents.chain(self.names.unflushed()).collect();
        stamps.sort_unstable();
        stamps.dedup();
        stamps
    }

    fn note_files(&mut self) {
        for (path, inode) in self.names.files() {
            self.trace.note(path.as_bytes());
            if let Some(inode) = self.inodes.get(&inode) {
                inode.visible().note(&mut self.trace);
            }
        }
    }
}
