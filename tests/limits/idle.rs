//! Connections that do nothing cost a bounded amount each.

use plimsoll_client_blocking::Client;
use plimsoll_tests::{Bystander, Connection, Place, open_files_limit_raised, rss_bytes};
use plimsoll_wire::{ErrorCode, Ping, ShardIndex};

/// What an idle connection may cost the server in memory of its own. The kernel's sockets are not
/// in it.
const CONNECTION_BYTES_MAX: u64 = 4 << 10;

#[test]
fn thousands_of_idle_connections_cost_a_bounded_amount_each() {
    let place = Place::new();
    let server = place.server().shards(2).start();
    let bystander = Bystander::begin(&server);
    // A shard takes 10,000 at most.
    let is_room = open_files_limit_raised() > 11_000 && server.shards() == 2;
    let count = if is_room { 10_000 } else { 2_000 };
    let before = rss_bytes(server.pid());
    let shards = server.shards() as u64;
    let shard = |index: u64| ShardIndex((index % shards) as u16);
    let mut idle: Vec<Connection> =
        (0..count).map(|index| Connection::to_shard(server.address(), shard(index))).collect();
    let grown = rss_bytes(server.pid()).saturating_sub(before);
    let (mine, others) = (server.counter("connections"), server.counter("connections_refused"));
    eprintln!("{count} idle connections: {} bytes each ({mine} open)", grown / count);
    assert!(mine >= count && others == 0, "{mine} are open, {others} were refused");
    assert!(grown / count < CONNECTION_BYTES_MAX, "{} bytes each", grown / count);
    // They are idle, not dead.
    for connection in idle.iter_mut().step_by(501) {
        connection.ask(|correlation, out| Ping.encode(correlation, out));
    }
    drop(idle);
    bystander.end();
}

/// What a shard takes: `connections_max` in the crate of the shard.
const CONNECTIONS_MAX: u64 = 10_000;

#[test]
fn the_connection_after_the_last_one_is_told_why_and_closed() {
    if open_files_limit_raised() < CONNECTIONS_MAX + 1_000 {
        eprintln!("not tested: it takes more open files than this user may have");
        return;
    }
    let place = Place::new();
    let server = place.server().start();
    let bystander = Bystander::begin(&server);
    let refused = server.client();
    let mut held = Vec::new();
    while refused
        .stats()
        .unwrap()
        .iter()
        .all(|(name, value)| name != "connections" || *value < CONNECTIONS_MAX)
    {
        held.push(Connection::open(server.address()));
    }
    for _ in 0..200 {
        Connection::silent(server.address()).assert_closed_after(|error| {
            assert_eq!(error.code, ErrorCode::TooManyConnections);
            assert_eq!(error.detail_a, CONNECTIONS_MAX);
        });
    }
    let error = Client::connect(server.address()).unwrap_err().to_string();
    assert!(error.contains("TOO_MANY_CONNECTIONS"), "{error}");
    held.truncate(9_000);
    while Client::connect(server.address()).is_err() {}
    bystander.end();
}
