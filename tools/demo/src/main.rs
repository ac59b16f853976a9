//! `plimsoll-demo`: exit code 1 if anything acked at page-cache or disk is missing, changed or out
//! of order.

use std::process::ExitCode;

fn main() -> ExitCode {
    match plimsoll_demo::demo() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(reason) => {
            eprintln!("plimsoll-demo: {reason}");
            ExitCode::FAILURE
        }
    }
}
