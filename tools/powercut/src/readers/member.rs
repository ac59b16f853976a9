//! A member that says what it was handed, what it asks to commit, and what of that was answered.
//!
//! What a newcomer gets wrong: that it asks is said before it does, so that no offset can be
//! committed of which nobody heard.

use std::collections::BTreeMap;
use std::time::Duration;

use plimsoll_client_blocking::{
    Client, CommitReport, GroupConsumer, GroupError, GroupEvent, GroupOptions, Offset,
    PartitionIndex, Record, TopicId, TopicPartition,
};
use plimsoll_tests::{Random, value_id};

use super::{GROUP, PAGES};
use crate::crew::Voice;

/// For records.
const WAIT: Duration = Duration::from_millis(50);
/// For the answer to a commit. Who waits when the power is cut does so in vain.
const COMMIT_TIMEOUT: Duration = Duration::from_millis(500);
/// Batches between two commits of a member that is to come to the end.
const BATCHES_NOW_AND_THEN: u64 = 20;
/// So short that most cuts come while a reset is under way.
const RESET_PAUSE_US_MAX: u64 = 500;

/// When a member commits, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// After each batch, and waits.
    ByBatch,
    /// After each record but a few, and waits.
    ByRecord,
    /// After each batch, and goes on.
    Unawaited,
    /// After many batches, and waits.
    NowAndThen,
}

impl Manner {
    /// Those of whom the power is cut.
    pub(super) const OF_LOAD: [Manner; 3] = [Manner::ByBatch, Manner::ByRecord, Manner::Unawaited];
}

/// What a member or an operator says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// The partition is its own now.
    Given { member: usize, partition: u32 },
    /// It was handed the record with this number.
    Handed { member: usize, partition: u32, offset: u64, id: u64 },
    /// It is about to commit up to before this offset.
    Asked { manner: Manner, partition: u32, offset: u64 },
    /// A commit of `asked` was answered: this is committed, durably.
    Answered { manner: Manner, partition: u32, asked: u64, committed: u64 },
    /// An operator is about to set a partition to this offset.
    ResetAsked { partition: u32, offset: u64 },
    /// That was answered.
    ResetAnswered { partition: u32, committed: Option<u64> },
}

pub(super) struct Member {
    consumer: GroupConsumer,
    /// Among the members of its crew.
    number: usize,
    manner: Manner,
    random: Random,
    voice: Voice<Heard>,
    /// Behind what it was handed of each partition.
    handed: BTreeMap<u32, u64>,
    batches: u64,
}

impl Member {
    pub(super) fn join(
        address: &str,
        number: usize,
        (manner, random): (Manner, Random),
        voice: Voice<Heard>,
    ) -> Result<Member, String> {
        let client = Client::connect(address).map_err(|error| error.to_string())?;
        let mut options = GroupOptions::default();
        options.commit_timeout = COMMIT_TIMEOUT;
        let consumer = client.group_consumer(PAGES, GROUP, options);
        let consumer = consumer.map_err(|error| error.to_string())?;
        let (handed, batches) = (BTreeMap::new(), 0);
        Ok(Member { consumer, number, manner, random, voice, handed, batches })
    }

