//! What the simulated network does with sockets and bytes.

use std::collections::BTreeSet;

use plimsoll_device::{
    Arena, ArenaRange, BLOCK_BYTES, Buffer, IoErrorKind, Memory, RECEIVE_POOLED_BYTES, Received,
    SocketCompletion, SocketId, SocketOp,
};
use plimsoll_sim::{ClientId, Network, Random, heap_arena};

/// A network with one accepted connection.
fn connected(seed: u64) -> (Network, Arena, SocketId, ClientId) {
    let mut network = Network::new(&Random::new(seed));
    let arena = heap_arena(BLOCK_BYTES);
    let (socket, client) = network.connect();
    network.submit(SocketOp::Accept, &arena);
    match network.complete_one(&arena) {
        Some(SocketCompletion::Accepted { socket: accepted }) => assert_eq!(accepted, socket),
        other => panic!("{other:?}"),
    }
    (network, arena, socket, client)
}

fn send(socket: SocketId, head: &[u8]) -> SocketOp {
    SocketOp::Send { socket, head: head.to_vec(), body: Memory::None }
}

#[test]
fn bytes_arrive_in_order_in_pieces_of_any_size() {
    let sent: Vec<u8> = (0..20_000).map(|at| (at % 251) as u8).collect();
    let mut sizes = BTreeSet::new();
    for seed in 0..20 {
        let (mut network, arena, socket, client) = connected(seed);
        network.send(client, &sent);
        let mut received = Vec::new();
        while received.len() < sent.len() {
            network.submit(SocketOp::Receive { socket, into: None }, &arena);
            match network.complete_one(&arena) {
                Some(SocketCompletion::Received { data: Received::Pooled(bytes), .. }) => {
                    sizes.insert(bytes.len());
                    received.extend_from_slice(bytes);
                }
                other => panic!("{other:?}, seed {seed}"),
            }
        }
        assert_eq!(received, sent, "seed {seed}");
    }
    assert_eq!(sizes.first(), Some(&1));
    assert_eq!(sizes.last(), Some(&RECEIVE_POOLED_BYTES));
}

#[test]
fn an_owned_receive_fills_its_buffer_from_the_given_place() {
    let (mut network, arena, socket, client) = connected(1);
    network.submit(
        SocketOp::Receive { socket, into: Some((Buffer::zeroed(BLOCK_BYTES), 10)) },
        &arena,
    );
    assert!(network.complete_one(&arena).is_none(), "nothing has arrived");
    network.send(client, &[7]);
    match network.complete_one(&arena) {
        Some(SocketCompletion::Received { data: Received::Owned(buffer, 1), .. }) => {
            assert_eq!(buffer[9..12], [0, 7, 0]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_client_that_finished_is_received_as_zero_bytes() {
    let (mut network, arena, socket, client) = connected(1);
    network.finish(client);
    network.submit(SocketOp::Receive { socket, into: None }, &arena);
    match network.complete_one(&arena) {
        Some(SocketCompletion::Received { data: Received::Pooled(bytes), .. }) => {
            assert!(bytes.is_empty());
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_send_delivers_head_then_body_and_waits_for_a_slow_reader() {
    let (mut network, mut arena, socket, client) = connected(1);
    network.limit_window(client, 3);
    let body = ArenaRange { start_bytes: 8, length_bytes: 4 };
    arena.bytes_mut(body).copy_from_slice(&[3, 4, 5, 6]);
    let body = Memory::Arena(body);
    network.submit(SocketOp::Send { socket, head: vec![1, 2], body }, &arena);
    assert!(network.complete_one(&arena).is_none(), "the window is full");
    assert_eq!(network.receive(client), [1, 2, 3]);
    match network.complete_one(&arena) {
        Some(SocketCompletion::Sent { head, body: Memory::Arena(_), result: Ok(()), .. }) => {
            assert_eq!(head, [1, 2], "the head comes back for use again");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(network.receive(client), [4, 5, 6]);
}

#[test]
fn a_close_ends_what_is_in_flight_first_and_frees_the_number() {
    for seed in 0..50 {
        let (mut network, arena, socket, client) = connected(seed);
        network.limit_window(client, 0);
        network.submit(SocketOp::Receive { socket, into: None }, &arena);
        network.submit(send(socket, &[1]), &arena);
        network.submit(SocketOp::Close { socket }, &arena);
        for _ in 0..2 {
            match network.complete_one(&arena) {
                Some(SocketCompletion::Received {
                    data: Received::Failed(None, error), ..
                })
                | Some(SocketCompletion::Sent { result: Err(error), .. }) => {
                    assert_eq!(error.kind, IoErrorKind::Cancelled, "seed {seed}");
                }
                other => panic!("{other:?}, seed {seed}"),
            }
        }
        assert!(!network.is_ended(client));
        let closed = network.complete_one(&arena);
        assert!(matches!(closed, Some(SocketCompletion::Closed { .. })), "seed {seed}");
        assert!(network.is_ended(client));
        assert_eq!(network.connect().0, socket, "the number is free again");
    }
}

#[test]
fn a_cut_fails_both_sides() {
    let (mut network, arena, socket, client) = connected(1);
    network.send(client, &[1, 2, 3]);
    network.cut(client);
    network.submit(SocketOp::Receive { socket, into: None }, &arena);
    match network.complete_one(&arena) {
        Some(SocketCompletion::Received { data: Received::Failed(None, error), .. }) => {
            assert_eq!(error.kind, IoErrorKind::Disconnected);
        }
        other => panic!("{other:?}"),
    }
    network.submit(send(socket, &[1]), &arena);
    match network.complete_one(&arena) {
        Some(SocketCompletion::Sent { result: Err(error), .. }) => {
            assert_eq!(error.kind, IoErrorKind::Disconnected);
        }
        other => panic!("{other:?}"),
    }
    assert!(network.is_ended(client));
}

#[test]
fn a_killed_server_ends_connections_and_accepts_anew() {
    let (mut network, arena, _, client) = connected(1);
    network.kill();
    assert!(network.is_ended(client));
    let (socket, _) = network.connect();
    assert!(network.complete_one(&arena).is_none(), "nobody accepts");
    network.submit(SocketOp::Accept, &arena);
    match network.complete_one(&arena) {
        Some(SocketCompletion::Accepted { socket: accepted }) => assert_eq!(accepted, socket),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_same_seed_gives_the_same_network() {
    let run = |seed| {
        let (mut network, arena, socket, client) = connected(seed);
        for _ in 0..20 {
            network.send(client, &[5; 100]);
            network.submit(SocketOp::Receive { socket, into: None }, &arena);
            network.submit(send(socket, &[6; 100]), &arena);
            while network.complete_one(&arena).is_some() {}
        }
        network.trace_hash()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}
