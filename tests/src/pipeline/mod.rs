//! Lines of files in, a consumer group out, and everything between them killed at random.
//!
//! Each source of a [crew](crate::crew) brings a file into a partition of its own by `produce
//! --resume`; each seat of the group is a `consume --group` that writes what it gets into a file.
//! At the end the log has each line of each source once and in order, and the seats together have
//! each at least once.
//!
//! What a newcomer gets wrong: who is killed after it wrote and before it committed writes again,
//! and that is no fault.

mod outputs;
mod tally;
mod writer;

pub use tally::PipelineTally;

use std::collections::BTreeMap;
use std::path::Path;

use plimsoll_client_blocking::Client;

use self::outputs::Outputs;
use self::writer::Writer;
use crate::crew::{Crew, Seat, TOPIC};
use crate::{Place, Random};

const GROUP: &str = "writers";
const SEATS: usize = 3;
const SOURCES_KILLED_ONCE_IN: u64 = 2;

/// A crew whose seats are the members of a group.
#[derive(Debug)]
pub struct Pipeline<'a> {
    crew: Crew<'a, Writer>,
    positions: Positions,
    tally: PipelineTally,
}

/// The committed offset of each partition, when it was looked at last.
#[derive(Debug, Default)]
struct Positions(BTreeMap<u32, u64>);

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
        random: Random,
    ) -> Pipeline<'a> {
        let seat = |number| {
            let name = format!("seat-{number}");
            Seat::new(place, &name, Writer { program: program.to_owned(), instance: name.clone() })
        };
        Pipeline {
            crew: Crew::begin(place, program, lines, (0..SEATS).map(seat).collect(), random),
            positions: Positions::default(),
            tally: PipelineTally::default(),
        }
    }

    /// What happened so far.
    #[must_use]
    pub fn tally(&self) -> PipelineTally {
        PipelineTally { toll: self.crew.toll(), ..self.tally }
    }

    /// The sources grow by so many lines together; after a moment some of those who are at it are
    /// killed, all at once.
    ///
    /// # Panics
    ///
    /// If a position of the group went back, or the server does not come back.
    pub fn round(&mut self, lines: usize) {
        let waited_for_members = self.crew.grow(lines);
        self.crew.work(if waited_for_members { 10_000 } else { 100_000 });
        self.positions.look(&self.crew.client());
        self.crew.kill_some(SOURCES_KILLED_ONCE_IN);
    }

    /// All lines come, and all that is left is worked off; then everything is compared.
    ///
    /// # Panics
    ///
    /// If a line is missing, changed, out of order or twice in the log, or was written by nobody.
    pub fn finish(&mut self) -> PipelineTally {
        let Pipeline { crew, positions, tally } = self;
        let offsets = crew.send_all();
        tally.lines = offsets.iter().map(|offsets| offsets.len() as u64).sum();
        crew.tend_until(|crew| {
            positions.look(&crew.client());
            positions.are_behind(&offsets)
        });
        let written = crew.end_seats(Seat::stop);
        let mut outputs = Outputs::new(crew.sources(), &offsets);
        written.iter().for_each(|output| outputs.read(output));
        outputs.compare(tally);
        crew.stop();
        self.tally()
    }
}

impl Positions {
    /// What the group has committed never goes back, and is never more than there is.
    fn look(&mut self, client: &Client) {
        // Before its first member there is none.
        let Ok(group) = client.describe_group(GROUP) else { return };
        let ends = client.describe(TOPIC).expect("the topic is described");
        for of in group.offsets {
            let (partition, offset) = (of.partition.partition.0, of.offset.value());
            let before = self.0.insert(partition, offset).unwrap_or(0);
            assert!(offset >= before, "partition {partition} went back from {before} to {offset}");
            let end = ends[partition as usize].watermarks.disk.value();
            assert!(offset <= end, "partition {partition}: {offset} is committed, {end} the end");
        }
    }

    /// Whether all these were committed, of each partition from the first on.
    fn are_behind(&self, offsets: &[Vec<u64>]) -> bool {
        (0..).zip(offsets).all(|(partition, offsets): (u32, _)| {
            offsets.last().is_none_or(|last| self.0.get(&partition) > Some(last))
        })
    }
}
