//! The `plimsoll` binary: hands its arguments to the library and exits as that says.
//!
//! See `plimsoll --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    plimsoll_cli::main()
}
