//! `hello`: the first frame of a connection, and which shard serves it.
//!
//! It must stay readable in every later version: magic and versions keep their places. What a
//! newcomer gets wrong: the shard is a wish, and the answer says which one it became.

use alloc::vec::Vec;

use crate::body::{Body, begin, finish, put_string, put_u16, put_u32, put_u64};
use crate::frame::Flags;
use crate::frame_error::FrameError;
use crate::identity::{CorrelationId, ShardIndex};
use crate::limits::{HELLO_MAGIC, VERSION};
use crate::opcode::Opcode;

/// The first frame of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// The lowest version that the client speaks.
    pub version_min: u16,
    /// The highest version that the client speaks.
    pub version_max: u16,
    /// The shard that the client wants to talk to, or [`ShardIndex::ANY`].
    pub shard: ShardIndex,
    /// For people who look at the server.
    pub client: &'a str,
}

impl<'a> Hello<'a> {
    /// A client of this version.
    #[must_use]
    pub const fn new(shard: ShardIndex, client: &'a str) -> Hello<'a> {
        Hello { version_min: VERSION, version_max: VERSION, shard, client }
    }

    /// The highest version that the client and this build both speak.
    #[must_use]
    pub const fn version_in_common(&self) -> Option<u16> {
        if self.version_min <= VERSION && VERSION <= self.version_max {
            Some(VERSION)
        } else {
            None
        }
    }

    /// Appends the frame.
    pub fn encode(&self, correlation: CorrelationId, out: &mut Vec<u8>) {
        let start = begin(Opcode::Hello, Flags::REQUEST, correlation, out);
        put_u32(HELLO_MAGIC, out);
        put_u16(self.version_min, out);
        put_u16(self.version_max, out);
        put_u16(self.shard.0, out);
        put_u16(0, out);
        put_string(self.client, out);
        finish(start, out);
    }

    pub(crate) fn take(body: &mut Body<'a>) -> Result<Hello<'a>, FrameError> {
        let magic = body.u32("magic")?;
        if magic != HELLO_MAGIC {
            return Err(FrameError::OutOfBounds { what: "magic", value: u64::from(magic) });
        }
        let version_min = body.u16("lowest version")?;
        let version_max = body.u16("highest version")?;
        let shard = ShardIndex(body.u16("shard")?);
        body.reserved::<2>()?;
        Ok(Hello { version_min, version_max, shard, client: body.string("client name")? })
    }
}

/// Who answers, and the limits of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HelloResponse<'a> {
    /// The version that both sides speak from here on.
    pub version: u16,
    /// The shard that serves this connection.
    pub shard: ShardIndex,
    /// How many shards the server has.
    pub shards: u16,
    /// One more at each start of the server: a client sees that it talks to another life of it.
    pub epoch: u64,
    /// The largest frame that the server takes.
    pub frame_bytes_max: u32,
    /// Produce frames not yet acked; beyond it the server stops reading.
    pub in_flight_max: u32,
    /// A handle is below this.
    pub handles_max: u32,
    /// Name and version of the server.
    pub server: &'a str,
}

impl<'a> HelloResponse<'a> {
    /// Appends the frame.
    pub fn encode(&self, correlation: CorrelationId, out: &mut Vec<u8>) {
        let start = begin(Opcode::Hello, Flags::RESPONSE, correlation, out);
        put_u16(self.version, out);
        put_u16(self.shard.0, out);
        put_u16(self.shards, out);
        put_u16(0, out);
        put_u64(self.epoch, out);
        put_u32(self.frame_bytes_max, out);
        put_u32(self.in_flight_max, out);
        put_u32(self.handles_max, out);
        put_u32(0, out);
        put_string(self.server, out);
        finish(start, out);
    }

    pub(crate) fn take(body: &mut Body<'a>) -> Result<HelloResponse<'a>, FrameError> {
        let version = body.u16("version")?;
        let shard = ShardIndex(body.u16("shard")?);
        let shards = body.u16("number of shards")?;
        body.reserved::<2>()?;
        let epoch = body.u64("server epoch")?;
        let frame_bytes_max = body.u32("frame_bytes_max")?;
        let in_flight_max = body.u32("in_flight_max")?;
        let handles_max = body.u32("handles_max")?;
        body.reserved::<4>()?;
        Ok(HelloResponse {
            version,
            shard,
            shards,
            epoch,
            frame_bytes_max,
            in_flight_max,
            handles_max,
            server: body.string("server name")?,
        })
    }
}
