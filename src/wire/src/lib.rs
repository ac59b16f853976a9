//! Frames, requests, responses and error codes of the Plimsoll protocol.
//!
//! The contract is `PROTOCOL.md` beside this crate; the numbers of the protocol exist only here.
//! The crate turns bytes into frames ([`decode_frame`]), frames into requests or responses
//! ([`Request::decode`], [`Response::decode`]), and back (`encode` on each of them, appending to a
//! `Vec<u8>`). It does no I/O, keeps no state of a connection, and never looks into a record batch
//! beyond the 21 bytes that the batch's own CRC leaves uncovered.
//!
//! What a newcomer gets wrong: a frame that checks says nothing about the batch in it. Its body is
//! covered by the batch's CRC, which whoever keeps or reads the batch must check.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod body;
mod checksum;
mod error_code;
mod frame;
mod frame_error;
mod identity;
mod level;
mod limits;
mod opcode;
mod request;
mod response;
mod topic_name;
mod watermarks;

pub use error_code::{ErrorCode, Fate};
pub use frame::{Decoded, Flags, Frame, decode_frame};
pub use frame_error::FrameError;
pub use identity::{
    CorrelationId, Generation, Handle, MemberId, PartitionIndex, ShardIndex, TopicId,
    TopicPartition,
};
pub use level::{AckLevel, Durability, DurabilityWanted, UnknownLevel, Visible};
pub use limits::*;
pub use opcode::Opcode;
pub use plimsoll_batch::Offset;
pub use request::{
    AckEntries, AckEntry, Acks, AcksEncoder, AcquiredRange, AlterTopic, AssignedPartition,
    AssignedTopic, Assignment, Assignor, BatchesKind, Bind, BindResponse, CleanupPolicy,
    CommitMode, CommitOffsets, CommitOffsetsResponse, CommittedOffset, CreateTopic,
    CreateTopicResponse, Credit, DeadReason, DeleteGroup, DeleteRecords, DeleteRecordsResponse,
    DeleteTopic, Delivery, Describe, DescribeGroup, DescribeResponse, Fetch, Fetched,
    GroupDescription, GroupMode, GroupState, Heartbeat, Hello, HelloResponse, InitProducer,
    InitProducerResponse, JoinGroup, LeaveGroup, ListGroups, ListGroupsResponse, ListedGroup,
    MemberDescription, Membership, MetadataRequest, MetadataResponse, OffsetDescription,
    OffsetToCommit, Offsets, OffsetsResponse, OffsetsWhat, PartitionDescription, PartitionState,
    Ping, Produce, RangeToSettle, Request, ShareAcquire, ShareAcquired, ShareBegin,
    ShareDescription, ShareSettings, ShareSettle, ShareSettled, Stat, Stats, StatsResponse,
    Subscribe, Subscribed, TopicCleanup, TopicMetadata, TopicRetention, Unbind, Unsubscribe,
    Verdict, encode_batches_head, encode_produce, encode_produce_head,
};
pub use response::{ErrorResponse, Response, encode_empty_response};
pub use topic_name::{InvalidTopicName, TopicName, topic_name_is_valid};
pub use watermarks::Watermarks;
