//! A run from beginning to end: connect, warm up, measure, wait for what is on its way.

use std::time::{Duration, Instant};

use nix::sys::prctl;
use plimsoll_client_blocking::{NewTopic, Topic};
use plimsoll_wire::{Durability, Visible};

use crate::assignment::assign;
use crate::connection::Connection;
use crate::fleet::Fleet;
use crate::measurement::{Measurement, Progress};
use crate::payload::{KEY_BYTES, Payloads};
use crate::reader::{From, Reader};
use crate::report::Outcome;
use crate::restart::Kill;
use crate::schedule::Schedule;
use crate::sender::{Sender, Sending};
use crate::server::{Reading, Server};
use crate::shipped::{Consumers, Shipped};
use crate::{LoadError, Source};

/// What to load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Append records.
    Produce,
    /// Read a topic from its beginning.
    Consume,
    /// Both at once, and measure from the ack to the delivery.
    EndToEnd,
}

impl Mode {
    /// The word of the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Mode::Produce => "produce",
            Mode::Consume => "consume",
            Mode::EndToEnd => "end-to-end",
        }
    }
}

/// When a run ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// After this time, the warm-up not counted.
    After(Duration),
    /// After this many records.
    Records(u64),
}

/// What to send and read, and how.
#[derive(Clone, Debug)]
pub struct Workload {
    /// `HOST:PORT`.
    pub server: String,
    /// The topic; a producing run creates it if it is not there.
    pub topic: String,
    /// Partitions of a topic that is created.
    pub partitions: u32,
    /// Connections that produce, and as many that consume.
    pub connections: u32,
    /// The size of a generated value.
    pub record_bytes: usize,
    /// Records in a batch.
    pub batch_records: u32,
    /// Batches of a connection that are sent and not acked.
    pub in_flight: u32,
    /// The level of the acks.
    pub durability: Durability,
    /// Up to where consumers see.
    pub visible: Visible,
    /// Who consumes.
    pub consumers: Consumers,
    /// Records a second over all connections; `None`: flat out.
    pub rate: Option<f64>,
    /// When it ends.
    pub limit: Limit,
    /// Time that is not measured.
    pub warmup: Duration,
    /// Keep what was acked, to check it afterwards.
    pub verify: Option<Verify>,
}

/// What makes the records of a run recognisable.
#[derive(Clone, Debug)]
pub struct Verify {
    /// The run's number: records of other runs in the same topic are left alone.
    pub run: u64,
    /// Where the values come from.
    pub source: Source,
}

/// How long to wait for acks and deliveries after the last batch was sent.
const DRAIN: Duration = Duration::from_secs(30);

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// Carries out a run. With `kill` the run ends when the server does.
///
/// # Errors
///
/// See [`LoadError`]. Refused batches are no error: the outcome counts them.
pub fn run(
    mode: Mode,
    workload: &Workload,
    kill: Option<Kill>,
    on_progress: &mut dyn FnMut(Progress),
) -> Result<Outcome, LoadError> {
    // A sleeper's default slack of 50 us would be added to the latency of an open loop.
    let _ = prctl::set_timerslack(1);
    let server = Server::connect(&workload.server)?;
    let topic = match mode {
        Mode::Consume => server.topic(&workload.topic, None)?,
        Mode::Produce | Mode::EndToEnd => {
            let wanted = new_topic(workload)?;
            server.topic(&workload.topic, Some(&wanted))?
        }
    };
    let mut fleet = Fleet::default();
    match &workload.consumers {
        _ if mode == Mode::Produce => {}
        Consumers::Raw => fleet.readers = open_readers(mode, workload, &topic)?,
        consumers => {
            let seats = (workload.connections, workload.visible, begin(mode));
            fleet.shipped = Some(Shipped::begin(&workload.server, &topic, consumers, seats)?);
        }
    }
    if mode != Mode::Consume {
        fleet.senders = open_senders(workload, &topic)?;
    }
    let tail = (mode == Mode::EndToEnd).then_some(());
    let keeps_ledger = workload.verify.is_some();
    let mut measurement = Measurement::new(topic.partitions(), keeps_ledger, tail);
    let before = server.reading();
    let course = Course { mode, workload, server: &server, before, on_progress };
    let end = course.drive(&mut fleet, &mut measurement, kill)?;
    Ok(Outcome::new(mode, workload, topic.partitions(), measurement, &end))
}

