//! `plimsoll consume`: the records of a topic on stdout.
//!
//! Output is buffered while records keep coming, and written when they pause, so that `consume` at
//! the end of a topic shows each record at once. Who closes the pipe ends it quietly.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::io::Write;
use std::str::FromStr;
use std::time::{Duration, Instant};

use plimsoll_client_blocking::{
    Client, ConsumeError, Consumer, ConsumerOptions, DeliveredBatch, ErrorCode, GroupOptions,
    Offset, OffsetsWhat, PartitionState, StartAt, Visible,
};
use plimsoll_ring::Signals;

use crate::consume_format::Format;
use crate::consume_group::{COMMIT_TIMEOUT, Commit, Goal, Removed, Work};
use crate::consume_share::{self, ShareArgs, Shared};
use crate::consume_until::{Ends, Until};
use crate::failure::Failure;
use crate::group;

/// Write the records of a topic to stdout.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
In JSON, keys and values are strings where they are UTF-8 and {\"base64\": \"...\"} where they are
not. Records of one partition come in order; several partitions come in any order.

Example:
  plimsoll consume logs --until end
  plimsoll consume logs --group archive --format json
  plimsoll consume logs audit --group archive --format topic-value
  plimsoll consume jobs --group workers --share --dead-letter jobs-dead
  plimsoll consume jobs --group workers --share --exec ./job.sh --retry-delay 1m
  plimsoll consume logs --partition 0 --from @1700000000000 --format json | head")]
pub(crate) struct Args {
    /// The topic; with --group there may be several.
    #[arg(value_name = "T", required = true)]
    topics: Vec<String>,
    /// Only this partition.
    #[arg(long, value_name = "P")]
    partition: Option<u32>,
    /// Where to begin: the oldest record, the next one to come, an offset, or a time.
    #[arg(long, value_name = "beginning|end|OFFSET|@UNIX_MS", default_value = "beginning")]
    from: From,
    /// As a member of this group: begin where the group has committed, and share the partitions
    /// with its other members. --from then counts where nothing is committed.
    #[arg(long, value_name = "G", conflicts_with = "partition")]
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
    /// Where to stop: before this offset, or at what is the end now. Left out: never. With --group:
    /// when the group, all its members together, has committed so far in every partition.
    #[arg(long, value_name = "end|OFFSET")]
    until: Option<Until>,
    /// Stop after so many records.
    #[arg(long, value_name = "N")]
    max_records: Option<u64>,
    /// Up to which level to see: memory, page-cache or disk.
    #[arg(long, value_name = "LEVEL", default_value = "disk")]
    visible: Visible,
    /// What a record looks like. Of several topics topic-value and json say which it is of.
    #[arg(long, default_value = "value")]
    format: Format,
    #[command(flatten)]
    share: ShareArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct From(pub(crate) StartAt);

/// Output is written when there is so much of it.
const OUTPUT_BYTES: usize = 128 << 10;

/// How long to wait for records before looking again whether anything changed.
const WAIT: Duration = Duration::from_millis(500);

/// Consumes.
pub(crate) fn run(client: &Client, args: &Args) -> Result<(), Failure> {
    if args.max_records == Some(0) {
        return Ok(());
    }
    if let Some(group) = &args.group {
        if args.share.is_wanted() {
            let Args { topics, max_records, format, .. } = args;
            let (from, max_records, format) = (args.from.0, *max_records, *format);
            let shared = Shared { topics, group, from, max_records, format };
            return consume_share::run(client, &shared, &args.share);
        }
        return in_group(client, args, group);
    }
    let [name] = &args.topics[..] else {
        return Err(Failure::Usage(String::from("several topics need --group")));
    };
    let topic = client.topic(name).map_err(Failure::new)?;
    let partitions = match args.partition {
        Some(partition) => vec![partition],
        None => (0..topic.partitions()).collect(),
    };
    let ends = ends(client, args, name, &partitions, |_| args.from.0)?;
    let mut unread = Unread::default();
    let mut output = Output { left: args.max_records.unwrap_or(u64::MAX), bytes: Vec::new() };
    if !ends.is_reached() {
        let mut options = ConsumerOptions::default();
        options.partitions = Some(partitions.clone());
        options.from = args.from.0;
        options.visible = args.visible;
        let consumer = client.consumer(name, options).map_err(Failure::new)?;
        read((consumer, partitions.len()), ends, args.format, (&mut output, &mut unread))?;
    }
    if args.until == Some(Until::End) && output.left > 0 {
        unread.look_behind_ends(client, name, &partitions, args.visible)?;
    }
    unread.end()
}

/// Writes records until all ends are reached, or nothing more can come.
fn read(
    (mut consumer, partitions): (Consumer, usize),
    mut ends: Ends,
    format: Format,
    (output, unread): (&mut Output, &mut Unread),
) -> Result<(), Failure> {
    let mut last = Instant::now();
    while output.left > 0 && !ends.is_reached() && unread.0.len() < partitions {
        // What was written so far is flushed before there is any waiting.
        let wait = if output.bytes.is_empty() { WAIT } else { Duration::ZERO };
        match consumer.next_batch(wait) {
            Ok(Some(batch)) => {
                last = Instant::now();
                output.write(&batch, format, &mut ends)?;
            }
            Ok(None) if !output.bytes.is_empty() => output.flush()?,
            Ok(None) => ends.complain_after(last)?,
            Err(error) => {
                // The sound records before it come first.
                output.flush()?;
                ends.give_up(unread.take(error)?);
            }
        }
    }
    output.flush()
}

fn ends(
    client: &Client,
    args: &Args,
    topic: &str,
    partitions: &[u32],
    from: impl Fn(u32) -> StartAt,
) -> Result<Ends, Failure> {
    match args.until {
        Some(until) => Ends::ask(client, topic, partitions, from, until, args.visible),
        None => Ok(Ends::default()),
    }
}

fn in_group(client: &Client, args: &Args, group: &str) -> Result<(), Failure> {
    if args.until.is_some() && args.commit != Commit::Manual {
        return Err(Failure::Usage(String::from(
            "--until in a group needs --commit manual: the others commit what lies behind the end",
        )));
    }
    let mut goal = Goal::new(client.clone(), group);
    for name in &args.topics {
        let topic = client.topic(name).map_err(Failure::new)?;
        let partitions: Vec<u32> = (0..topic.partitions()).collect();
        let committed = group::committed_of(client, group, topic.id)?;
        let from = |partition| match committed.get(&partition) {
            Some(offset) => StartAt::Offset(*offset),
            None => args.from.0,
        };
        goal.add(topic, ends(client, args, name, &partitions, from)?);
    }
    let mut options = GroupOptions::default();
    options.commit = args.commit.policy();
    options.from = args.from.0;
    options.on_removed = args.on_removed.choice();
    options.visible = args.visible;
    options.instance = args.instance.clone().unwrap_or_default();
    options.commit_timeout = COMMIT_TIMEOUT;
    let left = args.max_records.unwrap_or(u64::MAX);
    // Before the client has threads, which would take the signals otherwise.
    let signals = Signals::block().map_err(Failure::new)?;
    let names: Vec<&str> = args.topics.iter().map(String::as_str).collect();
    let member = client.group_consumer_of(&names, group, options).map_err(Failure::new)?;
    Work::new(member, goal, args.format, left).run(&signals)
}

/// Partitions that damage ended: the others are read on, and the command fails in the end.
#[derive(Debug, Default)]
struct Unread(BTreeSet<u32>);

impl Unread {
    /// The partition, if it is one that is damaged.
    fn take(&mut self, error: ConsumeError) -> Result<u32, Failure> {
        match error {
            ConsumeError::Partition { partition, error: ref why, .. }
                if why.code == ErrorCode::DataDamaged =>
            {
                self.tell(partition, &error);
                Ok(partition)
            }
            error => Err(Failure::new(error)),
        }
    }

    /// The last record that is left may not be the last that was there. Where that is so, a time
    /// behind all records is refused, as a reader is who waits for one.
    fn look_behind_ends(
        &mut self,
        client: &Client,
        topic: &str,
        partitions: &[u32],
        visible: Visible,
    ) -> Result<(), Failure> {
        let last = OffsetsWhat::Timestamp { unix_ms: i64::MAX };
        for described in client.describe(topic).map_err(Failure::new)? {
            let partition = described.partition.0;
            let is_asked = partitions.contains(&partition) && !self.0.contains(&partition);
            if is_asked
                && described.state == PartitionState::Damaged
                && let Err(error) = client.offset(topic, partition, last, visible)
            {
                self.tell(partition, &error);
            }
        }
        Ok(())
    }

    fn tell(&mut self, partition: u32, error: &dyn Display) {
        eprintln!("plimsoll: {error}");
        self.0.insert(partition);
    }

    fn end(self) -> Result<(), Failure> {
        match self.0.is_empty() {
            true => Ok(()),
            false => Err(Failure::Failed(format!(
                "partitions {:?} are damaged: what is written is not all that was in them",
                self.0
            ))),
        }
    }
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
            format.write((batch.topic(), false), partition, &record, &mut self.bytes);
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
    }
}
