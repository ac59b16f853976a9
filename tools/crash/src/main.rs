//! `plimsoll-crash`: campaigns against real servers and real data directories.
//!
//! `kills` kills a server under load again and again and compares what it said with what it has.
//! `rot` damages the files of a stopped one in every place and every way, and looks who notices.
//! `pipeline` kills everything in a pipeline from files to a consumer group, `workqueue` in one to
//! a group in share mode.
//! Exit code 1 when a promise was broken. What a newcomer gets wrong: SIGKILL cannot test a flush,
//! because the kernel keeps what was written; a campaign of kills passes with every flush deleted.

#![forbid(unsafe_code)]

mod campaign;
mod pipeline;
mod program;
mod rot;
mod rounds;
mod text;
mod violation;
mod work_queue;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Breaks servers and data directories, and counts what that breaks of the promises.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    campaign: Chosen,
}

#[derive(Debug, Subcommand)]
enum Chosen {
    Kills(campaign::Args),
    Rot(rot::Args),
    Pipeline(pipeline::Args),
    Workqueue(work_queue::Args),
    #[command(hide = true)]
    WorkQueueMember(work_queue::MemberArgs),
}

fn main() -> ExitCode {
    let outcome = match Args::parse().campaign {
        Chosen::Kills(args) => campaign::run(&args),
        Chosen::Rot(args) => rot::run(&args),
        Chosen::Pipeline(args) => pipeline::run(&args),
        Chosen::Workqueue(args) => work_queue::run(&args),
        Chosen::WorkQueueMember(args) => work_queue::run_member(&args),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(reason) => {
            eprintln!("plimsoll-crash: {reason}");
            ExitCode::from(2)
        }
    }
}
