//! Where `unsafe` may stand, and that a reason stands beside it.
//!
//! Clippy demands the `SAFETY:` comment too, but only in what it compiles; this rule also sees
//! code behind a `cfg`.

use crate::source::Source;
use crate::violation::Report;

/// The places that may hold `unsafe`, each with its reason.
const ALLOWED: [(&str, &str); 3] = [
    ("src/ring/", "system calls and memory that the kernel writes"),
    ("src/device/", "aligned memory and the arena's mapping"),
    ("benches/src/", "the raw probes: the kernel's limit, measured without Plimsoll's own ring"),
];

/// How far above a block its `SAFETY:` comment may begin.
const REASON_LINES_MAX: usize = 12;

/// Checks the places and the reasons of `unsafe` in one Rust file.
pub(crate) fn check(source: &Source, report: &mut Report) {
    let comments: Vec<&str> = source.comments.lines().collect();
    let code: Vec<&str> = source.code.lines().collect();
    for (index, line) in code.iter().enumerate() {
        let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        if !words.any(|word| word == "unsafe") {
            continue;
        }
        if !ALLOWED.iter().any(|(place, _)| source.path.starts_with(place)) {
            let remedy = "`unsafe` lives in src/ring and src/device only: ask one of them for it";
            report.violation(&source.path, index + 1, "unsafe-place", remedy);
        }
        let above = &comments[index.saturating_sub(REASON_LINES_MAX)..=index];
        if needs_reason(line) && !above.iter().any(|line| line.contains("SAFETY:")) {
            let remedy = "put a `// SAFETY:` above it that a stranger can check";
            report.violation(&source.path, index + 1, "unsafe-reason", remedy);
        }
    }
}

/// Blocks and implementations give a reason; an `unsafe fn` states its contract, which clippy
/// checks, and its caller gives the reason.
fn needs_reason(line: &str) -> bool {
    line.split("unsafe").skip(1).any(|after| {
        let after = after.trim_start();
        after.is_empty() || after.starts_with('{') || after.starts_with("impl")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::violation::broken;

    const BLOCK: &str = "// SAFETY: `p` is valid.\nlet a = unsafe { *p };\n";

    #[test]
    fn unsafe_outside_its_places_is_found() {
        assert_eq!(broken(check, "src/wire/src/lib.rs", BLOCK), [(2, "unsafe-place")]);
        assert_eq!(broken(check, "src/ring/src/lib.rs", BLOCK), []);
    }

    #[test]
    fn unsafe_without_a_reason_is_found() {
        let found = broken(check, "src/ring/src/lib.rs", "\nlet a = unsafe { *p };\n");
        assert_eq!(found, [(2, "unsafe-reason")]);
        let found = broken(check, "src/ring/src/lib.rs", "unsafe impl Send for A {}\n");
        assert_eq!(found, [(1, "unsafe-reason")]);
    }

    #[test]
    fn attributes_comments_and_unsafe_functions_need_no_reason() {
        let text = "#![forbid(unsafe_code)]\n// unsafe\n\"unsafe\";\nunsafe fn f();\n";
        assert_eq!(broken(check, "src/ring/src/lib.rs", text), []);
    }
}
