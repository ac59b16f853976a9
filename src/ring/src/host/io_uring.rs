//! Whether a ring can be set up, and what the kernel's io_uring can do beyond what is needed.
//!
//! Sets up a real ring: version numbers lie, and seccomp filters do not show in them. What a
//! newcomer gets wrong: the features that it lists are for the report; none of them is needed.

use std::fmt;

use io_uring::{Probe, opcode};

use super::{Finding, Verdict};
use crate::kernel::{Kernel, SetupError};

const SYSCTL: &str = "/proc/sys/kernel/io_uring_disabled";

/// What became of setting up a ring.
#[derive(Debug)]
#[non_exhaustive]
pub enum IoUring {
    /// It works.
    Usable {
        /// What is there beyond the necessary.
        features: Vec<&'static str>,
    },
    /// It does not.
    Unusable {
        /// Why.
        error: SetupError,
        /// The sysctl `kernel.io_uring_disabled`, where it exists: 0 everyone may use io_uring, 1
        /// only a group or the privileged, 2 nobody.
        disabled: Option<u32>,
    },
}

/// Sets up a small ring the way a shard does, and takes it down again.
pub fn io_uring() -> IoUring {
    match Kernel::new(8) {
        Ok(kernel) => IoUring::Usable { features: features(&kernel) },
        Err(error) => {
            let disabled = std::fs::read_to_string(SYSCTL).ok();
            let disabled = disabled.and_then(|text| text.trim().parse().ok());
            IoUring::Unusable { error, disabled }
        }
    }
}

fn features(kernel: &Kernel) -> Vec<&'static str> {
    let parameters = kernel.uring().params();
    let mut probe = Probe::new();
    let probed = kernel.uring().submitter().register_probe(&mut probe).is_ok();
    let supports = |code: u8| probed && probe.is_supported(code);
    [
        ("registered ring", kernel.is_registered()),
        ("no iowait", parameters.is_feature_no_iowait()),
        ("minimum wait", parameters.is_feature_min_timeout()),
        ("send bundles", parameters.is_feature_recvsend_bundle()),
        ("zero-copy send", supports(opcode::SendZc::CODE)),
        ("futex", supports(opcode::FutexWait::CODE)),
    ]
    .into_iter()
    .filter_map(|(name, there)| there.then_some(name))
    .collect()
}

impl fmt::Display for IoUring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usable { features } => write!(f, "io_uring works ({})", features.join(", ")),
            Self::Unusable { error, disabled: Some(disabled) } => {
                write!(f, "io_uring does not work (kernel.io_uring_disabled = {disabled}): {error}")
            }
            Self::Unusable { error, disabled: None } => {
                write!(f, "io_uring does not work: {error}")
            }
        }
    }
}

impl Finding for IoUring {
    fn verdict(&self) -> Verdict {
        match self {
            Self::Usable { .. } => Verdict::Fine,
            Self::Unusable { .. } => Verdict::Failure,
        }
    }

    fn remedy(&self) -> Option<String> {
        let Self::Unusable { error, disabled } = self else { return None };
        let remedy = match (error, disabled) {
            (SetupError::Forbidden, Some(1 | 2)) => {
                "Run `sysctl kernel.io_uring_disabled=0`, or put the user into the group of \
                 kernel.io_uring_group."
            }
            (SetupError::Forbidden, _) => {
                "Allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile \
                 of the container or service."
            }
            (SetupError::NoMemory, _) => {
                "Raise the limit on locked memory: LimitMEMLOCK=infinity in the systemd unit, or \
                 `ulimit -l unlimited`."
            }
            (SetupError::Absent | SetupError::TooOld { .. }, _) => {
                "Use Linux 6.1 or later, outside of a sandbox that emulates the kernel."
            }
            (SetupError::Io { .. }, _) => "Look up the error number of the call that is named.",
        };
        Some(remedy.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_works_here() {
        let found = io_uring();
        assert_eq!(found.verdict(), Verdict::Fine, "{found}");
    }

    #[test]
    fn a_sysctl_and_a_seccomp_profile_have_different_remedies() {
        let forbidden = |disabled| IoUring::Unusable { error: SetupError::Forbidden, disabled };
        assert!(forbidden(Some(2)).remedy().unwrap().contains("sysctl"));
        assert!(forbidden(Some(0)).remedy().unwrap().contains("seccomp"));
        assert!(forbidden(None).remedy().unwrap().contains("seccomp"));
    }
}
