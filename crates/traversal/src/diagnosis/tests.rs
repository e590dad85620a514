use core::net::{IpAddr, SocketAddr};

use pinhole_sansio::Duration;

use super::facts::{
    Allocation, Busiest, Capabilities, Conntrack, Dependence, Fate, Firewall, FirstHop, Gateway, Hop, Interface, Nat,
    PathMtu, Settings, Sockets,
};
use super::kinds::Share;
use super::layers::Owner;
use super::pair::{Callee, Way};
use super::problem::{Problem, Severity};
use super::*;

/// One of each, with every variation that has a text of its own.
pub(super) fn every_problem() -> Vec<Problem> {
    vec![
        Problem::NoInterface,
        Problem::NoDefaultRoute { has_v6: false },
        Problem::NoDefaultRoute { has_v6: true },
        Problem::GatewaySilent { gateway: ip("192.168.1.1") },
        Problem::InputDropsAnswers { by: "inet filter input".into() },
        Problem::UdpBlocked { asked: 3 },
        Problem::CarrierNat { wan: Some(ip("100.64.3.4")), public: None },
        Problem::DoubleNat { between: None },
        Problem::HardMapping { mapping: Dependence::AddressDependent, allocation: Some(Allocation::Random) },
        Problem::ConntrackFull { count: 90, max: 100 },
        Problem::Poisoned,
        Problem::InputPoisons,
        Problem::InputDropsStrangers { port: 51_820, by: "ip filter INPUT".into() },
        Problem::ShortUdpTimeout { seconds: 20, is_ours: true },
        Problem::ShortUdpTimeout { seconds: 20, is_ours: false },
        Problem::SmallMtu { path: 1_400, inside: 1_340, is_silent: false },
        Problem::SmallMtu { path: 1_400, inside: 1_340, is_silent: true },
        Problem::TimeWaitPressure(busiest(20_000)),
        Problem::TimeWaitPressure(Busiest { reused_after_s: Some(1.0), ..busiest(20_000) }),
        Problem::FewPorts { first: 60_000, last: 60_999 },
        Problem::StrictReversePath { interface: "eth0".into() },
        Problem::MappingRefused { protocol: Protocol::Pcp, reason: "not authorized".into() },
        Problem::NoMapping,
        Problem::NoIpv6 { is_broken: false },
        Problem::NoIpv6 { is_broken: true },
        Problem::FirewallUnclear { by: "inet filter input".into() },
        Problem::FirewallHidden,
        Problem::NoRawSockets,
        Problem::NoNetAdmin,
    ]
}

/// So many ports towards one server, of Linux's usual ones.
fn busiest(used: u32) -> Busiest {
    Busiest {
        to: SocketAddr::new(ip("198.51.100.7"), 443),
        used,
        time_wait: used,
        ports: 28_232,
        lasts_s: (60.0, 62.048),
        exhausted_after_s: None,
        reused_after_s: None,
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// A host in a home behind a port-restricted cone, without IPv6 and without port mapping, in perfect order.
fn home() -> Facts {
    let source = Some(ip("192.168.1.10"));
    let eth0 =
        Interface { name: "eth0".into(), kind: String::new(), mtu: 1_500, addresses: vec![(ip("192.168.1.10"), 24)] };
    Facts {
        port: 51_820,
        interfaces: vec![eth0],
        default_v4: Some(Gateway { router: Some(ip("192.168.1.1")), interface: "eth0".into(), source }),
        gateway_answers: Some(true),
        first_hop: FirstHop {
            pcp: Service::Silent,
            nat_pmp: Service::Silent,
            upnp: Service::Silent,
            ..FirstHop::default()
        },
        udp: Outside::Answers(Nat {
            translated: Some(true),
            mapping: Some(Dependence::EndpointIndependent),
            filtering: Some(Dependence::AddressAndPortDependent),
            allocation: Some(Allocation::Preserving),
            public: vec![ip("198.51.100.1")],
            ..Nat::default()
        }),
        firewall: Firewall::Seen {
            stranger: Fate::Accepted,
            answer: Fate::Accepted,
            elsewhere: Fate::Accepted,
            masquerades: false,
        },
        capabilities: Some(Capabilities { net_admin: true, net_raw: true }),
        path_mtu: Some(PathMtu { bytes: 1_500, is_told: true }),
        ..Facts::default()
    }
}

fn nat(facts: &mut Facts) -> &mut Nat {
    match &mut facts.udp {
        Outside::Answers(nat) => nat,
        Outside::NotAsked | Outside::Blocked { .. } => panic!("servers answer"),
    }
}

fn works(external: &str) -> Service {
    let external = ip(external);
    Service::Works { external: Some(external), mapped: Some(SocketAddr::new(external, 40_000)) }
}

/// The keys of the findings of `facts`, in order.
fn keys(facts: &Facts) -> Vec<&'static str> {
    Diagnosis::of(facts).findings.iter().map(|finding| finding.problem.key()).collect()
}

/// What is found in a home after `change`.
fn after(change: impl FnOnce(&mut Facts)) -> Vec<&'static str> {
    let mut facts = home();
    change(&mut facts);
    keys(&facts)
}

