//! The rules as a test: `cargo test` fails where `cargo run -p plimsoll-tidy` does.

use std::path::PathBuf;

#[test]
fn the_workspace_keeps_the_house_rules() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let report = plimsoll_tidy::check(&root).unwrap();
    let lines: Vec<String> = report.violations.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{} broken rules:\n{}", lines.len(), lines.join("\n"));
}
