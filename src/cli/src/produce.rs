//! `plimsoll produce`: a record a line, from stdin or files.
//!
//! Lines are sent as they are read: memory is bounded by the client's buffer, and reading waits
//! when the server does. The first record that is not acked ends the reading; what was sent
//! before it is waited for, and counted.

use std::fs::File;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use plimsoll_client_blocking::{
    Ack, AckLevel, Client, Compression, DeliverAfter, Durability, DurabilityWanted, NewRecord,
    Producer, ProducerOptions, Summary,
};

use crate::ack_file::AckSink;
use crate::failure::Failure;
use crate::lines::{Flow, LastLine, Unfinished, each_line, is_stdin, split_key};
use crate::produce_resume::{self, Resumed};
use crate::size::parse_size;
use crate::span::parse_deliver_after;

/// Append a record for each line of the files, or of stdin.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The value of a record is its line without the line feed. With a key the partition follows from the
key (murmur2, as Kafka's clients do it); without one, records go to the partitions in turn, batch by
batch. At the end stderr has records, bytes, seconds, partitions and offset ranges. Exit code 1: not
all were acked.

Example:
  plimsoll produce logs --durability disk --acks-out acks.txt /var/log/syslog
  plimsoll produce logs --partition 0 --resume app.position app.log
  printf 'user1=hello\\n' | plimsoll produce chat --key-separator =")]
pub(crate) struct Args {
    /// The topic.
    #[arg(value_name = "T")]
    topic: String,
    /// What to read; - is stdin.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// When a record counts as acked: none, memory, page-cache or disk [default: the topic's].
    #[arg(long, value_name = "LEVEL")]
    durability: Option<Durability>,
    /// A second level to wait for as well.
    #[arg(long, value_name = "LEVEL")]
    also: Option<AckLevel>,
    /// All records to this partition.
    #[arg(long, value_name = "P", conflicts_with = "key_separator")]
    partition: Option<u32>,
    /// What stands between key and value in a line; a line without it has no key.
    #[arg(long, value_name = "C", value_parser = not_empty)]
    key_separator: Option<String>,
    /// Groups that consume with --share get the records then, and not before; everybody else sees
    /// them at once. A span counts from when the line was read.
    #[arg(long, value_name = "SPAN|@UNIX_MS", value_parser = parse_deliver_after)]
    deliver_after: Option<DeliverAfter>,
    /// Each line is a key, and its record has no value: in a compacted topic it deletes the key.
    #[arg(long, conflicts_with_all = ["key_separator", "partition"])]
    tombstones: bool,
    /// A batch is sent when it has reached this size.
    #[arg(long, value_name = "N", default_value = "1MiB", value_parser = parse_size)]
    batch_bytes: u64,
    /// How long a batch waits for more records.
    #[arg(long, value_name = "N", default_value_t = 1)]
    linger_ms: u64,
    /// How batches are compressed.
    #[arg(long, default_value = "none")]
    compression: Codec,
    /// Go on behind what the log already has of these files, exactly: each line is in the log once,
    /// however often this is killed and run again with the same file here, which is made if it is
    /// not there. The files may grow; a last line without a line feed is not taken yet. Needs
    /// --partition where there are several.
    #[arg(long, value_name = "KEPT", requires = "files", conflicts_with = "key_separator")]
    resume: Option<PathBuf>,
    /// Write a line "partition offset" for each record when its ack arrives.
    #[arg(long, value_name = "FILE")]
    acks_out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Codec {
    None,
    Lz4,
    Zstd,
}

/// What the acks of this process say. Callbacks find it without holding it: see [`AckSink`].
static ACKS: AckSink = AckSink::new();

/// Looking for a failure costs a lock: once in so many records is soon enough.
const RECORDS_BETWEEN_LOOKS: u64 = 1024;

/// Produces.
pub(crate) fn run(client: &Client, args: &Args) -> Result<(), Failure> {
    let (producer, mut taken) = begin(client, args)?;
    if let Some(partition) = args.partition
        && partition >= producer.topic().partitions()
    {
        let (topic, partitions) = (&args.topic, producer.topic().partitions());
        return Err(Failure::Usage(format!(
            "topic {topic} has no partition {partition}: it has {partitions}, counted from 0"
        )));
    }
    let writer = args.acks_out.as_ref().map(begin_acks_out).transpose()?;
    if let Some(ack) = taken.asked {
        ACKS.note_ack(ack.partition, ack.offset);
    }
    let started = Instant::now();
    // What grows is read again.
    let last = if args.resume.is_some() { LastLine::NeedsFeed } else { LastLine::Counts };
    let read = each_line(&args.files, last, |line| taken.take(&producer, args, line));
    let asks_acks = producer.durability() != Durability::None;
    let summary = producer.close();
    let seconds = started.elapsed().as_secs_f64();
    ACKS.finish();
    let written = writer.map(thread::JoinHandle::join);
    report(&taken, &summary, asks_acks, seconds);
    read?.iter().for_each(tell_unfinished);
    if let (Some(Ok(Err(error))), Some(path)) = (written, &args.acks_out) {
        return Err(Failure::Failed(format!("cannot write to {}: {error}", path.display())));
    }
    judge(&taken, &summary, asks_acks)
}

/// What of a file was left for the next run.
fn tell_unfinished(Unfinished { path, bytes }: &Unfinished) {
    eprintln!(
        "plimsoll: {}: the last {bytes} bytes are not produced: no line feed ends them, so that \
         more of that line may be on its way; run the same command again when it is there",
        path.display()
    );
}

/// A producer, and what is to be left out of the files because it is there already.
fn begin(client: &Client, args: &Args) -> Result<(Producer, Taken), Failure> {
    let options = options(args)?;
    let Some(kept) = &args.resume else {
        let producer = client.producer(&args.topic, options).map_err(Failure::new)?;
        return Ok((producer, Taken::default()));
    };
    if args.durability == Some(Durability::None) || args.files.iter().any(|file| is_stdin(file)) {
        let sentence = "--resume needs acks, and files that can be read again";
        return Err(Failure::Usage(sentence.to_owned()));
    }
    let topic = client.topic(&args.topic).map_err(Failure::new)?;
    let partition = match (args.partition, topic.partitions()) {
        (Some(partition), partitions) if partition < partitions => partition,
        (None, 1) => 0,
        (_, partitions) => {
            return Err(Failure::Usage(format!(
                "--resume needs --partition: topic {} has {partitions}, counted from 0",
                args.topic
            )));
        }
    };
    let source = (&args.files[..], &**kept);
    let resumed = produce_resume::resume(client, (&args.topic, partition), source, &options)?;
    let Resumed { producer, already, asked } = resumed;
    let records = u64::from(asked.is_some());
    eprintln!("plimsoll: {} records were there already", already - records);
    Ok((producer, Taken { already, asked, records, ..Taken::default() }))
}

/// What was read and taken by the producer.
#[derive(Debug, Default)]
struct Taken {
    /// So many lines are left out at the beginning.
    already: u64,
    /// The ack of the last of them, if this process has sent that one.
    asked: Option<Ack>,
    lines: u64,
    records: u64,
    bytes: u64,
}

impl Taken {
    fn take(&mut self, producer: &Producer, args: &Args, line: &[u8]) -> Result<Flow, Failure> {
        self.lines += 1;
        if self.lines <= self.already {
            return Ok(Flow::GoOn);
        }
        if args.resume.is_some() {
            produce_resume::check_place(self.lines)?;
        }
        let separator = args.key_separator.as_ref().map(String::as_bytes);
        let (key, value) = match args.tombstones {
            true => (Some(line), None),
            false => {
                let (key, value) = split_key(line, separator);
                (key, Some(value))
            }
        };
        let (partition, deliver_after) = (args.partition, args.deliver_after);
        let record = NewRecord { partition, key, value, deliver_after, ..NewRecord::default() };
        producer.send_with(&record, |outcome| ACKS.note(outcome)).map_err(|error| {
            Failure::Failed(format!("line {} was not sent: {error}", self.lines))
        })?;
        self.records += 1;
        self.bytes += line.len() as u64;
        let is_look = self.records.is_multiple_of(RECORDS_BETWEEN_LOOKS);
        Ok(if is_look && ACKS.first_error().is_some() { Flow::Stop } else { Flow::GoOn })
    }
}

fn options(args: &Args) -> Result<ProducerOptions, Failure> {
    if args.durability == Some(Durability::None) && args.also.is_some() {
        let sentence = "--durability none asks for no ack: leave --also out, or ask for a level";
        return Err(Failure::Usage(sentence.to_owned()));
    }
    let mut options = ProducerOptions::default();
    if let Some(durability) = args.durability {
        options.durability = DurabilityWanted::Level(durability);
    }
    options.also = args.also;
    options.batch_bytes = usize::try_from(args.batch_bytes).unwrap_or(usize::MAX);
    options.linger = Duration::from_millis(args.linger_ms);
    options.compression = match args.compression {
        Codec::None => Compression::None,
        Codec::Lz4 => Compression::Lz4,
        Codec::Zstd => Compression::Zstd,
    };
    Ok(options)
}

fn begin_acks_out(path: &PathBuf) -> Result<thread::JoinHandle<std::io::Result<()>>, Failure> {
    let mut file = File::create(path).map_err(|error| {
        Failure::Failed(format!("cannot create {}: {error}; see --acks-out", path.display()))
    })?;
    ACKS.begin_lines();
    let writer = thread::Builder::new().name("acks-out".to_owned());
    writer.spawn(move || ACKS.write_to(&mut file)).map_err(Failure::new)
}

fn report(taken: &Taken, summary: &Summary, asks_acks: bool, seconds: f64) {
    let ended = if asks_acks { summary.acked } else { summary.sent };
    let (word, rate) = (if asks_acks { "acked" } else { "sent" }, ended as f64 / seconds.max(1e-9));
    let ranges = ACKS.ranges();
    eprintln!(
        "records {} {word} {ended} bytes {} seconds {seconds:.3} records/s {rate:.0} partitions {}",
        taken.records,
        taken.bytes,
        ranges.len()
    );
    for (partition, range) in ranges {
        eprintln!(
            "partition {partition} records {} offsets {}..={}",
            range.records, range.first, range.last
        );
    }
}

fn judge(taken: &Taken, summary: &Summary, asks_acks: bool) -> Result<(), Failure> {
    let ended = if asks_acks { summary.acked } else { summary.sent };
    if ended == taken.records {
        return Ok(());
    }
    let reason = ACKS.first_error().unwrap_or_else(|| "no reason was given".to_owned());
    let word = if asks_acks { "acked" } else { "sent" };
    Err(Failure::Failed(format!(
        "{ended} of {} records were {word} ({} surely not written, {} of unknown fate): {reason}",
        taken.records, summary.refused, summary.unknown
    )))
}

fn not_empty(text: &str) -> Result<String, &'static str> {
    if text.is_empty() { Err("must not be empty") } else { Ok(text.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parsed(words: &[&str]) -> Result<Args, clap::Error> {
        Line::try_parse_from(["produce", "t"].iter().chain(words)).map(|line| line.args)
    }

    #[test]
    fn the_flags_of_the_contract_are_taken() {
        let words = ["--durability", "page-cache", "--also", "disk", "--batch-bytes", "64KiB"];
        let options = options(&parsed(&words).unwrap()).unwrap();
        assert_eq!(options.durability, DurabilityWanted::Level(Durability::PageCache));
        assert_eq!((options.also, options.batch_bytes), (Some(AckLevel::Disk), 64 << 10));
        let words = ["--linger-ms", "5", "--compression", "zstd", "--acks-out", "f", "a", "b"];
        assert_eq!(parsed(&words).unwrap().files.len(), 2);
    }

    #[test]
    fn contradictions_are_refused() {
        assert!(parsed(&["--partition", "1", "--key-separator", "="]).is_err());
        assert!(parsed(&["--key-separator", ""]).is_err());
        assert!(parsed(&["--tombstones", "--key-separator", "="]).is_err());
        let args = parsed(&["--durability", "none", "--also", "disk"]).unwrap();
        assert!(matches!(options(&args), Err(Failure::Usage(_))));
    }
}
