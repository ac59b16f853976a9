//! What a topic may be called.
//!
//! The rule is Kafka's, and it keeps a name safe as a directory: no separator, no `.` and `..`, at
//! most 249 bytes. Names that begin with `__` belong to the server. Frames carry names as plain
//! strings, because an invalid one gets a typed error and not the end of the connection.

use alloc::borrow::ToOwned;
use alloc::string::String;
use core::{error, fmt, str};

use crate::limits::TOPIC_NAME_BYTES_MAX;

/// A name that a user's topic may have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(String);

impl TopicName {
    /// The name as it is sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for TopicName {
    type Error = InvalidTopicName;

    fn try_from(name: &str) -> Result<TopicName, InvalidTopicName> {
        check(name).map(|()| TopicName(name.to_owned()))
    }
}

impl str::FromStr for TopicName {
    type Err = InvalidTopicName;

    fn from_str(name: &str) -> Result<TopicName, InvalidTopicName> {
        TopicName::try_from(name)
    }
}

impl AsRef<str> for TopicName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

/// Whether a user's topic may have this name.
#[must_use]
pub fn topic_name_is_valid(name: &str) -> bool {
    check(name).is_ok()
}

/// Why a topic cannot have a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidTopicName {
    /// It is empty.
    Empty,
    /// It is longer than [`TOPIC_NAME_BYTES_MAX`].
    TooLong,
    /// It holds something other than `a-z A-Z 0-9 . _ -`.
    Character,
    /// It is `.` or `..`.
    Dots,
    /// It begins with `__`.
    Reserved,
}

impl fmt::Display for InvalidTopicName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            InvalidTopicName::Empty => "a topic's name is not empty",
            InvalidTopicName::TooLong => "a topic's name has at most 249 bytes",
            InvalidTopicName::Character => "a topic's name consists of a-z A-Z 0-9 . _ -",
            InvalidTopicName::Dots => "a topic's name is not . or ..",
            InvalidTopicName::Reserved => "names that begin with __ belong to the server",
        })
    }
}

impl error::Error for InvalidTopicName {}

fn check(name: &str) -> Result<(), InvalidTopicName> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.is_empty() {
        Err(InvalidTopicName::Empty)
    } else if name.len() > TOPIC_NAME_BYTES_MAX {
        Err(InvalidTopicName::TooLong)
    } else if !name.bytes().all(allowed) {
        Err(InvalidTopicName::Character)
    } else if name == "." || name == ".." {
        Err(InvalidTopicName::Dots)
    } else if name.starts_with("__") {
        Err(InvalidTopicName::Reserved)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{InvalidTopicName, TopicName, topic_name_is_valid};
    use std::string::ToString;

    #[test]
    fn a_name_that_is_safe_as_a_directory_is_taken() {
        for name in ["a", "orders.v1", "_x", "A-9", "...", &"n".repeat(249)] {
            assert_eq!(TopicName::try_from(name).unwrap().to_string(), name);
        }
    }

    #[test]
    fn each_way_to_be_invalid_is_named() {
        for (name, why) in [
            ("", InvalidTopicName::Empty),
            (&*"n".repeat(250), InvalidTopicName::TooLong),
            ("a/b", InvalidTopicName::Character),
            ("ä", InvalidTopicName::Character),
            ("a\0", InvalidTopicName::Character),
            (".", InvalidTopicName::Dots),
            ("..", InvalidTopicName::Dots),
            ("__positions", InvalidTopicName::Reserved),
        ] {
            assert_eq!(name.parse::<TopicName>(), Err(why), "{name:?}");
            assert!(!topic_name_is_valid(name));
        }
    }
}