    /// Until it is over, or the membership is.
    pub(super) fn work(mut self) -> Result<(), String> {
        while !self.voice.is_over() {
            let is_handed = match self.manner {
                Manner::ByRecord => self.read_record(),
                _ => self.read_batch(),
            };
            match is_handed {
                Ok(true) | Err(GroupError::Disconnected { .. }) => {}
                // Nothing is there, or a partition goes to somebody else, who may have to read
                // again what is not committed of it.
                Ok(false) if self.random.once_in(3) => {}
                Ok(false) => self.commit().map_err(|error| error.to_string())?,
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }

    fn read_record(&mut self) -> Result<bool, GroupError> {
        let Some(record) = self.consumer.next(WAIT)? else { return Ok(false) };
        self.say_what_was_given();
        self.say_handed(&record);
        let next = record.offset.value() + 1;
        self.handed.insert(record.partition, next);
        if !self.random.once_in(4) {
            let (manner, partition) = (self.manner, record.partition);
            self.voice.say(Heard::Asked { manner, partition, offset: next });
            let report = self.consumer.commit_record(&record);
            self.say_answered(report)?;
        }
        Ok(true)
    }

    fn read_batch(&mut self) -> Result<bool, GroupError> {
        let Some(batch) = self.consumer.next_batch(WAIT)? else { return Ok(false) };
        self.say_what_was_given();
        for record in batch.owned_records() {
            self.say_handed(&record.unwrap_or_else(|error| panic!("a record: {error}")));
        }
        self.handed.insert(batch.partition(), batch.header().next_offset().value());
        self.batches += 1;
        match self.manner {
            Manner::Unawaited => {
                self.say_asked();
                self.consumer.commit_async();
            }
            Manner::NowAndThen if !self.batches.is_multiple_of(BATCHES_NOW_AND_THEN) => {}
            _ => self.commit()?,
        }
        Ok(true)
    }

    /// Commits all that it was handed.
    fn commit(&mut self) -> Result<(), GroupError> {
        self.say_asked();
        let report = self.consumer.commit();
        self.say_answered(report)
    }

    /// Before the records that came with it.
    fn say_what_was_given(&mut self) {
        for notice in self.consumer.notices() {
            if let GroupEvent::Assigned { partitions, .. } = notice {
                for partition in partitions {
                    self.voice.say(Heard::Given { member: self.number, partition });
                }
            }
        }
    }

    fn say_handed(&self, record: &Record) {
        let Record { partition, offset, .. } = *record;
        let id = record.value().and_then(value_id);
        let id = id.unwrap_or_else(|| panic!("the page at {partition}, {offset} is changed"));
        self.voice.say(Heard::Handed {
            member: self.number,
            partition,
            offset: offset.value(),
            id,
        });
    }

    fn say_asked(&self) {
        for (&partition, &offset) in &self.handed {
            self.voice.say(Heard::Asked { manner: self.manner, partition, offset });
        }
    }

    /// What was committed; the rest was not, or may have been.
    fn say_answered(&self, report: Result<CommitReport, GroupError>) -> Result<(), GroupError> {
        let (Ok(report) | Err(GroupError::NotCommitted(report))) = report else {
            return report.map(drop);
        };
        let manner = self.manner;
        for of in &report.partitions {
            if let Ok(committed) = of.result {
                let (partition, asked) = (of.partition, of.offset.value());
                let committed = committed.value();
                self.voice.say(Heard::Answered { manner, partition, asked, committed });
            }
        }
        Ok(())
    }
}

/// An operator who sets some partitions of the group to before these offsets, again and again.
pub(super) fn reset(
    address: &str,
    before: &[u64],
    mut random: Random,
    voice: &Voice<Heard>,
) -> Result<(), String> {
    let client = Client::connect(address).map_err(|error| error.to_string())?;
    let topic = TopicId(client.topic(PAGES).map_err(|error| error.to_string())?.id);
    while !voice.is_over() {
        std::thread::sleep(Duration::from_micros(random.below(0..RESET_PAUSE_US_MAX)));
        let mut offsets = Vec::new();
        for (partition, before) in (0..).zip(before) {
            if *before > 0 && !random.once_in(3) {
                let offset = random.below(0..*before);
                voice.say(Heard::ResetAsked { partition, offset });
                let of = TopicPartition { topic, partition: PartitionIndex(partition) };
                offsets.push((of, Some(Offset::new(offset))));
            }
        }
        let ends = client.reset_offsets(GROUP, &offsets).map_err(|error| error.to_string())?;
        for end in ends {
            let partition = end.partition.partition.0;
            if let Some(code) = end.error {
                return Err(format!("a reset of partition {partition}: {code}"));
            }
            let committed = end.committed.map(Offset::value);
            voice.say(Heard::ResetAnswered { partition, committed });
        }
    }
    Ok(())
}
