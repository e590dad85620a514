//! The nine types: an RFC 5780 prober, which knows nothing but what arrives, must find each of them.

use core::net::SocketAddr;

use super::world::{World, echo, socket, tcp};
use crate::behaviour::{Behaviour, Dependence, Pairing, Side};

/// A server with two addresses and two ports, as RFC 5780 §2 has it.
const SERVER: [[&str; 2]; 2] = [["198.51.100.1:3478", "198.51.100.1:3479"], ["198.51.100.2:3478", "198.51.100.2:3479"]];

const ALLOCATIONS: [&str; 6] =
    ["preserving", "preserving-or-random", "random", "sequential:1", "blocks:256x4", "deterministic:1000/4"];

/// How a protocol's packets are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    Udp,
    Syn,
}

impl Probe {
    fn packet(self, src: &str, dst: &str) -> Vec<u8> {
        match self {
            Self::Udp => super::world::udp(src, dst),
            Self::Syn => tcp(src, dst, "S"),
        }
    }

    /// Sends from a socket inside and says from where it came out.
    fn mapped(self, world: &mut World, src: &str, dst: &str) -> SocketAddr {
        world.send(Side::Inside, self.packet(src, dst)).flow().src
    }
}

/// RFC 5780 §4.3: the same socket to the server, to its other address, and to that one's other port.
fn mapping(world: &mut World, probe: Probe, host: &str) -> Dependence {
    let first = probe.mapped(world, host, SERVER[0][0]);
    let second = probe.mapped(world, host, SERVER[1][0]);
    let third = probe.mapped(world, host, SERVER[1][1]);
    match (first == second, second == third) {
        (true, _) => Dependence::EndpointIndependent,
        (false, true) => Dependence::AddressDependent,
        (false, false) => Dependence::AddressAndPortDependent,
    }
}

/// RFC 5780 §4.4: the server answers from its other address, then from its other port.
fn filtering(world: &mut World, probe: Probe, host: &str) -> Dependence {
    let mapped = probe.mapped(world, host, SERVER[0][0]).to_string();
    let mut answers_from = |src: &str| world.send(Side::Outside, probe.packet(src, &mapped)).has_arrived();
    if answers_from(SERVER[1][1]) {
        Dependence::EndpointIndependent
    } else if answers_from(SERVER[0][1]) {
        Dependence::AddressDependent
    } else {
        Dependence::AddressAndPortDependent
    }
}

#[test]
fn a_prober_finds_each_of_the_nine_types_with_every_allocation() {
    for alloc in ALLOCATIONS {
        for expected in Dependence::ALL.iter().flat_map(|&m| Dependence::ALL.map(|f| Pairing::new(m, f))) {
            for probe in [Probe::Udp, Probe::Syn] {
                let base: Behaviour = format!("rfc4787 alloc={alloc}").parse().expect("a behaviour");
                let behaviour = Behaviour { udp: expected, tcp: expected, ..base };
                let mut world = World::new(behaviour);
                let found = Pairing {
                    mapping: mapping(&mut world, probe, "192.168.1.2:5000"),
                    filtering: filtering(&mut world, probe, "192.168.1.2:6000"),
                };
                assert_eq!(found, expected, "{probe:?} {alloc}");
            }
        }
    }
}

/// As [`mapping`] and [`filtering`] find them for ICMP queries, whose remote ends have no port: what depends on the port
/// as well is not to be told from what depends on the address.
fn of_icmp(world: &mut World) -> Pairing {
    let [here, there] = ["198.51.100.1", "198.51.100.2"];
    let mut mapped = |host, peer| world.send(Side::Inside, echo(host, peer, false, 777)).flow().src;
    let mapping = match mapped("192.168.1.2", here) == mapped("192.168.1.2", there) {
        true => Dependence::EndpointIndependent,
        false => Dependence::AddressDependent,
    };
    let own = mapped("192.168.1.3", here).port();
    let answer = echo(there, "203.0.113.1", true, own);
    let filtering = match world.send(Side::Outside, answer).has_arrived() {
        true => Dependence::EndpointIndependent,
        false => Dependence::AddressDependent,
    };
    Pairing::new(mapping, filtering)
}

#[test]
fn a_prober_finds_each_type_of_icmp_with_every_allocation() {
    for alloc in ALLOCATIONS {
        for expected in Dependence::ALL.iter().flat_map(|&m| Dependence::ALL.map(|f| Pairing::new(m, f))) {
            let base: Behaviour = format!("rfc4787 alloc={alloc}").parse().expect("a behaviour");
            let found = of_icmp(&mut World::new(Behaviour { icmp: expected, ..base }));
            let seen = |dependence: Dependence| dependence.min(Dependence::AddressDependent);
            let visible = Pairing::new(seen(expected.mapping), seen(expected.filtering));
            assert_eq!(found, visible, "{expected:?} {alloc}");
        }
    }
}

#[test]
fn what_comes_in_arrives_at_the_host_whose_mapping_it_is() {
    let mut world = World::of("rfc4787");
    let a = world.mapped("192.168.1.2:5000", SERVER[0][0]);
    let b = world.mapped("192.168.1.3:5000", SERVER[0][0]);
    assert_ne!(a, b);
    assert_eq!(world.udp_from(Side::Outside, socket(SERVER[1][1]), a).flow().dst, socket("192.168.1.2:5000"));
    assert_eq!(world.udp_from(Side::Outside, socket(SERVER[0][0]), b).flow().dst, socket("192.168.1.3:5000"));
}
