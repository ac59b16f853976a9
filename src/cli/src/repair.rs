//! `plimsoll repair`: cuts off what is damaged, so that the rest goes on. Offline.
//!
//! What to do is decided in storage; here it is said, and with `--apply` done, step by step, each
//! flushed before the next. What a newcomer gets wrong: nothing is thrown away. What is cut lies in
//! `DIR/repair` until somebody removes it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use plimsoll_server::Config;
use plimsoll_storage::{REPAIR_DIRECTORY, Repair, RepairConfig, RepairStep, repair};

use crate::repair_files::carry_out;
use crate::topic_records::TOPIC_RECORDS;
use crate::utc::Utc;
use crate::verify::{Lines, StoredFiles, lock};

/// Say what is damaged in a data directory whose server is stopped, and what would be cut; with
/// --apply, cut it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each partition keeps all records before its first damaged one, and takes appends again. Offsets
that may have been given out are not given out again. What is cut is kept in DIR/repair/TIME, with
a list, kept.txt. Without --apply nothing is changed. A repair that was cut off is finished by the
next one. It needs room for the journals that it makes anew.

Lines: `damage:` and `note:` as `plimsoll verify` says them, `cut:` records that go, `change:`
anything else that is made anew.

Exit code 0: nothing to do; 1: there is damage, or it was cut; 2: not a data directory, or its
server runs, or it could not be done.

Example:
  plimsoll repair /var/lib/plimsoll
  plimsoll repair /var/lib/plimsoll --apply && plimsoll verify /var/lib/plimsoll")]
pub(crate) struct Args {
    /// The data directory.
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Do it.
    #[arg(long)]
    pub(crate) apply: bool,
}

/// Repairs, or says what a repair would do.
pub(crate) fn run(args: &Args) -> ExitCode {
    let code = match repair_directory(args, &mut io::stdout().lock()) {
        Ok(repair) if repair.steps.is_empty() => 0,
        Ok(_) => 1,
        Err(sentence) => {
            eprintln!("plimsoll: {}: {sentence}", args.dir.display());
            2
        }
    };
    ExitCode::from(code)
}

fn repair_directory(args: &Args, out: &mut impl Write) -> Result<Repair, String> {
    let _lock = lock(&args.dir)?;
    let mut files = StoredFiles::new(args.dir.clone());
    let mut lines = Lines::new(out);
    let config = RepairConfig {
        name: free_name(&args.dir),
        journal_bytes: Config::JOURNAL_BYTES,
        topics: TOPIC_RECORDS,
    };
    let repair = repair(&mut files, &config, &mut |line| lines.say(&line))
        .map_err(|error| error.to_string())?;
    let Repair { damages, cuts, ref steps } = repair;
    let side = args.dir.join(REPAIR_DIRECTORY).join(&config.name);
    if steps.is_empty() {
        lines.say(&format_args!("no damage: nothing to repair"));
    } else if args.apply {
        do_steps(&args.dir, steps)?;
        let side = side.display();
        lines.say(&format_args!(
            "repaired: {damages} damaged places, {cuts} partitions cut; what was cut is in {side}"
        ));
    } else {
        lines.say(&format_args!(
            "{damages} damaged places, {cuts} partitions to be cut: nothing was changed; run again \
             with --apply to do it"
        ));
    }
    Ok(repair)
}

/// A directory for this repair that is not there yet.
fn free_name(directory: &Path) -> String {
    let name = Utc::now().name();
    let names = (2..).map(|number| format!("{name}-{number}"));
    let mut names = std::iter::once(name.clone()).chain(names);
    let is_free = |name: &String| !directory.join(REPAIR_DIRECTORY).join(name).exists();
    names.find(is_free).unwrap_or_default()
}

fn do_steps(directory: &Path, steps: &[RepairStep]) -> Result<(), String> {
    for step in steps {
        carry_out(directory, step).map_err(|error| {
            format!("a step of the repair failed ({error}: {step:.200?}); run it again")
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_storage::{DataDirId, Manifest, verify};
    use std::fs;

    /// A manifest, a journal without a frame, and a lock.
    fn directory() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let mut block = [0; 4096];
        Manifest { data_dir: DataDirId([1; 16]), epoch: 1, shards: 1, counts: Default::default() }
            .encode(&mut block);
        fs::write(root.join("MANIFEST"), block).unwrap();
        fs::write(root.join("lock"), "1\n").unwrap();
        fs::create_dir(root.join("journal")).unwrap();
        fs::write(root.join("journal/00000.journal"), vec![7; 8 << 20]).unwrap();
        directory
    }

    fn args(directory: &tempfile::TempDir, apply: bool) -> Args {
        Args { dir: directory.path().to_owned(), apply }
    }

    fn said(args: &Args) -> (String, String) {
        let mut out = Vec::new();
        repair_directory(args, &mut out).unwrap();
        (format!("{:?}", run(args)), String::from_utf8(out).unwrap())
    }

    #[test]
    fn without_apply_nothing_is_changed_and_the_exit_code_is_1() {
        let directory = directory();
        let journal = directory.path().join("journal/00000.journal");
        let before = fs::read(&journal).unwrap();
        let (code, text) = said(&args(&directory, false));
        assert_eq!(code, format!("{:?}", ExitCode::from(1)));
        assert!(text.contains("damage: journal/00000.journal at byte 0: neither anchor"), "{text}");
        assert!(text.ends_with("run again with --apply to do it\n"), "{text}");
        assert_eq!(fs::read(&journal).unwrap(), before);
        assert!(!directory.path().join("repair").exists());
    }

    #[test]
    fn with_apply_it_is_sound_and_a_second_repair_has_nothing_to_do() {
        let directory = directory();
        let mut out = Vec::new();
        repair_directory(&args(&directory, true), &mut out).unwrap();
        let mut files = StoredFiles::new(directory.path().to_owned());
        let verified = verify(&mut files, TOPIC_RECORDS.read, &mut |it| panic!("{it}"));
        assert_eq!(verified.unwrap().damages, 0);
        let side = fs::read_dir(directory.path().join("repair")).unwrap().next().unwrap().unwrap();
        let kept = fs::read(side.path().join("journal-00000.journal")).unwrap();
        assert_eq!(kept, vec![7; 8 << 20]);
        assert!(fs::read_to_string(side.path().join("kept.txt")).unwrap().contains("MANIFEST"));
        let (code, text) = said(&args(&directory, true));
        assert_eq!(
            (code, text.as_str()),
            (format!("{:?}", ExitCode::SUCCESS), "no damage: nothing to repair\n")
        );
    }

    #[test]
    fn a_directory_in_use_is_left_alone() {
        let directory = directory();
        let server = fs::File::open(directory.path().join("lock")).unwrap();
        server.try_lock().unwrap();
        let refused = repair_directory(&args(&directory, true), &mut io::sink()).unwrap_err();
        assert!(refused.contains("its server runs"), "{refused}");
        assert_eq!(
            format!("{:?}", run(&args(&directory, true))),
            format!("{:?}", ExitCode::from(2))
        );
    }
}
