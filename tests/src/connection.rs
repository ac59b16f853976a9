//! A connection that speaks frames, and lets the test say each of them, right or wrong.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use plimsoll_wire::{
    AckLevel, Bind, BindResponse, CorrelationId, Decoded, DurabilityWanted, ErrorResponse,
    FRAME_BYTES_MAX, Frame, Handle, Hello, PartitionIndex, Produce, Response, ShardIndex,
    decode_frame,
};

/// A socket to a server. Reads wait a minute at most.
#[derive(Debug)]
pub struct Connection {
    /// For bytes that are no frames.
    pub stream: TcpStream,
    arrived: Vec<u8>,
    correlation: u32,
}

impl Connection {
    /// Connects and says nothing.
    ///
    /// # Panics
    ///
    /// If nobody listens.
    #[must_use]
    pub fn silent(address: &str) -> Connection {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_nodelay(true).expect("a socket takes options");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket takes options");
        Connection { stream, arrived: Vec::new(), correlation: 0 }
    }

    /// Connects and says hello.
    ///
    /// # Panics
    ///
    /// If the server does not answer as it should.
    #[must_use]
    pub fn open(address: &str) -> Connection {
        Connection::to_shard(address, ShardIndex::ANY)
    }

    /// The same to a shard.
    ///
    /// # Panics
    ///
    /// If the server does not answer as it should.
    #[must_use]
    pub fn to_shard(address: &str, shard: ShardIndex) -> Connection {
        let mut connection = Connection::silent(address);
        let answer = connection.ask(|correlation, out| {
            Hello::new(shard, "test").encode(correlation, out);
        });
        assert!(matches!(answer.response(), Response::Hello(_)), "{:?}", answer.response());
        connection
    }

    /// Ties a partition to a handle.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub fn bind(&mut self, handle: u32, topic: &str, partition: u32) -> BindResponse {
        let partition = PartitionIndex(partition);
        let bind = Bind { handle: Handle(handle), partition, topic };
        let answer = self.ask(|correlation, out| bind.encode(correlation, out));
        match answer.response() {
            Response::Bind(bound) => bound,
            other => panic!("bind was answered with {other:?}"),
        }
    }

    /// The same, of a server that may be gone or broken; whether it was done.
    pub fn try_bind(&mut self, handle: u32, topic: &str, partition: u32) -> bool {
        let partition = PartitionIndex(partition);
        self.correlation += 1;
        let mut bytes = Vec::new();
        let bind = Bind { handle: Handle(handle), partition, topic };
        bind.encode(CorrelationId(self.correlation), &mut bytes);
        let is_sent = self.stream.write_all(&bytes).is_ok();
        let answer = if is_sent { self.read() } else { None };
        answer.is_some_and(|frame| matches!(frame.response(), Response::Bind(_)))
    }

    /// Sends a request and waits for the next frame.
    ///
    /// # Panics
    ///
    /// If the connection ends.
    pub fn ask(&mut self, encode: impl FnOnce(CorrelationId, &mut Vec<u8>)) -> ServerFrame {
        self.say(encode);
        self.read().expect("the server answers")
    }

    /// Sends a request; its correlation id.
    ///
    /// # Panics
    ///
    /// If the connection has ended.
    pub fn say(&mut self, encode: impl FnOnce(CorrelationId, &mut Vec<u8>)) -> u32 {
        self.correlation += 1;
        let mut bytes = Vec::new();
        encode(CorrelationId(self.correlation), &mut bytes);
        self.stream.write_all(&bytes).expect("the connection stands");
        self.correlation
    }

    /// Sends a batch with this correlation id.
    ///
    /// # Errors
    ///
    /// The connection has ended.
    pub fn produce(
        &mut self,
        handle: u32,
        correlation: u32,
        level: AckLevel,
        also: Option<AckLevel>,
        batch: &[u8],
    ) -> io::Result<()> {
        let frame = produce_frame(handle, correlation, level, also, batch);
        self.stream.write_all(&frame)
    }

    /// The next frame; `None` when the connection has ended, or nothing comes for long.
    ///
    /// # Panics
    ///
    /// If what comes is no frame.
    pub fn read(&mut self) -> Option<ServerFrame> {
        loop {
            let decoded = decode_frame(&self.arrived, FRAME_BYTES_MAX);
            if let Decoded::Frame(frame) = decoded.expect("the server sends frames") {
                let rest = self.arrived.split_off(frame.frame_bytes);
                return Some(ServerFrame(std::mem::replace(&mut self.arrived, rest)));
            }
            let mut bytes = [0; 64 << 10];
            match self.stream.read(&mut bytes) {
                // Being stopped and continued ends a read that has a timeout.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return None,
                Ok(count) => self.arrived.extend_from_slice(&bytes[..count]),
            }
        }
    }

    /// The error frame that must come next, and then the end of the connection.
    ///
    /// # Panics
    ///
    /// If something else comes.
    pub fn assert_closed_after(&mut self, assert: impl FnOnce(&ErrorResponse<'_>)) {
        let frame = self.read().expect("an error frame comes before the end");
        match frame.response() {
            Response::Error(error) => assert(&error),
            other => panic!("{other:?} instead of an error"),
        }
        assert!(self.read().is_none(), "the connection goes on");
    }
}

/// A produce frame.
///
/// # Panics
///
/// If the batch is shorter than the prefix of one.
#[must_use]
pub fn produce_frame(
    handle: u32,
    correlation: u32,
    level: AckLevel,
    also: Option<AckLevel>,
    batch: &[u8],
) -> Vec<u8> {
    let (handle, durability) = (Handle(handle), DurabilityWanted::Level(level.durability()));
    let mut frame = Vec::with_capacity(batch.len() + 32);
    let produce = Produce { handle, durability, also, batch };
    produce.encode(CorrelationId(correlation), &mut frame).expect("a batch has a prefix");
    frame
}

/// A whole frame from a server, checked.
#[derive(Clone, Debug)]
pub struct ServerFrame(Vec<u8>);

impl ServerFrame {
    /// The frame.
    ///
    /// # Panics
    ///
    /// Never: it was checked.
    #[must_use]
    pub fn frame(&self) -> Frame<'_> {
        match decode_frame(&self.0, FRAME_BYTES_MAX) {
            Ok(Decoded::Frame(frame)) => frame,
            other => panic!("{other:?}"),
        }
    }

    /// What it says.
    ///
    /// # Panics
    ///
    /// If it says nothing that the protocol knows.
    #[must_use]
    pub fn response(&self) -> Response<'_> {
        Response::decode(&self.frame()).expect("the server speaks the protocol")
    }

    /// The error that it tells.
    ///
    /// # Panics
    ///
    /// If it tells none.
    #[must_use]
    pub fn error(&self) -> ErrorResponse<'_> {
        match self.response() {
            Response::Error(error) => error,
            other => panic!("{other:?} instead of an error"),
        }
    }
}
