//! Everything that a bad network can do at once, by the thousand, against a server under load:
//! those who behave well go on, and memory stays within what the server said at its start.
//!
//! What a newcomer gets wrong: no time is asserted here, but a factor. The same bystander is
//! measured without the crowd and with it, beside the same load, and the crowd itself, which one
//! thread of this test plays, takes its part of the cores.

use std::io::Write;
use std::time::{Duration, Instant};

use plimsoll_client_blocking::NewTopic;
use plimsoll_tests::{
    Bystander, Connection, Contents, Course, Place, Producing, Random, Server, batch_of,
    open_files_limit_raised, produce_frame, rss_bytes,
};
use plimsoll_wire::{
    AckLevel, CorrelationId, Handle, Hello, Offset, ShardIndex, Subscribe, Visible,
};

const TOPIC: &str = "load";
const PARTITIONS: u32 = 4;
/// How long they go on.
const HOSTILITY: Duration = Duration::from_secs(4);
/// So many times longer the p99 of a bystander's acks may be with the crowd than without it.
const P99_FACTOR: u32 = 20;
/// A p99 below this counts as this: where a disk answers within microseconds, a single turn of the
/// scheduler is many times as much, and says nothing about the server.
const P99_FLOOR: Duration = Duration::from_millis(20);
/// What the server says of its receive buffers, of two shards.
const RECEIVE_BYTES_MAX: u64 = 256 << 20;
/// What may wait to be sent to one that does not read, and what allocators keep.
const UNREAD_BYTES_MAX: u64 = (1 << 20) + (512 << 10);
/// What any connection costs beside that.
const CONNECTION_BYTES_MAX: u64 = 16 << 10;

/// Ways to behave badly.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// Connects and says nothing, ever.
    Silent,
    /// Half a hello, and then a byte now and then.
    Slow,
    /// Bytes that are no frames; the server ends it, and it comes again.
    Malformed,
    /// Hello, and then a frame that announces much and brings little.
    HalfFrame,
    /// Wants all records of all partitions with all credit, and reads nothing.
    Greedy,
    /// Sends batches and reads no ack.
    Deaf,
    /// Connects, says hello, and is gone without an end.
    Gone,
}

const MANNERS: [Manner; 7] = [
    Manner::Silent,
    Manner::Slow,
    Manner::Malformed,
    Manner::HalfFrame,
    Manner::Greedy,
    Manner::Deaf,
    Manner::Gone,
];

struct Hostile {
    manner: Manner,
    connection: Option<Connection>,
    sent: usize,
}

impl Hostile {
    fn connect(&mut self, address: &str) {
        let mut connection = Connection::silent(address);
        let timeout = Some(Duration::from_millis(20));
        connection.stream.set_write_timeout(timeout).unwrap();
        if !matches!(self.manner, Manner::Silent | Manner::Slow | Manner::Malformed) {
            // Whoever is not answered in time is one of those who are not served just now.
            let hello = Hello::new(ShardIndex::ANY, "hostile");
            connection.say(|correlation, out| hello.encode(correlation, out));
        }
        if matches!(self.manner, Manner::Greedy | Manner::Deaf) {
            connection.read();
            for partition in 0..PARTITIONS {
                connection.bind(partition, TOPIC, partition);
            }
        }
        if let Manner::Greedy = self.manner {
            for partition in 0..PARTITIONS {
                let (handle, visible) = (Handle(partition), Visible::Memory);
                let (offset, credit_bytes) = (Offset::ZERO, u32::MAX);
                let subscribe = Subscribe { handle, visible, offset, credit_bytes };
                connection.say(|correlation, out| subscribe.encode(correlation, out));
            }
        }
        (self.connection, self.sent) = (Some(connection), 0);
    }

