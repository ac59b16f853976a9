//! Connections: framing, limits, and what bad clients can not do.

mod world;

use std::time::Duration;

use plimsoll_device::SocketId;
use plimsoll_shard::{Report, ShardLimits};
use plimsoll_wire::{
    CorrelationId, Durability, ErrorCode, Flags, Handle, Hello, Opcode, Ping, ShardIndex, Stats,
};
use proptest::prelude::*;
use world::client::{Answer, batch, encoded, produce_frame};
use world::{World, limits};

fn ping(correlation: u32) -> Vec<u8> {
    encoded(|out| Ping.encode(CorrelationId(correlation), out))
}

fn is_alive(world: &mut World, socket: SocketId) -> bool {
    world.send(socket, &ping(77));
    world.answers(socket) == [(77, Answer::Empty)]
}

fn closing_error(world: &mut World, socket: SocketId) -> ErrorCode {
    assert!(world.is_closed(socket));
    match world.answers(socket).pop() {
        Some((_, Answer::Error { code, .. })) => code,
        other => panic!("no error before the end: {other:?}"),
    }
}

#[test]
fn frames_arrive_whole_however_the_bytes_are_cut() {
    for chunk_bytes in [1, 7, 100, 4096, 70_000] {
        let mut world = World::new(1);
        let socket = world.bound();
        world.chunk_bytes = chunk_bytes;
        let mut bytes = Vec::new();
        for (correlation, size) in (0..).zip([1, 5_000, 100, 70_000, 300_000, 20, 9_000]) {
            let batch = batch(1, &vec![correlation as u8; size]);
            bytes.extend(produce_frame(0, correlation, Durability::Memory, None, &batch));
            bytes.extend(ping(100 + correlation));
        }
        world.send(socket, &bytes);
        let answers = world.answers(socket);
        let pongs = answers.iter().filter(|(_, answer)| *answer == Answer::Empty).count();
        assert_eq!((pongs, world.stat("acked_memory")), (7, 7), "cut every {chunk_bytes} bytes");
    }
}

#[test]
fn malformed_frames_get_an_error_and_the_end_and_harm_nobody_else() {
    let good = ping(5);
    let change = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let cases = [
        (change(4, !good[4]), ErrorCode::Checksum),
        (change(8, 200), ErrorCode::UnknownOpcode),
        (change(9, 4), ErrorCode::MalformedFrame),
        (change(10, 1), ErrorCode::MalformedFrame),
        (change(0, 3), ErrorCode::MalformedFrame),
        (change(3, 200), ErrorCode::FrameTooLarge),
        (
            encoded(|out| Hello::new(ShardIndex::ANY, "twice").encode(CorrelationId(1), out)),
            ErrorCode::HelloExpected,
        ),
    ];
    let mut world = World::new(1);
    let neighbour = world.bound();
    for (bytes, code) in cases {
        let socket = world.hello(0);
        world.send(socket, &bytes);
        assert_eq!(closing_error(&mut world, socket), code);
        assert!(is_alive(&mut world, neighbour));
    }
    assert_eq!(world.stat("protocol_errors"), 7);
    let reported = world.reports.iter();
    let reported = reported.filter(|(_, it)| matches!(it, Report::ProtocolError { .. }));
    assert_eq!(reported.count(), 7);
}

#[test]
fn the_first_frame_must_be_a_hello_of_a_known_version() {
    let mut world = World::new(1);
    let socket = world.connect();
    world.send(socket, &ping(1));
    assert_eq!(closing_error(&mut world, socket), ErrorCode::HelloExpected);
    let socket = world.connect();
    let hello = Hello { version_min: 2, version_max: 9, ..Hello::new(ShardIndex(0), "new") };
    world.send(socket, &encoded(|out| hello.encode(CorrelationId(1), out)));
    assert_eq!(closing_error(&mut world, socket), ErrorCode::ProtocolVersion);
}

#[test]
fn a_hello_and_a_half_frame_have_their_time_and_an_idle_connection_has_all_of_it() {
    let mut world = World::new(1);
    let (idle, silent, half) = (world.hello(0), world.connect(), world.hello(0));
    world.send(half, &ping(1)[..9]);
    world.advance(Duration::from_millis(9_900));
    assert!(!world.is_closed(silent));
    world.advance(Duration::from_millis(200));
    assert_eq!(closing_error(&mut world, silent), ErrorCode::FrameTimeout);
    world.advance(Duration::from_millis(19_000));
    assert!(!world.is_closed(half));
    world.advance(Duration::from_millis(2_000));
    assert_eq!(closing_error(&mut world, half), ErrorCode::FrameTimeout);
    world.advance(Duration::from_secs(3_600));
    assert!(is_alive(&mut world, idle));
    assert_eq!(world.shards[0].poll_timeout(), None, "an idle connection needs no timer");
}

