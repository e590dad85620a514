//! `pinhole conntrack trace`: what happens to packets between the hooks, and why, as the engine sees it. No privileges, no
//! network: packets come from the command line or a capture, rules from files.
//!
//! | file | what it is |
//! |---|---|
//! | [`world`] | the router that the packets meet: interfaces, routes, rules, settings |
//! | [`source`] | where packets come from: lines, scripts, captures |
//! | [`text`], [`json`], [`html`] | an account for people, for machines, as a page |
//! | [`summary`] | counts by verdict and reason |

pub(in crate::cmd) mod html;
mod json;
pub(super) mod source;
mod summary;
mod text;
mod world;

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args as ClapArgs;
use pinhole_netfilter::explain::{self, Account};
use pinhole_netfilter::settings::Personality;
use pinhole_sansio::Instant;

use super::output;
use super::paint::Paint;
use super::progress::Progress;
use super::router::{RouterArgs, parse_kernel};
use html::Page;
use source::{Event, Source};
use summary::Summary;
use world::World;

/// Follow packets through the hooks, and say what happens to them and why
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Packets are written `SOURCE > DESTINATION PROTOCOL …`; `IFACE > PACKET` says where one comes in, and `+SECONDS` \
lets time pass. Without --interface, --script or --rules the router is a home router: lan 192.168.1.1/24, \
wan 203.0.113.1/24, all that leaves by wan is masqueraded.

Examples:
  pinhole conntrack trace '192.168.1.2:40000 > 192.0.2.1:53 udp 8' '192.0.2.1:53 > 203.0.113.1:40000 udp 8'
  pinhole conntrack trace -v --rules rules.v4 --interface lan=10.0.0.1/24 --interface wan=192.0.2.2/24 --pcap lan.pcap
  iptables-save | pinhole conntrack trace --rules /dev/stdin '10.0.0.2:5000 > 192.0.2.1:80 tcp S seq 1 ack 0 win 64240 0'
  pinhole conntrack trace --pcap wan.pcap --summary           how many packets meet which end
  pinhole conntrack trace --pcap wan.pcap --html way.html     a page with the hooks drawn
  pinhole conntrack trace --json --only 3 --script nat.pkt    the third packet of a script, for machines"
)]
pub(super) struct Args {
    /// Packets in text notation, one each; `-` reads lines from standard input
    #[arg(value_name = "PACKET", allow_hyphen_values = false, conflicts_with = "pcap")]
    packets: Vec<String>,
    /// Packets from a capture: pcap or pcapng; Ethernet, Linux cooked, raw IP or loopback; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// A packet script: its router, and its packets if no others are given
    #[arg(long, value_name = "FILE", conflicts_with_all = ["interface", "rules", "rules6"])]
    script: Option<PathBuf>,
    #[command(flatten)]
    router: RouterArgs,
    /// Leave out rules with a match or target that is not known here, and say which
    #[arg(long)]
    leave_out: bool,
    /// The sets that rules name, as `ipset save` writes them
    #[arg(long, value_name = "FILE")]
    sets: Option<PathBuf>,
    /// All packets come in here; without it each where a route leads back to its source
    #[arg(long = "in", value_name = "IFACE")]
    input: Option<String>,
    /// The kernel whose ways differ: 2.6, 6.1, 6.12, 6.18 or 7.3
    #[arg(long, value_name = "VERSION", default_value = "6.18", value_parser = parse_kernel)]
    kernel: Personality,
    /// What is drawn at random is drawn from this: the same seed, the same ports
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Show only these packets, counted from 1; the others pass unseen
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u64).range(1..))]
    only: Vec<u64>,
    /// Also which rules were tried, and why they do not match
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
    /// For machines: an array of packets (docs/explain.md has the fields)
    #[arg(long)]
    json: bool,
    /// Write a page with the hooks drawn to this file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "summary"])]
    html: Option<PathBuf>,
    /// Only counts, by verdict and reason
    #[arg(long)]
    summary: bool,
}

/// Traces.
pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let mut world = World::new(args)?;
    let mut source = Source::open(args, &world)?;
    for note in world.notes() {
        eprintln!("pinhole: {note}");
    }
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let mut shown = Shown::new(args, &world);
    let traced = trace(args, &mut world, &mut source, &mut shown, &mut out);
    match traced {
        Err(Ended::Written(error)) => output::ended(Err(error)),
        Err(Ended::Read(error)) => {
            let _ = out.flush();
            Err(error)
        }
        Ok(()) => Ok(ExitCode::SUCCESS),
    }
}

