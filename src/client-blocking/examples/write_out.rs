//! A member of a consumer group that writes records out: a line for each, into a file named by the
//! record's key.
//!
//! `write_out SERVER TOPIC GROUP DIRECTORY`: start as many as there is work for, each with a
//! directory of its own, and again on the same one after a crash. A batch is committed when its
//! lines are on disk, so a crash at any moment loses none; those of the last batch may come twice.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use plimsoll_client_blocking::{Client, GroupError, GroupOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [server, topic, group, directory] = &words[..] else {
        return Err("write_out SERVER TOPIC GROUP DIRECTORY".into());
    };
    fs::create_dir_all(directory)?;
    let client = Client::connect(server)?;
    let mut consumer = client.group_consumer(topic, group, GroupOptions::default())?;
    let mut files: BTreeMap<String, File> = BTreeMap::new();
    loop {
        let batch = match consumer.next_batch(Duration::from_millis(500)) {
            Ok(Some(batch)) => batch,
            Ok(None) => continue,
            // The server is away, or the partitions have gone to others: the member goes on.
            Err(
                error @ (GroupError::Disconnected { .. }
                | GroupError::Withdrawn { .. }
                | GroupError::NotPolled { .. }),
            ) => {
                eprintln!("write_out: {error}");
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let mut lines: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for record in batch.owned_records() {
            let record = record?;
            let name = String::from_utf8(record.key().unwrap_or_default().to_vec())?;
            let text = lines.entry(name).or_default();
            text.extend(record.value().unwrap_or_default());
            text.push(b'\n');
        }
        for (name, text) in lines {
            // A key is a name here, and no path.
            let Some(name) = Path::new(&name).file_name() else { continue };
            let path = Path::new(directory).join(name);
            let file = match files.entry(path.to_string_lossy().into_owned()) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => entry.insert(open(&path)?),
            };
            file.write_all(&text)?;
            file.sync_data()?;
        }
        // Not taken: the lines come again, here or to the member that has the partition now.
        if let Err(error) = consumer.commit() {
            eprintln!("write_out: {error}");
        }
    }
}

/// To write behind the last whole line: of a line that a crash cut, the record comes again.
fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
    let (mut end, mut block) = (file.metadata()?.len(), [0; 4096]);
    while end > 0 {
        let begin = end.saturating_sub(block.len() as u64);
        let block = &mut block[..(end - begin) as usize];
        file.read_exact_at(block, begin)?;
        let newline = block.iter().rposition(|byte| *byte == b'\n');
        end = newline.map_or(begin, |at| begin + at as u64 + 1);
        if newline.is_some() {
            break;
        }
    }
    file.set_len(end)?;
    // The name of a new file is on disk, too, before what is in it is committed.
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(file)
}
