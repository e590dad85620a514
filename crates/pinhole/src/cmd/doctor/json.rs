//! The diagnosis for machines, and one half of it from the other side. The fields are documented in `docs/doctor.md`; a change that
//! a reader could trip over makes another version.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Result, bail};
use pinhole_traversal::diagnosis::facts::{Allocation, Busiest, Dependence, Facts, Fate, Firewall, Outside, Service};
use pinhole_traversal::diagnosis::kinds::Share;
use pinhole_traversal::diagnosis::layers::{Evidence, Layer, Owner};
use pinhole_traversal::diagnosis::pair::{Callee, Fix, Obstacle, Outcome, Side, Verdict, Way, Who};
use pinhole_traversal::diagnosis::text::{self, Lang};
use pinhole_traversal::diagnosis::{Diagnosis, Peer, Protocol, PublicPort};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Pair;

/// Of the document's form.
const VERSION: u64 = 1;
/// Those that open pinholes.
const V6_PROTOCOLS: [Protocol; 2] = [Protocol::Pcp, Protocol::Upnp];

/// Everything.
pub(super) fn report(facts: &Facts, diagnosis: &Diagnosis, pair: Option<&Pair>, lang: Lang) -> Value {
    let findings = diagnosis.findings.iter().map(|finding| {
        json!({
            "key": finding.problem.key(),
            "severity": finding.severity.name(),
            "title": text::title(&finding.problem, lang),
            "remedy": text::remedy(&finding.problem, lang),
        })
    });
    let peers = diagnosis.peers.iter().map(|(peer, verdict)| {
        let mut value = self::verdict(verdict, lang);
        value["peer"] = json!(peer_key(*peer));
        value
    });
    json!({
        "version": VERSION,
        "pinhole": env!("CARGO_PKG_VERSION"),
        "port": facts.port,
        "reachable": diagnosis.is_reachable(),
        "side": side(&diagnosis.side),
        "way": way_out(facts),
        "layers": diagnosis.layers.iter().map(layer).collect::<Vec<_>>(),
        "first_hop": Protocol::ALL.map(|protocol| service(protocol, facts.first_hop.service(protocol))),
        "first_hop_v6": V6_PROTOCOLS.map(|protocol| service(protocol, facts.first_hop.service_v6(protocol))),
        "udp": outside(&facts.udp),
        "tcp": outside(&facts.tcp),
        "firewall": firewall(&facts.firewall),
        "kernel": kernel(facts),
        "peers": peers.collect::<Vec<_>>(),
        "public_port": public_port(diagnosis.port, lang),
        "public_tcp_port": public_port(diagnosis.tcp_port, lang),
        "public_v6_port": diagnosis.v6_port.map(|port| public_port(port, lang)),
        "findings": findings.collect::<Vec<_>>(),
        "pair": pair.map(|pair| {
            let mut value = verdict(&pair.verdict, lang);
            value["side"] = side(&pair.side);
            value
        }),
    })
}

fn public_port(port: PublicPort, lang: Lang) -> Value {
    json!({ "key": port_key(port), "by": text::who_maps(port), "text": text::port(port, lang) })
}

/// The side of a pair that the document `text` is about.
///
/// # Errors
/// When it is no JSON, has no side, or is of another version.
pub(super) fn read_side(text: &str) -> Result<Side> {
    /// What is read of the document.
    #[derive(Deserialize)]
    struct Document {
        version: u64,
        side: Value,
    }
    let document: Document = serde_json::from_str(text)?;
    if document.version != VERSION {
        bail!(
            "it is of version {}, and this pinhole reads version {VERSION}: use the same on both sides",
            document.version
        );
    }
    let written: Written = serde_json::from_value(document.side)?;
    let dependence = |name: Option<String>| match name {
        None => Ok(None),
        Some(name) => match Dependence::ALL.into_iter().find(|dependence| dependence.name() == name) {
            Some(dependence) => Ok(Some(dependence)),
            None => bail!("`{name}` is no mapping or filtering"),
        },
    };
    let allocation = match written.allocation {
        None => None,
        Some(name) => match Allocation::ALL.into_iter().find(|allocation| allocation.name() == name) {
            Some(allocation) => Some(allocation),
            None => bail!("`{name}` is no allocation"),
        },
    };
    if written.network.as_ref().is_some_and(|network| network.prefix > 32) {
        bail!("the length of the network's prefix is more than 32");
    }
    Ok(Side {
        is_blocked: written.udp_blocked,
        mapping: dependence(written.mapping)?,
        filtering: dependence(written.filtering)?,
        allocation,
        hairpin: written.hairpin,
        has_pool: written.pool,
        public: written.public,
        network: written.network.map(|network| (network.address, network.prefix, network.router)),
        mapped_port: written.mapped_port,
        ipv6: written.ipv6,
        layers: written.layers,
    })
}

