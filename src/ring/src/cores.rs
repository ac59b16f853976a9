//! Which cores this process may use, and the binding of a thread to one of them.
//!
//! It decides nothing about shards: it says how many make sense. What a newcomer gets wrong: the
//! numbers need not begin with 0 nor follow each other; a mask may leave out any core.

use std::io;
use std::path::Path;

/// The cores that this process may run on.
#[derive(Clone, Debug, PartialEq)]
pub struct Cores {
    /// Their numbers, ascending (sched_getaffinity).
    pub numbers: Vec<usize>,
    /// How many cores' worth of time the process's control group may use, when it is limited. A
    /// container often sees every core and may use two: more shards than this only wait for each
    /// other.
    pub quota: Option<f64>,
}

impl Cores {
    /// How many shards make sense: no more than cores, and no more than the quota pays for.
    pub fn shards_max(&self) -> usize {
        let paid = self.quota.map_or(usize::MAX, |quota| quota.ceil().max(1.0) as usize);
        self.numbers.len().min(paid).max(1)
    }
}

/// Asks the kernel for the cores of this process.
pub fn available_cores() -> io::Result<Cores> {
    // SAFETY: a bit set; zero is the empty one.
    let mut set = unsafe { std::mem::zeroed::<libc::cpu_set_t>() };
    // SAFETY: `set` is as long as announced.
    if unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let numbers = (0..libc::CPU_SETSIZE as usize)
        // SAFETY: the number is below the set's size.
        .filter(|core| unsafe { libc::CPU_ISSET(*core, &set) })
        .collect();
    Ok(Cores { numbers, quota: quota() })
}

/// Binds the calling thread to `core`.
pub fn pin_to_core(core: usize) -> io::Result<()> {
    if core >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: a bit set; zero is the empty one.
    let mut set = unsafe { std::mem::zeroed::<libc::cpu_set_t>() };
    // SAFETY: the number is below the set's size, as checked.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: `set` is as long as announced.
    match unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The least quota of this process's control group (cgroup v2) and the groups above it.
fn quota() -> Option<f64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Path::new(own)
        .ancestors()
        .filter_map(|group| {
            let file = Path::new("/sys/fs/cgroup").join(group).join("cpu.max");
            parse_quota(&std::fs::read_to_string(file).ok()?)
        })
        .min_by(f64::total_cmp)
}

/// `cpu.max` of cgroup v2: quota and period in microseconds, or `max`.
fn parse_quota(text: &str) -> Option<f64> {
    let mut words = text.split_whitespace();
    let quota = words.next()?.parse::<f64>().ok()?;
    let period = words.next()?.parse::<f64>().ok().filter(|period| *period > 0.0)?;
    Some(quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_has_one_core() {
        let thread = std::thread::spawn(|| {
            let core = available_cores().unwrap().numbers[0];
            pin_to_core(core).unwrap();
            assert_eq!(available_cores().unwrap().numbers, [core]);
        });
        thread.join().unwrap();
    }

    #[test]
    fn a_core_that_does_not_exist_is_refused() {
        assert!(pin_to_core(1 << 20).is_err());
    }

    #[test]
    fn a_quota_of_a_core_and_a_half_pays_for_two_shards() {
        let quota = parse_quota("150000 100000\n");
        assert_eq!(quota, Some(1.5));
        assert_eq!(parse_quota("max 100000\n"), None);
        let cores = Cores { numbers: vec![0, 1, 2, 3], quota };
        assert_eq!(cores.shards_max(), 2);
    }
}
