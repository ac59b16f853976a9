//! The io_uring client against a server in a thread, and what only it promises.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use plimsoll_client_uring as driver;

#[path = "../../client-async/tests/loopback/mod.rs"]
mod loopback;

use driver::{Client, Consumer, GroupConsumer, Producer, Receipt};

fn run(test: impl Future<Output = ()>) {
    tokio_uring::start(test);
}

/// Which of the two is meant is clear only for a type that is not `Send`.
trait StaysOnItsThread<Witness> {
    fn stays() {}
}

impl<T> StaysOnItsThread<()> for T {}

impl<T: Send> StaysOnItsThread<u8> for T {}

/// That it compiles is the test: the sockets below belong to the ring of one thread.
#[test]
fn none_of_it_may_leave_its_thread() {
    <Client as StaysOnItsThread<_>>::stays();
    <Consumer as StaysOnItsThread<_>>::stays();
    <GroupConsumer as StaysOnItsThread<_>>::stays();
    <Producer as StaysOnItsThread<_>>::stays();
    <Receipt as StaysOnItsThread<_>>::stays();
}
