//! `plimsoll consume --share --exec`: a command for each record, whose exit code is the verdict.
//!
//! The command is run by `sh -c`, with the value on its stdin, and in its environment where the
//! record comes from. What a newcomer gets wrong: an exit code that says nothing special means
//! again later, not never; how often is what `--deliveries-max` is for.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use plimsoll_client_blocking::{ShareConsumer, SharedRecord};
use plimsoll_ring::Signals;

use crate::failure::Failure;

/// What to run, and when to try again.
pub(crate) struct Exec<'a> {
    pub(crate) command: &'a str,
    pub(crate) retry_delay: Duration,
}

/// The input makes no sense: of `sysexits.h`, EX_DATAERR.
const NEVER: i32 = 65;

impl Exec<'_> {
    /// Runs the command for the record, and says what became of it.
    pub(crate) fn work(
        &self,
        member: &ShareConsumer,
        record: &SharedRecord,
        signals: &Signals,
    ) -> Result<(), Failure> {
        let mut command = Command::new("sh");
        command.args(["-c", self.command]).stdin(Stdio::piped());
        command.env("PLIMSOLL_TOPIC", record.topic());
        command.env("PLIMSOLL_PARTITION", record.partition.to_string());
        command.env("PLIMSOLL_OFFSET", record.offset.to_string());
        command.env("PLIMSOLL_DELIVERIES", record.deliveries.to_string());
        if let Some(Ok(key)) = record.key().map(std::str::from_utf8)
            && !key.contains('\0')
        {
            command.env("PLIMSOLL_KEY", key);
        }
        signals.unblock_in(&mut command);
        let mut child = command
            .spawn()
            .map_err(|error| Failure::Failed(format!("cannot run sh: {error}; see --exec")))?;
        if let Some(mut stdin) = child.stdin.take() {
            // Who does not read its stdin closes it.
            let _ = stdin.write_all(record.value().unwrap_or_default());
        }
        let status = child.wait().map_err(Failure::new)?;
        match status.code() {
            Some(0) => member.accept(record),
            Some(NEVER) => member.reject(record, "the command exited with 65"),
            _ => {
                let (topic, partition, offset) = (record.topic(), record.partition, record.offset);
                eprintln!("plimsoll: {topic}/{partition} at {offset}: {status}, again later");
                member.release(record, self.retry_delay);
            }
        }
        Ok(())
    }
}
