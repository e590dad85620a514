//! The simulation against the exact row, the table of measurements, and itself.

use pinhole_sansio::Rng;

use super::*;
use crate::{DeathRow, Generation, Hz};

fn plan(generation: Generation, rate_per_s: f64, length_s: f64) -> Plan {
    Plan { warm_up_s: 300.0, ..Plan::steady(generation, Hz::HZ_1000, rate_per_s, length_s) }
}

fn run(plan: &Plan) -> Outcome {
    Simulation::new(plan).expect("a plan that can be").run()
}

#[track_caller]
fn near(found: f64, expected: f64, within: f64) {
    assert!((found - expected).abs() <= within, "{found}, expected {expected} ± {within}");
}

#[test]
fn lifetimes_are_those_of_the_table() {
    // min, mean, max, share of ticks with a stalled hand.
    let cases = [
        (0.5, 52.5, 56.27, 60.0, 0.0),
        (5.0, 52.5, 56.25, 60.0, 0.0),
        (8.0, 52.5, 56.25, 60.0, 0.0),
        (14.0, 97.5, 105.0, 112.5, 0.49),
        (20.0, 97.5, 105.0, 112.5, 0.49),
        (50.0, 97.5, 105.0, 112.5, 0.49),
        (1000.0, 97.5, 105.0, 112.501, 0.49),
    ];
    for (rate, least, mean, most, stalled) in cases {
        let outcome = run(&plan(Generation::DeathRow, rate, 1900.0));
        let lifetimes = &outcome.lifetimes;
        near(lifetimes.least_s(), least, 0.2);
        near(lifetimes.mean_s(), mean, if rate < 1.0 { 0.4 } else { 0.15 });
        near(lifetimes.most_s(), most, 0.2);
        near(outcome.ticks.stalled as f64 / outcome.ticks.all as f64, stalled, 0.03);
    }
}

#[test]
fn beyond_the_most_buckets_connections_close_without_time_wait() {
    // Five at most, and twelve within a second: five wait and seven do not.
    let twelve = Burst { at_s: 0.0, count: 12, within_s: 1.0 };
    for generation in [Generation::DeathRow, Generation::TimerPerSocket, Generation::Quantised] {
        let none = Plan::steady(generation, Hz::HZ_1000, 0.0, 10.0);
        let outcome = run(&Plan { bursts: vec![twelve], buckets: Some(5), ..none });
        let counts = (outcome.served, outcome.overflowed, outcome.refused, outcome.most, outcome.lifetimes.count());
        assert_eq!(counts, (12, 7, 0, 5, 5), "{generation:?}");
        // Whoever has no bucket gives its port back; whoever finds no port does not get so far.
        let none = Plan::steady(generation, Hz::HZ_1000, 0.0, 10.0);
        let both = |ports| run(&Plan { bursts: vec![twelve], buckets: Some(5), ports: Some(ports), ..none.clone() });
        assert_eq!((both(6).overflowed, both(6).refused), (7, 0));
        assert_eq!((both(4).overflowed, both(4).refused), (0, 8));
    }
}

#[test]
fn between_ten_and_thirteen_a_second_chance_decides() {
    let means: Vec<f64> = (0..20)
        .map(|seed| run(&Plan { seed, ..plan(Generation::DeathRow, 12.0, 3900.0) }).lifetimes.mean_s())
        .collect();
    assert!(means.iter().all(|mean| (56.0..=105.2).contains(mean)), "{means:?}");
    assert!(means.iter().any(|mean| *mean > 80.0), "it turns hot within an hour: {means:?}");
    let spread =
        means.iter().fold(0.0, |most: f64, mean| most.max(*mean)) - means.iter().fold(999.0, |l: f64, m| l.min(*m));
    assert!(spread > 3.0, "the sequence matters: {means:?}");
}

#[test]
fn a_hot_row_stays_hot_at_ten_and_cools_at_five() {
    let after = |rate_per_s| {
        let mut plan = plan(Generation::DeathRow, 50.0, 120.0);
        plan.phases.push(Phase { rate_per_s, length_s: 3600.0 });
        plan.warm_up_s = 3120.0;
        run(&plan).lifetimes.mean_s()
    };
    near(after(5.0), 56.25, 0.3);
    near(after(10.0), 104.9, 0.6);
}

#[test]
fn cohorts_die_as_single_sockets_do() {
    // The same load, socket by socket through the exact row and by cohorts: Kolmogorov and Smirnov find no difference.
    for (rate, worker_delay_j) in [(6.0, 1), (25.0, 1), (25.0, 5000)] {
        let mut row = DeathRow::with_worker_delay(Hz::HZ_1000, worker_delay_j);
        let mut rng = Rng::from_seed(9);
        let (mut at, mut exact) = (0.0, Vec::new());
        while at < 3.0e6 {
            row.advance(at as u64, |death| exact.push((death.value, death.at_j)));
            row.schedule(at as u64, 60_000, at as u64);
            at += -(1.0 - rng.unit()).ln() * 1000.0 / rate;
        }
        row.advance(u64::MAX, |death| exact.push((death.value, death.at_j)));
        let mut lives: Vec<f64> =
            exact.iter().filter(|p| p.0 >= 300_000).map(|(born, died)| (died - born) as f64 / 1000.0).collect();
        lives.sort_by(f64::total_cmp);
        let plan = Plan { worker_delay_j, ..plan(Generation::DeathRow, rate, 3000.0) };
        let outcome = run(&plan);
        let mut worst = 0.0_f64;
        for (at, life) in lives.iter().enumerate().step_by(50) {
            // A bin's end is where both are known.
            let life = (life / 0.008).floor() * 0.008;
            let ours = outcome.lifetimes.share_below(life + 1e-9);
            let theirs = lives.partition_point(|l| *l < life) as f64 / lives.len() as f64;
            worst = worst.max((ours - theirs).abs());
            let _ = at;
        }
        // Sockets of a slot share their fate, so there are as many independent draws as slots, not as sockets.
        assert!(worst < 0.03, "{rate}/s, worker {worker_delay_j} j late: {worst}");
        near(outcome.lifetimes.most_s(), lives[lives.len() - 1], 0.4);
    }
}

