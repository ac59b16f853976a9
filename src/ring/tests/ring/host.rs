//! The probes against the machine that runs the tests.

use plimsoll_ring::SetupError;
use plimsoll_ring::host::{
    Finding, FlushMethod, IoUring, Verdict, direct_io, file_system, io_uring, probe_flush,
    write_cache,
};

use crate::machine::directory;

#[test]
fn direct_writes_work_where_the_tests_write() {
    let dir = directory();
    let found = direct_io(dir.path());
    assert_eq!(found.verdict(), Verdict::Fine, "{found}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "a probe leaves nothing");
}

#[test]
fn a_file_system_and_its_cache_are_found() {
    let dir = directory();
    let found = file_system(dir.path()).unwrap();
    assert!(found.to_string().contains(':'));
    write_cache(dir.path()).unwrap();
}

#[test]
fn both_ways_of_flushing_are_measured_and_the_faster_is_chosen() {
    let dir = directory();
    let found = probe_flush(dir.path(), 5).unwrap();
    assert!(!found.durable_write_p50.is_zero());
    assert!(!found.write_then_flush_p50.is_zero());
    let chosen = found.durable_write_p50.min(found.write_then_flush_p50);
    let of_method = match found.method {
        FlushMethod::DurableWrite => found.durable_write_p50,
        FlushMethod::WriteThenFlush => found.write_then_flush_p50,
    };
    assert_eq!(chosen, of_method);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "a probe leaves nothing");
}

/// The default of Docker and containerd: the system call is refused with EPERM.
#[test]
fn a_seccomp_profile_that_forbids_io_uring_is_named_with_its_remedy() {
    let thread = std::thread::spawn(|| {
        forbid_io_uring_on_this_thread();
        let found = io_uring();
        let forbidden = IoUring::Unusable { error: SetupError::Forbidden, disabled: Some(0) };
        assert_eq!(found.verdict(), Verdict::Failure);
        assert_eq!(found.remedy(), forbidden.remedy(), "{found}");
    });
    thread.join().unwrap();
}

fn forbid_io_uring_on_this_thread() {
    let step = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let number = libc::SYS_io_uring_setup as u32;
    let refuse = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    let mut steps = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, number),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, refuse),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
    // SAFETY: the program and its steps live across the calls, which copy them; both calls change
    // this thread only.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let mode = libc::SECCOMP_MODE_FILTER;
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program), 0);
    }
}
