//! The members of the workspace, as cargo sees them and as their manifests say.
//!
//! `cargo metadata --no-deps` is asked, not the manifests parsed, wherever cargo knows the answer:
//! a dependency can be written in five ways.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::violation::Report;

/// A member of the workspace.
#[derive(Debug, Default)]
pub(crate) struct Member {
    /// The package, such as `plimsoll-wire`.
    pub(crate) package: String,
    /// The folder, relative to the root, such as `src/wire`.
    pub(crate) folder: String,
    /// The text of its `Cargo.toml`.
    pub(crate) manifest: String,
    /// What its library and binaries are built from. Neither development nor build dependencies.
    pub(crate) dependencies: Vec<Dependency>,
}

/// A normal dependency of a member.
#[derive(Debug)]
pub(crate) struct Dependency {
    /// The package.
    pub(crate) name: String,
    /// Does a feature bring it? Then the crate builds without it.
    pub(crate) is_optional: bool,
}

impl Member {
    /// Where the manifest lies, relative to the root.
    pub(crate) fn manifest_path(&self) -> String {
        format!("{}/Cargo.toml", self.folder)
    }
}

/// Asks cargo for the members of the workspace at `root`.
pub(crate) fn read_members(root: &Path) -> io::Result<Vec<Member>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(root)
        .output()?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(io::Error::other(format!("cargo metadata: {reason}")));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let root = metadata["workspace_root"].as_str().unwrap_or_default();
    metadata["packages"].as_array().into_iter().flatten().map(|p| read_member(root, p)).collect()
}

fn read_member(root: &str, package: &Value) -> io::Result<Member> {
    let manifest_path = package["manifest_path"].as_str().unwrap_or_default();
    let folder = manifest_path
        .strip_prefix(root)
        .and_then(|path| path.trim_start_matches('/').strip_suffix("/Cargo.toml"))
        .unwrap_or_default();
    let dependencies = package["dependencies"].as_array().into_iter().flatten();
    Ok(Member {
        package: package["name"].as_str().unwrap_or_default().to_owned(),
        folder: folder.to_owned(),
        manifest: fs::read_to_string(manifest_path)?,
        // Cargo writes the kind of a normal dependency as null.
        dependencies: dependencies
            .filter(|dependency| dependency["kind"].is_null())
            .map(|dependency| Dependency {
                name: dependency["name"].as_str().unwrap_or_default().to_owned(),
                is_optional: dependency["optional"].as_bool().unwrap_or_default(),
            })
            .collect(),
    })
}

/// Checks that a member inherits the lints of the workspace: cargo does not do so by itself.
pub(crate) fn check_lints(member: &Member, report: &mut Report) {
    let mut lines = member.manifest.lines().map(str::trim);
    let inherits = lines.any(|line| line == "[lints]")
        && lines.take_while(|line| !line.starts_with('[')).any(|line| line == "workspace = true");
    if !inherits {
        let remedy = "add `[lints]` with `workspace = true`: lints are not inherited in silence";
        report.violation(&member.manifest_path(), 1, "lints", remedy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lints(manifest: &str) -> usize {
        let mut report = Report::default();
        let member = Member { manifest: manifest.to_owned(), ..Member::default() };
        check_lints(&member, &mut report);
        report.violations.len()
    }

    #[test]
    fn a_member_that_does_not_inherit_the_lints_is_found() {
        assert_eq!(lints("[package]\nname = \"a\"\n"), 1);
        assert_eq!(lints("[lints]\n[dependencies]\nworkspace = true\n"), 1);
        assert_eq!(lints("[lints]\nworkspace = true\n"), 0);
    }

    #[test]
    fn cargo_names_the_members_of_this_workspace() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let members = read_members(&root).unwrap();
        let tidy = members.iter().find(|member| member.package == "plimsoll-tidy").unwrap();
        assert_eq!(tidy.folder, "tools/tidy");
        let names: Vec<&str> = tidy.dependencies.iter().map(|used| used.name.as_str()).collect();
        assert_eq!(names, ["serde_json"]);
    }
}
