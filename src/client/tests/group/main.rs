//! A member of a group against a scripted server: joining, following assignments, commits, and
//! what happens when the server forgets it or the application does.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod beginning;
mod commits;
mod letting_go;
mod member;
mod membership;
mod removed;
#[path = "../script/mod.rs"]
mod script;
mod topics;
