//! The `plimsoll` command: one file for each subcommand.
//!
//! Names, flags, outputs and exit codes are a contract with other people's scripts. Exit code 0:
//! done; 1: it could not be done, or something is wrong with what was looked at; 2: wrong use, or
//! the server cannot start. Errors are one sentence on stderr: what, where, and what to do. Results
//! go to stdout, and nothing else does.
//!
//! What a newcomer gets wrong: a reader that closes the pipe early (`| head`) is no error.

#![forbid(unsafe_code)]

mod ack_file;
mod backup;
mod backup_files;
mod base64;
mod consume;
mod consume_format;
mod consume_group;
mod consume_share;
mod consume_until;
mod doctor;
mod failure;
mod group;
mod group_share;
mod inspect;
mod lines;
mod produce;
mod produce_resume;
mod repair;
mod repair_files;
mod serve;
mod size;
mod span;
mod table;
mod topic;
mod topic_records;
mod utc;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use plimsoll_client_blocking::Client;

use failure::Failure;

/// A log engine whose acknowledgements say how deep a record sits: in memory, in the page cache, on
/// disk.
#[derive(Debug, Parser)]
#[command(name = "plimsoll", version, subcommand_required = true, arg_required_else_help = true)]
#[command(after_help = "\
Example:
  plimsoll serve --data-dir /var/lib/plimsoll &
  plimsoll topic create logs --partitions 4
  journalctl | plimsoll produce logs
  plimsoll consume logs --until end")]
struct Cli {
    /// The server that the command talks to, HOST:PORT.
    #[arg(long, global = true, env = "PLIMSOLL_SERVER", default_value = "127.0.0.1:7420")]
    #[arg(value_name = "HOST:PORT")]
    server: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Args),
    Topic(topic::Args),
    Group(group::Args),
    Produce(produce::Args),
    Consume(consume::Args),
    Verify(verify::Args),
    Repair(repair::Args),
    Backup(backup::Args),
    Inspect(inspect::Args),
    Doctor(doctor::Args),
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let Cli { server, command } = Cli::parse();
    let done = match &command {
        Command::Serve(args) => serve::run(args),
        Command::Topic(args) => connect(&server).and_then(|client| topic::run(&client, args)),
        Command::Group(args) => connect(&server).and_then(|client| group::run(&client, args)),
        Command::Produce(args) => connect(&server).and_then(|client| produce::run(&client, args)),
        Command::Consume(args) => connect(&server).and_then(|client| consume::run(&client, args)),
        Command::Verify(args) => return verify::run(args),
        Command::Repair(args) => return repair::run(args),
        Command::Backup(args) => return backup::run(args),
        Command::Inspect(args) => return inspect::run(args),
        Command::Doctor(args) => doctor::run(args),
    };
    match done {
        Ok(()) | Err(Failure::PipeClosed) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("plimsoll: {failure}");
            failure.exit_code()
        }
    }
}

fn connect(server: &str) -> Result<Client, Failure> {
    Client::builder(server).client_name("plimsoll").connect().map_err(Failure::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_has_no_contradictions() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_subcommand_shows_an_example() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example"), "{}", command.get_name());
        }
    }

    #[test]
    fn the_server_may_be_named_before_and_after_the_subcommand() {
        for words in [["--server", "h:1", "topic", "list"], ["topic", "list", "--server", "h:1"]] {
            let cli = Cli::try_parse_from(["plimsoll"].iter().chain(&words)).unwrap();
            assert_eq!(cli.server, "h:1");
        }
    }

    #[test]
    fn wrong_use_exits_with_2() {
        for words in [&["plimsoll", "produce"][..], &["plimsoll", "flood"], &["plimsoll"]] {
            assert_eq!(Cli::try_parse_from(words).unwrap_err().exit_code(), 2, "{words:?}");
        }
    }
}
