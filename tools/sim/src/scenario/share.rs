//! A group in share mode, as data: what it consumes, what it allows, and how its members behave.
//!
//! What a newcomer gets wrong: the dead-letter topic is a topic of the scenario like the others, so
//! that it is created, described and read to its end as they are. No producer of the scenario
//! writes to it.

/// A group in share mode.
#[derive(Clone, Debug)]
pub struct SharePlan {
    /// Which topics it consumes.
    pub topics: Vec<usize>,
    /// Where dead records go; none: nowhere.
    pub dead_letters: Option<usize>,
    /// How long a member has a record to itself.
    pub lock_ms: u32,
    /// How often a record is handed out.
    pub deliveries_max: u32,
    /// When a member that says nothing is taken for dead.
    pub session_timeout_ms: u32,
    /// Who is in it.
    pub sharers: Vec<SharerPlan>,
}

/// A member of a group in share mode, and all that follow it in its place.
#[derive(Clone, Debug)]
pub struct SharerPlan {
    /// How many records it holds at a time.
    pub records_max: u32,
    /// How many of them it works on.
    pub hands: usize,
    /// How long it works on one, at most.
    pub work_us: u32,
    /// What it says of them.
    pub temper: Temper,
    /// What a member that died, and was forgotten, has sent arrives all the same now and then.
    pub haunts: bool,
}

/// How many of 1,000 records have which verdict; the others are accepted.
#[derive(Clone, Copy, Debug)]
pub struct Temper {
    /// Released at once.
    pub releases: u64,
    /// Released, and not to be handed out for a while.
    pub delays: u64,
    /// Rejected.
    pub rejects: u64,
    /// Kept for longer than may be.
    pub hangs: u64,
    /// The member stands still for longer than a lock lasts.
    pub sleeps: u64,
}
