//! A member of a group in share mode against a scripted server: what it asks, what it hands out,
//! what it says of it, and what happens when answers or locks are lost.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod dead;
mod member;
mod records;
#[path = "../script/mod.rs"]
mod script;
mod verdicts;
