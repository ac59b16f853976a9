//! The example worker as a user runs it, killed on the way.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use plimsoll_client_blocking::DeadLetterHeader;
use plimsoll_tests::Place;

use crate::member::{
    DEAD, GROUP, TOPIC, WAIT, dead_letters, header, produce, server, wait_until_done,
};

struct Worker(Child);

impl Worker {
    fn start(address: &str, directory: &str) -> Worker {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(env!("CARGO_BIN_EXE_job-worker"));
        command.args([address, TOPIC, GROUP, DEAD, directory]).stderr(Stdio::null());
        Worker(command.spawn().unwrap())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_example_worker_does_every_job_whatever_is_killed_and_tells_which_it_cannot() {
    const JOBS: usize = 600;
    let place = Place::new();
    let server = server(&place);
    let directory = place.file("done");
    fs::create_dir_all(&directory).unwrap();
    let path = directory.to_str().unwrap();
    let mut workers =
        [Worker::start(server.address(), path), Worker::start(server.address(), path)];
    produce(&server.client(), (0..JOBS).map(|job| format!("file-{} {job}", job % 3)));
    produce(&server.client(), ["nonsense".to_owned()]);
    let done = || -> BTreeSet<usize> {
        let texts = fs::read_dir(&directory)
            .unwrap()
            .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
        texts
            .flat_map(|text| text.lines().map(|line| line.parse().unwrap()).collect::<Vec<_>>())
            .collect()
    };
    let deadline = Instant::now() + WAIT;
    for killed in 1..=3 {
        while done().len() < killed * JOBS / 5 {
            assert!(Instant::now() < deadline, "{} jobs are done", done().len());
            std::thread::sleep(Duration::from_millis(10));
        }
        workers[killed % 2] = Worker::start(server.address(), path);
    }
    while done().len() < JOBS {
        assert!(Instant::now() < deadline, "{} jobs are done", done().len());
        std::thread::sleep(Duration::from_millis(50));
    }
    wait_until_done(&server.client());
    let letters = dead_letters(&server.client(), 1);
    let detail = header(&letters[0], DeadLetterHeader::Detail.name());
    assert_eq!(detail, Some("a job is a path, a space, and text"));
}
