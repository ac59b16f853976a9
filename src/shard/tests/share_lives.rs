//! Random lives of a group in share mode on whole shards, with crashes: no record comes back that
//! was answered as accepted, none comes before its time or to two members at a time, and in the end
//! none is forgotten.

mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use plimsoll_device::SocketId;
use plimsoll_sim::Random;
use plimsoll_wire::{
    AcquiredRange, Assignor, CorrelationId, Durability, ErrorCode, JoinGroup, LeaveGroup, MemberId,
    Offset, PartitionIndex, RangeToSettle, ShareAcquire, ShareBegin, ShareSettings, ShareSettle,
    TopicId, TopicPartition, Verdict,
};
use world::World;
use world::client::{Answer, Member, batch, encoded};

const PARTITIONS: u32 = 3;
const LOCK_MS: u32 = 2_000;

type Record = (TopicPartition, u64);

/// A request with verdicts: the record of each, and what it was to be.
type Verdicts = Vec<(Option<Record>, Verdict)>;

struct Life {
    world: World,
    random: Random,
    shards: u16,
    members: Vec<(SocketId, MemberId)>,
    /// Every record that there is. All other offsets are holes.
    produced: BTreeSet<Record>,
    /// Who has a record to itself, and until when.
    held: BTreeMap<Record, (MemberId, u64)>,
    /// Runs without records that members are to settle.
    holes: Vec<(MemberId, RangeToSettle)>,
    /// What was sent when, and not answered yet.
    settling: BTreeMap<(SocketId, u32), (i64, Verdicts)>,
    /// Answered as accepted.
    accepted: BTreeSet<Record>,
    /// Acceptance was sent; what came of it nobody knows.
    unknown: BTreeSet<Record>,
    /// Answered as delayed, and until when.
    delayed: BTreeMap<Record, i64>,
    correlation: u32,
}

impl Life {
    fn new(seed: u64) -> Life {
        let shards = 1 + (seed % 3) as u16;
        let mut world = World::new(shards);
        let socket = world.hello(0);
        world.create(socket, "t", PARTITIONS);
        Life {
            world,
            random: Random::new(seed),
            shards,
            members: Vec::new(),
            produced: BTreeSet::new(),
            held: BTreeMap::new(),
            holes: Vec::new(),
            settling: BTreeMap::new(),
            accepted: BTreeSet::new(),
            unknown: BTreeSet::new(),
            delayed: BTreeMap::new(),
            correlation: 0,
        }
    }

    fn now_ms(&self) -> u64 {
        self.world.clock.now.monotonic.as_nanos() / 1_000_000
    }

    fn step(mut self) -> Life {
        match self.random.below(100) {
            0..12 => self.produce(),
            12..25 => self.join(),
            25..52 => self.acquire(),
            52..82 => self.settle(),
            82..90 => {
                let ms = self.random.below(1_500);
                self.world.advance(Duration::from_millis(ms));
            }
            90..93 => self.leave(),
            93..97 => {
                self.world.disks_stand_still = !self.world.disks_stand_still;
                self.world.run();
            }
            _ => self = self.restart(),
        }
        self.listen();
        self
    }

    fn any_shard(&mut self) -> SocketId {
        let shard = self.random.below(u64::from(self.shards)) as u16;
        self.world.hello(shard)
    }

    fn produce(&mut self) {
        let partition = self.random.below(u64::from(PARTITIONS)) as u32;
        let count = 1 + self.random.below(5) as u32;
        self.world.disks_stand_still = false;
        self.world.run();
        let socket = self.any_shard();
        self.world.bind(socket, 0, "t", partition);
        self.world.produce(socket, 1, Durability::Disk, None, &batch(count, b"x"));
        let [(_, _, _, base)] = self.world.acks(socket)[..] else { panic!("one ack") };
        let partition = TopicPartition { topic: TopicId(1), partition: PartitionIndex(partition) };
        self.produced.extend((0..u64::from(count)).map(|index| (partition, base + index)));
    }

