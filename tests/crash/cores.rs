//! The number of cores changes between runs: every partition finds a new owner with all its
//! records.

use plimsoll_tests::Random;

use crate::lives::{Death, Lives};

#[test]
fn one_core_then_two_then_one_and_everything_goes_on() {
    let mut lives = Lives::new(Random::seeded("crash", "one_core"));
    for (shards, death) in
        [(1, Death::Process), (2, Death::Process), (1, Death::Power), (2, Death::Power)]
    {
        let server = lives.start(shards);
        lives.load_and_die(server, death);
        // Others find what these left.
        let server = lives.start(3 - shards);
        lives.compare_all(&server, death);
        assert!(server.stop().success());
        let server = lives.start(shards);
        lives.compare_all(&server, Death::Power);
        assert!(server.stop().success());
    }
}
