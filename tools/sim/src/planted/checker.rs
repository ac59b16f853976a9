//! Which checker a violation comes from, by what it says.
//!
//! What a newcomer gets wrong: one bug may be seen by several. The table names the first.

/// What a violation's text has in it, and what to call its checker.
const CHECKERS: [(&str, &str); 43] = [
    ("run twice", "determinism"),
    ("panicked", "assertion"),
    ("the committed offset goes back", "committed and gone"),
    ("what it has committed is not", "committed and gone"),
    ("and nobody asked for more", "committed ahead"),
    ("ahead of the work", "committed ahead"),
    ("was never worked off", "committed and not done"),
    ("is answered with", "committed and gone"),
    ("is taken from who", "commit of who is out"),
    ("is said to be taken", "commit of nothing"),
    ("has not let go", "two holders"),
    ("two members", "two holders"),
    ("is handed out once more", "handed out twice"),
    ("is lost", "acked and lost"),
    ("and is gone", "shown and lost"),
    ("was not shown", "skipped"),
    ("is gone and", "hole"),
    ("is gone, and", "gone too early"),
    ("and memory was kept", "hole"),
    ("is not what is on disk", "memory is not disk"),
    ("has other bytes", "other bytes"),
    ("what nobody produced", "other bytes"),
    ("was refused and", "refused and there"),
    ("after the disk failed", "ack after failure"),
    ("tells of two failures", "ack after failure"),
    ("after that of", "acks out of order"),
    ("is delivered after", "delivered out of order"),
    ("shown beyond", "beyond its watermark"),
    ("watermarks out of order", "beyond its watermark"),
    ("are its credit, and more", "credit"),
    ("the disk is full, and", "full disk not told"),
    ("there is room again, and", "full disk for good"),
    ("nothing fails, and yet", "refused for nothing"),
    ("an outcome of", "outcome of nothing"),
    ("has another id", "topic lost"),
    ("waiting for", "liveness"),
    ("a clean stop does not end", "liveness"),
    ("in one life", "liveness"),
    ("nothing was damaged", "damage where none is"),
    ("nobody says so", "rot that nobody tells"),
    ("the process ends by itself", "no start"),
    ("not there any more", "topic lost"),
    ("was deleted and is there", "deleted and there"),
];

/// The name of the checker that says `text`.
pub(crate) fn checker_of(text: &str) -> &str {
    let said = text.split_once(": ").map_or(text, |(_, said)| said);
    let known = CHECKERS.iter().find(|(part, _)| said.contains(part));
    match known {
        Some((_, name)) => name,
        None if said.contains(": offset ") => "one offset, two values",
        None if said.contains(" is at ") => "one value, two offsets",
        None => said,
    }
}
