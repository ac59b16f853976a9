//! Ends the campaign when a server neither answers nor dies.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Nothing that is done here takes this long, not even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// Bites when it is not fed for long: a server that hangs is a promise broken too.
pub(crate) struct Watchdog {
    fed: Arc<Mutex<Fed>>,
}

/// What was begun last, and when.
#[derive(Clone, Copy)]
struct Fed {
    doing: &'static str,
    since: Instant,
}

impl Watchdog {
    pub(crate) fn begin() -> Watchdog {
        let fed = Arc::new(Mutex::new(Fed { doing: "start", since: Instant::now() }));
        let seen = Arc::clone(&fed);
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(Duration::from_secs(1));
                let Fed { doing, since } = *seen.lock().unwrap_or_else(PoisonError::into_inner);
                if since.elapsed() > PATIENCE {
                    println!("BROKEN: nothing went on for {PATIENCE:?} after: {doing}");
                    std::process::exit(1);
                }
            }
        });
        Watchdog { fed }
    }

    /// This begins now.
    pub(crate) fn feed(&self, doing: &'static str) {
        let now = Fed { doing, since: Instant::now() };
        *self.fed.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }
}
