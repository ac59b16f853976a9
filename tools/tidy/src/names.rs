//! Names: a crate, a module or a folder is named by a noun of the domain.

use crate::source::Source;
use crate::violation::Report;

/// Names that say nothing, and so gather everything.
const FORBIDDEN: [&str; 9] =
    ["common", "util", "utils", "helpers", "shared", "misc", "types", "core", "manager"];

/// Checks the folders and the name of one file, and the modules that it declares.
pub(crate) fn check(source: &Source, report: &mut Report) {
    let without_extension = source.path.strip_suffix(".rs").unwrap_or(&source.path);
    for name in without_extension.split('/').filter(|name| FORBIDDEN.contains(name)) {
        report.violation(&source.path, 1, "name", remedy(name));
    }
    if !source.is_rust() {
        return;
    }
    for (index, line) in source.code.lines().enumerate() {
        let words: Vec<&str> = line
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .filter(|w| !w.is_empty())
            .collect();
        for pair in words.windows(2) {
            if pair[0] == "mod" && FORBIDDEN.contains(&pair[1]) {
                report.violation(&source.path, index + 1, "name", remedy(pair[1]));
            }
        }
    }
}

/// Checks the name of a package.
pub(crate) fn check_package(manifest: &str, package: &str, report: &mut Report) {
    if let Some(name) = package.split('-').find(|part| FORBIDDEN.contains(part)) {
        report.violation(manifest, 1, "name", remedy(name));
    }
}

fn remedy(name: &str) -> String {
    format!("`{name}` says nothing: use a noun of the domain, or put the code where it is used")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::violation::broken;

    #[test]
    fn files_and_folders_with_empty_names_are_found() {
        assert_eq!(broken(check, "src/wire/src/util.rs", ""), [(1, "name")]);
        assert_eq!(broken(check, "tests/common/mod.rs", ""), [(1, "name")]);
        assert_eq!(broken(check, "src/wire/src/core_time.rs", ""), []);
    }

    #[test]
    fn inline_modules_with_empty_names_are_found_and_paths_into_core_are_not() {
        assert_eq!(broken(check, "a.rs", "\npub(crate) mod helpers {}"), [(2, "name")]);
        assert_eq!(broken(check, "a.rs", "use core::mem;\nmod commit;"), []);
    }

    #[test]
    fn packages_with_empty_names_are_found() {
        let mut report = Report::default();
        check_package("src/x/Cargo.toml", "plimsoll-common", &mut report);
        check_package("src/y/Cargo.toml", "plimsoll-wire", &mut report);
        assert_eq!(report.violations.len(), 1);
    }
}
