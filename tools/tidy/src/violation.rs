//! What the rules report: a broken rule with its place and its remedy, and hints that break none.
//!
//! A rule never prints and never stops at the first finding; it adds to the [`Report`].

use std::fmt;

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The file, relative to the root of the workspace.
    pub path: String,
    /// The line, counted from 1.
    pub line: usize,
    /// The rule's short name.
    pub rule: &'static str,
    /// What to do about it.
    pub remedy: String,
}

/// Something to look at again that breaks no rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// The file, relative to the root of the workspace.
    pub path: String,
    /// What to look at.
    pub what: String,
}

/// Everything that the rules found.
#[derive(Debug, Default)]
pub struct Report {
    /// Broken rules: any of them fails the gate.
    pub violations: Vec<Violation>,
    /// Hints: printed, never failing.
    pub hints: Vec<Hint>,
}

impl Report {
    /// Adds a broken rule. `line` counts from 1.
    pub fn violation(
        &mut self,
        path: &str,
        line: usize,
        rule: &'static str,
        remedy: impl Into<String>,
    ) {
        self.violations.push(Violation {
            path: path.to_owned(),
            line,
            rule,
            remedy: remedy.into(),
        });
    }

    /// Adds a hint.
    pub fn hint(&mut self, path: &str, what: impl Into<String>) {
        self.hints.push(Hint { path: path.to_owned(), what: what.into() });
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.path, self.line, self.rule, self.remedy)
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: hint: {}", self.path, self.what)
    }
}

/// The rules that one check over one in-memory sample breaks, for the unit tests of the rules.
#[cfg(test)]
pub(crate) fn broken(
    check: impl Fn(&crate::Source, &mut Report),
    path: &str,
    text: &str,
) -> Vec<(usize, &'static str)> {
    let mut report = Report::default();
    check(&crate::Source::new(path, text), &mut report);
    report.violations.iter().map(|violation| (violation.line, violation.rule)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_reads_as_path_line_rule_remedy() {
        let mut report = Report::default();
        report.violation("src/wire/src/lib.rs", 7, "columns", "break the line");
        assert_eq!(
            report.violations[0].to_string(),
            "src/wire/src/lib.rs:7: columns: break the line"
        );
    }
}
