//! What is under way of one partition: from the first offset that is not done to the first that was
//! never handed out.
//!
//! Runs of offsets in the same state are one span, and spans cover the window without holes. Pure
//! state: time goes in, and what is to be kept durably comes out as [`Change`]s. What a newcomer
//! gets wrong: a span that begins at the start of the window is never done; the start moves past it
//! at once.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use plimsoll_batch::Offset;
use plimsoll_device::{Instant, Now};
use plimsoll_wire::{DeadReason, ErrorCode, MemberId, Verdict};

use super::span::{Span, SpanState, after, before, count};

/// A run of offsets whose durable state is to be another one.
pub(crate) type Change = (Offset, Span);

#[derive(Clone, Debug, Default)]
pub(crate) struct Window {
    start: Offset,
    end: Offset,
    /// By first offset.
    spans: BTreeMap<Offset, Span>,
    /// First offsets of the free ones, and of those that time will free.
    free: BTreeSet<Offset>,
    locks: BTreeSet<(Instant, Offset)>,
    delays: BTreeSet<(i64, Offset)>,
    /// How many offsets are not done, and how many of them somebody holds.
    open: u64,
    held: u64,
}

/// Who asks for records, and what the group allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking {
    pub(crate) member: MemberId,
    /// When the lock ends.
    pub(crate) until: Instant,
    pub(crate) records_max: u64,
    pub(crate) ranges_max: usize,
    /// Nothing at or beyond it may be handed out.
    pub(crate) disk: Offset,
    /// How many offsets that are not done there may be in this partition.
    pub(crate) window_max: u64,
    pub(crate) deliveries_max: u32,
    pub(crate) dead_letters: DeadLetters,
}

/// Where dead records go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeadLetters {
    /// To a topic.
    There,
    /// To a topic that does not exist: they wait.
    Missing,
    /// Nowhere: they are done with.
    Nowhere,
}

/// What asking has brought.
#[derive(Clone, Debug, Default)]
pub(crate) struct Got {
    /// What the member has from now on.
    pub(crate) ranges: Vec<Change>,
    /// What is done with because nobody wants it.
    pub(crate) dropped: Vec<Change>,
    /// Something waits for a dead-letter topic that does not exist.
    pub(crate) is_missing_dead_letters: bool,
}

/// What of a window matters to who looks for something to do in many.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Glance {
    /// How many offsets are not done.
    pub(crate) open: u64,
    pub(crate) held: u64,
    pub(crate) has_free: bool,
    /// When something is free next.
    pub(crate) lock_end: Option<Instant>,
    /// The same, by the clock of people.
    pub(crate) delay_end_unix_ms: Option<i64>,
}

/// How many offsets are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) held: u64,
    pub(crate) delayed: u64,
    pub(crate) free: u64,
    pub(crate) dead: u64,
}

impl Window {
    /// One that begins at `start`, with nothing under way.
    pub(crate) fn at(start: Offset) -> Self {
        Self { start, end: start, ..Self::default() }
    }

    /// Everything before it is done.
    pub(crate) fn start(&self) -> Offset {
        self.start
    }

    /// From there on nothing was handed out.
    pub(crate) fn end(&self) -> Offset {
        self.end
    }

    /// How many offsets of it are not done. There are at most twice as many spans.
    pub(crate) fn open(&self) -> u64 {
        self.open
    }

    /// Frees what was held or delayed up to now. Gives what a lock has ended for: that it was
    /// handed out counts from then on.
    pub(crate) fn expire(&mut self, now: Now) -> Vec<Change> {
        let mut ended = Vec::new();
        while let Some((until, first)) = self.locks.first().copied()
            && until <= now.monotonic
        {
            ended.extend(self.free_span(first));
        }
        while let Some((until, first)) = self.delays.first().copied()
            && until <= now.unix_ms
        {
            self.free_span(first);
        }
        ended
    }

    pub(crate) fn glance(&self) -> Glance {
        Glance {
            open: self.open,
            held: self.held,
            has_free: !self.free.is_empty(),
            lock_end: self.locks.first().map(|(until, _)| *until),
            delay_end_unix_ms: self.delays.first().map(|(until, _)| *until),
        }
    }

