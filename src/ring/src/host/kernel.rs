//! Which kernel this is.
//!
//! For the report and its advice only. What a newcomer gets wrong: a number decides nothing here,
//! because distributions carry changes back and containers forbid calls; what is needed is tried.

use std::ffi::CStr;
use std::fmt;

use super::{Finding, Verdict};

/// The oldest kernel on which a ring can be set up as it is (DEFER_TASKRUN).
const FLOOR: (u32, u32) = (6, 1);

/// The kernel's release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelRelease {
    /// As `uname -r` prints it.
    pub text: String,
    /// Major and minor number, when the text begins with them.
    pub number: Option<(u32, u32)>,
}

/// Asks for the kernel's release.
pub fn kernel_release() -> KernelRelease {
    // SAFETY: arrays of characters; zero is the empty text.
    let mut name = unsafe { std::mem::zeroed::<libc::utsname>() };
    // SAFETY: `name` is valid to write to; if it fails, the texts stay empty.
    unsafe { libc::uname(&raw mut name) };
    // SAFETY: the kernel terminates the text, and zeroed memory is terminated too.
    let release = unsafe { CStr::from_ptr(name.release.as_ptr()) };
    let text = release.to_string_lossy().into_owned();
    KernelRelease { number: parse(&text), text }
}

fn parse(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(['.', '-']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

impl fmt::Display for KernelRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Linux {}", self.text)
    }
}

impl Finding for KernelRelease {
    /// A warning at most: what the kernel can do is probed elsewhere, not read from its number.
    fn verdict(&self) -> Verdict {
        match self.number {
            Some(number) if number >= FLOOR => Verdict::Fine,
            _ => Verdict::Warning,
        }
    }

    fn remedy(&self) -> Option<String> {
        (self.verdict() != Verdict::Fine).then(|| "Use Linux 6.1 or later.".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_kernel_is_warned_about_and_this_one_has_a_number() {
        let release = |text: &str| KernelRelease { number: parse(text), text: text.to_owned() };
        assert_eq!(release("5.15.0-91-generic").verdict(), Verdict::Warning);
        assert_eq!(release("6.1.0-9-amd64").verdict(), Verdict::Fine);
        assert_eq!(release("10.0-rc1").verdict(), Verdict::Fine);
        assert!(kernel_release().number.is_some());
    }
}
