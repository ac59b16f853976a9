//! Mailboxes under 7,000 orders of events: drawn at random, and by PCT, which favours few changes
//! of the thread. Not every order there is.
//!
//! Shards' threads run the loop of `shard_thread.rs` on shuttle, which decides at each step who
//! goes on, and reports it when nobody can: a wake-up that got lost. The bell is a copy of the
//! ring's doorbell, whose atomics and eventfd are the kernel's: who changes `ring/src/doorbell.rs`
//! changes it here. A failure prints the schedule; `shuttle::replay` repeats it.

use shuttle::sync::atomic::{AtomicU32, Ordering};
use shuttle::sync::{Condvar, Mutex};
use shuttle::thread;

use super::*;

const AWAKE: u32 = 0;
const PARKED: u32 = 1;
const RUNG: u32 = 2;

/// The doorbell with a flag for its eventfd.
#[derive(Clone)]
struct ModelBell {
    shared: Arc<(AtomicU32, Mutex<bool>, Condvar)>,
}

impl ModelBell {
    fn new() -> Self {
        let shared = (AtomicU32::new(AWAKE), Mutex::new(false), Condvar::new());
        Self { shared: Arc::new(shared) }
    }

    /// A turn of the ring that waits for nothing else.
    fn turn(&self, may_wait: bool) {
        let (state, eventfd, written) = &*self.shared;
        let armed = may_wait
            && state.compare_exchange(AWAKE, PARKED, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if armed {
            let mut is_written = eventfd.lock().unwrap();
            while !*is_written {
                is_written = written.wait(is_written).unwrap();
            }
            *is_written = false;
        }
        state.swap(AWAKE, Ordering::AcqRel);
    }
}

impl Bell for ModelBell {
    fn ring(&self) {
        let (state, eventfd, written) = &*self.shared;
        if state.swap(RUNG, Ordering::AcqRel) == PARKED {
            *eventfd.lock().unwrap() = true;
            written.notify_one();
        }
    }
}

type Letter = (usize, u32);
type Boxes = Arc<Mailboxes<Letter, ModelBell>>;

/// One shard's thread: sends so many letters to each other shard, and ends when it has theirs.
fn run_shard(index: usize, letters: u32, boxes: &Boxes) {
    let bell = ModelBell::new();
    boxes.set_doorbell(index, bell.clone());
    let mut outgoing = Outgoing::new(index, Arc::clone(boxes));
    let others: Vec<usize> = (0..boxes.shards).filter(|other| *other != index).collect();
    let mut to_send: VecDeque<(usize, Letter)> = (0..letters)
        .flat_map(|number| others.iter().map(move |to| (*to, (index, number))))
        .collect();
    let mut expected = vec![0; boxes.shards];
    loop {
        for (from, expected) in expected.iter_mut().enumerate() {
            while let Some((sender, number)) = boxes.take(from, index) {
                assert_eq!((sender, number), (from, *expected), "in order, once, all");
                *expected += 1;
            }
        }
        outgoing.send(|| to_send.pop_front());
        let has_all = others.iter().all(|from| expected[*from] == letters);
        if has_all && to_send.is_empty() && !outgoing.is_waiting() {
            return;
        }
        thread::yield_now();
        let busy = outgoing.is_waiting() || boxes.has_mail(index);
        bell.turn(!busy);
    }
}

fn run_all(shards: usize, letters: u32, room: usize) {
    let boxes: Boxes = Mailboxes::with_room(shards, room);
    let threads: Vec<_> = (0..shards)
        .map(|index| {
            let boxes = Arc::clone(&boxes);
            thread::spawn(move || run_shard(index, letters, &boxes))
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn every_letter_arrives_once_in_its_senders_order_and_wakes_who_waits() {
    shuttle::check_random(|| run_all(2, 3, 4), 3_000);
    shuttle::check_random(|| run_all(3, 3, 4), 1_000);
}

#[test]
fn full_boxes_keep_letters_with_their_sender_and_lose_none() {
    shuttle::check_random(|| run_all(2, 5, 1), 2_000);
    shuttle::check_pct(|| run_all(3, 4, 1), 1_000, 3);
}
