//! What a frame is about: the second number that a reader of a frame looks at, after its length.
//!
//! What a newcomer gets wrong: the direction is not in the opcode but in the flags, and an error
//! has the opcode of what it answers.

/// What a frame is about. A response has the opcode of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "PROTOCOL.md has a section for each; a sentence here would age")]
pub enum Opcode {
    /// Only in error frames: the server could not read to what it answers.
    Connection = 0,
    Hello = 1,
    Ping = 2,
    Metadata = 3,
    CreateTopic = 4,
    DeleteTopic = 5,
    Describe = 6,
    Bind = 7,
    Unbind = 8,
    Produce = 9,
    /// Server to client only.
    Acks = 10,
    Fetch = 11,
    Subscribe = 12,
    /// Server to client only.
    Delivery = 13,
    Credit = 14,
    Unsubscribe = 15,
    Offsets = 16,
    Stats = 17,
    JoinGroup = 18,
    Heartbeat = 19,
    /// Server to client only.
    Assignment = 20,
    LeaveGroup = 21,
    CommitOffsets = 22,
    DescribeGroup = 23,
    ListGroups = 24,
    DeleteGroup = 25,
    InitProducer = 26,
    DeleteRecords = 27,
    AlterTopic = 28,
    ShareAcquire = 29,
    ShareSettle = 30,
}

impl Opcode {
    /// Every opcode, in the order of the numbers.
    pub const ALL: [Opcode; 31] = [
        Opcode::Connection,
        Opcode::Hello,
        Opcode::Ping,
        Opcode::Metadata,
        Opcode::CreateTopic,
        Opcode::DeleteTopic,
        Opcode::Describe,
        Opcode::Bind,
        Opcode::Unbind,
        Opcode::Produce,
        Opcode::Acks,
        Opcode::Fetch,
        Opcode::Subscribe,
        Opcode::Delivery,
        Opcode::Credit,
        Opcode::Unsubscribe,
        Opcode::Offsets,
        Opcode::Stats,
        Opcode::JoinGroup,
        Opcode::Heartbeat,
        Opcode::Assignment,
        Opcode::LeaveGroup,
        Opcode::CommitOffsets,
        Opcode::DescribeGroup,
        Opcode::ListGroups,
        Opcode::DeleteGroup,
        Opcode::InitProducer,
        Opcode::DeleteRecords,
        Opcode::AlterTopic,
        Opcode::ShareAcquire,
        Opcode::ShareSettle,
    ];
}

impl TryFrom<u8> for Opcode {
    type Error = u8;

    /// Gives the byte back if it is no opcode of this version.
    fn try_from(byte: u8) -> Result<Opcode, u8> {
        Opcode::ALL.into_iter().find(|opcode| u8::from(*opcode) == byte).ok_or(byte)
    }
}

impl From<Opcode> for u8 {
    fn from(opcode: Opcode) -> u8 {
        opcode as u8
    }
}
