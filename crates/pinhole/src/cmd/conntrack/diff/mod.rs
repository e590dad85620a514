//! `pinhole conntrack diff`: the same packets through our engine and through this machine's kernel, in a namespace, and the
//! first that they take differently.
//!
//! | file | what it is |
//! |---|---|
//! | [`plan`] | the router that both are, and which side a captured packet comes in at |
//! | [`rename`] | rules of real interfaces as rules of the router's two |
//! | [`source`] | packets, from a script or a capture |
//! | [`answers`] | answers as the outside would send them, where a capture has them as the inside got them |
//! | [`replay`] | one packet after the other through both |
//! | [`recent`] | what came before, by flow |
//! | [`report`] | what was found, as plain data; [`text`] shows it to people, JSON is the data itself |
//!
//! Not here: the engine, the kernel's namespace and the comparison. They are those that the engine's own tests use.

mod answers;
mod plan;
mod recent;
mod rename;
mod replay;
mod report;
mod source;
mod text;

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args as ClapArgs;
use pinhole_host::namespace::privilege;
use pinhole_netfilter::settings::Personality;
use pinhole_netns::oracle;

use super::paint::Paint;
use super::router::{RouterArgs, parse_kernel};
use crate::cmd::stop;
use plan::Plan;
use replay::{Replay, Stop};
use report::Report;
use source::Source;

/// Compare this machine's kernel with the engine: the first packet that they take differently
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
A script says what its router is. A capture is replayed into a router with two interfaces: the first --interface is the \
inside, the second the outside and all else. Without them they are lan and wan, and inside are the private addresses; in a \
capture without any, the sender of the first packet. Answers that a capture shows as the inside got them are given to the \
router as the outside sends them, to the address and port of the translation (not with --as-is).

The kernel lives in real time, and so does the engine here. A script that waits takes that long. The packets of a capture \
follow each other without a pause, unless --real-time asks for those of its time stamps.

It makes a namespace that goes with it, and touches nothing else. It needs root, or user namespaces; and the programs nft and \
iptables-restore.

Exit code: 0 no difference, 1 a difference, 2 it could not be told; 130 stopped by Ctrl-C.

Examples:
  pinhole conntrack diff nat.pkt                                 a packet script
  pinhole conntrack diff --pcap lan.pcap                         masquerading by wan
  iptables-save | pinhole conntrack diff --rules /dev/stdin --pcap lan.pcapng \\
      --interface eth1=10.0.0.1/24 --interface eth0=192.0.2.2/24
  pinhole conntrack diff --kernel 2.6 --all nat.pkt              where an old kernel did something else
  pinhole conntrack diff --pcap lan.pcap --save lan.pkt          the replayed packets as a script")]
pub(super) struct Args {
    /// A packet script
    #[arg(value_name = "SCRIPT", required_unless_present = "pcap", conflicts_with_all = ["pcap", "rules", "rules6", "interface", "route"])]
    script: Option<PathBuf>,
    /// Packets from a capture: pcap or pcapng; Ethernet, Linux cooked, raw IP or loopback
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    #[command(flatten)]
    router: RouterArgs,
    /// The kernel that the engine is like: 2.6, 6.1, 6.12, 6.18 or 7.3; without it that which is nearest to this machine's
    #[arg(long, value_name = "VERSION", alias = "personality", value_parser = parse_kernel)]
    kernel: Option<Personality>,
    /// Replay no more packets than this
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max: Option<u64>,
    /// Do not stop at the first difference
    #[arg(long)]
    all: bool,
    /// A capture's packets as they are, answers too
    #[arg(long, requires = "pcap")]
    as_is: bool,
    /// Wait between a capture's packets as long as its time stamps say
    #[arg(long, requires = "pcap")]
    real_time: bool,
    /// Write what was replayed of a capture, up to the first difference, as a packet script
    #[arg(long, value_name = "FILE", requires = "pcap")]
    save: Option<PathBuf>,
    /// For machines: one object (docs/conntrack.md has the fields)
    #[arg(long)]
    json: bool,
    /// Say nothing but by the exit code
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
}

/// Could not be told.
const TROUBLE: u8 = 2;
/// As a shell says of a program that SIGINT ended.
const INTERRUPTED: u8 = 130;

/// Compares.
pub(super) fn run(args: &Args) -> Result<ExitCode> {
    match compare(args) {
        Ok(code) => Ok(code),
        Err(error) => {
            eprintln!("pinhole: {error:#}");
            Ok(ExitCode::from(TROUBLE))
        }
    }
}

fn compare(args: &Args) -> Result<ExitCode> {
    // All that may be wrong with what was given is said before privileges are asked for.
    let plan = Plan::new(args)?;
    let source = Source::open(args, &plan)?;
    if !args.quiet {
        plan.notes.iter().for_each(|note| eprintln!("pinhole: {note}"));
    }
    let missing = oracle::missing_tools();
    if !missing.is_empty() {
        bail!("the kernel is given its rules by {}: install what is in parentheses", missing.join(" and "));
    }
    // Before any thread is started: a process with threads cannot enter a user namespace.
    privilege::acquire().map_err(|denied| anyhow!("{denied}"))?;
    let stop = Stop::default();
    let asked = stop.clone();
    stop::on_signal(move || asked.ask()).context("cannot wait for signals")?;

    let mut replay = Replay::begin(args, &plan, &stop)?;
    let ended = replay.run(source);
    let report = replay.report(args, &plan);
    if let Some(path) = &args.save {
        std::fs::write(path, replay.script(&plan)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if !args.quiet {
        show(args, &report)?;
    }
    ended?;
    Ok(match (report.differences.is_empty(), stop.is_asked()) {
        (false, _) => ExitCode::FAILURE,
        (true, true) => ExitCode::from(INTERRUPTED),
        (true, false) => ExitCode::SUCCESS,
    })
}

/// Writes what was found. A reader that has enough and closes the pipe is no trouble.
fn show(args: &Args, report: &Report) -> Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let written = if args.json {
        serde_json::to_writer_pretty(&mut out, report).map_err(io::Error::from).and_then(|()| out.write_all(b"\n"))
    } else {
        text::write(report, Paint::for_stdout(), &mut out)
    };
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}
