//! Mail between shards: one bounded box for each ordered pair, so that it keeps its order.
//!
//! It never waits and never drops mail: what does not fit stays with its sender. What a newcomer
//! gets wrong: order holds between two shards only. Letters of two senders may meet in any order.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use crossbeam_queue::ArrayQueue;
use plimsoll_ring::Doorbell;
use plimsoll_shard::Mail;

/// Mail in one box, at most.
const BOX_MAIL_MAX: usize = 1024;

/// What wakes a shard's thread.
pub(crate) trait Bell {
    /// Makes the thread look for mail once more before it waits. What was put into its boxes
    /// before is found then.
    fn ring(&self);
}

impl Bell for Doorbell {
    fn ring(&self) {
        Doorbell::ring(self);
    }
}

/// All boxes and doorbells of a server; shared by its shards.
pub(crate) struct Mailboxes<M = Mail, B = Doorbell> {
    shards: usize,
    boxes: Vec<ArrayQueue<M>>,
    doorbells: Vec<OnceLock<B>>,
}

impl Mailboxes {
    pub(crate) fn new(shards: usize) -> Arc<Self> {
        Self::with_room(shards, BOX_MAIL_MAX)
    }
}

impl<M, B: Bell> Mailboxes<M, B> {
    fn with_room(shards: usize, box_mail_max: usize) -> Arc<Self> {
        Arc::new(Self {
            shards,
            boxes: (0..shards * shards).map(|_| ArrayQueue::new(box_mail_max)).collect(),
            doorbells: (0..shards).map(|_| OnceLock::new()).collect(),
        })
    }

    /// Tells the others how to wake a shard; once, by its thread.
    pub(crate) fn set_doorbell(&self, shard: usize, doorbell: B) {
        // A second doorbell for a shard cannot come: each thread sets its own, once.
        let _first = self.doorbells[shard].set(doorbell);
    }

    /// Wakes a shard that is waiting, if its thread has come so far.
    pub(crate) fn wake(&self, shard: usize) {
        if let Some(doorbell) = self.doorbells[shard].get() {
            doorbell.ring();
        }
    }

    fn between(&self, from: usize, to: usize) -> &ArrayQueue<M> {
        &self.boxes[from * self.shards + to]
    }

    /// The next mail from `from` to `to`.
    pub(crate) fn take(&self, from: usize, to: usize) -> Option<M> {
        self.between(from, to).pop()
    }

    /// Whether `to` has mail from anybody.
    pub(crate) fn has_mail(&self, to: usize) -> bool {
        (0..self.shards).any(|from| !self.between(from, to).is_empty())
    }
}

/// What one shard sends; keeps what did not fit.
pub(crate) struct Outgoing<M = Mail, B = Doorbell> {
    from: usize,
    boxes: Arc<Mailboxes<M, B>>,
    waiting: VecDeque<(usize, M)>,
}

impl<M, B: Bell> Outgoing<M, B> {
    pub(crate) fn new(from: usize, boxes: Arc<Mailboxes<M, B>>) -> Self {
        Self { from, boxes, waiting: VecDeque::new() }
    }

    /// Sends what waits, then what `next` gives, until a box is full. The shard is not asked for
    /// more while something waits: its own outbox is bounded.
    pub(crate) fn send(&mut self, mut next: impl FnMut() -> Option<(usize, M)>) {
        while let Some((to, mail)) = self.waiting.pop_front().or_else(&mut next) {
            let pushed = self.boxes.between(self.from, to).push(mail);
            self.boxes.wake(to);
            if let Err(mail) = pushed {
                self.waiting.push_front((to, mail));
                return;
            }
        }
    }

    /// Whether something waits for room.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
}

#[cfg(test)]
#[path = "mailboxes_tests.rs"]
mod tests;
