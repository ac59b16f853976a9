//! `plimsoll-load`: see `--help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    plimsoll_load::main()
}
