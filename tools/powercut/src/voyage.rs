//! One file system from its making through many cuts, and everything that was promised on it.
//!
//! The ledger spans all lives on it. What a newcomer gets wrong: acks that arrive after the cut
//! count like any other, since nobody may say that something is on a disk that is no more.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use plimsoll_tests::{Connection, Place, Random, Server, Start, Vanishing};
use plimsoll_wire::AckLevel;

use crate::churn::Churn;
use crate::disk::Temper;
use crate::image::Image;
use crate::loss::Loss;
use crate::machine::Machine;
use crate::readers::Readers;
use crate::tally::Tally;
use crate::watched::Watched;
use crate::workers::Workers;

/// Small, so that journals wrap and segments roll all the time.
const ARENA: &str = "16MiB";
const JOURNAL: &str = "32MiB";
const SEGMENT_BYTES: u64 = 1 << 20;

/// What is under test, and on what.
pub(crate) struct Ship<'a> {
    pub(crate) machine: &'a mut Machine,
    /// The `plimsoll` binary.
    pub(crate) program: &'a Path,
    pub(crate) temper: Temper,
}

pub(crate) struct Voyage<'a, 'b> {
    ship: &'a mut Ship<'b>,
    tally: &'a mut Tally,
    place: Place,
    topics: [Watched; 2],
    churn: Churn,
    vanishing: Vanishing,
    workers: Workers,
    readers: Readers,
    random: Random,
    /// What is on the disk, or was when it was last switched on.
    image: Image,
    life: u64,
    was_ready: bool,
    starts_to_cut: u32,
    is_laden: bool,
}

impl<'a, 'b> Voyage<'a, 'b> {
    /// Begins with an empty file system.
    pub(crate) fn new(
        ship: &'a mut Ship<'b>,
        tally: &'a mut Tally,
        folder: &Path,
        image: Image,
        seed: u64,
    ) -> Voyage<'a, 'b> {
        let topics = [Watched::new("small", 6, SEGMENT_BYTES), Watched::new("wide", 3, 4 << 20)];
        Voyage {
            ship,
            tally,
            place: Place::with_data_below(folder),
            topics,
            churn: Churn::default(),
            vanishing: Vanishing::new(),
            workers: Workers::new(),
            readers: Readers::new(),
            random: Random::new(seed),
            image,
            life: 0,
            was_ready: false,
            starts_to_cut: 0,
            is_laden: false,
        }
    }

    /// Whether the disk has little room left for more lives: a quick machine fills it before its
    /// last cut, and a full disk is another campaign.
    pub(crate) fn is_laden(&self) -> bool {
        self.is_laden
    }

    /// What the disk held when it was last switched on.
    pub(crate) fn image(&self) -> &Image {
        &self.image
    }

