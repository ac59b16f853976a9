//! A member of the group: `plimsoll consume` that writes what it gets into a file.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::GROUP;
use crate::crew::{Duty, TOPIC};

/// Whoever follows takes the place over, by its static name.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) program: PathBuf,
    pub(super) instance: String,
}

impl Duty for Writer {
    fn assign(&self, command: &mut Command, address: &str, output: &Path) {
        command.arg(&self.program);
        command.args(["consume", TOPIC, "--group", GROUP, "--instance", &self.instance]);
        command.args(["--format", "json", "--server", address]);
        command.stdout(File::create(output).expect("a file can be made"));
    }
}
