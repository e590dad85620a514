//! `pinhole timewait explain`: this machine's kernel and settings in plain words, and what one might want to change.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Result;
use clap::Args as ClapArgs;
use pinhole_host::sysctl::Settings;
use pinhole_timewait::claim::Rules;
use pinhole_timewait::{Generation, TIMEWAIT_S, Version, fin_wait2};
use serde_json::json;

use super::machine::Machine;
use super::{show, trouble};
use crate::cmd::conntrack::output;
use crate::cmd::conntrack::paint::{Paint, Tone};

/// Explain this machine's TIME_WAIT in plain words: its kernel, its clock, its settings
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  pinhole timewait explain
  pinhole timewait explain --json | jq .advice")]
pub(super) struct Args {
    /// For machines
    #[arg(long)]
    json: bool,
}

/// Prints it.
pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let machine = Machine::find()?;
    let mut out = io::stdout().lock();
    let written = if args.json { json(&mut out, &machine) } else { text(&mut out, &machine) };
    output::ended(written.and_then(|()| out.flush()))
}

fn text(out: &mut impl Write, machine: &Machine) -> io::Result<()> {
    let paint = Paint::for_stdout();
    for (subject, words) in facts(machine) {
        writeln!(out, "{}\n  {words}", paint.paint(Tone::Heading, subject))?;
    }
    for words in advice(&machine.settings) {
        writeln!(out, "{}", paint.paint(Tone::Bad, &format!("! {words}")))?;
    }
    trouble::of_settings(&machine.settings)
        .map_or(Ok(()), |words| writeln!(out, "{}", paint.paint(Tone::Fading, words)))
}

fn json(out: &mut impl Write, machine: &Machine) -> io::Result<()> {
    let settings = &machine.settings;
    let facts: serde_json::Map<_, _> =
        facts(machine).into_iter().map(|(subject, words)| (subject.to_owned(), words.into())).collect();
    let whole = json!({
        "kernel": show::machine(machine),
        "settings": {
            "tcp_timestamps": settings.timestamps,
            "tcp_tw_reuse": settings.tw_reuse,
            "tcp_tw_reuse_delay_ms": settings.tw_reuse_delay_ms,
            "tcp_tw_recycle": settings.tw_recycle,
            "tcp_tw_timeout_s": settings.tw_timeout_s,
            "tcp_fin_timeout_s": settings.fin_timeout_s,
            "tcp_max_tw_buckets": settings.max_tw_buckets,
            "tcp_rfc1337": settings.rfc1337,
            "ip_autobind_reuse": settings.autobind_reuse,
            "ip_local_port_range": settings.port_range,
            "nf_conntrack_tcp_timeout_time_wait_s": settings.conntrack_time_wait_s,
        },
        "explained": facts,
        "advice": advice(settings),
    });
    writeln!(out, "{whole:#}")
}

/// What is so, and what it means.
fn facts(machine: &Machine) -> Vec<(&'static str, String)> {
    let settings = &machine.settings;
    let mut facts = vec![
        ("kernel", format!("Linux {}, {}: {}", machine.release, machine.hz, machine.generation().words())),
        ("a TIME_WAIT socket lasts", lasts(machine)),
        ("times of death", clock(machine)),
    ];
    if let Some(words) = reuse(machine.version, settings) {
        facts.push(("its port for a new connection", words));
    }
    facts.push((
        "its port for bind()",
        "only if the dead socket and the new one both have SO_REUSEADDR, or both SO_REUSEPORT, set before bind(); then \
         connect() to the same peer works at once if the dead connection had timestamps"
            .to_owned(),
    ));
    if let Some(timeout_s) = settings.fin_timeout_s {
        facts.push(("FIN_WAIT_2 without a process", fin_wait_2(machine, timeout_s)));
    }
    let pool = machine.pool(0);
    let rate = f64::from(pool.ports()) / mean_s(machine);
    facts.push((
        "ports",
        format!(
            "{}-{}, {} reserved: {} to each destination, good for {rate:.0} short connections a second to one \
             address and port",
            pool.low,
            pool.high,
            pool.reserved,
            pool.ports(),
        ),
    ));
    if let Some(most) = settings.max_tw_buckets {
        facts.push((
            "at most",
            format!("{most} at once (tcp_max_tw_buckets); beyond, connections close without TIME_WAIT"),
        ));
    }
    if let Some(seconds) = settings.conntrack_time_wait_s {
        facts.push((
            "connection tracking",
            format!("keeps its own TIME_WAIT for {seconds} s: a NAT holds the mapping after the socket is gone"),
        ));
    }
    facts
}

fn lasts(machine: &Machine) -> String {
    let lasts = machine.lasts();
    match machine.generation() {
        Generation::DeathRow => format!("{lasts}: the hand of the wheel stays where a slot has more than 100 sockets"),
        Generation::TimerPerSocket => format!("{lasts}, to the jiffy"),
        Generation::Quantised => {
            format!("{lasts}: its timer is rounded up to {:.3} s", machine.hz.to_s(machine.granule_j()))
        }
    }
}

fn clock(machine: &Machine) -> String {
    let off_ms = machine.jiffies.uncertainty_ns() as f64 / 1e6;
    match trouble::of_clock(machine.jiffies.source) {
        Some(words) => words.trim_start_matches("times of death ").to_owned(),
        None => format!("known to {off_ms:.0} ms, as the kernel's jiffies are readable"),
    }
}

