//! The command line: `consume --share --exec`, and what `group` shows of a work queue.

use std::process::{Command, Stdio};
use std::time::Duration;

use plimsoll_client_blocking::DeadLetterHeader;
use plimsoll_tests::{Place, Server, plimsoll};

use crate::member::{
    DEAD, GROUP, TOPIC, dead_letters, header, join, next, options, produce, server, wait_until_done,
};

#[test]
fn a_command_accepts_rejects_and_releases_by_its_exit_code() {
    let place = Place::new();
    let server = server(&place);
    produce(&server.client(), ["good", "bad", "later"].map(str::to_owned));
    let words = "read -r job; echo \"$job $PLIMSOLL_DELIVERIES\"; case $job in
        good) exit 0;; bad) exit 65;; *) test $PLIMSOLL_DELIVERIES = 2 || exit 75;; esac";
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(plimsoll());
    command.args(["consume", TOPIC, "--group", GROUP, "--share", "--dead-letter", DEAD]);
    command.args(["--exec", words, "--retry-delay", "10ms", "--max-records", "4"]);
    command.args(["--server", server.address()]).stdin(Stdio::null());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["bad 1", "good 1", "later 1", "later 2"]);
    let letters = dead_letters(&server.client(), 1);
    assert_eq!(letters[0].value(), Some(&b"bad"[..]));
    let detail = header(&letters[0], DeadLetterHeader::Detail.name());
    assert_eq!(detail, Some("the command exited with 65"));
    wait_until_done(&server.client());
}

fn group(server: &Server, words: &[&str]) -> serde_json::Value {
    let mut command = Command::new(plimsoll());
    command.arg("group").args(words).args(["--json", "--server", server.address()]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn what_is_at_work_and_delayed_is_shown_and_a_reset_group_begins_anew() {
    let place = Place::new();
    let server = server(&place);
    produce(&server.client(), (0..3).map(|number| number.to_string()));
    let member = join(&server.client(), options());
    let records = [next(&member), next(&member), next(&member)];
    member.accept(&records[0]);
    member.release(&records[1], Duration::from_secs(3600));
    member.flush().unwrap();
    let described = group(&server, &["describe", GROUP]);
    let sum = |name: &str| {
        let partitions = described["partitions"].as_array().unwrap();
        partitions.iter().map(|of| of[name].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!(described["mode"], "share");
    assert_eq!((sum("in_flight"), sum("delayed"), sum("start")), (1, 1, 1), "{described}");
    assert_eq!(group(&server, &["list"])[0]["mode"], "share");
    member.close().unwrap();
    group(&server, &["reset", GROUP, "--topic", TOPIC, "--to", "beginning"]);
    let member = join(&server.client(), options());
    for _ in 0..3 {
        let record = next(&member);
        assert_eq!(record.deliveries, 1, "what was known of it is forgotten");
        member.accept(&record);
    }
    member.close().unwrap();
    wait_until_done(&server.client());
    group(&server, &["delete", GROUP]);
    assert_eq!(group(&server, &["list"]), serde_json::json!([]));
}
