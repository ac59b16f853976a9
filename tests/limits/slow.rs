//! Clients that do not read: their own window stops, memory stays bounded, others go on.

use std::io::Write;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use plimsoll_client_blocking::NewTopic;
use plimsoll_tests::{Bystander, Connection, Place, Server, batch_of, produce_frame, rss_bytes};
use plimsoll_wire::{AckLevel, Handle, Offset, Subscribe, Visible};

/// Producers that do not read.
const PRODUCERS: usize = 8;
/// Consumers that do not read: together they could hold the whole arena, if they were let.
const CONSUMERS: usize = 32;
/// What a client that does not read may cost the server: 1 MiB of answers that wait to be sent, a
/// large receive buffer, and what allocators keep.
const CLIENT_BYTES_MAX: u64 = 4 << 20;

fn topic(server: &Server, name: &str) {
    let topic = NewTopic { name, partitions: 2, ..NewTopic::default() };
    server.client().create_topic(&topic).unwrap();
}

fn deaf(server: &Server, topic: &str) -> Connection {
    let mut connection = Connection::open(server.address());
    for handle in 0..2 {
        connection.bind(handle, topic, handle);
    }
    // Little room in the kernel, so that the server's own bound is what counts.
    setsockopt(&connection.stream, sockopt::RcvBuf, &4096).unwrap();
    connection
}

#[test]
fn producers_that_never_read_their_acks_stop_and_cost_a_bounded_amount() {
    let place = Place::new();
    let server = place.server().shards(2).start();
    let bystander = Bystander::begin(&server);
    topic(&server, "deaf");
    let before = rss_bytes(server.pid());
    let mut clients: Vec<Connection> = (0..PRODUCERS).map(|_| deaf(&server, "deaf")).collect();
    let batch = batch_of(1, 1);
    let (mut numbers, begun) = ([0_u32; 2], Instant::now());
    let mut stopped = [false; PRODUCERS];
    while stopped.contains(&false) {
        assert!(begun.elapsed() < Duration::from_secs(60), "{stopped:?}: some never stop");
        // Turn by turn between two handles: acks that do not merge are the most that can come.
        let mut frames = Vec::new();
        for _ in 0..2_000 {
            for (handle, number) in (0..).zip(&mut numbers) {
                frames.extend(produce_frame(handle, *number, AckLevel::Memory, None, &batch));
                *number += 1;
            }
        }
        for (client, stopped) in clients.iter_mut().zip(&mut stopped) {
            client.stream.set_write_timeout(Some(Duration::from_millis(250))).unwrap();
            *stopped = *stopped || client.stream.write_all(&frames).is_err();
        }
    }
    report("producer", rss_bytes(server.pid()) - before, PRODUCERS as u64);
    bystander.end();
}

#[test]
fn consumers_that_stop_reading_stop_and_cost_a_bounded_amount() {
    let place = Place::new();
    let server = place.server().shards(2).start();
    let bystander = Bystander::begin(&server);
    topic(&server, "unread");
    let mut producer = Connection::open(server.address());
    producer.bind(0, "unread", 0);
    let batch = batch_of(1, 1000);
    let batches = (64 << 20) / batch.len() as u32;
    for number in 0..batches {
        producer.produce(0, number, AckLevel::Disk, None, &batch).unwrap();
        if number % 16 == 15 {
            producer.read().unwrap();
        }
    }
    let before = rss_bytes(server.pid());
    let mut clients: Vec<Connection> = (0..CONSUMERS).map(|_| deaf(&server, "unread")).collect();
    let all = u32::MAX >> 1;
    let (handle, visible, offset) = (Handle(0), Visible::Disk, Offset::ZERO);
    for client in &mut clients {
        let subscribe = Subscribe { handle, visible, offset, credit_bytes: all };
        client.say(|correlation, out| subscribe.encode(correlation, out));
    }
    let (mut most, mut looks, begun) = (before, 0, Instant::now());
    while looks < 20 || server.counter("delivered_bytes") == 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "nobody was delivered anything");
        std::thread::sleep(Duration::from_millis(50));
        most = most.max(rss_bytes(server.pid()));
        looks += 1;
    }
    report("consumer", most - before, CONSUMERS as u64);
    bystander.end();
}

fn report(kind: &str, grown: u64, clients: u64) {
    eprintln!("a {kind} that does not read costs {} KiB", (grown / clients) >> 10);
    assert!(grown / clients < CLIENT_BYTES_MAX, "{} bytes each", grown / clients);
}
