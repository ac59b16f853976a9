//! What shall happen in one run, as data: who takes part, and life after life what is done.
//!
//! A scenario is drawn from a seed (`draw.rs`) and made smaller by leaving parts out
//! (`shrink.rs`); the same scenario always runs the same way. What a newcomer gets wrong: the order
//! in which operations complete is not in here. It follows from `seed`, too.

mod compaction;
mod removal;
mod share;

use core::fmt;

use plimsoll_client::OnRemoved;
use plimsoll_sim::Survival;
use plimsoll_wire::{AckLevel, Assignor, Durability, TopicRetention, Visible};

pub use compaction::{CompactionAges, CompactionCut, CompactionPlan};
pub use removal::Part;
pub use share::{SharePlan, SharerPlan, Temper};

/// One run.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// From which all chance of the run is drawn.
    pub seed: u64,
    /// The server's, and the machine's.
    pub settings: Settings,
    /// What clients produce to and consume from.
    pub topics: Vec<TopicPlan>,
    /// Numbered first among the clients.
    pub producers: Vec<ProducerPlan>,
    /// Numbered behind the producers.
    pub consumers: Vec<ConsumerPlan>,
    /// Their members are numbered behind the consumers, group after group.
    pub groups: Vec<GroupPlan>,
    /// Groups in share mode; their members are numbered behind those of the others.
    pub shares: Vec<SharePlan>,
    /// One after the other; a last one without faults always follows.
    pub lives: Vec<Life>,
    /// Before the last one begins, a journal rots where that must be noticed.
    pub rots: bool,
}

/// Settings that hold for the whole run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Of each shard.
    pub arena_bytes: usize,
    /// Of each shard.
    pub journal_bytes: u64,
    /// Commits by durable writes, or by writes and flushes.
    pub durable_writes: bool,
    /// Room that segments are given holds what others hold: recycled blocks.
    pub stale_room: bool,
    /// Mail in a box between two shards, at most.
    pub mailbox_max: usize,
    /// Offsets of a partition that a group in share mode has under way, at most.
    pub share_window_max: u64,
    /// How likely each is to go on next.
    pub weights: Weights,
}

/// How likely each part of the world is to go on next, when it can.
#[derive(Clone, Copy, Debug)]
pub struct Weights {
    /// A shard that has had input.
    pub turn: u64,
    /// An operation on the disk.
    pub disk: u64,
    /// An operation on a socket.
    pub network: u64,
    /// A letter between shards.
    pub mail: u64,
    /// A client.
    pub client: u64,
}

/// A topic.
#[derive(Clone, Debug)]
pub struct TopicPlan {
    /// How many partitions.
    pub partitions: u32,
    /// The size of its segments.
    pub segment_bytes: u64,
    /// How soon what sits in the page cache is on disk.
    pub flush_interval_ms: u32,
    /// How long its records stay.
    pub retention: TopicRetention,
    /// Of each key the latest stays, if it is compacted.
    pub compaction: Option<CompactionPlan>,
}

/// A producer.
#[derive(Clone, Debug)]
pub struct ProducerPlan {
    /// Which topic.
    pub topic: usize,
    /// When a record counts as acked.
    pub durability: Durability,
    /// A second level to hear about.
    pub also: Option<AckLevel>,
    /// Batches in flight on a connection.
    pub in_flight_batches_max: u32,
    /// How long a batch waits for more records.
    pub linger_us: u32,
    /// Whether it sends again what may have been written.
    pub idempotent: bool,
    /// Groups in share mode get a part of its records so much later, at most.
    pub delay_ms: u32,
    /// Its batches are compressed: a topic that is compacted by then refuses them.
    pub compresses: bool,
}

/// A consumer of all partitions of a topic.
#[derive(Clone, Debug)]
pub struct ConsumerPlan {
    /// Which topic.
    pub topic: usize,
    /// Up to which level it sees.
    pub visible: Visible,
    /// How much may wait in it.
    pub credit_bytes: u32,
    /// It keeps what it is given for a while before it gives credit back.
    pub hoards: bool,
}

/// A consumer group.
#[derive(Clone, Debug)]
pub struct GroupPlan {
    /// Which topic it consumes.
    pub topic: usize,
    /// When its members commit.
    pub commits: Commits,
    /// How partitions are shared out.
    pub assignor: Assignor,
    /// When a member that says nothing is taken for dead.
    pub session_timeout_ms: u32,
    /// Where its members go on when the records that come next have gone.
    pub on_removed: OnRemoved,
    /// It wants only what comes from now on.
    pub begins_at_end: bool,
    /// Who is in it.
    pub members: Vec<MemberPlan>,
}

