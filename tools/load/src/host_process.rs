//! What the server's process uses, where it runs on this host and may be looked at.

use std::fs;

/// A process, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HostProcess(u32);

/// The kernel's clock ticks in `/proc/PID/stat`: 100 a second on every Linux (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

impl HostProcess {
    pub(crate) fn of_pid(pid: u32) -> HostProcess {
        HostProcess(pid)
    }

    /// The process that listens on `server`, `HOST:PORT`, if it is one of ours.
    pub(crate) fn of_server(server: &str) -> Option<HostProcess> {
        let port: u16 = server.rsplit_once(':')?.1.parse().ok()?;
        let inodes = listening_inodes(port);
        let mut pids = fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            Some(pid)
        });
        let holds_socket = |pid: &u32| {
            let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
            files.flatten().filter_map(|file| fs::read_link(file.path()).ok()).any(|target| {
                let name = target.to_string_lossy();
                inodes.iter().any(|inode| *name == *format!("socket:[{inode}]"))
            })
        };
        pids.find(holds_socket).or_else(only_server).map(HostProcess)
    }

    /// Processor time that it has used, in seconds.
    pub(crate) fn cpu_seconds(self) -> Option<f64> {
        cpu_seconds(&fs::read_to_string(format!("/proc/{}/stat", self.0)).ok()?)
    }

    /// The most memory that it ever held.
    pub(crate) fn memory_bytes_max(self) -> Option<u64> {
        memory_bytes_max(&fs::read_to_string(format!("/proc/{}/status", self.0)).ok()?)
    }

    /// Whether it runs; a process that ended and waits for its parent does not.
    pub(crate) fn is_alive(self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0)).unwrap_or_default();
        after_name(&stat).is_some_and(|fields| !fields.trim_start().starts_with(['Z', 'X']))
    }
}

/// A socket that lives only in a ring has no entry in `/proc/PID/fd`: then the only process of the
/// server's name is it.
fn only_server() -> Option<u32> {
    let is_server = |pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "plimsoll\n")
    };
    let entries = fs::read_dir("/proc").ok()?.flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut servers = pids.filter(is_server);
    let first = servers.next()?;
    servers.next().is_none().then_some(first)
}

fn listening_inodes(port: u16) -> Vec<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let texts = tables.iter().filter_map(|table| fs::read_to_string(table).ok());
    texts.flat_map(|text| inodes_of(&text, port)).collect()
}

fn inodes_of(table: &str, port: u16) -> Vec<String> {
    let listening = "0A";
    let suffix = format!(":{port:04X}");
    let lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<&str>>());
    lines
        .filter(|fields| fields.len() > 9 && fields[1].ends_with(&suffix) && fields[3] == listening)
        .map(|fields| fields[9].to_owned())
        .collect()
}

/// The fields after the name, which may itself hold blanks and parentheses.
fn after_name(stat: &str) -> Option<&str> {
    stat.rsplit_once(')').map(|(_, fields)| fields)
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = after_name(stat)?.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

fn memory_bytes_max(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_past_a_name_with_blanks() {
        let stat = "12 (a b) c) S 1 2 3 4 5 6 7 8 9 10 250 150 0 0 20 0";
        assert_eq!(cpu_seconds(stat), Some(4.0));
    }

    #[test]
    fn the_high_water_mark_of_memory_is_in_bytes() {
        assert_eq!(memory_bytes_max("VmPeak:\t9 kB\nVmHWM:\t    2048 kB\n"), Some(2 << 20));
    }

    #[test]
    fn only_listening_sockets_of_the_port_count() {
        let table = "sl local rem st\n\
            0: 0100007F:1CFC 00000000:0000 0A 0:0 0:0 0 0 0 4711 1\n\
            1: 0100007F:1CFC 0100007F:9999 01 0:0 0:0 0 0 0 4712 1\n";
        assert_eq!(inodes_of(table, 7420), ["4711"]);
    }

    #[test]
    fn this_process_is_alive_and_has_used_memory() {
        let own = HostProcess::of_pid(std::process::id());
        assert!(own.is_alive() && own.memory_bytes_max().unwrap() > 0);
        assert!(!HostProcess::of_pid(u32::MAX).is_alive());
    }
}
