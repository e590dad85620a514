//! Easy against random: the prober's endpoint is known, the opener's ports are drawn.

use pinhole_netfilter::behaviour::Dependence::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
use pinhole_netfilter::behaviour::{Allocation, Behaviour, Dependence, Pairing};
use pinhole_sansio::Duration;
use pinhole_traversal::spray::{Reason, Via};

use super::world::{End, Kind, Plan, World};

/// A home that filters like this.
fn easy(filtering: Dependence) -> Kind {
    let udp = Pairing::new(EndpointIndependent, filtering);
    Kind::Behaviour(Behaviour { udp, ..Behaviour::home_router() })
}

/// A NAT with a port for each destination.
fn hard(filtering: Dependence, allocation: Allocation) -> Kind {
    let udp = Pairing::new(AddressAndPortDependent, filtering);
    Kind::Behaviour(Behaviour { udp, allocation, ..Behaviour::cloud_nat() })
}

fn random() -> Kind {
    hard(AddressAndPortDependent, Allocation::Random)
}

fn runs(plan: &Plan, seeds: u64) -> Vec<End> {
    (0..seeds).map(|seed| World::new(plan, seed).run()).collect()
}

/// How many of a thousand are through after so long.
fn through(ends: &[End], within: Duration) -> usize {
    let through = |end: &&End| end.carries && end.direct.is_some_and(|direct| direct <= within);
    ends.iter().filter(through).count() * 1_000 / ends.len()
}

#[test]
fn cone_against_fully_random_linux_is_direct_within_a_thousand_probes_and_two_seconds() {
    let plan = Plan::new(easy(AddressAndPortDependent), Kind::LinuxFullyRandom);
    let ends = runs(&plan, 300);
    assert!(ends.iter().all(|end| end.counters[0].probes <= 1_000));
    let share = through(&ends, Duration::from_secs(2));
    assert!(share >= 990, "{share} of 1,000");
}
