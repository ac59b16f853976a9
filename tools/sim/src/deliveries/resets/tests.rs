//! What the books say of resets: which side of one something is on, and what holds since.

use plimsoll_wire::{MemberId, Offset, Verdict};

use super::{ShareResetId, WantedStarts};
use crate::deliveries::{At, Deliveries, Handout, When};
use crate::ledger::Place;
use crate::scenario::SharePlan;
use crate::walls::{Stamp, Walls};

const PLACE: Place = Place { topic: 0, partition: 0 };
const OLD: MemberId = MemberId(1);
const NEW: MemberId = MemberId(2);
const LOCK_MS: u32 = 100;

fn at(offset: u64) -> At {
    (PLACE, Offset::new(offset))
}

fn to(offset: u64) -> WantedStarts {
    [(PLACE, Some(Offset::new(offset)))].into()
}

fn when(now_ms: i64, life: usize) -> When {
    When { now_ms, life }
}

fn book() -> Deliveries {
    Deliveries::new(&SharePlan {
        topics: vec![0],
        dead_letters: None,
        lock_ms: LOCK_MS,
        deliveries_max: 3,
        session_timeout_ms: 500,
        sharers: Vec::new(),
    })
}

fn hand_out(
    book: &mut Deliveries,
    (member, life): (MemberId, usize),
    (offset, count): (u64, u32),
    ms: i64,
) -> Result<(), String> {
    let stamp = Stamp { earliest_ms: ms, latest_ms: ms };
    let handout = Handout::new((member, life), (count, None), (stamp, LOCK_MS));
    book.hand_out(at(offset), handout, &Walls::default()).map(drop)
}

fn accept(book: &mut Deliveries, member: MemberId, offset: u64, now: When) -> Result<(), String> {
    let run = (PLACE, Offset::new(offset), Offset::new(offset));
    let sent = book.say(member, run, (Verdict::Accept, now.life));
    book.taken(&sent, (now.now_ms, now), &Walls::default())
}

/// A member of before has worked off 0 to 3, and has left.
fn worked_off() -> Deliveries {
    let mut book = book();
    book.heard_by_server(OLD, 0, when(1, 0));
    for offset in 0..4 {
        hand_out(&mut book, (OLD, 0), (offset, 1), 10).unwrap();
        accept(&mut book, OLD, offset, when(20, 0)).unwrap();
    }
    book.leaves(OLD);
    book
}

fn reset(book: &mut Deliveries, offset: u64) -> ShareResetId {
    book.ask_reset(&to(offset), when(1_000, 0))
}

#[test]
fn behind_a_reset_all_is_handed_out_anew_and_nothing_before_it() {
    let mut book = worked_off();
    let id = reset(&mut book, 2);
    book.reset_done(id, &to(2), when(1_001, 0)).unwrap();
    book.heard_by_server(NEW, 1_010, when(1_011, 0));
    hand_out(&mut book, (NEW, 0), (2, 1), 1_020).unwrap();
    let again = hand_out(&mut book, (NEW, 0), (3, 2), 1_020);
    assert!(again.is_err(), "deliveries of before were counted");
    let before = hand_out(&mut book, (NEW, 0), (1, 1), 1_020);
    assert!(before.is_err(), "it begins behind that");
    // Heard late, it is of before.
    let late = hand_out(&mut book, (OLD, 0), (1, 2), 900);
    assert!(late.is_err(), "it was done then, too");
}

#[test]
fn a_member_of_before_a_reset_has_nothing_to_say_behind_it() {
    let mut book = worked_off();
    let id = reset(&mut book, 0);
    book.reset_done(id, &to(0), when(1_001, 0)).unwrap();
    let stays = accept(&mut book, OLD, 2, when(1_100, 0));
    assert!(stays.is_err(), "it is still in the group");
    book.heard_by_server(NEW, 1_010, when(1_011, 0));
    let version = &book.possible(PLACE)[0];
    assert!(!version.has(at(2), super::super::Word::Accepted, &book));
}

#[test]
fn a_group_with_a_member_that_must_be_alive_is_not_reset() {
    let mut book = book();
    book.heard_by_server(OLD, 900, when(901, 0));
    let id = reset(&mut book, 0);
    assert!(book.reset_done(id, &to(0), when(1_001, 0)).is_err());
}

#[test]
fn a_reset_without_an_answer_has_happened_as_a_whole_or_not_at_all() {
    let next = |book: &mut Deliveries| {
        reset(book, 2);
        book.end_life();
        book.heard_by_server(NEW, 2_000, when(2_001, 1));
    };
    let happened = &mut worked_off();
    next(happened);
    hand_out(happened, (NEW, 1), (2, 1), 2_010).unwrap();
    let before = hand_out(happened, (NEW, 1), (0, 1), 2_010);
    assert!(before.is_err(), "it begins behind that, and was done before");

    let mut book = worked_off();
    hand_out(&mut book, (OLD, 0), (4, 1), 10).unwrap();
    next(&mut book);
    let is_either = |book: &Deliveries| book.possible(PLACE).len() == 2;
    assert!(is_either(&book));
    hand_out(&mut book, (NEW, 1), (4, 2), 2_010).unwrap();
    assert!(!is_either(&book), "the delivery before is remembered: it has not happened");
    let again = hand_out(&mut book, (NEW, 1), (2, 1), 2_010);
    assert!(again.is_err(), "what was accepted stays so");
}

#[test]
fn a_reset_that_was_refused_changes_nothing() {
    let mut book = worked_off();
    let id = reset(&mut book, 0);
    book.reset_refused(id);
    book.heard_by_server(NEW, 1_010, when(1_011, 0));
    assert!(hand_out(&mut book, (NEW, 0), (2, 1), 1_020).is_err());
}
