//! The proof that the logic crates have no operating system in them.
//!
//! Each is compiled by rustc, without features, against a library directory that holds `core`,
//! `alloc` and `compiler_builtins` and nothing else. There is no `std` and no `libc` in it, so what
//! compiles opens no file, reads no clock, starts no thread and makes no system call; the last
//! doors, foreign functions and inline assembly, are shut by the rules of `logic`. This needs no
//! other target than the host's; where one without an operating system is installed, it is used
//! too.
//!
//! `crc32c` links std (`dependencies::LOGIC_EXTERNAL` says for what), so a stand-in with its two
//! functions takes its place here. The proof tests itself first: a sample with std must fail.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::dependencies::LOGIC_EXTERNAL;
use crate::logic::LOGIC_CRATES;

/// What a crate without an operating system is built from.
const LIBRARIES: [&str; 3] = ["libcore-", "liballoc-", "libcompiler_builtins-"];

/// Targets without an operating system; each is built for where it is installed.
const BARE_TARGETS: [&str; 2] = ["x86_64-unknown-none", "wasm32v1-none"];

/// The same two functions as `crc32c`, bit by bit.
const CRC32C_STAND_IN: &str = "#![no_std]
pub fn crc32c(data: &[u8]) -> u32 { crc32c_append(0, data) }
pub fn crc32c_append(crc: u32, data: &[u8]) -> u32 {
    !data.iter().fold(!crc, |crc, byte| (0..8).fold(crc ^ *byte as u32, |crc, _| shift(crc)))
}
fn shift(crc: u32) -> u32 { (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg()) }
";

/// What must not compile, or the proof proves nothing.
const IMPURE: &str = "#![no_std]
extern crate std;
pub fn now() -> std::time::Instant { std::time::Instant::now() }
";

/// Why there is no proof.
#[derive(Debug)]
#[non_exhaustive]
pub enum PurityError {
    /// A crate does not compile without a standard library; with what rustc said.
    Impure(String),
    /// A sample that uses the standard library did compile: the proof is worth nothing here.
    Blind,
    /// A file or a process failed.
    Io(io::Error),
}

impl fmt::Display for PurityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Impure(what) => write!(f, "{what}"),
            Self::Blind => {
                write!(f, "a sample with std compiled: this toolchain hides std elsewhere")
            }
            Self::Io(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for PurityError {}

impl From<io::Error> for PurityError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Compiles the logic crates of the workspace at `root` without a standard library, in `scratch`.
/// Returns what was proven, a line for each target.
///
/// # Errors
///
/// The first crate that needs more than `core` and `alloc`, with rustc's words.
pub fn prove_purity(root: &Path, scratch: &Path) -> Result<Vec<String>, PurityError> {
    let mut proven = Vec::new();
    let host = rustc_line(&["--print", "host-tuple"])?;
    for target in std::iter::once(host.as_str()).chain(BARE_TARGETS) {
        let libraries =
            PathBuf::from(rustc_line(&["--print", "target-libdir", "--target", target])?);
        if !libraries.exists() {
            continue;
        }
        let compiler = Compiler::new(target, &libraries, &scratch.join(target))?;
        compiler.prove(root)?;
        proven.push(format!("{} for {target}, from core and alloc alone", LOGIC_CRATES.join(", ")));
    }
    Ok(proven)
}

/// rustc with a library directory of our own.
struct Compiler {
    target: String,
    sysroot: PathBuf,
    out: PathBuf,
}

impl Compiler {
    fn new(target: &str, libraries: &Path, scratch: &Path) -> io::Result<Self> {
        if scratch.exists() {
            fs::remove_dir_all(scratch)?;
        }
        let sysroot = scratch.join("sysroot");
        let bare = sysroot.join("lib/rustlib").join(target).join("lib");
        let out = scratch.join("out");
        fs::create_dir_all(&bare)?;
        fs::create_dir_all(&out)?;
        for entry in fs::read_dir(libraries)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if LIBRARIES.iter().any(|library| name.starts_with(library)) {
                std::os::unix::fs::symlink(entry.path(), bare.join(&name))?;
            }
        }
        Ok(Self { target: target.to_owned(), sysroot, out })
    }

    fn prove(&self, root: &Path) -> Result<(), PurityError> {
        let sample = self.out.join("impure.rs");
        fs::write(&sample, IMPURE)?;
        if self.compile("impure", &sample).is_ok() {
            return Err(PurityError::Blind);
        }
        let stand_in = self.out.join("crc32c.rs");
        fs::write(&stand_in, CRC32C_STAND_IN)?;
        self.compile("crc32c", &stand_in)?;
        for folder in LOGIC_CRATES {
            let source = root.join("src").join(folder).join("src/lib.rs");
            self.compile(&format!("plimsoll_{}", folder.replace('-', "_")), &source)?;
        }
        Ok(())
    }

    /// Compiles one crate; those compiled before it are there for it to use.
    fn compile(&self, name: &str, source: &Path) -> Result<(), PurityError> {
        let ours = LOGIC_CRATES.iter().map(|folder| format!("plimsoll_{folder}"));
        let external = LOGIC_EXTERNAL.iter().map(|(name, _)| (*name).to_owned());
        let mut command = rustc();
        command
            .args(["--edition", "2024", "--crate-type", "rlib", "--cap-lints", "allow"])
            .args(["--crate-name", name, "--target", &self.target])
            .arg("--sysroot")
            .arg(&self.sysroot)
            .arg("--out-dir")
            .arg(&self.out)
            .arg("-L")
            .arg(&self.out);
        for library in ours.chain(external) {
            let path = self.out.join(format!("lib{library}.rlib"));
            if path.exists() {
                command.arg("--extern").arg(format!("{library}={}", path.display()));
            }
        }
        let output = command.arg(source).output()?;
        if output.status.success() {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&output.stderr);
        Err(PurityError::Impure(format!("{name} for {} without std:\n{words}", self.target)))
    }
}

