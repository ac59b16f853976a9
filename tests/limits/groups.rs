//! Many groups with many members on one core: what they cost, at rest and while they live.

use std::time::{Duration, Instant};

use plimsoll_client_blocking::NewTopic;
use plimsoll_tests::{Bystander, Connection, Place, Server, rss_bytes};
use plimsoll_wire::{
    Assignor, CorrelationId, Generation, GroupState, Heartbeat, JoinGroup, MemberId, Response,
};

const GROUPS: usize = 1_000;
const MEMBERS_EACH: usize = 10;
const CONNECTIONS: usize = 20;
/// Long enough that nobody is declared dead while others are served.
const SESSION_TIMEOUT_MS: u32 = 3_600_000;
/// What a member may cost the server in memory, its part of the group included.
const MEMBER_BYTES_MAX: u64 = 4 << 10;

struct Member {
    group: String,
    id: MemberId,
    generation: Generation,
}

fn join(connection: &mut Connection, group: &str) -> Member {
    let join = JoinGroup {
        group,
        member: MemberId::NONE,
        instance: "",
        client: "member",
        session_timeout_ms: SESSION_TIMEOUT_MS,
        rebalance_timeout_ms: SESSION_TIMEOUT_MS,
        assignor: Assignor::Sticky,
        topics: vec!["t"],
        owned: Vec::new(),
        share: None,
    };
    let id = connection.say(|correlation, out| join.encode(correlation, out));
    loop {
        let frame = connection.read().expect("a join is answered");
        if frame.frame().correlation != CorrelationId(id) {
            // Others of the connection are told of their new assignments.
            continue;
        }
        let Response::JoinGroup(joined) = frame.response() else {
            panic!("{:?}", frame.response())
        };
        let (id, generation) = (joined.member, joined.generation);
        return Member { group: group.to_owned(), id, generation };
    }
}

/// A sign of life of every member, by the newest generation that it was told; until nobody is told
/// of another. Gives how many there were.
fn all_follow(connections: &mut [(Connection, Vec<Member>)]) -> u64 {
    let mut beats = 0;
    for (connection, members) in connections {
        for member in members {
            loop {
                let Member { group, id, generation } = &*member;
                let heartbeat = Heartbeat { group, member: *id, generation: *generation };
                let asked = connection.say(|correlation, out| heartbeat.encode(correlation, out));
                beats += 1;
                let told = loop {
                    let frame = connection.read().expect("a heartbeat is answered");
                    if frame.frame().correlation == CorrelationId(asked) {
                        let Response::Heartbeat(told) = frame.response() else {
                            panic!("{:?}", frame.response())
                        };
                        break told.generation;
                    }
                };
                if told == member.generation {
                    break;
                }
                member.generation = told;
            }
        }
    }
    beats
}

/// How many commits there were, once what the load has left behind is done.
fn commits_at_rest(server: &Server) -> u64 {
    let begun = Instant::now();
    let mut before = None;
    loop {
        let now = server.counter("commits");
        if before.replace(now) == Some(now) {
            return now;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "it never rests");
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn cpu(server: &Server) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // The kernel tells in hundredths of a second here.
    Duration::from_millis(ticks * 10)
}

#[test]
fn a_thousand_groups_with_ten_thousand_members_cost_a_bounded_amount() {
    let place = Place::new();
    let server = place.server().start();
    let topic = NewTopic { name: "t", partitions: MEMBERS_EACH as u32, ..NewTopic::default() };
    server.client().create_topic(&topic).unwrap();
    let bystander = Bystander::begin(&server);
    let open = || (Connection::open(server.address()), Vec::new());
    let mut connections: Vec<(Connection, Vec<Member>)> =
        (0..CONNECTIONS).map(|_| open()).collect();
    let (before, begun) = (rss_bytes(server.pid()), Instant::now());
    for group in 0..GROUPS {
        let (connection, members) = &mut connections[group % CONNECTIONS];
        for _ in 0..MEMBERS_EACH {
            members.push(join(connection, &format!("group-{group}")));
        }
    }
    let joined = begun.elapsed();
    // Those who were there first let go of what the others get; these are told.
    for _ in 0..3 {
        all_follow(&mut connections);
    }
    let members = (GROUPS * MEMBERS_EACH) as u64;
    let grown = rss_bytes(server.pid()).saturating_sub(before);
    let groups = server.client().groups().unwrap();
    assert_eq!(groups.len(), GROUPS);
    assert!(groups.iter().all(|group| group.members as usize == MEMBERS_EACH));
    assert!(groups.iter().all(|group| group.state == GroupState::Stable), "each holds its part");
    assert!(grown / members < MEMBER_BYTES_MAX, "{} bytes for each member", grown / members);
    bystander.end();

    // At rest they write nothing and wake nobody.
    let frames = commits_at_rest(&server);
    let (idle, begun) = (cpu(&server), Instant::now());
    std::thread::sleep(Duration::from_secs(2));
    let (idle, idle_for) = (cpu(&server) - idle, begun.elapsed());
    assert_eq!(server.counter("commits"), frames, "an idle group writes nothing");
    let before = cpu(&server);
    let beats = all_follow(&mut connections);
    let busy = cpu(&server) - before;
    eprintln!(
        "{members} members of {GROUPS} groups joined in {joined:?}, {} bytes each; {idle:?} of a \
         core in {idle_for:?} at rest; {} us of it for a heartbeat",
        grown / members,
        busy.as_micros() as u64 / beats.max(1)
    );
    assert_eq!(server.counter("commits"), frames, "a heartbeat writes nothing");
    assert_eq!(server.counter("members_expired"), 0);
}
