//! SIGTERM: everything is finished, and nothing is left behind.

use std::time::Duration;

use plimsoll_client_blocking::{NewRecord, ProducerOptions};
use plimsoll_tests::{Place, Random};
use plimsoll_wire::{AckLevel, ErrorCode};

use crate::lives::{Death, Lives, PARTITIONS, TOPIC, create_topic};

#[test]
fn a_clean_stop_answers_what_is_in_flight_and_loses_nothing_acked_at_any_level() {
    let mut lives = Lives::new(Random::seeded("crash", "a_clean_stop_answers"));
    for _ in 0..3 {
        let server = lives.start(2);
        lives.compare(&server, Death::Power);
        let producers: Vec<_> =
            (0..2).map(|index| lives.producer(&server, index, &AckLevel::ALL).begin()).collect();
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(server.stop().code(), Some(0));
        assert_eq!(lives.place.arenas(), [""; 0].map(std::path::PathBuf::from));
        for producer in producers {
            let mut told = producer.join().unwrap();
            let other = |code: &ErrorCode| *code != ErrorCode::ShuttingDown;
            assert!(!told.refused.iter().any(other), "{:?}", told.refused);
            // A clean stop flushes everything: memory was as good as disk.
            told.acks.iter_mut().for_each(|ack| ack.level = AckLevel::Disk);
            lives.note(&told);
        }
    }
    let server = lives.start(2);
    lives.compare_all(&server, Death::Power);
}

#[test]
fn offsets_have_no_gap_after_a_clean_stop() {
    let place = Place::new();
    let mut next = [0; PARTITIONS as usize];
    for life in 0..3 {
        let server = place.server().shards(2).start();
        if life == 0 {
            create_topic(&server);
        }
        let mut options = ProducerOptions::default();
        options.durability = plimsoll_client_blocking::DurabilityWanted::Level(
            plimsoll_client_blocking::Durability::Memory,
        );
        let producer = server.client().producer(TOPIC, options).unwrap();
        for index in 0..100 {
            let partition = index % PARTITIONS;
            let record = NewRecord::of_value(b"value").to_partition(partition);
            let ack = producer.send(&record).unwrap().wait().unwrap();
            assert_eq!(ack.offset.value(), next[partition as usize]);
            next[partition as usize] += 1;
        }
        drop(producer);
        assert_eq!(server.stop().code(), Some(0));
    }
}
