//! `pinhole lab matrix`: every kind of NAT against every other, with the real agents, over many seeds on all cores.
//!
//! | file | what it is |
//! |---|---|
//! | [`work`] | runs the cells on all cores |
//! | [`tally`] | what came of a cell, and of all |
//! | [`table`], [`json`], [`page`] | all of it for people, for machines, as a page |

mod json;
mod page;
mod table;
mod tally;
mod work;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::Args as ClapArgs;
use pinhole_world::{Cell, Conditions, Nature};

use crate::cmd::conntrack::paint::Paint;
use tally::Tally;

/// Run every kind of NAT against every other, over many seeds: who becomes direct, how fast, and why not
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "A kind of NAT is mapping/filtering/allocation, as ei/apd/preserving: mapping and filtering are ei, ad or apd \
(endpoint-independent, address-dependent, address-and-port-dependent), allocation is preserving, sequential, block or random. \
Both ends are real agents with the embedded WireGuard, in virtual time; nothing of this machine's network is touched.

Examples:
  pinhole lab matrix
  pinhole lab matrix --seeds 5 --carrier --loss 5
  pinhole lab matrix --all --html matrix.html
  pinhole lab matrix --only ei/apd/preserving --against apd/apd/random --json

Exit code 1 means that a run contradicts the oracle; `pinhole lab replay` shows that run."
)]
pub(super) struct Args {
    /// How many runs each cell gets
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    seeds: u64,
    /// The first seed
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Each home is behind a carrier's NAT
    #[arg(long)]
    carrier: bool,
    /// Packets that come too early take mappings away
    #[arg(long)]
    poisoning: bool,
    /// How many of 100 packets each access link loses
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=90))]
    loss: u8,
    /// With and without carrier, poisoning and 5 % loss: eight matrices
    #[arg(long, conflicts_with_all = ["carrier", "poisoning", "loss"])]
    all: bool,
    /// Only cells with such a NAT on one side
    #[arg(long, value_name = "NAT")]
    only: Vec<Nature>,
    /// Only cells with such a NAT on the other side
    #[arg(long, value_name = "NAT")]
    against: Vec<Nature>,
    /// How many cores to use; all, if it is not said
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// For machines: every cell
    #[arg(long)]
    json: bool,
    /// Write a page with a heat map, and a ladder diagram of each cell, to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// All that was run.
struct Report {
    seeds: std::ops::Range<u64>,
    /// Each condition with its cells, in the order of [`cells`].
    maps: Vec<(Conditions, Vec<Tally>)>,
    took: std::time::Duration,
}

/// Runs it.
pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let begin = Instant::now();
    let seeds = args.seed..args.seed.saturating_add(args.seeds);
    let conditions = if args.all {
        Conditions::all(5)
    } else {
        vec![Conditions { carrier: args.carrier, poisoning: args.poisoning, loss_percent: args.loss }]
    };
    let jobs = args.jobs.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    let all: Vec<Cell> =
        conditions.iter().flat_map(|&conditions| cells(conditions, [&args.only, &args.against])).collect();
    let per_map = all.len() / conditions.len();
    let mut tallies = work::run(&all, &seeds, jobs, args.html.is_some()).into_iter();
    let maps =
        conditions.into_iter().map(|conditions| (conditions, tallies.by_ref().take(per_map).collect())).collect();
    let report = Report { seeds, maps, took: begin.elapsed() };
    if let Some(path) = &args.html {
        page::save(&report, path)?;
    }
    let text = if args.json { json::text(&report) } else { table::text(&report, Paint::for_stdout()) };
    crate::cmd::print(text.as_bytes())?;
    let is_contradicted =
        report.maps.iter().flat_map(|(_, tallies)| tallies).any(|tally| !tally.contradictions.is_empty());
    Ok(if is_contradicted { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Every pair of kinds once: which of them is alice's does not matter, since who knocks is drawn from the seed.
fn cells(conditions: Conditions, [only, against]: [&[Nature]; 2]) -> Vec<Cell> {
    let kinds: Vec<Nature> = Nature::all().collect();
    let mut cells = Vec::new();
    for (number, &alice) in kinds.iter().enumerate() {
        let pairs = kinds[number..].iter().filter(|&&bob| {
            let is_in = |wanted: &[Nature], kind| wanted.is_empty() || wanted.contains(&kind);
            is_in(only, alice) && is_in(against, bob) || is_in(only, bob) && is_in(against, alice)
        });
        cells.extend(pairs.map(|&bob| Cell { alice, bob, conditions }));
    }
    cells
}
