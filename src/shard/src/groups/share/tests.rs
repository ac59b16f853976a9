//! A group's window against a plain map of what each record is, over random lives with crashes; and
//! what no random life would show.

use alloc::collections::BTreeMap;
use alloc::string::ToString;
use std::println;

use plimsoll_sim::Random;
use plimsoll_wire::DeadReason;

use super::span::Span;
use super::*;

const TOPIC: TopicId = TopicId(1);
const LOCK_MS: u64 = 50;
const DELIVERIES_MAX: u32 = 4;

/// What one record is, in the words of the promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Model {
    Open { deliveries: u32, dead: bool, not_before_ms: i64, held: Option<(MemberId, u64)> },
    Done,
}

/// A group of one partition, the log that it writes, and the model.
struct Life {
    share: Share,
    random: Random,
    now: Now,
    /// All facts in the order in which they were written, and how many are on disk.
    log: Vec<(TopicPartition, ShareFact)>,
    durable: usize,
    end: u64,
    /// As it is now, and as whoever was answered last may rely on after a crash.
    model: BTreeMap<u64, Model>,
    promised: BTreeMap<u64, Model>,
    incarnations: u64,
}

fn at(partition: u32) -> TopicPartition {
    TopicPartition { topic: TOPIC, partition: PartitionIndex(partition) }
}

fn topics() -> BTreeMap<String, TopicShape> {
    BTreeMap::from([("t".to_string(), TopicShape { id: TOPIC, partitions: 1 })])
}

fn policy() -> SharePolicy {
    SharePolicy {
        lock: core::time::Duration::from_millis(LOCK_MS),
        deliveries_max: DELIVERIES_MAX,
        ..SharePolicy::default()
    }
}

fn open_share() -> Share {
    let mut share = Share::default();
    share.agree(&policy(), true).unwrap();
    share.set_topics(topics());
    share
}

impl Life {
    fn new(seed: u64) -> Life {
        let now = Now { monotonic: Instant::from_nanos(1), unix_ms: 1_000_000 };
        let mut life = Life {
            share: open_share(),
            random: Random::new(seed),
            now,
            log: Vec::new(),
            durable: 0,
            end: 0,
            model: BTreeMap::new(),
            promised: BTreeMap::new(),
            incarnations: 0,
        };
        life.begin_at(0);
        life
    }

    fn begin_at(&mut self, start: u64) {
        self.incarnations += 1;
        self.share.begin_at(at(0), Offset::new(start), Incarnation(self.incarnations));
        self.write();
        self.flush();
    }

    /// Somewhere up to the end, and also within what is under way: everything behind it is as if
    /// nobody had ever had it.
    fn reset(&mut self) {
        let start = self.random.below(self.end + 1);
        self.model.split_off(&start);
        self.model.extend((0..start).map(|offset| (offset, Model::Done)));
        self.begin_at(start);
    }

    fn write(&mut self) {
        let mut facts = self.share.take_unwritten();
        self.share.note_written(&facts, Offset::new((self.log.len() + facts.len()) as u64));
        self.log.append(&mut facts);
    }

