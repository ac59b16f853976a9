//! `plimsoll topic`: create, list, describe, alter, delete.
//!
//! Text is for people and may change its spacing; `--json` is for scripts and keeps its names.

use plimsoll_client_blocking::{
    AckLevel, CleanupPolicy, Client, NewTopic, Offset, OffsetsWhat, PartitionDescription,
    PartitionState, Topic, TopicChanges, TopicCleanup, TopicRetention, Visible,
};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::size::{parse_size, parse_size_u32};
use crate::table::{aligned, columns, print};

/// Create, list, describe, alter and delete topics.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  plimsoll topic create logs --partitions 4 --durability disk
  plimsoll topic describe logs --json")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Create a topic, durably.
    #[command(after_help = "Example:\n  plimsoll topic create logs --partitions 4")]
    Create(Create),
    /// List all topics.
    #[command(after_help = "Example:\n  plimsoll topic list --json")]
    List {
        /// A JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Show a topic and where each of its partitions stands.
    #[command(after_help = "Example:\n  plimsoll topic describe logs")]
    Describe {
        /// The topic.
        #[arg(value_name = "T")]
        topic: String,
        /// A JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Change settings of a topic, durably and at once.
    #[command(after_help = "\
Example:
  plimsoll topic alter logs --retention 7d --retention-bytes 10GiB
  plimsoll topic alter logs --retention unlimited")]
    Alter(Alter),
    /// Delete the oldest records of a partition, durably.
    #[command(
        after_help = "Example:\n  plimsoll topic delete-records logs --partition 0 --to 4200"
    )]
    DeleteRecords {
        /// The topic.
        #[arg(value_name = "T")]
        topic: String,
        /// The partition.
        #[arg(long, value_name = "P")]
        partition: u32,
        /// The first offset that is to stay, or `end`.
        #[arg(long, value_name = "OFFSET|end", value_parser = parse_to)]
        to: DeleteTo,
        /// A JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Delete a topic and its records, durably.
    #[command(after_help = "Example:\n  plimsoll topic delete logs")]
    Delete {
        /// The topic.
        #[arg(value_name = "T")]
        topic: String,
        /// A JSON object.
        #[arg(long)]
        json: bool,
    },
}

/// Up to where records go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DeleteTo {
    Offset(Offset),
    End,
}

fn parse_to(text: &str) -> Result<DeleteTo, String> {
    match text {
        "end" => Ok(DeleteTo::End),
        _ => match text.parse::<u64>().map(Offset::new) {
            Ok(offset) if offset <= Offset::MAX => Ok(DeleteTo::Offset(offset)),
            _ => Err("expected an offset, or `end`".to_owned()),
        },
    }
}

#[derive(Debug, clap::Args)]
struct Create {
    /// The topic: 1 to 249 of a-z A-Z 0-9 . _ -
    #[arg(value_name = "T")]
    topic: String,
    /// How many partitions.
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    partitions: u32,
    /// The level of an ack where a producer does not ask for one: memory, page-cache or disk.
    #[arg(long, value_name = "LEVEL")]
    durability: Option<AckLevel>,
    /// How soon what sits in the page cache is on disk.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    flush_interval_ms: Option<u32>,
    /// The size of a segment, 1GiB say.
    #[arg(long, value_name = "N", value_parser = parse_size)]
    segment_bytes: Option<u64>,
    /// The largest record batch, 1MiB say.
    #[arg(long, value_name = "N", value_parser = parse_size_u32)]
    max_batch_bytes: Option<u32>,
    /// How long records stay at least, 7d say; without it they stay for ever.
    #[arg(long, value_name = "AGE|unlimited", value_parser = parse_age_ms)]
    retention: Option<u64>,
    /// How much of each partition stays at least, 10GiB say; without it all does.
    #[arg(long, value_name = "N|unlimited", value_parser = parse_kept_bytes)]
    retention_bytes: Option<u64>,
    #[command(flatten)]
    cleanup: Cleanup,
    /// A JSON object.
    #[arg(long)]
    json: bool,
}

