//! The last word of a member that has died: a verdict that arrives when others may have its
//! records.
//!
//! What a newcomer gets wrong: it is right to take it as long as the lock lasts. The books say
//! whether somebody else had been handed the record by then.

use core::time::Duration;
use std::collections::BTreeMap;

use plimsoll_client::{IncomingFrames, Instant, LinkId, Offset};
use plimsoll_sim::{ClientId, Network};
use plimsoll_wire::{
    CorrelationId, Hello, MemberId, PartitionIndex, RangeToSettle, ShardIndex, ShareSettle,
    TopicId, TopicPartition, Verdict,
};

use super::links::{Surroundings, Tap as _};
use super::sharer_tap::{Hearing, SharerTap};
use crate::ledger::Ledger;

/// How long it waits for the answer.
const ANSWER: Duration = Duration::from_secs(1);
const LINK: LinkId = LinkId(0);

/// What a member that has died had to say.
pub(crate) struct Ghost {
    share: usize,
    member: MemberId,
    records: Vec<(TopicId, u32, Offset)>,
    is_accept: bool,
    /// When it speaks, or gives up.
    at: Instant,
    connection: Option<(ClientId, IncomingFrames)>,
    hearing: Hearing,
}

impl Ghost {
    pub(crate) fn new(
        (share, member, topics): (usize, MemberId, BTreeMap<TopicId, usize>),
        (records, is_accept): (Vec<(TopicId, u32, Offset)>, bool),
        at: Instant,
    ) -> Self {
        let hearing = Hearing::new(topics, Some(member));
        Self { share, member, records, is_accept, at, connection: None, hearing }
    }

    pub(crate) fn vanish(&mut self, network: &mut Network) {
        if let Some((end, _)) = self.connection.take() {
            network.leave(end);
        }
    }

    pub(crate) fn is_ready(&self, network: &Network, now: Instant) -> bool {
        self.at <= now || self.connection.as_ref().is_some_and(|(end, _)| network.has_news(*end))
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        Some(self.at)
    }

    /// Speaks when its time has come; true when it has nothing more to say.
    pub(crate) fn turn(&mut self, ledger: &mut Ledger, around: &mut Surroundings<'_>) -> bool {
        if self.connection.is_none() {
            if self.at > around.now {
                return false;
            }
            if !around.listens {
                return true;
            }
            self.speak(ledger, around);
            return false;
        }
        let is_over = self.at <= around.now || self.listen(ledger, around);
        if is_over {
            self.vanish(around.network);
        }
        is_over
    }

    fn speak(&mut self, ledger: &mut Ledger, around: &mut Surroundings<'_>) {
        let (_, end) = around.network.connect();
        let mut hello = Vec::new();
        Hello::new(ShardIndex::ANY, "ghost").encode(CorrelationId(1), &mut hello);
        let verdict = match self.is_accept {
            true => Verdict::Accept,
            false => Verdict::Release { delay_ms: 0 },
        };
        let ranges = self.records.iter().map(|(topic, partition, offset)| RangeToSettle {
            partition: TopicPartition { topic: *topic, partition: PartitionIndex(*partition) },
            first: *offset,
            last: *offset,
            verdict,
        });
        let group = super::name_of_share(self.share);
        let settle = ShareSettle { group: &group, member: self.member, ranges: ranges.collect() };
        let mut frame = Vec::new();
        settle.encode(CorrelationId(2), &mut frame);
        ledger.remark(|| "a ghost speaks".to_string());
        let (share, hearing) = (self.share, &mut self.hearing);
        SharerTap { ledger, hearing, share }.sent(LINK, &frame, around.now);
        around.network.send(end, &hello);
        around.network.send(end, &frame);
        self.connection = Some((end, IncomingFrames::new()));
        self.at = around.now + ANSWER;
    }

    /// Whether it has had its answer, or gets none.
    fn listen(&mut self, ledger: &mut Ledger, around: &mut Surroundings<'_>) -> bool {
        let Some((end, frames)) = &mut self.connection else { return true };
        let bytes = around.network.receive(*end);
        let mut rest = &bytes[..];
        let (share, hearing) = (self.share, &mut self.hearing);
        let mut tap = SharerTap { ledger, hearing, share };
        loop {
            match frames.next_frame() {
                Ok(Some(frame)) => tap.heard(LINK, &frame),
                Ok(None) if rest.is_empty() => break,
                Ok(None) => rest = &rest[frames.take_from(rest)..],
                Err(_) => return true,
            }
        }
        around.network.is_ended(*end) || self.hearing.is_answered()
    }
}
