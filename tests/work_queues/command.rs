//! `consume --share --exec`: the exit code of a command is the verdict.

use std::process::{Command, Stdio};

use plimsoll_client_blocking::DeadLetterHeader;
use plimsoll_tests::{Place, plimsoll};

use crate::member::{DEAD, GROUP, TOPIC, dead_letters, header, produce, server, wait_until_done};

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