#[test]
fn a_usual_home_punches_and_has_nothing_serious() {
    let diagnosis = Diagnosis::of(&home());
    assert!(diagnosis.findings.iter().all(|finding| finding.severity == Severity::Notice), "{:?}", diagnosis.findings);
    assert_eq!(keys(&home()), ["no-mapping", "no-ipv6"]);
    assert_eq!(diagnosis.port, PublicPort::ByHand);
    let ways: Vec<_> = diagnosis.peers.iter().map(|(_, verdict)| verdict.outcome.clone()).collect();
    let direct = |way, is_sure| Outcome::Direct { way, is_sure };
    assert_eq!(
        ways,
        [
            direct(Way::Call(Callee::Them), true),
            direct(Way::Call(Callee::Them), true),
            direct(Way::Punch, true),
            direct(Way::Punch, true),
            direct(Way::Guess, false),
            direct(Way::Spray, true),
            Outcome::Relay(pair::Obstacle::UdpBlocked(pair::Who::Them)),
        ]
    );
    let [layer] = &diagnosis.layers[..] else { panic!("one layer: {:?}", diagnosis.layers) };
    assert_eq!(
        (layer.owner, layer.inside, layer.outside),
        (Owner::FirstHop, Some(ip("192.168.1.1")), Some(ip("198.51.100.1")))
    );
}

#[test]
fn each_problem_is_found_on_its_evidence_and_not_without() {
    type Change = fn(&mut Facts);
    let input = |facts: &mut Facts, new: Firewall| facts.firewall = new;
    let dropped = || Fate::Dropped { by: "inet filter input".into() };
    let seen = |stranger, answer, elsewhere, masquerades| Firewall::Seen { stranger, answer, elsewhere, masquerades };
    let cases: &[(&str, Change)] = &[
        ("no-interface", |facts| facts.interfaces.clear()),
        ("no-default-route", |facts| facts.default_v4 = None),
        ("gateway-silent", |facts| {
            facts.gateway_answers = Some(false);
            facts.udp = Outside::NotAsked;
        }),
        ("udp-blocked", |facts| facts.udp = Outside::Blocked { asked: 2 }),
        ("carrier-nat", |facts| facts.hops = vec![Hop { ttl: 2, address: Some([100, 64, 0, 1].into()) }]),
        ("double-nat", |facts| facts.hops = vec![Hop { ttl: 2, address: Some([192, 168, 100, 1].into()) }]),
        ("hard-mapping", |facts| nat(facts).mapping = Some(Dependence::AddressDependent)),
        ("poisoned", |facts| nat(facts).poisoned = Some(true)),
        ("short-udp-timeout", |facts| nat(facts).lifetime = Some(Duration::from_secs(20))),
        ("conntrack-full", |facts| facts.conntrack = Some(Conntrack { count: 75, max: 100, ..Conntrack::default() })),
        ("short-udp-timeout", |facts| {
            facts.conntrack = Some(Conntrack { count: 1, max: 100, udp_stream_s: Some(25), ..Conntrack::default() });
        }),
        ("small-mtu", |facts| facts.path_mtu = Some(PathMtu { bytes: 1_479, is_told: true })),
        ("few-ports", |facts| facts.settings.port_range = Some((60_000, 60_999))),
        ("time-wait-pressure", |facts| facts.busiest = Some(busiest(14_116))),
        ("time-wait-pressure", |facts| {
            facts.busiest = Some(Busiest { exhausted_after_s: Some(40.0), ..busiest(3_000) });
        }),
        ("strict-reverse-path", |facts| {
            facts.settings.rp_filter = Some(1);
            facts.is_multihomed = true;
        }),
        ("mapping-refused", |facts| {
            facts.first_hop.upnp = Service::Refuses { reason: "606".into(), external: None };
        }),
        ("firewall-hidden", |facts| facts.firewall = Firewall::Hidden),
        ("no-raw-sockets", |facts| facts.capabilities = Some(Capabilities { net_admin: true, net_raw: false })),
        ("no-net-admin", |facts| facts.capabilities = Some(Capabilities { net_admin: false, net_raw: true })),
    ];
    for (key, change) in cases {
        assert!(!keys(&home()).contains(key), "{key} is not there before");
        assert!(after(change).contains(key), "{key}: {:?}", after(change));
    }
    let ok = || Fate::Accepted;
    let filtered = |new: Firewall| after(|facts| input(facts, new));
    assert!(filtered(seen(dropped(), dropped(), dropped(), false)).contains(&"input-drops-answers"));
    assert!(filtered(seen(dropped(), ok(), dropped(), false)).contains(&"input-drops-strangers"));
    let unclear = Fate::Unclear { by: "inet filter input".into() };
    assert!(filtered(seen(unclear, ok(), ok(), false)).contains(&"firewall-unclear"));
    let router = |elsewhere| {
        after(|facts| {
            facts.settings.forwards = Some(true);
            input(facts, seen(ok(), ok(), elsewhere, true));
        })
    };
    assert!(router(ok()).contains(&"input-poisons") && !router(dropped()).contains(&"input-poisons"));
    // What is just in order is no problem.
    assert_eq!(
        after(|facts| {
            facts.conntrack = Some(Conntrack { count: 74, max: 100, udp_stream_s: Some(120), ..Conntrack::default() });
            facts.settings = Settings { port_range: Some((32_768, 60_999)), rp_filter: Some(1), ..Settings::default() };
            // Many dead connections to many servers hold no port that another server needs.
            facts.sockets = Some(Sockets { time_wait: 30_000, ..Sockets::default() });
            facts.busiest = Some(busiest(14_115));
            facts.path_mtu = Some(PathMtu { bytes: 1_480, is_told: false });
            nat(facts).lifetime = Some(Duration::from_secs(26));
        }),
        keys(&home())
    );
}

