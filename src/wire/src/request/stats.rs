//! `stats`: the counters of all shards, by name.
//!
//! The names are not part of the protocol and may change with the server. What a newcomer gets
//! wrong: all of them only go up, and begin again at zero with each start.

use alloc::vec::Vec;

use crate::body::{Body, begin, finish, put_count, put_string, put_u64};
use crate::frame::Flags;
use crate::frame_error::FrameError;
use crate::identity::CorrelationId;
use crate::opcode::Opcode;

/// Asks for the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats;

impl Stats {
    /// Appends the frame.
    pub fn encode(&self, correlation: CorrelationId, out: &mut Vec<u8>) {
        let start = begin(Opcode::Stats, Flags::REQUEST, correlation, out);
        finish(start, out);
    }
}

/// The counters since the start of the server. Ignore names that you do not know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatsResponse<'a> {
    /// One for each counter.
    pub stats: Vec<Stat<'a>>,
}

/// One counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat<'a> {
    /// Its name, with its unit last.
    pub name: &'a str,
    /// Its value, added up over all shards.
    pub value: u64,
}

impl<'a> StatsResponse<'a> {
    /// Appends the frame.
    pub fn encode(&self, correlation: CorrelationId, out: &mut Vec<u8>) {
        let start = begin(Opcode::Stats, Flags::RESPONSE, correlation, out);
        put_count(self.stats.len(), out);
        for stat in &self.stats {
            put_string(stat.name, out);
            put_u64(stat.value, out);
        }
        finish(start, out);
    }

    pub(crate) fn take(body: &mut Body<'a>) -> Result<StatsResponse<'a>, FrameError> {
        let stats = body.list(u32::MAX, |body| {
            Ok(Stat { name: body.string("name")?, value: body.u64("value")? })
        })?;
        Ok(StatsResponse { stats })
    }
}
