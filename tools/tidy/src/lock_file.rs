//! One version of each crate from outside, but for those with a reason.
//!
//! A duplicate costs build time and, worse, two copies of one type. An entry that no longer
//! matches the lock file gets a hint, so that the list does not rot.

use std::collections::BTreeMap;

use crate::violation::Report;

const PATH: &str = "Cargo.lock";

/// Crates that may be there in several versions: name, the versions beside the newest, reason.
const ALLOWED: [(&str, &[&str], &str); 8] = [
    ("bitflags", &["1.3.2"], "io-uring 0.6 of tokio-uring"),
    ("getrandom", &["0.2.17"], "rand 0.8 of shuttle; only tests of the server build it"),
    ("io-uring", &["0.6.4"], "tokio-uring 0.5, its last release, pins it"),
    ("rand", &["0.8.8"], "shuttle's; only tests of the server build it"),
    ("rand_core", &["0.6.4"], "rand 0.8 of shuttle; only tests of the server build it"),
    ("socket2", &["0.4.10"], "tokio-uring 0.5, its last release, pins it"),
    ("syn", &["2.0.119"], "derive macros below criterion; only benches build it"),
    ("windows-sys", &["0.59.0"], "corosensei of shuttle; built nowhere here"),
];

/// Checks the text of a lock file.
pub(crate) fn check(lock_file: &str, report: &mut Report) {
    check_against(&ALLOWED, lock_file, report);
}

fn check_against(allowed: &[(&str, &[&str], &str)], lock_file: &str, report: &mut Report) {
    let mut versions: BTreeMap<&str, Vec<(usize, &str)>> = BTreeMap::new();
    let mut name = "";
    for (line, number) in lock_file.lines().zip(1..) {
        if let Some(value) = quoted(line, "name = ") {
            name = value;
        } else if let Some(value) = quoted(line, "version = ") {
            versions.entry(name).or_default().push((number, value));
        }
    }

    for (name, versions) in &mut versions {
        versions.sort_by_key(|(_, version)| numbers(version));
        let older = &versions[..versions.len() - 1];
        for (line, version) in older {
            let is_allowed = allowed.iter().any(|(n, v, _)| n == name && v.contains(version));
            if !is_allowed {
                let remedy = format!(
                    "`{name}` {version} beside a newer one: agree on one version, or name the \
                     reason in tools/tidy"
                );
                report.violation(PATH, *line, "duplicate", remedy);
            }
        }
        let unused = allowed.iter().filter(|(n, ..)| n == name).flat_map(|(_, v, _)| v.iter());
        for version in unused.filter(|v| !older.iter().any(|(_, older)| older == *v)) {
            report
                .hint(PATH, format!("`{name}` {version} is no duplicate: delete it in tools/tidy"));
        }
    }
}

/// The value in quotes after `key` at the start of `line`.
fn quoted<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.strip_prefix(key)?.strip_prefix('"')?.strip_suffix('"')
}

/// The numbers of a version, for ordering; what is not a number counts as none.
fn numbers(version: &str) -> Vec<u64> {
    version.split(['.', '-', '+']).filter_map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "version = 4\n\n[[package]]\nname = \"io-uring\"\nversion = \"0.10.0\"\n\n\
                       [[package]]\nname = \"io-uring\"\nversion = \"0.6.4\"\n";

    fn broken(allowed: &[(&str, &[&str], &str)], lock_file: &str) -> Vec<usize> {
        let mut report = Report::default();
        check_against(allowed, lock_file, &mut report);
        report.violations.into_iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn the_older_of_two_versions_is_found_and_versions_are_ordered_as_numbers() {
        assert_eq!(broken(&[], TWO), [9]);
    }

    #[test]
    fn a_duplicate_with_a_reason_is_fine() {
        assert_eq!(broken(&[("io-uring", &["0.6.4"], "tokio-uring")], TWO), [0; 0]);
    }

    #[test]
    fn an_entry_that_matches_nothing_any_more_gets_a_hint() {
        let mut report = Report::default();
        check_against(&[("io-uring", &["0.6.4", "0.5.0"], "old")], TWO, &mut report);
        assert_eq!((report.hints.len(), report.violations.len()), (1, 0));
    }
}
