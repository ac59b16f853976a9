//! `cargo bench -p plimsoll-benches --bench limits`: the table of limits, figures and ratios.
//!
//! For each goal the limit and Plimsoll are measured in turns, five times each, and the medians
//! compared. Nothing fails on a time. L8, the restart, is not in the table: it needs 10 GB.
//!
//! Flags, after `--`: `--dir DIR` (or PLIMSOLL_BENCH_DIR), `--rounds N`, `--seconds S` a
//! measurement, `--only L1,L2`, `--raw` for the bare probes.

use std::cell::{OnceCell, RefCell};
use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;
use std::{env, fs, io};

use plimsoll_benches::goals::goal;
use plimsoll_benches::live::{Figures, Server};
use plimsoll_benches::probes::receive::Way;
use plimsoll_benches::probes::{
    block_overwrite, ping_pong, receive, sequential_read, write_and_flush,
};
use plimsoll_benches::{Measurement, PreparedFile, interleave};

const MB: f64 = 1e6;
const FRAME_BYTES: usize = 64 << 10;
const SMALL_FRAME_BYTES: usize = 10 << 10;
const FILE_BYTES: u64 = 512 << 20;

// Throughput wants a window that the commits in flight do not use up: about 10 MB of each.
const BATCH_1_MIB: [&str; 6] =
    ["--record-bytes", "1024", "--batch-records", "1000", "--in-flight", "10"];
const BATCH_64_KB: [&str; 6] =
    ["--record-bytes", "1000", "--batch-records", "64", "--in-flight", "160"];
const BATCH_SMALL: [&str; 6] =
    ["--record-bytes", "100", "--batch-records", "100", "--in-flight", "1000"];
/// For what must not be decided by how fast the arena is emptied.
const LARGE_ARENA: [&str; 4] = ["--arena-bytes", "1GiB", "--journal-bytes", "2GiB"];
/// What fits into it.
const BURST_RECORDS: &str = "700000";
const ONE_RECORD: [&str; 6] = ["--record-bytes", "100", "--batch-records", "1", "--in-flight", "1"];

fn main() -> Result<(), Box<dyn Error>> {
    let bench = Bench::new(Options::parse(env::args().skip(1))?)?;
    println!(
        "data in {}; medians of {} rounds, {} s a measurement",
        bench.options.folder.display(),
        bench.options.rounds,
        bench.options.time.as_secs_f64()
    );
    if bench.options.is_raw {
        return Ok(bench.raw()?);
    }
    println!("{}", Measurement::heading());
    bench.l1_append()?;
    bench.l2_ack()?;
    bench.l3_weaker_levels()?;
    bench.l4_small_records()?;
    bench.l5_many_partitions()?;
    bench.l6_catch_up()?;
    bench.l6_group()?;
    bench.l7_tail()?;
    bench.l9_idle()?;
    bench.l10_memory()?;
    bench.l11_cpu()?;
    bench.l12_levels()?;
    Ok(())
}

struct Options {
    folder: PathBuf,
    rounds: usize,
    time: Duration,
    only: Option<Vec<String>>,
    is_raw: bool,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(
            || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target"),
            Into::into,
        );
        let mut options = Self {
            folder: env::var_os("PLIMSOLL_BENCH_DIR")
                .map_or_else(|| target.join("bench-data"), Into::into),
            rounds: 5,
            time: Duration::from_secs(1),
            only: None,
            is_raw: false,
        };
        while let Some(flag) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{flag} needs a value"));
            match flag.as_str() {
                "--dir" => options.folder = value()?.into(),
                "--rounds" => options.rounds = value()?.parse().map_err(|_| "--rounds N")?,
                "--seconds" => {
                    let seconds = value()?.parse().map_err(|_| "--seconds S")?;
                    options.time =
                        Duration::try_from_secs_f64(seconds).map_err(|_| "--seconds S")?;
                }
                "--only" => options.only = Some(value()?.split(',').map(str::to_owned).collect()),
                "--raw" => options.is_raw = true,
                // Cargo adds it.
                "--bench" => {}
                _ => return Err(format!("no flag {flag}: --dir --rounds --seconds --only --raw")),
            }
        }
        Ok(options)
    }
}

