//! A machine whose power can be cut: a disk, a loop device over it, a file system mounted on that.
//!
//! It is switched on with an image and off with another. What a newcomer gets wrong: after a cut
//! the file system is still mounted and everything in it fails; whoever uses it must die first,
//! then `off` unmounts it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll_tests::Random;

use crate::disk::{Cut, Disk, Temper};
use crate::image::Image;
use crate::loss::{Loss, SECTOR_BYTES};
use crate::store::Store;

/// How long an unmount is tried before it is done lazily.
const UNMOUNT_PATIENCE: Duration = Duration::from_secs(3);

/// What is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum FileSystem {
    /// With its journal.
    Ext4,
    /// With its log.
    Xfs,
}

impl FileSystem {
    /// As `mount -t` calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            FileSystem::Ext4 => "ext4",
            FileSystem::Xfs => "xfs",
        }
    }

    /// The program that makes one.
    pub(crate) fn maker(self) -> &'static str {
        match self {
            FileSystem::Ext4 => "mkfs.ext4",
            FileSystem::Xfs => "mkfs.xfs",
        }
    }

    /// What a disk must write whole for it. ext4 journals whole blocks, and mends any torn one. XFS
    /// journals changes; a block whose first sector is new it takes for written, and if the rest is
    /// old, its check fails and the mount with it: it wants a disk that writes 4 KiB whole.
    fn block_bytes(self) -> usize {
        match self {
            FileSystem::Ext4 => SECTOR_BYTES,
            FileSystem::Xfs => 4096,
        }
    }

    fn make(self, device: &str) -> Result<(), String> {
        match self {
            FileSystem::Ext4 => run(
                "mkfs.ext4",
                &[
                    "-q",
                    "-m",
                    "0",
                    "-E",
                    "nodiscard,lazy_itable_init=0,lazy_journal_init=0",
                    device,
                ],
            ),
            FileSystem::Xfs => run("mkfs.xfs", &["-q", "-K", device]),
        }
    }

    /// Looks for damage in the file system itself, which no cut may leave: then the rig is wrong.
    fn check(self, device: &str) -> Result<(), String> {
        match self {
            FileSystem::Ext4 => run("e2fsck", &["-f", "-n", device]),
            FileSystem::Xfs => run("xfs_repair", &["-n", device]),
        }
    }
}

pub(crate) struct Machine {
    store: Store,
    file_system: FileSystem,
    mounted: PathBuf,
    running: Option<Running>,
}

struct Running {
    disk: Arc<Disk>,
    device: String,
    is_mounted: bool,
}

impl Machine {
    /// Switched off.
    pub(crate) fn new(folder: &Path, file_system: FileSystem) -> Result<Machine, String> {
        let store = Store::mount(&folder.join("store"));
        let store = store.map_err(|error| format!("cannot mount the store: {error}"))?;
        let mounted = folder.join("mounted");
        fs::create_dir(&mounted).map_err(|error| format!("{}: {error}", mounted.display()))?;
        Ok(Machine { store, file_system, mounted, running: None })
    }

    /// Where the file system is mounted.
    pub(crate) fn mounted(&self) -> &Path {
        &self.mounted
    }

    /// An empty file system of this size.
    pub(crate) fn make(&mut self, bytes: u64) -> Result<Image, String> {
        let device = self.attach(Image::new(bytes), Temper::Honest)?;
        let made = self.file_system.make(&device);
        let image = self.disk()?.image();
        self.off()?;
        made.map(|()| image)
    }

    /// Attaches a disk without mounting it; the device.
    pub(crate) fn attach(&mut self, image: Image, temper: Temper) -> Result<String, String> {
        let disk = Arc::new(Disk::new(image, temper, self.file_system.block_bytes()));
        let file = self.store.add(Arc::clone(&disk));
        let output = Command::new("losetup")
            .args(["--find", "--show", "--direct-io=on"])
            .arg(file)
            .output()
            .map_err(|error| format!("losetup: {error}"))?;
        if !output.status.success() {
            return Err(format!("losetup: {}", String::from_utf8_lossy(&output.stderr).trim()));
        }
        let device = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        self.running = Some(Running { disk, device: device.clone(), is_mounted: false });
        Ok(device)
    }

    /// Attaches and mounts: the file system's journal is replayed.
    pub(crate) fn on(&mut self, image: Image, temper: Temper) -> Result<(), String> {
        let device = self.attach(image, temper)?;
        let mounted = self.mounted.display().to_string();
        run("mount", &["-t", self.file_system.name(), &device, &mounted])?;
        if let Some(running) = &mut self.running {
            running.is_mounted = true;
        }
        Ok(())
    }

    /// The disk that it runs on.
    pub(crate) fn disk(&self) -> Result<&Arc<Disk>, String> {
        self.running.as_ref().map(|running| &running.disk).ok_or_else(|| "it is off".to_owned())
    }

    /// Has the file system commit its own journal, so that it does not flush by itself soon.
    pub(crate) fn sync(&self) -> Result<(), String> {
        let said = |error: &dyn std::fmt::Display| format!("{}: {error}", self.mounted.display());
        let directory = fs::File::open(&self.mounted).map_err(|error| said(&error))?;
        nix::unistd::syncfs(&directory).map_err(|error| said(&error))
    }

    /// Cuts the power of the disk.
    pub(crate) fn cut(&self, loss: Loss, random: &mut Random) -> Result<(Image, Cut), String> {
        self.disk().map(|disk| disk.cut(loss, random))
    }

    /// Unmounts and detaches. After a cut nothing of this reaches the image that is left.
    pub(crate) fn off(&mut self) -> Result<(), String> {
        let Some(running) = self.running.take() else { return Ok(()) };
        let unmounted = if running.is_mounted { self.unmount() } else { Ok(()) };
        // Also when something still holds on to it: a loop device goes with its last user.
        let detached = run("losetup", &["--detach", &running.device]);
        running.disk.scrap();
        unmounted.and(detached)
    }

    /// Unmounts, and has the file system checked for damage.
    pub(crate) fn check(&mut self) -> Result<(), String> {
        self.unmount()?;
        let Some(running) = &mut self.running else { return Err("it is off".to_owned()) };
        running.is_mounted = false;
        self.file_system.check(&running.device)
    }

    /// A killed process lets go of its files a moment after it is gone.
    fn unmount(&self) -> Result<(), String> {
        let mounted = self.mounted.display().to_string();
        let begun = Instant::now();
        while let Err(sentence) = run("umount", &[&mounted]) {
            if !sentence.contains("busy") {
                return Err(sentence);
            }
            if begun.elapsed() > UNMOUNT_PATIENCE {
                return run("umount", &["--lazy", &mounted]);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // What cannot be undone goes with the process: its mounts are its own.
        let _ = self.off();
    }
}

/// Runs a program to its end; what it complained of.
fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    Err(format!("{program} {}: {}: {said}", arguments.join(" "), output.status))
}
