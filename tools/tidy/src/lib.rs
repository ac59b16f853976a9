//! The house rules of Plimsoll as a program.
//!
//! `cargo run -p plimsoll-tidy` reads the sources, the manifests and the lock file and prints one
//! line for each broken rule: where, which rule, what to do. `cargo run -p plimsoll-tidy -- purity`
//! compiles the logic crates against a library directory that holds `core` and `alloc` alone.
//!
//! It judges text, not meaning: what rustc and clippy can check belongs in their lints, and only
//! what they cannot see (lengths, names, who may depend on whom) belongs here. What a newcomer gets
//! wrong: rules look at [`Source::code`], where comments and the contents of literals are blank, so
//! a forbidden word inside a string breaks nothing.

mod dependencies;
mod lengths;
mod lock_file;
mod logic;
mod manifests;
mod module_docs;
mod names;
mod purity;
mod source;
mod unsafe_code;
mod violation;
mod wording;

use std::io;
use std::path::Path;

pub use purity::{PurityError, prove_purity};
pub use source::Source;
pub use violation::{Hint, Report, Violation};

/// Checks every rule for the workspace at `root`.
///
/// # Errors
///
/// When a file cannot be read or `cargo metadata` does not run.
pub fn check(root: &Path) -> io::Result<Report> {
    let sources = source::read_all(root)?;
    let mut report = Report::default();
    for source in &sources {
        check_source(source, &mut report);
    }
    logic::check_roots(&sources, &mut report);

    let members = manifests::read_members(root)?;
    for member in &members {
        manifests::check_lints(member, &mut report);
        dependencies::check(member, &mut report);
    }
    lock_file::check(&std::fs::read_to_string(root.join("Cargo.lock"))?, &mut report);
    report.violations.sort();
    Ok(report)
}

/// The rules that need to see one file only.
fn check_source(source: &Source, report: &mut Report) {
    wording::check(source, report);
    names::check(source, report);
    if source.is_rust() {
        lengths::check(source, report);
        module_docs::check(source, report);
        unsafe_code::check(source, report);
        logic::check_std(source, report);
    }
}
