//! The composition root: from a configuration to a running server.
//!
//! The only place where concrete types meet: a `Ring` is bound to a `Shard`, one of each a core,
//! and a thread for the two. No logic of the log lives here. What a newcomer gets wrong: nothing
//! old (journals of shards that are gone, arenas of a dead process) is removed before every shard
//! has said that it holds what was in them.

mod arenas;
mod config;
mod control;
mod error;
mod mailboxes;
mod recovery;
mod reports;
mod serve;
mod shard_thread;

pub use config::{Config, ConfigError, CoreChoice};
pub use error::ServeError;
pub use serve::run;
