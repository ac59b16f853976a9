//! Everyone around a topic of lines, and their deaths: a server, sources that bring files into it,
//! and the seats of a group.
//!
//! Campaigns have one ([`Pipeline`](crate::Pipeline), [`WorkQueue`](crate::WorkQueue)); what the
//! seats do, and what must be true at the end, is theirs. Whoever ended is started again with the
//! same words, as a service manager does it; nothing else helps them. What a newcomer gets wrong: a
//! seed repeats the choices and not the moments.

mod seat;
mod source;
mod toll;

pub(crate) use seat::{Duty, Seat};
pub(crate) use source::Source;
pub use toll::Toll;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use plimsoll_client_blocking::{AckLevel, Client, NewTopic};

use crate::mortal::Mortal;
use crate::{Place, Random};

pub(crate) const TOPIC: &str = "lines";
const SOURCES: usize = 4;

/// What is not over by then never is.
const PATIENCE: Duration = Duration::from_secs(180);

/// Seats whose process was not killed lately write something by then, most of the time.
const AT_WORK_WITHIN: Duration = Duration::from_secs(4);

/// Sources, a server, and the seats of a group.
#[derive(Debug)]
pub(crate) struct Crew<'a, D> {
    program: PathBuf,
    random: Random,
    server: Mortal<'a>,
    sources: Vec<Source>,
    seats: Vec<Seat<D>>,
    toll: Toll,
}

impl<'a, D: Duty> Crew<'a, D> {
    /// A server with the topic, and nobody at work yet. The lines are shared out among the sources.
    pub(crate) fn begin(
        place: &'a Place,
        program: &Path,
        lines: &[String],
        seats: Vec<Seat<D>>,
        mut random: Random,
    ) -> Crew<'a, D> {
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
        let sources = (0..SOURCES as u32).map(source).collect();
        let program = program.to_owned();
        Crew { program, random, server, sources, seats, toll: Toll::default() }
    }

    pub(crate) fn client(&self) -> Client {
        self.server.client()
    }

    pub(crate) fn toll(&self) -> Toll {
        self.toll
    }

    pub(crate) fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// A round begins: the sources grow by so many lines together. Every other time it waits until
    /// the seats are at work, and says so.
    pub(crate) fn grow(&mut self, lines: usize) -> bool {
        self.toll.rounds += 1;
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
        waits_for_members
    }

    /// A moment of work.
    pub(crate) fn work(&mut self, us_max: u64) {
        let load = Duration::from_micros(self.random.below(0..us_max));
        let begun = Instant::now();
        self.tend_until(|_| begun.elapsed() >= load);
    }

    /// Some of those who are at it are killed, all at once; of the sources each once in so many
    /// times.
    pub(crate) fn kill_some(&mut self, sources_once_in: u64) {
        let before = self.toll.kills();
        let is_all = self.random.once_in(8);
        for seat in &mut self.seats {
            if is_all || self.random.once_in(4) {
                self.toll.members += u64::from(seat.kill());
            }
        }
        for source in &mut self.sources {
            if is_all || self.random.once_in(sources_once_in) {
                self.toll.producers += u64::from(source.kill());
            }
        }
        if is_all || self.toll.kills() == before || self.random.once_in(2) {
            let death = self.server.kill(&mut self.random);
            self.toll.servers += 1;
            self.toll.recoveries += death.recoveries;
            self.toll.power_losses += u64::from(death.lost_power);
        }
        self.toll.at_once += u64::from(self.toll.kills() - before > 1);
    }

    /// All lines come into the log. The offsets of each source, whose lines are there once and in
    /// order.
    pub(crate) fn send_all(&mut self) -> Vec<Vec<u64>> {
        for source in &mut self.sources {
            source.grow(usize::MAX);
        }
        self.tend_until(|this| this.sources.iter().all(Source::is_sent));
        let client = self.server.client();
        self.sources.iter().map(|source| source.offsets_in_log(&client)).collect()
    }

    /// Starts whoever has ended, until it is so.
    pub(crate) fn tend_until(&mut self, mut is_so: impl FnMut(&mut Self) -> bool) {
        let begun = Instant::now();
        loop {
            for source in &mut self.sources {
                self.toll.producers_failed += source.tend(&self.program, self.server.address());
            }
            for seat in &mut self.seats {
                self.toll.members_failed += seat.tend(self.server.address());
            }
            if is_so(self) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "nothing comes of it: {}", self.trouble());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Ends each seat in this way. The files that were written in all of them.
    pub(crate) fn end_seats(&mut self, end: impl FnMut(&mut Seat<D>)) -> Vec<PathBuf> {
        self.seats.iter_mut().for_each(end);
        self.seats.iter().flat_map(Seat::outputs).cloned().collect()
    }

    /// A clean stop of the server, at the end.
    pub(crate) fn stop(&mut self) {
        self.server.stop();
    }

    fn written_bytes(&self) -> u64 {
        self.seats.iter().map(Seat::written_bytes).sum()
    }

    /// What those who are at it said last.
    fn trouble(&self) -> String {
        let sources = self.sources.iter().map(Source::trouble);
        let seats = self.seats.iter().map(Seat::trouble);
        sources.chain(seats).collect::<Vec<_>>().join("; ")
    }
}
