//! Which file system a directory lies in, and whether it keeps the promises of a flush.
//!
//! Reads the mount table and writes nothing. What a newcomer gets wrong: neither device nor path
//! names a mount alone. Btrfs gives out device numbers of its own, and one device may be mounted in
//! several places.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Finding, Verdict};

/// The file systems that are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileSystemKind {
    /// Supported, and the one to prefer.
    Ext4,
    /// Supported.
    Xfs,
    /// Memory: nothing survives a power loss.
    Tmpfs,
    /// The layers of a container image.
    Overlay,
    /// Copy on write: every overwrite allocates.
    Btrfs,
    /// Across a network.
    Network(String),
    /// Anything else, by its name in the mount table.
    Other(String),
}

/// Where a directory lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// The directory.
    pub dir: PathBuf,
    /// Its file system.
    pub kind: FileSystemKind,
    /// Mounted so that a flush does not reach the device (`nobarrier`, `barrier=0`).
    pub barriers_off: bool,
}

/// Looks `dir` up in the mount table.
pub fn file_system(dir: &Path) -> std::io::Result<FileSystem> {
    let device = dir.metadata()?.dev();
    let path = dir.canonicalize()?;
    let table = std::fs::read_to_string("/proc/self/mountinfo")?;
    let (name, options) = find(&table, device, &path).unwrap_or_default();
    let kind = match name.as_str() {
        "ext4" => FileSystemKind::Ext4,
        "xfs" => FileSystemKind::Xfs,
        "tmpfs" | "ramfs" => FileSystemKind::Tmpfs,
        "overlay" => FileSystemKind::Overlay,
        "btrfs" => FileSystemKind::Btrfs,
        "nfs" | "nfs4" | "cifs" | "smb3" | "9p" | "ceph" | "fuse.sshfs" => {
            FileSystemKind::Network(name)
        }
        "" => FileSystemKind::Other("unknown".to_owned()),
        _ => FileSystemKind::Other(name),
    };
    let barriers_off = options.split(',').any(|option| matches!(option, "nobarrier" | "barrier=0"));
    Ok(FileSystem { dir: path, kind, barriers_off })
}

/// Type and options of the mount that holds `path`: the one with the longest mount point among
/// those of the device, or among all of them when none has it (Btrfs gives out device numbers of
/// its own).
fn find(table: &str, device: u64, path: &Path) -> Option<(String, String)> {
    let device = format!("{}:{}", libc::major(device), libc::minor(device));
    let mounts = || table.lines().filter_map(parse).filter(|mount| path.starts_with(&mount.point));
    let longest = |mount: &Mount| mount.point.as_os_str().len();
    let mount = mounts()
        .filter(|mount| mount.device == device)
        .max_by_key(longest)
        .or_else(|| mounts().max_by_key(longest))?;
    Some((mount.name, mount.options))
}

struct Mount {
    device: String,
    point: PathBuf,
    name: String,
    options: String,
}

/// A line of mountinfo: see proc_pid_mountinfo(5). After the lone hyphen: type, source, options.
fn parse(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ');
    let device = before.nth(2)?.to_owned();
    let point = PathBuf::from(before.nth(1)?.replace("\\040", " "));
    let mut after = after.split(' ');
    let name = after.next()?.to_owned();
    let options = after.nth(1).unwrap_or_default().to_owned();
    Some(Mount { device, point, name, options })
}

impl fmt::Display for FileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match &self.kind {
            FileSystemKind::Ext4 => "ext4",
            FileSystemKind::Xfs => "XFS",
            FileSystemKind::Tmpfs => "tmpfs",
            FileSystemKind::Overlay => "overlayfs",
            FileSystemKind::Btrfs => "Btrfs",
            FileSystemKind::Network(name) | FileSystemKind::Other(name) => name,
        };
        write!(f, "{}: {name}", self.dir.display())?;
        if self.barriers_off { f.write_str(", flushes switched off") } else { Ok(()) }
    }
}

impl Finding for FileSystem {
    fn verdict(&self) -> Verdict {
        match &self.kind {
            _ if self.barriers_off => Verdict::Failure,
            FileSystemKind::Tmpfs => Verdict::Failure,
            FileSystemKind::Ext4 | FileSystemKind::Xfs => Verdict::Fine,
            _ => Verdict::Warning,
        }
    }

    fn remedy(&self) -> Option<String> {
        let remedy = match &self.kind {
            _ if self.barriers_off => {
                "Mount the file system without `nobarrier`: a power loss takes what was flushed."
            }
            FileSystemKind::Ext4 | FileSystemKind::Xfs => return None,
            FileSystemKind::Tmpfs => {
                "Put the data directory on a disk: what lies in tmpfs is gone at the next boot."
            }
            FileSystemKind::Overlay => {
                "Mount a volume for the data directory: a container's own layers go with it."
            }
            FileSystemKind::Btrfs => {
                "Put the data directory on ext4 or XFS: Btrfs allocates at every overwrite."
            }
            FileSystemKind::Network(_) => {
                "Put the data directory on a local disk: what a network file system's flush \
                 promises is not known."
            }
            FileSystemKind::Other(_) => {
                "Put the data directory on ext4 or XFS: this file system was never tested."
            }
        };
        Some(remedy.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
        22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,barrier=0\n\
        23 22 0:21 / /dev/shm rw shared:2 - tmpfs tmpfs rw,size=1g\n\
        24 22 8:2 / /srv/log\\040data rw shared:3 master:4 - xfs /dev/sdb1 rw,noatime\n";

    #[test]
    fn the_longest_mount_point_of_the_device_is_the_one() {
        let look = |device, path: &str| find(TABLE, device, Path::new(path)).unwrap().0;
        assert_eq!(look(libc::makedev(8, 1), "/var/lib"), "ext4");
        assert_eq!(look(libc::makedev(8, 2), "/srv/log data/x"), "xfs");
        assert_eq!(look(libc::makedev(0, 99), "/dev/shm/x"), "tmpfs");
    }

    #[test]
    fn switched_off_flushes_are_a_failure() {
        let dir = PathBuf::from("/");
        let found = FileSystem { dir, kind: FileSystemKind::Ext4, barriers_off: true };
        assert_eq!(found.verdict(), Verdict::Failure);
        assert!(find(TABLE, libc::makedev(8, 1), Path::new("/")).unwrap().1.contains("barrier=0"));
    }

    #[test]
    fn shared_memory_is_tmpfs() {
        assert_eq!(file_system(Path::new("/dev/shm")).unwrap().kind, FileSystemKind::Tmpfs);
    }
}