#[test]
fn what_blocks_comes_first_and_without_a_route_nothing_else_is_blamed() {
    let order =
        |facts: &Facts| Diagnosis::of(facts).findings.iter().map(|finding| finding.severity).collect::<Vec<_>>();
    let mut facts = home();
    facts.path_mtu = Some(PathMtu { bytes: 1_300, is_told: false });
    facts.firewall = Firewall::Hidden;
    nat(&mut facts).mapping = Some(Dependence::AddressAndPortDependent);
    assert!(order(&facts).is_sorted(), "{:?}", keys(&facts));
    assert_eq!(keys(&facts)[..2], ["hard-mapping", "small-mtu"]);
    let mut facts = home();
    facts.default_v4 = None;
    facts.udp = Outside::Blocked { asked: 2 };
    assert_eq!(keys(&facts), ["no-default-route"]);
    assert_eq!(keys(&Facts::default()), ["no-interface"]);
    let mut facts = home();
    facts.gateway_answers = Some(false);
    facts.udp = Outside::Blocked { asked: 2 };
    assert_eq!(keys(&facts), ["gateway-silent", "udp-blocked", "no-ipv6"]);
}

#[test]
fn layers_are_told_by_the_first_hop_by_shared_addresses_and_by_private_hops() {
    let owners = |change: &dyn Fn(&mut Facts)| {
        let mut facts = home();
        change(&mut facts);
        Diagnosis::of(&facts).layers.iter().map(|layer| (layer.owner, layer.outside)).collect::<Vec<_>>()
    };
    let (public, shared) = (Some(ip("198.51.100.1")), Some(ip("100.64.3.4")));
    let told = |facts: &mut Facts, external: &str| facts.first_hop.pcp = works(external);
    assert_eq!(owners(&|facts| told(facts, "198.51.100.1")), [(Owner::FirstHop, public)]);
    assert_eq!(owners(&|facts| told(facts, "100.64.3.4")), [(Owner::FirstHop, shared), (Owner::Carrier, public)]);
    let private = Some(ip("192.168.100.2"));
    let second = [(Owner::FirstHop, private), (Owner::SecondRouter, public)];
    assert_eq!(owners(&|facts| told(facts, "192.168.100.2")), second);
    // A public address that is not the one seen: somebody translates it all the same.
    let strange = Some(ip("203.0.113.9"));
    assert_eq!(owners(&|facts| told(facts, "203.0.113.9")), [(Owner::FirstHop, strange), (Owner::Carrier, public)]);
    let hop = |ttl, address: [u8; 4]| Hop { ttl, address: Some(address.into()) };
    let carrier = [(Owner::FirstHop, None), (Owner::Carrier, public)];
    assert_eq!(owners(&|facts| facts.hops = vec![hop(1, [192, 168, 1, 1]), hop(3, [100, 127, 0, 1])]), carrier);
    let second = [(Owner::FirstHop, None), (Owner::SecondRouter, public)];
    assert_eq!(owners(&|facts| facts.hops = vec![hop(2, [10, 0, 0, 1])]), second);
    // Private addresses behind a public one are the provider's own affair.
    let one = [(Owner::FirstHop, public)];
    assert_eq!(owners(&|facts| facts.hops = vec![hop(2, [203, 0, 113, 1]), hop(3, [10, 0, 0, 1])]), one);
    assert_eq!(owners(&|facts| nat(facts).translated = Some(false)), []);
    let mobile = |facts: &mut Facts| {
        if let Some(route) = &mut facts.default_v4 {
            route.source = shared;
        }
    };
    assert_eq!(owners(&mobile), [(Owner::Carrier, public)]);
    let without_servers = |facts: &mut Facts| {
        facts.udp = Outside::NotAsked;
        told(facts, "100.64.3.4");
    };
    assert_eq!(owners(&without_servers), [(Owner::FirstHop, shared), (Owner::Carrier, None)]);
}