    /// Hands out what is free, oldest first, and then what was never handed out.
    pub(crate) fn acquire(&mut self, asking: &Asking) -> Got {
        let mut got = Got::default();
        let mut left = asking.records_max;
        let mut next = self.start;
        while left > 0
            && got.ranges.len() < asking.ranges_max
            && let Some(first) = self.free.range(next..).next().copied()
        {
            let Some(span) = self.take(first) else { break };
            next = after(span.last);
            let dead =
                span.dead.or((span.deliveries >= asking.deliveries_max)
                    .then_some(DeadReason::TooManyDeliveries));
            match (dead, asking.dead_letters) {
                (Some(_), DeadLetters::Missing) => {
                    got.is_missing_dead_letters = true;
                    self.put(first, span);
                }
                (Some(_), DeadLetters::Nowhere) => {
                    let done = Span { state: SpanState::Done, ..span };
                    self.put(first, done);
                    got.dropped.push((first, done));
                }
                (dead, _) => {
                    let given = self.give((first, span), dead, left, asking);
                    left -= count(first, given.last);
                    next = after(given.last);
                    got.ranges.push((first, given));
                }
            }
        }
        let room = asking.window_max.saturating_sub(self.open).min(left);
        let end_max = self.end.value().saturating_add(room).min(asking.disk.value());
        if self.end.value() < end_max && got.ranges.len() < asking.ranges_max {
            let (first, last) = (self.end, before(Offset::new(end_max)));
            self.end = Offset::new(end_max);
            let given = self.give((first, Span::fresh(last)), None, left, asking);
            got.ranges.push((first, given));
        }
        self.advance();
        got
    }

    /// Hands a span to a member, or as much of it as it takes; the rest stays as it is.
    fn give(
        &mut self,
        (first, span): Change,
        dead: Option<DeadReason>,
        left: u64,
        asking: &Asking,
    ) -> Span {
        let last = span.last.min(Offset::new(first.value().saturating_add(left - 1)));
        if last < span.last {
            self.put(after(last), span);
        }
        // To be copied to another topic is not to be worked on.
        let deliveries = span.deliveries.saturating_add(u32::from(dead.is_none()));
        let state = SpanState::Held { member: asking.member, until: asking.until };
        let given = Span { last, deliveries, dead, state };
        self.put(first, given);
        given
    }

    /// Carries out a verdict of a member on what it holds of `first ..= last`. Gives what has
    /// changed, and why not all of it has. What is gone may reach beyond the end, up to `disk`:
    /// nobody can have had it.
    pub(crate) fn settle(
        &mut self,
        (first, last): (Offset, Offset),
        (member, verdict): (MemberId, Verdict),
        (now, lock_until): (Now, Instant),
        disk: Offset,
    ) -> (Vec<Change>, Option<ErrorCode>) {
        let mut refusal = Refusal::default();
        if first > last {
            return (Vec::new(), Some(ErrorCode::OffsetOutOfRange));
        }
        let mut changes = Vec::new();
        if verdict == Verdict::Gone && first < self.end && self.is_last_held_by(member) {
            changes.extend(self.leave_out_up_to(after(last).min(disk)));
        }
        refusal.was_settled |= first < self.start;
        refusal.was_never_held |= last >= self.end;
        let end_before = changes.first().map_or(self.end, |(first, _)| *first);
        let mut held = Vec::new();
        let (first, last) = (first.max(self.start), last.min(before(self.end)));
        if self.start < self.end && first <= last {
            for (at, span) in self.overlapping(first, last) {
                if span.holder() == Some(member) {
                    held.push((at.max(first), span.last.min(last)));
                } else if span.is_done() {
                    refusal.was_settled |= at < end_before;
                } else {
                    refusal.is_lost = true;
                }
            }
        }
        for (first, last) in held {
            let Some(span) = self.cut_out(first, last) else { continue };
            let settled = settled(span, verdict, now, lock_until);
            self.put(first, settled);
            if verdict != Verdict::Renew {
                changes.push((first, settled));
            }
        }
        self.advance();
        (changes, refusal.code())
    }

    fn is_last_held_by(&self, member: MemberId) -> bool {
        self.spans.last_key_value().is_some_and(|(_, span)| span.holder() == Some(member))
    }

    /// What is behind the end, before `end`, is done without having been handed out.
    fn leave_out_up_to(&mut self, end: Offset) -> Option<Change> {
        let first = self.end;
        if end <= first {
            return None;
        }
        let done = Span { state: SpanState::Done, ..Span::fresh(before(end)) };
        self.end = end;
        self.put(first, done);
        Some((first, done))
    }

    /// Frees what members hold of whom `is_gone` says so.
    pub(crate) fn free_held_by(&mut self, is_gone: impl Fn(MemberId) -> bool) -> Vec<Change> {
        let of_gone =
            |(first, span): (&Offset, &Span)| span.holder().is_some_and(&is_gone).then_some(*first);
        let firsts: Vec<Offset> = self.spans.iter().filter_map(of_gone).collect();
        // Those that are freed first may have become one with what is before them.
        let freed = firsts.into_iter().map(|first| self.free_span(first));
        freed.flatten().collect()
    }

