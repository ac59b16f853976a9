//! What a pipeline gets that embeds this crate: no async runtime, no io_uring, no server code.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

#[test]
fn embedding_brings_no_runtime_no_io_uring_and_no_server_code() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--format-version", "1", "--all-features"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let names = dependencies(&metadata, "plimsoll-client-blocking");
    assert!(names.contains("plimsoll-wire"), "the walk found nothing: {names:?}");
    for forbidden in [
        "tokio",
        "tokio-uring",
        "io-uring",
        "mio",
        "async-std",
        "plimsoll-server",
        "plimsoll-storage",
        "plimsoll-ring",
        "plimsoll-shard",
        "plimsoll-device",
        "plimsoll-sim",
    ] {
        assert!(!names.contains(forbidden), "{forbidden} comes with the client: {names:?}");
    }
}

/// Every package that `root` needs, not counting what only its tests need.
fn dependencies(metadata: &Value, root: &str) -> BTreeSet<String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let packages: BTreeMap<String, String> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| (text(&package["id"]), text(&package["name"])))
        .collect();
    let nodes: BTreeMap<String, &Value> = metadata["resolve"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| (text(&node["id"]), node))
        .collect();
    let root = packages.iter().find(|(_, name)| *name == root).unwrap().0.clone();
    let mut found = BTreeSet::new();
    let mut rest = vec![root];
    while let Some(id) = rest.pop() {
        for dependency in nodes[&id]["deps"].as_array().unwrap() {
            let kinds = dependency["dep_kinds"].as_array().unwrap();
            let is_normal = kinds.iter().any(|kind| kind["kind"].is_null());
            let id = text(&dependency["pkg"]);
            if is_normal && found.insert(packages[&id].clone()) {
                rest.push(id);
            }
        }
    }
    found
}
