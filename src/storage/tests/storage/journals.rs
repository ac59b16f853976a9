//! Which journals a start makes, and which it misses. A start that made a missing journal anew
//! would forget, without a word, everything that only that journal named.

use plimsoll_sim::{Disk, Random, Survival, heap_arena};
use plimsoll_storage::{DataDirId, Started, Startup, StartupConfig, StartupError, journal_path};

const JOURNAL_BYTES: u64 = 8 << 20;

fn start(disk: &mut Disk, shards: u16) -> Result<Started, StartupError> {
    let new_data_dir = DataDirId([4; 16]);
    let mut startup =
        Startup::new(StartupConfig { shards, journal_bytes: JOURNAL_BYTES, new_data_dir });
    let mut arena = heap_arena(4096);
    loop {
        while let Some(op) = startup.poll_op() {
            disk.submit(op, &arena);
        }
        if let Some(outcome) = startup.outcome() {
            disk.kill();
            return outcome;
        }
        let completion = disk.complete_one(&mut arena).expect("the start waits for something");
        startup.handle(completion);
    }
}

#[test]
fn a_journal_that_is_gone_stops_the_start_and_is_named() {
    let mut disk = Disk::new(&Random::new(1));
    assert_eq!(start(&mut disk, 2).unwrap().journals.len(), 2);
    let journal = disk.read_file(&journal_path(1)).expect("the journal is there");

    let mut without = Disk::new(&Random::new(2));
    for path in disk.files() {
        if path != journal_path(1) {
            without.write_file(&path, &disk.read_file(&path).expect("a file has content"));
        }
    }
    match start(&mut without, 2) {
        Err(StartupError::MissingJournal(path)) => assert_eq!(path, journal_path(1)),
        Err(error) => panic!("another error: {error}"),
        Ok(_) => panic!("the start went on without the journal"),
    }
    without.write_file(&journal_path(1), &journal);
    assert!(start(&mut without, 2).is_ok(), "put back, it is as before");
}

/// Its lap would be another one, so that frames would be looked for in wrong places; and the frames
/// behind the cut would be missed without a word, as if their writes had been torn.
#[test]
fn a_journal_of_another_length_stops_the_start_and_is_named() {
    let mut sound = Disk::new(&Random::new(5));
    start(&mut sound, 1).unwrap();
    let journal = sound.read_file(&journal_path(0)).expect("the journal is there");
    let whole = journal.len();
    for length in [whole - 4096, whole - 1, whole + 4096, 8192, 4096] {
        let mut disk = Disk::new(&Random::new(6));
        let manifest = sound.read_file("MANIFEST").expect("it is there");
        disk.write_file("MANIFEST", &manifest);
        let mut other = journal.clone();
        other.resize(length, 0);
        disk.write_file(&journal_path(0), &other);
        let Err(error) = start(&mut disk, 1) else { panic!("{length} bytes are taken") };
        let StartupError::JournalLength { path, found_bytes, expected_bytes } = &error else {
            panic!("another error: {error}")
        };
        assert_eq!(*path, journal_path(0));
        assert_eq!((*found_bytes, *expected_bytes), (length as u64, whole as u64));
        assert!(error.to_string().contains("plimsoll repair"), "{error}");
        assert!(disk.read_file(&journal_path(0)).expect("it is there") == other, "unchanged");
        disk.write_file(&journal_path(0), &journal);
        assert!(start(&mut disk, 1).is_ok(), "put back, it is as before");
    }
}

/// The start after a kill found the journal that had just got its name, used it, and power took the
/// name with all that was acked since.
#[test]
fn a_journal_that_a_killed_start_named_is_there_for_good_once_it_is_used() {
    for cut in 0..60 {
        let mut disk = Disk::new(&Random::new(4));
        let config = StartupConfig {
            shards: 2,
            journal_bytes: JOURNAL_BYTES,
            new_data_dir: DataDirId([4; 16]),
        };
        cut_start(&mut disk, config, cut);
        disk.kill();
        assert_eq!(start(&mut disk, 2).unwrap().journals.len(), 2, "cut {cut}");
        disk.power_loss_leaving(Survival::Nothing);
        let again = start(&mut disk, 2).unwrap_or_else(|error| panic!("cut {cut}: {error}"));
        assert_eq!(again.journals.len(), 2, "cut {cut}");
    }
}

/// A start of which only so many operations end.
fn cut_start(disk: &mut Disk, config: StartupConfig, operations: usize) {
    let mut startup = Startup::new(config);
    let mut arena = heap_arena(4096);
    for _ in 0..operations {
        while let Some(op) = startup.poll_op() {
            disk.submit(op, &arena);
        }
        if let Some(completion) = disk.complete_one(&mut arena) {
            startup.handle(completion);
        }
    }
}

#[test]
fn a_start_that_is_cut_off_while_it_adds_a_shard_can_be_repeated() {
    for cut in 0..40 {
        let mut disk = Disk::new(&Random::new(3));
        start(&mut disk, 1).unwrap();
        let config = StartupConfig {
            shards: 2,
            journal_bytes: JOURNAL_BYTES,
            new_data_dir: DataDirId([4; 16]),
        };
        cut_start(&mut disk, config, cut);
        disk.power_loss();
        let started = start(&mut disk, 2).unwrap_or_else(|error| panic!("cut {cut}: {error}"));
        assert_eq!(started.journals.len(), 2, "cut {cut}");
        assert_eq!(start(&mut disk, 2).unwrap().manifest.shards, 2, "cut {cut}");
    }
}