    /// Everything is on disk: what was answered until now may be relied on.
    fn flush(&mut self) {
        self.durable = self.log.len();
        self.share.note_durable(Offset::new(self.log.len() as u64));
        self.promised = self.model.clone();
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..15 => self.end += 1 + self.random.below(8),
            15..45 => self.acquire(),
            45..80 => self.settle(),
            80..88 => {
                let ms = 1 + self.random.below(40);
                self.pass(ms);
            }
            88..93 => self.flush(),
            93..95 => self.member_dies(),
            95..96 => self.reset(),
            96..98 => self.rewrite_log(),
            _ => self.crash(),
        }
        self.expire_model();
        self.check();
    }

    fn pass(&mut self, ms: u64) {
        self.now.monotonic = self.now.monotonic + core::time::Duration::from_millis(ms);
        self.now.unix_ms += ms.cast_signed();
    }

    fn now_ms(&self) -> u64 {
        self.now.monotonic.as_nanos() / 1_000_000
    }

    fn expire_model(&mut self) {
        let now_ms = self.now_ms();
        for record in self.model.values_mut() {
            if let Model::Open { held, .. } = record
                && held.is_some_and(|(_, until)| until <= now_ms)
            {
                *held = None;
            }
        }
    }

    fn member(&mut self) -> MemberId {
        MemberId(1 + self.random.below(3))
    }

    fn acquire(&mut self) {
        let member = self.member();
        let wanted = BTreeSet::from(["t".to_string()]);
        let records_max = 1 + self.random.below(6);
        let dead_letters =
            if self.random.chance(800) { DeadLetters::There } else { DeadLetters::Missing };
        let terms = Terms {
            now: self.now,
            ranges_max: 1 + self.random.below(4) as usize,
            window_max: 40,
            room: u64::MAX,
            dead_letters,
        };
        let end = Offset::new(self.end);
        let records_max = u32::try_from(records_max).unwrap();
        let acquired = self.share.acquire((member, &wanted), records_max, &terms, |_| Some(end));
        self.write();
        self.expire_model();
        let mut given = 0;
        for range in acquired.ranges {
            assert!(range.last < end, "beyond the end");
            for offset in range.first.value()..=range.last.value() {
                given += 1;
                let fresh =
                    Model::Open { deliveries: 0, dead: false, not_before_ms: 0, held: None };
                let record = self.model.entry(offset).or_insert(fresh);
                let Model::Open { deliveries, dead, not_before_ms, held } = record else {
                    panic!("{offset} was done with, and comes back");
                };
                assert!(*not_before_ms <= self.now.unix_ms, "{offset} comes early");
                assert_eq!(*held, None, "{offset} is somebody else's");
                let is_dead = *dead || *deliveries >= DELIVERIES_MAX;
                assert_eq!(range.dead.is_some(), is_dead, "{offset}");
                *dead = is_dead;
                *deliveries += u32::from(!is_dead);
                assert_eq!(range.deliveries, *deliveries, "{offset}");
                let until = self.now.monotonic.as_nanos() / 1_000_000 + LOCK_MS;
                *held = Some((member, until));
            }
        }
        assert!(given <= records_max);
    }

    fn settle(&mut self) {
        let member = self.member();
        let first = self.random.below(self.end + 2);
        let last = first + self.random.below(6);
        let delay_ms = self.random.below(60);
        let until_unix_ms = self.now.unix_ms + self.random.below(60).cast_signed();
        let verdict = match self.random.below(11) {
            0..4 => Verdict::Accept,
            4 => Verdict::Release { delay_ms: 0 },
            5 => Verdict::Release { delay_ms },
            6 => Verdict::Reject,
            7 => Verdict::Defer { until_unix_ms },
            8 => Verdict::Renew,
            9 => Verdict::Gone,
            _ => Verdict::DeadLettered,
        };
        // Whoever has the last that was handed out may say that what is behind it is gone.
        let next = self.model.last_key_value().map_or(0, |(offset, _)| offset + 1);
        let holds_last = self.model.last_key_value().is_some_and(|(_, record)| {
            matches!(record, Model::Open { held: Some((holder, _)), .. } if *holder == member)
        });
        if verdict == Verdict::Gone && first < next && holds_last {
            let end = self.end.min(last + 1);
            self.model.extend((next..end).map(|offset| (offset, Model::Done)));
        }
        let (from, to) = (Offset::new(first), Offset::new(last));
        let range = RangeToSettle { partition: at(0), first: from, last: to, verdict };
        let error = self.share.settle(member, &range, self.now, Offset::new(self.end));
        self.write();
        self.expire_model();
        let lock_until = self.now_ms() + LOCK_MS;
        let (mut is_whole, unix_ms) = (true, self.now.unix_ms);
        for offset in first..=last {
            if offset >= next && self.model.contains_key(&offset) {
                continue;
            }
            let Some(record) = self.model.get_mut(&offset) else {
                is_whole = false;
                continue;
            };
            let Model::Open { deliveries, dead, not_before_ms, held } = record else {
                is_whole = false;
                continue;
            };
            if held.is_none_or(|(holder, _)| holder != member) {
                is_whole = false;
                continue;
            }
            *held = None;
            *not_before_ms = 0;
            match verdict {
                Verdict::Release { delay_ms } => {
                    *not_before_ms = unix_ms + delay_ms.cast_signed();
                }
                Verdict::Reject => *dead = true,
                Verdict::Defer { until_unix_ms } => {
                    *deliveries -= u32::from(!*dead);
                    *not_before_ms = until_unix_ms;
                }
                Verdict::Renew => *held = Some((member, lock_until)),
                Verdict::Accept | Verdict::Gone | Verdict::DeadLettered => *record = Model::Done,
            }
        }
        assert_eq!(error.is_none(), is_whole, "{member:?} {range:?}: {error:?}");
    }

    fn member_dies(&mut self) {
        let member = self.member();
        self.share.free_held_by(|it| it == member);
        self.write();
        for record in self.model.values_mut() {
            if let Model::Open { held, .. } = record
                && held.is_some_and(|(holder, _)| holder == member)
            {
                *held = None;
            }
        }
    }

    /// What counts is written again, and what was before it goes.
    fn rewrite_log(&mut self) {
        self.log = self.share.kept();
        self.flush();
    }

    /// Everything that was not on disk may be gone, or not; nobody holds anything.
    fn crash(&mut self) {
        let lost = (self.log.len() - self.durable) as u64;
        let survived = self.durable + self.random.below(lost + 1) as usize;
        self.log.truncate(survived);
        let mut share = open_share();
        for (partition, fact) in &self.log {
            share.restore(*partition, *fact);
        }
        share.finish_restoring(|_| true);
        self.share = share;
        self.check_promises();
        self.model = self.model_of_share();
        self.flush();
    }

    /// What was answered holds.
    fn check_promises(&self) {
        let window = &self.share.partitions[&at(0)].window;
        let spans: Vec<Change> = window.spans().collect();
        let found = |offset: u64| {
            let holds =
                |(first, span): &&Change| first.value() <= offset && offset <= span.last.value();
            spans.iter().find(holds).map(|(_, span)| *span)
        };
        for (offset, promised) in &self.promised {
            let is_before = *offset < window.start().value();
            let span = found(*offset);
            let is_done = is_before || span.is_some_and(|span| span.is_done());
            // What was not answered yet may have been carried out, too.
            let now_done = self.model.get(offset) == Some(&Model::Done);
            match promised {
                Model::Done => assert!(is_done, "{offset} was done with, and comes back"),
                Model::Open { .. } => {
                    assert!(!is_done || now_done, "{offset} was not done with, and is forgotten");
                }
            }
            if let (Model::Open { not_before_ms, held: None, .. }, Some(now)) =
                (promised, self.model.get(offset))
                && promised == now
                && *not_before_ms > self.now.unix_ms
            {
                let Some(Span { state: span::SpanState::Delayed { until_unix_ms }, .. }) = span
                else {
                    panic!("{offset} comes early");
                };
                assert_eq!(until_unix_ms, *not_before_ms, "{offset}");
            }
        }
    }

    fn model_of_share(&self) -> BTreeMap<u64, Model> {
        let window = &self.share.partitions[&at(0)].window;
        let done = (0..window.start().value()).map(|offset| (offset, Model::Done));
        let open = window.spans().flat_map(|(first, span)| {
            let not_before_ms = match span.state {
                span::SpanState::Delayed { until_unix_ms } => until_unix_ms,
                _ => 0,
            };
            let record = if span.is_done() {
                Model::Done
            } else {
                let (deliveries, dead) = (span.deliveries, span.dead.is_some());
                Model::Open { deliveries, dead, not_before_ms, held: None }
            };
            (first.value()..=span.last.value()).map(move |offset| (offset, record))
        });
        done.chain(open).collect()
    }

    /// State and model say the same, and the log says what the state does.
    fn check(&mut self) {
        self.share.expire(self.now);
        self.write();
        let window = &self.share.partitions[&at(0)].window;
        window.check();
        let mut standing = Standing::default();
        standing.note(at(0), window::Glance::default(), window.glance());
        standing.unwatched.clone_from(&self.share.standing.unwatched);
        assert_eq!(self.share.standing, standing, "what is said of all is what is in each");
        assert!(window.open() <= 40, "more than there may be");
        for (offset, found) in self.model_of_share() {
            let (found, expected) = (plain(found), plain(self.model[&offset]));
            let (found, expected) = (at_time(found, self.now), at_time(expected, self.now));
            assert_eq!(found, expected, "{offset}");
        }
        let mut replayed = open_share();
        for (partition, fact) in &self.log {
            replayed.restore(*partition, *fact);
        }
        replayed.finish_restoring(|_| true);
        let again = &replayed.partitions[&at(0)].window;
        again.check();
        assert_eq!(again.start(), window.start());
        for (offset, found) in (Life { share: replayed, ..self.copy() }).model_of_share() {
            let Model::Open { deliveries, dead, .. } = self.model[&offset] else {
                assert_eq!(found, Model::Done, "{offset} is done with, and the log has forgotten");
                continue;
            };
            let Model::Open { deliveries: in_log, dead: dead_in_log, .. } = found else {
                panic!("{offset} is not done with, and the log says so");
            };
            assert!(in_log <= deliveries + 1 && (dead || !dead_in_log), "{offset}");
        }
    }

    fn copy(&self) -> Life {
        Life {
            share: open_share(),
            random: Random::new(0),
            now: self.now,
            log: Vec::new(),
            durable: 0,
            end: self.end,
            model: self.model.clone(),
            promised: BTreeMap::new(),
            incarnations: 0,
        }
    }
}

