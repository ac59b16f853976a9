//! One data directory through many lives of a server, under load, with everything compared after
//! each death.

use std::time::{Duration, Instant};

use plimsoll_client_blocking::NewTopic;
use plimsoll_tests::{
    Connection, Consuming, Contents, Ledger, Place, Producing, Random, Server, Told, read_back,
};
use plimsoll_wire::{AckLevel, ShardIndex, Visible};

pub(crate) const TOPIC: &str = "lives";
pub(crate) const PARTITIONS: u32 = 10;

/// What a death leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// The process is killed: memory of the kernel survives.
    Process,
    /// The machine loses its power: only the disk survives.
    Power,
}

pub(crate) struct Lives {
    pub(crate) place: Place,
    pub(crate) ledger: Ledger,
    pub(crate) random: Random,
    life: u64,
    /// Up to here each partition was compared.
    compared: Vec<u64>,
}

impl Lives {
    pub(crate) fn new(random: Random) -> Lives {
        let ledger = Ledger::new(PARTITIONS);
        let compared = vec![0; PARTITIONS as usize];
        Lives { place: Place::new(), ledger, random, life: 0, compared }
    }

    /// Starts a server and makes sure that there is the topic.
    pub(crate) fn start(&mut self, shards: usize) -> Server {
        let server = self.place.server().shards(shards).start();
        if self.life == 0 {
            create_topic(&server);
        }
        self.life += 1;
        server
    }

    /// Loads the server for a moment, kills it in mid-load, and writes down what it said.
    pub(crate) fn load_and_die(&mut self, server: Server, death: Death) {
        let visible = self.random.one_of(&[Visible::Memory, Visible::PageCache, Visible::Disk]);
        let consumer = Consuming {
            address: server.address().to_owned(),
            topic: TOPIC,
            partitions: PARTITIONS,
            shard: ShardIndex(0),
            visible,
        };
        let consumer = consumer.begin();
        let producers: Vec<_> =
            (0..2).map(|index| self.producer(&server, index, &AckLevel::ALL).begin()).collect();
        std::thread::sleep(Duration::from_millis(self.random.below(5..160)));
        server.kill();
        if death == Death::Power {
            self.place.remove_arenas();
        }
        for producer in producers {
            let told = producer.join().expect("the producer heard nothing wrong");
            assert!(told.refused.is_empty(), "{:?}", told.refused);
            self.note(&told);
        }
        let seen = consumer.join().expect("the consumer saw nothing wrong");
        for (partition, offset, id) in seen.records {
            self.ledger.shown(partition, offset, id, visible.level());
        }
        for (partition, watermarks) in (0..).zip(&seen.watermarks) {
            self.ledger.told(partition, watermarks);
        }
    }

    pub(crate) fn producer(
        &mut self,
        server: &Server,
        index: u64,
        levels: &'static [AckLevel],
    ) -> Producing {
        Producing {
            address: server.address().to_owned(),
            topic: TOPIC,
            partitions: PARTITIONS,
            shard: ShardIndex((index % server.shards() as u64) as u16),
            first_id: self.life << 40 | index << 36,
            levels,
            contents: Contents::Numbered,
            batches_max: u64::MAX,
            pause_us_max: 0,
            random: Random::new(self.random.number()),
        }
    }

    pub(crate) fn note(&mut self, told: &Told) {
        for ack in &told.acks {
            self.ledger.acked(ack);
        }
    }

    /// Compares what is there with what was promised, from where the last comparison ended.
    pub(crate) fn compare(&mut self, server: &Server, death: Death) {
        let survived = match death {
            Death::Process => AckLevel::PageCache,
            Death::Power => AckLevel::Disk,
        };
        let mut connection = Connection::open(server.address());
        for partition in 0..PARTITIONS {
            let from = self.compared[partition as usize];
            let (found, ends) = read_back(&mut connection, TOPIC, partition, from);
            self.ledger.check_after_restart(partition, from, survived, &found);
            self.ledger.check_watermarks_after_restart(partition, &ends);
            self.compared[partition as usize] = ends.disk.value();
        }
    }

    /// The same from the beginning.
    pub(crate) fn compare_all(&mut self, server: &Server, death: Death) {
        self.compared.fill(0);
        self.compare(server, death);
    }

    /// So many deaths under load, each compared.
    pub(crate) fn die(&mut self, rounds: u32, shards: usize, death: impl Fn(u32) -> Death) {
        let begun = Instant::now();
        let mut server = self.start(shards);
        for round in 0..rounds {
            let death = death(round);
            self.load_and_die(server, death);
            server = self.start(shards);
            self.compare(&server, death);
        }
        self.compare_all(&server, Death::Power);
        let (there, lost) = self.ledger.counts();
        eprintln!(
            "{rounds} deaths in {:.1} s: {there} records there, {lost} of weaker levels lost",
            begun.elapsed().as_secs_f64()
        );
        assert!(there > 100 * rounds as usize, "there was hardly any load");
    }
}

pub(crate) fn create_topic(server: &Server) {
    let topic = NewTopic { name: TOPIC, partitions: PARTITIONS, ..NewTopic::default() };
    server.client().create_topic(&topic).unwrap();
}
