//! Easy against random: the prober's endpoint is known, the opener's ports are drawn.

use pinhole_netfilter::behaviour::Behaviour;
use pinhole_netfilter::behaviour::Dependence::{AddressDependent, EndpointIndependent};
use pinhole_sansio::Duration;
use pinhole_traversal::spray::{Limits, Via};

use super::plans::{Plans, blind, easy, ephemeral, lossy, random, restricted};
use super::world::{Kind, Plan};

#[test]
fn cone_against_fully_random_linux_is_direct_within_a_thousand_probes_and_two_seconds() {
    for plan in
        [Plan::new(restricted(), Kind::LinuxFullyRandom), lossy(Plan::new(restricted(), Kind::LinuxFullyRandom))]
    {
        let plans = Plans::run(&plan, 200);
        assert!(plans.probes(100) <= 1_000);
        let within = plans.within_ms(2_000);
        assert!(within >= 196, "{within} of 200 with {} loss", plan.loss);
    }
}

#[test]
fn what_is_not_known_of_a_nat_costs_a_few_probes_only() {
    let plans = Plans::run(&blind(Plan::new(restricted(), Kind::LinuxFullyRandom)), 100);
    assert!(plans.share() >= 970, "{} of 1,000", plans.share());
    assert!(plans.probes(50) <= 250, "{}", plans.probes(50));
}

#[test]
fn cone_against_any_random_port_is_what_the_model_says() {
    // 1 - (1 - 1,000 / 64,512)^257 = 98.2 %; 95 % is three standard deviations less.
    let plans = Plans::run(&Plan::new(restricted(), random()), 200);
    assert!(plans.share() >= 950, "{} of 1,000", plans.share());
    assert!(plans.probes(50) <= 300, "{}: half are hit by the 176th on average", plans.probes(50));
}

#[test]
fn samples_from_half_of_the_ports_halve_the_search() {
    let plans = Plans::run(&Plan::new(restricted(), ephemeral()), 100);
    assert_eq!(plans.share(), 1_000);
    assert!(plans.probes(50) <= 160, "{}", plans.probes(50));
}

#[test]
fn a_prober_that_filters_by_address_or_not_at_all_is_met_at_once_and_nothing_is_handed_over() {
    for filtering in [AddressDependent, EndpointIndependent] {
        let plans = Plans::run(&Plan::new(easy(filtering), random()), 40);
        assert_eq!(plans.share(), 1_000);
        assert!(plans.probes(100) <= 60 && plans.ends().iter().all(|end| end.via == Some(Via::Own)), "{filtering:?}");
    }
}

#[test]
fn a_block_of_ports_is_hit_within_some_dozen_probes() {
    let plans = Plans::run(&Plan::new(restricted(), Kind::Behaviour(Behaviour::mobile_carrier())), 60);
    assert_eq!(plans.share(), 1_000);
    assert!(plans.probes(50) <= 80 && plans.ends().iter().all(|end| end.counters[1].openers <= 2 * 64 + 5));
}

#[test]
fn openers_that_die_on_the_way_do_not_poison_and_those_that_arrive_do() {
    let share = |opener_ttl| {
        let limits = Limits { opener_ttl, ..Limits::default() };
        let plan = Plan { limits, ..Plan::new(Kind::LinuxOpen, Kind::LinuxFullyRandom) };
        Plans::run(&plan, 60).share()
    };
    let (low, high) = (share(4), share(64));
    assert!(low >= 960 && high <= 300, "{low} and {high} of 1,000");
}

#[test]
fn the_two_may_be_told_at_different_moments() {
    for skew in [100, 400] {
        let plan = Plan { skew: Duration::from_millis(skew), ..Plan::new(restricted(), Kind::LinuxFullyRandom) };
        let share = Plans::run(&plan, 60).share();
        assert!(share >= 900, "{share} of 1,000 with {skew} ms");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let plan = lossy(Plan::new(restricted(), random()));
    let run = || Plans::run(&plan, 12).ends().iter().map(|end| (end.direct, end.counters)).collect::<Vec<_>>();
    assert_eq!(run(), run());
}
