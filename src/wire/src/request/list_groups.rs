//! `list_groups`: every group that has members or committed offsets.
//!
//! What a newcomer gets wrong: the shards answer for the groups that they keep, each at its own
//! moment.

use alloc::vec::Vec;

use super::describe_group::GroupState;
use crate::body::{Body, begin, finish, put_count, put_string, put_u32};
use crate::frame::Flags;
use crate::frame_error::FrameError;
use crate::identity::CorrelationId;
use crate::opcode::Opcode;
use crate::request::GroupMode;

/// Asks for all groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListGroups {
    /// The answer is to say the mode of each. Older servers do not know the question.
    pub with_mode: bool,
}

impl ListGroups {
    /// Appends the frame.
    pub fn encode(self, correlation: CorrelationId, out: &mut Vec<u8>) {
        let start = begin(Opcode::ListGroups, Flags::REQUEST, correlation, out);
        if self.with_mode {
            out.push(1);
        }
        finish(start, out);
    }

    pub(crate) fn take(body: &mut Body<'_>) -> Result<ListGroups, FrameError> {
        Ok(ListGroups { with_mode: body.asks_for_more()? })
    }
}

/// The groups, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListGroupsResponse<'a> {
    /// One for each.
    pub groups: Vec<ListedGroup<'a>>,
}

/// A group in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedGroup<'a> {
    /// Its name.
    pub group: &'a str,
    /// Whether it consumes.
    pub state: GroupState,
    /// How it hands out its records; `Classic` if that was not asked for.
    pub mode: GroupMode,
    /// How many members it has.
    pub members: u32,
    /// Of how many partitions it has committed an offset.
    pub offsets: u32,
}

impl<'a> ListGroupsResponse<'a> {
    /// Appends the frame.
    pub fn encode(&self, correlation: CorrelationId, out: &mut Vec<u8>) {
        let start = begin(Opcode::ListGroups, Flags::RESPONSE, correlation, out);
        put_count(self.groups.len(), out);
        for group in &self.groups {
            put_string(group.group, out);
            out.extend_from_slice(&[group.state as u8, group.mode as u8, 0, 0]);
            put_u32(group.members, out);
            put_u32(group.offsets, out);
        }
        finish(start, out);
    }

    pub(crate) fn take(body: &mut Body<'a>) -> Result<ListGroupsResponse<'a>, FrameError> {
        let groups = body.list(u32::MAX, |body| {
            let group = body.string("group")?;
            let state = body.choice("state", GroupState::from_byte)?;
            let mode = body.choice("mode", GroupMode::from_byte)?;
            body.reserved::<2>()?;
            let members = body.u32("members")?;
            Ok(ListedGroup { group, state, mode, members, offsets: body.u32("offsets")? })
        })?;
        Ok(ListGroupsResponse { groups })
    }
}
