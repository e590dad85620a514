//! NATs that count, alone and with others behind them who open flows.

use pinhole_netfilter::behaviour::Allocation;
use pinhole_netfilter::behaviour::Dependence::AddressAndPortDependent;
use pinhole_traversal::spray::{Reason, Via};

use super::plans::{Plans, busy, by_address, counter, hard, lossy, preserving, random, restricted};
use super::world::Plan;

#[test]
fn cone_against_a_counter_is_hit_at_once_whatever_others_do() {
    for plan in [
        Plan::new(restricted(), counter(1)),
        busy(35, Plan::new(restricted(), counter(2))),
        lossy(busy(35, Plan::new(restricted(), counter(7)))),
    ] {
        let plans = Plans::run(&plan, 100);
        assert!(plans.share() >= 990, "{} of 1,000", plans.share());
        assert!(plans.probes(50) <= 40 && plans.ends().iter().all(|end| end.counters[1].openers <= 2 * 8 + 5));
    }
}

#[test]
fn two_counters_meet_with_thirty_five_flows_of_others_a_second_on_each_side() {
    for plan in [busy(35, Plan::new(counter(1), counter(2))), lossy(busy(35, Plan::new(counter(1), counter(2))))] {
        let plans = Plans::run(&plan, 200);
        assert!(plans.share() >= 950, "{} of 1,000", plans.share());
        assert!(plans.ends().iter().all(|end| end.counters[1].openers <= 256 && end.counters[0].probes <= 200));
    }
}

#[test]
fn two_quiet_counters_always_meet_and_nothing_is_handed_over() {
    let plans = Plans::run(&Plan::new(counter(1), counter(4)), 60);
    assert_eq!(plans.share(), 1_000);
    assert!(plans.ends().iter().all(|end| end.via == Some(Via::Own)));
}

#[test]
fn a_mapping_for_each_address_and_ports_that_are_kept_are_met_like_counters() {
    for plan in [
        Plan::new(by_address(), by_address()),
        Plan::new(counter(1), by_address()),
        Plan::new(by_address(), counter(1)),
        Plan::new(preserving(), counter(1)),
        Plan::new(preserving(), preserving()),
    ] {
        let plans = Plans::run(&busy(35, plan.clone()), 60);
        assert!(plans.share() >= 960, "{} of 1,000: {:?}", plans.share(), plan.nats);
    }
}

#[test]
fn against_a_nat_that_draws_a_counter_gives_up_before_it_has_sent_anything() {
    for (prober, opener) in [(counter(1), random()), (random(), counter(1)), (random(), random())] {
        let plans = Plans::run(&Plan::new(prober, opener), 10);
        for end in plans.ends() {
            assert_eq!(end.reasons, [Some(Reason::Unpredictable); 2]);
            assert_eq!((end.counters[0].probes, end.counters[1].openers), (0, 0));
        }
    }
}

#[test]
fn a_counter_that_goes_down_by_many_is_followed() {
    // Sixty-four thousand less three up is three down.
    let down = hard(AddressAndPortDependent, Allocation::Sequential { step: 64_509 });
    for plan in [Plan::new(restricted(), down), Plan::new(down, counter(1))] {
        let plans = Plans::run(&busy(10, plan), 40);
        assert!(plans.share() >= 970, "{} of 1,000", plans.share());
    }
}
