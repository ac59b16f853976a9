//! Socket operations over loopback against the real kernel.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::machine::{Machine, receive, send};
use plimsoll_device::{
    Buffer, Completion, Instant, IoErrorKind, Memory, Op, Received, SocketCompletion, SocketId,
    SocketOp,
};

fn accepted(machine: &mut Machine) -> SocketId {
    let mut found = None;
    machine.turn_until(|_, completion| {
        if let Completion::Socket(SocketCompletion::Accepted { socket }) = completion {
            found = Some(socket);
        }
        found.is_some()
    });
    found.unwrap()
}

/// Echoes until `sends` sends have ended.
fn echo(machine: &mut Machine, socket: SocketId, sends: usize) {
    machine.ring.submit(receive(socket));
    let mut sent = 0;
    machine.turn_until(|ops, completion| {
        match completion {
            Completion::Socket(SocketCompletion::Received {
                data: Received::Pooled(bytes),
                ..
            }) => {
                if !bytes.is_empty() {
                    ops.push(send(socket, bytes, Memory::None));
                }
            }
            Completion::Socket(SocketCompletion::Sent { result, head, .. }) => {
                assert_eq!(result, Ok(()));
                assert!(!head.is_empty());
                sent += 1;
                if sent < sends {
                    ops.push(receive(socket));
                }
            }
            other => panic!("{other:?}"),
        }
        sent == sends
    });
}

#[test]
fn two_hundred_round_trips_with_pooled_buffers() {
    let (mut machine, address) = Machine::listening();
    let client = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        for round in 0..200_u32 {
            stream.write_all(&round.to_le_bytes()).unwrap();
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(answer, round.to_le_bytes());
        }
    });
    let socket = accepted(&mut machine);
    echo(&mut machine, socket, 200);
    client.join().unwrap();
    assert!(machine.ring.idle());
}

#[test]
fn a_receive_adds_to_the_buffer_that_it_brings() {
    let (mut machine, address) = Machine::listening();
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"plimsoll").unwrap();
    let socket = accepted(&mut machine);
    let mut buffer = Buffer::zeroed(4096);
    buffer[..3].copy_from_slice(b"abc");
    machine.ring.submit(Op::Socket(SocketOp::Receive { socket, into: Some((buffer, 3)) }));
    machine.turn_until(|_, completion| {
        let Completion::Socket(SocketCompletion::Received { data, .. }) = completion else {
            panic!("{completion:?}")
        };
        let Received::Owned(buffer, 8) = data else { panic!("{data:?}") };
        assert_eq!(&buffer[..11], b"abcplimsoll");
        true
    });
}

#[test]
fn a_receive_into_a_full_buffer_fails_and_gives_it_back() {
    let (mut machine, address) = Machine::listening();
    let _client = TcpStream::connect(address).unwrap();
    let socket = accepted(&mut machine);
    let into = Some((Buffer::zeroed(4096), 4096));
    machine.ring.submit(Op::Socket(SocketOp::Receive { socket, into }));
    machine.turn_until(|_, completion| {
        let Completion::Socket(SocketCompletion::Received { data, .. }) = completion else {
            panic!("{completion:?}")
        };
        matches!(data, Received::Failed(Some(_), _))
    });
}

/// Larger than the socket's buffers: the kernel takes it in parts.
#[test]
fn a_send_of_head_and_large_body_arrives_whole_and_in_order() {
    let (mut machine, address) = Machine::listening();
    let client = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        bytes
    });
    let socket = accepted(&mut machine);
    let mut body = Buffer::zeroed(16 << 20);
    for (index, byte) in body.iter_mut().enumerate() {
        *byte = (index % 251) as u8;
    }
    machine.ring.submit(send(socket, b"head", Memory::Buffer(body)));
    let mut sent = false;
    machine.turn_until(|ops, completion| match completion {
        Completion::Socket(SocketCompletion::Sent { result, body, .. }) => {
            assert_eq!(result, Ok(()));
            assert_eq!(body.length_bytes(), 16 << 20);
            sent = true;
            ops.push(Op::Socket(SocketOp::Close { socket }));
            false
        }
        Completion::Socket(SocketCompletion::Closed { .. }) => true,
        other => panic!("{other:?}"),
    });
    let bytes = client.join().unwrap();
    assert_eq!(bytes.len(), 4 + (16 << 20));
    assert_eq!(&bytes[..4], b"head");
    assert!(bytes[4..].iter().enumerate().all(|(index, byte)| *byte == (index % 251) as u8));
}

#[test]
fn the_end_of_the_other_side_is_a_receive_of_nothing() {
    let (mut machine, address) = Machine::listening();
    let client = TcpStream::connect(address).unwrap();
    let socket = accepted(&mut machine);
    machine.ring.submit(receive(socket));
    drop(client);
    machine.turn_until(|_, completion| {
        matches!(
            completion,
            Completion::Socket(SocketCompletion::Received { data: Received::Pooled(&[]), .. })
        )
    });
}