/// When the members of a group commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commits {
    /// So long after the work is done, at most.
    Manual {
        /// How long.
        delay_ms: u32,
    },
    /// By themselves.
    Auto {
        /// How often.
        interval_ms: u32,
    },
    /// Before the work is begun.
    Before,
}

/// A member of a group, and all that follow it in its place.
#[derive(Clone, Debug)]
pub struct MemberPlan {
    /// Whether it has an instance name.
    pub is_static: bool,
    /// Up to which level it sees.
    pub visible: Visible,
    /// How much may wait in it.
    pub credit_bytes: u32,
    /// It takes record by record, or batches.
    pub by_record: bool,
    /// How long it works on what it is handed, at most.
    pub work_us: u32,
    /// It waits for the answer to each of its commits.
    pub awaits: bool,
    /// The note beside its commits.
    pub note_bytes: usize,
}

/// The server from a start to its end.
#[derive(Clone, Debug)]
pub struct Life {
    /// How many shards this start has.
    pub shards: u16,
    /// What is done meanwhile, in order.
    pub acts: Vec<Act>,
    /// The end comes after this many steps, if it has not come before.
    pub cut_after: Option<u64>,
    /// The end comes when this many flushes have been asked for: what the last is to cover has
    /// been written, and is not safe.
    pub cut_at_flush: Option<u64>,
    /// As `cut_at_flush`, counted from when the server serves.
    pub cut_at_served_flush: Option<u64>,
    /// The end comes within the stores to an arena that follow so many appends.
    pub cut_at_append: Option<u64>,
    /// The end comes when this many files have been removed.
    pub cut_at_removal: Option<u64>,
    /// The end comes while segments are compacted.
    pub cut_at_compaction: Option<CompactionCut>,
    /// How it ends.
    pub end: End,
}

/// Something that is done.
#[derive(Clone, Copy, Debug)]
pub struct Act {
    /// How long after the one before.
    pub wait_us: u64,
    /// What.
    pub what: What,
}

