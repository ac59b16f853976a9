//! How deep a record sits: the levels of the protocol, as three words for three questions.
//!
//! [`Durability`] is what a producer asks for, [`AckLevel`] what an ack says was reached, and
//! [`Visible`] up to where a consumer wants to see. Deeper is greater: `Memory < PageCache < Disk`.
//! What a newcomer gets wrong: `Durability::None` is a level (fire and forget), not "not given";
//! "not given" is [`DurabilityWanted::TopicDefault`].

use core::{error, fmt, str};

/// What a producer asks for: when an ack is sent, and so what an acked batch survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Durability {
    /// No ack at all.
    None = 0,
    /// An ack when the batch has its offset: survives the client's disconnect.
    Memory = 1,
    /// An ack when the batch is in memory that the kernel owns: survives the process.
    PageCache = 2,
    /// An ack when the device has flushed the batch: survives power loss.
    Disk = 3,
}

impl Durability {
    /// The level of the ack, or nothing when none is sent.
    #[must_use]
    pub const fn ack_level(self) -> Option<AckLevel> {
        match self {
            Durability::None => None,
            Durability::Memory => Some(AckLevel::Memory),
            Durability::PageCache => Some(AckLevel::PageCache),
            Durability::Disk => Some(AckLevel::Disk),
        }
    }

    /// The spelling of the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self.ack_level() {
            None => "none",
            Some(level) => level.name(),
        }
    }
}

/// The durability field of a produce frame: a level, or whatever the topic's default is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DurabilityWanted {
    /// The topic's default, which the server knows.
    TopicDefault,
    /// This level.
    Level(Durability),
}

impl DurabilityWanted {
    const TOPIC_DEFAULT: u8 = 255;

    /// The level that is meant, given the topic's default.
    #[must_use]
    pub const fn resolve(self, topic_default: AckLevel) -> Durability {
        match self {
            DurabilityWanted::TopicDefault => topic_default.durability(),
            DurabilityWanted::Level(durability) => durability,
        }
    }

    pub(crate) const fn to_byte(self) -> u8 {
        match self {
            DurabilityWanted::TopicDefault => DurabilityWanted::TOPIC_DEFAULT,
            DurabilityWanted::Level(durability) => durability as u8,
        }
    }

    pub(crate) const fn from_byte(byte: u8) -> Option<DurabilityWanted> {
        match byte {
            DurabilityWanted::TOPIC_DEFAULT => Some(DurabilityWanted::TopicDefault),
            0 => Some(DurabilityWanted::Level(Durability::None)),
            _ => match AckLevel::from_byte(byte) {
                Some(level) => Some(DurabilityWanted::Level(level.durability())),
                None => None,
            },
        }
    }
}

/// A level that an ack can say was reached; also a topic's default durability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum AckLevel {
    /// The batch has its offset and is in the partition's append memory.
    Memory = 1,
    /// It is published in memory that the kernel owns.
    PageCache = 2,
    /// It was written past the page cache and the device has flushed it.
    Disk = 3,
}

impl AckLevel {
    /// Every level, the shallowest first.
    pub const ALL: [AckLevel; 3] = [AckLevel::Memory, AckLevel::PageCache, AckLevel::Disk];

    /// The spelling of the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            AckLevel::Memory => "memory",
            AckLevel::PageCache => "page-cache",
            AckLevel::Disk => "disk",
        }
    }

    /// The durability that asks for this ack.
    #[must_use]
    pub const fn durability(self) -> Durability {
        match self {
            AckLevel::Memory => Durability::Memory,
            AckLevel::PageCache => Durability::PageCache,
            AckLevel::Disk => Durability::Disk,
        }
    }

    /// The consumer's word for this level.
    #[must_use]
    pub const fn visible(self) -> Visible {
        match self {
            AckLevel::Memory => Visible::Memory,
            AckLevel::PageCache => Visible::PageCache,
            AckLevel::Disk => Visible::Disk,
        }
    }

    pub(crate) const fn from_byte(byte: u8) -> Option<AckLevel> {
        match byte {
            1 => Some(AckLevel::Memory),
            2 => Some(AckLevel::PageCache),
            3 => Some(AckLevel::Disk),
            _ => None,
        }
    }
}