/// How old records go.
#[derive(Debug, clap::Args)]
struct Cleanup {
    /// `delete`: what the retention does not keep; `compact`: all but the latest record of each
    /// key; `compact,delete`: both. A compacted topic takes no compressed batches.
    #[arg(long, value_name = "POLICY", value_parser = parse_cleanup)]
    cleanup: Option<CleanupPolicy>,
    /// Records younger than this are not touched by compaction, 1m say; 0s: all are.
    #[arg(long, value_name = "AGE", value_parser = parse_time_ms)]
    compaction_lag: Option<u64>,
    /// How long a deleted key's last record, one without a value, stays to be seen; 24h without it.
    #[arg(long, value_name = "AGE", value_parser = parse_time_ms)]
    tombstone_retention: Option<u64>,
}

#[derive(Debug, clap::Args)]
#[group(id = "changes", multiple = true, required = true)]
#[group(args = ["retention", "retention_bytes", "flush_interval_ms", "segment_bytes"])]
#[group(args = ["durability", "cleanup", "compaction_lag", "tombstone_retention"])]
struct Alter {
    /// The topic.
    #[arg(value_name = "T")]
    topic: String,
    /// How long records stay at least, 7d say.
    #[arg(long, value_name = "AGE|unlimited", value_parser = parse_age_ms)]
    retention: Option<u64>,
    /// How much of each partition stays at least, 10GiB say.
    #[arg(long, value_name = "N|unlimited", value_parser = parse_kept_bytes)]
    retention_bytes: Option<u64>,
    /// How soon what sits in the page cache is on disk.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    flush_interval_ms: Option<u32>,
    /// The size of segments that are begun from now on, 1GiB say.
    #[arg(long, value_name = "N", value_parser = parse_size)]
    segment_bytes: Option<u64>,
    /// The level of an ack where a producer does not ask for one: memory, page-cache or disk.
    #[arg(long, value_name = "LEVEL")]
    durability: Option<AckLevel>,
    #[command(flatten)]
    cleanup: Cleanup,
    /// A JSON object.
    #[arg(long)]
    json: bool,
}

fn parse_cleanup(text: &str) -> Result<CleanupPolicy, String> {
    match text {
        "delete" => Ok(CleanupPolicy::Delete),
        "compact" => Ok(CleanupPolicy::Compact),
        "compact,delete" | "delete,compact" => Ok(CleanupPolicy::CompactDelete),
        _ => Err("expected `delete`, `compact` or `compact,delete`".to_owned()),
    }
}

/// In milliseconds; 0 is at once.
fn parse_time_ms(text: &str) -> Result<u64, String> {
    match text {
        "0" | "0s" => Ok(0),
        "unlimited" => Err("expected an age such as 90s, 30m, 12h, 7d, or 0s".to_owned()),
        _ => parse_age_ms(text),
    }
}

/// In milliseconds; 0 is for ever.
fn parse_age_ms(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|last: char| !last.is_ascii_digit());
    let unit_ms: u64 = match &text[digits.len()..] {
        "unlimited" if digits.is_empty() => return Ok(0),
        "s" => 1000,
        "m" | "min" => 60 * 1000,
        "h" => 3600 * 1000,
        "d" => 24 * 3600 * 1000,
        "w" => 7 * 24 * 3600 * 1000,
        _ => return Err("expected an age such as 90s, 30m, 12h, 7d, 4w, or `unlimited`".to_owned()),
    };
    let count = digits.parse::<u64>().ok().filter(|count| *count > 0);
    count
        .and_then(|count| count.checked_mul(unit_ms))
        .ok_or_else(|| format!("{text} is not an age"))
}

/// 0 is everything.
fn parse_kept_bytes(text: &str) -> Result<u64, String> {
    match text {
        "unlimited" => Ok(0),
        _ => match parse_size(text)? {
            0 => Err("0 bytes cannot be kept; `unlimited` keeps everything".to_owned()),
            bytes => Ok(bytes),
        },
    }
}

/// Carries out the command.
pub(crate) fn run(client: &Client, args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::Create(create) => self::create(client, create),
        Command::List { json } => list(client, *json),
        Command::Describe { topic, json } => describe(client, topic, *json),
        Command::Alter(alter) => self::alter(client, alter),
        Command::DeleteRecords { topic, partition, to, json } => {
            delete_records(client, (topic, *partition), *to, *json)
        }
        Command::Delete { topic, json } => {
            client.delete_topic(topic).map_err(Failure::new)?;
            print(*json, &json!({ "topic": topic, "deleted": true }), || {
                format!("deleted topic {topic}\n")
            })
        }
    }
}

