//! Where `plimsoll consume --until` stops.
//!
//! The ends are asked once, at the start. What a newcomer gets wrong: an end may be reached by a
//! record behind it, because offsets may jump.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::{Duration, Instant};

use plimsoll_client_blocking::{Client, Offset, OffsetsWhat, StartAt, Visible};

use crate::failure::Failure;

/// Where to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    End,
    Offset(u64),
}

/// Where each partition is to stop. Empty: everything was reached; `None`: nothing ever is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ends(Option<BTreeMap<u32, End>>);

#[derive(Clone, Copy, Debug)]
struct End {
    offset: Offset,
    /// Whether all that lies before it was there at the start.
    is_there: bool,
}

impl Ends {
    /// Asks where that is, and leaves out partitions of which nothing is to be consumed.
    pub(crate) fn ask(
        client: &Client,
        topic: &str,
        partitions: &[u32],
        from: impl Fn(u32) -> StartAt,
        until: Until,
        visible: Visible,
    ) -> Result<Ends, Failure> {
        let mut ends = BTreeMap::new();
        for &partition in partitions {
            let place = |what: OffsetsWhat| {
                client.offset(topic, partition, what, visible).map_err(Failure::new)
            };
            let now = place(OffsetsWhat::End)?;
            let (offset, is_there) = match until {
                Until::End => (now, true),
                Until::Offset(offset) => (Offset::new(offset), offset <= now.value()),
            };
            let start = match from(partition) {
                StartAt::Beginning => place(OffsetsWhat::Beginning)?,
                StartAt::End => now,
                StartAt::Offset(offset) => offset,
                StartAt::Timestamp { unix_ms } => place(OffsetsWhat::Timestamp { unix_ms })?,
            };
            if start < offset {
                ends.insert(partition, End { offset, is_there });
            }
        }
        Ok(Ends(Some(ends)))
    }

    /// Whether all ends are.
    pub(crate) fn is_reached(&self) -> bool {
        self.0.as_ref().is_some_and(BTreeMap::is_empty)
    }

    /// Whether a record is still wanted.
    pub(crate) fn is_before(&self, partition: u32, offset: Offset) -> bool {
        match &self.0 {
            None => true,
            Some(ends) => ends.get(&partition).is_some_and(|end| offset < end.offset),
        }
    }

    /// Whether there are ends, and some are not reached.
    pub(crate) fn is_awaited(&self) -> bool {
        self.0.as_ref().is_some_and(|ends| !ends.is_empty())
    }

    /// A partition was read up to `next`.
    pub(crate) fn reached(&mut self, partition: u32, next: Offset) {
        if let Some(ends) = &mut self.0
            && ends.get(&partition).is_some_and(|end| next >= end.offset)
        {
            ends.remove(&partition);
        }
    }

    /// Nothing more of the partition will come.
    pub(crate) fn give_up(&mut self, partition: u32) {
        if let Some(ends) = &mut self.0 {
            ends.remove(&partition);
        }
    }

    /// An end that was there and is not reached although nothing comes any more is told, not waited
    /// for.
    pub(crate) fn complain_after(&self, last: Instant) -> Result<(), Failure> {
        let there = self.0.iter().flatten().find(|(_, end)| end.is_there);
        match there {
            Some((partition, end)) if last.elapsed() > MISSING_AFTER => {
                Err(Failure::Failed(format!(
                    "partition {partition} has not come to its end {} and nothing more comes; \
                     look at `plimsoll topic describe` and at the server's log",
                    end.offset
                )))
            }
            _ => Ok(()),
        }
    }
}

impl FromStr for Until {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Until, &'static str> {
        match text {
            "end" => Ok(Until::End),
            _ => text.parse().map(Until::Offset).map_err(|_| "write end or an offset"),
        }
    }
}

/// What lies before an end that was asked for is there: it comes, or something is wrong.
const MISSING_AFTER: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_word_or_an_offset() {
        assert_eq!("end".parse(), Ok(Until::End));
        assert_eq!("7".parse(), Ok(Until::Offset(7)));
        assert!("beginning".parse::<Until>().is_err());
    }

    #[test]
    fn a_partition_stops_before_its_end_and_the_command_when_all_have() {
        let end = |offset| End { offset: Offset::new(offset), is_there: true };
        let mut ends = Ends(Some(BTreeMap::from([(0, end(10)), (1, end(5))])));
        assert!(ends.is_before(0, Offset::new(9)) && !ends.is_before(0, Offset::new(10)));
        ends.reached(0, Offset::new(10));
        assert!(!ends.is_reached() && !ends.is_before(0, Offset::new(3)));
        ends.reached(1, Offset::new(4));
        ends.reached(1, Offset::new(6));
        assert!(ends.is_reached());
    }

    #[test]
    fn without_an_end_it_goes_on_for_ever() {
        let ends = Ends::default();
        assert!(!ends.is_reached() && ends.is_before(7, Offset::new(u64::MAX)));
    }
}
