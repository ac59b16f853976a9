//! The world of one run: a machine, a server's process, clients, and what goes on next.
//!
//! One thing happens at a time, and chance says which. What a newcomer gets wrong: simulated time
//! passes by itself only when nothing else can happen, so a wait costs nothing.

mod acts;
mod compaction;
mod ending;
mod full_disk;
mod lives;
mod retention;
mod rot;
mod shares;

use core::fmt::Write as _;
use core::time::Duration;

use plimsoll_client::Instant as ClientInstant;
use plimsoll_device::Instant;
use plimsoll_sim::{ClientId, Clock, Disk, Network, Random};

use crate::client::{
    Admins, ConsumerClient, MemberClient, PassingClient, ProducerClient, SharerClient, Surroundings,
};
use crate::deliveries::Deliveries;
use crate::ledger::{Compactions, Ledger, Place, Violation};
use crate::met::Meetings;
use crate::positions::Positions;
use crate::process::{KernelMemory, Machine, News, Process};
use crate::scenario::{End, GroupPlan, Scenario};
use crate::starts::Starts;

/// What a run was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Of all that happened: two runs of one scenario agree on it.
    pub trace_hash: u64,
    /// How many things happened.
    pub steps: u64,
    /// How many records were produced.
    pub records: u64,
    /// How many of them were acked.
    pub acked: u64,
    /// How much time passed in the simulation, in milliseconds.
    pub simulated_ms: u64,
    /// What it met.
    pub met: Meetings,
}

/// Runs a scenario to its end; gives the promise that was broken, if one was.
///
/// With `log`, what happens is written there, line by line.
///
/// # Errors
///
/// A promise was broken.
///
/// # Panics
///
/// When an assertion of the shipped code or of the simulated machine fails.
pub fn run(scenario: &Scenario, log: Option<&mut String>) -> Result<Summary, Violation> {
    let mut world = World::new(scenario, log);
    world.live_all()?;
    Ok(world.summary())
}

struct World<'a> {
    scenario: &'a Scenario,
    disk: Disk,
    network: Network,
    memory: KernelMemory,
    clock: Clock,
    process: Option<Process>,
    producers: Vec<ProducerClient>,
    consumers: Vec<ConsumerClient>,
    members: Vec<MemberClient>,
    sharers: Vec<SharerClient>,
    admins: Admins,
    /// The operator asks for deletions until they are answered, also after an end of the server.
    operator_insists: bool,
    /// Who writes to the topic that passes now.
    passer: Option<PassingClient>,
    ledger: Ledger,
    order: Random,
    time: Random,
    /// Between which stores processes die.
    stores: Random,
    /// Until when the disk completes nothing.
    disk_rests_until: Instant,
    /// Until when the disk holds back what is written to the fronts of files, or to journals.
    held_until: Option<Instant>,
    /// Connections that say nothing, and when they break.
    silent: Vec<(Instant, ClientId)>,
    /// Until when each client takes nothing.
    slow_until: Vec<Instant>,
    passing: usize,
    /// Something was told to fail since the process began.
    has_faults: bool,
    steps: u64,
    log: Option<&'a mut String>,
}

/// What can go on.
#[derive(Clone, Copy, Debug)]
enum Candidate {
    Turn,
    Disk,
    Network,
    Mail,
    Client,
}

