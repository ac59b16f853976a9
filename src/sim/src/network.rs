//! The simulated network: client connections in memory, between a test and the server's logic.
//!
//! Bytes of one connection arrive in order and in pieces of any size, from one byte to all; what
//! happens on different connections happens in any order. A send ends when the connection has taken
//! all of it, which a client that does not read prevents. A cut connection fails on both sides and
//! loses an arbitrary end of what was under way in either direction.

use std::collections::{BTreeMap, VecDeque};

use plimsoll_device::{
    Arena, Buffer, IoError, IoErrorKind, Memory, RECEIVE_POOLED_BYTES, Received, SocketCompletion,
    SocketId, SocketOp,
};

use crate::random::Random;
use crate::trace::Trace;

/// What a connection takes from the server while the client does not read, unless told otherwise.
const WINDOW_BYTES: usize = 1 << 20;

const DISCONNECTED: IoError = IoError::new(IoErrorKind::Disconnected, 104);
const CANCELLED: IoError = IoError::new(IoErrorKind::Cancelled, 125);

/// The client's end of a connection. Never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(u64);

/// The connections of any number of clients to one shard's listener.
#[derive(Debug)]
pub struct Network {
    accepting: bool,
    /// Connected, and not accepted yet.
    backlog: VecDeque<SocketId>,
    sockets: BTreeMap<SocketId, ClientId>,
    connections: BTreeMap<ClientId, Connection>,
    clients_created: u64,
    /// The bytes of the last pooled receive.
    pooled: Vec<u8>,
    order: Random,
    chunks: Random,
    trace: Trace,
}

#[derive(Debug)]
struct Connection {
    to_server: VecDeque<u8>,
    to_client: VecDeque<u8>,
    window_bytes: usize,
    client_finished: bool,
    /// The server's end is closed or its process is dead.
    server_gone: bool,
    cut: bool,
    closing: bool,
    receive: Option<Receive>,
    send: Option<Send>,
}

#[derive(Debug)]
struct Receive {
    into: Option<(Buffer, usize)>,
}

#[derive(Debug)]
struct Send {
    head: Vec<u8>,
    body: Memory,
    /// Head and body as they were when the send was submitted.
    bytes: Vec<u8>,
    sent: usize,
}

/// What can happen next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Accept(SocketId),
    Receive(SocketId),
    Send(SocketId),
    Close(SocketId),
}

impl Network {
    /// A network without connections, with its fate drawn from streams of `random`.
    pub fn new(random: &Random) -> Self {
        Self {
            accepting: false,
            backlog: VecDeque::new(),
            sockets: BTreeMap::new(),
            connections: BTreeMap::new(),
            clients_created: 0,
            pooled: Vec::new(),
            order: random.stream("network order"),
            chunks: random.stream("network chunks"),
            trace: Trace::new(),
        }
    }

    /// A client connects. The server learns of it by an `Accepted` with this number.
    pub fn connect(&mut self) -> (SocketId, ClientId) {
        let free = (0..).map(SocketId).find(|number| !self.sockets.contains_key(number));
        let Some(socket) = free else { unreachable!("fewer than 2^32 sockets are open") };
        self.clients_created += 1;
        let client = ClientId(self.clients_created);
        self.sockets.insert(socket, client);
        self.connections.insert(client, Connection::new());
        self.backlog.push_back(socket);
        (socket, client)
    }

    /// The client sends `bytes`. On a connection that is gone they are lost.
    pub fn send(&mut self, client: ClientId, bytes: &[u8]) {
        let connection = self.connection_mut(client);
        assert!(!connection.client_finished, "{client:?} said that it sends no more");
        if !connection.is_gone() {
            connection.to_server.extend(bytes);
        }
    }

    /// The client takes all bytes that have arrived.
    pub fn receive(&mut self, client: ClientId) -> Vec<u8> {
        self.connection_mut(client).to_client.drain(..).collect()
    }

    /// The client sends no more; it still receives.
    pub fn finish(&mut self, client: ClientId) {
        self.connection_mut(client).client_finished = true;
    }

    /// Whether nothing more will arrive at the client.
    pub fn is_ended(&self, client: ClientId) -> bool {
        self.connections.get(&client).is_none_or(|it| it.is_gone() && it.to_client.is_empty())
    }

    /// From now on the connection holds at most `window_bytes` that the client has not taken.
    pub fn limit_window(&mut self, client: ClientId, window_bytes: usize) {
        self.connection_mut(client).window_bytes = window_bytes;
    }

