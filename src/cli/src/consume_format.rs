//! How a consumed record is written: its value and a line feed, its topic before that, or a line of
//! JSON.
//!
//! A JSON line has `topic` (where several are consumed), `partition`, `offset`, `timestamp_ms`,
//! `key`, `value` and `headers`. Keys, values and header names are strings where they are UTF-8,
//! `{"base64": "..."}` where they are not, and `null` where there is none. `headers` is a list,
//! because a name may come twice.

use std::io::Write;

use plimsoll_client_blocking::BorrowedRecord;

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
        match self {
            Format::Value | Format::TopicValue => {
                if self == Format::TopicValue {
                    out.extend_from_slice(topic.as_bytes());
                    out.push(b'\t');
                }
                out.extend_from_slice(record.value.unwrap_or_default());
                out.push(b'\n');
            }
            Format::Json => {
                out.push(b'{');
                if is_one_of_several {
                    out.extend_from_slice(b"\"topic\":");
                    write_bytes(Some(topic.as_bytes()), out);
                    out.push(b',');
                }
                write_json(partition, record, out);
            }
        }
    }
}

/// All of the line but its beginning.
fn write_json(partition: u32, record: &BorrowedRecord<'_>, out: &mut Vec<u8>) {
    let BorrowedRecord { offset, timestamp_ms, .. } = record;
    // Writing to memory cannot fail.
    let _ = write!(
        out,
        "\"partition\":{partition},\"offset\":{offset},\"timestamp_ms\":{timestamp_ms},\"key\":"
    );
    write_bytes(record.key, out);
    out.extend_from_slice(b",\"value\":");
    write_bytes(record.value, out);
    out.extend_from_slice(b",\"headers\":[");
    for (place, header) in record.headers.clone().enumerate() {
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
