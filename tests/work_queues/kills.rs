//! Members and servers that die, or only stop.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use plimsoll_client_blocking::{Client, ShareError};
use plimsoll_tests::{Place, Random, plimsoll};

use crate::member::{
    GROUP, TOPIC, WAIT, join, next, options, produce, server, value, wait_until_done,
};

/// What the workers together know.
#[derive(Default)]
struct Books {
    /// Accepted, and the server has said that it is durable.
    accepted: BTreeSet<String>,
    handed_out: BTreeMap<String, u32>,
}

/// Takes records in batches and says of each what became of it: mostly that it is done.
fn work(client: &Client, books: &Mutex<Books>, is_over: &AtomicBool, mut random: Random) {
    let mut options = options();
    options.lock = Duration::from_secs(2);
    options.deliveries_max = u32::MAX;
    let member = join(client, options);
    while !is_over.load(Ordering::Relaxed) {
        let Ok(records) = member.poll(20, Duration::from_millis(50)) else { continue };
        let mut done = Vec::new();
        for record in &records {
            let mut books = books.lock().unwrap();
            let value = value(record);
            assert!(!books.accepted.contains(&value), "{value} was accepted and comes again");
            *books.handed_out.entry(value.clone()).or_default() += 1;
            drop(books);
            match random.below(0..10) {
                0 => member.release(record, Duration::from_millis(random.below(0..50))),
                1 => {}
                _ => {
                    member.accept(record);
                    done.push((record.partition, record.offset, value));
                }
            }
        }
        let untaken = match member.flush() {
            Ok(()) => BTreeSet::new(),
            Err(ShareError::NotSettled(unsettled)) => {
                unsettled.into_iter().map(|of| (of.partition, of.offset)).collect()
            }
            Err(error) => panic!("{error}"),
        };
        let taken = done
            .into_iter()
            .filter(|(partition, offset, _)| !untaken.contains(&(*partition, *offset)));
        books.lock().unwrap().accepted.extend(taken.map(|(_, _, value)| value));
        // Those without a verdict: as if this worker had crashed over them.
        let open = records.iter().filter(|record| member.is_held(record));
        open.for_each(|record| member.release(record, Duration::ZERO));
    }
    let _ = member.close();
}

#[test]
fn everything_is_done_and_nothing_accepted_comes_again_over_kills_of_the_server() {
    const RECORDS: usize = 3000;
    let mut random = Random::seeded("work_queues", "everything_is_done");
    let place = Place::new();
    let mut server = server(&place);
    let address = server.address().to_owned();
    let client = server.client();
    produce(&client, (0..RECORDS).map(|number| number.to_string()));
    let (books, is_over) = (Mutex::new(Books::default()), AtomicBool::new(false));
    let seeds = [random.number(), random.number(), random.number()];
    // The scope gives the last server back: it must outlive the workers' last answers.
    let _server = std::thread::scope(|scope| {
        for seed in seeds {
            let (client, books, is_over) = (&client, &books, &is_over);
            scope.spawn(move || work(client, books, is_over, Random::new(seed)));
        }
        for kill in 1..=4 {
            let deadline = Instant::now() + WAIT;
            while books.lock().unwrap().accepted.len() < kill * RECORDS / 6 {
                assert!(Instant::now() < deadline, "{}", books.lock().unwrap().accepted.len());
                std::thread::sleep(Duration::from_millis(5));
            }
            server.kill();
            server = place.server().shards(1 + kill % 2).with(&["--listen", &address]).start();
        }
        wait_until_done(&server.client());
        is_over.store(true, Ordering::Relaxed);
        server
    });
    let books = books.into_inner().unwrap();
    assert_eq!(books.handed_out.len(), RECORDS, "everything was handed out");
    let again = books.handed_out.values().filter(|count| **count > 1).count();
    println!(
        "{RECORDS} records, {} known to be accepted, {again} more than once",
        books.accepted.len()
    );
}

