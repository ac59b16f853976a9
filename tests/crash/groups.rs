//! A pipeline of a producer and a consumer group, of which everything is killed at random: each
//! record is in the log once, and every member's work together is all of it.
//!
//! Members are processes with a static name, so that the one that follows takes the place of the
//! one that was killed. Each writes into a file of its own; a last line that was cut is no line.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use plimsoll_client_blocking::{Client, NewRecord, ProducerOptions};
use plimsoll_tests::{Place, Random, plimsoll};

use crate::lives::{PARTITIONS, TOPIC, create_topic};

const GROUP: &str = "pipeline";
const MEMBERS: usize = 3;
const ROUNDS: usize = 10;

/// A member in a place of the group, and the files of all that were there before it.
struct Seat {
    instance: String,
    address: String,
    outputs: Vec<PathBuf>,
    process: Child,
}

impl Seat {
    fn new(place: &Place, address: &str, number: usize) -> Seat {
        let instance = format!("member-{number}");
        let output = place.file(&format!("{instance}-0.txt"));
        let process = start(address, &instance, &output);
        Seat { instance, address: address.to_owned(), outputs: vec![output], process }
    }

    /// SIGKILL, and another one in its place.
    fn replace(&mut self, place: &Place) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        let output = place.file(&format!("{}-{}.txt", self.instance, self.outputs.len()));
        self.process = start(&self.address, &self.instance, &output);
        self.outputs.push(output);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn start(address: &str, instance: &str, output: &Path) -> Child {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(plimsoll());
    command.args(["consume", TOPIC, "--group", GROUP, "--instance", instance]);
    command.args(["--server", address]).stdin(Stdio::null());
    command.stdout(File::create(output).unwrap()).spawn().unwrap()
}

/// How often each number stands in the outputs.
fn lines(seats: &[Seat]) -> BTreeMap<u64, u64> {
    let mut counts = BTreeMap::new();
    for output in seats.iter().flat_map(|seat| &seat.outputs) {
        let text = fs::read_to_string(output).unwrap();
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            *counts.entry(line.trim_end().parse().unwrap()).or_default() += 1;
        }
    }
    counts
}

/// What the group has committed never goes back, and is never more than there is.
#[derive(Default)]
struct Positions(BTreeMap<u32, u64>);

impl Positions {
    fn look(&mut self, client: &Client) {
        let Ok(group) = client.describe_group(GROUP) else { return };
        let ends = client.describe(TOPIC).unwrap();
        for offset in group.offsets {
            let partition = offset.partition.partition.0;
            let before = self.0.insert(partition, offset.offset.value()).unwrap_or(0);
            assert!(offset.offset.value() >= before, "{partition} went back from {before}");
            let end = ends[partition as usize].watermarks.memory.value();
            assert!(offset.offset.value() <= end, "{partition} is committed beyond {end}");
        }
    }
}

#[test]
fn a_pipeline_of_which_everything_is_killed_writes_every_record_and_loses_no_position() {
    let mut random = Random::seeded("crash", "a_pipeline_of_which_everything");
    let place = Place::new();
    let mut server = place.server().shards(2).start();
    create_topic(&server);
    let address = server.address().to_owned();
    let mut seats: Vec<Seat> = (0..MEMBERS).map(|it| Seat::new(&place, &address, it)).collect();
    let producer = server.client().producer(TOPIC, ProducerOptions::default()).unwrap();
    let (mut sent, mut positions) = (0_u64, Positions::default());
    for round in 0..ROUNDS {
        let until = Instant::now() + Duration::from_millis(random.below(100..500));
        while Instant::now() < until {
            let value = sent.to_string();
            let partition = (sent % u64::from(PARTITIONS)) as u32;
            producer.send(&NewRecord::of_value(value.as_bytes()).to_partition(partition)).unwrap();
            sent += 1;
            if sent.is_multiple_of(100) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        positions.look(&server.client());
        if random.once_in(2) {
            let seat = random.below(0..MEMBERS as u64) as usize;
            seats[seat].replace(&place);
        }
        if round % 3 == 1 {
            server.kill();
            let shards = 1 + round % 2;
            server = place.server().shards(shards).with(&["--listen", &address]).start();
            positions.look(&server.client());
        }
    }
    assert_eq!(producer.close().acked, sent);
    let deadline = Instant::now() + Duration::from_secs(120);
    let mut counts = lines(&seats);
    while counts.len() < sent as usize {
        assert!(Instant::now() < deadline, "{} of {sent} were written", counts.len());
        std::thread::sleep(Duration::from_millis(100));
        counts = lines(&seats);
    }
    assert_eq!(counts.len(), sent as usize, "nothing that was not sent");
    positions.look(&server.client());
    let again: u64 = counts.values().map(|count| count - 1).sum();
    println!("{sent} records, each written; {again} of them once more");
}
