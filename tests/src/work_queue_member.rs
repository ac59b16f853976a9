//! A member of a group in share mode, to be killed. Two words: where the server is, and the file
//! that is written.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [address, output] = &words[..] else { return ExitCode::from(2) };
    match plimsoll_tests::work_until_killed(address, Path::new(output)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}