struct Bench {
    options: Options,
    file: PreparedFile,
    seconds: String,
}

impl Bench {
    fn new(options: Options) -> io::Result<Self> {
        fs::create_dir_all(&options.folder)?;
        let file = PreparedFile::create(&options.folder, "limit", FILE_BYTES)?;
        let seconds = options.time.as_secs_f64().to_string();
        Ok(Self { options, file, seconds })
    }

    /// A load on a fresh server: `kind`, its topic of `partitions`, and the rest of its flags.
    fn load(&self, kind: &str, partitions: &str, flags: &[&[&str]]) -> Result<Figures, String> {
        let server = Server::start(&self.options.folder)?;
        self.load_on(&server, kind, partitions, flags)
    }

    fn load_on(
        &self,
        server: &Server,
        kind: &str,
        partitions: &str,
        flags: &[&[&str]],
    ) -> Result<Figures, String> {
        let topic = ["--topic", "bench", "--partitions", partitions, "--connections", "1"];
        let mut arguments = vec![kind];
        arguments.extend(topic);
        arguments.extend(flags.iter().copied().flatten());
        server.load(&arguments)
    }

    /// As `load` for the time of one measurement, produce.
    fn produce(
        &self,
        partitions: &str,
        durability: &str,
        flags: &[&str],
    ) -> Result<Figures, String> {
        let level = ["--durability", durability, "--seconds", &self.seconds];
        self.load("produce", partitions, &[&level, flags])
    }

    /// Measures both sides in turns and prints the line.
    fn line(
        &self,
        name: &str,
        variant: &'static str,
        unit: &'static str,
        limit: impl FnMut() -> io::Result<f64>,
        plimsoll: impl FnMut() -> Result<f64, String>,
    ) -> io::Result<()> {
        let is_wanted =
            self.options.only.as_ref().is_none_or(|only| only.iter().any(|o| o == name));
        let (Some(goal), true) = (goal(name), is_wanted) else { return Ok(()) };
        let (limit, plimsoll) = interleave(self.options.rounds, limit, plimsoll)?;
        println!("{}", Measurement { goal, variant, limit, plimsoll, unit });
        Ok(())
    }

    /// As `line`, of figures that are there already: whichever goals are wanted.
    fn line_of(
        &self,
        name: &str,
        unit: &'static str,
        limit: impl FnMut() -> io::Result<f64>,
        plimsoll: impl FnMut() -> Result<f64, String>,
    ) -> io::Result<()> {
        let Some(goal) = goal(name) else { return Ok(()) };
        let (limit, plimsoll) = interleave(self.options.rounds, limit, plimsoll)?;
        println!("{}", Measurement { goal, variant: "", limit, plimsoll, unit });
        Ok(())
    }

    fn l1_append(&self) -> io::Result<()> {
        self.line(
            "L1",
            "",
            "MB/s",
            || Ok(write_and_flush::bytes_per_second(&self.file, self.options.time, false)? / MB),
            || Ok(self.produce("1", "disk", &BATCH_1_MIB)?.bytes_per_second / MB),
        )?;
        // A log that grows writes to blocks that were never written; the same limit for those.
        self.line(
            "L1",
            "new blocks",
            "MB/s",
            || {
                let new = PreparedFile::allocate(&self.options.folder, "new", 4 * FILE_BYTES)?;
                Ok(write_and_flush::bytes_per_second(&new, self.options.time, true)? / MB)
            },
            || Ok(self.produce("1", "disk", &BATCH_1_MIB)?.bytes_per_second / MB),
        )
    }