    /// A little more of it. The server may have ended the connection: then it begins anew.
    fn go_on(&mut self, address: &str, random: &mut Random) {
        let Some(connection) = &mut self.connection else { return self.connect(address) };
        let bytes: Vec<u8> = match self.manner {
            Manner::Silent | Manner::Greedy => return,
            Manner::Slow => {
                let mut hello = Vec::new();
                Hello::new(ShardIndex::ANY, "slow").encode(CorrelationId(1), &mut hello);
                hello.get(self.sent..=self.sent).map(<[u8]>::to_vec).unwrap_or_default()
            }
            Manner::Malformed => (0..100).map(|_| random.number() as u8).collect(),
            Manner::HalfFrame if self.sent == 0 => {
                let batch = batch_of(1, 200);
                let frame = produce_frame(0, 0, AckLevel::Disk, None, &batch);
                frame[..frame.len() / 2].to_vec()
            }
            Manner::HalfFrame => return,
            Manner::Deaf => {
                let batch = batch_of(u64::from(u32::MAX), 1);
                let partition = random.below(0..u64::from(PARTITIONS)) as u32;
                produce_frame(partition, self.sent as u32, AckLevel::Memory, None, &batch)
            }
            Manner::Gone => return self.connection = None,
        };
        match connection.stream.write(&bytes) {
            Ok(_) => self.sent += 1,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => self.connection = None,
        }
    }
}

fn producer(server: &Server, first_id: u64) -> Producing {
    Producing {
        address: server.address().to_owned(),
        topic: TOPIC,
        partitions: PARTITIONS,
        shard: ShardIndex(0),
        first_id,
        levels: &AckLevel::ALL,
        contents: Contents::Numbered,
        batches_max: u64::MAX,
        pause_us_max: 0,
        random: Random::new(first_id),
    }
}

fn told(bystander: Bystander, begun: Instant) -> Course {
    let course = bystander.end();
    let rate = course.records as f64 / begun.elapsed().as_secs_f64();
    eprintln!("bystander: {rate:.0} records a second, {course:?}");
    course
}

#[test]
fn hostile_connections_by_the_thousand_leave_others_served_and_memory_bounded() {
    let mut random = Random::seeded("limits", "hostile_connections");
    let place = Place::new();
    let server = place.server().shards(2).start();
    let topic = NewTopic { name: TOPIC, partitions: PARTITIONS, ..NewTopic::default() };
    server.client().create_topic(&topic).unwrap();
    let count = if open_files_limit_raised() > 6_000 { 2_100 } else { 420 };
    let producer = producer(&server, 0).begin();

    let (bystander, begun) = (Bystander::begin(&server), Instant::now());
    std::thread::sleep(HOSTILITY / 2);
    let quiet = told(bystander, begun);
    let before = rss_bytes(server.pid());

    let manners = MANNERS.into_iter().cycle().take(count);
    let hostile = manners.map(|manner| Hostile { manner, connection: None, sent: 0 });
    let mut hostile: Vec<Hostile> = hostile.collect();
    let bystander = Bystander::again(&server);
    let (begun, mut rss_max, mut rounds) = (Instant::now(), 0, 0_u32);
    while begun.elapsed() < HOSTILITY || rounds < 2 {
        rounds += 1;
        for one in &mut hostile {
            one.go_on(server.address(), &mut random);
        }
        rss_max = rss_max.max(rss_bytes(server.pid()));
    }
    let disturbed = told(bystander, begun);
    assert!(!producer.is_finished(), "the producer was disturbed");
    let open = hostile.iter().filter(|one| one.connection.is_some()).count();
    let grown = rss_max.saturating_sub(before);
    eprintln!(
        "{count} hostile connections, {open} open at the end, {rounds} rounds: the p99 of the \
         bystander's acks is {:.1} times as long, {} KiB more memory at most",
        disturbed.ack_p99.as_secs_f64() / quiet.ack_p99.as_secs_f64(),
        grown >> 10
    );
    let allowed = P99_FACTOR * quiet.ack_p99.max(P99_FLOOR);
    assert!(disturbed.ack_p99 <= allowed, "{disturbed:?}, and without the crowd {quiet:?}");
    assert!(open > 0, "nobody was hostile");
    let unread = hostile.iter().filter(|one| matches!(one.manner, Manner::Greedy | Manner::Deaf));
    let unread = unread.count() as u64 * UNREAD_BYTES_MAX;
    let bound = RECEIVE_BYTES_MAX + unread + count as u64 * CONNECTION_BYTES_MAX;
    assert!(grown < bound, "{grown} bytes more, {bound} would be within bounds");
    drop(hostile);
    server.kill();
    let told = producer.join().expect("the producer heard nothing wrong");
    assert!(told.refused.is_empty(), "{:?}", told.refused);
    assert!(!told.acks.is_empty(), "the producer got nothing done");
}
