//! Follows the files `*.log` of a directory: each whole line becomes a record, whose key is the
//! file's name, so that the lines of a file stay in order.
//!
//! `tail_directory SERVER TOPIC DIRECTORY POSITIONS`: how far each file was sent is kept in the
//! directory POSITIONS, and only moved on when the server has the lines on disk. So a crash of
//! either side loses no line; lines that were sent and not yet noted are sent again.

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use plimsoll_client_blocking::{Client, NewRecord, Producer, ProducerOptions};

/// Lines that are sent before the position is noted.
const LINES_MAX: usize = 10_000;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [server, topic, directory, positions] = &words[..] else {
        return Err("tail_directory SERVER TOPIC DIRECTORY POSITIONS".into());
    };
    fs::create_dir_all(positions)?;
    // The default is durability of the topic, and each record in the log once.
    let producer = Client::connect(server)?.producer(topic, ProducerOptions::default())?;
    loop {
        let mut has_sent = false;
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "log") {
                has_sent |= follow(&producer, &path, Path::new(positions))?;
            }
        }
        if !has_sent {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Sends what is new in a file. Whether there was anything.
fn follow(producer: &Producer, path: &Path, positions: &Path) -> Result<bool, Box<dyn Error>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let noted = positions.join(&name);
    let begin: u64 = match fs::read_to_string(&noted) {
        Ok(position) => position.trim().parse()?,
        Err(_) => 0,
    };
    let mut file = BufReader::new(File::open(path)?);
    file.seek(SeekFrom::Start(begin))?;
    let (mut position, mut line, mut receipts) = (begin, Vec::new(), Vec::new());
    while receipts.len() < LINES_MAX && file.read_until(b'\n', &mut line)? > 0 {
        let Some(text) = line.strip_suffix(b"\n") else { break };
        receipts.push(producer.send(&NewRecord::of_value(text).with_key(name.as_bytes()))?);
        position += line.len() as u64;
        line.clear();
    }
    for receipt in &receipts {
        receipt.wait()?;
    }
    if position > begin {
        note(&noted, position)?;
    }
    Ok(position > begin)
}

/// The old position or the new one is there after any crash.
fn note(path: &PathBuf, position: u64) -> Result<(), Box<dyn Error>> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    writeln!(file, "{position}")?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    Ok(())
}