    fn l2_ack(&self) -> io::Result<()> {
        self.line(
            "L2",
            "",
            "us",
            || {
                let disk = block_overwrite::p50(&self.file, self.options.time / 2)?.best_us();
                Ok(disk + ping_pong::p50(self.options.time / 2)?.best_us())
            },
            || Ok(self.produce("1", "disk", &ONE_RECORD)?.latency_p50_us),
        )
    }

    fn l3_weaker_levels(&self) -> io::Result<()> {
        for (variant, level) in [("page_cache", "page-cache"), ("memory", "memory")] {
            self.line(
                "L3",
                variant,
                "MB/s",
                || Ok(receive::best(FRAME_BYTES, self.options.time / 2)?.bytes_per_second / MB),
                || Ok(self.produce("1", level, &BATCH_64_KB)?.bytes_per_second / MB),
            )?;
        }
        // What the arena takes before the disk has its say.
        for (variant, level) in [("page_cache, burst", "page-cache"), ("memory, burst", "memory")] {
            self.line(
                "L3",
                variant,
                "MB/s",
                || Ok(receive::best(FRAME_BYTES, self.options.time / 2)?.bytes_per_second / MB),
                || {
                    let server = Server::start_with(&self.options.folder, &LARGE_ARENA)?;
                    let flags = ["--durability", level, "--records", BURST_RECORDS];
                    let figures = self.load_on(&server, "produce", "1", &[&flags, &BATCH_64_KB])?;
                    Ok(figures.bytes_per_second / MB)
                },
            )?;
        }
        Ok(())
    }

    fn l4_small_records(&self) -> io::Result<()> {
        let time = self.options.time / 2;
        self.line(
            "L4",
            "",
            "MB/s",
            || Ok(receive::best(SMALL_FRAME_BYTES, time)?.bytes_per_second / MB),
            || Ok(self.produce("1", "disk", &BATCH_SMALL)?.bytes_per_second / MB),
        )
    }

    fn l5_many_partitions(&self) -> io::Result<()> {
        let run = |partitions, warmup| {
            let server = Server::start_with(&self.options.folder, &LARGE_ARENA)?;
            let flags = ["--durability", "disk", "--warmup-seconds", warmup, "--seconds", "5"];
            self.load_on(&server, "produce", partitions, &[&flags, &BATCH_SMALL])
        };
        let one = || run("1", "1").unwrap_or_default();
        // Ten thousand files are made first: that is not what is compared.
        let many = || run("10000", "20");
        let (one_p99_us, many_p99_us) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
        self.line(
            "L5",
            "",
            "MB/s",
            || {
                let figures = one();
                one_p99_us.borrow_mut().push(figures.latency_p99_us);
                Ok(figures.bytes_per_second / MB)
            },
            || {
                let figures = many()?;
                many_p99_us.borrow_mut().push(figures.latency_p99_us);
                Ok(figures.bytes_per_second / MB)
            },
        )?;
        // Of the same runs.
        let (mut one, mut many) = (one_p99_us.into_inner(), many_p99_us.into_inner());
        if one.is_empty() || many.is_empty() {
            return Ok(());
        }
        let next = |from: &mut Vec<f64>| if from.len() > 1 { from.remove(0) } else { from[0] };
        self.line_of("L5-p99", "us", || Ok(next(&mut one)), || Ok(next(&mut many)))
    }

    fn l6_catch_up(&self) -> io::Result<()> {
        let mut filled = None;
        self.line(
            "L6",
            "",
            "MB/s",
            || Ok(sequential_read::bytes_per_second(&self.file, self.options.time)? / MB),
            || {
                let server = match filled.take() {
                    Some(server) => server,
                    None => self.filled_server()?,
                };
                let flags = ["--visible", "disk", "--seconds", &self.seconds];
                let figures = self.load_on(&server, "consume", "1", &[&flags])?;
                filled = Some(server);
                Ok(figures.bytes_per_second / MB)
            },
        )
    }