#[test]
fn each_layer_says_which_nat_it_is() {
    use Dependence::{AddressAndPortDependent, EndpointIndependent};
    let kinds = |change: &dyn Fn(&mut Facts)| {
        let mut facts = home();
        change(&mut facts);
        let of = |layer: &layers::Layer| (layer.owner, layer.kind.mapping, layer.kind.filtering, layer.is_certain);
        Diagnosis::of(&facts).layers.iter().map(of).collect::<Vec<_>>()
    };
    let (open, shut) = (Share::Exactly(EndpointIndependent), Share::Exactly(AddressAndPortDependent));
    assert_eq!(kinds(&|_| {}), [(Owner::FirstHop, open, shut, true)]);
    let carrier = |beyond| {
        move |facts: &mut Facts| {
            facts.first_hop.pcp = works("100.64.3.4");
            nat(facts).filtering_beyond = Some(beyond);
        }
    };
    let both = kinds(&carrier(EndpointIndependent));
    assert_eq!(both, [(Owner::FirstHop, open, shut, true), (Owner::Carrier, open, open, true)]);
    let both = kinds(&carrier(AddressAndPortDependent));
    let at_most = Share::AtMost(AddressAndPortDependent);
    assert_eq!(both, [(Owner::FirstHop, open, at_most, true), (Owner::Carrier, open, shut, true)]);
    // A filter that is farther away than the first hop, and nothing else: a carrier's NAT is likely.
    let far = |facts: &mut Facts| {
        nat(facts).outermost_filter = Some(3);
        nat(facts).filtering_beyond = Some(AddressAndPortDependent);
    };
    assert_eq!(kinds(&far), [(Owner::FirstHop, open, at_most, false), (Owner::Carrier, open, shut, false)]);
    let near = kinds(&|facts| nat(facts).outermost_filter = Some(1));
    assert_eq!(near, [(Owner::FirstHop, open, shut, true)]);
}

#[test]
fn a_public_tcp_port_is_judged_by_what_servers_see_of_tcp() {
    let port = |filtering| {
        let mut facts = home();
        facts.tcp = facts.udp.clone();
        if let Outside::Answers(nat) = &mut facts.tcp {
            nat.filtering = filtering;
        }
        let diagnosis = Diagnosis::of(&facts);
        (diagnosis.port, diagnosis.tcp_port)
    };
    assert_eq!(port(Some(Dependence::EndpointIndependent)), (PublicPort::ByHand, PublicPort::Punch));
    assert_eq!(port(None), (PublicPort::ByHand, PublicPort::Unknown));
    assert_eq!(Diagnosis::of(&home()).tcp_port, PublicPort::Unknown, "nobody was asked by TCP");
}