    /// There is nothing before `offset` any more. Whether the start has moved.
    pub(crate) fn drop_before(&mut self, offset: Offset) -> bool {
        if offset <= self.start {
            return false;
        }
        while let Some((first, span)) = self.first_span()
            && first < offset
        {
            self.take(first);
            if span.last >= offset {
                self.put(offset, span);
                break;
            }
        }
        self.start = offset;
        self.end = self.end.max(offset);
        self.advance();
        true
    }

    /// Puts back a state that was kept. What the window does not reach yet was never handed out.
    pub(crate) fn restore(&mut self, first: Offset, span: Span) {
        let first = first.max(self.start);
        if span.last < first {
            return;
        }
        if self.end < first {
            self.put(self.end, Span::fresh(before(first)));
        }
        if first < self.end {
            let covered = span.last.min(before(self.end));
            self.cut_out(first, covered);
        }
        self.end = self.end.max(after(span.last));
        self.put(first, span);
    }

    /// Moves the start past what is done, once everything that was kept has been put back.
    pub(crate) fn advance(&mut self) {
        while let Some((first, span)) = self.first_span()
            && span.is_done()
        {
            self.take(first);
            self.start = after(span.last);
        }
    }

    /// What is to be kept to find the window as it is now, but for the locks.
    pub(crate) fn kept(&self) -> impl Iterator<Item = Change> {
        let kept = self.spans.iter().map(|(first, span)| (*first, span.without_holder()));
        kept.filter(|(_, span)| *span != Span::fresh(span.last))
    }

    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for (first, span) in &self.spans {
            let offsets = count(*first, span.last);
            match span.state {
                SpanState::Free => counts.free += offsets,
                SpanState::Held { .. } => counts.held += offsets,
                SpanState::Delayed { .. } => counts.delayed += offsets,
                SpanState::Done => continue,
            }
            if span.dead.is_some() {
                counts.dead += offsets;
            }
        }
        counts
    }

    fn first_span(&self) -> Option<Change> {
        self.spans.first_key_value().map(|(first, span)| (*first, *span))
    }

    /// The spans that lie in `first ..= last`, in whole or in part.
    fn overlapping(&self, first: Offset, last: Offset) -> impl Iterator<Item = Change> {
        let begins_before = self.spans.range(..first).next_back();
        let begins_before = begins_before.filter(move |(_, span)| span.last >= first);
        let spans = begins_before.into_iter().chain(self.spans.range(first..=last));
        spans.map(|(first, span)| (*first, *span))
    }

    /// Takes `first ..= last` out of the spans that it lies in. Gives the first of them, cut.
    fn cut_out(&mut self, first: Offset, last: Offset) -> Option<Span> {
        let spans: Vec<Change> = self.overlapping(first, last).collect();
        for (at, span) in &spans {
            self.take(*at);
            if *at < first {
                self.put(*at, Span { last: before(first), ..*span });
            }
            if span.last > last {
                self.put(after(last), *span);
            }
        }
        spans.first().map(|(_, span)| Span { last, ..*span })
    }

    /// Frees a held or delayed span, if one begins there.
    fn free_span(&mut self, first: Offset) -> Option<Change> {
        let span = self.take(first)?;
        let free = Span { state: SpanState::Free, ..span };
        self.put(first, free);
        Some((first, free))
    }

    fn take(&mut self, first: Offset) -> Option<Span> {
        let span = self.spans.remove(&first)?;
        if !span.is_done() {
            self.open -= count(first, span.last);
        }
        if span.holder().is_some() {
            self.held -= count(first, span.last);
        }
        match span.state {
            SpanState::Free => self.free.remove(&first),
            SpanState::Held { until, .. } => self.locks.remove(&(until, first)),
            SpanState::Delayed { until_unix_ms } => self.delays.remove(&(until_unix_ms, first)),
            SpanState::Done => true,
        };
        Some(span)
    }

    /// Puts a span where nothing is, and makes it one with its neighbours if they are alike.
    fn put(&mut self, first: Offset, span: Span) {
        let (mut first, mut span) = (first, span);
        let left = self.spans.range(..first).next_back().map(|(at, left)| (*at, *left));
        if let Some((at, left)) = left
            && after(left.last) == first
            && left.is_as(&span)
        {
            self.take(at);
            first = at;
        }
        let right = self.spans.get(&after(span.last)).copied();
        if let Some(right) = right
            && right.is_as(&span)
        {
            self.take(after(span.last));
            span.last = right.last;
        }
        if !span.is_done() {
            self.open += count(first, span.last);
        }
        if span.holder().is_some() {
            self.held += count(first, span.last);
        }
        match span.state {
            SpanState::Free => self.free.insert(first),
            SpanState::Held { until, .. } => self.locks.insert((until, first)),
            SpanState::Delayed { until_unix_ms } => self.delays.insert((until_unix_ms, first)),
            SpanState::Done => true,
        };
        self.spans.insert(first, span);
    }
}

