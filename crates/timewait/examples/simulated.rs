//! How many lifetimes a second the simulation and the exact row do: `cargo run --release -p pinhole-timewait --example simulated`.

use std::time::Instant;

use pinhole_timewait::simulate::{Plan, Simulation};
use pinhole_timewait::{DeathRow, Generation, Hz};

/// Sockets a second, and how many in all.
const RATE: f64 = 1000.0;
const SOCKETS: f64 = 1e8;

fn main() {
    let sockets = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(SOCKETS);
    println!("| simulated | sockets | seconds | million a second | mean life, s |");
    println!("|---|---|---|---|---|");
    for (name, generation, hz) in [
        ("2.6.32, by slots", Generation::DeathRow, Hz::HZ_1000),
        ("4.4", Generation::TimerPerSocket, Hz::HZ_250),
        ("6.x, HZ=250", Generation::Quantised, Hz::HZ_250),
        ("6.x, HZ=1000", Generation::Quantised, Hz::HZ_1000),
    ] {
        let start = Instant::now();
        let plan = Plan::steady(generation, hz, RATE, sockets / RATE);
        let outcome = Simulation::new(&plan).expect("a plan that can be").run();
        let (count, mean_s) = (outcome.lifetimes.count(), outcome.lifetimes.mean_s());
        row(name, count, start.elapsed().as_secs_f64(), mean_s);
    }
    let start = Instant::now();
    let (count, mean_s) = exact((sockets / 10.0) as u64);
    row("2.6.32, socket by socket", count, start.elapsed().as_secs_f64(), mean_s);
}

fn row(name: &str, count: u64, seconds: f64, mean_s: f64) {
    println!("| {name} | {count} | {seconds:.2} | {:.0} | {mean_s:.3} |", count as f64 / seconds / 1e6);
}

/// The exact row, one socket each millisecond.
fn exact(sockets: u64) -> (u64, f64) {
    let mut row = DeathRow::new(Hz::HZ_1000);
    let (mut count, mut sum_ms) = (0, 0);
    for at_j in 0..sockets {
        row.advance(at_j, |death| {
            count += 1;
            sum_ms += death.at_j - death.value;
        });
        row.schedule(at_j, 60_000, at_j);
    }
    row.advance(u64::MAX, |death| {
        count += 1;
        sum_ms += death.at_j - death.value;
    });
    (count, sum_ms as f64 / count as f64 / 1000.0)
}