/// Up to where a consumer wants to see: never a record that a failure survived by this level can
/// take back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Visible {
    /// Everything that has an offset.
    Memory = 1,
    /// What survives the server process.
    PageCache = 2,
    /// What survives power loss.
    Disk = 3,
}

impl Visible {
    /// The level that a record must have reached to be seen.
    #[must_use]
    pub const fn level(self) -> AckLevel {
        match self {
            Visible::Memory => AckLevel::Memory,
            Visible::PageCache => AckLevel::PageCache,
            Visible::Disk => AckLevel::Disk,
        }
    }

    /// The spelling of the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.level().name()
    }

    pub(crate) const fn from_byte(byte: u8) -> Option<Visible> {
        match AckLevel::from_byte(byte) {
            Some(level) => Some(level.visible()),
            None => None,
        }
    }
}

impl From<Durability> for DurabilityWanted {
    fn from(durability: Durability) -> DurabilityWanted {
        DurabilityWanted::Level(durability)
    }
}

impl From<AckLevel> for Durability {
    fn from(level: AckLevel) -> Durability {
        level.durability()
    }
}

/// A word that is not the name of a level where one was wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownLevel {
    none_is_one: bool,
}

impl fmt::Display for UnknownLevel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let none = if self.none_is_one { "none, " } else { "" };
        write!(formatter, "not a level: use one of {none}memory, page-cache, disk")
    }
}

impl error::Error for UnknownLevel {}

impl str::FromStr for AckLevel {
    type Err = UnknownLevel;

    fn from_str(word: &str) -> Result<AckLevel, UnknownLevel> {
        let level = AckLevel::ALL.into_iter().find(|level| level.name() == word);
        level.ok_or(UnknownLevel { none_is_one: false })
    }
}

impl str::FromStr for Visible {
    type Err = UnknownLevel;

    fn from_str(word: &str) -> Result<Visible, UnknownLevel> {
        word.parse().map(AckLevel::visible)
    }
}

impl str::FromStr for Durability {
    type Err = UnknownLevel;

    fn from_str(word: &str) -> Result<Durability, UnknownLevel> {
        if word == Durability::None.name() {
            return Ok(Durability::None);
        }
        let level: Result<AckLevel, UnknownLevel> = word.parse();
        level.map(AckLevel::durability).map_err(|_| UnknownLevel { none_is_one: true })
    }
}

impl fmt::Display for AckLevel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl fmt::Display for Visible {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::{AckLevel, Durability, DurabilityWanted, Visible};
    use std::string::ToString;

    #[test]
    fn every_level_is_spelled_as_on_the_command_line_and_read_back() {
        for word in ["none", "memory", "page-cache", "disk"] {
            let durability: Durability = word.parse().unwrap();
            assert_eq!(durability.to_string(), word);
        }
        for level in AckLevel::ALL {
            assert_eq!(level.name().parse(), Ok(level));
            assert_eq!(level.name().parse(), Ok(level.visible()));
        }
        let refused = "page_cache".parse::<Durability>().unwrap_err().to_string();
        assert_eq!(refused, "not a level: use one of none, memory, page-cache, disk");
        let refused = "none".parse::<Visible>().unwrap_err().to_string();
        assert_eq!(refused, "not a level: use one of memory, page-cache, disk");
    }

    #[test]
    fn deeper_is_greater() {
        assert!(Durability::None < Durability::Memory && Durability::PageCache < Durability::Disk);
        assert!(AckLevel::Memory < AckLevel::PageCache && AckLevel::PageCache < AckLevel::Disk);
        assert!(Visible::Memory < Visible::PageCache && Visible::PageCache < Visible::Disk);
    }

    #[test]
    fn the_default_of_the_topic_is_used_only_where_no_level_is_given() {
        let wanted = DurabilityWanted::TopicDefault;
        assert_eq!(wanted.resolve(AckLevel::PageCache), Durability::PageCache);
        let wanted = DurabilityWanted::from(Durability::None);
        assert_eq!(wanted.resolve(AckLevel::PageCache), Durability::None);
    }

    #[test]
    fn only_the_five_bytes_of_the_table_are_durabilities() {
        for byte in 0..=255 {
            match DurabilityWanted::from_byte(byte) {
                Some(wanted) => assert_eq!(wanted.to_byte(), byte),
                None => assert!((4..255).contains(&byte)),
            }
        }
    }
}