fn mean_s(machine: &Machine) -> f64 {
    use pinhole_timewait::lifetime::{Heat, Lifetime};
    Lifetime::of(machine.generation(), machine.hz, Heat::Hot).mean_s()
}

fn reuse(version: Version, settings: &Settings) -> Option<String> {
    let delay = match settings.tw_reuse_delay_ms {
        Some(ms) => format!("{ms} ms after its last segment"),
        None => format!("at most {} ms after its last segment", Rules::defaults(version).reuse_delay_ms()),
    };
    let words = match (settings.tw_reuse?, settings.timestamps) {
        (_, Some(0)) => "never: tcp_timestamps is 0".to_owned(),
        (0, _) => "not while it waits: tcp_tw_reuse is 0".to_owned(),
        (2, _) => format!("on loopback only, {delay} (tcp_tw_reuse is 2); elsewhere not while it waits"),
        _ => format!(
            "connect() may take it {delay}, to the same destination, if both had timestamps (tcp_tw_reuse is 1)"
        ),
    };
    Some(words)
}

fn fin_wait_2(machine: &Machine, timeout_s: u64) -> String {
    /// Of a connection in a local network.
    const RTO_MS: u64 = 200;
    let asked = i64::try_from(timeout_s).unwrap_or(i64::MAX);
    let Some(wait) = fin_wait2::wait(machine.hz, asked, RTO_MS) else { return "is not waited for".to_owned() };
    let (above_j, most_j) = wait.bounds_j(machine.generation(), machine.hz);
    let twice = if timeout_s > TIMEWAIT_S { ": of more than a minute, twice what is above it" } else { "" };
    format!(
        "waits {:.1} to {:.1} s for the other side (tcp_fin_timeout is {timeout_s}{twice}); it does not change TIME_WAIT",
        machine.hz.to_s(above_j),
        machine.hz.to_s(most_j)
    )
}

/// What one might want to change.
fn advice(settings: &Settings) -> Vec<String> {
    let mut advice = Vec::new();
    if let Some(timeout_s) = settings.fin_timeout_s.filter(|&seconds| seconds > TIMEWAIT_S) {
        let really = 2 * (timeout_s - TIMEWAIT_S);
        advice.push(format!(
            "tcp_fin_timeout={timeout_s} does not mean {timeout_s} s but 2 x ({timeout_s} - 60) = {really} s"
        ));
    }
    if settings.timestamps == Some(0) {
        advice
            .push("tcp_timestamps=0: no port can be reused before its TIME_WAIT ends, whatever else is set".to_owned());
    }
    if settings.tw_recycle.is_some_and(|value| value != 0) {
        advice.push("tcp_tw_recycle is on: clients behind a NAT are refused at random; turn it off".to_owned());
    }
    if settings.rfc1337 == Some(1) {
        advice.push(
            "tcp_rfc1337=1: an RST does not end TIME_WAIT, so a peer that punches again from its old port waits for it to end"
                .to_owned(),
        );
    }
    /// Less than the default range fills.
    const FEW_BUCKETS: u64 = 28_000;
    if let Some(most) = settings.max_tw_buckets.filter(|&most| most < FEW_BUCKETS) {
        advice.push(format!(
            "tcp_max_tw_buckets={most}: beyond it connections close without TIME_WAIT, and late segments may meet new ones"
        ));
    }
    if let Some(seconds) = settings.tw_timeout_s.filter(|&seconds| seconds < TIMEWAIT_S) {
        advice.push(format!("tcp_tw_timeout={seconds} (this vendor's): shorter than segments may live in a network"));
    }
    advice
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_appears_with_the_setting_and_goes_with_it() {
        let good = Settings {
            timestamps: Some(1),
            tw_reuse: Some(2),
            fin_timeout_s: Some(60),
            max_tw_buckets: Some(131_072),
            rfc1337: Some(0),
            ..Settings::default()
        };
        assert_eq!(advice(&good), Vec::<String>::new());
        let cases = [
            (Settings { fin_timeout_s: Some(90), ..good.clone() }, "= 60 s"),
            (Settings { timestamps: Some(0), ..good.clone() }, "tcp_timestamps=0"),
            (Settings { rfc1337: Some(1), ..good.clone() }, "tcp_rfc1337"),
            (Settings { tw_recycle: Some(1), ..good.clone() }, "tcp_tw_recycle"),
            (Settings { max_tw_buckets: Some(5000), ..good.clone() }, "tcp_max_tw_buckets=5000"),
            (Settings { tw_timeout_s: Some(3), ..good.clone() }, "tcp_tw_timeout=3"),
        ];
        for (settings, words) in cases {
            let found = advice(&settings);
            assert!(found.len() == 1 && found[0].contains(words), "{found:?}");
        }
        let reuse = |version, settings: &Settings| reuse(version, settings).expect("the setting is there");
        let (now, before) = (Version::new(6, 18), Version::new(6, 1));
        assert!(reuse(now, &good).contains("loopback only"));
        assert!(reuse(before, &Settings { tw_reuse: Some(1), ..good.clone() }).contains("at most 1000 ms"));
        assert!(reuse(now, &Settings { timestamps: Some(0), ..good }).starts_with("never"));
    }
}
