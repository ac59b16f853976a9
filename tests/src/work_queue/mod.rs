//! Lines of files in, members of a group in share mode that work on them, and everything between
//! them killed at random.
//!
//! Sources are those of the [pipeline](crate::Pipeline). Each seat is a process that writes what it
//! is handed into a file and then gives its verdict; one of them is `plimsoll consume --share
//! --exec`. Whoever ended is started again. At the end each line was worked on at least once, none
//! came again after its verdict was answered, and the dead letters are those that were rejected.
//!
//! What a newcomer gets wrong: a record may come again until its verdict is *answered*.

mod books;
mod seat;
mod tally;
mod worker;

pub use tally::WorkQueueTally;
pub use worker::work_until_killed;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use plimsoll_client_blocking::{
    AckLevel, Client, ConsumerOptions, DeadLetterHeader, NewTopic, Record,
};

use self::books::{Books, RecordPlace};
use self::seat::{Kind, Seat};
use crate::crew::{PATIENCE, Source, TOPIC};
use crate::mortal::Mortal;
use crate::{Place, Random};

const GROUP: &str = "workers";
const DEAD: &str = "lines-dead";
const SOURCES: usize = 4;
const LIBRARY_SEATS: usize = 3;
/// What a killed member had comes to others after this.
const LOCK: Duration = Duration::from_secs(2);
/// Members that were not killed lately write something by then, most of the time.
const AT_WORK_WITHIN: Duration = Duration::from_secs(4);

/// Sources, a server, and members of a group in share mode.
#[derive(Debug)]
pub struct WorkQueue<'a> {
    program: PathBuf,
    random: Random,
    server: Mortal<'a>,
    sources: Vec<Source>,
    seats: Vec<Seat>,
    tally: WorkQueueTally,
}

/// Whether a member rejects the record at this place, whoever it is.
fn is_rejected(partition: u32, offset: u64) -> bool {
    (offset + 31 * u64::from(partition)) % 97 == 13
}