impl<'a> World<'a> {
    fn new(scenario: &'a Scenario, log: Option<&'a mut String>) -> Self {
        let random = Random::new(scenario.seed);
        let producers = scenario.producers.iter().cloned().enumerate();
        let seats = scenario.seats().map(|(group, seat)| {
            let plan = scenario.groups[group].members[seat].clone();
            MemberClient::new(group, seat, plan, &random)
        });
        let members: Vec<MemberClient> = seats.collect();
        let seats = scenario.sharers().map(|(share, seat)| {
            let plan = scenario.shares[share].sharers[seat].clone();
            SharerClient::new(share, seat, plan, &random)
        });
        let sharers: Vec<SharerClient> = seats.collect();
        let clients = scenario.producers.len() + scenario.consumers.len();
        let clients = clients + members.len() + sharers.len();
        let mut ledger = Ledger::default();
        ledger.is_damaged = scenario.damages();
        let has_gaps = |topic: usize| scenario.topics[topic].compaction.is_some();
        let book = |plan: &GroupPlan| Positions::new(plan, has_gaps(plan.topic));
        ledger.groups = scenario.groups.iter().map(book).collect();
        ledger.shares = scenario.shares.iter().map(Deliveries::new).collect();
        ledger.starts = Starts::new(scenario.topics.iter().map(|topic| topic.retention));
        ledger.compactions = Compactions::new(&scenario.topics);
        ledger.remarks = log.is_some().then(Vec::new);
        Self {
            scenario,
            disk: Disk::new(&random),
            network: Network::new(&random),
            memory: KernelMemory::default(),
            clock: Clock::new(),
            process: None,
            producers: producers.map(|(number, plan)| ProducerClient::new(number, plan)).collect(),
            consumers: scenario.consumers.iter().cloned().map(ConsumerClient::new).collect(),
            members,
            sharers,
            admins: Admins::new(&scenario.topics),
            operator_insists: random.stream("operator").chance(300),
            passer: None,
            ledger,
            order: random.stream("order"),
            time: random.stream("time"),
            stores: random.stream("stores"),
            disk_rests_until: Instant::ORIGIN,
            held_until: None,
            silent: Vec::new(),
            slow_until: vec![Instant::ORIGIN; clients],
            passing: 0,
            has_faults: false,
            steps: 0,
            log,
        }
    }

