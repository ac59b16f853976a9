//! The logic crates: no standard library, no unsafe code.
//!
//! This reads the attributes; `purity` compiles the crates and so proves the same for what the
//! attributes cannot promise.

use crate::source::Source;
use crate::violation::Report;

/// The crates that hold logic without a machine, in the order of their layers.
pub(crate) const LOGIC_CRATES: [&str; 6] =
    ["batch", "wire", "device", "storage", "shard", "client"];

/// Owns aligned memory and the arena, and so holds the `unsafe` that the others do without.
const UNSAFE_LOGIC_CRATE: &str = "device";

/// Checks that every logic crate is there and says `no_std` and `forbid(unsafe_code)`.
pub(crate) fn check_roots(sources: &[Source], report: &mut Report) {
    for folder in LOGIC_CRATES {
        let path = format!("src/{folder}/src/lib.rs");
        let Some(source) = sources.iter().find(|source| source.path == path) else {
            report.violation(&path, 1, "logic-crate", "a logic crate has a lib.rs");
            continue;
        };
        let mut attributes = vec!["#![no_std]"];
        if folder != UNSAFE_LOGIC_CRATE {
            attributes.push("#![forbid(unsafe_code)]");
        }
        for attribute in attributes {
            if !source.code.lines().any(|line| says(line.trim(), attribute)) {
                let remedy = format!("a logic crate says `{attribute}`");
                report.violation(&path, 1, "logic-crate", remedy);
            }
        }
    }
}

/// A crate whose features bring std may say `no_std` under a condition: whether it holds when no
/// feature is on, `purity` finds out.
fn says(line: &str, attribute: &str) -> bool {
    let is_conditional = line.starts_with("#![cfg_attr(") && line.ends_with(", no_std)]");
    line == attribute || (is_conditional && attribute == "#![no_std]")
}

/// Checks that a logic crate brings `std` back for its tests only, and that none steps around
/// Rust: a foreign function or inline assembly would need no library to reach the kernel.
pub(crate) fn check_std(source: &Source, report: &mut Report) {
    if !source.crate_folder().is_some_and(|folder| LOGIC_CRATES.contains(&folder)) {
        return;
    }
    let mut previous = "";
    for (index, line) in source.code.lines().enumerate() {
        let line = line.trim();
        if line.starts_with("extern crate std") && !previous.contains("cfg(test)") {
            let remedy = "write `#[cfg(test)]` on the line above: logic has no standard library";
            report.violation(&source.path, index + 1, "logic-std", remedy);
        }
        if line.contains("extern \"") || line.contains("asm!(") {
            let remedy = "logic calls no foreign function and holds no assembly: move it to ring";
            report.violation(&source.path, index + 1, "logic-foreign", remedy);
        }
        previous = line;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::violation::broken;

    fn roots(client: &str) -> Vec<String> {
        let mut sources: Vec<Source> = LOGIC_CRATES
            .iter()
            .filter(|folder| **folder != "client")
            .map(|folder| {
                let text = "#![no_std]\n#![forbid(unsafe_code)]\n";
                Source::new(&format!("src/{folder}/src/lib.rs"), text)
            })
            .collect();
        sources.push(Source::new("src/client/src/lib.rs", client));
        let mut report = Report::default();
        check_roots(&sources, &mut report);
        report.violations.into_iter().map(|violation| violation.remedy).collect()
    }

    #[test]
    fn a_logic_crate_without_no_std_or_forbid_unsafe_is_found() {
        assert_eq!(roots("#![no_std]\n#![forbid(unsafe_code)]\n"), [""; 0]);
        assert_eq!(
            roots("#![no_std]\n// #![forbid(unsafe_code)]\n"),
            ["a logic crate says `#![forbid(unsafe_code)]`"]
        );
        assert_eq!(roots("#![forbid(unsafe_code)]\n"), ["a logic crate says `#![no_std]`"]);
        let conditional = "#![cfg_attr(not(feature = \"zstd\"), no_std)]\n#![forbid(unsafe_code)]";
        assert_eq!(roots(conditional), [""; 0]);
    }

    #[test]
    fn a_missing_logic_crate_is_found() {
        let mut report = Report::default();
        check_roots(&[], &mut report);
        assert_eq!(report.violations.len(), LOGIC_CRATES.len());
    }

    #[test]
    fn the_standard_library_comes_back_for_tests_only() {
        let path = "src/wire/src/lib.rs";
        assert_eq!(broken(check_std, path, "\nextern crate std;\n"), [(2, "logic-std")]);
        assert_eq!(broken(check_std, path, "#[cfg(test)]\nextern crate std;\n"), []);
        assert_eq!(broken(check_std, "src/ring/src/lib.rs", "extern crate std;\n"), []);
    }

    #[test]
    fn logic_steps_around_rust_nowhere() {
        for text in ["unsafe extern \"C\" { fn read(); }", "core::arch::asm!(\"syscall\");"] {
            assert_eq!(broken(check_std, "src/device/src/a.rs", text), [(1, "logic-foreign")]);
            assert_eq!(broken(check_std, "src/ring/src/a.rs", text), []);
        }
    }
}
