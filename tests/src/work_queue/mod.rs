//! Lines of files in, members of a group in share mode that work on them, and everything between
//! them killed at random.
//!
//! Each seat of the [crew](crate::crew) is a process that writes what it
//! is handed into a file and then gives its verdict; one of them is `plimsoll consume --share
//! --exec`. Whoever ended is started again. At the end each line was worked on at least once, none
//! came again after its verdict was answered, and the dead letters are those that were rejected.
//!
//! What a newcomer gets wrong: a record may come again until its verdict is *answered*.

mod books;
mod duty;
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
use self::duty::Work;
use crate::crew::{Crew, Seat};
use crate::{Place, Random};

const GROUP: &str = "workers";
const DEAD: &str = "lines-dead";
const LIBRARY_SEATS: usize = 3;
const SOURCES_KILLED_ONCE_IN: u64 = 3;
/// What a killed member had comes to others after this.
const LOCK: Duration = Duration::from_secs(2);
/// A crew whose seats are the members of a group in share mode.
#[derive(Debug)]
pub struct WorkQueue<'a> {
    crew: Crew<'a, Work>,
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
        random: Random,
    ) -> WorkQueue<'a> {
        let library = std::iter::repeat_n(Work::Library(member.to_vec()), LIBRARY_SEATS);
        let works = library.chain([Work::Command(program.to_owned())]).enumerate();
        let seat = |(number, work)| Seat::new(place, &format!("worker-{number}"), work);
        let crew = Crew::begin(place, program, lines, works.map(seat).collect(), random);
        let dead = NewTopic {
            name: DEAD,
            partitions: 2,
            durability: Some(AckLevel::Disk),
            ..NewTopic::default()
        };
        crew.client().create_topic(&dead).expect("the topic is created");
        WorkQueue { crew, tally: WorkQueueTally::default() }
    }

    /// What happened so far.
    #[must_use]
    pub fn tally(&self) -> WorkQueueTally {
        WorkQueueTally { toll: self.crew.toll(), ..self.tally }
    }

    /// The sources grow by so many lines together; after a moment some of those who are at it are
    /// killed, all at once.
    ///
    /// # Panics
    ///
    /// If the server does not come back.
    pub fn round(&mut self, lines: usize) {
        self.crew.grow(lines);
        self.crew.work(200_000);
        self.crew.kill_some(SOURCES_KILLED_ONCE_IN);
    }

    /// All lines come, and all that is left is worked off; then everything is compared.
    ///
    /// # Panics
    ///
    /// If a promise is broken.
    pub fn finish(&mut self) -> WorkQueueTally {
        let crew = &mut self.crew;
        let offsets = crew.send_all();
        let client = crew.client();
        let mut looked = Instant::now();
        crew.tend_until(|_| {
            let is_time = looked.elapsed() >= Duration::from_millis(100);
            if is_time {
                looked = Instant::now();
            }
            is_time && is_done(&client, &offsets)
        });
        let mut books = Books::default();
        let written = crew.end_seats(|seat| _ = seat.kill());
        written.iter().for_each(|output| books.read(output));
        let mut lines: BTreeMap<RecordPlace, &str> = BTreeMap::new();
        for (partition, (source, offsets)) in (0..).zip(crew.sources().iter().zip(&offsets)) {
            let places = offsets.iter().map(|offset| (partition, *offset));
            lines.extend(places.zip(source.lines().iter().map(String::as_str)));
        }
        self.tally.toll = crew.toll();
        books.compare(&lines, &dead_letters(&client), &mut self.tally);
        self.crew.stop();
        self.tally()
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