/// What can be done.
#[derive(Clone, Copy, Debug)]
pub enum What {
    /// Nothing: time passes.
    Nothing,
    /// A producer appends records.
    Append {
        /// Its number.
        producer: usize,
        /// Where to.
        partition: u32,
        /// How many.
        records: u32,
        /// The size of each value.
        bytes: u32,
    },
    /// The connections of a client break.
    Cut {
        /// Its number.
        client: usize,
    },
    /// Nothing moves on a client's connections, and nobody is told, until they break.
    Silence {
        /// Its number.
        client: usize,
        /// For how long.
        ms: u32,
    },
    /// A client closes its connections: what it has sent still arrives.
    Leave {
        /// Its number.
        client: usize,
    },
    /// A client takes nothing from its connections.
    Slow {
        /// Its number.
        client: usize,
        /// For how long.
        ms: u32,
    },
    /// A client's process dies and is started again.
    Restart {
        /// Its number.
        client: usize,
    },
    /// Somebody connects and sends bytes that mean nothing.
    Stray {
        /// How many.
        bytes: u32,
    },
    /// The disk completes nothing.
    DiskPause {
        /// For how long.
        ms: u32,
    },
    /// What is written to the fronts of files, where the anchors of journals are, stays in flight.
    HoldFronts {
        /// For how long.
        ms: u32,
    },
    /// What is written to journals stays in flight; everything else goes on.
    HoldJournals {
        /// For how long.
        ms: u32,
    },
    /// The disk is filled until appends are refused for it, and then has room again: the same
    /// process must take them again.
    FillDisk {
        /// The number of the producer; it wants acks at `disk`.
        producer: usize,
    },
    /// The disk is full from now on, or has room again.
    DiskFull {
        /// Whether it is full.
        full: bool,
    },
    /// An operation of the disk fails.
    Fault {
        /// How.
        kind: DiskFault,
        /// Which one of its kind, from now on.
        nth: u64,
    },
    /// The operator gives a topic other settings.
    AlterTopic {
        /// Its number.
        topic: usize,
        /// How long its records stay.
        retention: TopicRetention,
        /// The size of segments that are begun from then on.
        segment_bytes: u64,
    },
    /// The operator has a topic compacted from now on, or not any more.
    AlterCleanup {
        /// Its number.
        topic: usize,
        /// Whether it is to be compacted.
        compacts: bool,
        /// What is old enough for that.
        ages: CompactionAges,
    },
    /// The operator has records deleted from the front of a partition.
    DeleteRecords {
        /// The topic's number.
        topic: usize,
        /// The partition.
        partition: u32,
        /// Up to which part of what anybody was told to be there.
        permille: u32,
    },
    /// The operator asks where the partitions of a topic begin and end.
    DescribeTopic {
        /// Its number.
        topic: usize,
    },
    /// The wall clock is set ahead, or back.
    SetClock {
        /// By how much.
        by_ms: i64,
    },
    /// The members of a group go, and come back after a while.
    Dismiss {
        /// The group's number.
        group: usize,
        /// For how long.
        ms: u32,
    },
    /// The operator resets the positions of a group.
    ResetGroup {
        /// Its number.
        group: usize,
        /// Where to.
        to: ResetTo,
        /// He only looks where that would be.
        is_dry: bool,
    },
    /// The operator deletes a group.
    DeleteGroup {
        /// Its number.
        group: usize,
    },
    /// The operator asks what a group has committed.
    DescribeGroup {
        /// Its number.
        group: usize,
    },
    /// The members of a group in share mode go, and come back after a while.
    DismissShare {
        /// The group's number.
        share: usize,
        /// For how long.
        ms: u32,
    },
    /// The operator resets where a group in share mode begins.
    ResetShare {
        /// Its number.
        share: usize,
        /// Which of its topics: counted on from the first again behind the last.
        nth: usize,
        /// Where to.
        to: ResetTo,
        /// He only looks where that would be.
        is_dry: bool,
    },
    /// The operator deletes a group in share mode.
    DeleteShare {
        /// Its number.
        share: usize,
    },
    /// The operator asks how far a group in share mode is.
    DescribeShare {
        /// Its number.
        share: usize,
    },
    /// The dead-letter topic of a group in share mode is deleted, with all that is in it, and
    /// created anew.
    DropDeadLetters {
        /// The group's number.
        share: usize,
        /// How long there is none.
        ms: u32,
    },
    /// A topic is created, written to, and deleted.
    Passing {
        /// How much is written: a record of so many bytes, some times.
        bytes: u32,
        /// How long it is there before it goes.
        lasts_ms: u32,
    },
}

/// Where a group is to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetTo {
    /// At the first record that is left.
    Beginning,
    /// Behind the last one.
    End,
    /// At an offset: this part of what anybody was told to be there.
    Permille(u32),
    /// At what was written so long ago, or later.
    MsAgo(i64),
}

/// How an operation of the disk fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFault {
    /// A write fails.
    Write,
    /// A write is short.
    ShortWrite,
    /// A read fails.
    Read,
    /// A read delivers a flipped bit.
    FlipRead,
    /// A flush fails.
    Sync,
    /// A flush fails, and what it should have covered is gone.
    SyncDrops,
    /// An open fails.
    Open,
    /// An allocation fails.
    Allocate,
    /// A change of names fails.
    Name,
    /// A write to a segment lands elsewhere.
    Misdirect,
}

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A clean stop.
    Stop,
    /// A clean stop, and then power fails.
    StopThenPower,
    /// The process dies; the kernel's memory is still there.
    Kill,
    /// The process dies, and the directory of the arenas with it.
    KillLosingArenas,
    /// Power fails.
    Power(Survival),
}

impl End {
    /// Whether the kernel's memory is lost.
    pub(crate) fn loses_memory(self) -> bool {
        matches!(self, Self::StopThenPower | Self::KillLosingArenas | Self::Power(_))
    }
}

impl Life {
    /// In which nothing happens, up to its end.
    pub fn calm(shards: u16, end: End) -> Self {
        Self {
            shards,
            acts: Vec::new(),
            cut_after: None,
            cut_at_flush: None,
            cut_at_served_flush: None,
            cut_at_append: None,
            cut_at_removal: None,
            cut_at_compaction: None,
            end,
        }
    }
}

