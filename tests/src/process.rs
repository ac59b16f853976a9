//! What the kernel says about processes, this one and others.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What a process has in memory of its own (arena and other shared memory is not counted).
///
/// # Panics
///
/// If there is no such process.
#[must_use]
pub fn rss_bytes(pid: u32) -> u64 {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).expect("the server runs");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok());
    kib.expect("the kernel tells RssAnon in kB") << 10
}

/// Lets this process open as many files as it may, and says how many.
///
/// # Panics
///
/// If the kernel does not tell.
#[must_use]
pub fn open_files_limit_raised() -> u64 {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit can be asked for");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("the soft limit may be raised");
    hard
}
