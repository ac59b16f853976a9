//! Failures on request, and the counts by which they are placed.
//!
//! It counts and names faults; `perform.rs` lets them happen. What a newcomer gets wrong: the
//! numbers are of operations in the order in which they were submitted, not in which they complete.

use plimsoll_device::DiskAction;

/// What shall go wrong. An `_nth` counts submitted operations of its kind over the life of the
/// disk, from 1 on (see [`Counts`]); it strikes once. Fields may be changed at any time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// This write fails; any part of it may have reached the medium.
    pub fail_write_nth: Option<u64>,
    /// This write writes and reports fewer bytes than asked, at least one sector.
    pub short_write_nth: Option<u64>,
    /// This read fails.
    pub fail_read_nth: Option<u64>,
    /// This read delivers one flipped bit; the medium is as it was.
    pub flip_read_nth: Option<u64>,
    /// This flush (`SyncData`, `SyncAll` or `SyncDirectory`) fails and makes nothing durable.
    pub fail_sync_nth: Option<u64>,
    /// This `Open` fails.
    pub fail_open_nth: Option<u64>,
    /// This `Allocate` fails.
    pub fail_allocate_nth: Option<u64>,
    /// This change of names (`CreateDirectory`, `Rename`, `Remove`, `RemoveDirectory`) fails.
    pub fail_name_nth: Option<u64>,
    /// The writes that a failed flush should have covered are gone from the device, and a later
    /// flush succeeds without them.
    pub flush_drops_on_failure: bool,
    /// The next write to a file whose path ends like this lands at another place of the same file,
    /// and is reported as if it had not; it strikes once.
    pub misdirect_write_to: Option<&'static str>,
    /// Room that a file is given holds what another file holds at the same place, until it is
    /// written: blocks that were recycled.
    pub stale_room: bool,
    /// Writes that are submitted now into the first so many bytes of a file stay in flight until
    /// [`Disk::release`](crate::Disk::release).
    pub hold_writes_below: u64,
    /// So do those that are submitted now to a file whose path ends like this.
    pub hold_writes_to: Option<&'static str>,
    /// The device is full: what needs new room fails with `NoSpace`. That is an `Allocate`, a new
    /// file or directory, and a write past the end of a file.
    pub no_space: bool,
}

/// How many operations of each kind were submitted so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// `Write`.
    pub writes: u64,
    /// `Read`.
    pub reads: u64,
    /// `SyncData`, `SyncAll` and `SyncDirectory`.
    pub syncs: u64,
    /// `Open`.
    pub opens: u64,
    /// `Allocate`.
    pub allocates: u64,
    /// `CreateDirectory`, `Rename`, `Remove` and `RemoveDirectory`.
    pub names: u64,
    /// Files that were removed: not asked for, done.
    pub removed: u64,
    /// `Close` and `List`.
    pub others: u64,
}

/// What will go wrong with one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Fail,
    Short,
    Flip,
}

impl Counts {
    /// Counts `action`, and says what `faults` has in store for it.
    pub(super) fn count(&mut self, action: &DiskAction, faults: &Faults) -> Option<Fault> {
        let (count, fail_nth, other) = match action {
            DiskAction::Write { .. } => (
                &mut self.writes,
                faults.fail_write_nth,
                Some((faults.short_write_nth, Fault::Short)),
            ),
            DiskAction::Read { .. } => {
                (&mut self.reads, faults.fail_read_nth, Some((faults.flip_read_nth, Fault::Flip)))
            }
            DiskAction::SyncData { .. }
            | DiskAction::SyncAll
            | DiskAction::SyncDirectory { .. } => (&mut self.syncs, faults.fail_sync_nth, None),
            DiskAction::Open { .. } => (&mut self.opens, faults.fail_open_nth, None),
            DiskAction::Allocate { .. } => (&mut self.allocates, faults.fail_allocate_nth, None),
            DiskAction::CreateDirectory { .. }
            | DiskAction::Rename { .. }
            | DiskAction::Remove { .. }
            | DiskAction::RemoveDirectory { .. } => (&mut self.names, faults.fail_name_nth, None),
            DiskAction::Close { .. } | DiskAction::List { .. } => (&mut self.others, None, None),
        };
        *count += 1;
        match other {
            _ if fail_nth == Some(*count) => Some(Fault::Fail),
            Some((nth, fault)) if nth == Some(*count) => Some(fault),
            _ => None,
        }
    }
}
