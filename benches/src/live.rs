//! The real thing: `plimsoll serve` on core 0, `plimsoll-load` on core 1.
//!
//! Both are taken from `target/release`, or from `PLIMSOLL_BIN` and `PLIMSOLL_LOAD_BIN`. The load
//! generator's `--json` is one object on stdout; [`Figures`] lists what is read from it. CPU time
//! and memory of the server are read from `/proc`, so that the server need not judge itself.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::affinity::{PEER_CORE, SERVER_CORE, pin};
use crate::cpu_time;

/// What a run of the load generator came to.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// `bytes`: acked, or delivered to the consumer.
    pub bytes: f64,
    /// `bytes_per_second`.
    pub bytes_per_second: f64,
    /// `latency_us.p50`: from the intended send to the ack.
    pub latency_p50_us: f64,
    /// `latency_us.p99`.
    pub latency_p99_us: f64,
    /// `delivery_us.p50`, of end-to-end runs: from the ack to the delivery.
    pub delivery_p50_us: f64,
    /// `server.memory_bytes_max`: the bound that the server set itself at start.
    pub server_memory_bytes_max: f64,
    /// CPU time that the server used meanwhile, per byte.
    pub server_cpu_ns_per_byte: f64,
}

/// A running server in a folder of its own. Killed, and its folder removed, when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: String,
    folder: PathBuf,
}

impl Server {
    /// Starts a server with one shard and waits until it is ready.
    ///
    /// # Errors
    ///
    /// In words: the binary is not built, or it did not become ready.
    pub fn start(folder: &Path) -> Result<Self, String> {
        Self::start_with(folder, &[])
    }

    /// As `start`, with more flags of `plimsoll serve`.
    ///
    /// # Errors
    ///
    /// As `start`.
    pub fn start_with(folder: &Path, flags: &[&str]) -> Result<Self, String> {
        let folder = folder.join("server");
        // Left behind by a run that was killed.
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let mut command = Command::new(binary("plimsoll", "PLIMSOLL_BIN")?);
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--cores"])
            .arg(SERVER_CORE.to_string())
            .arg("--data-dir")
            .arg(&folder)
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().map_err(|error| format!("plimsoll serve: {error}"))?;
        let mut ready = String::new();
        if let Some(stdout) = child.stdout.take() {
            let read = BufReader::new(stdout).read_line(&mut ready);
            read.map_err(|error| format!("plimsoll serve: {error}"))?;
        }
        let address = ready.split_whitespace().find_map(|word| word.strip_prefix("listen="));
        let address = address.unwrap_or_default().to_owned();
        let server = Self { child, address, folder };
        match server.address.is_empty() {
            true => Err(format!("plimsoll serve did not become ready: {ready:?}")),
            false => Ok(server),
        }
    }

    /// Runs the load generator against this server: `arguments` are the kind of load and its flags.
    ///
    /// # Errors
    ///
    /// In words: the binary is not built, failed, or printed something else than its figures.
    pub fn load(&self, arguments: &[&str]) -> Result<Figures, String> {
        let mut command = Command::new(binary("plimsoll-load", "PLIMSOLL_LOAD_BIN")?);
        command.args(arguments).args(["--server", &self.address, "--json"]).stdin(Stdio::null());
        let before = self.cpu_time()?;
        // A child inherits the core of the thread that spawned it.
        let output = thread::scope(|scope| {
            let runner = scope.spawn(|| pin(PEER_CORE).and_then(|()| command.output()));
            runner.join().map_err(|_| "the thread that ran the load panicked".to_owned())
        })?;
        let output = output.map_err(|error| format!("plimsoll-load: {error}"))?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            let last = words.lines().last().unwrap_or_default().to_owned();
            return Err(format!("plimsoll-load: {}: {last}", output.status));
        }
        let cpu = self.cpu_time()?.saturating_sub(before);
        let mut figures = read_figures(&String::from_utf8_lossy(&output.stdout))?;
        figures.server_cpu_ns_per_byte = cpu.as_nanos() as f64 / figures.bytes;
        Ok(figures)
    }

    /// The CPU time that the server has used since it was started.
    ///
    /// # Errors
    ///
    /// When it has died.
    pub fn cpu_time(&self) -> Result<Duration, String> {
        let time = cpu_time::of_process(self.child.id());
        time.map_err(|error| format!("the server's CPU time: {error}"))
    }

    /// The share of a core that the server uses while nobody asks anything of it.
    ///
    /// # Errors
    ///
    /// When it has died.
    pub fn idle_share(&self, time: Duration) -> Result<f64, String> {
        let used = || {
            let time = cpu_time::of_live_threads(self.child.id());
            time.map_err(|error| format!("the server's CPU time: {error}"))
        };
        let (before, start) = (used()?, Instant::now());
        thread::sleep(time);
        Ok(used()?.saturating_sub(before).as_secs_f64() / start.elapsed().as_secs_f64())
    }

    /// The server's resident memory, the arena's touched pages included.
    ///
    /// # Errors
    ///
    /// When it has died.
    pub fn resident_bytes(&self) -> Result<f64, String> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(path).map_err(|error| error.to_string())?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        kib.map(|kib| kib * 1024.0).ok_or_else(|| "no VmRSS in /proc/PID/status".to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A clean stop removes the arena; a server that does not stop in time is killed.
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        drop(self.child.kill());
        drop(self.child.wait());
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// Where a binary is: named by `variable`, or built by `make build`.
fn binary(name: &str, variable: &str) -> Result<PathBuf, String> {
    let target = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from);
    let path =
        env::var_os(variable).map_or_else(|| target.join("release").join(name), PathBuf::from);
    match path.exists() {
        true => Ok(path),
        false => Err(format!("{name} is not built: make build")),
    }
}

fn read_figures(json: &str) -> Result<Figures, String> {
    let json: Value = serde_json::from_str(json.trim()).map_err(|error| error.to_string())?;
    let number = |path: &str| json.pointer(path).and_then(Value::as_f64);
    let wanted = |path: &str| {
        number(path).ok_or_else(|| format!("the load generator's JSON has no number at {path}"))
    };
    Ok(Figures {
        bytes: wanted("/bytes")?,
        bytes_per_second: wanted("/bytes_per_second")?,
        // Consumers have no acks, and only end-to-end runs have deliveries.
        latency_p50_us: number("/latency_us/p50").unwrap_or(f64::NAN),
        latency_p99_us: number("/latency_us/p99").unwrap_or(f64::NAN),
        delivery_p50_us: number("/delivery_us/p50").unwrap_or(f64::NAN),
        server_memory_bytes_max: number("/server/memory_bytes_max").unwrap_or(f64::NAN),
        server_cpu_ns_per_byte: f64::NAN,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_the_load_generator_are_read() {
        let json = r#"{"bytes": 10, "bytes_per_second": 5.5, "latency_us": {"p50": 2, "p99": 3}}"#;
        let figures = read_figures(json).unwrap();
        assert_eq!((figures.bytes, figures.bytes_per_second), (10.0, 5.5));
        assert_eq!((figures.latency_p50_us, figures.latency_p99_us), (2.0, 3.0));
        assert!(figures.delivery_p50_us.is_nan());
    }

    #[test]
    fn a_missing_figure_is_named() {
        assert!(read_figures(r#"{"bytes": 1}"#).unwrap_err().contains("/bytes_per_second"));
        assert!(read_figures("oops").is_err());
    }
}