#[test]
fn a_frame_that_completes_in_time_stops_its_timer() {
    let mut world = World::new(1);
    let socket = world.hello(0);
    for _ in 0..4 {
        world.send(socket, &ping(77)[..9]);
        world.advance(Duration::from_secs(20));
        world.send(socket, &ping(77)[9..]);
        assert_eq!(world.answers(socket), [(77, Answer::Empty)]);
    }
}

#[test]
fn a_client_that_never_reads_its_answers_stops_only_itself() {
    let mut world = World::new(1);
    let (deaf, neighbour) = (world.hello(0), world.bound());
    world.stall(deaf, true);
    let stats = encoded(|out| Stats.encode(CorrelationId(1), out)).repeat(1_000);
    for _ in 0..200 {
        world.send(deaf, &stats);
    }
    assert!(world.untaken_bytes(deaf) > 1 << 20, "it is no longer read from");
    assert!(is_alive(&mut world, neighbour));
    world.stall(deaf, false);
    assert_eq!(world.untaken_bytes(deaf), 0);
    assert_eq!(world.answers(deaf).len(), 200_000);
}

#[test]
fn half_frames_share_the_receive_budget_and_whole_ones_go_on() {
    let mut world = World::with_limits(1, ShardLimits { receive_bytes_max: 8 << 20, ..limits() });
    let honest = world.bound();
    let claim = {
        let mut frame = produce_frame(0, 0, Durability::Memory, None, &batch(1, &[1; 100]));
        frame[..4].copy_from_slice(&(4_u32 << 20).to_le_bytes());
        frame
    };
    let greedy: Vec<SocketId> = (0..6).map(|_| world.hello(0)).collect();
    for socket in &greedy {
        world.send(*socket, &claim);
    }
    assert_eq!(world.stat("waits_for_receive_memory"), 4, "two frames of 4 MiB fit");
    assert!(is_alive(&mut world, honest), "small frames need no budget");
    world.produce(honest, 1, Durability::Memory, None, &batch(1, &[2; 100_000]));
    assert_eq!(world.acks(honest), [], "a large one waits its turn");
    for _ in 0..3 {
        world.advance(Duration::from_secs(31));
    }
    assert_eq!(world.acks(honest).len(), 1);
}

#[test]
fn a_client_that_sends_no_more_still_gets_its_acks() {
    let mut world = World::new(1);
    let socket = world.bound();
    world.disks_stand_still = true;
    world.produce(socket, 1, Durability::Disk, None, &batch(1, b"last"));
    world.finish(socket);
    assert!(!world.is_closed(socket));
    world.disks_stand_still = false;
    world.run();
    assert_eq!(world.acks(socket).len(), 1);
    assert!(world.is_closed(socket));
}

#[test]
fn connections_beyond_the_limit_are_told_so_and_closed() {
    let mut world = World::with_limits(1, ShardLimits { connections_max: 2, ..limits() });
    let (one, _two, three) = (world.hello(0), world.hello(0), world.connect());
    assert!(world.is_closed(three));
    let answers = world.answers(three);
    let [(0, Answer::Error { code: ErrorCode::TooManyConnections, detail_a: 2, .. })] = answers[..]
    else {
        panic!("the limit is told: {answers:?}");
    };
    world.finish(one);
    let four = world.hello(0);
    assert!(is_alive(&mut world, four));
    assert_eq!((world.stat("connections"), world.stat("connections_refused")), (2, 1));
    assert_eq!(world.stat("protocol_errors"), 0, "nobody did anything wrong");
}

#[test]
fn a_hello_that_names_a_full_shard_is_answered_with_the_reason() {
    let mut world = World::with_limits(2, ShardLimits { connections_max: 1, ..limits() });
    world.hello(1);
    let late = world.connect();
    let hello = Hello::new(ShardIndex(1), "late");
    world.send(late, &encoded(|out| hello.encode(CorrelationId(9), out)));
    assert_eq!(world.answers(late).len(), 1);
    assert!(world.is_closed(late));
}

/// Each of these would cost the memory of a connection if all were kept until they take the reason.
#[test]
fn a_flood_of_connects_costs_a_bounded_amount_and_nobody_else_notices() {
    let mut world = World::with_limits(1, ShardLimits { connections_max: 2, ..limits() });
    let (neighbour, _other) = (world.bound(), world.hello(0));
    let flood: Vec<SocketId> = (0..1_000).map(|_| world.connect_deaf()).collect();
    assert!(world.stat("connections") < 100, "{}", world.stat("connections"));
    assert!(is_alive(&mut world, neighbour));
    world.advance(Duration::from_secs(11));
    assert!(flood.iter().all(|socket| world.is_closed(*socket)));
    assert_eq!((world.stat("connections"), world.stat("connections_refused")), (2, 1_000));
    assert!(is_alive(&mut world, neighbour));
}

