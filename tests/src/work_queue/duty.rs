//! Who works: a program of the client library, or commands that `plimsoll` starts.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{DEAD, GROUP, LOCK};
use crate::crew::{Duty, TOPIC};

/// Who sits there.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// A program that calls [`work_until_killed`](super::work_until_killed), with the words before
    /// its address and its output.
    Library(Vec<PathBuf>),
    /// `plimsoll consume --share --exec`, with this binary.
    Command(PathBuf),
}

/// Writes out, then rejects what [`is_rejected`](super::is_rejected) says. Times are not told.
const SCRIPT: &str = "IFS= read -r line; P=$PLIMSOLL_PARTITION O=$PLIMSOLL_OFFSET
    printf 'did 0 %s %s %s %s\\n' $P $O $PLIMSOLL_DELIVERIES \"$line\" >> \"$OUTPUT\"
    test $(( (O + 31 * P) % 97 )) -ne 13 || exit 65";

impl Duty for Work {
    fn assign(&self, command: &mut Command, address: &str, output: &Path) {
        match self {
            Work::Library(words) => {
                command.args(words).arg(address).arg(output);
            }
            Work::Command(program) => {
                let lock = format!("{}ms", LOCK.as_millis());
                command.arg(program).args(["consume", TOPIC, "--group", GROUP, "--share"]);
                command.args(["--lock", &lock, "--deliveries-max", "0", "--dead-letter", DEAD]);
                command.args(["--exec", SCRIPT, "--server", address]).env("OUTPUT", output);
            }
        }
    }
}
