//! `plimsoll group describe` of a group in share mode: what is done, at work, delayed and dead.
//!
//! What a newcomer gets wrong: a share group has no lag of one number. What nobody was handed yet
//! is `unseen`; what was handed out and is not done stands in the columns before it.

use plimsoll_client_blocking::{GroupInfo, Offset, ShareDescription};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::group::{Topics, member_json, members_table};
use crate::table::{aligned, columns, print};

/// Shows the group.
pub(crate) fn describe(
    group: &str,
    found: &GroupInfo,
    topics: &Topics,
    json: bool,
) -> Result<(), Failure> {
    let value = json!({
        "group": group,
        "mode": found.mode.name(),
        "state": found.state.name(),
        "generation": found.generation,
        "members": found.members.iter().map(|of| member_json(of, topics)).collect::<Value>(),
        "partitions": found.share.iter().map(|of| row_json(of, topics)).collect::<Value>(),
    });
    print(json, &value, || {
        let (state, count) = (found.state.name(), found.members.len());
        let mut text = format!("group {group}, share, {state}, members {count}\n");
        text += &members_table(found);
        let names = [
            "TOPIC",
            "PARTITION",
            "START",
            "IN FLIGHT",
            "DELAYED",
            "WAITING",
            "DEAD",
            "UNSEEN",
            "DEAD-LETTERED",
            "DROPPED",
        ];
        let rows = found.share.iter().map(|of| cells(of, topics));
        let table: Vec<Vec<String>> = std::iter::once(columns(&names)).chain(rows).collect();
        text + &aligned(&table)
    })
}

/// Offsets that nobody was handed.
fn unseen(of: &ShareDescription, topics: &Topics) -> Option<u64> {
    let end = topics.ends.get(&of.partition)?;
    Some(end.value().saturating_sub(of.end.value()))
}

fn row_json(of: &ShareDescription, topics: &Topics) -> Value {
    json!({
        "topic": topics.name(of.partition.topic),
        "partition": of.partition.partition.0,
        "start": of.start.value(),
        "handed_out_to": of.end.value(),
        "end": topics.ends.get(&of.partition).copied().map(Offset::value),
        "in_flight": of.in_flight,
        "delayed": of.delayed,
        "waiting": of.waiting,
        "dead": of.dead,
        "unseen": unseen(of, topics),
        "dead_lettered": of.dead_lettered,
        "dropped": of.dropped,
    })
}

fn cells(of: &ShareDescription, topics: &Topics) -> Vec<String> {
    let unseen = unseen(of, topics).map_or("-".to_owned(), |unseen| unseen.to_string());
    vec![
        topics.name(of.partition.topic),
        of.partition.partition.0.to_string(),
        of.start.to_string(),
        of.in_flight.to_string(),
        of.delayed.to_string(),
        of.waiting.to_string(),
        of.dead.to_string(),
        unseen,
        of.dead_lettered.to_string(),
        of.dropped.to_string(),
    ]
}