    fn now(&self) -> Instant {
        self.clock.now.monotonic
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            let now_us = self.clock.now.monotonic.as_nanos() / 1_000;
            // Writing to a string does not fail.
            let _ = writeln!(log, "{:>8} {now_us:>10} us  {}", self.steps, text());
        }
    }

    fn summary(&self) -> Summary {
        let acked = self.ledger.entries.iter().filter(|entry| entry.level.is_some()).count();
        let hashes = [self.disk.trace_hash(), self.network.trace_hash(), self.ledger.hash()];
        let mix = |all: u64, hash: u64| (all ^ hash).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Summary {
            trace_hash: hashes.into_iter().fold(self.steps, mix),
            steps: self.steps,
            records: self.ledger.entries.len() as u64,
            acked: acked as u64,
            simulated_ms: self.now().as_nanos() / 1_000_000,
            met: self.ledger.met,
        }
    }

    /// Lets one thing happen, or time pass until something can, but not beyond `until`. False when
    /// nothing can.
    fn step(&mut self, until: Option<Instant>) -> Result<bool, Violation> {
        if let Some(violation) = self.ledger.violation.take() {
            return Err(violation);
        }
        self.break_silence();
        self.release_writes();
        let weights = self.scenario.settings.weights;
        let due = self.process.as_ref().map(|it| it.due(self.clock.now)).unwrap_or_default();
        let mail = self.process.as_ref().map(Process::mail).unwrap_or_default();
        let clients = self.ready_clients();
        let disk = self.disk.can_go_on() && self.disk_rests_until <= self.now();
        let candidates = [
            (Candidate::Turn, weights.turn, !due.is_empty()),
            (Candidate::Disk, weights.disk, disk && self.process.is_some()),
            (Candidate::Network, weights.network, self.process.is_some() && self.network_goes_on()),
            (Candidate::Mail, weights.mail, !mail.is_empty()),
            (Candidate::Client, weights.client, !clients.is_empty()),
        ];
        let total: u64 = candidates.iter().filter(|it| it.2).map(|it| it.1).sum();
        if total == 0 {
            return Ok(self.pass_time(until));
        }
        let mut drawn = self.order.below(total);
        let chosen = candidates.iter().filter(|it| it.2).find(|(_, weight, _)| {
            let is_it = drawn < *weight;
            drawn = drawn.saturating_sub(*weight);
            is_it
        });
        self.steps += 1;
        self.clock.advance(Duration::from_nanos(self.time.below(20_000)));
        let pick = |random: &mut Random, length: usize| random.below(length as u64) as usize;
        let news = match chosen {
            Some((Candidate::Turn, ..)) => {
                let shard = due[pick(&mut self.order, due.len())];
                self.with_process(|process, machine| process.turn(shard, machine))
            }
            Some((Candidate::Disk, ..)) => self.with_process(Process::complete_disk),
            Some((Candidate::Network, ..)) => self.with_process(|process, machine| {
                process.complete_network(machine);
                News::Nothing
            }),
            Some((Candidate::Mail, ..)) => {
                let place = mail[pick(&mut self.order, mail.len())];
                self.with_process(|process, machine| {
                    process.deliver(place, machine.now);
                    News::Nothing
                })
            }
            _ => {
                let client = clients[pick(&mut self.order, clients.len())];
                self.turn_client(client);
                News::Nothing
            }
        };
        self.take_news(news)?;
        for remark in self.ledger.remarks.iter_mut().flat_map(std::mem::take).collect::<Vec<_>>() {
            self.note(|| remark);
        }
        Ok(true)
    }

    fn network_goes_on(&self) -> bool {
        self.process.as_ref().is_some_and(Process::has_recovered) && self.network.can_go_on()
    }

    fn with_process(&mut self, act: impl FnOnce(&mut Process, &mut Machine<'_>) -> News) -> News {
        let Some(process) = &mut self.process else { return News::Nothing };
        let mut machine = Machine {
            disk: &mut self.disk,
            network: &mut self.network,
            memory: &mut self.memory,
            now: self.clock.now,
        };
        act(process, &mut machine)
    }

    fn take_news(&mut self, news: News) -> Result<(), Violation> {
        self.note_failures();
        self.check_damage()?;
        match news {
            News::Nothing => Ok(()),
            News::Broken(violation) => Err(violation),
            News::Ended(text) => {
                self.note(|| format!("the process ends by itself: {text}"));
                if self.has_faults || self.ledger.is_damaged {
                    self.crash(End::Kill, false);
                    return Ok(());
                }
                Err(Violation(format!("the process ends by itself: {text}")))
            }
        }
    }

    /// From now on nothing that is begun may be acked at `disk` by a shard that has failed.
    fn note_failures(&mut self) {
        let Some(process) = &self.process else { return };
        if process.failed.is_empty() {
            return;
        }
        for (number, topic) in &self.admins.topics {
            for partition in 0..topic.partitions() {
                let place = Place { topic: *number, partition };
                if let Some(since) = process.failed.get(&process.owner(topic.id, partition)) {
                    self.ledger.failed_since.entry(place).or_insert(since.monotonic);
                }
            }
        }
    }

    fn check_damage(&self) -> Result<(), Violation> {
        self.check_compaction_goes_on()?;
        let damage = self.process.as_ref().and_then(|process| process.damaged.as_ref());
        match damage {
            Some(damage) if !self.scenario.misreads() && !self.ledger.is_damaged => {
                Err(Violation(format!("nothing was damaged, and yet: {damage}")))
            }
            _ => Ok(()),
        }
    }

    /// What a client's clock says.
    fn client_now(&self) -> ClientInstant {
        ClientInstant::after_origin(Duration::from_nanos(self.now().as_nanos()))
    }

    fn reads(&self, client: usize) -> bool {
        self.slow_until.get(client).is_none_or(|until| *until <= self.now())
    }

    /// Clients with something to do; the operator is behind them, and who writes to a topic that
    /// passes is the last.
    fn ready_clients(&self) -> Vec<usize> {
        let now = self.client_now();
        let mut ready = Vec::new();
        for (number, producer) in self.producers.iter().enumerate() {
            let begins = !producer.has_begun() && self.knows(producer.plan.topic);
            if begins || producer.is_ready(&self.network, now, self.reads(number)) {
                ready.push(number);
            }
        }
        for (number, consumer) in (self.producers.len()..).zip(&self.consumers) {
            let begins = !consumer.has_begun() && self.knows(consumer.plan.topic);
            if begins || consumer.is_ready(&self.network, now, self.reads(number)) {
                ready.push(number);
            }
        }
        for (number, member) in (self.producers.len() + self.consumers.len()..).zip(&self.members) {
            let begins = member.wants_to_begin(now)
                && self.knows(self.scenario.groups[member.group()].topic);
            if begins || member.is_ready(&self.network, now, self.reads(number)) {
                ready.push(number);
            }
        }
        self.ready_sharers(&mut ready);
        let clients = self.clients();
        if self.admins.is_ready(&self.network, now) {
            ready.push(clients);
        }
        if self.passer.as_ref().is_some_and(|passer| passer.is_ready(&self.network, now)) {
            ready.push(clients + 1);
        }
        ready
    }

    /// How many clients there are, without the operator.
    fn clients(&self) -> usize {
        self.producers.len() + self.consumers.len() + self.members.len() + self.sharers.len()
    }

    fn knows(&self, topic: usize) -> bool {
        self.admins.topics.contains_key(&topic)
    }

    fn turn_client(&mut self, number: usize) {
        self.look_at_clock();
        let reads = self.reads(number);
        let now = self.client_now();
        let listens = self.process.is_some();
        let mut around = Surroundings { network: &mut self.network, now, listens, reads };
        let ledger = &mut self.ledger;
        let topics = &self.admins.topics;
        if let Some(producer) = self.producers.get_mut(number) {
            if let (false, Some(topic)) = (producer.has_begun(), topics.get(&producer.plan.topic)) {
                producer.begin(topic);
            }
            return producer.turn(ledger, &mut around);
        }
        if let Some(consumer) = self.consumers.get_mut(number - self.producers.len()) {
            if let (false, Some(topic)) = (consumer.has_begun(), topics.get(&consumer.plan.topic)) {
                consumer.begin(topic, ledger, now);
            }
            return consumer.turn(ledger, &mut around);
        }
        let seat = number - self.producers.len() - self.consumers.len();
        if let Some(member) = self.members.get_mut(seat) {
            let plan = &self.scenario.groups[member.group()];
            if let (true, Some(topic)) = (member.wants_to_begin(now), topics.get(&plan.topic)) {
                member.begin(topic, plan, now);
            }
            return member.turn(ledger, &mut around);
        }
        let seat = seat - self.members.len();
        if let Some(sharer) = self.sharers.get_mut(seat) {
            let plan = &self.scenario.shares[sharer.share()];
            if sharer.wants_to_begin(now) && shares::are_known(plan, topics) {
                sharer.begin(plan, topics, now);
            }
            return sharer.turn(ledger, &mut around);
        }
        if seat == self.sharers.len() {
            self.admins.turn(ledger, &mut around);
            if let Some((topic, bytes)) = self.admins.found.pop() {
                let before = self.passer.replace(PassingClient::new(topic, bytes, now));
                before.into_iter().for_each(|mut passer| passer.die(&mut self.network));
            }
        } else if let Some(passer) = &mut self.passer {
            passer.turn(&mut around);
        }
    }

    /// Goes to the next instant at which something can happen. False when there is none.
    fn pass_time(&mut self, until: Option<Instant>) -> bool {
        let clients = self.producers.iter().filter_map(ProducerClient::poll_timeout);
        let clients = clients.chain(self.consumers.iter().filter_map(ConsumerClient::poll_timeout));
        let clients = clients.chain(self.members.iter().filter_map(MemberClient::poll_timeout));
        let clients = clients.chain(self.sharers.iter().filter_map(SharerClient::poll_timeout));
        let passer = self.passer.as_ref().and_then(PassingClient::poll_timeout);
        let clients = clients.chain(self.admins.poll_timeout()).chain(passer).map(|at| {
            let nanos = at.since(ClientInstant::ORIGIN).as_nanos();
            Instant::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
        });
        let now = self.now();
        let later = |at: &Instant| *at > now;
        let waits = self.slow_until.iter().copied().chain([self.disk_rests_until]);
        let waits = waits.chain(self.held_until);
        let waits = waits.chain(self.silent.iter().map(|(at, _)| *at)).filter(later);
        let process = self.process.as_ref().and_then(Process::poll_timeout);
        let next = clients.chain(waits).chain(process).chain(until).filter(later).min();
        let Some(next) = next else { return false };
        self.clock.advance(next.since(now));
        true
    }

    fn release_writes(&mut self) {
        if self.held_until.is_some_and(|until| until <= self.now()) {
            self.held_until = None;
            self.disk.faults.hold_writes_below = 0;
            self.disk.faults.hold_writes_to = None;
            self.disk.release();
        }
    }

    fn break_silence(&mut self) {
        let now = self.now();
        let over: Vec<ClientId> =
            self.silent.iter().filter(|(at, _)| *at <= now).map(|(_, end)| *end).collect();
        self.silent.retain(|(at, _)| *at > now);
        for end in over {
            self.network.silence(end, false);
            self.network.cut(end);
        }
    }
}
