//! The keys of records in a compacted topic, and what a reader is shown of a record.
//!
//! A record's number says which key it has, and whether it deletes it. What a newcomer gets wrong:
//! a deletion has no value that could name the record, so that in these topics each record has its
//! number in a header.

use plimsoll_client::{BorrowedRecord, Header};
use plimsoll_sim::Random;
use plimsoll_wire::Offset;

use crate::ledger::Entry;
use crate::scenario::CompactionPlan;
use crate::value::{RecordId, id_of, value_of};

/// The header with the number.
const NAME: &str = "number";

/// A record's key, and what it does to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keyed {
    pub(crate) key: Option<u32>,
    pub(crate) deletes: bool,
    /// A header has the record's number.
    pub(crate) is_named: bool,
}

impl Keyed {
    /// Of a record in a topic that is compacted.
    pub(crate) fn of(plan: &CompactionPlan, id: RecordId, may_delete: bool) -> Self {
        let mut random = Random::new(id.0).stream("key");
        let key = random.below(u64::from(plan.keys)) as u32;
        let key = (!random.chance(u64::from(plan.keyless_permille))).then_some(key);
        let deletes = random.chance(u64::from(plan.deletions_permille));
        Self { key, deletes: deletes && may_delete && key.is_some(), is_named: true }
    }

    /// The bytes of the key; of the first key there are none.
    pub(crate) fn key_bytes(self) -> Option<Vec<u8>> {
        self.key.map(|key| vec![key as u8; key as usize * 7])
    }
}

/// The header of a record.
pub(crate) fn name_of(number: &[u8]) -> Header<'_> {
    Header::new(NAME, number)
}

/// What a reader is shown of a record.
pub(crate) struct Shown<'a> {
    pub(crate) offset: Offset,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    number: Option<&'a [u8]>,
    headers: usize,
}

impl<'a> Shown<'a> {
    pub(crate) fn of(record: &BorrowedRecord<'a>) -> Self {
        let &BorrowedRecord { offset, key, value, .. } = record;
        let named = record.headers.clone().find(|header| header.name == NAME.as_bytes());
        let number = named.and_then(|header| header.value);
        Self { offset, key, value, number, headers: record.headers.clone().count() }
    }

    /// The record that it says it is.
    pub(crate) fn id(&self) -> Option<RecordId> {
        self.value.or(self.number).and_then(id_of)
    }

    /// Whether it is that one, byte for byte.
    pub(crate) fn is(&self, id: RecordId, entry: &Entry) -> bool {
        let Keyed { deletes, is_named, .. } = entry.keyed;
        let value = (!deletes).then(|| value_of(id, entry.length));
        let number = id.0.to_le_bytes();
        self.value == value.as_deref()
            && self.key == entry.keyed.key_bytes().as_deref()
            && self.number == is_named.then_some(&number[..])
    }

    /// Whether it has the headers with which it was produced, and no others, as far as they are
    /// counted: a copy in a dead-letter topic has more.
    pub(crate) fn has_headers_of(&self, entry: &Entry) -> bool {
        let is_delayed = entry.due_ms.is_some();
        self.headers == usize::from(entry.keyed.is_named) + usize::from(is_delayed)
    }
}
