//! Delay, NAT, loss and changes while it runs.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use pinhole_lab::{Link, Loss, Nat, Topology, Verdict};
use pinhole_netns::Internet;

use crate::support::{mapping, public, receive, round_trip, skip_without_privilege, socket, two_homes};

const ALICE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const BOB: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

#[test]
fn a_round_trip_takes_the_delay_of_all_links() {
    if skip_without_privilege() {
        return;
    }
    let internet = two_homes(Nat::CONE, Nat::CONE, 15);
    let server = socket(internet.host("hub"), 0);
    let client = socket(internet.host("alice"), 0);
    let address = public(internet.host("hub"), &server);
    // The first one also resolves the router's address on the LAN, and a busy machine delays some: none may be too fast, and
    // one has to be on time, within less than another link would take.
    let times: Vec<_> = (0..10).map(|_| round_trip(&client, &server, address)).collect();
    let mut more = std::iter::repeat_with(|| round_trip(&client, &server, address)).take(100);
    let (early, late) = (Duration::from_millis(60), Duration::from_millis(63));
    assert!(times.iter().all(|time| *time >= early), "{times:?}");
    assert!(times.iter().any(|time| *time < late) || more.any(|time| (early..late).contains(&time)), "{times:?}");
}

#[test]
fn nats_map_as_they_are_told_and_the_tap_sees_what_the_server_sees() {
    if skip_without_privilege() {
        return;
    }
    let mut internet = two_homes(Nat::CONE, Nat::SYMMETRIC, 0);
    let tap = internet.tap();
    let servers = [socket(internet.host("hub"), 0), socket(internet.host("hub"), 0)];
    let ask = |name: &str| {
        let inside = socket(internet.host(name), 51_820);
        servers.each_ref().map(|server| mapping(&inside, server, public(internet.host("hub"), server)))
    };
    let (alice, bob) = (ask("alice"), ask("bob"));
    assert_eq!(alice, [SocketAddr::from((ALICE, 51_820)); 2]);
    assert!(bob[0].ip() == BOB && bob[1].ip() == BOB && bob[0].port() != bob[1].port(), "{bob:?}");
    let seen: Vec<_> =
        tap.try_iter().filter(|s| matches!(s.verdict, Verdict::Forwarded(_))).map(|s| s.flow.src).collect();
    assert_eq!(seen, [alice[0], alice[1], bob[0], bob[1]]);
    let inside = SocketAddr::from(([192, 168, 2, 10], 51_820));
    let tracked = internet.site("bob").conntrack().expect("ctnetlink");
    assert!(tracked.iter().any(|e| e.original.source == inside && e.mapped() == bob[0]), "{tracked:?}");
}

#[test]
fn two_homes_punch_through_and_strangers_do_not() {
    if skip_without_privilege() {
        return;
    }
    let internet = two_homes(Nat::CONE, Nat::CONE, 2);
    let server = socket(internet.host("hub"), 0);
    let (a, b) = (socket(internet.host("alice"), 0), socket(internet.host("bob"), 0));
    let hub = public(internet.host("hub"), &server);
    let (at_a, at_b) = (mapping(&a, &server, hub), mapping(&b, &server, hub));
    let stranger = socket(internet.host("hub"), 0);
    stranger.send_to(b"stranger", at_b).expect("a route");
    a.send_to(b"opens alice's NAT", at_b).expect("a route");
    b.send_to(b"opens bob's NAT", at_a).expect("a route");
    assert_eq!(receive(&a).expect("it comes through"), ("opens bob's NAT".into(), at_b));
    a.send_to(b"direct", at_b).expect("a route");
    let mut first = receive(&b).expect("it comes through");
    if first.0 == "opens alice's NAT" {
        // Bob's packet had opened his NAT before alice's arrived.
        first = receive(&b).expect("it comes through");
    }
    assert_eq!(first, ("direct".into(), at_a));
    let ledger = internet.ledger();
    assert!(ledger.sum(|from, to| from == at_a && to == at_b).packets >= 2);
    assert_eq!(ledger.sum(|from, to| from == at_b && to == at_a).packets, 1);
}

#[test]
fn a_packet_that_dies_on_the_way_opens_its_own_nat_and_reaches_no_other() {
    if skip_without_privilege() {
        return;
    }
    let internet = two_homes(Nat::CONE, Nat::POISONABLE, 0);
    let tap = internet.tap();
    let (a, b) = (socket(internet.host("alice"), 4_000), socket(internet.host("bob"), 4_000));
    let (at_a, at_b) = (SocketAddr::from((ALICE, 4_000)), SocketAddr::from((BOB, 4_000)));
    a.set_ttl(4).expect("a time to live");
    a.send_to(b"opener", at_b).expect("a route");
    let opener = tap.recv_timeout(Duration::from_secs(5)).expect("the tap sees it");
    // Alice's own router took one.
    assert_eq!((opener.verdict, opener.ttl), (Verdict::Expired, 3));
    b.send_to(b"through", at_a).expect("a route");
    assert_eq!(receive(&a).expect("alice's NAT is open"), ("through".into(), at_b), "bob's NAT keeps his port");
}

