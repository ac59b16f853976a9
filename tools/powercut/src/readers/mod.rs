//! Members of an ordinary consumer group that commit what they have read until the power is cut.
//!
//! What they were handed, what they asked to commit and what of that was answered is written down
//! here, outside of the server. After a cut each committed offset is one that was asked for, and
//! not before one that was answered; who comes then begins there, and what lies before was handed
//! out. Now and then an operator sets the group back while nobody is a member. What a newcomer gets
//! wrong: after a start a group gives out nothing for two seconds, because members of the time
//! before may come and claim what they hold.

mod book;
mod member;
mod tally;

use std::collections::BTreeMap;
use std::time::Duration;

use plimsoll_client_blocking::Client;
use plimsoll_tests::{Connection, Random, Server};

use self::book::Book;
use self::member::{Heard, Manner, Member, reset};
pub(crate) use self::tally::ReadersTally;
use crate::crew::Crew;
use crate::watched::{Load, Watched};

const PAGES: &str = "pages";
const GROUP: &str = "readers";
const PARTITIONS: u32 = 3;
const SEGMENT_BYTES: u64 = 1 << 20;
const MEMBERS_MAX: u64 = 2;
/// Of each life: so few that the group comes to their end in seconds.
const BATCHES_MAX: u64 = 150;
/// So that they come for longer than most loads last, and commits are under way at most cuts.
const PAUSE_US_MAX: u64 = 3_000;
/// For a group to give out what nobody has claimed since the start, and more.
const AT_WORK_WITHIN: Duration = Duration::from_secs(5);

/// The topic, the group, and everything that anyone was told of them.
pub(crate) struct Readers {
    pages: Watched,
    book: Book,
}

/// Those who are at it until the server is gone.
pub(crate) struct ReadersLoad {
    pages: Load,
    crew: Crew<Heard>,
}

/// What one of a crew does.
enum Duty {
    /// Reads and commits; it has this number among the others.
    Read { number: usize, manner: Manner, random: Random },
    /// Sets partitions back, each to before this offset.
    Reset { before: Vec<u64>, random: Random },
}

impl Readers {
    /// Not there yet.
    pub(crate) fn new() -> Readers {
        let pages = Watched::new(PAGES, PARTITIONS, SEGMENT_BYTES);
        let pages = pages.with_batches_max(BATCHES_MAX).with_pauses(PAUSE_US_MAX);
        Readers { pages, book: Book::new(PARTITIONS) }
    }

    /// A server has started, and nobody is a member: the group stands where it may, what is to be
    /// there is, and appends go on. How many records that appended at disk. Panics, as
    /// [`Watched::compare`] does, or says it if a promise is broken.
    pub(crate) fn compare(&mut self, server: &Server, first_id: u64) -> Result<u64, String> {
        self.pages.ensure(server)?;
        let mut connection = Connection::open(server.address());
        let found = self.pages.compare(&mut connection, false);
        self.book.found(&found);
        self.book.compare_after_start(&committed(&server.client())?)?;
        self.pages.append_to_each(&mut connection, first_id)
    }

    /// Begins to read and to commit what is there and what comes, or to set the group back. Mostly
    /// waits until somebody is at it.
    pub(crate) fn begin(&self, server: &Server, first_id: u64, random: &mut Random) -> ReadersLoad {
        let before = self.book.committed();
        let duties = if random.once_in(5) && before.iter().any(|offset| *offset > 0) {
            vec![Duty::Reset { before, random: Random::new(random.number()) }]
        } else {
            let members = random.below(1..MEMBERS_MAX + 1) as usize;
            let duty = |number| {
                let manner = random.one_of(&Manner::OF_LOAD);
                Duty::Read { number, manner, random: Random::new(random.number()) }
            };
            (0..members).map(duty).collect()
        };
        let crew = crew(server.address(), duties);
        if !random.once_in(3) {
            crew.await_a_word(AT_WORK_WITHIN);
        }
        ReadersLoad { pages: self.pages.begin(server, first_id, random), crew }
    }

    /// The server is gone: writes down what it said. How many records were acked at disk.
    pub(crate) fn note(&mut self, load: ReadersLoad) -> Result<u64, String> {
        let (heard, _) = load.crew.end()?;
        let acked = self.pages.note(load.pages)?;
        self.hear(heard)?;
        Ok(acked)
    }

    /// Reads everything that is there, and sees that nothing was left out. Nobody else may append
    /// meanwhile.
    pub(crate) fn work_off(&mut self, server: &Server) -> Result<(), String> {
        let mut connection = Connection::open(server.address());
        let found = self.pages.compare(&mut connection, true);
        self.book.found(&found);
        let duty = |number| {
            let (manner, random) = (Manner::NowAndThen, Random::new(number as u64));
            Duty::Read { number, manner, random }
        };
        let crew = crew(server.address(), (0..MEMBERS_MAX as usize).map(duty).collect());
        let client = server.client();
        let is_done = crew.work_until(|| committed(&client).is_ok_and(|at| is_behind(&at, &found)));
        let (heard, trouble) = crew.end()?;
        self.hear(heard)?;
        let at = committed(&client)?;
        if !is_done {
            return Err(format!("the group stands still at {at:?}: {trouble}"));
        }
        self.book.compare_worked_off(&at)
    }

    /// What happened so far.
    pub(crate) fn tally(&self) -> ReadersTally {
        self.book.tally()
    }

    fn hear(&mut self, heard: Vec<Heard>) -> Result<(), String> {
        for heard in heard {
            if let Heard::Handed { partition, offset, id, .. } = heard {
                self.pages.shown_at_disk(partition, offset, id);
            }
            self.book.hear(heard)?;
        }
        Ok(())
    }
}

fn crew(address: &str, duties: Vec<Duty>) -> Crew<Heard> {
    let duties = duties.into_iter().map(|duty| (address.to_owned(), duty)).collect();
    Crew::begin(duties, |(address, duty), voice| match duty {
        Duty::Read { number, manner, random } => {
            Member::join(&address, number, (manner, random), voice)?.work()
        }
        Duty::Reset { before, random } => reset(&address, &before, random, &voice),
    })
}

/// The committed offset of each partition that has one.
fn committed(client: &Client) -> Result<BTreeMap<u32, u64>, String> {
    let groups = client.groups().map_err(|error| error.to_string())?;
    if !groups.iter().any(|group| group.group == GROUP) {
        return Ok(BTreeMap::new());
    }
    let group = client.describe_group(GROUP).map_err(|error| error.to_string())?;
    let offsets = group.offsets.iter();
    Ok(offsets.map(|of| (of.partition.partition.0, of.offset.value())).collect())
}

/// Whether all of these records lie before what is committed.
fn is_behind(committed: &BTreeMap<u32, u64>, records: &[(u32, u64, u64)]) -> bool {
    let at = |partition| committed.get(partition).copied().unwrap_or(0);
    records.iter().all(|(partition, offset, _)| *offset < at(partition))
}
