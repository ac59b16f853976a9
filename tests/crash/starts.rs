//! SIGKILL while a server starts or recovers: the next start recovers all the same.

use std::time::Duration;

use plimsoll_tests::Random;

use crate::lives::{Death, Lives};

#[test]
fn kills_during_start_and_recovery_lose_nothing_promised() {
    let mut lives = Lives::new(Random::seeded("crash", "kills_during_start"));
    for round in 0..6 {
        let server = lives.start(2);
        lives.load_and_die(server, Death::Process);
        for _ in 0..4 {
            let starting = lives.place.server().shards(1 + round % 2).spawn();
            std::thread::sleep(Duration::from_millis(lives.random.below(0..200)));
            starting.kill();
        }
        let server = lives.start(2);
        lives.compare(&server, Death::Process);
        server.kill();
    }
    let server = lives.start(2);
    lives.compare_all(&server, Death::Power);
}

#[test]
fn a_kill_while_the_first_start_makes_the_directory_is_recovered_from() {
    let mut random = Random::seeded("crash", "a_kill_while_the_first_start");
    for _ in 0..8 {
        let place = plimsoll_tests::Place::new();
        let starting = place.server().shards(2).spawn();
        std::thread::sleep(Duration::from_millis(random.below(0..150)));
        starting.kill();
        let server = place.server().shards(2).start();
        server.client().ping().unwrap();
    }
}
