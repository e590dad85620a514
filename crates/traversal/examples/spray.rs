//! How often, how soon and with how many probes two hosts behind NATs find each other, over many seeds in virtual time.
//!
//! ```text
//! cargo run --release -p pinhole-traversal --example spray [SEEDS [NAME]]
//! ```
//!
//! The world is that of the tests: NATs of `netfilter`, links of the laboratory, a round trip of 80 ms. Time to direct is from
//! the moment in which both are told until both know that the way is proven, the hand-over included.

// What only tests look at is dead here.
#[allow(dead_code)]
#[path = "../tests/it/spray/plans.rs"]
mod plans;
#[allow(dead_code)]
#[path = "../tests/it/spray/world.rs"]
mod world;

use plans::{NAMED, Plans};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let seeds = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(1_000);
    let wanted = arguments.next().unwrap_or_default();
    println!(
        "{:<44} {:>7} {:>7} {:>8} {:>8} {:>7} {:>7}",
        "pair", "direct", "in 2 s", "median", "p99", "probes", "most"
    );
    for (name, plan) in NAMED.iter().filter(|(name, _)| name.contains(&wanted)) {
        let plans = Plans::run(&plan(), seeds);
        let share = |count: usize| format!("{:.2} %", 100.0 * count as f64 / seeds as f64);
        println!(
            "{name:<44} {:>7} {:>7} {:>8} {:>8} {:>7} {:>7}",
            share(plans.direct()),
            share(plans.within_ms(2_000)),
            format!("{} ms", plans.millis(50)),
            format!("{} ms", plans.millis(99)),
            plans.probes(50),
            plans.probes(100),
        );
    }
}
