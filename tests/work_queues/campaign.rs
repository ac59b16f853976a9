//! Text through a work queue of which everything is killed at random, as `make workqueue` does it
//! for longer.

use std::path::PathBuf;

use plimsoll_tests::{Place, Random, WorkQueue, plimsoll};

const ROUNDS: usize = 8;
const LINES: usize = 4000;

#[test]
fn a_work_queue_of_which_everything_is_killed_works_on_each_line_and_on_none_after_its_verdict() {
    let random = Random::seeded("work_queues", "a_work_queue_of_which_everything");
    let lines: Vec<String> =
        (0..LINES).map(|line| format!("{line} {}", "w ".repeat(line % 90))).collect();
    let place = Place::new();
    let member = [PathBuf::from(env!("CARGO_BIN_EXE_work-queue-member"))];
    let mut queue = WorkQueue::begin(&place, &plimsoll(), &member, &lines, random);
    for _ in 0..ROUNDS {
        queue.round(LINES / ROUNDS);
    }
    println!("{}", queue.finish());
}
