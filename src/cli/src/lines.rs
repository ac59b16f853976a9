//! Records out of text: a record a line, from files or stdin, one line in memory at a time.
//!
//! The line feed is not part of the record; a carriage return before it is, because nothing is to
//! be lost of what was given. A last line without a line feed counts.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// What is read in one system call.
const BUFFER_BYTES: usize = 256 << 10;

/// Calls `take` with each line of the files, or of stdin where there are none (`-` is stdin as
/// well), until it says to stop. Gives the last lines that do not count yet.
pub(crate) fn each_line(
    files: &[PathBuf],
    last: LastLine,
    mut take: impl FnMut(&[u8]) -> Result<Flow, Failure>,
) -> Result<Vec<Unfinished>, Failure> {
    let mut unfinished = Vec::new();
    let stdin = [PathBuf::from("-")];
    let files = if files.is_empty() { &stdin[..] } else { files };
    for path in files {
        let unreadable =
            |error: io::Error| Failure::Failed(format!("cannot read {}: {error}", path.display()));
        let (flow, left_bytes) = if is_stdin(path) {
            lines_of(io::stdin().lock(), last, &mut take, unreadable)?
        } else {
            lines_of(File::open(path).map_err(unreadable)?, last, &mut take, unreadable)?
        };
        if left_bytes > 0 {
            unfinished.push(Unfinished { path: path.clone(), bytes: left_bytes });
        }
        if flow == Flow::Stop {
            break;
        }
    }
    Ok(unfinished)
}

/// A last line without a line feed that did not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unfinished {
    pub(crate) path: PathBuf,
    pub(crate) bytes: usize,
}

/// What a last line without a line feed is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastLine {
    /// A line as any other.
    Counts,
    /// Perhaps a part of one that is still being written: it does not count yet.
    NeedsFeed,
}

/// Whether this name stands for stdin.
pub(crate) fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    GoOn,
    Stop,
}

fn lines_of(
    input: impl Read,
    last: LastLine,
    take: &mut impl FnMut(&[u8]) -> Result<Flow, Failure>,
    unreadable: impl Fn(io::Error) -> Failure,
) -> Result<(Flow, usize), Failure> {
    let mut input = BufReader::with_capacity(BUFFER_BYTES, input);
    let mut line = Vec::new();
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line).map_err(&unreadable)? == 0 {
            return Ok((Flow::GoOn, 0));
        }
        let record = match line.strip_suffix(b"\n") {
            Some(record) => record,
            None if last == LastLine::Counts => &line,
            None => return Ok((Flow::GoOn, line.len())),
        };
        if take(record)? == Flow::Stop {
            return Ok((Flow::Stop, 0));
        }
    }
}

/// Key and value of a line: what stands before the first separator, and what follows it. A line
/// without one has no key.
pub(crate) fn split_key<'a>(
    line: &'a [u8],
    separator: Option<&[u8]>,
) -> (Option<&'a [u8]>, &'a [u8]) {
    let found = separator.and_then(|separator| {
        let at = line.windows(separator.len()).position(|window| window == separator)?;
        Some((&line[..at], &line[at + separator.len()..]))
    });
    found.map_or((None, line), |(key, value)| (Some(key), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str, most: usize) -> Vec<String> {
        lines_until(text, most, LastLine::Counts)
    }

    fn lines_until(text: &str, most: usize, last: LastLine) -> Vec<String> {
        let mut found = Vec::new();
        let mut take = |line: &[u8]| {
            found.push(String::from_utf8_lossy(line).into_owned());
            Ok(if found.len() == most { Flow::Stop } else { Flow::GoOn })
        };
        lines_of(text.as_bytes(), last, &mut take, |error| panic!("{error}")).unwrap();
        found
    }

    #[test]
    fn a_record_a_line_and_the_last_needs_no_line_feed() {
        assert_eq!(lines("one\n\ntwo\r\nthree", 9), ["one", "", "two\r", "three"]);
        assert_eq!(lines("one\n", 9), ["one"]);
        assert!(lines("", 9).is_empty());
    }

    #[test]
    fn a_line_that_is_still_being_written_does_not_count_where_it_is_read_again() {
        assert_eq!(lines_until("one\ntw", 9, LastLine::NeedsFeed), ["one"]);
        assert_eq!(lines_until("one\ntwo\n", 9, LastLine::NeedsFeed), ["one", "two"]);
    }

    #[test]
    fn reading_stops_when_it_is_told_to() {
        assert_eq!(lines("one\ntwo\nthree\n", 2), ["one", "two"]);
    }

    #[test]
    fn the_first_separator_splits_key_and_value() {
        assert_eq!(split_key(b"k=v=w", Some(b"=")), (Some(&b"k"[..]), &b"v=w"[..]));
        assert_eq!(split_key(b"=v", Some(b"=")), (Some(&b""[..]), &b"v"[..]));
        assert_eq!(split_key(b"line", Some(b"=")), (None, &b"line"[..]));
        assert_eq!(split_key(b"k=v", None), (None, &b"k=v"[..]));
        let arrow = "→".as_bytes();
        assert_eq!(split_key("k→v".as_bytes(), Some(arrow)), (Some(&b"k"[..]), &b"v"[..]));
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let failure =
            each_line(&["/nonexistent".into()], LastLine::Counts, |_| Ok(Flow::GoOn)).unwrap_err();
        assert!(failure.to_string().contains("/nonexistent"), "{failure}");
    }
}
