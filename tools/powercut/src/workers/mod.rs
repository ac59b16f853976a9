//! Members of a group in share mode that work on a topic of jobs until the power is cut.
//!
//! They accept, release and reject; what they were handed and what was answered is written down
//! here, outside of the server. After a cut nothing comes again whose verdict was answered; now and
//! then, and at the end, the group is worked off: then each job has its verdict, and each one that
//! was to be rejected a dead letter. What a newcomer gets wrong: a verdict that was given and not
//! answered may have been taken or not, for ever; and one that rejects is answered when the server
//! will remember it, which may be before the dead letter is there.

mod book;
mod member;

use plimsoll_client_blocking::Client;
use plimsoll_tests::{Connection, Random, Server};

use self::book::Book;
pub(crate) use self::book::WorkersTally;
use self::member::{Heard, Member};
use crate::crew::Crew;
use crate::watched::{Load, Watched};

const JOBS: &str = "jobs";
const DEAD: &str = "jobs-dead";
const GROUP: &str = "workers";
const MEMBERS_MAX: u64 = 2;
const SEGMENT_BYTES: u64 = 1 << 20;
/// Of each life: so few that the group comes to their end in seconds.
const BATCHES_MAX: u64 = 30;

/// The topic, the group, and everything that anyone was told of them.
pub(crate) struct Workers {
    jobs: Watched,
    letters: Watched,
    book: Book,
}

/// Those who are at it until the server is gone.
pub(crate) struct WorkersLoad {
    jobs: Load,
    crew: Crew<Heard>,
}

impl Workers {
    /// Not there yet.
    pub(crate) fn new() -> Workers {
        Workers {
            jobs: Watched::new(JOBS, 2, SEGMENT_BYTES).with_batches_max(BATCHES_MAX),
            letters: Watched::new(DEAD, 1, SEGMENT_BYTES),
            book: Book::default(),
        }
    }

    /// A server has started: what is to be there is, and appends go on. How many records that
    /// appended at disk. Panics, as [`Watched::compare`] does, or says it if a promise is broken.
    pub(crate) fn compare(&mut self, server: &Server, first_id: u64) -> Result<u64, String> {
        self.jobs.ensure(server)?;
        self.letters.ensure(server)?;
        let mut connection = Connection::open(server.address());
        self.jobs.compare(&mut connection, false);
        let acked = self.jobs.append_to_each(&mut connection, first_id)?;
        self.compare_letters(server)?;
        Ok(acked)
    }

    /// Begins to work, on what is there and on what comes.
    pub(crate) fn begin(&self, server: &Server, first_id: u64, random: &mut Random) -> WorkersLoad {
        let members = random.below(1..MEMBERS_MAX + 1);
        let randoms = (0..members).map(|_| Some(Random::new(random.number()))).collect();
        let crew = crew(server.address(), randoms);
        WorkersLoad { jobs: self.jobs.begin(server, first_id, random), crew }
    }

    /// The server is gone: writes down what it said. How many records were acked at disk.
    pub(crate) fn note(&mut self, load: WorkersLoad) -> Result<u64, String> {
        let (heard, _) = load.crew.end()?;
        let acked = self.jobs.note(load.jobs)?;
        self.hear(heard)?;
        Ok(acked)
    }

    /// Works off everything that is there, and sees that nothing was forgotten. Nobody else may
    /// append meanwhile.
    pub(crate) fn work_off(&mut self, server: &Server) -> Result<(), String> {
        let mut connection = Connection::open(server.address());
        let found = self.jobs.compare(&mut connection, true);
        let crew = crew(server.address(), vec![None, None]);
        let client = server.client();
        let is_done = crew.work_until(|| is_at_end(&client, &found));
        let (heard, trouble) = crew.end()?;
        self.hear(heard)?;
        if !is_done {
            return Err(format!("the group does not come to the end of its jobs: {trouble}"));
        }
        self.compare_letters(server)?;
        self.book.compare_worked_off(&found)
    }

    /// What happened so far.
    pub(crate) fn tally(&self) -> WorkersTally {
        self.book.tally()
    }

    fn hear(&mut self, heard: Vec<Heard>) -> Result<(), String> {
        for heard in heard {
            if let Heard::Handed { place: (partition, offset), id } = heard {
                self.jobs.shown_at_disk(partition, offset, id);
            }
            self.book.hear(heard)?;
        }
        Ok(())
    }

    fn compare_letters(&mut self, server: &Server) -> Result<(), String> {
        let letters = self.letters.compare(&mut Connection::open(server.address()), true);
        self.book.compare_letters(letters.into_iter().map(|(_, _, id)| id))
    }
}

/// A member for each of these: with one it chooses, without it only finishes.
fn crew(address: &str, randoms: Vec<Option<Random>>) -> Crew<Heard> {
    let duties = randoms.into_iter().map(|random| (address.to_owned(), random)).collect();
    Crew::begin(duties, |(address, random), voice| Member::join(&address, random, voice)?.work())
}

/// Whether the group has passed all of these.
fn is_at_end(client: &Client, jobs: &[(u32, u64, u64)]) -> bool {
    // Before its first member there is no group.
    let Ok(group) = client.describe_group(GROUP) else { return false };
    jobs.iter().rev().all(|(partition, offset, _)| {
        let of = group.share.iter().find(|of| of.partition.partition.0 == *partition);
        of.is_some_and(|of| of.start.value() > *offset)
    })
}