    /// First both through the shipped client: what the group costs, and not what the client does;
    /// then against the disk. Commits do not wait here; one that waits for the disk after every
    /// batch is as slow as the disk.
    fn l6_group(&self) -> io::Result<()> {
        let (server, mut round) = (OnceCell::new(), 0);
        let filled = || match server.get() {
            Some(server) => Ok(server),
            None => self.filled_server().map(|filled| server.get_or_init(|| filled)),
        };
        let consume = |more: &[&str]| {
            let flags = ["--visible", "disk", "--seconds", &self.seconds];
            let figures = self.load_on(filled()?, "consume", "1", &[&flags, more])?;
            Ok(figures.bytes_per_second / MB)
        };
        let mut as_group = || {
            round += 1;
            // It begins at the beginning.
            consume(&["--group", &format!("group-{round}"), "--commit", "async"])
        };
        let alone = || consume(&["--shipped-client"]).map_err(io::Error::other);
        self.line("L6-group", "", "MB/s", alone, &mut as_group)?;
        let of_disk = || Ok(sequential_read::bytes_per_second(&self.file, self.options.time)? / MB);
        self.line("L6-group-read", "", "MB/s", of_disk, as_group)
    }

    /// A server with 2 GB in one partition: more than fits into any arena.
    fn filled_server(&self) -> Result<Server, String> {
        let server = Server::start(&self.options.folder)?;
        let flags = ["--durability", "disk", "--records", "2000000"];
        self.load_on(&server, "produce", "1", &[&flags, &BATCH_1_MIB])?;
        Ok(server)
    }

    fn l7_tail(&self) -> io::Result<()> {
        let levels = [("memory", "memory"), ("page_cache", "page-cache"), ("disk", "disk")];
        for (variant, level) in levels {
            let flags = ["--durability", level, "--visible", level, "--seconds", &self.seconds];
            self.line(
                "L7",
                variant,
                "us",
                || Ok(ping_pong::p50(self.options.time / 2)?.best_us()),
                || Ok(self.load("end-to-end", "1", &[&flags, &ONE_RECORD])?.delivery_p50_us),
            )?;
        }
        let flags = ["--durability", "disk", "--visible", "disk", "--seconds", &self.seconds];
        // Who waits for a commit on disk after each record is slower than a producer that waits for
        // nothing else: flat out, that would measure how long the line behind him has become.
        let members: [(&str, &[&str]); 2] = [
            ("member, async", &["--commit", "async"]),
            ("member, 500/s", &["--commit", "manual", "--rate", "500"]),
        ];
        for (variant, how) in members {
            let flags: [&[&str]; 4] = [&flags, &ONE_RECORD, &["--group", "tail"], how];
            self.line(
                "L7",
                variant,
                "us",
                || Ok(ping_pong::p50(self.options.time / 2)?.best_us()),
                || Ok(self.load("end-to-end", "1", &flags)?.delivery_p50_us),
            )?;
        }
        Ok(())
    }

    fn l9_idle(&self) -> io::Result<()> {
        self.line(
            "L9",
            "",
            "cores",
            || Ok(0.0),
            || {
                let server = Server::start(&self.options.folder)?;
                // Long enough that the timers of a whole second's period are all in it.
                server.idle_share(self.options.time.max(Duration::from_secs(5)))
            },
        )
    }

    /// The limit is asked of the server that the load ran against; the figure is that server's.
    fn l10_memory(&self) -> io::Result<()> {
        let loaded = RefCell::new(Err("the server did not run".to_owned()));
        self.line(
            "L10",
            "",
            "MB",
            || {
                let server = Server::start(&self.options.folder);
                let figures = server.as_ref().map_err(Clone::clone).and_then(|server| {
                    let flags = ["--durability", "disk", "--seconds", &self.seconds];
                    self.load_on(server, "produce", "1", &[&flags, &BATCH_64_KB])
                });
                *loaded.borrow_mut() = server;
                Ok(figures.map_or(f64::NAN, |figures| figures.server_memory_bytes_max / MB))
            },
            || {
                let server = loaded.replace(Err("the server ran once".to_owned()))?;
                Ok(server.resident_bytes()? / MB)
            },
        )
    }

