//! One round: a life under load, its end, the starts that do not come through, the comparison.

use std::thread::JoinHandle;
use std::time::Duration;

use plimsoll_tests::{
    Connection, Consuming, Contents, Producing, Random, Seen, Server, Starting, Told,
    VanishingLoad, read_back,
};
use plimsoll_wire::{AckLevel, ErrorCode, ShardIndex, Visible};

use super::tally::End;
use super::{Campaign, PARTITIONS, TOPIC};
use crate::program;
use crate::violation::Violation;

const PRODUCERS: u64 = 3;
/// The number of a record begins with the life in which it was sent.
const LIFE_SHIFT: u32 = 36;
const VISIBLE: [Visible; 3] = [Visible::Memory, Visible::PageCache, Visible::Disk];

/// Those who load a server.
struct Load {
    producers: Vec<JoinHandle<Told>>,
    consumers: Vec<(Visible, JoinHandle<Seen>)>,
    vanishing: VanishingLoad,
}

/// How a life is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Kill(End),
    /// SIGTERM: all is finished.
    Stop,
}

impl Campaign {
    /// A life from load to the comparison in the next one.
    pub(super) fn round(&mut self, server: Server) -> Result<Server, Violation> {
        self.rounds += 1;
        self.watchdog.feed("a life under load");
        let load = self.load(&server);
        let ending = self.pass_time(&server);
        let loses_power = ending != Ending::Stop && self.random.once_in(8);
        let next = self.end(server, load, ending, loses_power)?;
        self.watchdog.feed("a start");
        let server = match next {
            Some(starting) => {
                let server = starting.ready();
                self.tally.started(server.recovered());
                server
            }
            None => {
                self.kill_starts(loses_power);
                self.start()
            }
        };
        self.watchdog.feed("the comparison");
        self.compare(&server, loses_power)?;
        self.vanishing.look(&self.place.data_dir());
        let disk_bytes = program::disk_bytes(&self.place.data_dir());
        self.tally.disk_bytes_max = self.tally.disk_bytes_max.max(disk_bytes);
        Ok(server)
    }

    fn load(&mut self, server: &Server) -> Load {
        let shards = server.shards() as u64;
        let shard = |index: u64| ShardIndex((index % shards) as u16);
        let consumers = (0..).zip(VISIBLE).map(|(index, visible)| {
            let consuming = Consuming {
                address: server.address().to_owned(),
                topic: TOPIC,
                partitions: PARTITIONS,
                shard: shard(index),
                visible,
            };
            (visible, consuming.begin())
        });
        let consumers = consumers.collect();
        let producers = (0..PRODUCERS).map(|index| {
            let producing = Producing {
                address: server.address().to_owned(),
                topic: TOPIC,
                partitions: PARTITIONS,
                shard: shard(index),
                first_id: self.life << LIFE_SHIFT | index << 32,
                levels: &AckLevel::ALL,
                contents: Contents::Numbered,
                batches_max: u64::MAX,
                pause_us_max: 0,
                random: Random::new(self.random.number()),
            };
            producing.begin()
        });
        let producers = producers.collect();
        let first_id = self.life << LIFE_SHIFT | PRODUCERS << 32;
        let vanishing = self.vanishing.begin(server, first_id, &mut self.random);
        Load { producers, consumers, vanishing }
    }

    /// Lets the load go on for a moment; decides how it ends.
    fn pass_time(&mut self, server: &Server) -> Ending {
        let random = &mut self.random;
        let long = random.once_in(8);
        let load_ms = if long { random.below(100..500) } else { random.below(1..100) };
        sleep_ms(load_ms);
        if random.once_in(6) {
            // Compaction needs a while, and deletions until they go.
            sleep_ms(random.one_of(&[500, 1500, 3000]));
        }
        if random.once_in(3) {
            self.vanishing.ask(server);
        }
        if random.once_in(30) {
            server.pause();
            sleep_ms(random.below(1000..3000));
            if random.once_in(2) {
                server.resume();
                sleep_ms(random.below(0..300));
            }
            return Ending::Kill(End::Paused);
        }
        match random.below(0..20) {
            0 => Ending::Stop,
            1..=7 => Ending::Kill(End::LoadThenAtOnce),
            _ => Ending::Kill(End::Load),
        }
    }

