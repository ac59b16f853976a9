//! What runs have met: a checker that nothing ever comes to is no checker.
//!
//! Counted where clients hear of it. What a newcomer gets wrong: these are not what was drawn. A
//! reset that is drawn finds no group, or one with members, or a server that dies.

/// Something that a run may meet, and that a campaign is to have met often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    /// Somebody was shown a start that was not known.
    StartMoved,
    /// A record went by itself.
    Retained,
    /// Other settings of a topic were answered.
    Altered,
    /// The wall clock leapt.
    ClockLeapt,
    /// A group was told that records have gone which it has not consumed.
    Missed,
    /// A reset was answered.
    Reset,
    /// A reset or a deletion was refused, because the group had members.
    ResetRefused,
    /// The deletion of a group was answered.
    GroupDeleted,
    /// Members of a group committed.
    Committed,
    /// A time was looked for.
    TimeSought,
    /// A record was gone, because a later one of its key is there.
    Compacted,
    /// The deletion of a key was gone, and everything that the key had.
    DeletionGone,
    /// A topic was altered to be compacted, or not to be.
    CleanupAltered,
    /// A record of a compressed batch is there in a topic that is compacted.
    CompressedStays,
    /// An end fell between the beginning of a compacted file and the removal of what it replaces.
    CutInCompaction,
    /// A group in share mode has an accepted record.
    Accepted,
    /// A lock ended by itself, and somebody else got the record.
    LockEnded,
    /// A verdict was refused, because its member had the record no more.
    VerdictRefused,
    /// A record was found in a dead-letter topic.
    DeadLettered,
    /// A dead-letter topic was deleted, and created anew.
    DeadLettersGone,
    /// A record was handed out that was not to be before a time.
    Delayed,
    /// The server ended while a group in share mode had records under way.
    ShareCrashed,
    /// A reset of a group in share mode was answered.
    ShareReset,
    /// It was refused, or a deletion, because the group had members or was not there.
    ShareResetRefused,
    /// The deletion of a group in share mode was answered.
    ShareDeleted,
    /// A reset or deletion of a group in share mode was never answered.
    ShareResetOpen,
    /// The wall clock was set in a run with a group in share mode.
    ShareClockSet,
    /// A member asked to have it committed that its group begins at the end.
    BegunAtEnd,
}

impl Met {
    /// All of them, with a word for each.
    pub const ALL: [(Met, &str); 28] = [
        (Met::StartMoved, "starts moved"),
        (Met::Retained, "by themselves"),
        (Met::Altered, "topics altered"),
        (Met::ClockLeapt, "clock leaps"),
        (Met::Missed, "groups that missed records"),
        (Met::Reset, "resets"),
        (Met::ResetRefused, "resets refused"),
        (Met::GroupDeleted, "groups deleted"),
        (Met::Committed, "commits of groups"),
        (Met::TimeSought, "times sought"),
        (Met::Compacted, "topics compacted"),
        (Met::DeletionGone, "deletions gone"),
        (Met::CleanupAltered, "turned to be compacted or not"),
        (Met::CompressedStays, "compressed batches met by compaction"),
        (Met::CutInCompaction, "ends within compactions"),
        (Met::Accepted, "records accepted in share mode"),
        (Met::LockEnded, "locks ended"),
        (Met::VerdictRefused, "late verdicts"),
        (Met::DeadLettered, "dead letters"),
        (Met::DeadLettersGone, "dead-letter topics renewed"),
        (Met::Delayed, "delayed records"),
        (Met::ShareCrashed, "ends of the server with records under way"),
        (Met::ShareReset, "resets in share mode"),
        (Met::ShareResetRefused, "these refused"),
        (Met::ShareDeleted, "deletions in share mode"),
        (Met::ShareResetOpen, "resets in share mode without an answer"),
        (Met::ShareClockSet, "clocks set in share mode"),
        (Met::BegunAtEnd, "beginnings at the end"),
    ];
}

/// How often each was met.
pub type Meetings = [u64; Met::ALL.len()];