/// Without what the durable state does not say.
fn plain(model: Model) -> Model {
    match model {
        Model::Open { deliveries, dead, not_before_ms, .. } => {
            Model::Open { deliveries, dead, not_before_ms, held: None }
        }
        Model::Done => Model::Done,
    }
}

/// A time that has come is no time any more.
fn at_time(model: Model, now: Now) -> Model {
    match model {
        Model::Open { deliveries, dead, not_before_ms, held } if not_before_ms <= now.unix_ms => {
            let not_before_ms = 0;
            Model::Open { deliveries, dead, not_before_ms, held }
        }
        model => model,
    }
}

#[test]
fn random_lives_keep_what_was_accepted_and_forget_nothing_else() {
    let one = std::env::var("PLIMSOLL_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = one.map_or(0..300, |seed: u64| seed..seed + 1);
    for seed in seeds {
        println!(
            "seed {seed}: PLIMSOLL_SEED={seed} cargo test -p plimsoll-shard random_lives_keep"
        );
        let mut life = Life::new(seed);
        for _ in 0..300 {
            life.step();
        }
    }
}

/// Whoever waits for a topic and wants what comes from now on wants all of it when it comes.
#[test]
fn a_topic_that_is_created_for_waiting_members_is_consumed_from_its_beginning() {
    for (is_new, begin) in [(true, ShareBegin::Beginning), (false, ShareBegin::End)] {
        let mut share = Share::default();
        let end = SharePolicy { begin: ShareBegin::End, ..policy() };
        share.agree(&end, true).unwrap();
        share.set_topics(topics());
        share.add_partitions(9, is_new);
        assert_eq!((share.take_sought(), share.begin_of(at(0))), (Vec::from([at(0)]), begin));
        assert!(share.take_sought().is_empty(), "it is being looked up");
        share.seek_again(at(0));
        assert_eq!(share.take_sought(), [at(0)]);
    }
}

#[test]
fn a_reset_forgets_runs_that_were_written_before_it() {
    let mut share = open_share();
    let start = |incarnation, offset| {
        ShareFact::Start(Some((Incarnation(incarnation), Offset::new(offset))))
    };
    let done = Span { state: span::SpanState::Done, ..Span::fresh(Offset::new(8)) };
    let run = |incarnation| ShareFact::Run(Incarnation(incarnation), Offset::new(5), done);
    // Of the first incarnation only the run has been kept: its start was written over.
    for fact in [run(1), start(2, 3), start(2, 4)] {
        share.restore(at(0), fact);
    }
    share.finish_restoring(|_| true);
    let window = &share.partitions[&at(0)].window;
    assert_eq!((window.start(), window.open()), (Offset::new(4), 0));
    let mut ended = open_share();
    for fact in [start(1, 0), run(1), ShareFact::Start(None)] {
        ended.restore(at(0), fact);
    }
    ended.finish_restoring(|_| true);
    assert!(ended.is_void());
}

/// The last record of a key counts: dropping the earlier ones of each key changes nothing.
#[test]
fn a_log_that_was_compacted_by_key_says_the_same() {
    for seed in 0..40 {
        println!("seed {seed}");
        let mut life = Life::new(seed);
        let mut all: Vec<(TopicPartition, ShareFact)> = Vec::new();
        for _ in 0..150 {
            match life.random.below(3) {
                0 => life.end += 1 + life.random.below(8),
                1 => life.acquire(),
                _ => life.settle(),
            }
            let by = life.random.below(10);
            life.pass(by);
        }
        all.append(&mut life.log);
        let key = |(partition, fact): &(TopicPartition, ShareFact)| {
            ShareRecord { group: "g", partition: *partition, fact: *fact }.encode_key()
        };
        let last: BTreeMap<Vec<u8>, usize> =
            all.iter().enumerate().map(|(index, it)| (key(it), index)).collect();
        let (mut whole, mut compacted) = (open_share(), open_share());
        for (index, (partition, fact)) in all.iter().enumerate() {
            whole.restore(*partition, *fact);
            if last[&key(&(*partition, *fact))] == index {
                compacted.restore(*partition, *fact);
            }
        }
        whole.finish_restoring(|_| true);
        compacted.finish_restoring(|_| true);
        assert_eq!(whole.kept(), compacted.kept());
    }
}

#[test]
fn a_time_beyond_all_time_is_as_late_as_can_be() {
    let mut life = Life::new(1);
    life.end = 2;
    let member = (MemberId(1), &BTreeSet::from(["t".to_string()]));
    let terms = Terms {
        now: life.now,
        ranges_max: 9,
        window_max: 9,
        room: 9,
        dead_letters: DeadLetters::There,
    };
    life.share.acquire(member, 2, &terms, |_| Some(Offset::new(2)));
    let settle = |verdict| RangeToSettle {
        partition: at(0),
        first: Offset::ZERO,
        last: Offset::new(u64::MAX),
        verdict,
    };
    let never = settle(Verdict::Release { delay_ms: u64::MAX });
    let beyond = Some(ErrorCode::NotAcquired);
    assert_eq!(life.share.settle(MemberId(1), &never, life.now, Offset::new(2)), beyond);
    let counts = life.share.describe()[0];
    assert_eq!((counts.delayed, counts.in_flight), (2, 0));
    assert_eq!(DeadReason::Rejected.name(), "rejected");
}

/// A group of so many partitions, nothing in them, and all of their owners asked to tell of more.
fn resting_share(partitions: u32) -> Share {
    let mut share = open_share();
    let shape = TopicShape { id: TOPIC, partitions };
    share.set_topics(BTreeMap::from([("t".to_string(), shape)]));
    share.add_partitions(partitions as usize, false);
    for (index, partition) in share.take_sought().into_iter().enumerate() {
        share.begin_at(partition, Offset::ZERO, Incarnation(index as u64 + 1));
    }
    let facts = share.take_unwritten();
    share.note_written(&facts, Offset::new(1));
    share.note_durable(Offset::new(1));
    let dry = share.take_dry(&BTreeSet::from(["t".to_string()]), |_| Some(Offset::ZERO));
    assert_eq!(dry.len(), partitions as usize);
    share
}

/// Facts need more than one batch where a group has many partitions. When the second was refused,
/// partitions whose beginning was in it were opened by the flush of the first.
#[test]
fn a_partition_opens_when_its_own_beginning_is_on_disk() {
    let mut share = open_share();
    let shape = TopicShape { id: TOPIC, partitions: 3 };
    share.set_topics(BTreeMap::from([("t".to_string(), shape)]));
    share.add_partitions(3, false);
    share.begin_at(at(0), Offset::ZERO, Incarnation(1));
    share.begin_at(at(1), Offset::ZERO, Incarnation(2));
    share.begin_at(at(0), Offset::new(7), Incarnation(3));
    share.begin_at(at(2), Offset::ZERO, Incarnation(4));
    let facts = share.take_unwritten();
    let is_open = |share: &Share, partition| share.partitions[&at(partition)].stage == Stage::Open;
    let open = |share: &Share| [0, 1, 2].map(|partition| is_open(share, partition));

    share.note_written(&facts[..2], Offset::new(2));
    share.put_back(facts[2..].to_vec());
    assert!(share.note_durable(Offset::new(2)));
    assert_eq!(open(&share), [false, true, false], "0 begins elsewhere now");

    let rest = share.take_unwritten();
    share.note_written(&rest, Offset::new(4));
    assert!(!share.note_durable(Offset::new(3)), "in the middle of the batch");
    assert!(share.note_durable(Offset::new(4)));
    assert_eq!(open(&share), [true, true, true]);
}

/// Each of ten thousand workers that asked looked at each of a thousand partitions.
#[test]
fn who_asks_has_only_those_partitions_looked_at_that_may_have_something() {
    let mut share = resting_share(1_000);
    let wanted = BTreeSet::from(["t".to_string()]);
    let mut now = Now { monotonic: Instant::from_nanos(1), unix_ms: 0 };
    let acquire = |share: &mut Share, now: Now| {
        let dead_letters = DeadLetters::There;
        let terms = Terms { now, ranges_max: 100, window_max: 100, room: 1_000, dead_letters };
        let looks = core::cell::Cell::new(0);
        let disk = |_| {
            looks.set(looks.get() + 1);
            Some(Offset::new(2))
        };
        let acquired = share.acquire((MemberId(1), &wanted), 100, &terms, disk);
        let from = acquired.ranges.iter().map(|range| range.partition.partition.0);
        (looks.get(), from.collect::<Vec<u32>>())
    };
    assert_eq!(acquire(&mut share, now), (0, Vec::new()));
    share.note_unwatched(at(7));
    share.note_unwatched(at(900));
    assert_eq!(acquire(&mut share, now), (2, Vec::from([7, 900])), "two owners have told");
    assert_eq!(share.take_dry(&wanted, |_| Some(Offset::new(2))).len(), 2);
    assert_eq!(acquire(&mut share, now), (0, Vec::new()));
    let release = RangeToSettle {
        partition: at(900),
        first: Offset::ZERO,
        last: Offset::ZERO,
        verdict: Verdict::Release { delay_ms: 0 },
    };
    assert_eq!(share.settle(MemberId(1), &release, now, Offset::new(2)), None);
    assert_eq!(acquire(&mut share, now), (1, Vec::from([900])), "one was released");
    now.monotonic = now.monotonic + policy().lock;
    let again = Vec::from([7, 900, 900]);
    assert_eq!(acquire(&mut share, now), (2, again), "the locks have ended, of two and one");
}

#[test]
fn partitions_take_turns_from_behind_the_one_that_gave_last() {
    let mut share = resting_share(5);
    let wanted = BTreeSet::from(["t".to_string()]);
    [0, 2, 4].into_iter().for_each(|index| share.note_unwatched(at(index)));
    let now = Now { monotonic: Instant::from_nanos(1), unix_ms: 0 };
    let dead_letters = DeadLetters::There;
    let terms = Terms { now, ranges_max: 100, window_max: 100, room: 1_000, dead_letters };
    let mut turns = Vec::new();
    for _ in 0..6 {
        let two = |_| Some(Offset::new(2));
        let acquired = share.acquire((MemberId(1), &wanted), 1, &terms, two);
        turns.extend(acquired.ranges.iter().map(|range| range.partition.partition.0));
    }
    assert_eq!(turns, [0, 2, 4, 0, 2, 4]);
}
