//! Module documentation: every file of a crate opens by saying what it is for.

use crate::source::Source;
use crate::violation::Report;

const LINES_MIN: usize = 2;

/// Checks that a file below `src/` opens with at least two lines of `//!`; tests are excepted.
pub(crate) fn check(source: &Source, report: &mut Report) {
    if source.crate_folder().is_none() || source.is_test() {
        return;
    }
    let lines = source.text.lines().take_while(|line| line.starts_with("//!")).count();
    if lines < LINES_MIN {
        let remedy = "open with two to ten `//!` lines: what it is for, what it may not do, and \
                      the one thing a newcomer gets wrong";
        report.violation(&source.path, 1, "module-doc", remedy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::violation::broken;

    #[test]
    fn a_file_of_a_crate_opens_with_two_lines_of_documentation() {
        let path = "src/wire/src/frame.rs";
        assert_eq!(broken(check, path, "//! Frames.\nuse core::mem;\n"), [(1, "module-doc")]);
        assert_eq!(broken(check, path, "//! Frames.\n//!\n//! Never I/O.\n"), []);
    }

    #[test]
    fn tests_and_tools_are_excepted() {
        assert_eq!(broken(check, "src/wire/tests/golden.rs", ""), []);
        assert_eq!(broken(check, "tools/load/src/main.rs", ""), []);
    }
}
