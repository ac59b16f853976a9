//! The clients of a run: each is a session of the shipped client and its connections.

mod admin;
mod consumer;
mod ghost;
mod links;
mod member;
mod member_app;
mod member_tap;
mod passing;
mod producer;
mod sharer;
mod sharer_app;
mod sharer_tap;

pub(crate) use admin::{Admins, Aim, Task, Whose, name_of};
pub(crate) use consumer::ConsumerClient;
pub(crate) use links::{Links, Surroundings};
pub(crate) use member::MemberClient;
pub(crate) use passing::PassingClient;
pub(crate) use producer::ProducerClient;
pub(crate) use sharer::{SharerClient, name_of_share};

use core::time::Duration;

use plimsoll_client::LinkOptions;

/// Short timeouts, so that a run does not spend its time waiting.
pub(crate) fn link_options() -> LinkOptions {
    let mut options = LinkOptions::default();
    options.request_timeout = Duration::from_secs(2);
    options.reconnect_delay = Duration::from_millis(5);
    options.reconnect_delay_max = Duration::from_millis(300);
    options
}
