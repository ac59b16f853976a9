//! A server that is killed again and again, and comes back at the same address.

use std::path::{Path, PathBuf};
use std::time::Duration;

use plimsoll_client_blocking::Client;

use crate::{Place, Random, Server, Start};

/// A server, and what is needed to have the next one.
#[derive(Debug)]
pub(crate) struct Mortal<'a> {
    place: &'a Place,
    program: PathBuf,
    server: Option<Server>,
    address: String,
    start_ms: u64,
}

/// What a death was like.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Death {
    /// So many starts were killed before one came through.
    pub(crate) recoveries: u64,
    /// Memory went with the process.
    pub(crate) lost_power: bool,
}

impl<'a> Mortal<'a> {
    /// Starts the first one.
    pub(crate) fn begin(place: &'a Place, program: &Path) -> Mortal<'a> {
        let server = place.server().program(program).shards(2).start();
        let address = server.address().to_owned();
        Mortal { place, program: program.to_owned(), server: Some(server), address, start_ms: 100 }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn client(&self) -> Client {
        self.server.as_ref().expect("there is one but while it is started again").client()
    }

    /// Kills it, sometimes more than once before it is ready again, and sometimes as a loss of
    /// power does it to memory.
    pub(crate) fn kill(&mut self, random: &mut Random) -> Death {
        let mut death = Death { recoveries: 0, lost_power: random.once_in(8) };
        let old = self.server.take();
        if let Some(old) = &old
            && random.once_in(2)
        {
            // The next one begins on top of its last writes.
            old.kill_soon();
        } else {
            drop(old);
        }
        if death.lost_power {
            self.place.remove_arenas();
        }
        if random.once_in(3) {
            for _ in 0..random.below(1..4) {
                let starting = self.start(random).spawn();
                std::thread::sleep(Duration::from_millis(random.below(0..self.start_ms * 5 / 4)));
                death.recoveries += 1;
                starting.kill();
            }
        }
        let server = self.start(random).start();
        self.start_ms = (server.recovered().as_millis() as u64).clamp(20, 2_000);
        self.server = Some(server);
        death
    }

    fn start(&self, random: &mut Random) -> Start<'a> {
        let shards = random.below(1..3) as usize;
        let start = self.place.server().program(&self.program).shards(shards);
        start.with(&["--listen", &self.address])
    }

    /// A clean stop, at the end.
    pub(crate) fn stop(&mut self) {
        let status = self.server.take().map(Server::stop);
        assert!(
            status.is_some_and(|status| status.success()),
            "a clean stop ended with {status:?}"
        );
    }
}
