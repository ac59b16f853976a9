//! Whether the arenas may be registered with the kernel, which locks their memory.
//!
//! Never fails a start: without registration everything works, more slowly. What a newcomer gets
//! wrong: the limit counts for all rings of the user together, so that the need is the sum of all
//! arenas.

use std::fmt;

use super::{Finding, Verdict};

/// The limit on locked memory, against what is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLock {
    /// The limit; `None`: there is none.
    pub limit_bytes: Option<u64>,
    /// What all arenas together need.
    pub needed_bytes: u64,
    /// A privileged process (CAP_IPC_LOCK) is not held to it.
    pub exempt: bool,
}

/// Asks for the limit (RLIMIT_MEMLOCK).
pub fn memory_lock(needed_bytes: u64) -> MemoryLock {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid to write to; if it fails, it stays zero.
    unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
    let limit_bytes = (limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur);
    MemoryLock { limit_bytes, needed_bytes, exempt: may_lock() }
}

/// CAP_IPC_LOCK among the effective capabilities.
fn may_lock() -> bool {
    const CAP_IPC_LOCK: u32 = 14;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|text| u64::from_str_radix(text.trim(), 16).ok())
        .is_some_and(|capabilities| capabilities >> CAP_IPC_LOCK & 1 == 1)
}

impl fmt::Display for MemoryLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.limit_bytes {
            _ if self.exempt => f.write_str("locked memory is not limited for this user"),
            None => f.write_str("locked memory is not limited"),
            Some(limit) => write!(
                f,
                "locked memory is limited to {limit} bytes, the arenas need {}",
                self.needed_bytes
            ),
        }
    }
}

impl Finding for MemoryLock {
    fn verdict(&self) -> Verdict {
        match self.limit_bytes {
            Some(limit) if !self.exempt && limit < self.needed_bytes => Verdict::Warning,
            _ => Verdict::Fine,
        }
    }

    fn remedy(&self) -> Option<String> {
        (self.verdict() != Verdict::Fine).then(|| {
            "Set LimitMEMLOCK=infinity in the systemd unit (or `ulimit -l unlimited`): the server \
             runs without it, with slower writes."
                .to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_below_the_need_is_a_warning_unless_privileged() {
        let found =
            |exempt| MemoryLock { limit_bytes: Some(8 << 20), needed_bytes: 64 << 20, exempt };
        assert_eq!(found(false).verdict(), Verdict::Warning);
        assert_eq!(found(true).verdict(), Verdict::Fine);
    }
}
