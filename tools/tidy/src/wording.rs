//! Words that must not stay: marks of deferred work, skipped tests without a reason, and paths of
//! somebody's own machine.

use crate::source::Source;
use crate::violation::Report;

const DEFERRED: [&str; 4] = ["TODO", "FIXME", "XXX", "HACK"];
const MACROS: [&str; 2] = ["todo!", "unimplemented!"];
/// Written in halves, so that this file does not break its own rule.
const MACHINE_PATHS: [&str; 4] =
    [concat!("/ho", "me/"), concat!("/Us", "ers/"), concat!("/ro", "ot/"), concat!("/wo", "rk/")];

/// Checks the wording of one file of any kind.
pub(crate) fn check(source: &Source, report: &mut Report) {
    let lines = source.text.lines().zip(source.code.lines()).zip(source.comments.lines());
    for (index, ((text, code), comment)) in lines.enumerate() {
        let line = index + 1;
        for word in DEFERRED {
            if has_word(code, word) || has_word(comment, word) {
                let remedy = format!("`{word}`: do it now, or write an issue and delete the mark");
                report.violation(&source.path, line, "deferred", remedy);
            }
        }
        for path in MACHINE_PATHS {
            if has_path(text, path) {
                let remedy = format!("`{path}` is one person's machine: name it relative");
                report.violation(&source.path, line, "machine-path", remedy);
            }
        }
        if source.is_rust() {
            check_code(source, line, code, report);
        }
    }
}

fn check_code(source: &Source, line: usize, code: &str, report: &mut Report) {
    for name in MACROS {
        if has_word(code, name) {
            report.violation(&source.path, line, "deferred", format!("`{name}`: write it"));
        }
    }
    if code.contains("#[ignore]") {
        let remedy = "say why: #[ignore = \"reason\"], or let the test run";
        report.violation(&source.path, line, "ignore", remedy);
    }
}

/// Does `word` stand in `line` with no letter, digit or `_` on either side?
fn has_word(line: &str, word: &str) -> bool {
    let is_boundary =
        |neighbour: Option<char>| !neighbour.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        is_boundary(line[..at].chars().next_back())
            && (word.ends_with('!') || is_boundary(line[at + word.len()..].chars().next()))
    })
}

/// Does an absolute path begin with `prefix` here? The same letters deeper in a path are harmless.
fn has_path(line: &str, prefix: &str) -> bool {
    line.match_indices(prefix).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before
            .is_some_and(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '}' | ')' | '*'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::violation::broken;

    #[test]
    fn marks_of_deferred_work_are_found_in_comments_and_documents() {
        assert_eq!(broken(check, "a.rs", "\n// TODO: later"), [(2, "deferred")]);
        assert_eq!(broken(check, "a.rs", "/* FIXME */ fn f() {}"), [(1, "deferred")]);
        assert_eq!(broken(check, "a.md", "XXX"), [(1, "deferred")]);
        assert_eq!(broken(check, "a.toml", "# HACK"), [(1, "deferred")]);
    }

    #[test]
    fn a_word_that_only_contains_a_mark_or_stands_in_a_string_is_fine() {
        assert_eq!(broken(check, "a.rs", "// HACKSAW mktemp.XXXXXX\nlet a = \"TODO\";"), []);
    }

    #[test]
    fn macros_that_stand_for_missing_code_are_found() {
        assert_eq!(broken(check, "a.rs", "fn f() { todo!() }"), [(1, "deferred")]);
        assert_eq!(broken(check, "a.rs", "fn f() { unimplemented!() }"), [(1, "deferred")]);
    }

    #[test]
    fn a_skipped_test_needs_a_reason() {
        assert_eq!(broken(check, "a.rs", "#[test]\n#[ignore]\nfn f() {}"), [(2, "ignore")]);
        assert_eq!(broken(check, "a.rs", "#[ignore = \"needs a loop device\"]\nfn f() {}"), []);
    }

    #[test]
    fn paths_of_a_persons_machine_are_found_also_in_strings() {
        let path = concat!("see /ho", "me/jo/plimsoll");
        assert_eq!(broken(check, "a.md", path), [(1, "machine-path")]);
        assert_eq!(broken(check, "a.rs", &format!("const A: &str = \"{path}\";")).len(), 1);
        assert_eq!(broken(check, "a.md", concat!("example.org/ho", "me/page")), []);
    }
}
