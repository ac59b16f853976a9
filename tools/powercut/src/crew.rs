//! Threads that are members of a group until the server is gone, and what they say meanwhile.
//!
//! What a newcomer gets wrong: what they say is in the order in which it came to pass, also between
//! two of them. Who is given what another one let go of hears so after that one has said it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A group that has not come to its end by then never does.
const PATIENCE: Duration = Duration::from_secs(120);

/// Those who are at it, and what they said so far.
pub(crate) struct Crew<H> {
    members: Vec<JoinHandle<Result<(), String>>>,
    heard: Receiver<H>,
    has_spoken: Arc<AtomicBool>,
    is_over: Arc<AtomicBool>,
}

/// With which a member says what it hears, and hears that it is over.
pub(crate) struct Voice<H> {
    says: Sender<H>,
    has_spoken: Arc<AtomicBool>,
    is_over: Arc<AtomicBool>,
}

impl<H: Send + 'static> Crew<H> {
    /// A thread for each of these duties.
    pub(crate) fn begin<D: Send + 'static>(
        duties: Vec<D>,
        work: impl Fn(D, Voice<H>) -> Result<(), String> + Copy + Send + 'static,
    ) -> Crew<H> {
        let (says, heard) = channel();
        let [has_spoken, is_over] = [false, false].map(|it| Arc::new(AtomicBool::new(it)));
        let member = |duty| {
            let (has_spoken, is_over) = (Arc::clone(&has_spoken), Arc::clone(&is_over));
            let voice = Voice { says: says.clone(), has_spoken, is_over };
            std::thread::spawn(move || work(duty, voice))
        };
        Crew { members: duties.into_iter().map(member).collect(), heard, has_spoken, is_over }
    }

    /// Waits until anyone has said anything, but not for longer than this.
    pub(crate) fn await_a_word(&self, timeout: Duration) {
        wait_until(timeout, || self.has_spoken.load(Ordering::Relaxed));
    }

    /// Lets them work until it is done. False: they do not come to an end.
    pub(crate) fn work_until(&self, is_done: impl Fn() -> bool) -> bool {
        wait_until(PATIENCE, is_done)
    }

    /// What they heard, in order, and why those ended who did so before.
    pub(crate) fn end(self) -> Result<(Vec<H>, String), String> {
        self.is_over.store(true, Ordering::Relaxed);
        let mut trouble = String::new();
        for member in self.members {
            // Under load it ends with the server, however that answers or does not.
            if let Err(why) = member.join().map_err(|_| "a member was handed what must not be")? {
                trouble.push_str(&why);
            }
        }
        Ok((self.heard.iter().collect(), trouble))
    }
}

impl<H> Voice<H> {
    /// Whether it is to end.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    pub(crate) fn say(&self, heard: H) {
        // Who listens does so until all members have ended.
        let _ = self.says.send(heard);
        self.has_spoken.store(true, Ordering::Relaxed);
    }
}

/// Whether it was so in time.
fn wait_until(timeout: Duration, is_so: impl Fn() -> bool) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < timeout {
        if is_so() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    false
}