    fn join(&mut self) {
        if self.members.len() >= 3 {
            return;
        }
        let socket = self.any_shard();
        let settings = ShareSettings {
            lock_ms: LOCK_MS,
            deliveries_max: u32::MAX,
            begin: ShareBegin::Beginning,
            dead_letter: "",
        };
        let join = JoinGroup {
            group: "g",
            member: MemberId::NONE,
            instance: "",
            client: "test",
            session_timeout_ms: 600_000,
            rebalance_timeout_ms: 0,
            assignor: Assignor::Sticky,
            topics: vec!["t"],
            owned: Vec::new(),
            share: Some(settings),
        };
        self.world.send(socket, &encoded(|out| join.encode(CorrelationId(0), out)));
        match &self.world.answers(socket)[..] {
            [(_, Answer::Member(Member { id, .. }))] => self.members.push((socket, *id)),
            // The log of offsets is being read.
            [(_, Answer::Error { code: ErrorCode::Overloaded, .. })] => {}
            other => panic!("{other:?}"),
        }
    }

    fn one_member(&mut self) -> Option<(SocketId, MemberId)> {
        let count = self.members.len() as u64;
        (count > 0).then(|| self.members[self.random.below(count) as usize])
    }

    fn acquire(&mut self) {
        let Some((socket, member)) = self.one_member() else { return };
        let few = 1 + self.random.below(8) as u32;
        let max_records = if self.random.chance(700) { few } else { 10_000 };
        let wait_ms = self.random.below(2_000) as u32;
        self.ask_for(socket, member, max_records, wait_ms);
    }

    fn ask_for(&mut self, socket: SocketId, member: MemberId, max_records: u32, wait_ms: u32) {
        let acquire = ShareAcquire { group: "g", member, max_records, wait_ms };
        self.world.send(socket, &encoded(|out| acquire.encode(CorrelationId(0), out)));
    }

    fn settle(&mut self) {
        let Some((socket, member)) = self.one_member() else { return };
        let mut wanted = Vec::new();
        let held = self.held.iter().filter(|(_, (holder, _))| *holder == member);
        for record in held.map(|(record, _)| *record).collect::<Vec<Record>>() {
            let verdict = match self.random.below(12) {
                0..6 => continue,
                6 => Verdict::Release { delay_ms: 0 },
                7 => Verdict::Release { delay_ms: 1 + self.random.below(3_000) },
                8 => Verdict::Renew,
                _ => Verdict::Accept,
            };
            wanted.push((record, verdict));
        }
        self.send_verdicts(socket, member, wanted);
    }

    /// Sends verdicts, and those on all holes that the member was given.
    fn send_verdicts(
        &mut self,
        socket: SocketId,
        member: MemberId,
        wanted: Vec<(Record, Verdict)>,
    ) {
        self.correlation += 1;
        let (mut ranges, mut verdicts) = (Vec::new(), Verdicts::new());
        for (record, verdict) in wanted {
            let first = Offset::new(record.1);
            ranges.push(RangeToSettle { partition: record.0, first, last: first, verdict });
            verdicts.push((Some(record), verdict));
            if verdict == Verdict::Renew {
                let until = self.now_ms() + u64::from(LOCK_MS);
                let hold = self.held.get_mut(&record).filter(|hold| hold.1 > until - 2_000);
                hold.into_iter().for_each(|hold| hold.1 = until);
            } else {
                self.held.remove(&record);
            }
            if verdict == Verdict::Accept {
                self.unknown.insert(record);
            }
        }
        let (own, others) = self.holes.drain(..).partition(|(holder, _)| *holder == member);
        self.holes = others;
        let own: Vec<(MemberId, RangeToSettle)> = own;
        for (_, range) in own {
            ranges.push(range);
            verdicts.push((None, Verdict::Gone));
        }
        let correlation = CorrelationId(self.correlation);
        let sent = (self.world.clock.now.unix_ms, verdicts);
        self.settling.insert((socket, self.correlation), sent);
        let settle = ShareSettle { group: "g", member, ranges };
        self.world.send(socket, &encoded(|out| settle.encode(correlation, out)));
    }

    fn leave(&mut self) {
        let Some((socket, member)) = self.one_member() else { return };
        self.members.retain(|(_, id)| *id != member);
        self.held.retain(|_, (holder, _)| *holder != member);
        let leave = LeaveGroup { group: "g", member };
        self.world.send(socket, &encoded(|out| leave.encode(CorrelationId(0), out)));
        self.world.take(socket);
    }

