//! A topic under load: who writes to it, who reads it, and what of it must be there after a cut.

use plimsoll_client_blocking::NewTopic;
use plimsoll_tests::{
    Ack, Connection, Consuming, Contents, Ledger, Producing, Random, Seen, Server, Told, batch_of,
    read_back,
};
use plimsoll_wire::{AckLevel, ErrorCode, Response, ShardIndex, Visible};
use std::thread::JoinHandle;

/// Producers of each topic.
const PRODUCERS: u64 = 1;

/// A topic with the ledger of everything that anyone was told of it.
pub(crate) struct Watched {
    name: &'static str,
    partitions: u32,
    segment_bytes: u64,
    /// Of each life.
    batches_max: u64,
    /// Between two of them.
    pause_us_max: u64,
    ledger: Ledger,
    /// Up to here each partition was compared.
    compared: Vec<u64>,
    /// Its creation was answered: no cut may take it away.
    is_promised: bool,
}

/// Those who load a topic until the server is gone.
pub(crate) struct Load {
    producers: Vec<JoinHandle<Told>>,
    consumer: JoinHandle<Seen>,
    visible: Visible,
}

impl Watched {
    /// Not there yet.
    pub(crate) fn new(name: &'static str, partitions: u32, segment_bytes: u64) -> Watched {
        let ledger = Ledger::new(partitions);
        let compared = vec![0; partitions as usize];
        Watched {
            name,
            partitions,
            segment_bytes,
            batches_max: u64::MAX,
            pause_us_max: 0,
            ledger,
            compared,
            is_promised: false,
        }
    }

    /// In each life so many batches come, and no more.
    pub(crate) fn with_batches_max(self, batches_max: u64) -> Watched {
        Watched { batches_max, ..self }
    }

    /// Between two of them there is a pause, of another length each time.
    pub(crate) fn with_pauses(self, pause_us_max: u64) -> Watched {
        Watched { pause_us_max, ..self }
    }

    /// Makes sure that there is the topic, and that it is if that was promised.
    pub(crate) fn ensure(&mut self, server: &Server) -> Result<(), String> {
        let client = server.client();
        if client.topic(self.name).is_ok() {
            self.is_promised = true;
            return Ok(());
        }
        if self.is_promised {
            return Err(format!("topic {} was created, and is gone", self.name));
        }
        let topic = NewTopic {
            name: self.name,
            partitions: self.partitions,
            segment_bytes: self.segment_bytes,
            ..NewTopic::default()
        };
        client.create_topic(&topic).map_err(|error| format!("{}: {error}", self.name))?;
        self.is_promised = true;
        Ok(())
    }

    /// Compares what is there with what was promised, from where the last comparison ended or
    /// from the beginning. What was found: partition, offset, number. Panics if a promise is
    /// broken.
    pub(crate) fn compare(
        &mut self,
        connection: &mut Connection,
        is_whole: bool,
    ) -> Vec<(u32, u64, u64)> {
        let mut all = Vec::new();
        for partition in 0..self.partitions {
            let from = if is_whole { 0 } else { self.compared[partition as usize] };
            let (found, ends) = read_back(connection, self.name, partition, from);
            self.ledger.check_after_restart(partition, from, AckLevel::Disk, &found);
            self.ledger.check_watermarks_after_restart(partition, &ends);
            self.compared[partition as usize] = ends.disk.value();
            all.extend(found.into_iter().map(|(offset, id)| (partition, offset, id)));
        }
        all
    }

    /// The server goes on: a batch in each partition, each acked at disk. The partitions are bound.
    pub(crate) fn append_to_each(
        &mut self,
        connection: &mut Connection,
        first_id: u64,
    ) -> Result<u64, String> {
        for partition in 0..self.partitions {
            let batch = batch_of(first_id + 2 * u64::from(partition), 2);
            let sent = connection.produce(partition, 0, AckLevel::Disk, None, &batch);
            sent.map_err(|error| format!("{}: an append after the start: {error}", self.name))?;
        }
        let mut acked = 0;
        while acked < self.partitions {
            let frame = connection.read().ok_or("an append after the start is not answered")?;
            let Response::Acks(acks) = frame.response() else {
                return Err(format!("{}: an append: {:?}", self.name, frame.response()));
            };
            for entry in acks {
                let partition = entry.handle.0;
                let first_id = first_id + 2 * u64::from(partition);
                let (level, base_offset) = (entry.level, entry.base_offset.value());
                self.ledger.acked(&Ack { partition, level, base_offset, first_id, records: 2 });
                acked += 1;
            }
        }
        Ok(u64::from(2 * acked))
    }

    /// Begins to load it.
    pub(crate) fn begin(&self, server: &Server, first_id: u64, random: &mut Random) -> Load {
        let visible = random.one_of(&[Visible::Memory, Visible::PageCache, Visible::Disk]);
        let (address, topic) = (server.address().to_owned(), self.name);
        let shards = server.shards() as u64;
        let consumer = Consuming {
            address: address.clone(),
            topic,
            partitions: self.partitions,
            shard: ShardIndex(0),
            visible,
        };
        let producer = |index: u64| Producing {
            address: address.clone(),
            topic,
            partitions: self.partitions,
            shard: ShardIndex((index % shards) as u16),
            first_id: first_id | index << 36,
            levels: &AckLevel::ALL,
            contents: Contents::Numbered,
            batches_max: self.batches_max,
            pause_us_max: self.pause_us_max,
            random: Random::new(random.number()),
        };
        let consumer = consumer.begin();
        let producers = (0..PRODUCERS).map(producer).map(Producing::begin).collect();
        Load { producers, consumer, visible }
    }

    /// The server is gone: writes down what it said. How many records were acked at disk.
    pub(crate) fn note(&mut self, load: Load) -> Result<u64, String> {
        let mut at_disk = 0;
        for producer in load.producers {
            let told = producer.join().map_err(|_| "a producer heard what must not be")?;
            let allowed = [ErrorCode::DiskFailed, ErrorCode::ShuttingDown];
            if let Some(code) = told.refused.iter().find(|code| !allowed.contains(code)) {
                return Err(format!("{}: an append was refused with {code}", self.name));
            }
            for ack in &told.acks {
                self.ledger.acked(ack);
                at_disk += if ack.level == AckLevel::Disk { u64::from(ack.records) } else { 0 };
            }
        }
        let seen = load.consumer.join().map_err(|_| "a consumer saw what must not be")?;
        for (partition, offset, id) in seen.records {
            self.ledger.shown(partition, offset, id, load.visible.level());
        }
        for (partition, watermarks) in (0..).zip(&seen.watermarks) {
            self.ledger.told(partition, watermarks);
        }
        Ok(at_disk)
    }

    /// Somebody was shown this record, as one that is on disk. Panics if it cannot be there.
    pub(crate) fn shown_at_disk(&mut self, partition: u32, offset: u64, id: u64) {
        self.ledger.shown(partition, offset, id, AckLevel::Disk);
    }

    /// How many records are there, and how many of weaker levels are gone.
    pub(crate) fn counts(&self) -> (usize, usize) {
        self.ledger.counts()
    }
}
