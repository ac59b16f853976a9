//! SIGKILL at random moments: what was acked at `page_cache` or `disk` is there, in its place and
//! in order, and no offset is given out twice.

use plimsoll_tests::Random;

use crate::lives::{Death, Lives};

#[test]
fn fifty_kills_under_load_lose_nothing_promised_and_issue_no_offset_twice() {
    let random = Random::seeded("crash", "fifty_kills");
    Lives::new(random).die(50, 2, |_| Death::Process);
}