/// Why tracing ends early.
enum Ended {
    /// What was to be read cannot be.
    Read(anyhow::Error),
    /// What was to be said cannot be written.
    Written(io::Error),
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Written(error)
    }
}

/// A packet and what came of it.
struct Traced {
    /// Counted from 1.
    number: u64,
    /// Since the first packet.
    at: Duration,
    account: Account,
}

fn trace(
    args: &Args,
    world: &mut World,
    source: &mut Source,
    shown: &mut Shown,
    out: &mut impl Write,
) -> Result<(), Ended> {
    let (mut number, mut now) = (0, START);
    let mut progress = Progress::new(!io::stdout().is_terminal());
    shown.begin(out)?;
    while let Some(event) = source.next(world).map_err(Ended::Read)? {
        let (at, side, packet) = match event {
            Event::Packet { at, side, packet } => (at, side, packet),
            Event::Flush => {
                world.flush(now);
                continue;
            }
            Event::Age(seconds) => {
                world.age(now, seconds);
                continue;
            }
        };
        // A capture may have been put together from several: time does not go back.
        now = now.max(START + at);
        number += 1;
        world.router.handle_timeout(now);
        let unknown = |error| Ended::Read(anyhow::Error::msg(format!("packet {number}: {error}")));
        let origin = world.origin(side.as_deref(), &packet).map_err(unknown)?;
        let account = explain::explain(&mut world.router, now, origin, &packet);
        shown.summary.count(&account);
        if args.only.is_empty() || args.only.contains(&number) {
            let at = Duration::from_nanos(now.as_nanos() - START.as_nanos());
            shown.packet(&Traced { number, at, account }, world, now, out)?;
        }
        if !args.only.is_empty() && !args.summary && args.only.iter().all(|&only| only <= number) {
            break;
        }
        for note in source.take_notes() {
            eprintln!("pinhole: {note}");
        }
        progress.tell(number, source.progress());
    }
    progress.end();
    shown.summary.skipped = source.skipped();
    shown.summary.is_capture = source.is_capture();
    shown.end(out)?;
    out.flush()?;
    if let Some(most) = args.only.iter().copied().filter(|&only| only > number).max() {
        return Err(Ended::Read(anyhow::Error::msg(format!("there is no packet {most}: there are {number}"))));
    }
    Ok(())
}

/// When the first packet comes: late enough that a time before it can be said.
const START: Instant = Instant::from_millis(1_000);

/// What is shown, and how.
struct Shown {
    form: Form,
    summary: Summary,
}

enum Form {
    Text(text::Text),
    Json { any: bool },
    Html(Box<Page>),
    Summary { json: bool },
}

impl Shown {
    fn new(args: &Args, world: &World) -> Self {
        let form = match &args.html {
            Some(path) => Form::Html(Box::new(Page::new(path.clone(), world))),
            None if args.summary => Form::Summary { json: args.json },
            None if args.json => Form::Json { any: false },
            None => Form::Text(text::Text { paint: Paint::for_stdout(), detail: args.verbose > 0 }),
        };
        Self { form, summary: Summary::default() }
    }

    fn begin(&mut self, out: &mut impl Write) -> io::Result<()> {
        match &self.form {
            Form::Json { .. } => out.write_all(b"["),
            Form::Text(_) | Form::Html(_) | Form::Summary { .. } => Ok(()),
        }
    }

    fn packet(&mut self, traced: &Traced, world: &mut World, now: Instant, out: &mut impl Write) -> io::Result<()> {
        match &mut self.form {
            Form::Text(text) => text.packet(traced, out),
            Form::Json { any } => {
                out.write_all(if core::mem::replace(any, true) { b",\n" } else { b"\n" })?;
                Ok(serde_json::to_writer(out, &json::Packet::new(traced))?)
            }
            Form::Html(page) => {
                page.packet(traced, &mut world.router, now);
                Ok(())
            }
            Form::Summary { .. } => Ok(()),
        }
    }

    fn end(&mut self, out: &mut impl Write) -> Result<(), Ended> {
        match &self.form {
            Form::Text(text) => text.end(&self.summary, out)?,
            Form::Json { .. } => out.write_all(b"\n]\n")?,
            Form::Summary { json: false } => self.summary.write(out)?,
            Form::Summary { json: true } => {
                serde_json::to_writer(&mut *out, &self.summary).map_err(io::Error::from)?;
                out.write_all(b"\n")?;
            }
            Form::Html(page) => {
                page.save(&self.summary).map_err(Ended::Read)?;
                writeln!(out, "{} has the way of {}", page.path().display(), page.count())?;
            }
        }
        Ok(())
    }
}