#[test]
fn who_connects_while_the_server_stops_is_told_so() {
    let mut world = World::new(1);
    let socket = world.bound();
    world.disks_stand_still = true;
    world.produce(socket, 1, Durability::Disk, None, &batch(1, b"a"));
    world.stop();
    let late = world.connect();
    assert_eq!(closing_error(&mut world, late), ErrorCode::ShuttingDown);
    world.disks_stand_still = false;
    world.run();
    assert!(world.reports.iter().any(|(_, report)| matches!(report, Report::Stopped)));
}

#[test]
fn handles_are_bound_once_and_below_the_limit() {
    let few = ShardLimits { handles_per_connection_max: 10, ..limits() };
    let mut world = World::with_limits(1, few);
    let socket = world.bound();
    let code = |answer| match answer {
        Answer::Error { code, .. } => code,
        other => panic!("no error: {other:?}"),
    };
    assert_eq!(code(world.bind(socket, 0, "t", 0)), ErrorCode::HandleInUse);
    assert_eq!(code(world.bind(socket, 10, "t", 0)), ErrorCode::TooManyHandles);
    assert_eq!(code(world.bind(socket, 1, "nowhere", 0)), ErrorCode::TopicNotFound);
    assert_eq!(code(world.bind(socket, 1, "t", 1)), ErrorCode::PartitionNotFound);
    assert!(matches!(world.bind(socket, 9, "t", 0), Answer::Bound(_)));
}

#[test]
fn a_stop_makes_durable_acks_tells_and_closes() {
    let mut world = World::new(1);
    let socket = world.bound();
    world.disks_stand_still = true;
    world.produce(socket, 1, Durability::Disk, None, &batch(1, b"a"));
    world.stop();
    world.produce(socket, 2, Durability::Disk, None, &batch(1, b"late"));
    world.disks_stand_still = false;
    world.run();
    let answers = world.answers(socket);
    let shutting_down =
        |answer: &Answer| matches!(answer, Answer::Error { code: ErrorCode::ShuttingDown, .. });
    assert_eq!(answers.iter().filter(|(_, answer)| shutting_down(answer)).count(), 2);
    assert!(answers.iter().any(|(_, answer)| matches!(answer, Answer::Acks(_))), "{answers:?}");
    assert!(world.is_closed(socket));
    assert!(world.reports.iter().any(|(_, report)| matches!(report, Report::Stopped)));
}

/// Frames that are right in form, with any opcode and body.
fn sealed(opcode: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 16];
    frame[..4].copy_from_slice(&(16 + body.len() as u32).to_le_bytes());
    frame[8] = opcode;
    frame[9] = Flags::REQUEST.bits();
    frame.extend(body);
    let covered = match opcode {
        9 if body.len() >= 8 + 21 => 16 + 8 + 21,
        _ => frame.len(),
    };
    let crc = crc32c::crc32c_append(crc32c::crc32c(&frame[..4]), &frame[8..covered]);
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
    frame
}

#[test]
fn the_frames_of_the_next_test_are_taken() {
    let mut world = World::new(1);
    let socket = world.hello(0);
    world.send(socket, &sealed(Opcode::Ping as u8, &[]));
    assert_eq!(world.answers(socket), [(0, Answer::Empty)]);
    let produce =
        sealed(Opcode::Produce as u8, &[&[0, 0, 0, 0, 1, 0, 0, 0], &batch(1, b"a")[..]].concat());
    world.send(socket, &produce);
    let [(0, Answer::Error { code, handle, .. })] = world.answers(socket)[..] else {
        panic!("an unbound handle is an error");
    };
    assert_eq!((code, handle), (ErrorCode::HandleUnknown, Some(Handle(0))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_stop_the_shard_or_a_neighbour(
        sends in proptest::collection::vec(
            prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..200),
                (0..20u8, proptest::collection::vec(any::<u8>(), 0..100))
                    .prop_map(|(opcode, body)| sealed(opcode, &body)),
                // Small numbers name handles, levels and partitions that exist.
                (1..20u8, proptest::collection::vec(0..3u8, 0..60))
                    .prop_map(|(opcode, body)| sealed(opcode, &body)),
            ],
            1..12,
        ),
        chunk_bytes in 1..5_000usize,
        with_hello in any::<bool>(),
    ) {
        let mut world = World::new(2);
        let neighbour = world.bound();
        world.chunk_bytes = chunk_bytes;
        let socket = if with_hello { world.hello(0) } else { world.connect() };
        if with_hello {
            world.bind(socket, 0, "t", 0);
        }
        for bytes in sends {
            world.send(socket, &bytes);
        }
        world.take(socket);
        prop_assert!(is_alive(&mut world, neighbour));
        world.advance(Duration::from_secs(100));
        prop_assert!(is_alive(&mut world, neighbour));
    }
}