    /// What the servers wrote to stderr.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.place.log()).unwrap_or_default()
    }

    /// On, some life, a cut, off. Panics or says what was not as promised.
    pub(crate) fn cut_once(&mut self) -> Result<(), String> {
        self.switch_on()?;
        if self.starts_to_cut == 0 && self.random.once_in(8) {
            let in_a_row = self.random.below(1..4) as u32;
            self.starts_to_cut = in_a_row;
            self.tally.in_a_row[in_a_row as usize - 1] += 1;
        }
        let image = if self.starts_to_cut > 0 {
            self.starts_to_cut -= 1;
            self.cut_start()?
        } else if self.random.once_in(8) {
            self.cut_stop()?
        } else {
            self.cut_load()?
        };
        self.ship.machine.off()?;
        self.image = image;
        Ok(())
    }

    /// After the last cut: everything once more, a clean stop, and the file system's own check.
    pub(crate) fn arrive(&mut self) -> Result<(), String> {
        self.switch_on()?;
        let server = self.start(true)?;
        if !server.stop().success() {
            return Err("a clean stop does not exit with 0".to_owned());
        }
        self.verify()?;
        self.ship.machine.check()?;
        self.ship.machine.off()?;
        for topic in &self.topics {
            let (there, gone) = topic.counts();
            self.tally.there += there as u64;
            self.tally.gone += gone as u64;
        }
        self.tally.vanishing = self.tally.vanishing.and(self.vanishing.tally());
        self.tally.workers = self.tally.workers.and(self.workers.tally());
        self.tally.readers = self.tally.readers.and(self.readers.tally());
        self.tally.voyages += 1;
        Ok(())
    }

    /// The file system replays its journal; memory is gone.
    fn switch_on(&mut self) -> Result<(), String> {
        self.ship.machine.on(self.image.clone(), self.ship.temper)?;
        let room = nix::sys::statvfs::statvfs(self.ship.machine.mounted());
        let room = room.map_err(|error| format!("the room on the disk: {error}"))?;
        self.is_laden = room.blocks_available() < room.blocks() / 2;
        self.place.remove_arenas();
        if self.was_ready && self.random.once_in(2) { self.verify() } else { Ok(()) }
    }

    fn cut_start(&mut self) -> Result<Image, String> {
        let starting = self.command().spawn();
        std::thread::sleep(Duration::from_micros(self.random.below(0..120_000)));
        let image = self.cut()?;
        starting.kill();
        self.tally.in_start += 1;
        Ok(image)
    }

    fn cut_load(&mut self) -> Result<Image, String> {
        let server = self.start(false)?;
        let image = self.load_until_cut(server, |voyage, server| {
            let longest = voyage.random.one_of(&[10_000, 60_000, 250_000]);
            std::thread::sleep(Duration::from_micros(voyage.random.below(1_000..longest)));
            if voyage.random.once_in(6) {
                // Compaction needs a while, and deletions until they go.
                std::thread::sleep(Duration::from_millis(voyage.random.one_of(&[300, 1000, 3000])));
            }
            if voyage.random.once_in(3) {
                voyage.vanishing.ask(&server);
            }
            let image = voyage.cut()?;
            // Who says now that something is on the disk is a liar, and has time to say it.
            std::thread::sleep(Duration::from_micros(voyage.random.below(0..30_000)));
            server.kill();
            Ok(image)
        })?;
        self.tally.in_load += 1;
        Ok(image)
    }

    fn cut_stop(&mut self) -> Result<Image, String> {
        let server = self.start(false)?;
        let image = self.load_until_cut(server, |voyage, server| {
            std::thread::sleep(Duration::from_micros(voyage.random.below(1_000..60_000)));
            server.stop_soon();
            std::thread::sleep(Duration::from_micros(voyage.random.below(0..40_000)));
            let image = voyage.cut()?;
            server.kill();
            Ok(image)
        })?;
        self.tally.in_stop += 1;
        Ok(image)
    }

    fn load_until_cut(
        &mut self,
        server: Server,
        end: impl FnOnce(&mut Self, Server) -> Result<Image, String>,
    ) -> Result<Image, String> {
        let first_id = self.life << 44 | 4 << 40;
        let readers = self.readers.begin(&server, first_id, &mut self.random);
        let mut loads = Vec::new();
        for (index, topic) in (0..).zip(&self.topics) {
            let first_id = self.life << 44 | index << 40;
            loads.push(topic.begin(&server, first_id, &mut self.random));
        }
        let churning = self.churn.begin(server.address(), self.life);
        let first_id = self.life << 44 | 2 << 40;
        let vanishing = self.vanishing.begin(&server, first_id, &mut self.random);
        let first_id = self.life << 44 | 3 << 40;
        let workers = self.workers.begin(&server, first_id, &mut self.random);
        let image = end(self, server);
        self.tally.acked_at_disk += self.vanishing.note(vanishing, false);
        self.tally.acked_at_disk += self.workers.note(workers)?;
        self.tally.acked_at_disk += self.readers.note(readers)?;
        for (topic, load) in self.topics.iter_mut().zip(loads) {
            self.tally.acked_at_disk += topic.note(load)?;
        }
        let (made, deleted) = self.churn.note(churning)?;
        self.tally.topics_made += made;
        self.tally.topics_deleted += deleted;
        image
    }

    /// Starts a server, compares what is there with what was promised, and sees that it goes on.
    fn start(&mut self, is_whole: bool) -> Result<Server, String> {
        let server = self.command().start();
        self.was_ready = true;
        self.life += 1;
        self.tally.add_start(server.recovered());
        self.vanishing.ensure(&server);
        self.vanishing.compare(&server, AckLevel::Disk);
        self.vanishing.look(&self.ship.machine.mounted().join("data"));
        self.churn.compare(&server)?;
        for (index, topic) in (0..).zip(&mut self.topics) {
            topic.ensure(&server)?;
            let mut connection = Connection::open(server.address());
            topic.compare(&mut connection, is_whole);
            let first_id = self.life << 44 | index << 40 | 1 << 39;
            self.tally.acked_at_disk += topic.append_to_each(&mut connection, first_id)?;
        }
        let first_id = self.life << 44 | 3 << 40 | 1 << 39;
        self.tally.acked_at_disk += self.workers.compare(&server, first_id)?;
        if is_whole || self.random.once_in(6) {
            self.workers.work_off(&server)?;
        }
        let first_id = self.life << 44 | 4 << 40 | 1 << 39;
        self.tally.acked_at_disk += self.readers.compare(&server, first_id)?;
        if is_whole || self.random.once_in(6) {
            self.readers.work_off(&server)?;
        }
        Ok(server)
    }

    fn command(&mut self) -> Start<'_> {
        let shards = 1 + self.random.below(0..2) as usize;
        let data_dir = self.ship.machine.mounted().join("data").display().to_string();
        let start = self.place.server().program(self.ship.program).shards(shards);
        start.memory(ARENA, JOURNAL).with(&["--data-dir", &data_dir])
    }

    fn cut(&mut self) -> Result<Image, String> {
        // A liar that loses at random leaves no file system; one that loses what came last does.
        let loss = match self.ship.temper {
            Temper::Honest => Loss::any(&mut self.random),
            Temper::LiesAboutFlushes => Loss::Tail,
        };
        let (image, cut) = self.ship.machine.cut(loss, &mut self.random)?;
        self.tally.add_cut(cut);
        Ok(image)
    }

    /// What no server has recovered yet has no damage either, and what one has left neither.
    fn verify(&mut self) -> Result<(), String> {
        let data_dir = self.ship.machine.mounted().join("data");
        let output = Command::new(self.ship.program).arg("verify").arg(&data_dir).output();
        let output = output.map_err(|error| format!("plimsoll verify: {error}"))?;
        if !output.status.success() {
            let said = [output.stdout, output.stderr].concat();
            return Err(format!("plimsoll verify: {}", String::from_utf8_lossy(&said)));
        }
        self.tally.verified += 1;
        Ok(())
    }
}