/// How a course ended.
#[derive(Debug, Default)]
pub(crate) struct End {
    pub(crate) is_killed: bool,
    /// Records sent whose fate nobody told.
    pub(crate) open_records: u64,
    pub(crate) server: crate::server::ServerUse,
}

struct Course<'a> {
    mode: Mode,
    workload: &'a Workload,
    server: &'a Server,
    before: Reading,
    on_progress: &'a mut dyn FnMut(Progress),
}

impl Course<'_> {
    fn drive(
        mut self,
        fleet: &mut Fleet,
        measurement: &mut Measurement,
        kill: Option<Kill>,
    ) -> Result<End, LoadError> {
        let start = Instant::now();
        let measured_from = start + self.workload.warmup;
        let end = match self.workload.limit {
            Limit::After(length) => Some(measured_from + length),
            Limit::Records(_) => None,
        };
        let mut kill = kill.map(|kill| (start + kill.after, kill));
        let mut is_warming_up = !self.workload.warmup.is_zero();
        if !is_warming_up {
            measurement.restart();
        }
        let mut tell_at = start + TELL_EVERY;
        loop {
            let now = Instant::now();
            if is_warming_up && now >= measured_from {
                is_warming_up = false;
                self.before = self.server.reading();
                measurement.restart();
            }
            if let Some((_, kill)) = kill.take_if(|(at, _)| *at <= now) {
                (kill.action)().map_err(LoadError::Restart)?;
                let open_records = fleet.read_to_the_last(measurement)?;
                return Ok(End { is_killed: true, open_records, ..End::default() });
            }
            if end.is_some_and(|end| now >= end) || self.is_done(fleet, measurement) {
                break;
            }
            if now >= tell_at {
                tell_at = now + TELL_EVERY;
                self.tell(measurement, start, end, now);
            }
            let kill_at = kill.as_ref().map(|(at, _)| *at);
            let events = [end, kill_at, is_warming_up.then_some(measured_from)];
            let until = events.into_iter().flatten().fold(tell_at, Instant::min);
            fleet.turn(until, measurement)?;
        }
        self.drain(fleet, measurement)?;
        let open_records = fleet.senders.iter().map(Sender::open_records).sum();
        let server = self.server.used_since(&self.before);
        Ok(End { is_killed: false, open_records, server })
    }

    /// Whether all that was to be sent is sent, or as much was read as was to be read.
    fn is_done(&self, fleet: &Fleet, measurement: &Measurement) -> bool {
        if self.mode != Mode::Consume {
            return fleet.senders.iter().all(|sender| sender.batches_left == Some(0));
        }
        match self.workload.limit {
            Limit::Records(records) => measurement.delivered >= records,
            // At the end of what was there it reads what comes: until the time is over.
            Limit::After(_) => false,
        }
    }

    fn drain(&self, fleet: &mut Fleet, measurement: &mut Measurement) -> Result<(), LoadError> {
        for sender in &mut fleet.senders {
            sender.batches_left = Some(0);
        }
        let until = Instant::now() + DRAIN;
        let is_drained = |fleet: &Fleet, measurement: &Measurement| {
            fleet.senders.iter().all(Sender::is_settled) && measurement.is_all_delivered()
        };
        while self.mode != Mode::Consume && !is_drained(fleet, measurement) {
            if Instant::now() >= until {
                let what = "the last acks or deliveries".to_owned();
                return Err(LoadError::Silent { what, seconds: DRAIN.as_secs() });
            }
            fleet.turn(until, measurement)?;
        }
        Ok(())
    }

    fn tell(
        &mut self,
        measurement: &Measurement,
        start: Instant,
        end: Option<Instant>,
        now: Instant,
    ) {
        let consumes = self.mode == Mode::Consume;
        let records = if consumes { measurement.delivered } else { measurement.records };
        let bytes = if consumes { measurement.delivered_bytes } else { measurement.bytes };
        let elapsed = now - start;
        let done = match (end, self.workload.limit) {
            (Some(end), _) => elapsed.as_secs_f64() / (end - start).as_secs_f64().max(1e-9),
            (None, Limit::Records(wanted)) => records as f64 / wanted.max(1) as f64,
            (None, Limit::After(_)) => 0.0,
        };
        (self.on_progress)(Progress { records, bytes, elapsed, done: done.min(1.0) });
    }
}

