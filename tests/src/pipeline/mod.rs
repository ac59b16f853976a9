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
mod source;
mod tally;

pub use tally::PipelineTally;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use plimsoll_client_blocking::{AckLevel, Client, ConsumerOptions, NewTopic};

use self::outputs::Outputs;
use self::seat::Seat;
use self::source::Source;
use crate::{Place, Random, Server, Start};

const TOPIC: &str = "lines";
const GROUP: &str = "writers";
const SOURCES: usize = 4;
const SEATS: usize = 3;

/// What is not over by then never is.
const PATIENCE: Duration = Duration::from_secs(180);

/// Members that were not killed lately write something by then, most of the time.
const AT_WORK_WITHIN: Duration = Duration::from_secs(4);

/// Sources, a server, and the seats of a group.
#[derive(Debug)]
pub struct Pipeline<'a> {
    place: &'a Place,
    program: PathBuf,
    random: Random,
    server: Option<Server>,
    address: String,
    sources: Vec<Source>,
    seats: Vec<Seat>,
    /// The committed offset of each partition, when it was looked at last.
    committed: BTreeMap<u32, u64>,
    start_ms: u64,
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
        let server = place.server().program(program).shards(2).start();
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
            place,
            program: program.to_owned(),
            random,
            address: server.address().to_owned(),
            start_ms: 100,
            server: Some(server),
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
        let offsets: Vec<Vec<u64>> = (0..SOURCES).map(|source| self.compare_log(source)).collect();
        let client = self.client();
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
        let status = self.server.take().map(Server::stop);
        assert!(
            status.is_some_and(|status| status.success()),
            "a clean stop ended with {status:?}"
        );
        &self.tally
    }

    fn written_bytes(&self) -> u64 {
        self.seats.iter().map(Seat::written_bytes).sum()
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("there is one but while it is started again")
    }

    fn client(&self) -> Client {
        self.server().client()
    }

    /// Starts whoever has ended, until it is so.
    fn tend_until(&mut self, mut is_so: impl FnMut(&mut Self) -> bool) {
        let begun = Instant::now();
        loop {
            for source in &mut self.sources {
                source.tend(&self.program, &self.address, &mut self.tally);
            }
            for seat in &mut self.seats {
                seat.tend(&self.program, &self.address, &mut self.tally);
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
        let client = self.client();
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
            self.kill_server();
        }
        self.tally.at_once += u64::from(self.tally.kills() - before > 1);
    }

    /// Kills it, sometimes more than once before it is ready again, and sometimes as a loss of
    /// power does it to memory.
    fn kill_server(&mut self) {
        self.tally.servers += 1;
        let loses_power = self.random.once_in(8);
        let old = self.server.take();
        if let Some(old) = &old
            && self.random.once_in(2)
        {
            // The next one begins on top of its last writes.
            old.kill_soon();
        } else {
            drop(old);
        }
        if loses_power {
            self.tally.power_losses += 1;
            self.place.remove_arenas();
        }
        if self.random.once_in(3) {
            for _ in 0..self.random.below(1..4) {
                let starting = self.start().spawn();
                let start_ms = self.random.below(0..self.start_ms * 5 / 4);
                std::thread::sleep(Duration::from_millis(start_ms));
                self.tally.recoveries += 1;
                starting.kill();
            }
        }
        let server = self.start().start();
        self.start_ms = (server.recovered().as_millis() as u64).clamp(20, 2_000);
        self.server = Some(server);
    }

    fn start(&mut self) -> Start<'a> {
        let shards = self.random.below(1..3) as usize;
        let start = self.place.server().program(&self.program).shards(shards);
        start.with(&["--listen", &self.address])
    }

    /// The offsets of a source's lines, each of which is in the log once and in its place.
    fn compare_log(&mut self, source: usize) -> Vec<u64> {
        let mut options = ConsumerOptions::default();
        options.partitions = Some(vec![source as u32]);
        let mut consumer = self.client().consumer(TOPIC, options).expect("the topic is there");
        let lines = self.sources[source].lines();
        let mut offsets = Vec::with_capacity(lines.len());
        while offsets.len() < lines.len() {
            let batch = consumer.next_batch(PATIENCE).expect("the log can be read");
            let batch = batch.unwrap_or_else(|| panic!("source {source} ends early"));
            for record in batch.records() {
                let record = record.expect("a record decodes");
                let (at, offset) = (offsets.len(), record.offset.value());
                let expected = lines.get(at).map(String::as_bytes);
                assert_eq!(record.value, expected, "line {at} of source {source}, at {offset}");
                offsets.push(offset);
            }
        }
        let more = consumer.next_batch(Duration::from_secs(1)).expect("the log can be read");
        assert!(more.is_none(), "source {source} has more in the log than lines");
        self.tally.lines += offsets.len() as u64;
        offsets
    }
}