    /// The connection breaks, for both sides.
    pub fn cut(&mut self, client: ClientId) {
        let kept = self.chunks.next_u64();
        let connection = self.connection_mut(client);
        connection.cut = true;
        // The server's kernel forgets what it has not handed over; the client has read some.
        connection.to_server.clear();
        let kept = (kept % (connection.to_client.len() as u64 + 1)) as usize;
        connection.to_client.truncate(kept);
    }

    /// The server's process dies. Clients see the end of their connections; the next process
    /// accepts anew.
    pub fn kill(&mut self) {
        for client in core::mem::take(&mut self.sockets).into_values() {
            let chunk = self.chunks.next_u64();
            let connection = self.connection_mut(client);
            if let Some(mut send) = connection.send.take() {
                let most = send.bytes.len() - send.sent;
                let chunk = (chunk % (most as u64 + 1)) as usize;
                connection.to_client.extend(send.take(chunk.min(connection.room())));
            }
            connection.receive = None;
            connection.server_gone = true;
        }
        self.backlog.clear();
        self.accepting = false;
    }

    /// Takes on an operation of the server. `arena` is the one whose ranges sends name.
    ///
    /// # Panics
    /// When the operation breaks the contract of `plimsoll_device`: an unknown or closing socket, a
    /// second receive or send in flight on one socket, a receive without room.
    pub fn submit(&mut self, op: SocketOp, arena: &Arena) {
        self.trace.note(format!("{op:?}").as_bytes());
        match op {
            SocketOp::Accept => {
                assert!(!self.accepting, "the shard accepts already");
                self.accepting = true;
            }
            SocketOp::Receive { socket, into } => {
                let has_room = into.as_ref().is_none_or(|(buffer, start)| *start < buffer.len());
                assert!(has_room, "a receive on {socket:?} has no room");
                let connection = self.open(socket);
                assert!(connection.receive.is_none(), "a receive is in flight on {socket:?}");
                connection.receive = Some(Receive { into });
            }
            SocketOp::Send { socket, head, body } => {
                let bytes = [&head, body_of(&body, arena)].concat();
                let connection = self.open(socket);
                assert!(connection.send.is_none(), "a send is in flight on {socket:?}");
                connection.send = Some(Send { head, body, bytes, sent: 0 });
            }
            SocketOp::Close { socket } => self.open(socket).closing = true,
        }
    }