/// The batch limit of a topic that does not say.
const BATCH_BYTES_DEFAULT: usize = 1 << 20;

fn new_topic(workload: &Workload) -> Result<NewTopic<'_>, LoadError> {
    let key_bytes = if workload.verify.is_some() { KEY_BYTES } else { 0 };
    // A record's own lengths and deltas take 20 bytes at most.
    let record_bytes = workload.record_bytes + key_bytes + 20;
    let batch_bytes = plimsoll_batch::HEADER_BYTES + record_bytes * workload.batch_records as usize;
    let is_fresh = workload.verify.is_some();
    let batch_bytes_max = match batch_bytes {
        _ if is_fresh && batch_bytes > plimsoll_batch::BATCH_BYTES_MAX => 0,
        bytes if bytes <= BATCH_BYTES_DEFAULT => 0,
        bytes if bytes <= plimsoll_batch::BATCH_BYTES_MAX => bytes.next_multiple_of(4096) as u32,
        bytes => {
            return Err(LoadError::Usage(format!(
                "a batch of {bytes} bytes is more than the format takes ({}): lower \
                 --batch-records or --record-bytes",
                plimsoll_batch::BATCH_BYTES_MAX
            )));
        }
    };
    Ok(NewTopic {
        name: &workload.topic,
        partitions: workload.partitions,
        batch_bytes_max,
        ..NewTopic::default()
    })
}

fn open_readers(mode: Mode, workload: &Workload, topic: &Topic) -> Result<Vec<Reader>, LoadError> {
    let from = begin(mode);
    let assignments = assign(&topic.shards, workload.connections, false);
    let open = |assignment: &crate::assignment::Assignment| {
        let connection = Connection::open(&workload.server, &workload.topic, assignment)?;
        let partitions = &assignment.partitions;
        Ok(Reader::new(&workload.server, connection, partitions, workload.visible, from))
    };
    assignments.iter().map(open).collect()
}

fn begin(mode: Mode) -> From {
    if mode == Mode::Consume { From::Beginning } else { From::End }
}

fn open_senders(workload: &Workload, topic: &Topic) -> Result<Vec<Sender>, LoadError> {
    let assignments = assign(&topic.shards, workload.connections, true);
    let count = assignments.len() as u32;
    let batch_bytes_max = topic.batch_bytes_max as usize;
    let generated = Source::generated(workload.record_bytes);
    let start = Instant::now();
    let mut senders = Vec::with_capacity(assignments.len());
    for (number, assignment) in (0_u32..).zip(assignments) {
        let connection = Connection::open(&workload.server, &workload.topic, &assignment)?;
        let batch_records = workload.batch_records;
        let payloads = match &workload.verify {
            Some(Verify { run, source }) => {
                Payloads::fresh(*run, source.clone(), number, batch_records, batch_bytes_max)
            }
            None => Payloads::same(&generated, number, batch_records, batch_bytes_max)?,
        };
        let schedule = match workload.rate {
            Some(rate) => {
                let batches = rate / f64::from(batch_records) / f64::from(count);
                // Connections that all began at once would send in bursts.
                let stagger = f64::from(number) / f64::from(count) / batches;
                Schedule::open_loop(start + Duration::from_secs_f64(stagger), batches)
            }
            None => Schedule::flat_out(),
        };
        let batches_left = match workload.limit {
            Limit::Records(records) => {
                let batches = records.div_ceil(u64::from(batch_records));
                Some(
                    batches / u64::from(count)
                        + u64::from(u64::from(number) < batches % u64::from(count)),
                )
            }
            Limit::After(_) => None,
        };
        let sending = Sending {
            connection: number,
            partitions: assignment.partitions,
            durability: workload.durability,
            in_flight_max: workload.in_flight,
            payloads,
            schedule,
            batches_left,
        };
        senders.push(Sender::new(&workload.server, connection, sending));
    }
    Ok(senders)
}
