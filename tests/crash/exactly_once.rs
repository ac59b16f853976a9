//! Idempotent producers of the shipped client, under which the server dies: every record is acked,
//! and is in the log once, in the order in which its producer sent it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use plimsoll_client_blocking::{
    AckLevel, Client, Durability, DurabilityWanted, NewRecord, ProducerOptions, Summary,
};
use plimsoll_tests::{Connection, Place, Random, Server, read_back, value_of};

use crate::lives::{Death, PARTITIONS, TOPIC, create_topic};

const PRODUCERS: u64 = 3;
const DEATHS: u64 = 8;

/// Numbers of one producer's records begin here.
const NUMBERS: u64 = 1 << 32;

/// Sends until it is told to stop; gives how many, and how they ended.
fn produce(
    client: &Client,
    (producer, durability): (u64, Durability),
    stop: &AtomicBool,
) -> (u64, Summary) {
    let mut options = ProducerOptions::default();
    options.durability = DurabilityWanted::Level(durability);
    options.also = (producer == 1).then_some(AckLevel::PageCache);
    options.batch_bytes = 16 << 10;
    let producer_client = client.producer(TOPIC, options).unwrap();
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        let number = producer * NUMBERS + sent;
        let (key, value) = (number.to_le_bytes(), value_of(number));
        let partition = (sent % u64::from(PARTITIONS)) as u32;
        let record = NewRecord::of_value(&value).with_key(&key).to_partition(partition);
        producer_client.send(&record).unwrap();
        sent += 1;
        if sent.is_multiple_of(50) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    (sent, producer_client.close())
}

/// What was acked at a weaker level last is flushed a moment later, and read back from then on.
fn wait_for_disk(server: &Server) {
    let client = server.client();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let partitions = client.describe(TOPIC).expect("the topic is there");
        if partitions.iter().all(|it| it.watermarks.disk == it.watermarks.memory) {
            return;
        }
        assert!(Instant::now() < deadline, "not everything is flushed: {partitions:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Every partition has every producer's records of it once, and in order.
fn compare(server: &Server, sent: &[u64]) {
    wait_for_disk(server);
    let mut connection = Connection::open(server.address());
    for partition in 0..PARTITIONS {
        let (found, _) = read_back(&mut connection, TOPIC, partition, 0);
        let mut next = [u64::from(partition); PRODUCERS as usize];
        for (offset, number) in found {
            let (producer, number) = ((number / NUMBERS) as usize, number % NUMBERS);
            let expected = next[producer];
            assert_eq!(number, expected, "producer {producer} at {offset} of {partition}");
            next[producer] += u64::from(PARTITIONS);
        }
        for (producer, (next, sent)) in next.into_iter().zip(sent).enumerate() {
            assert!(next >= *sent, "producer {producer} lacks {next} of {sent} in {partition}");
        }
    }
}

#[test]
fn an_idempotent_producer_has_every_record_in_the_log_once_whatever_dies_under_it() {
    let random = Random::seeded("crash", "an_idempotent_producer_has");
    die_under(random, Death::Process, [Durability::PageCache, Durability::Disk, Durability::Disk]);
}

/// What weaker levels lose, nobody was told of at `disk`: it is written again, elsewhere.
#[test]
fn an_idempotent_producer_at_disk_has_every_record_in_the_log_once_whatever_power_takes() {
    let random = Random::seeded("crash", "an_idempotent_producer_at_disk");
    die_under(random, Death::Power, [Durability::Disk; 3]);
}

fn die_under(mut random: Random, death_is: Death, levels: [Durability; PRODUCERS as usize]) {
    let place = Place::new();
    let mut server = place.server().shards(2).start();
    create_topic(&server);
    let address = server.address().to_owned();
    let stop = AtomicBool::new(false);
    let (server, ended) = std::thread::scope(|scope| {
        let producers: Vec<_> = (0..)
            .zip(levels)
            .map(|producer| {
                let (client, stop) = (server.client(), &stop);
                scope.spawn(move || produce(&client, producer, stop))
            })
            .collect();
        for death in 0..DEATHS {
            std::thread::sleep(Duration::from_millis(random.below(50..400)));
            if death % 4 == 3 {
                assert_eq!(server.stop().code(), Some(0));
            } else {
                server.kill();
            }
            if death_is == Death::Power {
                place.remove_arenas();
            }
            let shards = 1 + (death as usize % 2);
            server = place.server().shards(shards).with(&["--listen", &address]).start();
        }
        std::thread::sleep(Duration::from_millis(200));
        stop.store(true, Ordering::Relaxed);
        let closing = Instant::now();
        let ended: Vec<_> = producers.into_iter().map(|it| it.join().unwrap()).collect();
        assert!(closing.elapsed() < Duration::from_secs(60), "what was open is acked soon");
        (server, ended)
    });
    for (producer, (sent, totals)) in ended.iter().enumerate() {
        let acked = Summary { acked: *sent, ..Summary::default() };
        assert_eq!(*totals, acked, "producer {producer}");
    }
    let sent: Vec<u64> = ended.iter().map(|(sent, _)| *sent).collect();
    println!("sent {sent:?}, of them again {}", server.counter("duplicates"));
    compare(&server, &sent);
}
