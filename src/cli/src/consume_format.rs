//! How a consumed record is written: its value and a line feed, its topic before that, or a line of
//! JSON.
//!
//! A JSON line has `topic` (where several are consumed), `partition`, `offset`, `timestamp_ms`,
//! `key`, `value` and `headers`. Keys, values and header names are strings where they are UTF-8,
//! `{"base64": "..."}` where they are not, and `null` where there is none. `headers` is a list,
//! because a name may come twice.

use std::io::Write;

use plimsoll_client_blocking::{BorrowedRecord, Header, Offset, SharedRecord};

use crate::base64::encode_base64;

/// What a record looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Its value and a line feed. Of several topics nobody can tell which it is of.
    Value,
    /// Its topic, a tabulator, its value and a line feed.
    TopicValue,
    /// A line of JSON.
    Json,
}

impl Format {
    /// Appends a record to `out`.
    pub(crate) fn write(
        self,
        (topic, is_one_of_several): (&str, bool),
        partition: u32,
        record: &BorrowedRecord<'_>,
        out: &mut Vec<u8>,
    ) {
        let &BorrowedRecord { offset, timestamp_ms, key, value, .. } = record;
        let deliveries = None;
        let line = Line {
            topic,
            is_one_of_several,
            partition,
            offset,
            timestamp_ms,
            deliveries,
            key,
            value,
        };
        self.write_line(&line, record.headers.clone(), out);
    }

    /// The same of a group in share mode. JSON has `deliveries` as well.
    pub(crate) fn write_shared(
        self,
        is_one_of_several: bool,
        record: &SharedRecord,
        out: &mut Vec<u8>,
    ) {
        let line = Line {
            topic: record.topic(),
            is_one_of_several,
            partition: record.partition,
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            deliveries: Some(record.deliveries),
            key: record.key(),
            value: record.value(),
        };
        self.write_line(&line, record.headers(), out);
    }

    fn write_line<'a>(
        self,
        line: &Line<'_>,
        headers: impl Iterator<Item = Header<'a>>,
        out: &mut Vec<u8>,
    ) {
        match self {
            Format::Value | Format::TopicValue => {
                if self == Format::TopicValue {
                    out.extend_from_slice(line.topic.as_bytes());
                    out.push(b'\t');
                }
                out.extend_from_slice(line.value.unwrap_or_default());
                out.push(b'\n');
            }
            Format::Json => write_json(line, headers, out),
        }
    }
}

/// What is shown of a record beside its headers.
struct Line<'a> {
    topic: &'a str,
    is_one_of_several: bool,
    partition: u32,
    offset: Offset,
    timestamp_ms: i64,
    deliveries: Option<u32>,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
}

fn write_json<'a>(line: &Line<'_>, headers: impl Iterator<Item = Header<'a>>, out: &mut Vec<u8>) {
    let &Line { partition, offset, timestamp_ms, deliveries, key, value, .. } = line;
    out.push(b'{');
    if line.is_one_of_several {
        out.extend_from_slice(b"\"topic\":");
        write_bytes(Some(line.topic.as_bytes()), out);
        out.push(b',');
    }
    // Writing to memory cannot fail.
    let _ = write!(
        out,
        "\"partition\":{partition},\"offset\":{offset},\"timestamp_ms\":{timestamp_ms},"
    );
    if let Some(deliveries) = deliveries {
        let _ = write!(out, "\"deliveries\":{deliveries},");
    }
    out.extend_from_slice(b"\"key\":");
    write_bytes(key, out);
    out.extend_from_slice(b",\"value\":");
    write_bytes(value, out);
    out.extend_from_slice(b",\"headers\":[");
    for (place, header) in headers.enumerate() {
        out.extend_from_slice(if place == 0 { b"{\"name\":" } else { b",{\"name\":" });
        write_bytes(Some(header.name), out);
        out.extend_from_slice(b",\"value\":");
        write_bytes(header.value, out);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}\n");
}

fn write_bytes(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    let Some(bytes) = bytes else { return out.extend_from_slice(b"null") };
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            // Writing to memory cannot fail, and every string is JSON.
            let _ = serde_json::to_writer(out, text);
        }
        Err(_) => {
            out.extend_from_slice(b"{\"base64\":\"");
            encode_base64(bytes, out);
            out.extend_from_slice(b"\"}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(bytes: Option<&[u8]>) -> String {
        let mut out = Vec::new();
        write_bytes(bytes, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_is_a_string_other_bytes_are_base64_and_nothing_is_null() {
        assert_eq!(json(Some(b"a \"b\"\n")), r#""a \"b\"\n""#);
        assert_eq!(json(Some(b"\xff\xfe")), r#"{"base64":"//4="}"#);
        assert_eq!(json(Some(b"")), r#""""#);
        assert_eq!(json(None), "null");
    }
}