    /// Lets the network go on until an operation ends, and gives its completion; none when nothing
    /// can happen before a client or the server does something.
    ///
    /// # Panics
    /// When the arena bytes of a send were changed while it was in flight.
    pub fn complete_one(&mut self, arena: &Arena) -> Option<SocketCompletion<'_>> {
        loop {
            let steps = self.steps();
            if steps.is_empty() {
                return None;
            }
            let step = steps[self.order.index(steps.len())];
            self.trace.note(format!("{step:?}").as_bytes());
            match step {
                Step::Accept(socket) => {
                    self.backlog.retain(|waiting| *waiting != socket);
                    return Some(SocketCompletion::Accepted { socket });
                }
                Step::Receive(socket) => return Some(self.complete_receive(socket)),
                Step::Close(socket) => {
                    self.open_or_closing(socket).server_gone = true;
                    self.sockets.remove(&socket);
                    return Some(SocketCompletion::Closed { socket });
                }
                Step::Send(socket) => {
                    if let Some((send, result)) = self.advance_send(socket) {
                        let unchanged =
                            send.bytes[send.head.len()..] == *body_of(&send.body, arena);
                        assert!(unchanged, "the memory of a send on {socket:?} was changed");
                        let Send { head, body, .. } = send;
                        return Some(SocketCompletion::Sent { socket, head, body, result });
                    }
                }
            }
        }
    }

    /// A hash of all that happened so far: the same for the same seed and the same operations.
    pub fn trace_hash(&self) -> u64 {
        self.trace.hash()
    }

    fn steps(&self) -> Vec<Step> {
        let accepts = self.backlog.iter().filter(|_| self.accepting).map(|it| Step::Accept(*it));
        let others = self.sockets.iter().flat_map(|(socket, client)| {
            let connection = self.connections.get(client);
            connection.into_iter().flat_map(|connection| connection.steps(*socket))
        });
        accepts.chain(others).collect()
    }

    fn complete_receive(&mut self, socket: SocketId) -> SocketCompletion<'_> {
        let draw = self.chunks.next_u64();
        let connection = self.open_or_closing(socket);
        let Some(Receive { into }) = connection.receive.take() else {
            unreachable!("{socket:?} has a receive in flight, or this step would not be possible")
        };
        if let Some(error) = connection.failure() {
            let buffer = into.map(|(buffer, _)| buffer);
            return SocketCompletion::Received { socket, data: Received::Failed(buffer, error) };
        }
        let room = into.as_ref().map_or(RECEIVE_POOLED_BYTES, |(buffer, at)| buffer.len() - at);
        let count = piece(draw, room.min(connection.to_server.len()));
        let bytes: Vec<u8> = connection.to_server.drain(..count).collect();
        self.trace.note(&bytes);
        let data = match into {
            Some((mut buffer, start)) => {
                buffer[start..start + count].copy_from_slice(&bytes);
                Received::Owned(buffer, count)
            }
            None => {
                self.pooled = bytes;
                Received::Pooled(&self.pooled)
            }
        };
        SocketCompletion::Received { socket, data }
    }

    /// Moves a piece of a send; gives it back when it has ended.
    fn advance_send(&mut self, socket: SocketId) -> Option<(Send, Result<(), IoError>)> {
        let draw = self.chunks.next_u64();
        let connection = self.open_or_closing(socket);
        let mut send = connection.send.take()?;
        if !connection.cut {
            let most = connection.room().min(send.bytes.len() - send.sent);
            connection.to_client.extend(send.take(piece(draw, most)));
        }
        let failure = connection.failure();
        match failure {
            _ if send.sent == send.bytes.len() && !connection.cut => Some((send, Ok(()))),
            Some(error) => Some((send, Err(error))),
            None => {
                connection.send = Some(send);
                None
            }
        }
    }

    /// The connection of a socket on which operations may be submitted.
    fn open(&mut self, socket: SocketId) -> &mut Connection {
        assert!(!self.backlog.contains(&socket), "{socket:?} is not accepted yet");
        let connection = self.open_or_closing(socket);
        assert!(!connection.closing, "{socket:?} is closing");
        connection
    }

    fn open_or_closing(&mut self, socket: SocketId) -> &mut Connection {
        match self.sockets.get(&socket) {
            Some(client) => self.connection_mut(*client),
            None => panic!("{socket:?} is not open"),
        }
    }

    fn connection_mut(&mut self, client: ClientId) -> &mut Connection {
        match self.connections.get_mut(&client) {
            Some(connection) => connection,
            None => panic!("{client:?} is of another network"),
        }
    }
}

impl Connection {
    fn new() -> Self {
        Self {
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            window_bytes: WINDOW_BYTES,
            client_finished: false,
            server_gone: false,
            cut: false,
            closing: false,
            receive: None,
            send: None,
        }
    }

    fn is_gone(&self) -> bool {
        self.cut || self.server_gone
    }

    /// How an operation in flight fails now.
    fn failure(&self) -> Option<IoError> {
        match (self.cut, self.closing) {
            (true, _) => Some(DISCONNECTED),
            (false, true) => Some(CANCELLED),
            (false, false) => None,
        }
    }

    fn room(&self) -> usize {
        self.window_bytes.saturating_sub(self.to_client.len())
    }

    fn steps(&self, socket: SocketId) -> impl Iterator<Item = Step> {
        let fails = self.failure().is_some();
        let arrives = !self.to_server.is_empty() || self.client_finished;
        let receive = self.receive.is_some() && (fails || arrives);
        let moves = self.send.as_ref().is_some_and(|send| send.bytes.is_empty() || self.room() > 0);
        let send = self.send.is_some() && (fails || moves);
        let close = self.closing && self.receive.is_none() && self.send.is_none();
        let steps = [
            (receive, Step::Receive(socket)),
            (send, Step::Send(socket)),
            (close, Step::Close(socket)),
        ];
        steps.into_iter().filter_map(|(possible, step)| possible.then_some(step))
    }
}

impl Send {
    /// The next `count` bytes, which are sent with this.
    fn take(&mut self, count: usize) -> impl Iterator<Item = u8> {
        let start = self.sent;
        self.sent += count;
        self.bytes[start..self.sent].iter().copied()
    }
}

/// How many of `most` bytes move at once: one, all, or any number between; none of none.
fn piece(draw: u64, most: usize) -> usize {
    match draw % 4 {
        _ if most == 0 => 0,
        0 => 1,
        1 => most,
        _ => 1 + ((draw / 4) % most as u64) as usize,
    }
}

fn body_of<'a>(body: &'a Memory, arena: &'a Arena) -> &'a [u8] {
    match body {
        Memory::Arena(range) => arena.bytes(*range),
        Memory::Buffer(buffer) => buffer,
        Memory::None => &[],
    }
}
