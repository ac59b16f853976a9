//! Tests of the whole: real processes, real sockets, real disks, seen from outside.
//!
//! The library is the harness: servers as child processes ([`Place`], [`Server`]), a connection
//! that speaks frames and nothing else ([`Connection`]), producers and consumers that write down
//! what they were told ([`Producing`], [`Consuming`]), records that can be checked without being
//! kept ([`value_of`], [`Ledger`]). The suites beside it are named after what they prove;
//! `tools/crash` uses it too. What a newcomer gets wrong: `plimsoll-under-test` is the `plimsoll`
//! binary, built from the same `main`.
//!
//! What bad input and bad luck get, and the test that says so:
//!
//! | what | test |
//! |---|---|
//! | frame with bad length, opcode, checksum, version; random bytes | `protocol::frames` |
//! | half a frame, or a hello, and then silence | `protocol::silence` |
//! | batch with bad CRC, count, size, codec, magic | `protocol::batches` |
//! | topic or partition that does not exist; offset out of range | `protocol::names` |
//! | client that never reads its acks; consumer that stops reading | `limits::slow` |
//! | thousands of idle connections | `limits::idle` |
//! | all of it at once, by the thousand, under load | `limits::hostile` |
//! | 10,000 partitions | `limits::partitions` |
//! | disk full on append | `limits::disk_full` |
//! | data that goes by itself | `limits::retention` |
//! | thousands of members of a thousand groups | `limits::groups` |
//! | groups in trouble | the table at the end of `src/wire/PROTOCOL.md` |
//! | data directory not writable, no O_DIRECT, locked, newer format | `refusals::directory` |
//! | no io_uring, no room for the arena, foreign arena, port in use | `refusals::host` |
//! | write or flush fails | on the simulated disk; in the crate of the shard |
//! | | `a_failed_flush_answers_unknown_then_refuses_while_reads_go_on`, |
//! | | in storage's `after_a_failed_flush_nothing_is_acked_and_reads_go_on` |
//! | SIGKILL at any moment | `crash::kills`, `crash::starts` |
//! | the server dies under an idempotent producer | `crash::exactly_once` |
//! | server, producers and members of a group die at random | `crash::pipeline` |
//! | a producer dies and goes on | `command_line::produce_resume` |
//! | power loss of what is volatile | `crash::power` |
//! | another number of cores | `crash::cores` |
//! | SIGTERM | `crash::stops` |
//! | more connections than a shard takes | `limits::idle` |
//! | what the load generator says of a server that it killed | `command_line::load` |
//! | work queues: kills of members and server, a stopped member | `work_queues::kills` |
//! | work queues: server, producers and members die at random | `work_queues::campaign` |
//! | a record that nobody can do anything with, or too often | `work_queues::verdicts` |
//! | damaged batch, journal, manifest; a journal that is gone | `command_line::repair` |
//! | backup under load, topics that go meanwhile | `command_line::backup` |

#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends at the first thing that is not as it must be"
)]

mod bystander;
mod connection;
mod consuming;
mod crew;
mod ledger;
mod mortal;
mod pipeline;
mod place;
mod process;
mod producing;
mod random;
mod reading_back;
mod server;
mod value;
mod vanishing;
mod work_queue;

pub use bystander::{Bystander, Course};
pub use connection::{Connection, ServerFrame, produce_frame};
pub use consuming::{Consuming, Seen, records};
pub use crew::Toll;
pub use ledger::{Ack, Ledger};
pub use pipeline::{Pipeline, PipelineTally};
pub use place::Place;
pub use process::{open_files_limit_raised, rss_bytes};
pub use producing::{Contents, Producing, Told};
pub use random::Random;
pub use reading_back::{assert_ordered, read_back};
pub use server::{Refusal, Server, Start, Starting, plimsoll, plimsoll_load};
pub use value::{batch_of, value_id, value_of};
pub use vanishing::{Vanishing, VanishingLoad, VanishingTally, keyed_batch_of, records_of_batch};
pub use work_queue::{WorkQueue, WorkQueueTally, work_until_killed};
