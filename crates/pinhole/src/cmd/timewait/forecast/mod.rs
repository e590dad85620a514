//! `pinhole timewait forecast`: when ports to a destination run out, for how long, and what helps how much.

mod gateway;

use std::io::{self, Write};
use std::net::IpAddr;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args as ClapArgs;
use pinhole_host::netlink::sock_diag::States;
use pinhole_timewait::capacity::{self, Change, Forecast, Load, changes};
use serde_json::json;

use super::groups::{Groups, Key};
use super::machine::Machine;
use super::sample::{Dead, Sample};
use super::target::Peer;
use super::trouble;
use crate::cmd::conntrack::human;
use crate::cmd::conntrack::output;
use crate::cmd::conntrack::paint::{Paint, Tone};
use gateway::Gateway;

/// Forecast when ports run out: the load at which connect() gets slow and fails, for how long, and what helps
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  pinhole timewait forecast --rate 600 --to 10.0.0.2:443
  pinhole timewait forecast --to 10.0.0.2:443              at the rate of the last half minute
  pinhole timewait forecast --rate 600 --ports 4000        what if
  pinhole timewait forecast --rate 600 --gateway           this machine translates sources (SNAT, masquerade)")]
pub(super) struct Args {
    /// New connections a second; what was seen in the last half minute without it
    #[arg(long, value_name = "RATE", value_parser = rate, allow_negative_numbers = true)]
    rate: Option<f64>,
    /// To this address and port; what is there already counts
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    to: Option<Peer>,
    /// From this address of ours; the busiest without it
    #[arg(long, value_name = "ADDRESS", requires = "to")]
    from: Option<IpAddr>,
    /// How long each connection lasts before it closes, seconds
    #[arg(long, value_name = "SECONDS", value_parser = rate, default_value = "0")]
    duration: f64,
    /// So many ports, rather than those of ip_local_port_range
    #[arg(long, value_name = "COUNT", value_parser = ports)]
    ports: Option<u32>,
    /// The risk of a gateway that gives clients its own ports
    #[arg(long)]
    gateway: bool,
    /// For machines
    #[arg(long)]
    json: bool,
}

/// What there is now.
struct Now {
    /// When ports that are taken come back, seconds.
    taken_s: Vec<f64>,
    used: u32,
    /// Connections a second in the last half minute.
    seen_per_s: f64,
    ports: u32,
    /// The ports of the widest range.
    wide: u32,
    /// Where connect() takes the ports of dead connections, how old these must be, seconds.
    reused_after_s: Option<f64>,
}

/// The lowest port that needs no privilege.
const UNPRIVILEGED: u32 = 1024;
/// What is counted to see a rate.
const SEEN_S: f64 = 30.0;

/// Prints it.
pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let machine = Machine::find()?;
    let now = now(args, &machine)?;
    let rate_per_s = match args.rate {
        Some(rate) => rate,
        None if now.seen_per_s > 0.0 => now.seen_per_s,
        None if args.to.is_none() => bail!("say --rate, or with --to where connections go whose rate can be seen"),
        None => bail!("no connection has closed there in the last half minute: say --rate"),
    };
    let load = Load { rate_per_s, duration_s: args.duration, reused_after_s: now.reused_after_s };
    let forecast = capacity::forecast(machine.kernel(), now.ports, load, &now.taken_s);
    let mut out = io::stdout().lock();
    let written = match args.json {
        true => json(&mut out, args, &machine, &now, load, &forecast),
        false => text(&mut out, args, &machine, &now, load, &forecast),
    };
    output::ended(written.and_then(|()| out.flush()))
}

fn now(args: &Args, machine: &Machine) -> Result<Now> {
    let mut sample = Sample::take(machine, States::ALL)?;
    let wanted = |remote| args.to.is_none_or(|peer| peer.is(remote));
    sample.dead.retain(|dead| wanted(dead.socket.remote));
    sample.living.retain(|socket| socket.remote.port() == 0 || wanted(socket.remote));
    let groups = Groups::of(machine, &sample, None);
    let is_from = |address: IpAddr| args.from.is_none_or(|from| from.to_canonical() == address);
    let group = groups.groups.iter().find(|group| match group.key {
        Key::Out { from, .. } => args.to.is_some() && is_from(from),
        Key::In { .. } => false,
    });
    let dead = || group.iter().flat_map(|group| &group.dead).map(|&at| &sample.dead[at]);
    let reused_after_s = machine.reused_after_s(args.to.map(|peer| peer.address));
    let back_s = |dead: &Dead| {
        let age_s = sample.at_ns.saturating_sub(dead.since_ns) as f64 / 1e9;
        let left_s = dead.left_s(sample.at_ns);
        reused_after_s.map_or(left_s, |after_s| left_s.min((after_s - age_s).max(0.0)))
    };
    let mut taken_s: Vec<f64> = dead().map(back_s).filter(|&back_s| back_s > 0.0).collect();
    taken_s.sort_by(f64::total_cmp);
    let young = dead().filter(|dead| sample.at_ns.saturating_sub(dead.since_ns) as f64 / 1e9 <= SEEN_S).count();
    let pool = machine.pool(groups.blocked);
    let ports = args.ports.unwrap_or(pool.ports());
    let wide = (u32::from(u16::MAX) + 1 - UNPRIVILEGED).saturating_sub(pool.reserved + pool.blocked);
    let used = group.map_or(0, |group| group.used);
    Ok(Now { taken_s, used, seen_per_s: young as f64 / SEEN_S, ports, wide, reused_after_s })
}