    /// The server is killed, and everything is gone that was not on disk.
    fn restart(mut self) -> Life {
        self.listen();
        self.members.clear();
        self.held.clear();
        self.holes.clear();
        self.settling.clear();
        self.world = self.world.restart();
        self
    }

    fn listen(&mut self) {
        for (socket, member) in self.members.clone() {
            for (correlation, answer) in self.world.answers(socket) {
                match answer {
                    Answer::Acquired(acquired) => {
                        acquired.ranges.iter().for_each(|range| self.take(member, range));
                    }
                    Answer::Settled(errors) => self.settled(socket, correlation, &errors),
                    Answer::Member(_) => {}
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    fn settled(&mut self, socket: SocketId, correlation: u32, errors: &[Option<ErrorCode>]) {
        let Some(verdicts) = self.settling.remove(&(socket, correlation)) else {
            panic!("answered once")
        };
        let (sent_unix_ms, verdicts) = verdicts;
        for ((record, verdict), error) in verdicts.into_iter().zip(errors) {
            let Some(record) = record.filter(|_| error.is_none()) else { continue };
            match verdict {
                Verdict::Accept => {
                    self.accepted.insert(record);
                }
                Verdict::Release { delay_ms } if delay_ms > 0 => {
                    self.delayed.insert(record, sent_unix_ms + delay_ms.cast_signed());
                }
                _ => {}
            }
        }
    }

    fn take(&mut self, member: MemberId, range: &AcquiredRange) {
        let (first, last) = (range.first.value(), range.last.value());
        let within = (range.partition, first)..=(range.partition, last);
        let records: Vec<Record> = self.produced.range(within).copied().collect();
        let (now_ms, unix_ms) = (self.now_ms(), self.world.clock.now.unix_ms);
        let mut next = first;
        for record in records {
            self.hole(member, range.partition, next, record.1);
            next = record.1 + 1;
            assert!(!self.accepted.contains(&record), "{record:?} was accepted, and comes back");
            let until = self.delayed.remove(&record).unwrap_or(i64::MIN);
            assert!(until <= unix_ms, "{record:?} comes early");
            let hold = (member, now_ms + u64::from(LOCK_MS));
            if let Some((other, until)) = self.held.insert(record, hold) {
                assert!(until <= now_ms, "{record:?} is {other}'s");
            }
        }
        // The member sees where the next record is. If there is none, it asks again.
        let behind = (range.partition, last + 1)..=(range.partition, u64::MAX);
        let end = self.produced.range(behind).next().map_or(last + 1, |record| record.1);
        if next <= last {
            self.hole(member, range.partition, next, end);
        }
    }

    fn hole(&mut self, member: MemberId, partition: TopicPartition, first: u64, end: u64) {
        if first < end {
            let (first, last) = (Offset::new(first), Offset::new(end - 1));
            let range = RangeToSettle { partition, first, last, verdict: Verdict::Gone };
            self.holes.push((member, range));
        }
    }

    /// Everything that is left is handed out and accepted, after one more crash.
    fn end(mut self) {
        self.world.disks_stand_still = false;
        self = self.restart();
        self.join();
        let (socket, member) = self.members[0];
        for _ in 0..200 {
            self.world.advance(Duration::from_millis(100));
            self.ask_for(socket, member, 10_000, 0);
            self.listen();
            let wanted = self.held.keys().map(|record| (*record, Verdict::Accept)).collect();
            self.send_verdicts(socket, member, wanted);
            self.listen();
        }
        let forgotten: Vec<&Record> = self
            .produced
            .iter()
            .filter(|record| !self.accepted.contains(record) && !self.unknown.contains(record))
            .collect();
        assert!(forgotten.is_empty(), "{forgotten:?}");
        let late = self.accepted.len();
        assert!(late * 2 > self.produced.len(), "{late} of {} are known", self.produced.len());
    }
}

#[test]
fn random_lives_with_crashes_hand_out_every_record_until_it_is_accepted_and_then_no_more() {
    let one = std::env::var("PLIMSOLL_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = one.map_or(0..9, |seed: u64| seed..seed + 1);
    for seed in seeds {
        println!("PLIMSOLL_SEED={seed} cargo test -p plimsoll-shard --test share_lives");
        let mut life = Life::new(seed);
        for _ in 0..200 {
            life = life.step();
        }
        life.end();
    }
}
