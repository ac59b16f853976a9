//! The batches that a connection sends.
//!
//! A plain load sends one batch again and again. A verified one builds each batch anew: its records
//! have a [`Key`] that says which record of which run it is, and what its value sums up to.

use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use plimsoll_batch::{BatchBuilder, BuildError};

use crate::{LoadError, Source};

/// Who a verified record is: it travels as the record's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) run: u64,
    pub(crate) connection: u32,
    pub(crate) sequence: u64,
    pub(crate) value_crc: u32,
}

/// The length of an encoded [`Key`].
pub(crate) const KEY_BYTES: usize = 24;

impl Key {
    pub(crate) fn of(run: u64, connection: u32, sequence: u64, value: &[u8]) -> Key {
        Key { run, connection, sequence, value_crc: crc32c::crc32c(value) }
    }

    pub(crate) fn encode(&self) -> [u8; KEY_BYTES] {
        let mut bytes = [0; KEY_BYTES];
        bytes[..8].copy_from_slice(&self.run.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.connection.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[20..].copy_from_slice(&self.value_crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Key> {
        let bytes: &[u8; KEY_BYTES] = bytes.try_into().ok()?;
        let (run, rest) = bytes.split_first_chunk::<8>()?;
        let (connection, rest) = rest.split_first_chunk::<4>()?;
        let (sequence, rest) = rest.split_first_chunk::<8>()?;
        let value_crc = rest.first_chunk::<4>()?;
        Some(Key {
            run: u64::from_le_bytes(*run),
            connection: u32::from_le_bytes(*connection),
            sequence: u64::from_le_bytes(*sequence),
            value_crc: u32::from_le_bytes(*value_crc),
        })
    }
}

/// One batch to send.
#[derive(Clone, Debug)]
pub(crate) struct Payload {
    pub(crate) batch: Rc<Vec<u8>>,
    pub(crate) records: u32,
    /// Bytes of the keys and values in it.
    pub(crate) record_bytes: u64,
    pub(crate) first_sequence: u64,
}

/// Gives batch after batch.
#[derive(Debug)]
pub(crate) struct Payloads {
    kind: Kind,
    /// Memory of batches that were sent.
    pub(crate) spent: Vec<Vec<u8>>,
}

#[derive(Debug)]
enum Kind {
    Same(Payload),
    Fresh(Box<Fresh>),
}

#[derive(Debug)]
struct Fresh {
    run: u64,
    connection: u32,
    source: Source,
    batch_records: u32,
    builder: BatchBuilder,
    sequence: u64,
}

impl Payloads {
    /// The same batch for ever.
    pub(crate) fn same(
        source: &Source,
        connection: u32,
        batch_records: u32,
        batch_bytes_max: usize,
    ) -> Result<Payloads, LoadError> {
        let mut builder = BatchBuilder::with_limit(batch_bytes_max);
        let (mut bytes, mut record_bytes) = (Vec::new(), 0);
        let timestamp_ms = unix_ms();
        for sequence in 0..u64::from(batch_records) {
            let value = source.value(connection, sequence);
            record_bytes += value.len() as u64;
            let appended = builder.append(timestamp_ms, None, Some(value), &[]);
            appended.map_err(|_| too_large(batch_records, batch_bytes_max))?;
        }
        builder.finish_into(&mut bytes);
        let batch = Rc::new(bytes);
        let payload = Payload { batch, records: batch_records, record_bytes, first_sequence: 0 };
        Ok(Payloads { kind: Kind::Same(payload), spent: Vec::new() })
    }

    /// A fresh batch each time, with keys. Fewer records than wanted where they fill a batch.
    pub(crate) fn fresh(
        run: u64,
        source: Source,
        connection: u32,
        batch_records: u32,
        batch_bytes_max: usize,
    ) -> Payloads {
        let builder = BatchBuilder::with_limit(batch_bytes_max);
        let fresh = Fresh { run, connection, source, batch_records, builder, sequence: 0 };
        Payloads { kind: Kind::Fresh(Box::new(fresh)), spent: Vec::new() }
    }

    /// The next batch.
    pub(crate) fn next(&mut self) -> Result<Payload, LoadError> {
        match &mut self.kind {
            Kind::Same(payload) => Ok(payload.clone()),
            Kind::Fresh(fresh) => fresh.next(self.spent.pop().unwrap_or_default()),
        }
    }
}

impl Fresh {
    fn next(&mut self, mut bytes: Vec<u8>) -> Result<Payload, LoadError> {
        bytes.clear();
        let (first_sequence, mut record_bytes) = (self.sequence, 0);
        let timestamp_ms = unix_ms();
        while self.builder.record_count() < self.batch_records {
            let value = self.source.value(self.connection, self.sequence);
            let key = Key::of(self.run, self.connection, self.sequence, value).encode();
            match self.builder.append(timestamp_ms, Some(&key), Some(value), &[]) {
                Ok(()) => {}
                Err(BuildError::Full { .. }) => break,
                Err(error) => return Err(LoadError::Usage(format!("{error}; use --record-bytes"))),
            }
            record_bytes += (KEY_BYTES + value.len()) as u64;
            self.sequence += 1;
        }
        let records = self.builder.record_count();
        self.builder.finish_into(&mut bytes);
        Ok(Payload { batch: Rc::new(bytes), records, record_bytes, first_sequence })
    }
}

fn too_large(batch_records: u32, batch_bytes_max: usize) -> LoadError {
    LoadError::Usage(format!(
        "{batch_records} records do not fit a batch of {batch_bytes_max} bytes, the topic's limit: \
         lower --batch-records or --record-bytes, or use a topic that does not exist yet"
    ))
}

pub(crate) fn unix_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_batch::{Batch, BatchLimits};

    #[test]
    fn a_key_comes_back_as_it_went() {
        let key = Key::of(7, 3, 1 << 40, b"value");
        assert_eq!(Key::decode(&key.encode()), Some(key));
        assert_eq!(Key::decode(b"too short"), None);
    }

    #[test]
    fn fresh_batches_go_on_where_the_last_one_ended() {
        let source = Source::generated(50);
        let mut payloads = Payloads::fresh(1, source.clone(), 2, 10, 1 << 20);
        payloads.next().unwrap();
        let second = payloads.next().unwrap();
        assert_eq!((second.first_sequence, second.records), (10, 10));
        let batch = Batch::validate(&second.batch, &BatchLimits::default()).unwrap();
        let first = batch.records().unwrap().next().unwrap().unwrap();
        assert_eq!(first.value, Some(source.value(2, 10)));
        assert_eq!(Key::decode(first.key.unwrap()).unwrap().sequence, 10);
    }

    #[test]
    fn a_fresh_batch_that_is_full_has_fewer_records_and_none_is_left_out() {
        let mut payloads = Payloads::fresh(1, Source::generated(400), 0, 10, 2000);
        let first = payloads.next().unwrap();
        assert!(first.records < 10);
        assert_eq!(payloads.next().unwrap().first_sequence, u64::from(first.records));
    }

    #[test]
    fn a_plain_batch_over_the_topics_limit_is_a_usage_error() {
        let error = Payloads::same(&Source::generated(400), 0, 10, 2000).unwrap_err();
        assert!(error.to_string().contains("--batch-records"), "{error}");
    }
}