fn create(client: &Client, create: &Create) -> Result<(), Failure> {
    let wanted = NewTopic {
        name: &create.topic,
        partitions: create.partitions,
        durability: create.durability,
        flush_interval_ms: create.flush_interval_ms.unwrap_or(0),
        segment_bytes: create.segment_bytes.unwrap_or(0),
        batch_bytes_max: create.max_batch_bytes.unwrap_or(0),
        retention: TopicRetention {
            age_ms: create.retention.unwrap_or(0),
            bytes: create.retention_bytes.unwrap_or(0),
        },
        cleanup: create.cleanup.of_new_topic(),
    };
    client.create_topic(&wanted).map_err(Failure::new)?;
    let topic = client.topic(&create.topic).map_err(Failure::new)?;
    print(create.json, &topic_json(&topic), || {
        let (name, partitions, durability) = (&topic.name, topic.partitions(), topic.durability);
        format!("created topic {name}, partitions {partitions}, durability {durability}\n")
    })
}

impl Cleanup {
    fn of_new_topic(&self) -> TopicCleanup {
        let default = TopicCleanup::DEFAULT;
        TopicCleanup {
            policy: self.cleanup.unwrap_or(default.policy),
            compaction_lag_ms: self.compaction_lag.unwrap_or(default.compaction_lag_ms),
            tombstone_retention_ms: self
                .tombstone_retention
                .unwrap_or(default.tombstone_retention_ms),
        }
    }
}

fn alter(client: &Client, alter: &Alter) -> Result<(), Failure> {
    let changes = TopicChanges {
        name: &alter.topic,
        retention_ms: alter.retention,
        retention_bytes: alter.retention_bytes,
        flush_interval_ms: alter.flush_interval_ms,
        segment_bytes: alter.segment_bytes,
        default_durability: alter.durability,
        cleanup: alter.cleanup.cleanup,
        compaction_lag_ms: alter.cleanup.compaction_lag,
        tombstone_retention_ms: alter.cleanup.tombstone_retention,
    };
    client.alter_topic(&changes).map_err(Failure::new)?;
    let topic = client.topic(&alter.topic).map_err(Failure::new)?;
    print(alter.json, &topic_json(&topic), || settings_line(&topic))
}

fn delete_records(
    client: &Client,
    (topic, partition): (&str, u32),
    to: DeleteTo,
    json: bool,
) -> Result<(), Failure> {
    let to = match to {
        DeleteTo::Offset(offset) => offset,
        DeleteTo::End => client
            .offset(topic, partition, OffsetsWhat::End, Visible::Memory)
            .map_err(Failure::new)?,
    };
    let start = client.delete_records(topic, partition, to).map_err(Failure::new)?;
    let value = json!({ "topic": topic, "partition": partition, "start": start.value() });
    print(json, &value, || format!("topic {topic}, partition {partition}: start {start}\n"))
}

fn list(client: &Client, json: bool) -> Result<(), Failure> {
    let topics = client.topics().map_err(Failure::new)?;
    print(json, &topics.iter().map(topic_json).collect(), || {
        let names =
            ["TOPIC", "PARTITIONS", "DURABILITY", "CLEANUP", "RETENTION", "RETENTION-BYTES"];
        let mut table = vec![columns(&names)];
        for topic in &topics {
            let (partitions, durability) = (topic.partitions(), topic.durability);
            let (name, [age, bytes]) = (topic.name.clone(), retention_texts(topic));
            let cleanup = topic.cleanup.policy.name().to_owned();
            let (partitions, durability) = (partitions.to_string(), durability.to_string());
            table.push(vec![name, partitions, durability, cleanup, age, bytes]);
        }
        aligned(&table)
    })
}

fn describe(client: &Client, topic: &str, json: bool) -> Result<(), Failure> {
    let found = client.topic(topic).map_err(Failure::new)?;
    let partitions = client.describe(topic).map_err(Failure::new)?;
    let mut value = topic_json(&found);
    value["partition"] = partitions.iter().map(partition_json).collect();
    print(json, &value, || {
        let head = settings_line(&found);
        let names = [
            "PARTITION",
            "SHARD",
            "STATE",
            "START",
            "MEMORY",
            "PAGE-CACHE",
            "DISK",
            "BYTES",
            "SEGMENTS",
        ];
        let rows = partitions.iter().map(partition_row);
        let table: Vec<Vec<String>> = std::iter::once(columns(&names)).chain(rows).collect();
        head + &aligned(&table)
    })
}