/// A side as it stands in the document.
#[derive(Deserialize)]
struct Written {
    udp_blocked: Option<bool>,
    mapping: Option<String>,
    filtering: Option<String>,
    allocation: Option<String>,
    hairpin: Option<bool>,
    pool: bool,
    public: Option<IpAddr>,
    network: Option<Network>,
    mapped_port: bool,
    ipv6: bool,
    layers: usize,
}

#[derive(Deserialize)]
struct Network {
    address: Ipv4Addr,
    prefix: u8,
    router: Option<IpAddr>,
}

fn side(side: &Side) -> Value {
    json!({
        "udp_blocked": side.is_blocked,
        "mapping": side.mapping.map(Dependence::name),
        "filtering": side.filtering.map(Dependence::name),
        "allocation": side.allocation.map(Allocation::name),
        "hairpin": side.hairpin,
        "pool": side.has_pool,
        "public": side.public.map(|ip| ip.to_string()),
        "network": side.network.map(|(address, prefix, router)| json!({
            "address": address.to_string(), "prefix": prefix, "router": router.map(|ip| ip.to_string()),
        })),
        "mapped_port": side.mapped_port,
        "ipv6": side.ipv6,
        "layers": side.layers,
    })
}

fn verdict(verdict: &Verdict, lang: Lang) -> Value {
    let (way, why) = match &verdict.outcome {
        Outcome::Direct { way, .. } => (Some(*way), None),
        Outcome::Unclear => (None, None),
        Outcome::Relay(obstacle) => (None, Some(*obstacle)),
    };
    let outcome = match verdict.outcome {
        Outcome::Direct { is_sure: true, .. } => "direct",
        Outcome::Direct { is_sure: false, .. } => "direct-as-a-rule",
        Outcome::Unclear => "unclear",
        Outcome::Relay(_) => "relay",
    };
    json!({
        "outcome": outcome,
        "way": way.map(way_key),
        "automatic": way.map(Way::is_automatic),
        "text": way.map(|way| text::way(way, lang)).or(why.map(|why| text::obstacle(why, lang))),
        "obstacle": why.map(obstacle_key),
        "fixes": verdict.fixes.iter().map(|&fix| json!({ "key": fix_key(fix), "text": text::fix(fix, lang) })).collect::<Vec<_>>(),
    })
}

fn way_out(facts: &Facts) -> Value {
    let gateway = |gateway: &Option<pinhole_traversal::diagnosis::facts::Gateway>| {
        gateway.as_ref().map(|gateway| {
            json!({
                "router": gateway.router.map(|ip| ip.to_string()),
                "interface": gateway.interface,
                "source": gateway.source.map(|ip| ip.to_string()),
            })
        })
    };
    let interfaces = facts.interfaces.iter().map(|interface| {
        let addresses: Vec<String> = interface.addresses.iter().map(|(ip, prefix)| format!("{ip}/{prefix}")).collect();
        json!({ "name": interface.name, "kind": interface.kind, "mtu": interface.mtu, "addresses": addresses })
    });
    let hops = facts.hops.iter().map(|hop| json!({ "ttl": hop.ttl, "address": hop.address.map(|ip| ip.to_string()) }));
    json!({
        "interfaces": interfaces.collect::<Vec<_>>(),
        "ipv4": gateway(&facts.default_v4),
        "ipv6": gateway(&facts.default_v6),
        "multihomed": facts.is_multihomed,
        "gateway_answers": facts.gateway_answers,
        "hops": hops.collect::<Vec<_>>(),
        "ipv6_answers": facts.v6_answers,
        "path_mtu": facts.path_mtu.map(|mtu| mtu.bytes),
        "mtu_black_hole": facts.path_mtu.map(|mtu| !mtu.is_told),
    })
}

/// What is known for sure, and up to what it may be.
fn share(share: Share) -> Value {
    match share {
        Share::Unknown => Value::Null,
        Share::AtMost(most) => json!({ "at_most": most.name() }),
        Share::Exactly(value) => json!({ "is": value.name() }),
    }
}