#[test]
fn a_restarted_nat_forgets_and_gives_other_ports() {
    if skip_without_privilege() {
        return;
    }
    for nat in [Nat::CONE, Nat::SYMMETRIC] {
        let mut internet = two_homes(nat, Nat::CONE, 0);
        let server = socket(internet.host("hub"), 0);
        let inside = socket(internet.host("alice"), 51_820);
        let hub = public(internet.host("hub"), &server);
        let mut mappings = vec![mapping(&inside, &server, hub)];
        for _ in 0..2 {
            internet.site("alice").restart_nat().expect("it restarts");
            server.send_to(b"late", mappings[mappings.len() - 1]).expect("a route");
            mappings.push(mapping(&inside, &server, hub));
        }
        assert!(mappings[0] != mappings[1] && mappings[1] != mappings[2], "{nat:?}: {mappings:?}");
        server.send_to(b"now", mappings[2]).expect("a route");
        assert_eq!(receive(&inside).expect("it comes in").0, "now", "{nat:?}: the late ones must not have come");
        let second = socket(internet.host("hub"), 0);
        let other = mapping(&inside, &second, public(internet.host("hub"), &second));
        assert_eq!(other == mappings[2], nat == Nat::CONE, "{nat:?} keeps its kind");
    }
}

#[test]
fn a_home_moves_to_another_address_and_a_cable_comes_back() {
    if skip_without_privilege() {
        return;
    }
    let mut internet = two_homes(Nat::CONE, Nat::CONE, 0);
    let server = socket(internet.host("hub"), 0);
    let hub = public(internet.host("hub"), &server);
    let inside = socket(internet.host("alice"), 51_820);
    mapping(&inside, &server, hub);
    let new = Ipv4Addr::new(198, 51, 100, 77);
    internet.site("alice").readdress(new).expect("a free address");
    let mapped = mapping(&inside, &server, hub);
    assert_eq!(mapped.ip(), new);
    server.send_to(b"hello", mapped).expect("a route");
    assert_eq!(receive(&inside).expect("it comes in").0, "hello");

    internet.host("alice").set_up(false).expect("a cable to pull");
    assert!(inside.send_to(b"x", hub).is_err(), "there is no route");
    internet.host("alice").set_up(true).expect("a cable to plug");
    assert_eq!(mapping(&inside, &server, hub).ip(), new);

    let tap = internet.tap();
    internet.site("alice-home").set_connected(false);
    inside.send_to(b"lost", hub).expect("nobody notices");
    let lost = tap.recv_timeout(Duration::from_secs(5)).expect("the tap sees it");
    assert_eq!(lost.verdict, Verdict::LostComing(Loss::Disconnected));
    internet.site("alice-home").set_connected(true);
    inside.send_to(b"found", hub).expect("a route");
    assert_eq!(receive(&server).expect("it arrives").0, "found");
}

#[test]
fn loss_is_what_the_link_says_and_the_ledger_agrees_with_the_receiver() {
    if skip_without_privilege() {
        return;
    }
    const SENT: usize = 2_000;
    let mut internet = two_homes(Nat::CONE, Nat::CONE, 0);
    let server = socket(internet.host("hub"), 0);
    let hub = public(internet.host("hub"), &server);
    let inside = socket(internet.host("alice"), 51_820);
    internet.site("alice").change_link(|link| link.loss = 0.25);
    let mut received = 0;
    for _ in 0..SENT / 50 {
        for _ in 0..50 {
            inside.send_to(b"x", hub).expect("a route");
        }
        // Over a perfect link, so that it arrives, and after all the others.
        internet.site("alice").change_link(|link| link.loss = 0.0);
        inside.send_to(b"end", hub).expect("a route");
        while receive(&server).expect("the end arrives").0 != "end" {
            received += 1;
        }
        internet.site("alice").change_link(|link| link.loss = 0.25);
    }
    let ledger = internet.ledger().sum(|_, to| to == hub);
    assert_eq!(ledger.packets as usize, received + SENT / 50);
    assert_eq!(ledger.packets + ledger.lost, (SENT + SENT / 50) as u64);
}

#[test]
fn hosts_of_one_home_see_each_other_and_share_its_address() {
    if skip_without_privilege() {
        return;
    }
    let mut topology = Topology::two_homes(Nat::CONE, Nat::CONE, Link::default(), 1);
    topology.sites[1].home.as_mut().expect("a home").hosts.push("carol".into());
    let internet = Internet::build(&topology).expect("it can be built");
    let (a, c) = (socket(internet.host("alice"), 4_000), socket(internet.host("carol"), 4_000));
    a.send_to(b"neighbour", public(internet.host("carol"), &c)).expect("a route");
    assert_eq!(receive(&c).expect("it arrives").1, public(internet.host("alice"), &a));
    let server = socket(internet.host("hub"), 0);
    let hub = public(internet.host("hub"), &server);
    let (at_a, at_c) = (mapping(&a, &server, hub), mapping(&c, &server, hub));
    assert!(at_a.ip() == at_c.ip() && at_a.port() != at_c.port(), "{at_a} {at_c}");
}

#[test]
fn a_capture_holds_what_crossed_the_outside_of_the_site() {
    if skip_without_privilege() {
        return;
    }
    let mut internet = two_homes(Nat::CONE, Nat::CONE, 0);
    let path = std::env::temp_dir().join(format!("pinhole-netns-{}.pcap", std::process::id()));
    internet.capture("alice", &path).expect("a file");
    let server = socket(internet.host("hub"), 0);
    let client = socket(internet.host("alice"), 51_820);
    round_trip(&client, &server, public(internet.host("hub"), &server));
    internet.finish_captures().expect("a disk");
    let file = std::fs::read(&path).expect("the capture");
    std::fs::remove_file(&path).expect("our file");
    let mut capture = pinhole_wire::pcap::Capture::new(&file[..], None).expect("a capture");
    let packets = core::iter::from_fn(|| capture.next_packet().expect("whole"));
    let flows: Vec<_> = packets.filter_map(|(_, packet)| pinhole_wire::Flow::of(&packet).ok()).collect();
    assert_eq!((flows.len(), flows[0].src, flows[1]), (2, SocketAddr::from((ALICE, 51_820)), flows[0].reversed()));
}