fn settings_line(topic: &Topic) -> String {
    let flush_interval_ms = topic.flush_interval.as_millis();
    let Topic { name, durability, segment_bytes, batch_bytes_max, .. } = topic;
    let [age, bytes] = retention_texts(topic);
    let cleanup = cleanup_text(topic);
    format!(
        "topic {name}, durability {durability}, flush_interval_ms {flush_interval_ms}, \
         segment_bytes {segment_bytes}, max_batch_bytes {batch_bytes_max}, retention {age}, \
         retention_bytes {bytes}, cleanup {cleanup}\n"
    )
}

/// With the settings that matter to it.
fn cleanup_text(topic: &Topic) -> String {
    let TopicCleanup { policy, compaction_lag_ms, tombstone_retention_ms } = topic.cleanup;
    let name = policy.name();
    if !policy.compacts() {
        return name.to_owned();
    }
    let (lag, kept) = (age_text(compaction_lag_ms), age_text(tombstone_retention_ms));
    format!("{name}, compaction_lag {lag}, tombstone_retention {kept}")
}

/// Age and bytes, each as the flag of its name would take it.
fn retention_texts(topic: &Topic) -> [String; 2] {
    let TopicRetention { age_ms, bytes } = topic.retention;
    let age = match age_ms {
        0 => "unlimited".to_owned(),
        _ => age_text(age_ms),
    };
    [age, if bytes == 0 { "unlimited".to_owned() } else { bytes.to_string() }]
}

fn age_text(age_ms: u64) -> String {
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];
    let unit = units.iter().find(|(_, unit_ms)| age_ms > 0 && age_ms.is_multiple_of(*unit_ms));
    match (unit, age_ms) {
        (Some((name, ms)), _) => format!("{}{name}", age_ms / ms),
        (None, 0) => "0s".to_owned(),
        (None, _) => format!("{age_ms}ms"),
    }
}

fn topic_json(topic: &Topic) -> Value {
    json!({
        "topic": topic.name,
        "id": topic.id,
        "partitions": topic.partitions(),
        "durability": topic.durability.name(),
        "flush_interval_ms": topic.flush_interval.as_millis() as u64,
        "segment_bytes": topic.segment_bytes,
        "max_batch_bytes": topic.batch_bytes_max,
        "retention_ms": limit(topic.retention.age_ms),
        "retention_bytes": limit(topic.retention.bytes),
        "cleanup": topic.cleanup.policy.name(),
        "compaction_lag_ms": topic.cleanup.compaction_lag_ms,
        "tombstone_retention_ms": topic.cleanup.tombstone_retention_ms,
    })
}

/// No limit is null.
fn limit(value: u64) -> Value {
    if value == 0 { Value::Null } else { value.into() }
}

fn partition_json(partition: &PartitionDescription) -> Value {
    let watermarks = &partition.watermarks;
    json!({
        "partition": partition.partition.0,
        "shard": partition.shard.0,
        "state": state_name(partition.state),
        "start": watermarks.start.value(),
        "memory": watermarks.memory.value(),
        "page_cache": watermarks.page_cache.value(),
        "disk": watermarks.disk.value(),
        "bytes": partition.bytes,
        "segments": partition.segments,
    })
}

fn partition_row(partition: &PartitionDescription) -> Vec<String> {
    let watermarks = &partition.watermarks;
    vec![
        partition.partition.0.to_string(),
        partition.shard.0.to_string(),
        state_name(partition.state).to_owned(),
        watermarks.start.to_string(),
        watermarks.memory.to_string(),
        watermarks.page_cache.to_string(),
        watermarks.disk.to_string(),
        partition.bytes.to_string(),
        partition.segments.to_string(),
    ]
}

fn state_name(state: PartitionState) -> &'static str {
    match state {
        PartitionState::Healthy => "healthy",
        PartitionState::Damaged => "damaged",
        PartitionState::Failed => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_a_unit_or_is_unlimited() {
        assert_eq!(parse_age_ms("7d"), Ok(7 * 24 * 3600 * 1000));
        assert_eq!(parse_age_ms("90s"), Ok(90_000));
        assert_eq!(parse_age_ms("unlimited"), Ok(0));
        for wrong in ["", "7", "d", "0s", "1unlimited", "-1d", "1.5h", "99999999999999999999d"] {
            assert!(parse_age_ms(wrong).is_err(), "{wrong}");
        }
        assert!(parse_kept_bytes("0").is_err());
        assert_eq!(parse_kept_bytes("unlimited"), Ok(0));
    }
}
