//! A worker of a work queue: takes jobs from a topic, does each, and says what became of it.
//!
//! A job is a line `PATH TEXT`: the text is to be appended to the file. Start as many workers as
//! you like, on as many machines; kill any of them, or the server, at any moment: every job is
//! done at least once, and one that nobody can do is in the dead-letter topic with the reason.
//!
//! `cargo run --example job_worker -- HOST:PORT TOPIC GROUP DEAD_LETTER_TOPIC DIRECTORY`

#![forbid(unsafe_code)]

use plimsoll_client_blocking::{Client, ShareConsumer, ShareError, ShareOptions, SharedRecord};
use std::error::Error;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [address, topic, group, dead_letter, directory] = &words[..] else {
        return Err("usage: job_worker HOST:PORT TOPIC GROUP DEAD_LETTER_TOPIC DIRECTORY".into());
    };
    let client = Client::connect(address.as_str())?;
    let mut options = ShareOptions::default();
    options.dead_letter = Some(dead_letter.clone());
    // How long the others wait after a crash of this worker.
    options.lock = Duration::from_secs(5);
    // Few, so that jobs spread evenly.
    options.records_max = 10;
    let jobs = client.share_consumer(&[topic], group, options)?;
    loop {
        match jobs.next(Duration::from_secs(1)) {
            Ok(Some(job)) => decide(&jobs, &job, Path::new(directory)),
            Ok(None) => {}
            // It comes back by itself.
            Err(error @ ShareError::Disconnected { .. }) => eprintln!("{error}"),
            Err(error) => return Err(error.into()),
        }
        for notice in jobs.notices() {
            eprintln!("{notice}");
        }
        for unsettled in jobs.take_unsettled() {
            eprintln!("offset {}: {}", unsettled.offset, unsettled.fault);
        }
    }
}

/// Does a job, and says what became of it. The server has heard it when `flush` has returned, or
/// soon after; a crash before that repeats the job.
fn decide(jobs: &ShareConsumer, job: &SharedRecord, directory: &Path) {
    match parse(job) {
        // Nobody can do it, however often they try.
        Err(reason) => jobs.reject(job, reason),
        Ok((path, text)) => match work(&directory.join(path), text) {
            Ok(()) => jobs.accept(job),
            // It may pass: later, and somebody else perhaps.
            Err(error) => {
                eprintln!("offset {}, delivery {}: {error}", job.offset, job.deliveries);
                jobs.release(job, Duration::from_secs(1));
            }
        },
    }
}

fn parse(job: &SharedRecord) -> Result<(&str, &str), &'static str> {
    let line = job.value().ok_or("a job needs a value")?;
    let line = std::str::from_utf8(line).map_err(|_| "a job is text")?;
    let (path, text) = line.split_once(' ').ok_or("a job is a path, a space, and text")?;
    let is_name = !path.is_empty() && !path.contains('/') && path != "..";
    if is_name { Ok((path, text)) } else { Err("the path of a job is a name") }
}

fn work(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    // One write: a crash leaves all of the line or nothing of it.
    file.write_all(format!("{text}\n").as_bytes())?;
    file.sync_data()
}
