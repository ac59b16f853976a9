//! Someone who behaves well while others do not, and must not notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use plimsoll_client_blocking::{
    ConsumerOptions, Durability, DurabilityWanted, NewRecord, NewTopic, ProducerOptions,
};
use plimsoll_wire::Offset;

use crate::Server;

const TOPIC: &str = "bystander";
/// Acks that take longer count as this.
const ACK_NS_MAX: u64 = 60_000_000_000;

/// A producer and a consumer of their own topic: each record is acked at disk and read back before
/// the next one is sent.
#[derive(Debug)]
pub struct Bystander {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Course>,
}

/// How it went for a bystander.
#[derive(Clone, Copy, Debug)]
pub struct Course {
    /// So many records went through.
    pub records: u64,
    /// Of a hundred acks at disk, 99 came within.
    pub ack_p99: Duration,
    /// The longest from a record's sending to its delivery.
    pub slowest: Duration,
}

impl Bystander {
    /// Begins.
    ///
    /// # Panics
    ///
    /// If the server refuses. What goes wrong later is told by [`end`](Bystander::end).
    #[must_use]
    pub fn begin(server: &Server) -> Bystander {
        let topic = NewTopic { name: TOPIC, partitions: 1, ..NewTopic::default() };
        server.client().create_topic(&topic).expect("the server creates the topic");
        Bystander::again(server)
    }

    /// Begins another time, behind what the first one sent.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    #[must_use]
    pub fn again(server: &Server) -> Bystander {
        let client = server.client();
        let sent = client.describe(TOPIC).expect("the topic is there")[0].watermarks.disk.value();
        let mut options = ProducerOptions::default();
        options.durability = DurabilityWanted::Level(Durability::Disk);
        let producer = client.producer(TOPIC, options).expect("the topic is there");
        let mut from = ConsumerOptions::default();
        from.positions.insert(0, Offset::new(sent));
        let consumer = client.consumer(TOPIC, from);
        let mut consumer = consumer.expect("the topic is there");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut number, mut slowest) = (sent, Duration::ZERO);
            let mut acks = Histogram::<u64>::new_with_max(ACK_NS_MAX, 3).expect("it is not large");
            // At least once, also after the others are done: then it shows that the server lives.
            loop {
                let begun = Instant::now();
                let value = number.to_le_bytes();
                let receipt = producer.send(&NewRecord::of_value(&value)).expect("it is taken");
                let ack = receipt.wait().expect("it is acked");
                acks.saturating_record(begun.elapsed().as_nanos() as u64);
                assert_eq!(ack.offset.value(), number);
                let record = consumer.next(Duration::from_secs(10)).expect("reading goes on");
                let record = record.expect("what is acked is delivered");
                assert_eq!(record.value(), Some(&value[..]));
                number += 1;
                slowest = slowest.max(begun.elapsed());
                if stopped.load(Ordering::Relaxed) {
                    let ack_p99 = Duration::from_nanos(acks.value_at_quantile(0.99));
                    return Course { records: number - sent, ack_p99, slowest };
                }
            }
        });
        Bystander { stop, thread }
    }

    /// Ends; how it went.
    ///
    /// # Panics
    ///
    /// If it noticed anything.
    pub fn end(self) -> Course {
        self.stop.store(true, Ordering::Relaxed);
        let course = self.thread.join().expect("the bystander noticed nothing");
        assert!(course.records > 0, "the bystander got nothing done");
        assert!(course.slowest < Duration::from_secs(5), "of the bystander: {course:?}");
        course
    }
}
