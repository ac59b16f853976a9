//! Whole servers and their clients on the simulated machine, seed by seed.
//!
//! [`draw`] makes a [`Scenario`] of a seed, [`run`] lives through it with the shipped `shard`,
//! `storage` and `client` on the disk, network and clock of `plimsoll-sim`, and says which promise
//! was broken. Nothing in here is shipped, and nothing in here is a copy of what is.
//!
//! What a newcomer gets wrong: the books are kept by what clients heard and saw, never by what the
//! server holds. A check that asks the server for the truth is no check.

mod campaign;
mod client;
mod deliveries;
mod draw;
mod keyed;
mod ledger;
mod met;
mod positions;
mod process;
mod scenario;
mod shrink;
mod starts;
mod value;
mod verdict;
mod walls;
mod world;

pub use campaign::{Campaign, Failure, Progress, attempt};
pub use draw::draw;
pub use ledger::Violation;
pub use met::{Meetings, Met};
pub use scenario::{
    Act, Commits, CompactionAges, CompactionCut, CompactionPlan, ConsumerPlan, DiskFault, End,
    GroupPlan, Life, MemberPlan, Part, ProducerPlan, ResetTo, Scenario, Settings, SharePlan,
    SharerPlan, Temper, TopicPlan, Weights, What,
};
pub use shrink::shrink;
pub use world::{Summary, run};
