//! `plimsoll consume`: the records of a topic on stdout.
//!
//! Output is buffered while records keep coming, and written when they pause, so that `consume` at
//! the end of a topic shows each record at once. Who closes the pipe ends it quietly.

use std::collections::BTreeMap;
use std::io::Write;
use std::str::FromStr;
use std::time::{Duration, Instant};

use plimsoll_client_blocking::{
    Client, Consumer, ConsumerOptions, DeliveredBatch, GroupOptions, Offset, OffsetsWhat, StartAt,
    Visible,
};
use plimsoll_ring::Signals;

use crate::consume_format::Format;
use crate::consume_group::{self, Commit, Removed};
use crate::failure::Failure;

/// Write the records of a topic to stdout.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
In JSON, keys and values are strings where they are UTF-8 and {\"base64\": \"...\"} where they are
not. Records of one partition come in order; several partitions come in any order.

Example:
  plimsoll consume logs --until end
  plimsoll consume logs --group archive --format json
  plimsoll consume logs --partition 0 --from @1700000000000 --format json | head")]
pub(crate) struct Args {
    /// The topic.
    #[arg(value_name = "T")]
    topic: String,
    /// Only this partition.
    #[arg(long, value_name = "P")]
    partition: Option<u32>,
    /// Where to begin: the oldest record, the next one to come, an offset, or a time.
    #[arg(long, value_name = "beginning|end|OFFSET|@UNIX_MS", default_value = "beginning")]
    from: From,
    /// As a member of this group: begin where the group has committed, and share the partitions
    /// with its other members. --from then counts where nothing is committed.
    #[arg(long, value_name = "G", conflicts_with_all = ["partition", "until"])]
    group: Option<String>,
    /// When the group's offsets are committed: after the output was written, every 5 s, or before
    /// the output is written.
    #[arg(long, requires = "group", default_value = "manual")]
    commit: Commit,
    /// Where to go on if records were removed, by retention or by hand, before the group had
    /// consumed them.
    #[arg(long, requires = "group", default_value = "start")]
    on_removed: Removed,
    /// A name that outlives a restart of this member, which then finds its partitions again.
    #[arg(long, requires = "group", value_name = "NAME")]
    instance: Option<String>,
    /// Where to stop: before this offset, or at what is the end now. Left out: never.
    #[arg(long, value_name = "end|OFFSET")]
    until: Option<Until>,
    /// Stop after so many records.
    #[arg(long, value_name = "N")]
    max_records: Option<u64>,
    /// Up to which level to see: memory, page-cache or disk.
    #[arg(long, value_name = "LEVEL", default_value = "disk")]
    visible: Visible,
    /// What a record looks like.
    #[arg(long, default_value = "value")]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct From(pub(crate) StartAt);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    End,
    Offset(u64),
}

/// Output is written when there is so much of it.
const OUTPUT_BYTES: usize = 128 << 10;

/// How long to wait for records before looking again whether anything changed.
const WAIT: Duration = Duration::from_millis(500);

/// What lies before an end that was asked for is there: it comes, or something is wrong.
const MISSING_AFTER: Duration = Duration::from_secs(10);

/// Consumes.
pub(crate) fn run(client: &Client, args: &Args) -> Result<(), Failure> {
    if args.max_records == Some(0) {
        return Ok(());
    }
    if let Some(group) = &args.group {
        return in_group(client, args, group);
    }
    let topic = client.topic(&args.topic).map_err(Failure::new)?;
    let partitions = match args.partition {
        Some(partition) => vec![partition],
        None => (0..topic.partitions()).collect(),
    };
    let mut ends = Ends::ask(client, args, &partitions)?;
    if ends.is_reached() {
        return Ok(());
    }
    let mut options = ConsumerOptions::default();
    options.partitions = Some(partitions);
    options.from = args.from.0;
    options.visible = args.visible;
    let mut consumer = client.consumer(&args.topic, options).map_err(Failure::new)?;
    let mut output = Output { left: args.max_records.unwrap_or(u64::MAX), bytes: Vec::new() };
    let mut last = Instant::now();
    loop {
        let Some(batch) = next_batch(&mut consumer, &mut output)? else {
            ends.complain_after(last)?;
            continue;
        };
        last = Instant::now();
        output.write(&batch, args.format, &mut ends)?;
        if output.left == 0 || ends.is_reached() {
            return output.flush();
        }
    }
}

fn in_group(client: &Client, args: &Args, group: &str) -> Result<(), Failure> {
    let mut options = GroupOptions::default();
    options.commit = args.commit.policy();
    options.from = args.from.0;
    options.on_removed = args.on_removed.choice();
    options.visible = args.visible;
    options.instance = args.instance.clone().unwrap_or_default();
    let left = args.max_records.unwrap_or(u64::MAX);
    // Before the client has threads, which would take the signals otherwise.
    let signals = Signals::block().map_err(Failure::new)?;
    let member = client.group_consumer(&args.topic, group, options).map_err(Failure::new)?;
    consume_group::run(member, &signals, args.format, left)
}

/// The next batch. What was written so far is flushed before there is any waiting.
fn next_batch(
    consumer: &mut Consumer,
    output: &mut Output,
) -> Result<Option<DeliveredBatch>, Failure> {
    if !output.bytes.is_empty() {
        if let Some(batch) = consumer.next_batch(Duration::ZERO).map_err(Failure::new)? {
            return Ok(Some(batch));
        }
        output.flush()?;
    }
    consumer.next_batch(WAIT).map_err(Failure::new)
}

struct Output {
    left: u64,
    bytes: Vec<u8>,
}

impl Output {
    fn write(
        &mut self,
        batch: &DeliveredBatch,
        format: Format,
        ends: &mut Ends,
    ) -> Result<(), Failure> {
        let partition = batch.partition();
        for record in batch.records() {
            let record = record.map_err(|error| {
                let base_offset = batch.header().base_offset;
                Failure::Failed(format!(
                    "partition {partition}, batch at offset {base_offset}: {error}; its producer \
                     wrote it so, begin after it with --from"
                ))
            })?;
            if self.left == 0 || !ends.is_before(partition, record.offset) {
                break;
            }
            format.write(partition, &record, &mut self.bytes);
            self.left -= 1;
        }
        ends.reached(partition, batch.header().next_offset());
        if self.bytes.len() >= OUTPUT_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Failure> {
        let mut stdout = std::io::stdout().lock();
        let written = stdout.write_all(&self.bytes).and_then(|()| stdout.flush());
        self.bytes.clear();
        written.map_err(|error| Failure::of_output(&error))
    }
}

/// Where each partition is to stop. Empty: everything was reached; `None`: nothing ever is.
#[derive(Debug, Default)]
struct Ends(Option<BTreeMap<u32, End>>);

#[derive(Clone, Copy, Debug)]
struct End {
    offset: Offset,
    /// Whether all that lies before it was there at the start.
    is_there: bool,
}

impl Ends {
    fn ask(client: &Client, args: &Args, partitions: &[u32]) -> Result<Ends, Failure> {
        let Some(until) = args.until else { return Ok(Ends::default()) };
        let mut ends = BTreeMap::new();
        for &partition in partitions {
            let place = |what: OffsetsWhat| {
                client.offset(&args.topic, partition, what, args.visible).map_err(Failure::new)
            };
            let now = place(OffsetsWhat::End)?;
            let (offset, is_there) = match until {
                Until::End => (now, true),
                Until::Offset(offset) => (Offset::new(offset), offset <= now.value()),
            };
            let start = match args.from.0 {
                StartAt::Beginning => place(OffsetsWhat::Beginning)?,
                StartAt::End => now,
                StartAt::Offset(offset) => offset,
                StartAt::Timestamp { unix_ms } => place(OffsetsWhat::Timestamp { unix_ms })?,
            };
            if start < offset {
                ends.insert(partition, End { offset, is_there });
            }
        }
        Ok(Ends(Some(ends)))
    }

    fn is_reached(&self) -> bool {
        self.0.as_ref().is_some_and(BTreeMap::is_empty)
    }

    /// Whether a record is still wanted.
    fn is_before(&self, partition: u32, offset: Offset) -> bool {
        match &self.0 {
            None => true,
            Some(ends) => ends.get(&partition).is_some_and(|end| offset < end.offset),
        }
    }

    /// A partition was read up to `next`.
    fn reached(&mut self, partition: u32, next: Offset) {
        if let Some(ends) = &mut self.0
            && ends.get(&partition).is_some_and(|end| next >= end.offset)
        {
            ends.remove(&partition);
        }
    }

    /// An end that was there and is not reached although nothing comes any more is told, not waited
    /// for.
    fn complain_after(&self, last: Instant) -> Result<(), Failure> {
        let there = self.0.iter().flatten().find(|(_, end)| end.is_there);
        match there {
            Some((partition, end)) if last.elapsed() > MISSING_AFTER => {
                Err(Failure::Failed(format!(
                    "partition {partition} has not come to its end {} and nothing more comes; \
                     look at `plimsoll topic describe` and at the server's log",
                    end.offset
                )))
            }
            _ => Ok(()),
        }
    }
}

impl FromStr for From {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<From, &'static str> {
        let wrong = "write beginning, end, an offset, or @ and milliseconds since 1970";
        Ok(From(match text {
            "beginning" => StartAt::Beginning,
            "end" => StartAt::End,
            _ => match text.strip_prefix('@') {
                Some(unix_ms) => {
                    StartAt::Timestamp { unix_ms: unix_ms.parse().map_err(|_| wrong)? }
                }
                None => StartAt::Offset(Offset::new(text.parse().map_err(|_| wrong)?)),
            },
        }))
    }
}

impl FromStr for Until {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Until, &'static str> {
        match text {
            "end" => Ok(Until::End),
            _ => text.parse().map(Until::Offset).map_err(|_| "write end or an offset"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_to_begin_are_words_offsets_and_times() {
        assert_eq!("beginning".parse(), Ok(From(StartAt::Beginning)));
        assert_eq!("17".parse(), Ok(From(StartAt::Offset(Offset::new(17)))));
        assert_eq!("@-5".parse(), Ok(From(StartAt::Timestamp { unix_ms: -5 })));
        for text in ["", "@", "-1", "begin", "@x"] {
            assert!(text.parse::<From>().is_err(), "{text}");
        }
        assert_eq!("end".parse(), Ok(Until::End));
        assert!("beginning".parse::<Until>().is_err());
    }

    #[test]
    fn a_partition_stops_before_its_end_and_the_command_when_all_have() {
        let end = |offset| End { offset: Offset::new(offset), is_there: true };
        let mut ends = Ends(Some(BTreeMap::from([(0, end(10)), (1, end(5))])));
        assert!(ends.is_before(0, Offset::new(9)) && !ends.is_before(0, Offset::new(10)));
        ends.reached(0, Offset::new(10));
        assert!(!ends.is_reached() && !ends.is_before(0, Offset::new(3)));
        ends.reached(1, Offset::new(4));
        ends.reached(1, Offset::new(6));
        assert!(ends.is_reached());
    }

    #[test]
    fn without_an_end_it_goes_on_for_ever() {
        let ends = Ends::default();
        assert!(!ends.is_reached() && ends.is_before(7, Offset::new(u64::MAX)));
    }
}