#[test]
fn closing_ends_a_pending_receive_first_and_then_says_closed() {
    let (mut machine, address) = Machine::listening();
    let mut client = TcpStream::connect(address).unwrap();
    let socket = accepted(&mut machine);
    machine.ring.submit(receive(socket));
    machine.ring.turn(Some(Instant::ORIGIN), |completion| panic!("{completion:?}")).unwrap();
    assert!(machine.ring.idle());
    machine.ring.submit(Op::Socket(SocketOp::Close { socket }));
    let mut received = 0;
    machine.turn_until(|_, completion| match completion {
        Completion::Socket(SocketCompletion::Received { .. }) => {
            received += 1;
            false
        }
        Completion::Socket(SocketCompletion::Closed { socket: closed }) => {
            assert_eq!(closed, socket);
            true
        }
        other => panic!("{other:?}"),
    });
    assert_eq!(received, 1);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

#[test]
fn an_operation_on_a_closing_socket_is_cancelled() {
    let (mut machine, address) = Machine::listening();
    let _client = TcpStream::connect(address).unwrap();
    let socket = accepted(&mut machine);
    machine.ring.submit(receive(socket));
    machine.ring.submit(Op::Socket(SocketOp::Close { socket }));
    machine.ring.submit(send(socket, b"late", Memory::None));
    let mut cancelled = false;
    machine.turn_until(|_, completion| match completion {
        Completion::Socket(SocketCompletion::Sent { result: Err(error), .. }) => {
            assert_eq!(error.kind, IoErrorKind::Cancelled);
            cancelled = true;
            false
        }
        Completion::Socket(SocketCompletion::Closed { .. }) => true,
        _ => false,
    });
    assert!(cancelled);
}

/// More connections than the pool has buffers have something to say at once.
#[test]
fn more_receives_than_pooled_buffers_all_get_their_bytes() {
    const CONNECTIONS: usize = 400;
    plimsoll_ring::raise_open_files_limit();
    let (mut machine, address) = Machine::listening();
    let mut clients = Vec::new();
    let mut sockets = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(TcpStream::connect(address).unwrap());
        sockets.push(accepted(&mut machine));
    }
    for client in &mut clients {
        client.write_all(b"x").unwrap();
    }
    for socket in sockets {
        machine.ring.submit(receive(socket));
    }
    let mut received = 0;
    machine.turn_until(|_, completion| {
        match completion {
            Completion::Socket(SocketCompletion::Received { data, .. }) => {
                assert!(matches!(data, Received::Pooled(b"x")), "{data:?}");
                received += 1;
            }
            other => panic!("{other:?}"),
        }
        received == CONNECTIONS
    });
}

#[test]
fn a_socket_may_be_used_by_another_ring_of_the_process() {
    let (mut machine, address) = Machine::listening();
    let client = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"ping").unwrap();
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).unwrap();
        answer
    });
    let socket = accepted(&mut machine);
    let other = std::thread::spawn(move || {
        let mut machine = Machine::new();
        echo(&mut machine, socket, 1);
    });
    other.join().unwrap();
    assert_eq!(&client.join().unwrap(), b"ping");
}

/// With more completions than one enter brings, the sockets of the first were closed, and their
/// numbers accepted again with the second, before it was said that they are closed.
#[test]
fn a_socket_is_said_to_be_closed_before_its_number_is_another_connection() {
    let (mut machine, address) = Machine::listening();
    let connect =
        || -> Vec<TcpStream> { (0..100).map(|_| TcpStream::connect(address).unwrap()).collect() };
    let first = connect();
    let mut open = BTreeSet::new();
    machine.turn_until(|ops, completion| {
        if let Completion::Socket(SocketCompletion::Accepted { socket }) = completion {
            open.insert(socket);
            ops.push(receive(socket));
        }
        open.len() == first.len()
    });
    machine.ring.turn(Some(Instant::ORIGIN), |completion| panic!("{completion:?}")).unwrap();
    for socket in &open {
        machine.ring.submit(Op::Socket(SocketOp::Close { socket: *socket }));
    }
    let second = connect();
    let (mut accepted, mut closed) = (0, 0);
    machine.turn_until(|_, completion| {
        match completion {
            Completion::Socket(SocketCompletion::Accepted { socket }) => {
                accepted += 1;
                assert!(open.insert(socket), "{socket:?} is not said to be closed");
            }
            Completion::Socket(SocketCompletion::Closed { socket }) => {
                closed += 1;
                assert!(open.remove(&socket), "{socket:?} was closed twice");
            }
            _ => {}
        }
        accepted == second.len() && closed == first.len()
    });
}
