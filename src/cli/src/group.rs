//! `plimsoll group`: list, describe, reset, delete.
//!
//! What a newcomer gets wrong: the lag is a difference of offsets. Offsets may jump, so that it is
//! never less than the number of records that wait, and may be more.

use std::collections::BTreeMap;

use plimsoll_client_blocking::{
    Client, ErrorCode, GroupInfo, GroupMember, GroupMode, GroupOffset, Offset, OffsetsWhat,
    PartitionIndex, StartAt, TopicId, TopicPartition, Visible,
};
use serde_json::{Value, json};

use crate::consume::From;
use crate::failure::Failure;
use crate::group_share;
use crate::table::{aligned, columns, print};

/// List, describe, reset and delete consumer groups.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  plimsoll group list
  plimsoll group describe archive --json
  plimsoll group reset archive --topic logs --to beginning --dry-run")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List all groups.
    #[command(after_help = "Example:\n  plimsoll group list --json")]
    List {
        /// A JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Show the members of a group, what each holds, and how far the group has come.
    #[command(after_help = "Example:\n  plimsoll group describe archive")]
    Describe {
        /// The group.
        #[arg(value_name = "G")]
        group: String,
        /// A JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Set the committed offsets of a group without members.
    #[command(after_help = "\
Example:
  plimsoll group reset archive --topic logs --to @1700000000000 --dry-run")]
    Reset(Reset),
    /// Delete a group without members and its committed offsets, durably.
    #[command(after_help = "Example:\n  plimsoll group delete archive")]
    Delete {
        /// The group.
        #[arg(value_name = "G")]
        group: String,
        /// A JSON object.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Reset {
    /// The group.
    #[arg(value_name = "G")]
    group: String,
    /// The topic, all of its partitions.
    #[arg(long, value_name = "T")]
    topic: String,
    /// The offset of the record to go on with, in each partition.
    #[arg(long, value_name = "beginning|end|OFFSET|@UNIX_MS")]
    to: From,
    /// Only say what would be set.
    #[arg(long)]
    dry_run: bool,
    /// A JSON object.
    #[arg(long)]
    json: bool,
}

/// Carries out the command.
pub(crate) fn run(client: &Client, args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::List { json } => list(client, *json),
        Command::Describe { group, json } => describe(client, group, *json),
        Command::Reset(reset) => self::reset(client, reset),
        Command::Delete { group, json } => {
            // The server takes it for done: who asks again after a lost answer is right. A person
            // has more likely mistyped it.
            if existing(client, group)?.is_none() {
                return Err(Failure::Failed(format!(
                    "there is no group {group}; `plimsoll group list` shows those that there are"
                )));
            }
            client.delete_group(group).map_err(Failure::new)?;
            print(*json, &json!({ "group": group, "deleted": true }), || {
                format!("deleted group {group}\n")
            })
        }
    }
}

fn list(client: &Client, json: bool) -> Result<(), Failure> {
    let mut groups = client.groups().map_err(Failure::new)?;
    groups.sort_by(|one, other| one.group.cmp(&other.group));
    let value = groups.iter().map(|group| {
        json!({
            "group": group.group,
            "mode": group.mode.name(),
            "state": group.state.name(),
            "members": group.members,
            "committed_partitions": group.offsets,
        })
    });
    print(json, &value.collect(), || {
        let mut table =
            vec![columns(&["GROUP", "MODE", "STATE", "MEMBERS", "COMMITTED PARTITIONS"])];
        for group in &groups {
            let (members, offsets) = (group.members.to_string(), group.offsets.to_string());
            let (mode, state) = (group.mode.name().to_owned(), group.state.name().to_owned());
            table.push(vec![group.group.clone(), mode, state, members, offsets]);
        }
        aligned(&table)
    })
}

fn describe(client: &Client, group: &str, json: bool) -> Result<(), Failure> {
    let found = client.describe_group(group).map_err(Failure::new)?;
    let topics = Topics::ask(client, &found)?;
    if found.mode == GroupMode::Share {
        return group_share::describe(group, &found, &topics, json);
    }
    let partitions = partitions(&found, &topics);
    let value = json!({
        "group": group,
        "mode": found.mode.name(),
        "state": found.state.name(),
        "assignor": found.assignor.name(),
        "generation": found.generation,
        "members": found.members.iter().map(|of| member_json(of, &topics)).collect::<Value>(),
        "partitions": partitions.iter().map(Row::json).collect::<Value>(),
    });
    print(json, &value, || {
        let (state, assignor) = (found.state.name(), found.assignor.name());
        let count = found.members.len();
        let mut text = format!("group {group}, {state}, members {count}, assignor {assignor}\n");
        text += &members_table(&found);
        let names = ["TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "MEMBER", "IDLE MS"];
        let rows = partitions.iter().map(Row::cells);
        let table: Vec<Vec<String>> = std::iter::once(columns(&names)).chain(rows).collect();
        text + &aligned(&table)
    })
}

pub(crate) fn members_table(group: &GroupInfo) -> String {
    let names = ["MEMBER", "INSTANCE", "CLIENT", "PARTITIONS", "IDLE MS"];
    let rows = group.members.iter().map(member_row);
    aligned(&std::iter::once(columns(&names)).chain(rows).collect::<Vec<_>>())
}

/// The topics of a group: their names, and where their partitions end on disk.
pub(crate) struct Topics {
    names: BTreeMap<u32, String>,
    pub(crate) ends: BTreeMap<TopicPartition, Offset>,
}

impl Topics {
    fn ask(client: &Client, group: &GroupInfo) -> Result<Topics, Failure> {
        let held = group.members.iter().flat_map(|member| &member.partitions);
        let committed = group.offsets.iter().map(|of| &of.partition);
        let shared = group.share.iter().map(|of| &of.partition);
        let ids: Vec<TopicId> = held.chain(committed).chain(shared).map(|of| of.topic).collect();
        let (mut names, mut ends) = (BTreeMap::new(), BTreeMap::new());
        for topic in client.topics().map_err(Failure::new)? {
            let id = TopicId(topic.id);
            if !ids.contains(&id) {
                continue;
            }
            for partition in client.describe(&topic.name).map_err(Failure::new)? {
                let place = TopicPartition { topic: id, partition: partition.partition };
                ends.insert(place, partition.watermarks.disk);
            }
            names.insert(topic.id, topic.name);
        }
        Ok(Topics { names, ends })
    }

    /// A topic that was deleted has no name any more.
    pub(crate) fn name(&self, id: TopicId) -> String {
        self.names.get(&id.0).cloned().unwrap_or_else(|| format!("#{}", id.0))
    }
}

struct Row {
    topic: String,
    partition: u32,
    committed: Option<GroupOffset>,
    end: Option<Offset>,
    member: Option<(u64, u64)>,
}

/// Everything that is held or committed.
fn partitions(group: &GroupInfo, topics: &Topics) -> Vec<Row> {
    let mut rows: BTreeMap<TopicPartition, Row> = BTreeMap::new();
    let row = |place: &TopicPartition| Row {
        topic: topics.name(place.topic),
        partition: place.partition.0,
        committed: None,
        end: topics.ends.get(place).copied(),
        member: None,
    };
    for committed in &group.offsets {
        let place = committed.partition;
        rows.entry(place).or_insert_with(|| row(&place)).committed = Some(committed.clone());
    }
    for member in &group.members {
        for place in &member.partitions {
            let idle_ms = member.idle.as_millis() as u64;
            rows.entry(*place).or_insert_with(|| row(place)).member =
                Some((member.member, idle_ms));
        }
    }
    rows.into_values().collect()
}

impl Row {
    fn lag(&self) -> Option<u64> {
        let committed = self.committed.as_ref()?.offset.value();
        Some(self.end?.value().saturating_sub(committed))
    }

    fn json(&self) -> Value {
        let committed = self.committed.as_ref();
        json!({
            "topic": self.topic,
            "partition": self.partition,
            "committed": committed.map(|of| of.offset.value()),
            "committed_unix_ms": committed.map(|of| of.unix_ms),
            "metadata": committed.map(|of| &of.metadata),
            "end": self.end.map(Offset::value),
            "lag": self.lag(),
            "member": self.member.map(|member| member.0),
            "idle_ms": self.member.map(|member| member.1),
        })
    }

    fn cells(&self) -> Vec<String> {
        let cell = |number: Option<u64>| number.map_or("-".to_owned(), |it| it.to_string());
        vec![
            self.topic.clone(),
            self.partition.to_string(),
            cell(self.committed.as_ref().map(|of| of.offset.value())),
            cell(self.end.map(Offset::value)),
            cell(self.lag()),
            cell(self.member.map(|member| member.0)),
            cell(self.member.map(|member| member.1)),
        ]
    }
}

pub(crate) fn member_json(member: &GroupMember, topics: &Topics) -> Value {
    let held = member
        .partitions
        .iter()
        .map(|place| json!({ "topic": topics.name(place.topic), "partition": place.partition.0 }));
    json!({
        "member": member.member,
        "instance": member.instance,
        "client": member.client,
        "idle_ms": member.idle.as_millis() as u64,
        "partitions": held.collect::<Value>(),
    })
}

fn member_row(member: &GroupMember) -> Vec<String> {
    let instance = if member.instance.is_empty() { "-" } else { &member.instance };
    vec![
        member.member.to_string(),
        instance.to_owned(),
        member.client.clone(),
        member.partitions.len().to_string(),
        member.idle.as_millis().to_string(),
    ]
}

fn reset(client: &Client, reset: &Reset) -> Result<(), Failure> {
    let Reset { group, topic: name, to, dry_run, json } = reset;
    let topic = client.topic(name).map_err(Failure::new)?;
    let before = committed(client, group, topic.id)?;
    let mut offsets = Vec::new();
    for partition in 0..topic.partitions() {
        let place = |what| client.offset(name, partition, what, Visible::Disk);
        let offset = match to.0 {
            StartAt::Beginning => place(OffsetsWhat::Beginning),
            StartAt::End => place(OffsetsWhat::End),
            StartAt::Timestamp { unix_ms } => place(OffsetsWhat::Timestamp { unix_ms }),
            StartAt::Offset(offset) => Ok(offset),
        };
        let (topic, partition) = (TopicId(topic.id), PartitionIndex(partition));
        let offset = offset.map_err(Failure::new)?;
        offsets.push((TopicPartition { topic, partition }, Some(offset)));
    }
    if !dry_run {
        for some in offsets.chunks(PARTITIONS_AT_ONCE) {
            set(client, group, some)?;
        }
    }
    let partitions = offsets.iter().map(|(place, offset)| {
        json!({
            "partition": place.partition.0,
            "before": before.get(&place.partition.0).map(|offset| offset.value()),
            "committed": offset.map(Offset::value),
        })
    });
    let partitions: Value = partitions.collect();
    let value =
        json!({ "group": group, "topic": name, "dry_run": dry_run, "partitions": partitions });
    print(*json, &value, || {
        let mut table = vec![columns(&["PARTITION", "BEFORE", "COMMITTED"])];
        for (place, offset) in &offsets {
            let cell = |it: Option<Offset>| it.map_or("-".to_owned(), |it| it.to_string());
            let before = before.get(&place.partition.0).copied();
            table.push(vec![place.partition.0.to_string(), cell(before), cell(*offset)]);
        }
        let head = if *dry_run { "would reset" } else { "reset" };
        format!("{head} group {group}, topic {name}\n{}", aligned(&table))
    })
}

/// The committed offsets of a topic in a group that has no members.
fn committed(
    client: &Client,
    group: &str,
    topic_id: u32,
) -> Result<BTreeMap<u32, Offset>, Failure> {
    if let Some(found) = existing(client, group)?
        && !found.members.is_empty()
    {
        let members = found.members.len();
        return Err(Failure::Failed(format!(
            "group {group} has members: {members}; stop them, then reset it"
        )));
    }
    committed_of(client, group, topic_id)
}

/// The committed offsets of a topic; a group that does not exist yet has none.
pub(crate) fn committed_of(
    client: &Client,
    group: &str,
    topic_id: u32,
) -> Result<BTreeMap<u32, Offset>, Failure> {
    let offsets = existing(client, group)?.map(|found| found.offsets).unwrap_or_default();
    let of_topic = offsets.iter().filter(|of| of.partition.topic.0 == topic_id);
    Ok(of_topic.map(|of| (of.partition.partition.0, of.offset)).collect())
}

fn existing(client: &Client, group: &str) -> Result<Option<GroupInfo>, Failure> {
    match client.describe_group(group) {
        Ok(found) => Ok(Some(found)),
        Err(error)
            if error.server_error().is_some_and(|it| it.code == ErrorCode::GroupNotFound) =>
        {
            Ok(None)
        }
        Err(error) => Err(Failure::new(error)),
    }
}

fn set(
    client: &Client,
    group: &str,
    offsets: &[(TopicPartition, Option<Offset>)],
) -> Result<(), Failure> {
    for of in client.reset_offsets(group, offsets).map_err(Failure::new)? {
        if let Some(code) = of.error {
            return Err(Failure::Failed(format!(
                "the offset of partition {} was not set: {code}; others may have been, look at \
                 `plimsoll group describe {group}`",
                of.partition.partition.0
            )));
        }
    }
    Ok(())
}

/// What one request takes.
const PARTITIONS_AT_ONCE: usize = 10_000;
