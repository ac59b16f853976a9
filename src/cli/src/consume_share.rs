//! `plimsoll consume --group --share`: a member that shares the records themselves, not the
//! partitions.
//!
//! A record is accepted when its line was written and flushed, so that a crash at any moment
//! repeats lines and loses none. SIGINT and SIGTERM end it cleanly: what was written is settled,
//! the rest is given back, and the member leaves.

use std::io::Write;
use std::time::Duration;

use plimsoll_client_blocking::{
    Client, ShareBegin, ShareConsumer, ShareError, ShareOptions, SharedRecord, StartAt,
};
use plimsoll_ring::Signals;

use crate::consume_format::Format;
use crate::failure::Failure;
use crate::span::parse_span;

/// What `--share` needs beside what every consumer needs.
#[derive(Debug, clap::Args)]
pub(crate) struct ShareArgs {
    /// The group hands each record to one member, whichever asks, in no order: a work queue. All
    /// members must agree on --lock, --deliveries-max, --dead-letter and --from.
    #[arg(long, requires = "group", conflicts_with_all = ["until", "commit", "on_removed"])]
    #[arg(conflicts_with = "instance")]
    share: bool,
    /// The topic for records that were rejected, or handed out too often; else they are dropped.
    #[arg(long, requires = "share", value_name = "D")]
    dead_letter: Option<String>,
    /// How often a record is handed out at most; 0: as often as it takes.
    #[arg(long, requires = "share", value_name = "N", default_value_t = 5)]
    deliveries_max: u32,
    /// How long after a crash of this member others wait for its records.
    #[arg(long, requires = "share", value_name = "SPAN", default_value = "30s")]
    #[arg(value_parser = parse_span)]
    lock: Duration,
}

impl ShareArgs {
    pub(crate) fn is_wanted(&self) -> bool {
        self.share
    }

    fn options(&self, from: StartAt, max_records: Option<u64>) -> Result<ShareOptions, Failure> {
        let mut options = ShareOptions::default();
        options.begin = match from {
            StartAt::Beginning => ShareBegin::Beginning,
            StartAt::End => ShareBegin::End,
            StartAt::Timestamp { unix_ms } => ShareBegin::Timestamp { unix_ms },
            StartAt::Offset(_) => {
                return Err(Failure::Usage(String::from(
                    "--share begins at beginning, end or a time; an offset is set with \
                     `plimsoll group reset`",
                )));
            }
        };
        options.dead_letter.clone_from(&self.dead_letter);
        options.deliveries_max =
            if self.deliveries_max == 0 { u32::MAX } else { self.deliveries_max };
        options.lock = self.lock;
        if let Some(max_records) = max_records.and_then(|records| u32::try_from(records).ok()) {
            options.records_max = options.records_max.min(max_records);
        }
        Ok(options)
    }
}

/// What is to be consumed, and how it is shown.
pub(crate) struct Shared<'a> {
    pub(crate) topics: &'a [String],
    pub(crate) group: &'a str,
    pub(crate) from: StartAt,
    pub(crate) max_records: Option<u64>,
    pub(crate) format: Format,
}

/// How long to wait for records before looking whether a signal has come.
const WAIT: Duration = Duration::from_millis(200);

/// Lines that are written at once.
const RECORDS_AT_ONCE: usize = 100;

/// Consumes until all that was asked for is written, or a signal comes.
pub(crate) fn run(client: &Client, shared: &Shared<'_>, args: &ShareArgs) -> Result<(), Failure> {
    let options = args.options(shared.from, shared.max_records)?;
    // Before the client has threads, which would take the signals otherwise.
    let signals = Signals::block().map_err(Failure::new)?;
    let names: Vec<&str> = shared.topics.iter().map(String::as_str).collect();
    let member = client.share_consumer(&names, shared.group, options).map_err(Failure::new)?;
    let done = consume(&member, shared, &signals);
    let closed = member.close();
    done?;
    closed.map_err(Failure::new)
}

fn consume(member: &ShareConsumer, shared: &Shared<'_>, signals: &Signals) -> Result<(), Failure> {
    let mut left = shared.max_records.unwrap_or(u64::MAX);
    let (mut bytes, mut is_away) = (Vec::new(), false);
    let shows_topic = shared.topics.len() > 1;
    while left > 0 && signals.wait_timeout(Duration::ZERO).map_err(Failure::new)?.is_none() {
        let records_max = usize::try_from(left).unwrap_or(usize::MAX).min(RECORDS_AT_ONCE);
        let polled = member.poll(records_max, WAIT);
        tell(member);
        let records = match polled {
            Ok(records) => records,
            // It goes on by itself when the server is back.
            Err(error @ ShareError::Disconnected { .. }) => {
                if !is_away {
                    eprintln!("plimsoll: {error}");
                }
                is_away = true;
                continue;
            }
            Err(error) => return Err(Failure::new(error)),
        };
        if is_away && !records.is_empty() {
            eprintln!("plimsoll: it goes on");
            is_away = false;
        }
        bytes.clear();
        for record in &records {
            shared.format.write_shared(shows_topic, record, &mut bytes);
        }
        let mut stdout = std::io::stdout().lock();
        let written = stdout.write_all(&bytes).and_then(|()| stdout.flush());
        written.map_err(|error| Failure::of_output(&error))?;
        records.iter().for_each(|record: &SharedRecord| member.accept(record));
        left -= records.len() as u64;
    }
    Ok(())
}

/// Tells on stderr what a person who reads the lines should know.
fn tell(member: &ShareConsumer) {
    for notice in member.notices() {
        eprintln!("plimsoll: {notice}");
    }
    let unsettled = member.take_unsettled();
    if !unsettled.is_empty() {
        eprintln!("plimsoll: {}", ShareError::NotSettled(unsettled));
    }
}
