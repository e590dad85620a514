//! `pinhole timewait simulate`: what a kernel makes of a load, in virtual time.

mod page;
mod spec;
mod svg;
mod text;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use clap::Args as ClapArgs;
use pinhole_timewait::Hz;
use pinhole_timewait::simulate::{Outcome, Plan, Simulation};
use serde_json::json;

use super::machine::Machine;
use crate::cmd::conntrack::output;
use spec::{BurstSpec, Named, Rates};

/// Simulate how long sockets stay in TIME_WAIT: any kernel, any load, a hundred million sockets in seconds
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  pinhole timewait simulate --kernel 2.6.32 --rate 20 --for 3600
  pinhole timewait simulate --kernel 2.6.32 --rate 50:120,10:3600    two minutes of load, and an hour after
  pinhole timewait simulate --kernel 6.x --hz 1000 --rate 1000 --sockets 100000000
  pinhole timewait simulate --kernel 4.4 --rate 600 --ports 28232    when ports run out, and for how long
  pinhole timewait simulate --kernel 2.6.32 --rate 0 --burst 1000@0 --burst 1000@7.5 --html bursts.html")]
pub(super) struct Args {
    /// The kernel; this machine's without it
    #[arg(long, value_name = "VERSION")]
    kernel: Option<Named>,
    /// Its jiffies a second; without it this machine's, or 1000 for a kernel of the death row
    #[arg(long, value_name = "HZ", value_parser = spec::hz)]
    hz: Option<Hz>,
    /// Connections that close a second; RATE:SECONDS,RATE:SECONDS for one phase after the other
    #[arg(long, value_name = "RATE", default_value = "100", allow_negative_numbers = true)]
    rate: Rates,
    /// How many seconds
    #[arg(long = "for", value_name = "SECONDS", value_parser = spec::seconds, default_value = "3600")]
    length_s: f64,
    /// How many sockets, rather than how many seconds
    #[arg(long, value_name = "COUNT", conflicts_with = "length_s")]
    sockets: Option<u64>,
    /// So many more at once, at a second, within some seconds (1 without it); may be repeated
    #[arg(long, value_name = "COUNT@AT[/WITHIN]")]
    burst: Vec<BurstSpec>,
    /// So many ports to one destination: who finds none is refused
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    ports: Option<u32>,
    /// tcp_max_tw_buckets: with so many there, the next connection closes without TIME_WAIT
    #[arg(long, value_name = "COUNT")]
    buckets: Option<u64>,
    /// Evenly spaced rather than at random
    #[arg(long)]
    even: bool,
    /// How late the death row's worker runs, milliseconds
    #[arg(long, value_name = "MS", default_value_t = 1)]
    worker_delay: u64,
    /// Do not count lifetimes of sockets that come in the first seconds
    #[arg(long, value_name = "SECONDS", value_parser = spec::seconds, default_value = "0")]
    warm_up: f64,
    /// Other arrivals for another seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write a page with plots
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the plot of lifetimes
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// For machines
    #[arg(long)]
    json: bool,
}

/// What was simulated and what came of it.
struct Run {
    kernel: Named,
    plan: Plan,
    outcome: Outcome,
    /// How long it took.
    took: Duration,
}

