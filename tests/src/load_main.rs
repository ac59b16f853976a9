//! The `plimsoll-load` binary under a name of its own, so that it is built with the tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    plimsoll_load::main()
}
