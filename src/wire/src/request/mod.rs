//! What a client asks for: one file for each request, its answer beside it.
//!
//! Servers decode with [`Request::decode`]; clients encode the struct that they mean. Decoding
//! checks the form only. Whether a handle is bound, a name allowed or a wait too long is for the
//! server to say, with a typed error and without closing the connection.

mod acks;
mod alter_topic;
mod assignment;
mod batches_head;
mod bind;
mod commit_offsets;
mod create_topic;
mod credit;
mod delete_group;
mod delete_records;
mod delete_topic;
mod delivery;
mod describe;
mod describe_group;
mod fetch;
mod heartbeat;
mod hello;
mod init_producer;
mod join_group;
mod leave_group;
mod list_groups;
mod metadata;
mod offsets;
mod ping;
mod produce;
mod share_acquire;
mod share_settings;
mod share_settle;
mod stats;
mod subscribe;
mod topic_cleanup;
mod unbind;
mod unsubscribe;

pub use acks::{AckEntries, AckEntry, Acks, AcksEncoder};
pub use alter_topic::AlterTopic;
pub use assignment::Assignment;
pub use batches_head::{BatchesKind, encode_batches_head};
pub use bind::{Bind, BindResponse};
pub use commit_offsets::{
    CommitMode, CommitOffsets, CommitOffsetsResponse, CommittedOffset, OffsetToCommit,
};
pub use create_topic::{CreateTopic, CreateTopicResponse, TopicRetention};
pub use credit::Credit;
pub use delete_group::DeleteGroup;
pub use delete_records::{DeleteRecords, DeleteRecordsResponse};
pub use delete_topic::DeleteTopic;
pub use delivery::Delivery;
pub use describe::{Describe, DescribeResponse, PartitionDescription, PartitionState};
pub use describe_group::{
    DescribeGroup, GroupDescription, GroupState, MemberDescription, OffsetDescription,
    ShareDescription,
};
pub use fetch::{Fetch, Fetched};
pub use heartbeat::Heartbeat;
pub use hello::{Hello, HelloResponse};
pub use init_producer::{InitProducer, InitProducerResponse};
pub use join_group::{AssignedPartition, AssignedTopic, Assignor, JoinGroup, Membership};
pub use leave_group::LeaveGroup;
pub use list_groups::{ListGroups, ListGroupsResponse, ListedGroup};
pub use metadata::{MetadataRequest, MetadataResponse, TopicMetadata};
pub use offsets::{Offsets, OffsetsResponse, OffsetsWhat};
pub use ping::Ping;
pub use produce::{Produce, encode_produce, encode_produce_head};
pub use share_acquire::{AcquiredRange, DeadReason, ShareAcquire, ShareAcquired};
pub use share_settings::{GroupMode, ShareBegin, ShareSettings};
pub use share_settle::{RangeToSettle, ShareSettle, ShareSettled, Verdict};
pub use stats::{Stat, Stats, StatsResponse};
pub use subscribe::{Subscribe, Subscribed};
pub use topic_cleanup::{CleanupPolicy, TopicCleanup};
pub use unbind::Unbind;
pub use unsubscribe::Unsubscribe;

use crate::body::Body;
use crate::frame::Frame;
use crate::frame_error::FrameError;
use crate::opcode::Opcode;

/// What a client asks for. The correlation id is the frame's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant holds the struct of its name, which is documented")]
pub enum Request<'a> {
    Hello(Hello<'a>),
    Ping,
    Metadata(MetadataRequest<'a>),
    CreateTopic(CreateTopic<'a>),
    DeleteTopic(DeleteTopic<'a>),
    Describe(Describe<'a>),
    Bind(Bind<'a>),
    Unbind(Unbind),
    Produce(Produce<'a>),
    Fetch(Fetch),
    Subscribe(Subscribe),
    Credit(Credit),
    Unsubscribe(Unsubscribe),
    Offsets(Offsets),
    Stats,
    JoinGroup(JoinGroup<'a>),
    Heartbeat(Heartbeat<'a>),
    LeaveGroup(LeaveGroup<'a>),
    CommitOffsets(CommitOffsets<'a>),
    DescribeGroup(DescribeGroup<'a>),
    ListGroups(ListGroups),
    DeleteGroup(DeleteGroup<'a>),
    InitProducer,
    DeleteRecords(DeleteRecords<'a>),
    AlterTopic(AlterTopic<'a>),
    ShareAcquire(ShareAcquire<'a>),
    ShareSettle(ShareSettle<'a>),
}

impl<'a> Request<'a> {
    /// Reads the body of a frame from a client.
    ///
    /// # Errors
    ///
    /// The client does not speak this protocol: answer with [`FrameError::code`] and close.
    #[inline]
    pub fn decode(frame: &Frame<'a>) -> Result<Request<'a>, FrameError> {
        let opcode = frame.opcode;
        if frame.flags.is_response() {
            return Err(FrameError::WrongDirection { opcode });
        }
        let mut body = Body::new(frame.body);
        let request = match opcode {
            Opcode::Produce => Request::Produce(Produce::take(&mut body)?),
            Opcode::Credit => Request::Credit(Credit::take(&mut body)?),
            Opcode::Fetch => Request::Fetch(Fetch::take(&mut body)?),
            Opcode::Hello => Request::Hello(Hello::take(&mut body)?),
            Opcode::Ping => Request::Ping,
            Opcode::Metadata => Request::Metadata(MetadataRequest::take(&mut body)?),
            Opcode::CreateTopic => Request::CreateTopic(CreateTopic::take(&mut body)?),
            Opcode::DeleteTopic => Request::DeleteTopic(DeleteTopic::take(&mut body)?),
            Opcode::Describe => Request::Describe(Describe::take(&mut body)?),
            Opcode::Bind => Request::Bind(Bind::take(&mut body)?),
            Opcode::Unbind => Request::Unbind(Unbind::take(&mut body)?),
            Opcode::Subscribe => Request::Subscribe(Subscribe::take(&mut body)?),
            Opcode::Unsubscribe => Request::Unsubscribe(Unsubscribe::take(&mut body)?),
            Opcode::Offsets => Request::Offsets(Offsets::take(&mut body)?),
            Opcode::Stats => Request::Stats,
            Opcode::InitProducer => Request::InitProducer,
            Opcode::JoinGroup => Request::JoinGroup(JoinGroup::take(&mut body)?),
            Opcode::Heartbeat => Request::Heartbeat(Heartbeat::take(&mut body)?),
            Opcode::LeaveGroup => Request::LeaveGroup(LeaveGroup::take(&mut body)?),
            Opcode::CommitOffsets => Request::CommitOffsets(CommitOffsets::take(&mut body)?),
            Opcode::DescribeGroup => Request::DescribeGroup(DescribeGroup::take(&mut body)?),
            Opcode::ListGroups => Request::ListGroups(ListGroups::take(&mut body)?),
            Opcode::DeleteGroup => Request::DeleteGroup(DeleteGroup::take(&mut body)?),
            Opcode::DeleteRecords => Request::DeleteRecords(DeleteRecords::take(&mut body)?),
            Opcode::AlterTopic => Request::AlterTopic(AlterTopic::take(&mut body)?),
            Opcode::ShareAcquire => Request::ShareAcquire(ShareAcquire::take(&mut body)?),
            Opcode::ShareSettle => Request::ShareSettle(ShareSettle::take(&mut body)?),
            Opcode::Connection | Opcode::Acks | Opcode::Delivery | Opcode::Assignment => {
                return Err(FrameError::WrongDirection { opcode });
            }
        };
        body.end()?;
        Ok(request)
    }
}