pub(in crate::cmd) fn layer(layer: &Layer) -> Value {
    let evidence = layer.evidence.iter().map(|evidence| match evidence {
        Evidence::SeenAs { own, public } => {
            json!({ "key": "seen-as", "own": own.to_string(), "public": public.to_string() })
        }
        Evidence::Told { by, external } => json!({ "key": "told", "by": by.name(), "external": external.to_string() }),
        Evidence::Shared { ip } => json!({ "key": "shared-address", "ip": ip.to_string() }),
        Evidence::PrivateHop { ttl, ip } => json!({ "key": "private-hop", "ttl": ttl, "ip": ip.to_string() }),
        Evidence::FilterBeyond { hops } => json!({ "key": "filter-beyond", "hops": hops }),
    });
    json!({
        "owner": match layer.owner {
            Owner::FirstHop => "first-hop",
            Owner::SecondRouter => "second-router",
            Owner::Carrier => "carrier",
        },
        "inside": layer.inside.map(|ip| ip.to_string()),
        "outside": layer.outside.map(|ip| ip.to_string()),
        "certain": layer.is_certain,
        "number": text::number(&layer.kind),
        "mapping": share(layer.kind.mapping),
        "filtering": share(layer.kind.filtering),
        "allocation": layer.kind.allocation.map(Allocation::name),
        "hairpin": layer.kind.hairpin,
        "evidence": evidence.collect::<Vec<_>>(),
    })
}

fn service(protocol: Protocol, service: &Service) -> Value {
    let (state, reason, mapped) = match service {
        Service::NotAsked => ("not-asked", None, None),
        Service::Silent => ("silent", None, None),
        Service::Refuses { reason, .. } => ("refuses", Some(reason.as_str()), None),
        Service::Works { mapped, .. } => ("works", None, *mapped),
    };
    json!({
        "protocol": protocol.name(),
        "state": state,
        "reason": reason,
        "external": service.external().map(|ip| ip.to_string()),
        "mapped": mapped.map(|mapped| mapped.to_string()),
    })
}

fn outside(outside: &Outside) -> Value {
    match outside {
        Outside::NotAsked => json!({ "state": "not-asked" }),
        Outside::Blocked { asked } => json!({ "state": "blocked", "asked": asked }),
        Outside::Answers(nat) => json!({
            "state": "answers",
            "translated": nat.translated,
            "mapping": nat.mapping.map(Dependence::name),
            "filtering": nat.filtering.map(Dependence::name),
            "allocation": nat.allocation.map(Allocation::name),
            "hairpin": nat.hairpin,
            "public": nat.public.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "poisoned": nat.poisoned,
            "outermost_filter": nat.outermost_filter,
            "filtering_beyond": nat.filtering_beyond.map(Dependence::name),
            "lifetime_s": nat.lifetime.map(|lifetime| lifetime.as_secs_f64()),
            "evidence": nat.evidence,
        }),
    }
}

fn firewall(firewall: &Firewall) -> Value {
    let fate = |fate: &Fate| match fate {
        Fate::Accepted => json!({ "fate": "accepted" }),
        Fate::Dropped { by } => json!({ "fate": "dropped", "by": by }),
        Fate::Unclear { by } => json!({ "fate": "unclear", "by": by }),
    };
    match firewall {
        Firewall::NotAsked => json!({ "state": "not-asked" }),
        Firewall::Hidden => json!({ "state": "hidden" }),
        Firewall::Unsupported => json!({ "state": "unsupported" }),
        Firewall::Seen { stranger, answer, elsewhere, masquerades } => json!({
            "state": "seen",
            "stranger": fate(stranger),
            "answer": fate(answer),
            "elsewhere": fate(elsewhere),
            "masquerades": masquerades,
        }),
    }
}

fn kernel(facts: &Facts) -> Value {
    json!({
        "conntrack": facts.conntrack.map(|table| json!({
            "count": table.count,
            "max": table.max,
            "udp_timeout_s": table.udp_s,
            "udp_timeout_stream_s": table.udp_stream_s,
            "tcp_timeout_established_s": table.tcp_established_s,
        })),
        "ip_local_port_range": facts.settings.port_range.map(|(first, last)| [first, last]),
        "tcp_tw_reuse": facts.settings.tw_reuse,
        "rp_filter": facts.settings.rp_filter,
        "ip_forward": facts.settings.forwards,
        "sockets": facts.sockets.map(|sockets| json!({
            "tcp": sockets.tcp, "time_wait": sockets.time_wait, "udp": sockets.udp,
        })),
        "busiest": facts.busiest.map(busiest),
        "capabilities": facts.capabilities.map(|capabilities| json!({
            "net_admin": capabilities.net_admin, "net_raw": capabilities.net_raw,
        })),
    })
}

fn busiest(busiest: Busiest) -> Value {
    let (least, most) = busiest.lasts_s;
    json!({
        "to": busiest.to.to_string(),
        "used": busiest.used,
        "time_wait": busiest.time_wait,
        "ports": busiest.ports,
        "time_wait_lasts_s": [least, most],
        "exhausted_after_s": busiest.exhausted_after_s,
        "reused_after_s": busiest.reused_after_s,
    })
}

const fn peer_key(peer: Peer) -> &'static str {
    match peer {
        Peer::Open => "open",
        Peer::FullCone => "full-cone",
        Peer::RestrictedCone => "restricted-cone",
        Peer::PortRestrictedCone => "port-restricted-cone",
        Peer::SymmetricSequential => "symmetric-sequential",
        Peer::SymmetricRandom => "symmetric-random",
        Peer::UdpBlocked => "udp-blocked",
    }
}

