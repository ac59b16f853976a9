//! Kill and removal of the arenas: what a power loss leaves of a machine.
//!
//! Weaker levels lose records here, which is what the lease is for: their offsets are never given
//! to others, and a consumer that looks at `disk` has seen none of them.

use plimsoll_tests::Random;

use crate::lives::{Death, Lives};

#[test]
fn after_a_power_loss_everything_at_disk_is_there_and_lost_offsets_stay_unused() {
    let random = Random::seeded("crash", "after_a_power_loss");
    let mut lives = Lives::new(random);
    lives.die(10, 2, |_| Death::Power);
    assert!(lives.ledger.counts().1 > 0, "nothing was lost: this proves nothing about leases");
}

#[test]
fn kills_and_power_losses_in_turn_keep_their_promises() {
    let random = Random::seeded("crash", "kills_and_power_losses");
    let in_turn = |round| if round % 2 == 0 { Death::Process } else { Death::Power };
    Lives::new(random).die(10, 2, in_turn);
}
