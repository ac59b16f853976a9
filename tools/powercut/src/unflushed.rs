//! Builds a server that never flushes: the control that shows what a campaign can see.
//!
//! A patch is applied to a copy of the tree, never to the tree itself, and is no cargo feature. One
//! that no longer applies fails the campaign.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const PATCH: &str = "tools/powercut/planted/no_flush.patch";
const COPIED: [&str; 6] = ["Cargo.toml", "Cargo.lock", "src", "tests", "benches", "tools"];

/// The binary. The first build takes minutes; later ones only what has changed.
pub(crate) fn build() -> Result<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let below = own.ancestors().nth(2).ok_or("this program lies in no target directory")?;
    let (tree, target) = (below.join("powercut/tree"), below.join("powercut/target"));
    if tree.exists() {
        fs::remove_dir_all(&tree).map_err(|error| format!("{}: {error}", tree.display()))?;
    }
    fs::create_dir_all(&tree).map_err(|error| format!("{}: {error}", tree.display()))?;
    // With their times, so that cargo sees what is as it was.
    let mut copy = Command::new("cp");
    copy.arg("--archive").args(COPIED.map(|name| root.join(name))).arg(&tree);
    run(&mut copy)?;
    let mut patch = Command::new("patch");
    patch.args(["--strip=1", "--fuzz=0", "--quiet", "--input"]).arg(root.join(PATCH));
    run(patch.current_dir(&tree))?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--release", "--locked", "--quiet", "-p", "plimsoll-cli"]);
    run(build.current_dir(&tree).arg("--target-dir").arg(&target))?;
    Ok(target.join("release/plimsoll"))
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(format!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&said).trim()))
}