    fn l11_cpu(&self) -> io::Result<()> {
        let intake =
            |way| receive::intake(way, FRAME_BYTES, Some(&self.file), self.options.time / 2);
        self.line(
            "L11",
            "",
            "ns/B",
            || {
                let multishot = intake(Way::Multishot)?.cpu_ns_per_byte;
                Ok(multishot.min(intake(Way::SingleShot)?.cpu_ns_per_byte))
            },
            || Ok(self.produce("1", "disk", &BATCH_64_KB)?.server_cpu_ns_per_byte),
        )
    }

    fn l12_levels(&self) -> io::Result<()> {
        let pairs = [
            (["cpu pc/disk", "ack pc/disk"], "page-cache", "disk"),
            (["cpu mem/pc", "ack mem/pc"], "memory", "page-cache"),
        ];
        for ([cpu_variant, ack_variant], weaker, stronger) in pairs {
            let cpu = |level| {
                let figures = self.produce("1", level, &BATCH_64_KB);
                figures.map(|figures| figures.server_cpu_ns_per_byte)
            };
            let stronger_cpu = || Ok(cpu(stronger).unwrap_or(f64::NAN));
            self.line("L12", cpu_variant, "ns/B", stronger_cpu, || cpu(weaker))?;

            let ack = |level| {
                let figures = self.produce("1", level, &ONE_RECORD);
                figures.map(|figures| figures.latency_p50_us)
            };
            let stronger_ack = || Ok(ack(stronger).unwrap_or(f64::NAN));
            self.line("L12", ack_variant, "us", stronger_ack, || ack(weaker))?;
        }
        Ok(())
    }

    /// The bare probes, each way by itself.
    fn raw(&self) -> io::Result<()> {
        let time = self.options.time;
        for round in 1..=self.options.rounds {
            println!("round {round}");
            let rate = write_and_flush::bytes_per_second(&self.file, time, false)? / MB;
            println!("  1 MiB O_DIRECT + fdatasync         {rate:8.0} MB/s");
            let block = block_overwrite::p50(&self.file, time)?;
            println!("  4 KiB overwrite, RWF_DSYNC p50     {:8.1} us", block.dsync_us);
            println!("  4 KiB overwrite + fdatasync p50    {:8.1} us", block.fdatasync_us);
            let trips = ping_pong::p50(time)?;
            println!("  ping-pong, io_uring p50            {:8.1} us", trips.uring_us);
            println!("  ping-pong, blocking p50            {:8.1} us", trips.blocking_us);
            for (frame, frame_bytes) in [("64", FRAME_BYTES), ("10", SMALL_FRAME_BYTES)] {
                for way in [Way::Multishot, Way::SingleShot] {
                    let intake = receive::intake(way, frame_bytes, None, time)?;
                    print_intake(&format!("{frame} KiB {way:?}"), intake);
                }
            }
            for way in [Way::Multishot, Way::SingleShot] {
                let intake = receive::intake(way, FRAME_BYTES, Some(&self.file), time)?;
                print_intake(&format!("64 KiB {way:?} + write"), intake);
            }
            let rate = sequential_read::bytes_per_second(&self.file, time)? / MB;
            println!("  O_DIRECT read, 1 MiB, depth 8      {rate:8.0} MB/s");
        }
        Ok(())
    }
}

fn print_intake(what: &str, intake: receive::Intake) {
    println!(
        "  {what:<34} {:8.0} MB/s, {:.3} ns of CPU a byte",
        intake.bytes_per_second / MB,
        intake.cpu_ns_per_byte
    );
}
