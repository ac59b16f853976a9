//! With which number an error is told to the client, and what became of the append.
//!
//! The table of `PROTOCOL.md` says what each means and what its details are; a test compares the
//! two. A number is never used again for something else.

/// What went wrong, as a response tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the table in PROTOCOL.md describes each, with its details")]
pub enum ErrorCode {
    ProtocolVersion,
    MalformedFrame,
    Checksum,
    UnknownOpcode,
    FrameTooLarge,
    HelloExpected,
    FrameTimeout,
    Sequence,
    TopicNotFound,
    PartitionNotFound,
    TopicExists,
    InvalidTopic,
    HandleUnknown,
    HandleInUse,
    TooManyHandles,
    OffsetOutOfRange,
    NotSubscribed,
    AlreadySubscribed,
    InvalidRequest,
    BatchCrc,
    BatchCount,
    BatchTooLarge,
    BatchCodec,
    BatchMagic,
    BatchMalformed,
    BatchKind,
    OutOfSequence,
    ProducerFenced,
    ProducerUnknown,
    BatchCompressed,
    DiskFull,
    DiskFailed,
    DataDamaged,
    Overloaded,
    ShuttingDown,
    TooManyConnections,
    MemberUnknown,
    MemberFenced,
    NotAssigned,
    GroupNotEmpty,
    GroupNotFound,
    GroupMismatch,
    LockLost,
    NotAcquired,
    AlreadySettled,
    DeadLetterTopicNotFound,
    /// A code that this build does not know, from a newer server.
    Other(u16),
}

impl ErrorCode {
    /// Every code with its number, its name in `PROTOCOL.md`, and whether the server closes the
    /// connection after it.
    const TABLE: [(ErrorCode, u16, &'static str, bool); 46] = [
        (ErrorCode::ProtocolVersion, 1, "PROTOCOL_VERSION", true),
        (ErrorCode::MalformedFrame, 2, "MALFORMED_FRAME", true),
        (ErrorCode::Checksum, 3, "CHECKSUM", true),
        (ErrorCode::UnknownOpcode, 4, "UNKNOWN_OPCODE", true),
        (ErrorCode::FrameTooLarge, 5, "FRAME_TOO_LARGE", true),
        (ErrorCode::HelloExpected, 6, "HELLO_EXPECTED", true),
        (ErrorCode::FrameTimeout, 7, "FRAME_TIMEOUT", true),
        (ErrorCode::Sequence, 8, "SEQUENCE", true),
        (ErrorCode::TopicNotFound, 16, "TOPIC_NOT_FOUND", false),
        (ErrorCode::PartitionNotFound, 17, "PARTITION_NOT_FOUND", false),
        (ErrorCode::TopicExists, 18, "TOPIC_EXISTS", false),
        (ErrorCode::InvalidTopic, 19, "INVALID_TOPIC", false),
        (ErrorCode::HandleUnknown, 20, "HANDLE_UNKNOWN", false),
        (ErrorCode::HandleInUse, 21, "HANDLE_IN_USE", false),
        (ErrorCode::TooManyHandles, 22, "TOO_MANY_HANDLES", false),
        (ErrorCode::OffsetOutOfRange, 23, "OFFSET_OUT_OF_RANGE", false),
        (ErrorCode::NotSubscribed, 24, "NOT_SUBSCRIBED", false),
        (ErrorCode::AlreadySubscribed, 25, "ALREADY_SUBSCRIBED", false),
        (ErrorCode::InvalidRequest, 26, "INVALID_REQUEST", false),
        (ErrorCode::BatchCrc, 32, "BATCH_CRC", false),
        (ErrorCode::BatchCount, 33, "BATCH_COUNT", false),
        (ErrorCode::BatchTooLarge, 34, "BATCH_TOO_LARGE", false),
        (ErrorCode::BatchCodec, 35, "BATCH_CODEC", false),
        (ErrorCode::BatchMagic, 36, "BATCH_MAGIC", false),
        (ErrorCode::BatchMalformed, 37, "BATCH_MALFORMED", false),
        (ErrorCode::BatchKind, 38, "BATCH_KIND", false),
        (ErrorCode::OutOfSequence, 39, "OUT_OF_SEQUENCE", false),
        (ErrorCode::ProducerFenced, 40, "PRODUCER_FENCED", false),
        (ErrorCode::ProducerUnknown, 41, "PRODUCER_UNKNOWN", false),
        (ErrorCode::BatchCompressed, 42, "BATCH_COMPRESSED", false),
        (ErrorCode::DiskFull, 48, "DISK_FULL", false),
        (ErrorCode::DiskFailed, 49, "DISK_FAILED", false),
        (ErrorCode::DataDamaged, 50, "DATA_DAMAGED", false),
        (ErrorCode::Overloaded, 51, "OVERLOADED", false),
        (ErrorCode::ShuttingDown, 52, "SHUTTING_DOWN", true),
        (ErrorCode::TooManyConnections, 53, "TOO_MANY_CONNECTIONS", true),
        (ErrorCode::MemberUnknown, 64, "MEMBER_UNKNOWN", false),
        (ErrorCode::MemberFenced, 65, "MEMBER_FENCED", false),
        (ErrorCode::NotAssigned, 66, "NOT_ASSIGNED", false),
        (ErrorCode::GroupNotEmpty, 67, "GROUP_NOT_EMPTY", false),
        (ErrorCode::GroupNotFound, 68, "GROUP_NOT_FOUND", false),
        (ErrorCode::GroupMismatch, 69, "GROUP_MISMATCH", false),
        (ErrorCode::LockLost, 70, "LOCK_LOST", false),
        (ErrorCode::NotAcquired, 71, "NOT_ACQUIRED", false),
        (ErrorCode::AlreadySettled, 72, "ALREADY_SETTLED", false),
        (ErrorCode::DeadLetterTopicNotFound, 73, "DEAD_LETTER_TOPIC_NOT_FOUND", false),
    ];

    /// The code with this number, or [`ErrorCode::Other`].
    #[must_use]
    pub fn from_number(number: u16) -> ErrorCode {
        let row = ErrorCode::TABLE.iter().find(|row| row.1 == number);
        row.map_or(ErrorCode::Other(number), |row| row.0)
    }

    /// The number in the frame.
    #[must_use]
    pub fn number(self) -> u16 {
        match self {
            ErrorCode::Other(number) => number,
            _ => self.row().map_or(0, |row| row.1),
        }
    }

    /// The name in `PROTOCOL.md`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().map_or("OTHER", |row| row.2)
    }

    /// Whether the server closes the connection after telling this.
    #[must_use]
    pub fn closes_connection(self) -> bool {
        self.row().is_some_and(|row| row.3)
    }

    fn row(self) -> Option<&'static (ErrorCode, u16, &'static str, bool)> {
        ErrorCode::TABLE.iter().find(|row| row.0 == self)
    }
}

impl core::fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            ErrorCode::Other(number) => write!(formatter, "OTHER({number})"),
            _ => formatter.pad(self.name()),
        }
    }
}

/// What became of an append that an error answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Fate {
    /// The error answers something else than an append.
    NotAppend = 0,
    /// Surely not written: safe to send again.
    Refused = 1,
    /// It may or may not be there after a restart.
    Unknown = 2,
}

impl Fate {
    pub(crate) const fn from_byte(byte: u8) -> Option<Fate> {
        match byte {
            0 => Some(Fate::NotAppend),
            1 => Some(Fate::Refused),
            2 => Some(Fate::Unknown),
            _ => None,
        }
    }
}
