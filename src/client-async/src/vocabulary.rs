//! The words of the session that an application meets. Each driver exports all of them.
//!
//! What a newcomer gets wrong: a type that is not here is not for applications.

pub use plimsoll_client::{
    Ack, AckLevel, AdminError, AppendError, AppendOutcome, AppendRejected, Assignor,
    BorrowedRecord, CleanupPolicy, CommitFault, CommitPolicy, CommitReport, CommittedOffset,
    Compression, ConnectError, ConnectionFault, ConsumeError, ConsumerOptions,
    DELIVER_AFTER_HEADER, DeadLetterHeader, DeliverAfter, DeliveredBatch, DeliveryError, Doubt,
    Durability, DurabilityWanted, ErrorCode, Fate, GroupError, GroupEvent, GroupInfo, GroupMember,
    GroupMode, GroupOffset, GroupOptions, GroupState, GroupSummary, Header, LinkOptions,
    LossReason, NewRecord, NewTopic, Offset, OffsetsWhat, OnRemoved, PartitionCommit,
    PartitionDescription, PartitionIndex, PartitionName, PartitionState, ProducerIdentity,
    ProducerOptions, Record, RecordError, Refusal, RequestError, Resume, SendError, ServerError,
    SettleFault, ShardIndex, ShareBegin, ShareDescription, ShareError, ShareNotice, ShareOptions,
    SharedRecord, StartAt, Topic, TopicChanges, TopicCleanup, TopicId, TopicPartition,
    TopicRetention, Totals as Summary, Unsettled, Visible, Watermarks, partition_of_key,
};
