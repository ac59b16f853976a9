//! `plimsoll-tidy`: the house rules. `plimsoll-tidy purity`: the logic crates without std.
//!
//! Prints a line for each broken rule and exits 1 when there is one, 2 on wrong use.

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use plimsoll_tidy::{check, prove_purity};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let verdict = match arguments[..] {
        [] => rules(&root()),
        ["purity"] => purity(&root()),
        _ => {
            eprintln!("usage: plimsoll-tidy [purity]");
            return ExitCode::from(2);
        }
    };
    match verdict {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("tidy: {error}");
            ExitCode::FAILURE
        }
    }
}

fn rules(root: &Path) -> Result<bool, Box<dyn Error>> {
    let report = check(root)?;
    for hint in &report.hints {
        println!("{hint}");
    }
    for violation in &report.violations {
        println!("{violation}");
    }
    match report.violations.len() {
        0 => println!("tidy: every rule holds"),
        count => println!("tidy: {count} broken rules"),
    }
    Ok(report.violations.is_empty())
}

fn purity(root: &Path) -> Result<bool, Box<dyn Error>> {
    let target = env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    for line in prove_purity(root, &target.join("purity"))? {
        println!("pure: {line}");
    }
    Ok(true)
}

/// The root of the workspace: two folders above this package, or here where cargo is not around.
fn root() -> PathBuf {
    match env::var_os("CARGO_MANIFEST_DIR") {
        Some(package) => PathBuf::from(package).join("../.."),
        None => PathBuf::from("."),
    }
}
