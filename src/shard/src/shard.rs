//! The shard: its inputs, its outputs, and the order of work within a turn.
//!
//! The files beside this one each hold one part of what a shard does, as `impl Shard`. None of them
//! calls into the machine: they change state and put down work, and `settle` carries the work out.

mod acks;
mod answers;
mod bind;
mod decoding;
mod deletion;
mod deliver;
mod dispatch;
mod forward;
mod gather;
mod groups;
mod hello;
mod identity;
mod marks;
mod metadata;
mod metadata_shortening;
mod notices;
mod offset_commits;
mod offset_log;
mod offsets;
mod produce;
mod reading;
mod share;
mod share_log;
mod sockets;
mod startup;
mod stop;
mod topics;
mod work;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use plimsoll_device::{Arena, Completion, Instant, Now, Op, SocketId, SocketOp};
use plimsoll_storage::{ReadId, Storage};
use plimsoll_wire::{Handle, ShardIndex};

use self::deletion::PendingDeletion;
use self::gather::Gather;
use self::marks::MarksBook;
use self::metadata::Metadata;
use self::notices::PendingRead;
pub(crate) use self::offset_commits::Ends;
use self::offset_commits::EndsCheck;
use self::offset_log::OffsetLogs;
use self::work::Work;
use crate::catalog::Catalog;
use crate::config::ShardConfig;
use crate::connection::{Connection, ConnectionId};
use crate::counters::{Counters, Standings};
use crate::groups::Groups;
use crate::mail::{Client, Letter, Mail};
use crate::partition::Partition;
use crate::peers::Peer;
use crate::readers::{Reader, ReaderId};
use crate::receive_memory::ReceiveMemory;
use crate::report::Report;
use crate::slab::Slab;
use crate::timers::Timers;

/// One shard of a server.
///
/// Hand in whatever there is with `handle`, `handle_mail` and `handle_timeout`; then take what
/// `poll_op`, `poll_mail` and `poll_report` give until they give nothing, and wait until the
/// instant of `poll_timeout` or the next completion or mail.
pub struct Shard {
    config: ShardConfig,
    storage: Storage,
    now: Now,
    phase: Phase,
    has_failed: bool,
    connections: Slab<Connection>,
    sockets: BTreeMap<SocketId, ConnectionId>,
    memory: ReceiveMemory,
    timers: Timers,
    readers: Slab<Reader>,
    /// Every reader, by whose it is.
    readers_of: BTreeSet<(Client, ReaderId)>,
    subscriptions: BTreeMap<(Client, Handle), ReaderId>,
    reads: BTreeMap<ReadId, PendingRead>,
    deletions: Vec<PendingDeletion>,
    /// By slot.
    partitions: Vec<Option<Partition>>,
    peers: BTreeMap<Client, Peer>,
    catalog: Catalog,
    /// On shard 0.
    metadata: Option<Metadata>,
    /// The groups that this shard keeps.
    groups: Groups,
    /// By partition of the offsets topic.
    offset_logs: OffsetLogs,
    /// Up to where partitions are on disk, for groups in share mode.
    marks: MarksBook,
    ends_checks: BTreeMap<u64, EndsCheck>,
    ends_checks_begun: u64,
    gathers: BTreeMap<u64, Gather>,
    gathers_begun: u64,
    producers_begun: u64,
    /// Bytes of batches on their way to other shards.
    forwarded_bytes: usize,
    /// Storage's memory that sends hold.
    lent_bytes: usize,
    counters: Counters,
    work: Work,
    ops: VecDeque<SocketOp>,
    outbox: VecDeque<(ShardIndex, Mail)>,
    reports: VecDeque<Report>,
    /// That the disk is full was reported, and not that it has room again.
    full_disk_is_told: bool,
    /// Heads of sends that ended, for use again.
    spare_heads: Vec<Vec<u8>>,
}

/// How far the shard is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The topics are not known yet, or not every shard has seeded.
    Starting,
    Serving,
    /// The storage is making everything durable.
    Stopping,
    /// Connections are being told and closed.
    Draining,
    Stopped,
}

impl Shard {
    /// A shard over storage that has recovered. Shard 0 begins to read the metadata topic, the
    /// others wait for its mail; [`Report::Serving`] says when clients may come.
    ///
    /// # Panics
    /// When the receive budget does not hold one frame, or the shard is not one of the `shards`.
    pub fn new(config: ShardConfig, mut storage: Storage, now: Now) -> Self {
        let limits = &config.limits;
        storage.set_producer_expiry(limits.producer_expiry);
        assert!(config.index.0 < config.shards, "a shard is one of the shards");
        assert!(
            limits.receive_bytes_max >= 2 * limits.frame_bytes_max,
            "the receive budget holds two of the largest frames"
        );
        let memory = ReceiveMemory::new(limits.receive_bytes_max);
        let mut shard = Self {
            config,
            storage,
            now,
            phase: Phase::Starting,
            has_failed: false,
            connections: Slab::new(),
            sockets: BTreeMap::new(),
            memory,
            timers: Timers::default(),
            readers: Slab::new(),
            readers_of: BTreeSet::new(),
            subscriptions: BTreeMap::new(),
            reads: BTreeMap::new(),
            deletions: Vec::new(),
            partitions: Vec::new(),
            peers: BTreeMap::new(),
            catalog: Catalog::default(),
            metadata: None,
            groups: Groups::default(),
            offset_logs: OffsetLogs::new(),
            marks: MarksBook::default(),
            ends_checks: BTreeMap::new(),
            ends_checks_begun: 0,
            gathers: BTreeMap::new(),
            gathers_begun: 0,
            producers_begun: 0,
            forwarded_bytes: 0,
            lent_bytes: 0,
            counters: Counters::default(),
            work: Work::default(),
            ops: VecDeque::new(),
            outbox: VecDeque::new(),
            reports: VecDeque::new(),
            full_disk_is_told: false,
            spare_heads: Vec::new(),
        };
        shard.begin();
        shard.work.is_due = true;
        shard
    }

