//! Questions about consumer groups.
//!
//! What a newcomer gets wrong: offsets are reset, and groups deleted, only while the group has no
//! members. Stop them first; whoever consumes would go on where it is.

use crate::{Client, Transport};
use plimsoll_client::{
    AdminError, AdminReply, AdminRequest, CommittedOffset, GroupInfo, GroupSummary, Offset,
    RequestError, TopicPartition,
};

impl<T: Transport> Client<T> {
    /// All consumer groups.
    ///
    /// # Errors
    ///
    /// The server cannot be asked.
    pub async fn groups(&self) -> Result<Vec<GroupSummary>, AdminError> {
        match self.ask(&AdminRequest::ListGroups).await? {
            AdminReply::Groups(groups) => Ok(groups),
            _ => Err(self.error(RequestError::UnexpectedReply)),
        }
    }

    /// Members, assignment and committed offsets of a group.
    ///
    /// # Errors
    ///
    /// There is no such group, or the server cannot be asked.
    pub async fn describe_group(&self, group: &str) -> Result<GroupInfo, AdminError> {
        match self.ask(&AdminRequest::DescribeGroup { group }).await? {
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
    pub async fn reset_offsets(
        &self,
        group: &str,
        offsets: &[(TopicPartition, Option<Offset>)],
    ) -> Result<Vec<CommittedOffset>, AdminError> {
        let offsets = offsets.to_vec();
        match self.ask(&AdminRequest::ResetOffsets { group, offsets }).await? {
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
    pub async fn delete_group(&self, group: &str) -> Result<(), AdminError> {
        self.ask(&AdminRequest::DeleteGroup { group }).await.map(drop)
    }
}
