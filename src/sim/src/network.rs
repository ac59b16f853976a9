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

use crate::issuer::Issuer;
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
    /// Who accepts.
    acceptor: Issuer,
    /// What happens next, once that is drawn.
    chosen: Option<Chosen>,
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
    /// Nobody takes what the server sends.
    client_left: bool,
    /// The server's end is closed or its process is dead.
    server_gone: bool,
    cut: bool,
    /// Nothing moves, and neither side is told.
    silent: bool,
    closing: bool,
    /// Who uses the server's end.
    issuer: Issuer,
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

/// A step that ends an operation of the server.
#[derive(Debug)]
enum Chosen {
    Step(Step),
    Sent(SocketId, Send, Result<(), IoError>),
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
            acceptor: Issuer(0),
            chosen: None,
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
        let arrived = &mut self.connection_mut(client).to_client;
        take_front(arrived, arrived.len())
    }

    /// The client sends no more; it still receives.
    pub fn finish(&mut self, client: ClientId) {
        self.connection_mut(client).client_finished = true;
    }

    /// Whether nothing more will arrive at the client.
    pub fn is_ended(&self, client: ClientId) -> bool {
        self.connections.get(&client).is_none_or(|it| it.is_gone() && it.to_client.is_empty())
    }

    /// Whether the client has something to take, or is to learn of the end.
    pub fn has_news(&self, client: ClientId) -> bool {
        let connection = self.connections.get(&client);
        connection.is_none_or(|it| it.is_gone() || !it.to_client.is_empty())
    }

    /// From now on the connection holds at most `window_bytes` that the client has not taken.
    pub fn limit_window(&mut self, client: ClientId, window_bytes: usize) {
        self.connection_mut(client).window_bytes = window_bytes;
    }

    /// From now on nothing moves on the connection, and neither side is told; or it does again.
    pub fn silence(&mut self, client: ClientId, silent: bool) {
        self.connection_mut(client).silent = silent;
    }

    /// The client is gone without a word: what it sent still arrives, then the end; what it is sent
    /// goes nowhere.
    pub fn leave(&mut self, client: ClientId) {
        let connection = self.connection_mut(client);
        connection.client_finished = true;
        connection.client_left = true;
        connection.to_client.clear();
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
        self.chosen = None;
        self.backlog.clear();
        self.accepting = false;
    }

    /// Takes on an operation of the server. `arena` is the one whose ranges sends name.
    ///
    /// # Panics
    /// When the operation breaks the contract of `plimsoll_device`: an unknown or closing socket, a
    /// second receive or send in flight on one socket, a receive without room.
    pub fn submit(&mut self, op: SocketOp, arena: &Arena) {
        self.submit_as(Issuer(0), op, arena);
    }

    /// As [`Self::submit`], for one of several parts of the server.
    ///
    /// # Panics
    /// As `submit`, and when a socket with operations in flight is used by another part.
    pub fn submit_as(&mut self, issuer: Issuer, op: SocketOp, arena: &Arena) {
        self.trace.note_number(u64::from(issuer.0));
        match op {
            SocketOp::Accept => {
                assert!(!self.accepting, "the shard accepts already");
                self.accepting = true;
                self.acceptor = issuer;
            }
            SocketOp::Receive { socket, into } => {
                self.trace.note_number(1 << 32 | u64::from(socket.0));
                let has_room = into.as_ref().is_none_or(|(buffer, start)| *start < buffer.len());
                assert!(has_room, "a receive on {socket:?} has no room");
                let connection = self.open(issuer, socket);
                assert!(connection.receive.is_none(), "a receive is in flight on {socket:?}");
                connection.receive = Some(Receive { into });
            }
            SocketOp::Send { socket, head, body } => {
                let bytes = [&head, body_of(&body, arena)].concat();
                self.trace.note_number(2 << 32 | u64::from(socket.0));
                self.trace.note(&bytes);
                let connection = self.open(issuer, socket);
                assert!(connection.send.is_none(), "a send is in flight on {socket:?}");
                connection.send = Some(Send { head, body, bytes, sent: 0 });
            }
            SocketOp::Close { socket } => {
                self.trace.note_number(3 << 32 | u64::from(socket.0));
                self.open(issuer, socket).closing = true;
            }
        }
    }

    /// Lets the network go on until an operation ends, and gives its completion; none when nothing
    /// can happen before a client or the server does something.
    ///
    /// # Panics
    /// When the arena bytes of a send were changed while it was in flight.
    pub fn complete_one(&mut self, arena: &Arena) -> Option<SocketCompletion<'_>> {
        self.choose()?;
        Some(self.complete_chosen(arena))
    }

    /// Whether something can happen.
    pub fn can_go_on(&self) -> bool {
        self.chosen.is_some() || self.steps().next().is_some()
    }

    /// Lets the network go on until an operation ends, and says whose it was, so that
    /// [`Self::complete_chosen`] can be handed that one's arena.
    pub fn choose(&mut self) -> Option<Issuer> {
        while self.chosen.is_none() {
            let steps: Vec<Step> = self.steps().collect();
            if steps.is_empty() {
                return None;
            }
            let step = steps[self.order.index(steps.len())];
            let (kind, socket) = step.number();
            self.trace.note_number(u64::from(kind) << 32 | u64::from(socket.0));
            self.chosen = match step {
                Step::Send(socket) => self
                    .advance_send(socket)
                    .map(|(send, result)| Chosen::Sent(socket, send, result)),
                step => Some(Chosen::Step(step)),
            };
        }
        let socket = match self.chosen.as_ref()? {
            Chosen::Step(Step::Accept(_)) => return Some(self.acceptor),
            Chosen::Step(step) => step.number().1,
            Chosen::Sent(socket, ..) => *socket,
        };
        Some(self.open_or_closing(socket).issuer)
    }

    /// The completion that was chosen.
    ///
    /// # Panics
    /// When none was, or the arena bytes of a send were changed while it was in flight.
    pub fn complete_chosen(&mut self, arena: &Arena) -> SocketCompletion<'_> {
        match self.chosen.take() {
            Some(Chosen::Step(Step::Accept(socket))) => {
                self.backlog.retain(|waiting| *waiting != socket);
                SocketCompletion::Accepted { socket }
            }
            Some(Chosen::Step(Step::Receive(socket))) => self.complete_receive(socket),
            Some(Chosen::Step(Step::Close(socket))) => {
                self.open_or_closing(socket).server_gone = true;
                self.sockets.remove(&socket);
                SocketCompletion::Closed { socket }
            }
            Some(Chosen::Sent(socket, send, result)) => {
                let unchanged = send.bytes[send.head.len()..] == *body_of(&send.body, arena);
                assert!(unchanged, "the memory of a send on {socket:?} was changed");
                let Send { head, body, .. } = send;
                SocketCompletion::Sent { socket, head, body, result }
            }
            Some(Chosen::Step(Step::Send(_))) | None => panic!("nothing was chosen"),
        }
    }

    /// A hash of all that happened so far: the same for the same seed and the same operations.
    pub fn trace_hash(&self) -> u64 {
        self.trace.hash()
    }

    fn steps(&self) -> impl Iterator<Item = Step> {
        let backlog = self.backlog.iter().filter(|_| self.accepting);
        let accepts = backlog.map(|socket| Step::Accept(*socket));
        let others = self.sockets.iter().flat_map(|(socket, client)| {
            let connection = self.connections.get(client);
            connection.into_iter().flat_map(|connection| connection.steps(*socket))
        });
        accepts.chain(others)
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
        let bytes = take_front(&mut connection.to_server, count);
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
            let moved = send.take(piece(draw, most));
            if !connection.client_left {
                connection.to_client.extend(moved);
            }
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
    fn open(&mut self, issuer: Issuer, socket: SocketId) -> &mut Connection {
        assert!(!self.backlog.contains(&socket), "{socket:?} is not accepted yet");
        let connection = self.open_or_closing(socket);
        let is_used = connection.receive.is_some() || connection.send.is_some();
        assert!(connection.issuer == issuer || !is_used, "{socket:?} moves while it is used");
        connection.issuer = issuer;
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
            client_left: false,
            server_gone: false,
            cut: false,
            silent: false,
            closing: false,
            issuer: Issuer(0),
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
        let arrives = !self.silent && (!self.to_server.is_empty() || self.client_finished);
        let receive = self.receive.is_some() && (fails || arrives);
        let has_room = |send: &Send| send.bytes.is_empty() || self.room() > 0;
        let moves = !self.silent && self.send.as_ref().is_some_and(has_room);
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

impl Step {
    fn number(self) -> (u8, SocketId) {
        match self {
            Self::Accept(socket) => (4, socket),
            Self::Receive(socket) => (5, socket),
            Self::Send(socket) => (6, socket),
            Self::Close(socket) => (7, socket),
        }
    }
}

impl Send {
    /// The next `count` bytes, which are sent with this.
    fn take(&mut self, count: usize) -> &[u8] {
        let start = self.sent;
        self.sent += count;
        &self.bytes[start..self.sent]
    }
}

/// The first `count` bytes; in whole slices, since most of a run's time would be spent on single
/// ones.
fn take_front(bytes: &mut VecDeque<u8>, count: usize) -> Vec<u8> {
    let (front, back) = bytes.as_slices();
    let of_front = count.min(front.len());
    let taken = [&front[..of_front], &back[..count - of_front]].concat();
    bytes.drain(..count);
    taken
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
