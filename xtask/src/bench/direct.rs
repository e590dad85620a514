//! Time from both agents up to the first tunnel packet, over many runs of `pinhole demo`.
//!
//! Each run is the real binary in fresh namespaces: three devices, a registry, two agents, kernel NATs, and links whose delay
//! and loss the demo's own Internet makes. The seed of the loss is the number of the run.

use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// `[--runs N] [--delay MS] [--loss PERCENT] [--nat KIND]`, the last three handed on to the demo.
pub(super) fn run(args: &[String]) -> Result<()> {
    let (runs, handed_on) = read(args)?;
    let status = Command::new("cargo").args(["build", "--release", "--package", "pinhole"]).status()?;
    if !status.success() {
        bail!("pinhole does not build");
    }
    let mut times = Vec::new();
    let mut failed = 0;
    for seed in 1..=runs {
        match time_to_direct(seed, &handed_on)? {
            Some(time) => times.push(time),
            None => failed += 1,
        }
    }
    times.sort_by(f64::total_cmp);
    let quantile = |q: f64| times.get(((times.len() as f64 * q).ceil() as usize).saturating_sub(1)).copied();
    let show = |time: Option<f64>| time.map_or("–".to_owned(), |ms| format!("{ms:.0} ms"));
    println!("| runs | not direct | least | median | p90 | p99 | most |");
    println!("|---|---|---|---|---|---|---|");
    println!(
        "| {runs} | {failed} | {} | {} | {} | {} | {} |",
        show(times.first().copied()),
        show(quantile(0.5)),
        show(quantile(0.9)),
        show(quantile(0.99)),
        show(times.last().copied()),
    );
    Ok(())
}

fn read(args: &[String]) -> Result<(u32, Vec<String>)> {
    let mut runs = 50;
    let mut handed_on = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let value = args.next().with_context(|| format!("{arg} needs a value"))?;
        match arg.as_str() {
            "--runs" => runs = value.parse().with_context(|| format!("--runs {value}"))?,
            "--delay" | "--loss" | "--nat" | "--wireguard" => handed_on.extend([arg.clone(), value.clone()]),
            _ => bail!("there is no {arg}; there are --runs, --delay, --loss, --nat and --wireguard"),
        }
    }
    Ok((runs, handed_on))
}

/// The verdict of one run, in milliseconds; `None` if there was no direct path.
fn time_to_direct(seed: u32, handed_on: &[String]) -> Result<Option<f64>> {
    let seed = seed.to_string();
    let demo = Command::new("target/release/pinhole")
        .args(["demo", "--json", "--seed", &seed])
        .args(handed_on)
        .output()
        .context("cannot run pinhole demo")?;
    let text = String::from_utf8_lossy(&demo.stdout);
    let verdict = text.lines().last().and_then(|line| serde_json::from_str::<Value>(line).ok());
    let Some(verdict) = verdict.filter(|verdict| verdict["event"] == "verdict") else {
        bail!("the demo gave no verdict: {}", String::from_utf8_lossy(&demo.stderr));
    };
    Ok(verdict["time_to_direct_ms"].as_f64())
}
