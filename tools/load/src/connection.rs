//! One raw connection: hello and binds while it blocks, then frames without blocking.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use plimsoll_wire::{
    Bind, BindResponse, CorrelationId, Decoded, FRAME_BYTES_MAX, Frame, FrameError, Handle, Hello,
    PartitionIndex, Response, decode_frame,
};

use crate::LoadError;
use crate::assignment::Assignment;

/// How long the server may take to answer while a connection is set up.
const SETUP_TIMEOUT: Duration = Duration::from_secs(10);

/// Binds on their way at once: few enough that neither side's socket buffer fills up.
const BINDS_AT_ONCE: usize = 256;

/// A connection whose handle `n` stands for the `n`th partition of its assignment.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    pub(crate) incoming: Incoming,
    pub(crate) bound: Vec<BindResponse>,
    pub(crate) in_flight_max: u32,
}

impl Connection {
    /// Connects, greets, binds; from then on reading and writing do not block.
    pub(crate) fn open(
        server: &str,
        topic: &str,
        assignment: &Assignment,
    ) -> Result<Connection, LoadError> {
        let failed = |what: &'static str| {
            move |error| LoadError::Io { what, server: server.to_owned(), error }
        };
        let mut stream = dial(server).map_err(failed("connecting to"))?;
        let (mut incoming, mut out) = (Incoming::new(), Vec::new());
        Hello::new(assignment.shard, "plimsoll-load").encode(CorrelationId(1), &mut out);
        stream.write_all(&out).map_err(failed("writing to"))?;
        let in_flight_max = match incoming.wait_response(&mut stream, server)? {
            Response::Hello(hello) => hello.in_flight_max,
            other => return Err(refused(server, &other)),
        };
        let mut bound = Vec::with_capacity(assignment.partitions.len());
        for (chunk, partitions) in (0_u32..).zip(assignment.partitions.chunks(BINDS_AT_ONCE)) {
            out.clear();
            for (place, partition) in (0_u32..).zip(partitions) {
                let handle = Handle(chunk * BINDS_AT_ONCE as u32 + place);
                let bind = Bind { handle, partition: PartitionIndex(*partition), topic };
                bind.encode(CorrelationId(2 + handle.0), &mut out);
            }
            stream.write_all(&out).map_err(failed("writing to"))?;
            let first = bound.len();
            bound.resize(first + partitions.len(), None);
            for _ in partitions {
                let (correlation, response) = incoming.wait_frame(&mut stream, server)?;
                match response {
                    Response::Bind(response) => {
                        let handle = correlation.0.wrapping_sub(2) as usize;
                        if let Some(place) = bound.get_mut(handle) {
                            *place = Some(response);
                        }
                    }
                    other => return Err(refused(server, &other)),
                }
            }
        }
        stream.set_nonblocking(true).map_err(failed("setting up the connection to"))?;
        let bound = bound.into_iter().flatten().collect();
        Ok(Connection { stream, incoming, bound, in_flight_max })
    }
}

fn dial(server: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in server.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, SETUP_TIMEOUT) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(SETUP_TIMEOUT))?;
                stream.set_write_timeout(Some(SETUP_TIMEOUT))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The error that an unexpected or refusing response is.
pub(crate) fn refused(server: &str, response: &Response<'_>) -> LoadError {
    let reason = match response {
        Response::Error(error) => format!("{}: {}", error.code, error.message),
        _ => "it answered something that was not asked".to_owned(),
    };
    LoadError::Closed { server: server.to_owned(), reason }
}

/// What has arrived and is not yet handled.
#[derive(Debug)]
pub(crate) struct Incoming {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// The length of the frame of which only a part is there.
    wanted_bytes: usize,
}

/// What one read gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// Bytes; `is_all` says that nothing more was waiting.
    Some { is_all: bool },
    /// Nothing yet.
    Nothing,
    /// The server closed the connection.
    Closed,
}

/// Room for many acks, and for a few deliveries of the usual size.
const INCOMING_BYTES: usize = 256 << 10;

impl Incoming {
    pub(crate) fn new() -> Incoming {
        Incoming { bytes: vec![0; INCOMING_BYTES], start: 0, end: 0, wanted_bytes: 0 }
    }

    /// The next whole frame that is already here.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        match decode_frame(&self.bytes[self.start..self.end], FRAME_BYTES_MAX)? {
            Decoded::Frame(frame) => {
                self.start += frame.frame_bytes;
                Ok(Some(frame))
            }
            Decoded::Incomplete { frame_bytes } => {
                self.wanted_bytes = frame_bytes.unwrap_or_default();
                Ok(None)
            }
        }
    }

    /// Reads once.
    pub(crate) fn read_from(&mut self, stream: &mut TcpStream) -> io::Result<Received> {
        self.make_room();
        loop {
            match stream.read(&mut self.bytes[self.end..]) {
                Ok(0) => return Ok(Received::Closed),
                Ok(bytes) => {
                    self.end += bytes;
                    return Ok(Received::Some { is_all: self.end < self.bytes.len() });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Received::Nothing);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn make_room(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        let needed_bytes = self.wanted_bytes.max(self.bytes.len() / 4);
        if self.start + needed_bytes > self.bytes.len() {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.wanted_bytes > self.bytes.len() / 2 {
            self.bytes.resize(self.wanted_bytes * 2, 0);
        }
    }

    fn wait_frame(
        &mut self,
        stream: &mut TcpStream,
        server: &str,
    ) -> Result<(CorrelationId, Response<'_>), LoadError> {
        // Looked at twice, because a frame that was returned would be borrowed for the whole loop.
        while decode_frame(&self.bytes[self.start..self.end], FRAME_BYTES_MAX)
            .is_ok_and(|decoded| matches!(decoded, Decoded::Incomplete { .. }))
        {
            let closed = || LoadError::Closed {
                server: server.to_owned(),
                reason: "no answer while connecting".to_owned(),
            };
            match self.read_from(stream) {
                Ok(Received::Some { .. }) => {}
                Ok(Received::Closed | Received::Nothing) => return Err(closed()),
                Err(error) => {
                    let server = server.to_owned();
                    return Err(LoadError::Io { what: "reading from", server, error });
                }
            }
        }
        match self.next_frame()? {
            Some(frame) => Ok((frame.correlation, Response::decode(&frame)?)),
            None => Err(LoadError::Frame(FrameError::BodyTooShort { what: "frame" })),
        }
    }

    fn wait_response(
        &mut self,
        stream: &mut TcpStream,
        server: &str,
    ) -> Result<Response<'_>, LoadError> {
        self.wait_frame(stream, server).map(|(_, response)| response)
    }
}