    /// Takes in the end of an operation, or news from the network.
    pub fn handle(&mut self, completion: Completion<'_>, now: Now) {
        self.enter(now);
        match completion {
            Completion::Disk(completion) => self.storage.handle(completion, now),
            Completion::Socket(completion) => self.handle_socket(completion),
        }
    }

    /// Takes in mail from another shard.
    pub fn handle_mail(&mut self, from: ShardIndex, mail: Mail, now: Now) {
        self.enter(now);
        self.handle_letter(from, mail.0);
    }

    /// Takes in that time has passed. Call it at the instant of `poll_timeout`; any other time is
    /// fine, too.
    pub fn handle_timeout(&mut self, now: Now) {
        self.enter(now);
        if self.storage.poll_timeout().is_some_and(|at| at <= now.monotonic) {
            self.storage.handle_timeout(now);
        }
        self.expire_timers();
        self.expire_members();
        self.expire_shares();
    }

    /// The next operation for the machine.
    pub fn poll_op(&mut self) -> Option<Op> {
        loop {
            self.settle();
            if let Some(op) = self.storage.poll_op() {
                return Some(Op::Disk(op));
            }
            // Looking for work, storage may find that it has some news.
            if !self.take_notices() {
                return self.ops.pop_front().map(Op::Socket);
            }
            self.work.is_due = true;
        }
    }

    /// The next mail, and for whom it is. A server that cannot deliver stops taking; the shard then
    /// stops reading from the connections that cause more.
    pub fn poll_mail(&mut self) -> Option<(ShardIndex, Mail)> {
        self.settle();
        let mail = self.outbox.pop_front();
        if mail.is_some() && self.outbox.len() == self.config.limits.outbox_max / 2 {
            self.work.note_outbox_drained();
        }
        mail
    }

    /// The next news for the server.
    pub fn poll_report(&mut self) -> Option<Report> {
        self.settle();
        self.reports.pop_front()
    }

    /// When `handle_timeout` is wanted next, if no input comes before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let timeouts =
            [self.storage.poll_timeout(), self.timers.first(), self.groups.poll_timeout()];
        timeouts.into_iter().flatten().min()
    }

    /// Begins to take connections from the listener. For one shard of the server, once all of
    /// them have reported [`Report::Serving`].
    pub fn start_accepting(&mut self) {
        self.ops.push_back(SocketOp::Accept);
    }

    /// This shard.
    pub fn index(&self) -> ShardIndex {
        self.config.index
    }

    /// The counters of this shard, by name, as `stats` shows the sum over all shards.
    pub fn stats(&self) -> Vec<(&'static str, u64)> {
        let standings = Standings {
            connections: self.connections.len(),
            compaction_backlog: self.storage.compaction_backlog(),
            metadata_fresh_bytes: self.metadata.as_ref().map_or(0, |it| it.growth.fresh_bytes),
            share_locks: self.groups.share_locks(),
        };
        let counters = Counters { share: self.groups.share_tally(), ..self.counters };
        crate::counters::stats(&counters, &self.storage.counters(), &standings)
    }

    /// The shard's append memory, from which sends and disk writes are made, for a machine that has
    /// no mapping of its own.
    pub fn arena(&self) -> &Arena {
        self.storage.arena()
    }

    /// As [`Shard::arena`], for disk reads.
    pub fn arena_mut(&mut self) -> &mut Arena {
        self.storage.arena_mut()
    }

    fn enter(&mut self, now: Now) {
        self.now = now;
        self.work.is_due = true;
    }

    /// Carries out what the inputs since the last time have brought about. Ends, since every round
    /// either uses up bytes that were received or moves a reader on.
    fn settle(&mut self) {
        if !core::mem::take(&mut self.work.is_due) {
            return;
        }
        loop {
            let mut has_worked = self.take_notices();
            has_worked |= self.retry_waiting();
            has_worked |= self.resume_connections();
            has_worked |= self.look_at_touched();
            has_worked |= self.serve_active();
            if !has_worked {
                break;
            }
        }
        self.flush();
        self.continue_stop();
    }

    fn post(&mut self, to: ShardIndex, letter: Letter) {
        assert!(to != self.config.index, "no mail to oneself");
        self.outbox.push_back((to, Mail(letter)));
    }

    fn other_shards(&self) -> impl Iterator<Item = ShardIndex> + use<> {
        let own = self.config.index.0;
        (0..self.config.shards).filter(move |shard| *shard != own).map(ShardIndex)
    }

    fn client(&self, connection: ConnectionId) -> Client {
        Client { shard: self.config.index, connection }
    }

    fn is_local(&self, client: Client) -> bool {
        client.shard == self.config.index
    }

    fn connection(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections.at_mut(id.0)
    }
}