impl Scenario {
    /// How many parts it has that could be left out.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.lives.iter().map(|life| 1 + life.acts.len()).sum::<usize>()
            + self.topics.iter().map(|topic| topic.partitions as usize).sum::<usize>()
            + self.producers.len()
            + self.consumers.len()
            + self.groups.iter().map(|group| group.members.len()).sum::<usize>()
            + self.shares.iter().map(|share| share.sharers.len()).sum::<usize>()
    }

    /// All members, each with the number of its group and its seat there.
    pub(crate) fn seats(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let groups = self.groups.iter().enumerate();
        groups.flat_map(|(group, plan)| (0..plan.members.len()).map(move |seat| (group, seat)))
    }

    /// As `seats`, of groups in share mode.
    pub(crate) fn sharers(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let shares = self.shares.iter().enumerate();
        shares.flat_map(|(share, plan)| (0..plan.sharers.len()).map(move |seat| (share, seat)))
    }

    /// Whether somebody sets the wall clock.
    pub(crate) fn sets_clock(&self) -> bool {
        self.has(|what| matches!(what, What::SetClock { .. }))
    }

    /// Whether it holds a fault after which stored bytes may be damaged for good.
    pub(crate) fn damages(&self) -> bool {
        self.has(|what| matches!(what, What::Fault { kind: DiskFault::Misdirect, .. }))
    }

    /// Whether it holds a fault after which stored bytes may look damaged.
    pub(crate) fn misreads(&self) -> bool {
        self.damages()
            || self.has(|what| matches!(what, What::Fault { kind: DiskFault::FlipRead, .. }))
    }

    /// Whether anything may go from the front of a partition.
    pub(crate) fn forgets(&self) -> bool {
        let keeps = |topic: &TopicPlan| topic.retention == TopicRetention::UNLIMITED;
        !self.topics.iter().all(keeps)
            || self.has(|it| matches!(it, What::AlterTopic { .. } | What::DeleteRecords { .. }))
    }

    /// Whether any act is such a one.
    pub(crate) fn has(&self, is_it: impl Fn(&What) -> bool) -> bool {
        self.lives.iter().any(|life| life.acts.iter().any(|act| is_it(&act.what)))
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {:?}", self.seed, self.settings)?;
        for (number, topic) in self.topics.iter().enumerate() {
            writeln!(f, "  topic {number}: {topic:?}")?;
        }
        for (number, producer) in self.producers.iter().enumerate() {
            writeln!(f, "  client {number}: {producer:?}")?;
        }
        for (number, consumer) in (self.producers.len()..).zip(&self.consumers) {
            writeln!(f, "  client {number}: {consumer:?}")?;
        }
        let members = self.producers.len() + self.consumers.len();
        for (number, (group, seat)) in (members..).zip(self.seats()) {
            let plan = &self.groups[group];
            let GroupPlan { topic, commits, assignor, session_timeout_ms, members, .. } = plan;
            write!(f, "  client {number}: of group {group} of topic {topic}, {commits:?}, ")?;
            let from = if plan.begins_at_end { "from the end, " } else { "" };
            write!(f, "{from}{:?}, ", plan.on_removed)?;
            writeln!(f, "{assignor:?}, {session_timeout_ms} ms: {:?}", members[seat])?;
        }
        let sharers = members + self.seats().count();
        for (number, (share, seat)) in (sharers..).zip(self.sharers()) {
            let plan = SharePlan { sharers: Vec::new(), ..self.shares[share].clone() };
            let sharer = &self.shares[share].sharers[seat];
            writeln!(f, "  client {number}: in share mode, {share}, {plan:?}: {sharer:?}")?;
        }
        for (number, life) in self.lives.iter().enumerate() {
            let Life { shards, acts, cut_after, cut_at_flush, cut_at_served_flush, .. } = life;
            write!(f, "  life {number}: {shards} shards, cut after {cut_after:?}, at flush ")?;
            write!(f, "{cut_at_flush:?} or, served, {cut_at_served_flush:?}, ")?;
            write!(f, "within append {:?}, at removal ", life.cut_at_append)?;
            write!(f, "{:?}, at {:?}, ", life.cut_at_removal, life.cut_at_compaction)?;
            writeln!(f, "{:?}", life.end)?;
            for Act { wait_us, what } in acts {
                writeln!(f, "    +{wait_us} us {what:?}")?;
            }
        }
        if self.rots {
            writeln!(f, "  a journal rots")?;
        }
        Ok(())
    }
}
