//! Where the records come from.
//!
//! A value is a function of connection and sequence number alone, so that whoever checks later
//! needs to keep neither records nor hashes. Real lines go round when there are more records than
//! lines.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The values of all records of a load.
#[derive(Clone, Debug)]
pub enum Source {
    /// Values of one size, cut out of pseudo-random bytes.
    Generated(Arc<Generated>),
    /// Lines of text.
    Lines(Arc<Lines>),
    /// Lines on the first two of every four connections, generated values on the others: each shard
    /// has both, because connections go to the shards in turn.
    Mixed(Arc<Lines>, Arc<Generated>),
}

impl Source {
    /// Generated values of `record_bytes` each.
    #[must_use]
    pub fn generated(record_bytes: usize) -> Source {
        Source::Generated(Arc::new(Generated::new(record_bytes)))
    }

    /// The lines of `text`.
    #[must_use]
    pub fn lines(text: Vec<u8>) -> Source {
        Source::Lines(Arc::new(Lines::new(text)))
    }

    /// Lines of `text` and generated values of `record_bytes`, by turns of the connections.
    #[must_use]
    pub fn mixed(text: Vec<u8>, record_bytes: usize) -> Source {
        Source::Mixed(Arc::new(Lines::new(text)), Arc::new(Generated::new(record_bytes)))
    }

    /// The value of a record.
    #[must_use]
    pub fn value(&self, connection: u32, sequence: u64) -> &[u8] {
        match self {
            Source::Generated(generated) => generated.value(connection, sequence),
            Source::Lines(lines) => lines.value(connection, sequence),
            Source::Mixed(lines, _) if connection % 4 < 2 => lines.value(connection, sequence),
            Source::Mixed(_, generated) => generated.value(connection, sequence),
        }
    }
}

/// Values of one size.
#[derive(Debug)]
pub struct Generated {
    pool: Vec<u8>,
    record_bytes: usize,
}

/// Larger than the caches of a core would make the client pay for memory that it need not touch.
const POOL_BYTES: usize = 256 << 10;

impl Generated {
    fn new(record_bytes: usize) -> Generated {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut pool = Vec::with_capacity(POOL_BYTES + record_bytes + 8);
        while pool.len() < POOL_BYTES + record_bytes {
            state = mix(state);
            pool.extend_from_slice(&state.to_le_bytes());
        }
        Generated { pool, record_bytes }
    }

    fn value(&self, connection: u32, sequence: u64) -> &[u8] {
        let at = mix(sequence ^ u64::from(connection) << 48) as usize % POOL_BYTES;
        &self.pool[at..at + self.record_bytes]
    }
}

/// Lines of uneven length.
#[derive(Debug)]
pub struct Lines {
    text: Vec<u8>,
    /// Where each line begins; the last one is the end of the text.
    starts: Vec<usize>,
}

impl Lines {
    fn new(mut text: Vec<u8>) -> Lines {
        if text.last() != Some(&b'\n') {
            text.push(b'\n');
        }
        let ends = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let starts = std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect();
        Lines { text, starts }
    }

    /// How many lines, at least one.
    #[must_use]
    pub fn count(&self) -> usize {
        self.starts.len() - 1
    }

    /// How long the text is.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        self.text.len()
    }

    fn value(&self, connection: u32, sequence: u64) -> &[u8] {
        let stride = self.count() as u64 / 7 * u64::from(connection);
        let line = (stride.wrapping_add(sequence) % self.count() as u64) as usize;
        &self.text[self.starts[line]..self.starts[line + 1] - 1]
    }
}

/// A good mixer of 64 bits (the finisher of splitmix64).
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

/// Text that this machine has: package indexes, logs, documentation, sources, at most `bytes_max`
/// of it. `fallback` is walked when the usual places are empty.
#[must_use]
pub fn lines_of_this_machine(bytes_max: usize, fallback: &Path) -> Vec<u8> {
    let mut text = Vec::new();
    let registry = std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| {
        let home = std::env::var_os("HOME")?;
        Some(Path::new(&home).join(".cargo"))
    });
    let mut places: Vec<PathBuf> =
        ["/var/lib/dpkg", "/var/lib/apt/lists", "/var/log", "/usr/share", "/usr/include"]
            .iter()
            .map(PathBuf::from)
            .collect();
    places.extend(registry.map(|home| home.join("registry/src")));
    places.push(fallback.to_owned());
    for place in places {
        // No single place is to fill it all: the mix of long and short lines is the point.
        let until = bytes_max.min(text.len() + bytes_max / 3);
        gather(&place, until, 0, &mut text);
    }
    text
}

/// How deep to look: far enough for sources, not for ever where links go round.
const DEPTH_MAX: usize = 8;

/// A file larger than this is taken up to here.
const FILE_BYTES_MAX: u64 = 8 << 20;

fn gather(place: &Path, until: usize, depth: usize, text: &mut Vec<u8>) {
    let Ok(entries) = fs::read_dir(place) else { return };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if text.len() >= until {
            return;
        }
        let Ok(metadata) = path.symlink_metadata() else { continue };
        if metadata.is_dir() && depth < DEPTH_MAX {
            gather(&path, until, depth + 1, text);
        } else if metadata.is_file() && metadata.len() > 0 {
            append_text(&path, until, text);
        }
    }
}

/// Appends the file if it is text with lines.
fn append_text(path: &Path, until: usize, text: &mut Vec<u8>) {
    use std::io::Read;
    let start = text.len();
    let Ok(file) = fs::File::open(path) else { return };
    let room = FILE_BYTES_MAX.min((until - start) as u64);
    if file.take(room).read_to_end(text).is_err() {
        text.truncate(start);
        return;
    }
    let is_text =
        text[start..].iter().take(4096).all(|byte| *byte >= b' ' || byte.is_ascii_whitespace());
    match text[start..].iter().rposition(|byte| *byte == b'\n') {
        Some(end) if is_text => text.truncate(start + end + 1),
        _ => text.truncate(start),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_given_without_their_ends_and_go_round() {
        let source = Source::lines(b"one\n\nthree".to_vec());
        let values: Vec<&[u8]> = (0..4).map(|sequence| source.value(0, sequence)).collect();
        assert_eq!(values, [&b"one"[..], b"", b"three", b"one"]);
    }

    #[test]
    fn generated_values_have_the_size_and_differ_between_neighbours() {
        let source = Source::generated(100);
        assert_eq!(source.value(3, 9).len(), 100);
        assert_ne!(source.value(3, 9), source.value(3, 10));
        assert_ne!(source.value(3, 9), source.value(4, 9));
        assert_eq!(source.value(3, 9), source.value(3, 9));
    }

    #[test]
    fn half_of_the_connections_of_a_mixed_source_send_lines() {
        let source = Source::mixed(b"a line\n".to_vec(), 10);
        assert_eq!(source.value(4, 5), b"a line");
        assert_eq!(source.value(2, 5).len(), 10);
    }

    #[test]
    fn binary_files_are_left_out() {
        let directory = std::env::temp_dir().join(format!("plimsoll-lines-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("a.bin"), b"\x00\x01\n\x02").unwrap();
        fs::write(directory.join("b.txt"), b"text\nmore, cut off").unwrap();
        let mut text = Vec::new();
        gather(&directory, 1000, 0, &mut text);
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(text, b"text\n");
    }
}
