//! What must become of a pair, from the network alone: mapping, filtering, allocation, hairpinning and carriers.
//!
//! Each side is what its NATs are together, as a stranger meets them, and [`pair::judge`] has the table: the one that `pinhole
//! doctor` tells people. So a run that contradicts the oracle is a fault of the agent, or of what the doctor says.
//!
//! Poisoning, loss and clocks change nothing here: an agent has to cope with them. What happens on schedule neither.

use std::net::{IpAddr, Ipv4Addr};

use pinhole_lab::{Network, PlaceId, PlaceKind, PortAllocation, RouterKind};
use pinhole_netfilter::behaviour::{self, Behaviour, Hairpin};
use pinhole_traversal::diagnosis::facts::{Allocation, Dependence};
use pinhole_traversal::diagnosis::pair::{self, Obstacle, Outcome, Side, Verdict};

/// What must become of a pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// Whether there must be a direct path.
    pub must: Must,
    /// By which technique, or why not, and what would help; the first of the two is "us".
    pub verdict: Verdict,
}

/// Whether there must be a direct path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Must {
    /// There must: a run without one fails.
    Direct,
    /// There may be: it takes luck, or more than the agent does today.
    Maybe,
    /// There cannot be: a run with one fails.
    Never,
}

/// The ruling for the hosts at two places.
pub fn rule(network: &Network, us: PlaceId, them: PlaceId) -> Ruling {
    let verdict = match between(network, us, them) {
        Way::Apart => pair::judge(&side(network, us), &side(network, them)),
        Way::TurnedAround(router) => turned_around(network, router, us, them),
        Way::Unknown => Verdict { outcome: Outcome::Unclear, fixes: Vec::new() },
    };
    let must = match &verdict.outcome {
        Outcome::Direct { way, is_sure: true } if way.is_automatic() => Must::Direct,
        Outcome::Direct { .. } | Outcome::Unclear => Must::Maybe,
        Outcome::Relay(_) => Must::Never,
    };
    Ruling { must, verdict }
}

/// What is between two hosts that know each other's public endpoints.
enum Way {
    /// The Internet.
    Apart,
    /// The outermost NAT of both, which has to turn their packets around.
    TurnedAround(PlaceId),
    /// Something of which the oracle knows too little.
    Unknown,
}

fn between(network: &Network, us: PlaceId, them: PlaceId) -> Way {
    let known = |place: &PlaceId| network.routers_of(*place).into_iter().all(|router| layer(network, router).is_some());
    let outermost = |place| network.routers_of(place).last().copied();
    match (outermost(us), outermost(them)) {
        _ if ![us, them].iter().all(known) => Way::Unknown,
        (Some(ours), Some(theirs)) if ours == theirs => Way::TurnedAround(ours),
        (Some(_) | None, Some(_) | None) => Way::Apart,
    }
}

fn turned_around(network: &Network, router: PlaceId, us: PlaceId, them: PlaceId) -> Verdict {
    let is_alone = |place| network.routers_of(place).len() == 1;
    // Turned around, packets meet what they would meet if they came from elsewhere.
    let from_elsewhere = |place| Side { public: None, ..side(network, place) };
    match layer(network, router).map(|layer| layer.hairpin) {
        Some(Hairpin::ExternalSource) => pair::judge(&from_elsewhere(us), &from_elsewhere(them)),
        // Whoever hears from an inside address answers to it, and both are in one network.
        Some(Hairpin::InternalSource) if is_alone(us) && is_alone(them) => {
            pair::judge(&from_elsewhere(us), &from_elsewhere(them))
        }
        Some(Hairpin::InternalSource) | None => Verdict { outcome: Outcome::Unclear, fixes: Vec::new() },
        Some(Hairpin::None) => {
            let public = Some(IpAddr::V4(network.places[router].address));
            let side = |place| Side { public, hairpin: Some(false), ..self::side(network, place) };
            let verdict = pair::judge(&side(us), &side(them));
            debug_assert_eq!(verdict.outcome, Outcome::Relay(Obstacle::NoHairpin), "the doctor says the same");
            verdict
        }
    }
}

/// What one NAT does.
#[derive(Clone, Copy)]
struct Layer {
    mapping: Dependence,
    filtering: Dependence,
    allocation: Allocation,
    hairpin: Hairpin,
}

/// A host as strangers meet it: all NATs before it together.
fn side(network: &Network, place: PlaceId) -> Side {
    let routers = network.routers_of(place);
    let mut all = Side { public: Some(public(network, place, &routers)), ..Side::OPEN };
    for layer in routers.iter().filter_map(|&router| layer(network, router)) {
        let (mapping, allocation) = match (all.mapping, all.allocation) {
            // The ports of a NAT that keeps them are those that the NATs inside of it chose.
            (Some(mapping), Some(allocation)) => (mapping.max(layer.mapping), allocation.max(layer.allocation)),
            (_, _) => (layer.mapping, layer.allocation),
        };
        all.mapping = Some(mapping);
        all.allocation = Some(allocation);
        all.filtering = all.filtering.max(Some(layer.filtering));
        all.layers += 1;
    }
    all
}

fn public(network: &Network, place: PlaceId, routers: &[PlaceId]) -> IpAddr {
    let address: Ipv4Addr = network.places[routers.last().copied().unwrap_or(place)].address;
    IpAddr::V4(address)
}

/// What a router does; nothing is known of one with rules of its own.
fn layer(network: &Network, router: PlaceId) -> Option<Layer> {
    let PlaceKind::Router { nat, .. } = &network.places[router].kind else { return None };
    match nat {
        RouterKind::Behaviour(behaviour) => Some(of_behaviour(behaviour)),
        RouterKind::Kernel(nat) => {
            let (mapping, allocation) = match nat.ports {
                PortAllocation::Preserving => (Dependence::EndpointIndependent, Allocation::Preserving),
                PortAllocation::Random => (Dependence::AddressAndPortDependent, Allocation::Random),
            };
            let filtering = Dependence::AddressAndPortDependent;
            Some(Layer { mapping, filtering, allocation, hairpin: Hairpin::None })
        }
        RouterKind::Rules(_) => None,
    }
}

fn of_behaviour(behaviour: &Behaviour) -> Layer {
    let dependence = |dependence| match dependence {
        behaviour::Dependence::EndpointIndependent => Dependence::EndpointIndependent,
        behaviour::Dependence::AddressDependent => Dependence::AddressDependent,
        behaviour::Dependence::AddressAndPortDependent => Dependence::AddressAndPortDependent,
    };
    let allocation = match behaviour.allocation {
        behaviour::Allocation::Preserving | behaviour::Allocation::PreservingOrRandom => Allocation::Preserving,
        behaviour::Allocation::Sequential { .. } => Allocation::Sequential,
        behaviour::Allocation::Blocks { .. } | behaviour::Allocation::Deterministic { .. } => Allocation::Block,
        behaviour::Allocation::Random => Allocation::Random,
    };
    Layer {
        mapping: dependence(behaviour.udp.mapping),
        filtering: dependence(behaviour.udp.filtering),
        allocation,
        hairpin: behaviour.hairpin,
    }
}
