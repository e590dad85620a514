//! The figures of the measurements.

use super::*;

const DEFAULT: Pool = Pool { low: 32_768, high: 60_999, reserved: 0, blocked: 0 };
const NOW: Kernel = Kernel { generation: Generation::Quantised, hz: Hz::HZ_250 };

fn load(rate_per_s: f64) -> Load {
    Load { rate_per_s, duration_s: 0.0, reused_after_s: None }
}

#[test]
fn the_default_range_carries_463_a_second_and_a_hot_row_269() {
    let sustainable = |generation, hz| forecast(Kernel { generation, hz }, DEFAULT.ports(), load(1000.0), &[]);
    let cases = [
        (Generation::Quantised, Hz::HZ_250, 463.0),
        (Generation::Quantised, Hz::HZ_1000, 455.0),
        (Generation::Quantised, Hz::HZ_100, 451.0),
        (Generation::TimerPerSocket, Hz::HZ_250, 470.5),
        (Generation::DeathRow, Hz::HZ_1000, 269.0),
    ];
    for (generation, hz, expected) in cases {
        let found = sustainable(generation, hz).sustainable_per_s;
        assert!((found - expected).abs() < 0.7, "{generation:?} {hz}: {found}");
    }
}

#[test]
fn above_it_outages_have_the_period_of_the_wheel() {
    for hz in [Hz::HZ_100, Hz::HZ_250, Hz::HZ_300, Hz::HZ_1000] {
        let kernel = Kernel { generation: Generation::Quantised, hz };
        let saturation = forecast(kernel, 500, load(12.0), &[]).saturation.expect("it runs out");
        assert!((saturation.cycle_s - 61.44).abs() < 1e-6, "{hz}: {saturation:?}");
        assert!((saturation.up_s - 41.67).abs() < 0.01 && (saturation.outage_s - 19.77).abs() < 0.01);
        assert!((saturation.served_per_s - 8.138).abs() < 0.001);
    }
}

#[test]
fn the_forecast_and_the_simulation_agree_on_exhaustion() {
    for rate in [9.0, 12.0, 40.0] {
        let found = forecast(NOW, 500, load(rate), &[]);
        let plan = Plan { ports: Some(500), even: true, ..Plan::steady(NOW.generation, NOW.hz, rate, 600.0) };
        let simulated = Simulation::new(&plan).expect("a plan").run();
        let first = simulated.outages.first().expect("it runs out");
        let predicted = found.exhausted_after_s.expect("it runs out");
        assert!((first.from_s / predicted - 1.0).abs() < 0.01, "{rate}: {} {predicted}", first.from_s);
        let outage_s = found.saturation.expect("it runs out").outage_s;
        assert!((first.length_s() - outage_s).abs() < 0.3, "{rate}: {} {outage_s}", first.length_s());
    }
    let safe = forecast(NOW, 500, load(8.0), &[]);
    assert_eq!((safe.exhausted_after_s, safe.saturation), (None, None));
    assert!(safe.slow_after_s.is_some_and(|after| (after - 31.25).abs() < 0.01));
    let plan = Plan { ports: Some(500), even: true, ..Plan::steady(NOW.generation, NOW.hz, 8.0, 600.0) };
    assert_eq!(Simulation::new(&plan).expect("a plan").run().refused, 0);
}

#[test]
fn ports_that_are_taken_already_bring_it_nearer_and_come_back() {
    let taken: Vec<f64> = (0..400).map(|n| 30.0 + f64::from(n) * 0.01).collect();
    // 100 are free: at 10 a second they last ten seconds; at 2 a second the others come back first.
    assert_eq!(forecast(NOW, 500, load(10.0), &taken).exhausted_after_s, Some(10.0));
    assert_eq!(forecast(NOW, 500, load(2.0), &taken).exhausted_after_s, None);
    assert_eq!(forecast(NOW, 500, load(2.0), &taken).slow_after_s, Some(0.0), "they are more than half already");
    assert_eq!(forecast(NOW, 500, load(0.0), &[]).slow_after_s, None);
}

#[test]
fn connections_that_last_take_their_time_too() {
    let lasting = Load { duration_s: 30.0, ..load(100.0) };
    let found = forecast(NOW, 28_232, lasting, &[]);
    assert!((found.sustainable_per_s - 28_232.0 / 91.024).abs() < 0.01 && found.exhausted_after_s.is_none());
}

#[test]
fn reuse_makes_a_port_last_a_second() {
    let reusing = |rate_per_s| Load { reused_after_s: Some(1.0), ..load(rate_per_s) };
    assert_eq!(forecast(NOW, 2000, reusing(1900.0), &[]).exhausted_after_s, None);
    let above = forecast(NOW, 2000, reusing(4000.0), &[]);
    assert_eq!((above.sustainable_per_s, above.exhausted_after_s), (2000.0, Some(0.5)));
    assert_eq!(above.saturation.map(|saturation| (saturation.cycle_s, saturation.outage_s)), Some((1.0, 0.5)));
}

#[test]
fn a_hot_row_that_runs_out_is_simulated() {
    let row = Kernel { generation: Generation::DeathRow, hz: Hz::HZ_1000 };
    let saturation = forecast(row, 28_232, load(1000.0), &[]).saturation.expect("it runs out");
    // Between a row that is hot throughout and one that is cold throughout: outages leave cells empty.
    assert!((269.0..470.0).contains(&saturation.served_per_s), "{saturation:?}");
    assert!((saturation.up_s + saturation.outage_s - saturation.cycle_s).abs() < 1e-6, "{saturation:?}");
}

#[test]
fn what_helps_is_said_in_order() {
    let load = load(1000.0);
    let forecast = forecast(NOW, DEFAULT.ports(), load, &[]);
    let effects = changes(&forecast, load, 1000, 64_512);
    assert!(effects.is_sorted_by(|a, b| a.sustainable_per_s >= b.sustainable_per_s));
    let of = |wanted: fn(&Change) -> bool| {
        effects.iter().find(|effect| wanted(&effect.change)).map(|effect| effect.sustainable_per_s)
    };
    assert_eq!(of(|change| matches!(change, Change::TwReuse { .. })), Some(28_232.0));
    assert_eq!(of(|change| matches!(change, Change::FinTimeout)), Some(forecast.sustainable_per_s));
    assert!(of(|change| matches!(change, Change::WiderRange { .. })).is_some_and(|rate| (rate - 1057.0).abs() < 1.0));
}

#[test]
fn a_pool_is_what_nothing_takes_away() {
    assert_eq!(DEFAULT.ports(), 28_232);
    assert_eq!(Pool { reserved: 32, blocked: 200, ..DEFAULT }.ports(), 28_000);
    assert_eq!(Pool { low: 5, high: 4, reserved: 0, blocked: 0 }.ports(), 0);
    assert_eq!(Pool { low: 0, high: 65_535, reserved: 99_999, blocked: 0 }.ports(), 0);
}
