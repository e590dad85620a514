//! `pinhole lab replay`: one run of one cell of the matrix, packet by packet.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args as ClapArgs;
use pinhole_world::{Cell, cell, oracle, world};

use super::run::{Told, captures, save_captures};
use super::{human, words};
use crate::cmd::conntrack::paint::{Paint, Tone};

/// Show one run of one cell of the matrix, packet by packet
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "A cell is mapping/filtering/allocation of alice's NAT, a colon, the same of bob's, and conditions: mapping and filtering \
are ei, ad or apd (endpoint-independent, address-dependent, address-and-port-dependent), allocation is preserving, \
sequential, block or random, conditions are +carrier, +poisoning and +loss5.

Examples:
  pinhole lab replay ei/apd/preserving:ei/apd/random
  pinhole lab replay --seed 7 ei/ad/preserving:apd/apd/random+carrier+loss5
  pinhole lab replay --pcap /tmp/run apd/apd/random:apd/apd/random

The same seed gives the same run, byte for byte. Exit code 1 means that it contradicts the oracle."
)]
pub(super) struct Args {
    /// Which cell
    cell: Cell,
    /// What ports, loss, jitter, keys and starts are drawn from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Go on after a direct path has come about, to the end: 10 seconds of its time
    #[arg(long)]
    whole: bool,
    /// Write what crosses each outside interface to DIR, one pcap file each
    #[arg(long, value_name = "DIR")]
    pcap: Option<PathBuf>,
}

/// Replays.
pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let pair = cell::pair(args.cell.conditions);
    let mut world = args.cell.world(args.seed).context("building the cell's network")?;
    world.sim().watch();
    if args.pcap.is_some() {
        captures(&mut world);
    }
    let direct_after = world.run_until_direct(pair);
    if args.whole {
        world.run();
    }
    let paint = Paint::for_stdout();
    let mut text = Told { world: &world, packets: true, paint }.text();
    let ruling = oracle::rule(&world.scenario().network, pair[0], pair[1]);
    text.push('\n');
    match direct_after {
        Some(after) => {
            let words = format!("direct {} after the second agent started", human(after));
            text.push_str(&format!(
                "{} {}: {}\n",
                args.cell,
                paint.paint(Tone::Good, &words),
                words::way(&ruling).unwrap_or("by luck")
            ));
        }
        None => {
            text.push_str(&format!(
                "{} {}: {}\n",
                args.cell,
                paint.paint(Tone::Bad, "not direct"),
                words::reason(&ruling)
            ));
            for &fix in &ruling.verdict.fixes {
                text.push_str(&format!("  would help (here is alice's side): {}\n", words::fix(fix)));
            }
        }
    }
    let contradiction = world::contradiction(&ruling, direct_after);
    if let Some(contradiction) = &contradiction {
        text.push_str(&format!("{}: {contradiction}\n", paint.paint(Tone::Bad, "contradicts the oracle")));
    }
    crate::cmd::print(text.as_bytes())?;
    if let Some(directory) = &args.pcap {
        save_captures(&mut world, directory)?;
    }
    Ok(if contradiction.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
