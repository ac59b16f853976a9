//! What a server says: the responses, the frames that answer no request, and errors.
//!
//! Clients decode with [`Response::decode`]; servers encode the struct that they mean, or use
//! [`encode_empty_response`] where the body is empty.

use alloc::vec::Vec;

use plimsoll_batch::BatchError;

use crate::body::{Body, begin, finish, put_string, put_u16, put_u32, put_u64};
use crate::error_code::{ErrorCode, Fate};
use crate::frame::{Flags, Frame};
use crate::frame_error::FrameError;
use crate::identity::{CorrelationId, Handle};
use crate::opcode::Opcode;
use crate::request::{
    Acks, Assignment, BindResponse, CommitOffsetsResponse, CreateTopicResponse,
    DeleteRecordsResponse, Delivery, DescribeResponse, Fetched, GroupDescription, HelloResponse,
    InitProducerResponse, ListGroupsResponse, Membership, MetadataResponse, OffsetsResponse,
    ShareAcquired, ShareSettled, StatsResponse, Subscribed,
};

/// What a server says. The correlation id is the frame's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is the answer to the request of its name")]
pub enum Response<'a> {
    Hello(HelloResponse<'a>),
    Ping,
    Metadata(MetadataResponse<'a>),
    CreateTopic(CreateTopicResponse),
    DeleteTopic,
    Describe(DescribeResponse),
    Bind(BindResponse),
    Unbind,
    /// Answers produce frames, many at once.
    Acks(Acks<'a>),
    Fetched(Fetched<'a>),
    Subscribed(Subscribed),
    /// Answers no single request: the batches of a subscription.
    Delivery(Delivery<'a>),
    Unsubscribe,
    Offsets(OffsetsResponse),
    Stats(StatsResponse<'a>),
    JoinGroup(Membership<'a>),
    Heartbeat(Membership<'a>),
    /// Answers no request: a member's partitions have changed.
    Assignment(Assignment<'a>),
    LeaveGroup,
    CommitOffsets(CommitOffsetsResponse),
    DescribeGroup(GroupDescription<'a>),
    ListGroups(ListGroupsResponse<'a>),
    DeleteGroup,
    InitProducer(InitProducerResponse),
    DeleteRecords(DeleteRecordsResponse),
    AlterTopic,
    ShareAcquired(ShareAcquired),
    ShareSettled(ShareSettled),
    /// Answers any of them.
    Error(ErrorResponse<'a>),
}

impl<'a> Response<'a> {
    /// Reads the body of a frame from a server.
    ///
    /// # Errors
    ///
    /// The server does not speak this protocol: close the connection.
    pub fn decode(frame: &Frame<'a>) -> Result<Response<'a>, FrameError> {
        let mut body = Body::new(frame.body);
        let response = if frame.flags.is_error() {
            Response::Error(ErrorResponse::take(frame.opcode, &mut body)?)
        } else if frame.flags.is_response() {
            Response::take(frame.opcode, &mut body)?
        } else {
            return Err(FrameError::WrongDirection { opcode: frame.opcode });
        };
        body.end()?;
        Ok(response)
    }

    fn take(opcode: Opcode, body: &mut Body<'a>) -> Result<Response<'a>, FrameError> {
        Ok(match opcode {
            Opcode::Hello => Response::Hello(HelloResponse::take(body)?),
            Opcode::Ping => Response::Ping,
            Opcode::Metadata => Response::Metadata(MetadataResponse::take(body)?),
            Opcode::CreateTopic => Response::CreateTopic(CreateTopicResponse::take(body)?),
            Opcode::DeleteTopic => Response::DeleteTopic,
            Opcode::Describe => Response::Describe(DescribeResponse::take(body)?),
            Opcode::Bind => Response::Bind(BindResponse::take(body)?),
            Opcode::Unbind => Response::Unbind,
            Opcode::Acks => Response::Acks(Acks::take(body)?),
            Opcode::Fetch => Response::Fetched(Fetched::take(body)?),
            Opcode::Subscribe => Response::Subscribed(Subscribed::take(body)?),
            Opcode::Delivery => Response::Delivery(Delivery::take(body)?),
            Opcode::Unsubscribe => Response::Unsubscribe,
            Opcode::Offsets => Response::Offsets(OffsetsResponse::take(body)?),
            Opcode::Stats => Response::Stats(StatsResponse::take(body)?),
            Opcode::JoinGroup => Response::JoinGroup(Membership::take(body)?),
            Opcode::Heartbeat => Response::Heartbeat(Membership::take(body)?),
            Opcode::Assignment => Response::Assignment(Assignment::take(body)?),
            Opcode::LeaveGroup => Response::LeaveGroup,
            Opcode::CommitOffsets => Response::CommitOffsets(CommitOffsetsResponse::take(body)?),
            Opcode::DescribeGroup => Response::DescribeGroup(GroupDescription::take(body)?),
            Opcode::ListGroups => Response::ListGroups(ListGroupsResponse::take(body)?),
            Opcode::DeleteGroup => Response::DeleteGroup,
            Opcode::InitProducer => Response::InitProducer(InitProducerResponse::take(body)?),
            Opcode::DeleteRecords => Response::DeleteRecords(DeleteRecordsResponse::take(body)?),
            Opcode::AlterTopic => Response::AlterTopic,
            Opcode::ShareAcquire => Response::ShareAcquired(ShareAcquired::take(body)?),
            Opcode::ShareSettle => Response::ShareSettled(ShareSettled::take(body)?),
            Opcode::Connection | Opcode::Produce | Opcode::Credit => {
                return Err(FrameError::WrongDirection { opcode });
            }
        })
    }
}

/// Appends a response whose body is empty: to `ping`, `delete_topic`, `unbind`, `unsubscribe`,
/// `leave_group`, `delete_group`, `alter_topic`.
pub fn encode_empty_response(opcode: Opcode, correlation: CorrelationId, out: &mut Vec<u8>) {
    let start = begin(opcode, Flags::RESPONSE, correlation, out);
    finish(start, out);
}

/// What went wrong with a request, or with the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorResponse<'a> {
    /// The opcode of the request; [`Opcode::Connection`] where the server could not read it.
    pub opcode: Opcode,
    /// What went wrong.
    pub code: ErrorCode,
    /// What became of the append, if it answers one.
    pub fate: Fate,
    /// The handle that it concerns.
    pub handle: Option<Handle>,
    /// As the table of codes says.
    pub detail_a: u64,
    /// As the table of codes says.
    pub detail_b: u64,
    /// What happened, for people.
    pub message: &'a str,
}

impl<'a> ErrorResponse<'a> {
    const NO_HANDLE: u32 = u32::MAX;

    /// Says on a connection why it is closed after bytes that are no frame or no request. `opcode`
    /// is [`Opcode::Connection`] where the frame itself could not be read.
    #[must_use]
    pub const fn of_frame(opcode: Opcode, error: &FrameError, message: &'a str) -> Self {
        ErrorResponse {
            opcode,
            code: error.code(),
            fate: Fate::NotAppend,
            handle: None,
            detail_a: error.detail_a(),
            detail_b: error.detail_b(),
            message,
        }
    }

    /// Refuses a batch that does not check. It was surely not written, and the connection lives.
    #[must_use]
    pub fn of_batch(handle: Handle, error: &BatchError, message: &'a str) -> Self {
        let (code, detail_a, detail_b) = match *error {
            BatchError::Crc { .. } => (ErrorCode::BatchCrc, 0, 0),
            BatchError::Count { .. } | BatchError::Empty => (ErrorCode::BatchCount, 0, 0),
            BatchError::TooLarge { length_bytes, batch_bytes_max } => {
                (ErrorCode::BatchTooLarge, length_bytes as u64, batch_bytes_max as u64)
            }
            BatchError::Codec { id } => (ErrorCode::BatchCodec, u64::from(id), 0),
            BatchError::Magic { magic } => {
                (ErrorCode::BatchMagic, u64::from(magic.cast_unsigned()), 0)
            }
            BatchError::ControlOrTransactional => (ErrorCode::BatchKind, 0, 0),
            _ => (ErrorCode::BatchMalformed, 0, 0),
        };
        ErrorResponse {
            opcode: Opcode::Produce,
            code,
            fate: Fate::Refused,
            handle: Some(handle),
            detail_a,
            detail_b,
            message,
        }
    }

    /// Appends the frame.
    pub fn encode(&self, correlation: CorrelationId, out: &mut Vec<u8>) {
        let start = begin(self.opcode, Flags::ERROR, correlation, out);
        put_u16(self.code.number(), out);
        out.extend_from_slice(&[self.fate as u8, 0]);
        put_u32(self.handle.map_or(ErrorResponse::NO_HANDLE, |handle| handle.0), out);
        put_u64(self.detail_a, out);
        put_u64(self.detail_b, out);
        put_string(self.message, out);
        finish(start, out);
    }

    fn take(opcode: Opcode, body: &mut Body<'a>) -> Result<Self, FrameError> {
        let code = ErrorCode::from_number(body.u16("error code")?);
        let fate = body.choice("fate", Fate::from_byte)?;
        body.reserved::<1>()?;
        let handle = body.handle()?;
        Ok(ErrorResponse {
            opcode,
            code,
            fate,
            handle: (handle.0 != ErrorResponse::NO_HANDLE).then_some(handle),
            detail_a: body.u64("detail a")?,
            detail_b: body.u64("detail b")?,
            message: body.string("error text")?,
        })
    }
}