#[test]
fn a_late_worker_lengthens_the_longest_life() {
    let most =
        |worker_delay_j| run(&Plan { worker_delay_j, ..plan(Generation::DeathRow, 50.0, 2000.0) }).lifetimes.most_s();
    for (delay_s, expected) in [(1, 113.5), (7, 119.5), (10, 175.0), (20, 237.5)] {
        near(most(delay_s * 1000), expected, 0.3);
    }
}

#[test]
fn since_4_8_lives_are_uniform_over_a_granule() {
    for hz in Hz::ALL {
        let outcome = run(&Plan { hz, ..plan(Generation::Quantised, 200.0, 2000.0) });
        let granule = crate::lifetime::granule_s(hz);
        let lifetimes = &outcome.lifetimes;
        assert!(lifetimes.least_s() > 60.0 && lifetimes.most_s() <= 60.0 + granule + 1e-9, "{hz}: {lifetimes:?}");
        near(lifetimes.mean_s(), 60.0 + granule / 2.0, 0.02);
        near(lifetimes.quantile_s(0.25), 60.0 + granule / 4.0, 0.06);
    }
    let exact = run(&plan(Generation::TimerPerSocket, 200.0, 1000.0)).lifetimes;
    assert_eq!((exact.least_s(), exact.mean_s(), exact.most_s()), (60.0, 60.0, 60.0));
}

#[test]
fn exhaustion_is_on_and_off_and_locks_to_the_wheel() {
    // 500 ports, 12 a second: measured up 41.6 to 43.5 s, out 19.2 to 19.8 s, 8.14 served a second.
    let plan = Plan {
        hz: Hz::HZ_250,
        ports: Some(500),
        even: true,
        warm_up_s: 0.0,
        ..plan(Generation::Quantised, 12.0, 6144.0)
    };
    let outcome = run(&plan);
    let long: Vec<_> = outcome.outages.iter().filter(|outage| outage.length_s() > 5.0).collect();
    near(long[0].from_s, 500.0 / 12.0, 0.1);
    near(long[0].length_s(), 19.8, 0.1);
    near(long[1].length_s(), 19.2, 0.1);
    near(long[1].from_s - long[0].until_s, 42.2, 0.1);
    // What a granule has less of than it releases erodes the outage, cycle by cycle, into one short one a granule.
    for pair in long[..20].windows(2) {
        near(pair[1].from_s - pair[0].from_s, 62.05, 0.3);
        assert!(pair[1].length_s() < pair[0].length_s());
    }
    near(outcome.served as f64 / 6144.0, 500.0 / 61.44, 0.05);
    assert_eq!(outcome.most, 500);
}

#[test]
fn a_burst_dies_within_a_second_and_two_a_period_apart_do_not() {
    let mut plan = Plan { phases: Vec::new(), warm_up_s: 0.0, ..plan(Generation::DeathRow, 0.0, 0.0) };
    plan.bursts = vec![Burst { at_s: 5.0, count: 10_000, within_s: 1.0 }];
    let outcome = run(&plan);
    assert_eq!((outcome.served, outcome.lifetimes.count(), outcome.ticks.stalled), (10_000, 10_000, 1));
    assert!(
        outcome.lifetimes.least_s() > 58.9 && outcome.lifetimes.most_s() <= 60.001,
        "{:?}",
        outcome.lifetimes.most_s()
    );
    plan.bursts = [0.0, 7.5].map(|at_s| Burst { at_s, count: 1000, within_s: 1.0 }).to_vec();
    near(run(&plan).lifetimes.most_s(), 67.4, 0.2);
}

#[test]
fn the_same_seed_gives_the_same_run_and_every_socket_dies() {
    let plan = Plan { warm_up_s: 0.0, ..plan(Generation::DeathRow, 30.0, 500.0) };
    let (one, other) = (run(&plan), run(&plan));
    assert_eq!(one, other);
    assert_eq!(one.served, one.lifetimes.count());
    assert_ne!(one.served, run(&Plan { seed: 2, ..plan }).served);
}

#[test]
fn what_cannot_be_is_refused() {
    let good = plan(Generation::Quantised, 1.0, 10.0);
    let refused = |plan: Plan| Simulation::new(&plan).err();
    assert_eq!(refused(good.clone()), None);
    let with = |rate_per_s, length_s| Plan { phases: vec![Phase { rate_per_s, length_s }], ..good.clone() };
    assert_eq!(refused(with(f64::NAN, 1.0)), Some(Refused::NotANumber("rate")));
    assert_eq!(refused(with(-1.0, 1.0)), Some(Refused::NotANumber("rate")));
    assert_eq!(refused(with(1.0, f64::INFINITY)), Some(Refused::NotANumber("time")));
    assert_eq!(refused(with(1e9, 1e6)), Some(Refused::TooMany));
    assert_eq!(refused(with(1e-3, 2e9)), Some(Refused::TooLong));
    assert_eq!(refused(with(0.0, 5.0)), Some(Refused::Empty));
    assert_eq!(refused(Plan { worker_delay_j: u64::MAX, ..good }), Some(Refused::WorkerTooLate));
}