impl<'a> WorkQueue<'a> {
    /// A server here, and all that is around it. The lines are shared out among the sources.
    /// `member` is the command of a program that calls [`work_until_killed`] with the two words
    /// behind it.
    ///
    /// # Panics
    ///
    /// If the server does not start.
    #[must_use]
    pub fn begin(
        place: &'a Place,
        program: &Path,
        member: &[PathBuf],
        lines: &[String],
        mut random: Random,
    ) -> WorkQueue<'a> {
        let server = Mortal::begin(place, program);
        let topic = |name, partitions| NewTopic {
            name,
            partitions,
            durability: Some(AckLevel::Disk),
            ..NewTopic::default()
        };
        let segment_bytes = random.one_of(&[1 << 20, 8 << 20]);
        let jobs = NewTopic { segment_bytes, ..topic(TOPIC, SOURCES as u32) };
        for topic in [jobs, topic(DEAD, 2)] {
            server.client().create_topic(&topic).expect("the topic is created");
        }
        let share = lines.len().div_ceil(SOURCES).max(1);
        let mut shares = lines.chunks(share);
        let source = |partition| {
            let lines = shares.next().unwrap_or_default();
            Source::new(place, partition, lines.to_vec())
        };
        let sources = (0..SOURCES as u32).map(source).collect();
        let library = std::iter::repeat_n(Kind::Library(member.to_vec()), LIBRARY_SEATS);
        let kinds = library.chain([Kind::Command(program.to_owned())]);
        let seats = kinds.enumerate().map(|(number, kind)| Seat::new(place, number, kind));
        WorkQueue {
            program: program.to_owned(),
            random,
            server,
            sources,
            seats: seats.collect(),
            tally: WorkQueueTally::default(),
        }
    }

    /// What happened so far.
    #[must_use]
    pub fn tally(&self) -> &WorkQueueTally {
        &self.tally
    }

    /// The sources grow by so many lines together; after a moment some of those who are at it are
    /// killed, all at once.
    ///
    /// # Panics
    ///
    /// If the server does not come back.
    pub fn round(&mut self, lines: usize) {
        self.tally.rounds += 1;
        for source in &mut self.sources {
            source.grow(lines.div_ceil(SOURCES));
        }
        if self.random.once_in(2) {
            // After a restart it takes a while until they are at work again.
            let (before, begun) = (self.written_bytes(), Instant::now());
            self.tend_until(|this| {
                this.written_bytes() > before || begun.elapsed() >= AT_WORK_WITHIN
            });
        }
        let load = Duration::from_micros(self.random.below(0..200_000));
        let begun = Instant::now();
        self.tend_until(|_| begun.elapsed() >= load);
        self.kill_some();
    }

    /// All lines come, and all that is left is worked off; then everything is compared.
    ///
    /// # Panics
    ///
    /// If a promise is broken.
    pub fn finish(&mut self) -> &WorkQueueTally {
        for source in &mut self.sources {
            source.grow(usize::MAX);
        }
        self.tend_until(|this| this.sources.iter().all(Source::is_sent));
        let client = self.server.client();
        let offsets: Vec<Vec<u64>> =
            self.sources.iter().map(|source| source.offsets_in_log(&client)).collect();
        let mut looked = Instant::now();
        self.tend_until(|_| {
            let is_time = looked.elapsed() >= Duration::from_millis(100);
            if is_time {
                looked = Instant::now();
            }
            is_time && is_done(&client, &offsets)
        });
        let mut books = Books::default();
        for seat in &mut self.seats {
            seat.kill();
            seat.outputs().iter().for_each(|output| books.read(output));
        }
        let mut lines: BTreeMap<RecordPlace, &str> = BTreeMap::new();
        for (partition, (source, offsets)) in (0..).zip(self.sources.iter().zip(&offsets)) {
            let places = offsets.iter().map(|offset| (partition, *offset));
            lines.extend(places.zip(source.lines().iter().map(String::as_str)));
        }
        books.compare(&lines, &dead_letters(&client), &mut self.tally);
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
                let failed = source.tend(&self.program, self.server.address());
                self.tally.producers_failed += failed;
            }
            for seat in &mut self.seats {
                self.tally.members_failed += seat.tend(self.server.address());
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

    fn kill_some(&mut self) {
        let before = self.tally.kills();
        let is_all = self.random.once_in(8);
        for seat in &mut self.seats {
            if is_all || self.random.once_in(4) {
                self.tally.members += u64::from(seat.kill());
            }
        }
        for source in &mut self.sources {
            if is_all || self.random.once_in(3) {
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

/// Whether every line has its verdict.
fn is_done(client: &Client, offsets: &[Vec<u64>]) -> bool {
    // Before its first member there is no group.
    let Ok(group) = client.describe_group(GROUP) else { return false };
    (0..).zip(offsets).all(|(partition, offsets)| {
        let of = group.share.iter().find(|of| of.partition.partition.0 == partition);
        let start = of.map_or(0, |of| of.start.value());
        offsets.last().is_none_or(|last| start > *last)
    })
}

/// Where each dead letter came from, and its value.
fn dead_letters(client: &Client) -> Vec<(RecordPlace, String)> {
    let mut consumer =
        client.consumer(DEAD, ConsumerOptions::default()).expect("the topic is there");
    let read = || consumer.next(Duration::from_secs(2)).expect("the dead letters can be read");
    let header = |record: &Record, header: DeadLetterHeader| {
        let found = record.headers().find(|it| it.name == header.name().as_bytes());
        let value = found.and_then(|found| std::str::from_utf8(found.value?).ok()?.parse().ok());
        value.unwrap_or_else(|| panic!("a dead letter has no {}", header.name()))
    };
    let letter = |record: Record| {
        let partition: u64 = header(&record, DeadLetterHeader::Partition);
        let place = (partition as u32, header(&record, DeadLetterHeader::Offset));
        (place, String::from_utf8_lossy(record.value().unwrap_or_default()).into_owned())
    };
    std::iter::from_fn(read).map(letter).collect()
}
