//! Text through a pipeline of which everything is killed at random, as `make pipeline` does it for
//! longer.

use std::path::Path;

use plimsoll_tests::{Pipeline, Place, Random, plimsoll};

const ROUNDS: usize = 8;

/// The sources of the server, which people wrote.
fn text(folder: &Path, lines: &mut Vec<String>) {
    let mut paths: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        match path.extension() {
            None => text(&path, lines),
            Some(_) => {
                let text = std::fs::read_to_string(path).unwrap();
                lines.extend(text.lines().map(str::to_owned));
            }
        }
    }
}

#[test]
fn a_pipeline_of_which_everything_is_killed_has_each_line_once_in_the_log_and_written() {
    let random = Random::seeded("crash", "a_pipeline_of_which_everything");
    let mut lines = Vec::new();
    text(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../src/shard/src")), &mut lines);
    let place = Place::new();
    let mut pipeline = Pipeline::begin(&place, &plimsoll(), &lines, random);
    for _ in 0..ROUNDS {
        pipeline.round(lines.len() / ROUNDS);
    }
    println!("{}", pipeline.finish());
}
