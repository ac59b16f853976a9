//! Settings of the whole process, made once at start.
//!
//! For the start of a server alone: a library that changed these would change them for its host.
//! What a newcomer gets wrong: ignored signals pass on to child processes, as the raised limit
//! does.

/// Raises the limit on open files to the most that this process may have, and says what it is now.
pub fn raise_open_files_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid to write to.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return 0;
    }
    let raised = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
    // SAFETY: `raised` is valid to read from.
    match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) } {
        0 => raised.rlim_cur,
        _ => limit.rlim_cur,
    }
}

/// A closed connection and a file at its size limit are errors of operations (EPIPE, EFBIG), not
/// reasons to die.
pub fn ignore_sigpipe_and_sigxfsz() {
    for signal in [libc::SIGPIPE, libc::SIGXFSZ] {
        // SAFETY: ignoring a signal installs no handler.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_raised_limit_holds_and_raising_again_changes_nothing() {
        let limit = raise_open_files_limit();
        assert!(limit > 0);
        assert_eq!(raise_open_files_limit(), limit);
    }
}
