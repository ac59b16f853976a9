//! Lives of a log on the simulated disk: it works, stops, dies, loses power, and starts again.
//!
//! A world keeps a model of everything that was appended and shown, and compares it with what the
//! log says after every start. What a newcomer gets wrong: the model never asks the log what should
//! be there; it knows it from the acknowledgements alone.

#![expect(clippy::expect_used, reason = "what a world takes for granted is part of the test")]
#![expect(clippy::unwrap_used, reason = "as above")]

mod compaction;
mod cuts;
mod damage;
mod exhaustive;
mod growing;
mod journals;
mod lives;
mod machine;
mod model;
mod moved;
mod partitions;
mod producers;
mod recycling;
mod retention;
mod segments;
mod trimming;
mod world;