/// Runs it and prints.
pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let (kernel, plan) = plan(args)?;
    let start = Instant::now();
    let outcome = simulate(&plan)?;
    let run = Run { kernel, plan, outcome, took: start.elapsed() };
    if let Some(path) = &args.html {
        std::fs::write(path, page::html(&run)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = &args.svg {
        std::fs::write(path, svg::lifetimes(&run)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let mut out = io::stdout().lock();
    let written = if args.json { writeln!(out, "{:#}", json(&run)) } else { text::write(&mut out, &run) };
    output::ended(written.and_then(|()| out.flush()))
}

fn plan(args: &Args) -> Result<(Named, Plan)> {
    let machine = Machine::find().ok();
    let own = machine.as_ref().map(|machine| Named { text: machine.release.clone(), version: machine.version });
    let kernel = args.kernel.clone().or(own).context("say --kernel")?;
    let generation = kernel.version.generation();
    let hz = args.hz.or(machine.filter(|_| args.kernel.is_none()).map(|machine| machine.hz));
    let hz = hz.unwrap_or(spec::usual_hz(generation));
    let length_s = match (args.sockets, args.rate.single()) {
        (Some(sockets), Some(rate)) if rate > 0.0 => sockets as f64 / rate,
        (Some(_), _) => return Err(anyhow!("--sockets needs a single --rate above zero")),
        (None, _) => args.length_s,
    };
    let plan = Plan {
        phases: args.rate.phases(length_s),
        bursts: args.burst.iter().map(|burst| burst.0).collect(),
        even: args.even,
        worker_delay_j: hz.from_ms(args.worker_delay),
        ports: args.ports,
        buckets: args.buckets,
        warm_up_s: args.warm_up,
        seed: args.seed,
        ..Plan::steady(generation, hz, 0.0, 0.0)
    };
    Ok((kernel, plan))
}

/// How often the clock is looked at while it runs.
const STRIDE: u32 = 256;
/// Before this nobody wonders.
const PATIENCE: Duration = Duration::from_secs(1);

fn simulate(plan: &Plan) -> Result<Outcome> {
    let mut simulation = Simulation::new(plan)?;
    let mut next = Instant::now() + PATIENCE;
    let tells = io::stderr().is_terminal();
    let mut told = false;
    for step in 1u32.. {
        if !simulation.step() {
            break;
        }
        if tells && step.is_multiple_of(STRIDE) && Instant::now() > next {
            eprint!("\r\x1b[Kpinhole: simulated {:.0} %", simulation.progress() * 100.0);
            let _ = io::stderr().flush();
            (next, told) = (Instant::now() + PATIENCE / 4, true);
        }
    }
    if told {
        eprint!("\r\x1b[K");
    }
    Ok(simulation.outcome())
}

/// The shares that are told.
const SHARES: [(&str, f64); 7] =
    [("p1", 0.01), ("p10", 0.1), ("p25", 0.25), ("p50", 0.5), ("p75", 0.75), ("p90", 0.9), ("p99", 0.99)];
/// Shorter ones are not told one by one.
const SHORT_OUTAGE_S: f64 = 0.5;

fn json(run: &Run) -> serde_json::Value {
    let Run { kernel, plan, outcome, took } = run;
    let lifetimes = &outcome.lifetimes;
    let shares: serde_json::Map<_, _> =
        SHARES.iter().map(|&(name, share)| (name.to_owned(), lifetimes.quantile_s(share).into())).collect();
    let (from_s, until_s) = svg::span(lifetimes);
    json!({
        "kernel": kernel.text,
        "hz": plan.hz.get(),
        "sockets": lifetimes.count(),
        "least_s": lifetimes.least_s(),
        "mean_s": lifetimes.mean_s(),
        "most_s": lifetimes.most_s(),
        "shares_s": shares,
        "histogram": lifetimes.columns(from_s, until_s, svg::COLUMNS),
        "population": outcome.population.iter().map(|sample| (sample.at_s, sample.sockets)).collect::<Vec<_>>(),
        "most_sockets": outcome.most,
        "ticks": outcome.ticks.all,
        "stalled": outcome.ticks.stalled,
        "served": outcome.served,
        "overflowed": outcome.overflowed,
        "refused": outcome.refused,
        "outages": outcome.outages.iter().filter(|outage| outage.length_s() >= SHORT_OUTAGE_S)
            .map(|outage| json!({ "from_s": outage.from_s, "until_s": outage.until_s, "refused": outage.refused }))
            .collect::<Vec<_>>(),
        "took_s": took.as_secs_f64(),
    })
}