struct Process {
    child: Child,
    output: std::path::PathBuf,
}

impl Process {
    fn start(place: &Place, address: &str, name: &str) -> Process {
        let output = place.file(name);
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(plimsoll());
        command.args(["consume", TOPIC, "--group", GROUP, "--share", "--lock", "1s"]);
        command.args(["--deliveries-max", "0", "--server", address]).stdin(Stdio::null());
        command.stdout(File::options().create(true).append(true).open(&output).unwrap());
        command.stderr(File::create(place.file(&format!("{name}.err"))).unwrap());
        Process { child: command.spawn().unwrap(), output }
    }

    fn lines(&self) -> Vec<String> {
        fs::read_to_string(&self.output).unwrap().lines().map(str::to_owned).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn what_killed_members_had_and_did_not_accept_is_written_by_others() {
    const RECORDS: usize = 5000;
    let place = Place::new();
    let server = server(&place);
    let mut members: Vec<Process> =
        (0..2).map(|it| Process::start(&place, server.address(), &format!("m{it}"))).collect();
    let mut killed: Vec<Process> = Vec::new();
    for round in 0..5 {
        let first = round * RECORDS / 5;
        produce(&server.client(), (first..first + RECORDS / 5).map(|it| it.to_string()));
        let fresh = Process::start(&place, server.address(), &format!("m{}", round + 2));
        let mut old = std::mem::replace(&mut members[round % 2], fresh);
        old.child.kill().unwrap();
        old.child.wait().unwrap();
        killed.push(old);
    }
    let deadline = Instant::now() + WAIT;
    loop {
        let lines = members.iter().chain(&killed).flat_map(Process::lines);
        let seen: BTreeSet<String> = lines.collect();
        if (0..RECORDS).all(|it| seen.contains(&it.to_string())) {
            break;
        }
        assert!(Instant::now() < deadline, "{} lines", seen.len());
        std::thread::sleep(Duration::from_millis(50));
    }
    wait_until_done(&server.client());
}

/// Its output is a pipe that nobody reads: it has records that it cannot write, renews their locks,
/// and then it is stopped.
#[test]
fn the_records_of_a_member_that_is_stopped_go_to_others_and_it_hears_of_it() {
    let place = Place::new();
    let server = server(&place);
    let client = server.client();
    let pipe = place.file("out");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut reads = File::options().read(true).write(true).open(&pipe).unwrap();
    // Each is more than fits into a pipe.
    let filler = "x".repeat(100_000);
    produce(&client, (0..20).map(|number| format!("{number} {filler}")));
    let stopped = Process::start(&place, server.address(), "out");
    let mut first = [0];
    reads.read_exact(&mut first).unwrap();
    let pid = Pid::from_raw(stopped.child.id() as i32);
    kill(pid, Signal::SIGSTOP).unwrap();
    let mut options = options();
    (options.lock, options.deliveries_max, options.dead_letter) =
        (Duration::from_secs(1), u32::MAX, None);
    let member = join(&client, options);
    let mut seen = BTreeSet::new();
    while seen.len() < 20 {
        let record = next(&member);
        seen.insert(value(&record));
        member.accept(&record);
    }
    member.flush().unwrap();
    wait_until_done(&client);
    kill(pid, Signal::SIGCONT).unwrap();
    // What it could not write before comes out now; it is too late to accept it.
    let drains = std::thread::spawn(move || {
        let mut bytes = vec![0; 64 << 10];
        while reads.read(&mut bytes).is_ok_and(|length| length > 0) {}
    });
    let said = place.file("out.err");
    let deadline = Instant::now() + WAIT;
    while !fs::read_to_string(&said).unwrap().contains("lost") {
        assert!(Instant::now() < deadline, "it hears that its locks were lost");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!drains.is_finished());
    assert!(member.next(Duration::from_millis(200)).unwrap().is_none(), "nothing comes again");
}
