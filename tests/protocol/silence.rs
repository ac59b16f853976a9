//! Half of something, and then nothing more: a time limit ends it.

use std::io::Write;
use std::time::{Duration, Instant};

use plimsoll_tests::{Bystander, Connection, Place};
use plimsoll_wire::{
    CorrelationId, ErrorCode, FRAME_TIMEOUT_MS, HELLO_TIMEOUT_MS, Hello, Ping, ShardIndex,
};

#[test]
fn a_missing_hello_ends_after_ten_seconds_and_half_a_frame_after_thirty() {
    let place = Place::new();
    let server = place.server().start();
    let bystander = Bystander::begin(&server);
    let (mut hello, mut ping) = (Vec::new(), Vec::new());
    Hello::new(ShardIndex::ANY, "half").encode(CorrelationId(1), &mut hello);
    Ping.encode(CorrelationId(2), &mut ping);

    let begun = Instant::now();
    let silent = Connection::silent(server.address());
    let mut half_hello = Connection::silent(server.address());
    half_hello.stream.write_all(&hello[..hello.len() / 2]).unwrap();
    let mut half_frame = Connection::open(server.address());
    half_frame.stream.write_all(&ping[..ping.len() / 2]).unwrap();
    let mut idle = Connection::open(server.address());

    for (connection, limit_ms) in
        [(silent, HELLO_TIMEOUT_MS), (half_hello, HELLO_TIMEOUT_MS), (half_frame, FRAME_TIMEOUT_MS)]
    {
        let mut connection = connection;
        connection.stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        connection.assert_closed_after(|error| assert_eq!(error.code, ErrorCode::FrameTimeout));
        let limit = Duration::from_millis(limit_ms);
        // The clock of the server's timers may be coarse.
        assert!(begun.elapsed() + Duration::from_millis(200) > limit, "{:?}", begun.elapsed());
        assert!(begun.elapsed() < limit + Duration::from_secs(8), "{:?}", begun.elapsed());
    }
    // Nothing at all is no half frame.
    idle.ask(|correlation, out| Ping.encode(correlation, out));
    bystander.end();
}
