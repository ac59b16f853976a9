//! Why a command did not do what it was asked, and the exit code for that.
//!
//! Every failure is one sentence that says what, where, and what to do.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It was used wrongly, or the server cannot start.
    Usage(String),
    /// It could not be done.
    Failed(String),
    /// Nobody reads the output any more.
    PipeClosed,
}

impl Failure {
    /// It could not be done, for this reason.
    pub(crate) fn new(reason: impl fmt::Display) -> Failure {
        Failure::Failed(reason.to_string())
    }

    /// Writing to stdout failed.
    pub(crate) fn of_output(error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::PipeClosed,
            _ => Failure::Failed(format!("cannot write to stdout: {error}")),
        }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Usage(_) => ExitCode::from(2),
            Failure::Failed(_) => ExitCode::from(1),
            Failure::PipeClosed => ExitCode::SUCCESS,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(sentence) | Failure::Failed(sentence) => formatter.write_str(sentence),
            Failure::PipeClosed => formatter.write_str("the output was closed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_pipe_is_success_and_a_full_disk_is_not() {
        let closed = Failure::of_output(&io::ErrorKind::BrokenPipe.into());
        assert!(matches!(closed, Failure::PipeClosed));
        let full = Failure::of_output(&io::ErrorKind::StorageFull.into());
        assert!(matches!(full, Failure::Failed(_)));
    }
}