fn rustc() -> Command {
    Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}

/// What rustc prints, without the line's end.
fn rustc_line(arguments: &[&str]) -> io::Result<String> {
    let output = rustc().args(arguments).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A workspace whose logic crates are empty, but for `client`.
    fn workspace(client: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for folder in LOGIC_CRATES {
            let source = root.path().join("src").join(folder).join("src");
            fs::create_dir_all(&source).unwrap();
            let text = if folder == "client" { client } else { "#![no_std]" };
            fs::write(source.join("lib.rs"), text).unwrap();
        }
        root
    }

    fn prove(client: &str) -> Result<Vec<String>, PurityError> {
        let root = workspace(client);
        prove_purity(root.path(), &root.path().join("scratch"))
    }

    #[test]
    fn logic_with_core_alloc_and_the_crates_below_it_is_pure() {
        let client = "#![no_std] extern crate alloc; use plimsoll_wire as _;
                      pub fn f() -> alloc::vec::Vec<u32> { alloc::vec![crc32c::crc32c(b\"a\")] }";
        assert!(!prove(client).unwrap().is_empty());
    }

    #[test]
    fn logic_that_reaches_for_std_is_impure_however_it_is_written() {
        for client in [
            "pub fn f() { println!() }",
            "#![no_std] extern crate std;",
            "#![no_std] extern crate libc;",
            "#![no_std] #[cfg(not(test))] extern crate std as alloc;",
        ] {
            assert!(matches!(prove(client), Err(PurityError::Impure(_))), "{client}");
        }
    }

    #[test]
    fn the_stand_in_computes_the_same_checksum_as_the_specification() {
        let source = format!("{}\nconst _: () = ();", CRC32C_STAND_IN.replace("#![no_std]", ""));
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("main.rs");
        let main = "fn main() { assert_eq!(crc32c(b\"123456789\"), 0xE306_9283) }";
        fs::write(&path, format!("{source}\n{main}")).unwrap();
        let binary = root.path().join("main");
        let status = rustc().arg(&path).arg("-o").arg(&binary).status().unwrap();
        assert!(status.success());
        assert!(Command::new(binary).status().unwrap().success());
    }
}
