//! Questions about consumer groups.
//!
//! What a newcomer gets wrong: offsets are reset, and groups deleted, only while the group has no
//! members. Stop them first; whoever consumes would go on where it is.

use crate::{AdminError, Client, Offset, RequestError};
use plimsoll_client::{
    AdminReply, AdminRequest, CommittedOffset, GroupInfo, GroupSummary, TopicPartition,
};

impl Client {
    /// All consumer groups.
    ///
    /// # Errors
    ///
    /// The server cannot be asked.
    pub fn groups(&self) -> Result<Vec<GroupSummary>, AdminError> {
        match self.ask(&AdminRequest::ListGroups)? {
            AdminReply::Groups(groups) => Ok(groups),
            _ => Err(self.error(RequestError::UnexpectedReply)),
        }
    }

    /// Members, assignment and committed offsets of a group.
    ///
    /// # Errors
    ///
    /// There is no such group, or the server cannot be asked.
    pub fn describe_group(&self, group: &str) -> Result<GroupInfo, AdminError> {
        match self.ask(&AdminRequest::DescribeGroup { group })? {
            AdminReply::Group(group) => Ok(group),
            _ => Err(self.error(RequestError::UnexpectedReply)),
        }
    }

    /// Sets the committed offsets of a group without members to exactly these, durably; none
    /// removes one. Each partition of the answer has its own end.
    ///
    /// # Errors
    ///
    /// The group has members, or the server cannot be asked.
    pub fn reset_offsets(
        &self,
        group: &str,
        offsets: &[(TopicPartition, Option<Offset>)],
    ) -> Result<Vec<CommittedOffset>, AdminError> {
        let offsets = offsets.to_vec();
        match self.ask(&AdminRequest::ResetOffsets { group, offsets })? {
            AdminReply::Committed(committed) => Ok(committed),
            _ => Err(self.error(RequestError::UnexpectedReply)),
        }
    }

    /// Deletes the committed offsets of a group without members, durably. One that does not exist
    /// is as good as deleted, so that it may be asked for again.
    ///
    /// # Errors
    ///
    /// The group has members, or the server cannot be asked.
    pub fn delete_group(&self, group: &str) -> Result<(), AdminError> {
        self.ask(&AdminRequest::DeleteGroup { group }).map(drop)
    }
}
