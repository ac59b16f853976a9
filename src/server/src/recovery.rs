//! Recovery on the main thread: runs storage's `Startup` on a ring of its own.
//!
//! It carries operations and decides nothing. What a newcomer gets wrong: this is not the end of
//! recovery. What lay in arenas is added later, and the shards log it before clients may come.

use plimsoll_device::{Completion, Op};
use plimsoll_ring::Ring;
use plimsoll_storage::{
    Started, StartedJournal, Startup, StartupConfig, journal_bytes_min, journal_path,
};

use crate::error::ServeError;

/// Reads what the directory holds; nothing in it is changed but the manifest's epoch and journals
/// that were missing or too small.
pub(crate) fn recover(ring: &mut Ring, config: StartupConfig) -> Result<Started, ServeError> {
    let mut startup = Startup::new(config);
    loop {
        while let Some(op) = startup.poll_op() {
            ring.submit(Op::Disk(op));
        }
        if let Some(outcome) = startup.outcome() {
            let started = outcome.map_err(ServeError::Startup)?;
            for journal in &started.grown {
                tracing::info!("{} was made larger", journal_path(*journal));
            }
            return Ok(started);
        }
        let turn = ring.turn(None, |completion| match completion {
            Completion::Disk(completion) => startup.handle(completion),
            Completion::Socket(_) => {}
        });
        turn.map_err(ServeError::Turn)?;
    }
}

/// A checkpoint may have to log anew all that the arena holds, so that with a larger arena than the
/// journal is made for, appends could stop for good. A journal that is smaller than configured is
/// one that found no room to grow; or a damaged one, to which nothing is appended anyway.
pub(crate) fn check_journals(
    journals: &[StartedJournal],
    arena_bytes: usize,
) -> Result<(), ServeError> {
    let least = journal_bytes_min(arena_bytes);
    let sound = journals.iter().filter(|journal| journal.damage.is_none());
    match sound.map(|it| &it.journal).find(|journal| journal.file_bytes() < least) {
        None => Ok(()),
        Some(journal) => Err(ServeError::Setting(format!(
            "{} has {} bytes, at least {least} are needed beside an arena of {arena_bytes}, and \
             the disk has no room for a larger one: make room on it, or give the --arena-bytes of \
             before",
            journal_path(journal.index),
            journal.file_bytes(),
        ))),
    }
}

#[cfg(test)]
mod tests {
    use plimsoll_storage::{Damage, Journal};

    use super::*;

    fn journal(file_bytes: u64, damage: Option<Damage>) -> StartedJournal {
        StartedJournal { journal: Journal::empty(3, file_bytes), damage }
    }

    #[test]
    fn an_arena_that_is_too_large_for_a_journal_that_could_not_grow_is_refused() {
        let arena_bytes = 16 << 20;
        assert!(check_journals(&[journal(32 << 20, None)], arena_bytes).is_ok());
        let small = check_journals(&[journal(32 << 20, None), journal(8 << 20, None)], arena_bytes);
        let text = small.unwrap_err().to_string();
        assert!(text.starts_with("journal/00003.journal has 8388608 bytes"), "{text}");
        assert!(text.contains("make room") && text.contains("--arena-bytes"), "{text}");
    }

    #[test]
    fn a_damaged_journal_that_is_too_small_does_not_keep_its_shard_from_being_read() {
        let damage = Damage {
            path: journal_path(3),
            position_bytes: 0,
            partition: None,
            what: "neither anchor of the journal checks".into(),
        };
        assert!(check_journals(&[journal(8 << 20, Some(damage))], 16 << 20).is_ok());
    }
}
