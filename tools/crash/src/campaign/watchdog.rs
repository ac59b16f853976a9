//! Ends the campaign when a server neither answers nor dies.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// No round takes this long, not even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// Bites when it is not fed for long: a server that hangs is a promise broken too.
pub(crate) struct Watchdog {
    rounds: Arc<AtomicU64>,
}

impl Watchdog {
    pub(crate) fn begin() -> Watchdog {
        let rounds = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&rounds);
        std::thread::spawn(move || {
            let (mut last, mut since) = (0, Instant::now());
            loop {
                std::thread::sleep(Duration::from_secs(1));
                let now = seen.load(Ordering::Relaxed);
                if now != last {
                    (last, since) = (now, Instant::now());
                } else if since.elapsed() > PATIENCE {
                    println!("BROKEN: nothing went on for {PATIENCE:?} in round {now}");
                    std::process::exit(1);
                }
            }
        });
        Watchdog { rounds }
    }

    pub(crate) fn feed(&self) {
        self.rounds.fetch_add(1, Ordering::Relaxed);
    }
}
