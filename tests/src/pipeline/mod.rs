//! Lines of files in, a consumer group out, and everything between them killed at random.
//!
//! Each source is a file that grows and goes into a partition of its own by `produce --resume`;
//! each seat of the group is a `consume --group` that writes what it gets into a file. Whoever
//! ended is started again with the same words, as a service manager does it; nothing else helps
//! them. At the end the log has each line of each source once and in order, and the seats together
//! have each at least once.
//!
//! What a newcomer gets wrong: a seed repeats the choices and not the moments.

mod outputs;
mod seat;
mod tally;

pub use tally::PipelineTally;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use plimsoll_client_blocking::{AckLevel, NewTopic};

use self::outputs::Outputs;
use self::seat::Seat;
use crate::crew::{PATIENCE, Source, TOPIC};
use crate::mortal::Mortal;
use crate::{Place, Random};

const GROUP: &str = "writers";
const SOURCES: usize = 4;
const SEATS: usize = 3;

/// Members that were not killed lately write something by then, most of the time.
const AT_WORK_WITHIN: Duration = Duration::from_secs(4);

/// Sources, a server, and the seats of a group.
#[derive(Debug)]
pub struct Pipeline<'a> {
    program: PathBuf,
    random: Random,
    server: Mortal<'a>,
    sources: Vec<Source>,
    seats: Vec<Seat>,
    /// The committed offset of each partition, when it was looked at last.
    committed: BTreeMap<u32, u64>,
    tally: PipelineTally,
}

impl<'a> Pipeline<'a> {
    /// A server here, and all that is around it. The lines are shared out among the sources.
    ///
    /// # Panics
    ///
    /// If the server does not start.
    #[must_use]
    pub fn begin(
        place: &'a Place,
        program: &Path,
        lines: &[String],
        mut random: Random,
    ) -> Pipeline<'a> {
        let server = Mortal::begin(place, program);
        let topic = NewTopic {
            name: TOPIC,
            partitions: SOURCES as u32,
            durability: Some(AckLevel::Disk),
            segment_bytes: random.one_of(&[1 << 20, 8 << 20]),
            ..NewTopic::default()
        };
        server.client().create_topic(&topic).expect("the topic is created");
        let share = lines.len().div_ceil(SOURCES).max(1);
        let mut shares = lines.chunks(share);
        let source = |partition| {
            let lines = shares.next().unwrap_or_default();
            Source::new(place, partition, lines.to_vec())
        };
        Pipeline {
            program: program.to_owned(),
            random,
            server,
            sources: (0..SOURCES as u32).map(source).collect(),
            seats: (0..SEATS).map(|number| Seat::new(place, number)).collect(),
            committed: BTreeMap::new(),
            tally: PipelineTally::default(),
        }
    }

    /// What happened so far.
    #[must_use]
    pub fn tally(&self) -> &PipelineTally {
        &self.tally
    }

    /// The sources grow by so many lines together; after a moment some of those who are at it are
    /// killed, all at once.
    ///
    /// # Panics
    ///
    /// If a position of the group went back, or the server does not come back.
    pub fn round(&mut self, lines: usize) {
        self.tally.rounds += 1;
        for source in &mut self.sources {
            source.grow(lines.div_ceil(SOURCES));
        }
        let waits_for_members = self.random.once_in(2);
        if waits_for_members {
            // After a restart it takes a while until they are at work again.
            let (before, begun) = (self.written_bytes(), Instant::now());
            self.tend_until(|this| {
                this.written_bytes() > before || begun.elapsed() >= AT_WORK_WITHIN
            });
        }
        let load_us_max = if waits_for_members { 10_000 } else { 100_000 };
        let load = Duration::from_micros(self.random.below(0..load_us_max));
        let begun = Instant::now();
        self.tend_until(|_| begun.elapsed() >= load);
        self.look_at_positions();
        self.kill_some();
    }

    /// All lines come, and all that is left is worked off; then everything is compared.
    ///
    /// # Panics
    ///
    /// If a line is missing, changed, out of order or twice in the log, or was written by nobody.
    pub fn finish(&mut self) -> &PipelineTally {
        for source in &mut self.sources {
            source.grow(usize::MAX);
        }
        self.tend_until(|this| this.sources.iter().all(Source::is_sent));
        let client = self.server.client();
        let offsets: Vec<Vec<u64>> =
            self.sources.iter().map(|source| source.offsets_in_log(&client)).collect();
        self.tally.lines = offsets.iter().map(|offsets| offsets.len() as u64).sum();
        let is_done = |(partition, offsets): (u32, &Vec<u64>), committed: &BTreeMap<u32, u64>| {
            offsets.last().is_none_or(|last| committed.get(&partition) > Some(last))
        };
        self.tend_until(|this| {
            this.look_at_positions();
            (0..).zip(&offsets).all(|of| is_done(of, &this.committed))
        });
        drop(client);
        let mut outputs = Outputs::new(&self.sources, &offsets);
        for seat in &mut self.seats {
            seat.stop();
            seat.outputs().iter().for_each(|output| outputs.read(output));
        }
        outputs.compare(&mut self.tally);
        self.server.stop();
        &self.tally
    }

    fn written_bytes(&self) -> u64 {
        self.seats.iter().map(Seat::written_bytes).sum()
    }

    /// Starts whoever has ended, until it is so.
    fn tend_until(&mut self, mut is_so: impl FnMut(&mut Self) -> bool) {
        let begun = Instant::now();
        loop {
            for source in &mut self.sources {
                self.tally.producers_failed += source.tend(&self.program, self.server.address());
            }
            for seat in &mut self.seats {
                seat.tend(&self.program, self.server.address(), &mut self.tally);
            }
            if is_so(self) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "nothing comes of it: {}", self.trouble());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// What those who are at it said last.
    fn trouble(&self) -> String {
        let sources = self.sources.iter().map(Source::trouble);
        let seats = self.seats.iter().map(Seat::trouble);
        sources.chain(seats).collect::<Vec<_>>().join("; ")
    }

    /// What the group has committed never goes back, and is never more than there is.
    fn look_at_positions(&mut self) {
        let client = self.server.client();
        // Before its first member there is none.
        let Ok(group) = client.describe_group(GROUP) else { return };
        let ends = client.describe(TOPIC).expect("the topic is described");
        for of in group.offsets {
            let (partition, offset) = (of.partition.partition.0, of.offset.value());
            let before = self.committed.insert(partition, offset).unwrap_or(0);
            assert!(offset >= before, "partition {partition} went back from {before} to {offset}");
            let end = ends[partition as usize].watermarks.disk.value();
            assert!(offset <= end, "partition {partition}: {offset} is committed, {end} the end");
        }
    }

    fn kill_some(&mut self) {
        let before = self.tally.kills();
        let is_all = self.random.once_in(8);
        for seat in &mut self.seats {
            if is_all || self.random.once_in(4) {
                self.tally.members += u64::from(seat.kill());
            }
        }
        for source in &mut self.sources {
            if is_all || self.random.once_in(2) {
                self.tally.producers += u64::from(source.kill());
            }
        }
        if is_all || self.tally.kills() == before || self.random.once_in(2) {
            let death = self.server.kill(&mut self.random);
            self.tally.servers += 1;
            self.tally.recoveries += death.recoveries;
            self.tally.power_losses += u64::from(death.lost_power);
        }
        self.tally.at_once += u64::from(self.tally.kills() - before > 1);
    }
}
