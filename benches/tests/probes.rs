//! Each probe runs and gives a positive figure. How large it is, no test says: machines differ,
//! and no test fails on a time.

use std::path::Path;
use std::time::Duration;

use plimsoll_benches::PreparedFile;
use plimsoll_benches::probes::receive::Way;
use plimsoll_benches::probes::{
    block_overwrite, ping_pong, receive, sequential_read, write_and_flush,
};

const SHORT: Duration = Duration::from_millis(20);

/// On the file system of the build, for one in memory may have no O_DIRECT.
fn file(name: &str) -> PreparedFile {
    PreparedFile::create(Path::new(env!("CARGO_TARGET_TMPDIR")), name, 8 << 20)
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn the_disk_probes_give_figures() {
    let file = file("disk");
    assert!(write_and_flush::bytes_per_second(&file, SHORT, false).unwrap() > 0.0);
    assert!(sequential_read::bytes_per_second(&file, SHORT).unwrap() > 0.0);
    let block = block_overwrite::p50(&file, SHORT).unwrap();
    assert!(block.dsync_us > 0.0 && block.fdatasync_us > 0.0);
    assert!(block.best_us() <= block.dsync_us);
}

#[test]
fn ping_pong_gives_figures_both_ways() {
    let trips = ping_pong::p50(SHORT).unwrap();
    assert!(trips.uring_us > 0.0 && trips.blocking_us > 0.0);
}

#[test]
fn every_way_to_receive_gives_figures_with_and_without_a_file() {
    let file = file("receive");
    for way in [Way::Multishot, Way::SingleShot] {
        for file in [None, Some(&file)] {
            // Frames that fit neither into a buffer nor into a piece evenly.
            let intake = receive::intake(way, 10_007, file, SHORT).unwrap();
            assert!(intake.bytes_per_second > 0.0 && intake.cpu_ns_per_byte > 0.0, "{way:?}");
        }
    }
}

#[test]
fn a_prepared_file_is_removed_when_it_is_dropped() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dropped");
    let prepared = file("dropped");
    assert_eq!(path.metadata().unwrap().len(), 8 << 20);
    drop(prepared);
    assert!(!path.exists());
}
