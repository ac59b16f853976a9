//! Those around a topic of lines who die and are started again: the sources that bring files
//! into it.
//!
//! What a newcomer gets wrong: a seed repeats the choices and not the moments.

mod source;

pub(crate) use source::{AGAIN_AFTER, Source};

use std::time::Duration;

pub(crate) const TOPIC: &str = "lines";

/// What is not over by then never is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);