fn text(
    out: &mut impl Write,
    args: &Args,
    machine: &Machine,
    now: &Now,
    load: Load,
    forecast: &Forecast,
) -> io::Result<()> {
    let paint = Paint::for_stdout();
    let rate = load.rate_per_s;
    writeln!(out, "Linux {}, {}: TIME_WAIT lasts {}", machine.release, machine.hz, machine.lasts())?;
    writeln!(
        out,
        "{} ports, {} taken now; {} new connections a second, each {} s",
        now.ports,
        now.used,
        human::decimal(rate),
        load.duration_s
    )?;
    if let Some(after_s) = load.reused_after_s {
        let words = format!(
            "tcp_tw_reuse is on: connect() takes a port {after_s} s after it was closed, if both ends had timestamps"
        );
        writeln!(out, "{}", paint.paint(Tone::Good, &words))?;
    }
    let line = |words: &str, per_s: f64| format!("  {words:<44} {per_s:>9.1} a second");
    writeln!(out, "\n{}", paint.paint(Tone::Heading, "WHAT THE PORTS CARRY, TO ONE ADDRESS AND PORT"))?;
    writeln!(out, "{}", line("without one refusal", forecast.safe_per_s))?;
    writeln!(out, "{}", line("on average", forecast.sustainable_per_s))?;
    writeln!(out, "{}", line("before connect() gets slow (half are taken)", forecast.slow_per_s))?;
    writeln!(out, "\n{}", paint.paint(Tone::Heading, "AT THIS RATE"))?;
    match forecast.slow_after_s {
        Some(after_s) => {
            let words = format!("  half are taken {}: from then on connect() takes milliseconds", when(after_s));
            writeln!(out, "{}", paint.paint(Tone::Waiting, &words))?;
        }
        None => writeln!(out, "{}", paint.paint(Tone::Good, "  half are never taken"))?,
    }
    match forecast.exhausted_after_s {
        Some(after_s) => {
            let words = format!("  none is left {}: connect() fails with EADDRNOTAVAIL", when(after_s));
            writeln!(out, "{}", paint.paint(Tone::Bad, &words))?;
        }
        None => writeln!(out, "{}", paint.paint(Tone::Good, "  they never run out"))?,
    }
    if let Some(saturation) = forecast.saturation {
        writeln!(
            out,
            "  then, every {:.2} s: {:.2} s that work and {:.2} s that fail, at first; {:.2} connections a second succeed",
            saturation.cycle_s, saturation.up_s, saturation.outage_s, saturation.served_per_s
        )?;
    }
    writeln!(out, "\n{}", paint.paint(Tone::Heading, "WHAT HELPS"))?;
    for effect in changes(forecast, load, machine.reuse_delay_ms(), now.wide) {
        let per_s = effect.sustainable_per_s;
        let (verdict, tone) = match effect.change {
            Change::FinTimeout => ("no help", Tone::Fading),
            _ if per_s >= rate => ("enough", Tone::Good),
            _ => ("not enough", Tone::Fading),
        };
        let text = match per_s.is_finite() {
            true => format!("{:>9} a second", human::amount(per_s as u64)),
            false => format!("{:>18}", "no limit"),
        };
        writeln!(out, "  {text}  {}  {}", paint.paint(tone, &format!("{verdict:<10}")), effect.change)?;
    }
    if args.gateway {
        Gateway::of(machine, args, load).text(out, paint)?;
    }
    trouble::of_settings(&machine.settings)
        .map_or(Ok(()), |words| writeln!(out, "{}", paint.paint(Tone::Fading, words)))
}

fn when(after_s: f64) -> String {
    if after_s <= 0.0 { "now".to_owned() } else { format!("in {after_s:.1} s") }
}

fn json(
    out: &mut impl Write,
    args: &Args,
    machine: &Machine,
    now: &Now,
    load: Load,
    forecast: &Forecast,
) -> io::Result<()> {
    let finite = |number: f64| number.is_finite().then_some(number);
    let helps = changes(forecast, load, machine.reuse_delay_ms(), now.wide)
        .into_iter()
        .map(|effect| json!({ "change": effect.change.to_string(), "per_s": finite(effect.sustainable_per_s) }));
    let mut whole = json!({
        "kernel": super::show::machine(machine),
        "ports": now.ports,
        "used": now.used,
        "rate_per_s": load.rate_per_s,
        "seen_per_s": now.seen_per_s,
        "reused_after_s": now.reused_after_s,
        "duration_s": load.duration_s,
        "safe_per_s": forecast.safe_per_s,
        "sustainable_per_s": forecast.sustainable_per_s,
        "slow_per_s": forecast.slow_per_s,
        "slow_after_s": forecast.slow_after_s,
        "exhausted_after_s": forecast.exhausted_after_s,
        "saturation": forecast.saturation.map(|saturation| json!({
            "cycle_s": saturation.cycle_s,
            "up_s": saturation.up_s,
            "outage_s": saturation.outage_s,
            "served_per_s": saturation.served_per_s,
        })),
        "helps": helps.collect::<Vec<_>>(),
    });
    if args.gateway {
        whole["gateway"] = Gateway::of(machine, args, load).json();
    }
    writeln!(out, "{whole:#}")
}

/// Ports: of one address at most, or of as many addresses as a gateway may have.
fn ports(text: &str) -> Result<u32, String> {
    /// A thousand addresses.
    const MOST: u32 = 65_536_000;
    let number = text.parse().ok().filter(|number| (1..=MOST).contains(number));
    number.ok_or_else(|| format!("expected a number of ports from 1 to {MOST}"))
}

/// A number that is finite, not negative, and not beyond what machines do.
fn rate(text: &str) -> Result<f64, String> {
    /// A thousand million a second.
    const MOST: f64 = 1e9;
    let number = text.parse().ok().filter(|number: &f64| (0.0..=MOST).contains(number));
    number.ok_or_else(|| "expected a number from 0 to 1e9".to_owned())
}
