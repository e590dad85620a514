//! Homes whose router is our engine.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use pinhole_lab::{Link, Nat, RouterKind, Topology, Verdict};
use pinhole_netfilter::behaviour::Behaviour;
use pinhole_netns::{BuildError, Internet};

use crate::support::{mapping, public, receive, skip_without_privilege, socket, two_homes};

const ALICE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

/// Masquerades, and hands UDP port 4000 to the first host inside.
const RULES: &str = "\
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -i lan -o wan -j ACCEPT
-A FORWARD -i wan -m conntrack --ctstate DNAT -j ACCEPT
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -i wan -p udp -m udp --dport 4000 -j DNAT --to-destination 192.168.1.10:51820
-A POSTROUTING -o wan -j MASQUERADE
COMMIT
";

#[test]
fn a_stranger_gets_through_a_full_cone_and_the_ledger_sees_what_the_server_sees() {
    if skip_without_privilege() {
        return;
    }
    let mut internet = two_homes(Behaviour::full_cone_router(), Nat::CONE, 1);
    let tap = internet.tap();
    let server = socket(internet.host("hub"), 0);
    let inside = socket(internet.host("alice"), 51_820);
    let mapped = mapping(&inside, &server, public(internet.host("hub"), &server));
    assert_eq!(mapped, SocketAddr::from((ALICE, 51_820)));
    let stranger = socket(internet.host("bob"), 0);
    stranger.send_to(b"stranger", mapped).expect("a route");
    assert_eq!(receive(&inside).expect("it is let in").0, "stranger");
    let seen = tap.recv_timeout(Duration::from_secs(5)).expect("the tap sees it");
    assert_eq!((seen.flow.src, seen.ttl), (mapped, 63), "the engine's kernel is one hop");
    let sessions = internet.site("alice").sessions();
    let session = sessions.iter().find(|one| one.external == mapped).expect("a session");
    assert_eq!(session.inside, SocketAddr::from(([192, 168, 1, 10], 51_820)));
    assert!(internet.site("bob").sessions().is_empty(), "bob's NAT is his kernel's");
}

#[test]
fn a_restarted_engine_forgets_and_one_that_moves_has_the_new_address() {
    if skip_without_privilege() {
        return;
    }
    let behaviour = Behaviour { allocation: pinhole_netfilter::behaviour::Allocation::Random, ..Behaviour::rfc4787() };
    let mut internet = two_homes(behaviour, Nat::CONE, 0);
    let server = socket(internet.host("hub"), 0);
    let hub = public(internet.host("hub"), &server);
    let inside = socket(internet.host("alice"), 51_820);
    let before = mapping(&inside, &server, hub);
    internet.site("alice").restart_nat().expect("it restarts");
    assert!(internet.site("alice").sessions().is_empty());
    server.send_to(b"late", before).expect("a route");
    let after = mapping(&inside, &server, hub);
    assert_ne!(before, after);
    let new = Ipv4Addr::new(198, 51, 100, 77);
    internet.site("alice").readdress(new).expect("a free address");
    let moved = mapping(&inside, &server, hub);
    assert_eq!(moved.ip(), new);
    server.send_to(b"now", moved).expect("a route");
    assert_eq!(receive(&inside).expect("it comes in").0, "now", "the late one must not have come");
}

#[test]
fn a_binding_ends_by_the_engines_own_timer() {
    if skip_without_privilege() {
        return;
    }
    let behaviour: Behaviour = "full_cone_router udp-timeout=1 udp-stream=1".parse().expect("a behaviour");
    let mut internet = two_homes(behaviour, Nat::CONE, 0);
    let server = socket(internet.host("hub"), 0);
    let inside = socket(internet.host("alice"), 0);
    let mapped = mapping(&inside, &server, public(internet.host("hub"), &server));
    // Nobody sends: only the thread's own clock can end it.
    let begun = std::time::Instant::now();
    while !internet.site("alice").sessions().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(20), "the session lives on");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(begun.elapsed() > Duration::from_millis(700), "after {:?}", begun.elapsed());
    server.send_to(b"late", mapped).expect("a route");
    inside.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    assert_eq!(receive(&inside), None, "nobody is mapped there any more");
}

#[test]
fn rules_translate_to_and_from_a_home() {
    if skip_without_privilege() {
        return;
    }
    let internet = two_homes(RouterKind::Rules(RULES.into()), Nat::CONE, 0);
    let server = socket(internet.host("hub"), 0);
    let hub = public(internet.host("hub"), &server);
    let inside = socket(internet.host("alice"), 51_820);
    let tap = internet.tap();
    server.send_to(b"forwarded", (ALICE, 4_000)).expect("a route");
    assert_eq!(receive(&inside), Some(("forwarded".into(), hub)));
    inside.send_to(b"answer", hub).expect("a route");
    assert_eq!(receive(&server), Some(("answer".into(), SocketAddr::from((ALICE, 4_000)))));
    let other = socket(internet.host("alice"), 0);
    assert_eq!(mapping(&other, &server, hub).ip(), ALICE);
    let to_nobody = SocketAddr::from((ALICE, 4_001));
    server.send_to(b"dropped", to_nobody).expect("a route");
    server.send_to(b"last", (ALICE, 4_000)).expect("a route");
    assert_eq!(receive(&inside), Some(("last".into(), hub)));
    assert!(tap.try_iter().all(|seen| seen.verdict != Verdict::Expired));
}

#[test]
fn rules_that_are_not_understood_are_named_with_their_router() {
    if skip_without_privilege() {
        return;
    }
    let rules = RouterKind::Rules("*nat\n-A POSTROUTING -j NOSUCH\nCOMMIT\n".into());
    let topology = Topology::two_homes(rules, Nat::CONE, Link::default(), 1);
    match Internet::build(&topology) {
        Err(error @ BuildError::Rules { .. }) => assert!(error.to_string().starts_with("alice-home: "), "{error}"),
        other => panic!("{other:?}"),
    }
}