    /// Ends the life, and writes down what was said in it. Gives the next start, if it has begun.
    fn end(
        &mut self,
        server: Server,
        load: Load,
        ending: Ending,
        loses_power: bool,
    ) -> Result<Option<Starting>, Violation> {
        let mut next = None;
        self.watchdog.feed(if ending == Ending::Stop { "a clean stop" } else { "a kill" });
        match ending {
            Ending::Stop => {
                self.tally.clean_stops += 1;
                let status = server.stop();
                if !status.success() {
                    return Err(Violation(format!("a clean stop ended with {status}")));
                }
            }
            Ending::Kill(End::LoadThenAtOnce) if !loses_power => {
                self.tally.killed(End::LoadThenAtOnce);
                server.kill_soon();
                self.choose_shards();
                next = Some(self.starting());
                server.kill();
            }
            Ending::Kill(end) => {
                let end = if end == End::Paused { end } else { End::Load };
                self.tally.killed(end);
                server.kill();
            }
        }
        if loses_power {
            self.tally.power_losses += 1;
            self.place.remove_arenas();
        }
        self.watchdog.feed("the end of the clients of a dead server");
        self.note(load, ending == Ending::Stop)?;
        Ok(next)
    }

    fn note(&mut self, load: Load, stopped: bool) -> Result<(), Violation> {
        for producer in load.producers {
            let mut told = Violation::joined(producer)?;
            let other = |code: &&ErrorCode| !stopped || **code != ErrorCode::ShuttingDown;
            if let Some(code) = told.refused.iter().find(other) {
                return Err(Violation(format!("a sound batch was refused: {code:?}")));
            }
            self.tally.told(&told);
            for ack in &mut told.acks {
                // A clean stop flushes everything: memory was as good as disk.
                ack.level = if stopped { AckLevel::Disk } else { ack.level };
                self.ledger.acked(ack);
            }
        }
        self.vanishing.note(load.vanishing, stopped);
        for (visible, consumer) in load.consumers {
            let seen = Violation::joined(consumer)?;
            self.tally.seen(visible, &seen);
            for (partition, offset, id) in seen.records {
                self.ledger.shown(partition, offset, id, visible.level());
            }
            for (partition, watermarks) in (0..).zip(&seen.watermarks) {
                self.ledger.told(partition, watermarks);
            }
        }
        Ok(())
    }

    /// Starts that are killed before they are ready, now and then.
    fn kill_starts(&mut self, loses_power: bool) {
        if !self.random.once_in(2) {
            return;
        }
        for _ in 0..self.random.below(1..4) {
            self.choose_shards();
            let mut starting = self.starting();
            sleep_ms(self.random.below(0..self.tally.usual_start_ms() * 5 / 4));
            self.tally.killed(End::Recovery);
            starting.kill_soon();
            if loses_power && self.random.once_in(2) {
                self.tally.power_losses += 1;
                starting.kill();
                self.place.remove_arenas();
            }
        }
    }

    pub(super) fn starting(&mut self) -> Starting {
        self.life += 1;
        self.place.server().program(&self.program).shards(self.shards).spawn()
    }

    pub(super) fn choose_shards(&mut self) {
        let shards = self.random.below(1..3) as usize;
        self.tally.core_changes += u64::from(shards != self.shards);
        self.shards = shards;
    }

    /// Compares what is there with what was promised, from where the last comparison ended.
    pub(super) fn compare(&mut self, server: &Server, lost_power: bool) -> Result<(), Violation> {
        let survived = if lost_power { AckLevel::Disk } else { AckLevel::PageCache };
        Violation::watched(|| {
            self.vanishing.compare(server, survived);
            let mut connection = Connection::open(server.address());
            for partition in 0..PARTITIONS {
                let from = self.compared[partition as usize];
                let (found, ends) = read_back(&mut connection, TOPIC, partition, from);
                if let Some((offset, id)) = found.iter().find(|(_, id)| life_of(*id) < self.since) {
                    let words = format!("partition {partition}: {id:#x} of a deleted topic");
                    return Err(Violation(format!("{words} is at {offset}")));
                }
                self.tally.compared += found.len() as u64;
                self.ledger.check_after_restart(partition, from, survived, &found);
                self.ledger.check_watermarks_after_restart(partition, &ends);
                self.compared[partition as usize] = ends.disk.value();
            }
            Ok(())
        })
    }

    /// The same from the beginning: everything that was ever promised of this topic.
    pub(super) fn compare_all(&mut self, server: &Server) -> Result<(), Violation> {
        self.compared.fill(0);
        self.compare(server, true)
    }
}

fn life_of(id: u64) -> u64 {
    id >> LIFE_SHIFT
}

fn sleep_ms(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}
