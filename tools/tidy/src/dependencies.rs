//! Who may depend on whom. An import that is not in this table does not pass the gate.
//!
//! Only normal dependencies count: a test may use what it likes. Crates from outside are free,
//! except for the logic crates, which name each of theirs with a reason. Those that a feature
//! brings are free there too: `purity` builds the logic without features.

use crate::logic::LOGIC_CRATES;
use crate::manifests::{Dependency, Member};
use crate::names;
use crate::violation::Report;

/// Each folder below `src/` and the folders that it may use.
const ALLOWED: [(&str, &[&str]); 14] = [
    ("batch", &[]),
    ("wire", &["batch"]),
    ("device", &[]),
    ("storage", &["batch", "device"]),
    ("shard", &["batch", "wire", "storage", "device"]),
    ("ring", &["device"]),
    ("sim", &["device"]),
    ("server", &["shard", "ring", "storage", "wire", "device"]),
    ("client", &["batch", "wire"]),
    ("client-blocking", &["client"]),
    ("client-async", &["client"]),
    ("client-tokio", &["client-async", "client"]),
    ("client-uring", &["client-async", "client"]),
    // `ring` for the probes of the host that `doctor` makes, `batch` and `wire` to show what is
    // in a file and in an answer.
    ("cli", &["server", "client-blocking", "storage", "ring", "batch", "wire"]),
];

/// The simulated machine, which no shipped binary may hold.
const SIMULATOR: &str = "sim";

/// Where the simulator may be used.
const SIMULATOR_FOLDERS: [&str; 2] = ["tests", "tools/"];

/// Crates from outside that the logic crates may use, each with its reason.
pub(crate) const LOGIC_EXTERNAL: [(&str, &str); 1] = [(
    "crc32c",
    "CRC-32C in hardware; links std to ask the processor for SSE 4.2 and for reader and writer \
     wrappers that the logic does not use: no system call on its path",
)];

/// Checks the normal dependencies of one member.
pub(crate) fn check(member: &Member, report: &mut Report) {
    let path = member.manifest_path();
    names::check_package(&path, &member.package, report);
    let line = |dependency: &str| {
        let lines = member.manifest.lines();
        lines.zip(1..).find(|(text, _)| text.starts_with(dependency)).map_or(1, |(_, line)| line)
    };
    for dependency in &member.dependencies {
        let verdict = match dependency.name.strip_prefix("plimsoll-") {
            Some(used) => judge(&member.folder, used),
            None => judge_external(&member.folder, dependency),
        };
        if let Err(remedy) = verdict {
            report.violation(&path, line(&dependency.name), "dependency", remedy);
        }
    }
}

fn judge(folder: &str, used: &str) -> Result<(), String> {
    if used == SIMULATOR && !SIMULATOR_FOLDERS.iter().any(|place| folder.starts_with(place)) {
        return Err("the simulator is for tests: make it a development dependency".to_owned());
    }
    let Some(name) = folder.strip_prefix("src/") else { return Ok(()) };
    let Some((_, allowed)) = ALLOWED.iter().find(|(entry, _)| *entry == name) else {
        return Err(format!("`{name}` is not in the table: add it to tools/tidy with its layer"));
    };
    if allowed.contains(&used) {
        return Ok(());
    }
    Err(match allowed.join(", ") {
        allowed if allowed.is_empty() => format!("`{name}` uses no crate of ours, not `{used}`"),
        allowed => format!("`{name}` may use {allowed}, not `{used}`"),
    })
}

fn judge_external(folder: &str, used: &Dependency) -> Result<(), String> {
    let is_logic = folder.strip_prefix("src/").is_some_and(|folder| LOGIC_CRATES.contains(&folder));
    let is_allowed = LOGIC_EXTERNAL.iter().any(|(allowed, _)| *allowed == used.name);
    if is_logic && !is_allowed && !used.is_optional {
        return Err(format!("logic does without `{}`, or tools/tidy says why not", used.name));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is broken when `folder` uses `dependencies`; a `?` marks an optional one.
    fn broken(folder: &str, dependencies: &[&str]) -> Vec<String> {
        let dependency = |name: &&str| Dependency {
            name: name.trim_end_matches('?').to_owned(),
            is_optional: name.ends_with('?'),
        };
        let member = Member {
            package: format!("plimsoll-{folder}"),
            folder: folder.to_owned(),
            manifest: String::new(),
            dependencies: dependencies.iter().map(dependency).collect(),
        };
        let mut report = Report::default();
        check(&member, &mut report);
        report.violations.into_iter().map(|violation| violation.remedy).collect()
    }

    #[test]
    fn a_dependency_that_is_not_in_the_table_is_found() {
        let found = broken("src/storage", &["plimsoll-batch", "plimsoll-wire"]);
        assert_eq!(found, ["`storage` may use batch, device, not `wire`"]);
        assert_eq!(broken("src/device", &["plimsoll-batch"]).len(), 1);
        assert_eq!(broken("src/client", &["plimsoll-device"]).len(), 1);
        assert_eq!(broken("src/cli", &["plimsoll-server", "plimsoll-client-blocking"]), [""; 0]);
    }

    #[test]
    fn a_crate_that_is_not_in_the_table_is_found() {
        assert_eq!(broken("src/kafka", &["plimsoll-batch"]).len(), 1);
    }

    #[test]
    fn the_simulator_is_in_no_shipped_crate() {
        for folder in ["src/server", "src/cli", "benches"] {
            assert_eq!(broken(folder, &["plimsoll-sim"]).len(), 1, "{folder}");
        }
        assert_eq!(broken("tools/sim", &["plimsoll-sim"]), [""; 0]);
        assert_eq!(broken("tests", &["plimsoll-sim"]), [""; 0]);
    }

    #[test]
    fn logic_names_each_crate_from_outside_that_no_feature_brings() {
        assert_eq!(broken("src/wire", &["crc32c", "libc"]).len(), 1);
        assert_eq!(broken("src/client", &["zstd?"]), [""; 0]);
        assert_eq!(broken("src/client", &["plimsoll-ring?"]).len(), 1);
        assert_eq!(broken("src/ring", &["libc"]), [""; 0]);
    }
}
