//! Every event has its sentence, the plan's files are what they should be, and the verdict is strict.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use pinhole_agent::event::Event;
use pinhole_host::netlink::conntrack::{Entry, Tuple, status};
use pinhole_wg::quick::Config;

use super::echo::Echoes;
use super::plan::{self, PORT, Plan};
use super::witness::Witness;
use super::{ALICE, BOB, story};

#[test]
fn every_event_has_a_sentence_without_gaps_that_names_the_peer() {
    let plan = Plan::new().expect("a source of randomness");
    let (peer, to) = (plan.bob.public, plan.alice.public);
    let endpoint: SocketAddr = "192.0.2.1:51820".parse().expect("an address");
    let device = || "wg0".to_owned();
    let events = [
        Event::RegistryUp,
        Event::RegistryDown,
        Event::Observed { endpoint },
        Event::Asked { peer },
        Event::Answered { peer, endpoint, simultaneous: true, initiate: true },
        Event::Answered { peer, endpoint, simultaneous: true, initiate: false },
        Event::Answered { peer, endpoint, simultaneous: false, initiate: false },
        Event::Absent { peer },
        Event::Opener { peer, to: endpoint, ttl: 4 },
        Event::Handshake { peer, endpoint },
        Event::Up { peer, endpoint: Some(endpoint), after_ms: Some(7), relayed: false },
        Event::Down { peer },
        Event::Failed { peer, pause_ms: 1_500 },
        Event::Added { peer, allowed_ips: Vec::new() },
        Event::Refused { peer, reason: "no".into() },
        Event::Peer { peer, endpoint },
        Event::Gone { peer },
        Event::Introduced { peer, to },
        Event::DeviceFailed { device: device(), reason: "gone".into() },
    ];
    for event in events {
        let object = serde_json::to_value(&event).expect("it is an object");
        let (_, sentence) = story::tell(&object, |key| plan.name(key)).unwrap_or_else(|| panic!("{event:?} has none"));
        assert!(!sentence.replace("where is bob?", "").contains('?'), "{event:?}: {sentence}");
        assert!(
            object.get("peer").is_none() || matches!(event, Event::Opener { .. }) || sentence.contains("bob"),
            "{sentence}"
        );
        assert!(!sentence.contains(&peer.to_base64()), "{sentence}");
    }
}

#[test]
fn peers_know_where_the_registry_is_and_not_where_each_other_are() {
    let plan = Plan::new().expect("a source of randomness");
    for part in plan.peers() {
        let text = plan.device(part).to_text();
        let config = Config::parse(&text).expect("it is a wg-quick file");
        let known: Vec<_> = config.peers.iter().filter(|p| p.endpoint.is_some()).map(|p| p.public_key).collect();
        assert_eq!((config.peers.len(), known), (2, vec![plan.hub.public]));
    }
    assert!(plan.device(&plan.hub).peers.iter().all(|peer| peer.endpoint.is_none()));
    let roles = format!("{}\n{}", plan::registry_role(), plan::agent_role(plan.hub.address));
    crate::config::Config::parse(&roles).expect("both roles are valid");
}

/// An answered flow through the NAT at `nat` to the peer's NAT.
fn flow(inside: Ipv4Addr, nat: Ipv4Addr, peer: Ipv4Addr) -> Entry {
    let at = |ip: Ipv4Addr| SocketAddr::new(IpAddr::V4(ip), PORT);
    let original = Tuple::new(17, at(inside), at(peer));
    let reply = Tuple::new(17, at(peer), at(nat));
    Entry { status: status::SEEN_REPLY, ..Entry::new(original, reply) }
}

#[test]
fn nothing_is_claimed_that_the_core_and_both_nats_have_not_seen() {
    let flows = [
        vec![flow(Ipv4Addr::new(192, 168, 1, 10), ALICE, BOB)],
        vec![flow(Ipv4Addr::new(192, 168, 2, 10), BOB, ALICE)],
    ];
    let some = Echoes { sent: 2, round_trips: vec![Duration::from_millis(40)] };
    let none = Echoes { sent: 2, round_trips: Vec::new() };
    let unanswered = {
        let mut flows = flows.clone();
        flows[1][0].status = 0;
        flows
    };
    let now = Instant::now();
    // What the core saw: there, back, through the hub.
    let cases = [
        ([1, 1, 0], &some, &flows, None),
        ([1, 1, 0], &none, &flows, Some("no echo")),
        ([0, 1, 0], &some, &flows, Some("every echo")),
        ([1, 0, 0], &some, &flows, Some("every answer")),
        ([1, 1, 1], &some, &flows, Some("public host")),
        ([1, 1, 0], &some, &unanswered, Some("bob's NAT")),
        ([1, 1, 0], &some, &[Vec::new(), flows[1].clone()], Some("alice's NAT")),
    ];
    for (seen, echoes, mappings, missing) in cases {
        let verdict = Witness::having_seen(seen).verdict(now, now, echoes.clone(), mappings);
        assert_eq!(verdict.is_direct(), missing.is_none(), "{verdict:?}");
        assert_eq!(verdict.missing.len(), usize::from(missing.is_some()), "{verdict:?}");
        assert!(missing.is_none_or(|missing| verdict.missing[0].contains(missing)), "{verdict:?}");
    }
}

#[test]
fn percentages_are_percentages() {
    for (text, value) in
        [("0", Some(0.0)), ("2.5", Some(2.5)), ("100", Some(100.0)), ("101", None), ("-1", None), ("x", None)]
    {
        assert_eq!(super::percent(text).ok(), value, "{text}");
    }
}
