//! The SIGKILL campaign: lives of servers under load, each ended hard, everything compared.
//!
//! Producers and consumers write down what they were told ([`plimsoll_tests::Ledger`]); after each
//! restart everything since the last comparison is read back, and everything there is before a
//! topic or a directory goes. What a newcomer gets wrong: a seed repeats the choices and not the
//! moments, since a real kernel decides those.

mod life;
mod renewal;
mod tally;
mod watchdog;

use std::path::PathBuf;
use std::time::Instant;

use plimsoll_tests::{Ledger, Place, Random, Server, Vanishing};

use self::tally::Tally;
use self::watchdog::Watchdog;
use crate::program;
use crate::violation::Violation;

/// Kill a server under load, again and again; exit code 1 if anything promised is not kept.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many SIGKILLs.
    #[arg(long, default_value_t = 1000)]
    kills: u64,
    /// Repeats the choices of another campaign.
    #[arg(long)]
    seed: Option<u64>,
    /// Where the data directories go; must be on a disk. Default: beside what was built.
    #[arg(long)]
    dir: Option<PathBuf>,
}

const TOPIC: &str = "lives";
const PARTITIONS: u32 = 64;
/// With fewer there may be no life that is long enough for compaction.
const KILLS_THAT_PROVE: u64 = 50;

/// Runs it. False: a promise was broken.
pub(crate) fn run(args: &Args) -> Result<bool, String> {
    let program = program::plimsoll()?;
    let scratch = program::scratch(args.dir.as_deref())?;
    let seed = args.seed.unwrap_or_else(|| Random::of_the_moment().number() % 1_000_000_000);
    let again = format!("plimsoll-crash kills --kills {} --seed {seed}", args.kills);
    println!("seed {seed}; again: {again}");
    let place = program::place(&scratch);
    let mut campaign = Campaign {
        program,
        scratch,
        ledger: Ledger::new(PARTITIONS),
        vanishing: Vanishing::new(),
        compared: vec![0; PARTITIONS as usize],
        random: Random::new(seed),
        shards: 1,
        life: 0,
        since: 0,
        rounds: 0,
        place,
        tally: Tally::default(),
        watchdog: Watchdog::begin(),
    };
    let begun = Instant::now();
    let outcome = Violation::watched(|| campaign.go(args.kills, begun));
    let vanishing = campaign.vanishing.tally();
    print!("{}", campaign.tally.table(&vanishing.rows(), begun.elapsed()));
    let kills = campaign.tally.kills();
    let is_long = kills >= KILLS_THAT_PROVE;
    let proved = || if is_long { vanishing.proved().map_err(Violation) } else { Ok(()) };
    match outcome.and_then(|()| proved()) {
        Ok(()) => println!("HELD: {kills} kills, everything promised is there; seed {seed}"),
        Err(Violation(words)) => {
            let (data, arenas) = campaign.place.keep();
            println!("BROKEN after {kills} kills: {words}");
            println!("kept: {} and {}; again: {again}", data.display(), arenas.display());
            return Ok(false);
        }
    }
    Ok(true)
}

struct Campaign {
    program: PathBuf,
    scratch: PathBuf,
    place: Place,
    ledger: Ledger,
    /// Topics whose records go, beside the one of which none may.
    vanishing: Vanishing,
    /// Up to here each partition was compared.
    compared: Vec<u64>,
    random: Random,
    shards: usize,
    /// Starts so far, which number the records.
    life: u64,
    /// The life in which the topic was made.
    since: u64,
    /// Deaths since then.
    rounds: u64,
    tally: Tally,
    watchdog: Watchdog,
}

impl Campaign {
    fn go(&mut self, kills: u64, begun: Instant) -> Result<(), Violation> {
        let mut server = self.start();
        self.create_topic(&server);
        self.vanishing.ensure(&server);
        let mut said = Instant::now();
        while self.tally.kills() < kills {
            server = self.round(server)?;
            if self.is_renewal_due() {
                server = self.renew(server)?;
            }
            if said.elapsed().as_secs() >= 10 {
                said = Instant::now();
                eprintln!("{}", self.tally.progress(kills, begun.elapsed()));
            }
        }
        self.compare_all(&server)?;
        self.stop_and_verify(server)
    }

    /// Starts a server on other cores than before, or the same.
    fn start(&mut self) -> Server {
        self.choose_shards();
        let server = self.starting().ready();
        self.tally.started(server.recovered());
        server
    }
}