#[test]
fn a_public_port_comes_from_whoever_can_give_one() {
    let port = |change: &dyn Fn(&mut Facts)| {
        let mut facts = home();
        change(&mut facts);
        Diagnosis::of(&facts).port
    };
    let open = Some(Dependence::EndpointIndependent);
    assert_eq!(port(&|facts| facts.first_hop.nat_pmp = works("198.51.100.1")), PublicPort::Mapping(Protocol::NatPmp));
    assert_eq!(port(&|facts| facts.first_hop.upnp = works("100.64.0.9")), PublicPort::MappingThenPunch(Protocol::Upnp));
    assert_eq!(port(&|facts| nat(facts).filtering = open), PublicPort::Punch);
    assert_eq!(port(&|facts| nat(facts).filtering = None), PublicPort::Unknown);
    let direct = |facts: &mut Facts| nat(facts).translated = Some(false);
    assert_eq!(port(&direct), PublicPort::OpenFilter);
    let public = |facts: &mut Facts| {
        direct(facts);
        nat(facts).filtering = open;
    };
    assert_eq!(port(&public), PublicPort::Already);
    let hop = Hop { ttl: 2, address: Some([100, 64, 0, 1].into()) };
    assert_eq!(port(&|facts| facts.hops = vec![hop]), PublicPort::Relay);
    // What the carrier's NAT does with strangers decides.
    let behind = |beyond: Dependence, upnp: Service| {
        port(&|facts| {
            facts.first_hop.upnp = upnp.clone();
            facts.hops = vec![hop];
            nat(facts).filtering_beyond = Some(beyond);
        })
    };
    let closed = Dependence::AddressAndPortDependent;
    let upnp = works("100.64.0.9");
    let open_carrier = Dependence::EndpointIndependent;
    assert_eq!(behind(open_carrier, upnp.clone()), PublicPort::MappingAndPunch(Protocol::Upnp));
    assert_eq!(behind(closed, upnp), PublicPort::Relay);
    assert_eq!(behind(open_carrier, Service::Silent), PublicPort::ByHand);
    // Its own filter counts.
    let filtered = |facts: &mut Facts| {
        public(facts);
        let dropped = Fate::Dropped { by: "inet filter input".into() };
        facts.firewall = Firewall::Seen {
            stranger: dropped.clone(),
            answer: Fate::Accepted,
            elsewhere: dropped,
            masquerades: false,
        };
    };
    assert_eq!(port(&filtered), PublicPort::OpenFilter);
    assert_eq!(port(&|facts| facts.udp = Outside::Blocked { asked: 1 }), PublicPort::Relay);
    assert_eq!(port(&|facts| facts.udp = Outside::NotAsked), PublicPort::Unknown);
}

#[test]
fn over_ipv6_the_router_opens_a_pinhole_or_a_firewall_is_to_be_opened() {
    let port = |upnp_v6| {
        let mut facts = home();
        facts.interfaces[0].addresses.push((ip("2001:db8:77::10"), 64));
        facts.default_v6 = facts.default_v4.clone();
        facts.first_hop.upnp_v6 = upnp_v6;
        Diagnosis::of(&facts).v6_port
    };
    assert_eq!(port(works("2001:db8:77::10")), Some(PublicPort::Mapping(Protocol::Upnp)));
    assert_eq!(port(Service::Silent), Some(PublicPort::OpenFilter));
    assert_eq!(Diagnosis::of(&home()).v6_port, None);
}

#[test]
fn what_nobody_measured_is_unclear_and_not_bad() {
    let diagnosis = Diagnosis::of(&Facts { udp: Outside::NotAsked, ..home() });
    assert!(diagnosis.peers.iter().take(6).all(|(_, verdict)| verdict.outcome == Outcome::Unclear));
    assert!(!diagnosis.is_reachable());
    let mut facts = home();
    let nat = nat(&mut facts);
    (nat.mapping, nat.filtering, nat.allocation) = (None, None, None);
    let verdict = |peer: Peer| pair::judge(&Diagnosis::of(&facts).side, &peer.side()).outcome;
    assert_eq!(verdict(Peer::PortRestrictedCone), Outcome::Unclear);
    assert_eq!(verdict(Peer::Open), Outcome::Direct { way: Way::Call(Callee::Them), is_sure: true });
}
