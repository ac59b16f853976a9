//! What the drivers on async runtimes share: all but how bytes are read and written.
//!
//! `plimsoll-client-tokio` and `-uring` each bring a [`Transport`] and name [`Client`],
//! [`Producer`] and the rest after it; applications use those. All decisions are in
//! `plimsoll-client`, all waiting is here, on tokio's locks and timers, which both runtimes have.
//! No socket is opened here, and no task spawned.
//!
//! What a newcomer gets wrong: whether a handle is `Send` is said by the type of its transport, not
//! by what is in it. The engine behind it always is, as one thread can do with an `Arc` what it
//! can do with an `Rc`.

#![forbid(unsafe_code)]

mod admin_connection;
mod client;
mod clock;
mod consumer;
mod engine;
mod group_admin;
mod group_consumer;
mod producer;
mod receipt;
mod share_consumer;
mod transport;
pub mod vocabulary;

pub use client::{Client, ClientBuilder};
pub use consumer::Consumer;
pub use engine::{Driven, Engine};
pub use group_consumer::GroupConsumer;
pub use producer::Producer;
pub use receipt::Receipt;
pub use share_consumer::ShareConsumer;
pub use transport::Transport;
