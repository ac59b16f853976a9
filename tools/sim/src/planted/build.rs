//! Builds the copy, and lets the simulator look at it.
//!
//! One target directory serves all patches, with an incremental profile: what a patch does not
//! touch is not built again. What a newcomer gets wrong: a simulator that does not end has not
//! caught anything; it is stopped and that is an error.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::patch::Patch;
use crate::tree;

/// How long the simulator may take; with nothing found it needs about a minute.
const LOOK_MAX: Duration = Duration::from_secs(20 * 60);

/// Optimised a little, built fast, and without the assertions that are not shipped.
const PROFILE: [(&str, &str); 5] = [
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "0"),
    ("CARGO_PROFILE_RELEASE_INCREMENTAL", "true"),
];

/// Where the tests of storage are.
const STORAGE: [&str; 4] = ["--package", "plimsoll-storage", "--test", "storage"];
/// Those of them that end a life after each of its operations, and those of what goes by itself.
const CUTS: [&str; 4] = ["cuts::", "exhaustive::", "trimming::", "retention::"];

/// Where and how bugs are planted.
pub(crate) struct Workshop {
    pub(crate) root: PathBuf,
    /// The copy and its builds lie here.
    pub(crate) place: PathBuf,
    pub(crate) jobs: usize,
    pub(crate) seeds: u64,
}

/// What caught a bug.
pub(crate) enum Found {
    /// The simulator, at this seed, after so many that had passed.
    BySeed { seed: u64, after: u64, text: String },
    /// A test: the exhaustive cuts, or the one that the patch names.
    ByTest(String),
    /// Nothing did.
    Nothing,
}

impl Workshop {
    /// Plants one bug, and looks for it.
    pub(crate) fn plant(&self, patch: &Patch) -> Result<Found, String> {
        tree::sync(&self.root, &self.copy())?;
        tree::apply(&self.copy(), patch)?;
        let found = match &patch.caught_by {
            Some(named) => self.run_test(named),
            None => match self.simulate() {
                Ok(Found::Nothing) => self.test(&STORAGE, &CUTS),
                found => found,
            },
        };
        found.map_err(|text| format!("{}: {text}", patch.name))
    }

    /// Makes the copy. What `try_on` looks at is the tree without a bug.
    pub(crate) fn prepare(&self) -> Result<(), String> {
        std::fs::create_dir_all(self.copy()).map_err(|error| error.to_string())?;
        tree::sync(&self.root, &self.copy())
    }

    /// Sees that a patch applies, and no more.
    pub(crate) fn try_on(&self, patch: &Patch) -> Result<(), String> {
        tree::try_on(&self.copy(), patch)
    }

    /// Looks at the tree as it is.
    pub(crate) fn look(&self) -> Result<Found, String> {
        tree::sync(&self.root, &self.copy())?;
        self.simulate()
    }

    /// Runs a test that a patch names.
    pub(crate) fn run_test(&self, named: &str) -> Result<Found, String> {
        self.test(&named.split_whitespace().collect::<Vec<_>>(), &[])
    }

    fn copy(&self) -> PathBuf {
        self.place.join("tree")
    }

    fn simulate(&self) -> Result<Found, String> {
        self.cargo(&["build", "--package", "plimsoll-simulate", "--bin", "plimsoll-simulate"])?;
        let program = self.place.join("target/release/plimsoll-simulate");
        let mut command = Command::new(program);
        command.args(["--no-shrink", "--quiet", "--seeds", &self.seeds.to_string()]);
        command.args(["--jobs", &self.jobs.to_string()]).env("TMPDIR", &self.place);
        let output = output_of(&mut command)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        match output.status.code() {
            Some(0) => Ok(Found::Nothing),
            Some(1 | 3) => found_by(&text),
            _ => Err(format!("the simulator ends with {}:\n{text}", output.status)),
        }
    }

    /// Runs tests: what `cargo test` is told, and which of those that gives.
    fn test(&self, which: &[&str], names: &[&str]) -> Result<Found, String> {
        let tests = [&["test"][..], which].concat();
        self.cargo(&[&tests[..], &["--no-run"]].concat())?;
        match self.cargo(&[&tests[..], &["--"], names].concat()) {
            Ok(()) => Ok(Found::Nothing),
            Err(text) => Ok(Found::ByTest(failed_test(&text))),
        }
    }

    fn cargo(&self, arguments: &[&str]) -> Result<(), String> {
        let (first, rest) = arguments.split_first().ok_or("cargo needs a word")?;
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.arg(first).args(["--release", "--quiet", "--jobs", &self.jobs.to_string()]);
        command.args(rest).envs(PROFILE).current_dir(self.copy());
        command.env("CARGO_TARGET_DIR", self.place.join("target")).env_remove("RUSTFLAGS");
        let output = command.output().map_err(|error| format!("cargo: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = [output.stdout, output.stderr].concat();
        Err(String::from_utf8_lossy(&said).into_owned())
    }
}

/// The first test that a run of tests lists as failed, at its end.
fn failed_test(text: &str) -> String {
    let (_, listed) = text.rsplit_once("failures:\n").unwrap_or_default();
    let first = listed.lines().next().map(str::trim).filter(|name| !name.is_empty());
    first.unwrap_or("a run of tests").to_string()
}

/// Runs a program that may hang because of what was planted.
fn output_of(command: &mut Command) -> Result<Output, String> {
    let failed = |error| format!("the simulator: {error}");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().map_err(failed)?;
    let deadline = Instant::now() + LOOK_MAX;
    while child.try_wait().map_err(failed)?.is_none() {
        if Instant::now() > deadline {
            child.kill().map_err(failed)?;
            child.wait().map_err(failed)?;
            return Err(format!("the simulator does not end within {LOOK_MAX:?}"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().map_err(failed)
}

/// Reads what the simulator said: `seed S fails after N that did not`, then how.
fn found_by(text: &str) -> Result<Found, String> {
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let words: Vec<&str> = first.split(' ').collect();
    match words[..] {
        ["seed", seed, "fails", "after", after, ..] => {
            let number = |word: &str| word.parse().map_err(|_| format!("what is {first:?}?"));
            let text = lines.next().unwrap_or_default().to_string();
            Ok(Found::BySeed { seed: number(seed)?, after: number(after)?, text })
        }
        // The same seed did two things.
        ["seed", seed, "run", "twice", ..] => {
            let seed = seed.parse().map_err(|_| format!("what is {first:?}?"))?;
            Ok(Found::BySeed { seed, after: 0, text: first.to_string() })
        }
        _ => Err(format!("the simulator says:\n{text}")),
    }
}