const fn port_key(port: PublicPort) -> &'static str {
    match port {
        PublicPort::Already => "already",
        PublicPort::OpenFilter => "open-filter",
        PublicPort::Mapping(_) => "mapping",
        PublicPort::Punch => "punch",
        PublicPort::MappingAndPunch(_) => "mapping-and-punch",
        PublicPort::MappingThenPunch(_) => "mapping-then-punch",
        PublicPort::ByHand => "by-hand",
        PublicPort::Relay => "relay",
        PublicPort::Unknown => "unknown",
    }
}

const fn way_key(way: Way) -> &'static str {
    match way {
        Way::Ipv6 => "ipv6",
        Way::SameNetwork => "same-network",
        Way::Hairpin => "hairpin",
        Way::Call(Callee::Us) => "call-us",
        Way::Call(Callee::Them) => "call-them",
        Way::MappedPort(Callee::Us) => "mapped-port-of-us",
        Way::MappedPort(Callee::Them) => "mapped-port-of-them",
        Way::Punch => "punch",
        Way::OpenAddress(Callee::Us) => "open-address-of-us",
        Way::OpenAddress(Callee::Them) => "open-address-of-them",
        Way::Guess => "guess",
        Way::Spray => "spray",
    }
}

const fn obstacle_key(obstacle: Obstacle) -> &'static str {
    match obstacle {
        Obstacle::UdpBlocked(Who::Us) => "udp-blocked-here",
        Obstacle::UdpBlocked(Who::Them) => "udp-blocked-there",
        Obstacle::UdpBlockedOnBoth => "udp-blocked-on-both",
        Obstacle::BothRandom => "both-random",
        Obstacle::NoHairpin => "no-hairpin",
    }
}

const fn fix_key(fix: Fix) -> &'static str {
    match fix {
        Fix::AllowUdp(Who::Us) => "allow-udp-here",
        Fix::AllowUdp(Who::Them) => "allow-udp-there",
        Fix::MapPort(Who::Us) => "map-port-here",
        Fix::MapPort(Who::Them) => "map-port-there",
        Fix::EasyMapping(Who::Us) => "easy-mapping-here",
        Fix::EasyMapping(Who::Them) => "easy-mapping-there",
        Fix::Ipv6(Who::Us) => "ipv6-here",
        Fix::Ipv6(Who::Them) => "ipv6-there",
        Fix::Ipv6OnBoth => "ipv6-on-both",
        Fix::PublicAddress(Who::Us) => "public-address-here",
        Fix::PublicAddress(Who::Them) => "public-address-there",
        Fix::LocalAddresses => "local-addresses",
        Fix::Relay => "relay",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(side: &Side) {
        let document = json!({ "version": VERSION, "side": super::side(side), "another": 1 });
        assert_eq!(&read_side(&document.to_string()).expect("what we write"), side, "{document}");
    }

    #[test]
    fn what_is_written_is_read_back() {
        for side in [Side::OPEN, Side::BLOCKED, Side::UNKNOWN] {
            check(&side);
        }
        for mapping in Dependence::ALL {
            for filtering in Dependence::ALL {
                for allocation in Allocation::ALL {
                    check(&Side::behind(mapping, filtering, allocation));
                }
            }
        }
        check(&Side {
            hairpin: Some(true),
            has_pool: true,
            public: Some([198, 51, 100, 1].into()),
            network: Some(([192, 168, 1, 10].into(), 24, Some([192, 168, 1, 1].into()))),
            mapped_port: true,
            ipv6: true,
            layers: 2,
            ..Side::OPEN
        });
    }

    #[test]
    fn what_is_not_ours_is_refused_with_a_reason() {
        let side = super::side(&Side::OPEN);
        let with = |name: &str, value: Value| {
            let mut side = side.clone();
            side[name] = value;
            json!({ "version": VERSION, "side": side }).to_string()
        };
        let network = json!({ "address": "192.168.1.10", "prefix": 33, "router": null });
        for (text, reason) in [
            (String::new(), "EOF"),
            ("[]".into(), "invalid"),
            ("{}".into(), "missing field `version`"),
            (json!({ "version": 2, "side": side }).to_string(), "of version 2"),
            (json!({ "version": VERSION, "side": {} }).to_string(), "missing field"),
            (with("mapping", json!("round")), "`round` is no mapping"),
            (with("allocation", json!("odd")), "`odd` is no allocation"),
            (with("public", json!("here")), "IP address"),
            (with("network", network), "more than 32"),
        ] {
            let error = read_side(&text).expect_err("it is refused");
            assert!(format!("{error:#}").contains(reason), "{text}: {error:#}");
        }
    }
}