/// Why not all of a run of offsets was settled.
#[derive(Clone, Copy, Debug, Default)]
struct Refusal {
    was_never_held: bool,
    is_lost: bool,
    was_settled: bool,
}

impl Refusal {
    /// The worst comes first: what is settled needs nobody's attention any more.
    fn code(self) -> Option<ErrorCode> {
        if self.was_never_held {
            Some(ErrorCode::NotAcquired)
        } else if self.is_lost {
            Some(ErrorCode::LockLost)
        } else {
            self.was_settled.then_some(ErrorCode::AlreadySettled)
        }
    }
}

/// What a span is after its holder's verdict.
fn settled(span: Span, verdict: Verdict, now: Now, lock_until: Instant) -> Span {
    let delayed = |until_unix_ms: i64| {
        if until_unix_ms <= now.unix_ms {
            SpanState::Free
        } else {
            SpanState::Delayed { until_unix_ms }
        }
    };
    match verdict {
        Verdict::Accept | Verdict::Gone | Verdict::DeadLettered => {
            Span { state: SpanState::Done, ..span }
        }
        Verdict::Release { delay_ms } => {
            let until = now.unix_ms.saturating_add_unsigned(delay_ms);
            Span { state: delayed(until), ..span }
        }
        Verdict::Reject => {
            let dead = span.dead.or(Some(DeadReason::Rejected));
            Span { state: SpanState::Free, dead, ..span }
        }
        Verdict::Defer { until_unix_ms } => {
            let deliveries = span.deliveries.saturating_sub(u32::from(span.dead.is_none()));
            Span { state: delayed(until_unix_ms), deliveries, ..span }
        }
        Verdict::Renew => match span.holder() {
            Some(member) => Span { state: SpanState::Held { member, until: lock_until }, ..span },
            None => span,
        },
    }
}

#[cfg(test)]
impl Window {
    /// All spans, in order.
    pub(super) fn spans(&self) -> impl Iterator<Item = Change> {
        self.spans.iter().map(|(first, span)| (*first, *span))
    }

    /// Spans cover the window without holes, and the lists say what the spans do.
    pub(super) fn check(&self) {
        let mut next = self.start;
        let (mut free, mut locks, mut delays) = (0, 0, 0);
        let mut last: Option<Span> = None;
        for (first, span) in self.spans() {
            assert_eq!(first, next, "a hole, or two spans of one offset");
            assert!(first <= span.last);
            assert!(last.is_none_or(|last| !last.is_as(&span)), "two spans that are one");
            match span.state {
                SpanState::Free => free += usize::from(self.free.contains(&first)),
                SpanState::Held { until, .. } => {
                    locks += usize::from(self.locks.contains(&(until, first)));
                }
                SpanState::Delayed { until_unix_ms } => {
                    delays += usize::from(self.delays.contains(&(until_unix_ms, first)));
                }
                SpanState::Done => {
                    assert!(first > self.start, "the start moves past what is done");
                    continue_after(&mut next, &mut last, span);
                    continue;
                }
            }
            continue_after(&mut next, &mut last, span);
        }
        assert_eq!(next, self.end);
        let open = self.spans().filter(|(_, span)| !span.is_done());
        let open: u64 = open.map(|(first, span)| count(first, span.last)).sum();
        assert_eq!(open, self.open);
        let held = self.spans().filter(|(_, span)| span.holder().is_some());
        let held: u64 = held.map(|(first, span)| count(first, span.last)).sum();
        assert_eq!(held, self.held);
        let done = self.spans.values().filter(|span| span.is_done()).count();
        assert_eq!(free + locks + delays + done, self.spans.len());
        let listed = self.free.len() + self.locks.len() + self.delays.len();
        assert_eq!(listed, free + locks + delays);
    }
}

#[cfg(test)]
fn continue_after(next: &mut Offset, last: &mut Option<Span>, span: Span) {
    *next = after(span.last);
    *last = Some(span);
}
