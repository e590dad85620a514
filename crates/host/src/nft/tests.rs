//! The rulesets as the `nft` program reads them back, and as packets feel them.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use super::{Policy, Ports, Ruleset};
use crate::namespace::{Namespace, privilege};
use crate::netlink::conntrack;
use crate::netlink::route::{self, address, link, table};

fn skip_without_privilege() -> bool {
    let skip = !privilege::can_make_namespaces();
    if skip {
        eprintln!("SKIP: making namespaces needs root (or CAP_SYS_ADMIN and CAP_NET_ADMIN); run the tests with sudo");
    }
    skip
}

/// The ruleset that `nft` lists in `ns`, without counter values and blank lines; `None` where it is not installed.
fn listed(ns: &Namespace) -> Option<String> {
    let mut command = Command::new("nft");
    command.args(["--stateless", "list", "ruleset"]);
    ns.enter(&mut command);
    match command.output() {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && *line != "}");
            Some(lines.map(|line| format!("{}\n", line.split_once(" # ").map_or(line, |(line, _)| line))).collect())
        }
        _ => {
            eprintln!("SKIP: no nft program to check against; install it: apt-get install nftables");
            None
        }
    }
}

#[test]
fn nft_lists_what_was_meant_and_nothing_after_the_drop() {
    if skip_without_privilege() {
        return;
    }
    let ns = Namespace::create("nft-list").expect("a namespace");
    let cases = [
        (Ports::Kept, Policy::Drop, "counter masquerade\n", "iifname \"wan\" counter drop\n"),
        (Ports::Random, Policy::Accept, "counter masquerade fully-random\n", ""),
        (Ports::Range { first: 20_000, last: 20_099 }, Policy::Accept, "counter masquerade to :20000-20099\n", ""),
    ];
    for (ports, input, masquerade, last) in cases {
        let ruleset = Ruleset::home_router("pinhole_test", "wan", ports, input);
        let installed = ns.run(|| ruleset.install()).expect("a thread").expect("nf_tables works in a namespace");
        let Some(text) = listed(&ns) else { return };
        let expected = format!(
            "table ip pinhole_test {{\n\
             flags owner\n\
             chain postrouting {{\n\
             type nat hook postrouting priority srcnat; policy accept;\n\
             oifname \"wan\" {masquerade}\
             chain forward {{\n\
             type filter hook forward priority filter; policy accept;\n\
             ct state established,related accept\n\
             iifname \"wan\" counter drop\n\
             chain input {{\n\
             type filter hook input priority filter; policy accept;\n\
             iifname \"wan\" ct state established,related accept\n\
             {last}"
        );
        assert_eq!(text, expected);
        drop(installed);
        assert_eq!(listed(&ns).as_deref(), Some(""));
    }
}

#[test]
fn a_name_that_is_too_long_is_refused_by_name() {
    if skip_without_privilege() {
        return;
    }
    let ns = Namespace::create("nft-bad").expect("a namespace");
    let ruleset =
        Ruleset { chains: Vec::new(), ..Ruleset::home_router(&"x".repeat(300), "", Ports::Kept, Policy::Drop) };
    let error = ns.run(|| ruleset.install()).expect("a thread").map(drop).expect_err("names have at most 255 bytes");
    assert!(error.to_string().contains("table xxx"), "{error}");
}

/// home (10.7.0.2) - router (10.7.0.1 | wan 192.0.2.1) - peer (192.0.2.2), with NAT on the router.
struct Home {
    inside: Namespace,
    router: Namespace,
    peer: Namespace,
    nat: super::Installed,
}

impl Home {
    fn new(ports: Ports, input: Policy) -> Self {
        let [inside, router, peer] = ["home", "router", "peer"].map(|n| Namespace::create(n).expect("a namespace"));
        let pair = |a: &str, b: &str, to: &Namespace| {
            router
                .run(|| link::add_veth(&mut route::open()?, a, b, Some(to.net())))
                .expect("a thread")
                .expect("a pair");
        };
        pair("lan", "eth0", &inside);
        pair("wan", "eth0", &peer);
        let configure = |ns: &Namespace, name: &'static str, net: &'static str| {
            let configure = move || {
                let mut socket = route::open()?;
                let index = link::find(&mut socket, name)?.index;
                link::set(&mut socket, index, &link::Change { up: Some(true), ..Default::default() })?;
                address::add(&mut socket, index, net.parse().expect("a network"))
            };
            ns.run(configure).expect("a thread").expect("the link is configured");
        };
        configure(&router, "lan", "10.7.0.1/24");
        configure(&router, "wan", "192.0.2.1/24");
        configure(&inside, "eth0", "10.7.0.2/24");
        configure(&peer, "eth0", "192.0.2.2/24");
        let default = table::Route::default_via([10, 7, 0, 1].into());
        inside.run(|| table::add(&mut route::open()?, &default)).expect("a thread").expect("the router is on the link");
        router.set("net/ipv4/ip_forward", "1").expect("a router forwards");
        // Counters do not exist on every kernel; the test that needs them says so itself.
        let _ = router.set("net/netfilter/nf_conntrack_acct", "1");
        let ruleset = Ruleset::home_router("pinhole", "wan", ports, input);
        let nat = router.run(|| ruleset.install()).expect("a thread").expect("a NAT");
        Self { inside, router, peer, nat }
    }
}

fn bind(ns: &Namespace, address: [u8; 4], port: u16) -> UdpSocket {
    let socket = ns.run(|| UdpSocket::bind((Ipv4Addr::from(address), port))).expect("a thread").expect("the address");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    socket
}

/// Sends a datagram from inside to the peer; returns the source that the peer sees.
fn seen_by_peer(from: &UdpSocket, peer: &UdpSocket) -> SocketAddr {
    from.send_to(b"x", peer.local_addr().expect("bound")).expect("a route");
    peer.recv_from(&mut [0; 8]).expect("the datagram comes through").1
}

#[test]
fn the_nat_translates_tracks_counts_and_forgets() {
    if skip_without_privilege() {
        return;
    }
    let mut home = Home::new(Ports::Kept, Policy::Drop);
    let inside = bind(&home.inside, [10, 7, 0, 2], 51_820);
    let peer = bind(&home.peer, [192, 0, 2, 2], 0);
    let mapped = seen_by_peer(&inside, &peer);
    assert_eq!(mapped, SocketAddr::from(([192, 0, 2, 1], 51_820)));
    peer.send_to(b"back", mapped).expect("a route");
    inside.recv_from(&mut [0; 8]).expect("the answer comes in");

    let entries = home.router.run(conntrack::list).expect("a thread").expect("ctnetlink");
    let inside_address = SocketAddr::from(([10, 7, 0, 2], 51_820));
    let entry = entries.iter().find(|e| e.original.source == inside_address).expect("the flow");
    assert_eq!((entry.mapped(), entry.is_answered(), entry.is_source_translated()), (mapped, true, true));
    assert_eq!((entry.sent.map(|c| c.packets), entry.received.map(|c| c.packets)), (Some(1), Some(1)));

    let original = entry.original;
    home.router.run(|| conntrack::delete(&original)).expect("a thread").expect("it is there");
    let error = home.router.run(|| conntrack::delete(&original)).expect("a thread").expect_err("it is gone");
    assert!(error.is_not_found(), "{error}");
    peer.send_to(b"late", mapped).expect("a route");
    assert_eq!(seen_by_peer(&inside, &peer), mapped);
    home.router.run(conntrack::flush).expect("a thread").expect("a NAT forgets");
    assert_eq!(home.router.run(conntrack::list).expect("a thread").expect("ctnetlink"), []);

    let counts = home.nat.counts().expect("counters");
    let of = |chain: &str| counts.iter().find(|c| c.chain == chain).map(|c| c.packets);
    assert_eq!((of("postrouting"), of("input")), (Some(2), Some(1)), "{counts:?}");
}

#[test]
fn random_ports_differ_per_destination() {
    if skip_without_privilege() {
        return;
    }
    let home = Home::new(Ports::Random, Policy::Drop);
    let inside = bind(&home.inside, [10, 7, 0, 2], 51_820);
    let peers = [bind(&home.peer, [192, 0, 2, 2], 0), bind(&home.peer, [192, 0, 2, 2], 0)];
    let [a, b] = peers.map(|peer| seen_by_peer(&inside, &peer).port());
    assert!(a != b && a != 51_820, "{a} {b}");
}

#[test]
fn a_range_moves_the_port_but_keeps_the_mapping_endpoint_independent() {
    if skip_without_privilege() {
        return;
    }
    let home = Home::new(Ports::Range { first: 30_000, last: 30_049 }, Policy::Drop);
    let inside = bind(&home.inside, [10, 7, 0, 2], 51_820);
    let peers = [bind(&home.peer, [192, 0, 2, 2], 0), bind(&home.peer, [192, 0, 2, 2], 0)];
    let [a, b] = peers.map(|peer| seen_by_peer(&inside, &peer).port());
    assert!(a == b && (30_000..=30_049).contains(&a), "{a} {b}");
}

#[test]
fn an_early_packet_poisons_the_mapping_of_an_open_router_only() {
    if skip_without_privilege() {
        return;
    }
    for (input, kept) in [(Policy::Drop, true), (Policy::Accept, false)] {
        let mut home = Home::new(Ports::Kept, input);
        let inside = bind(&home.inside, [10, 7, 0, 2], 51_820);
        let peer = bind(&home.peer, [192, 0, 2, 2], 0);
        peer.send_to(b"early", "192.0.2.1:51820").expect("a route");
        // The router drops it and counts it, or refuses it and has a flow.
        let is_dealt_with = |home: &mut Home| match input {
            Policy::Drop => home.nat.counts().expect("counters").iter().any(|c| c.chain == "input" && c.packets > 0),
            Policy::Accept => {
                let entries = home.router.run(conntrack::list).expect("a thread").expect("ctnetlink");
                entries.iter().any(|entry| entry.original.source == peer.local_addr().expect("bound"))
            }
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        while !is_dealt_with(&mut home) {
            assert!(Instant::now() < deadline, "{input:?}: it never arrives");
        }
        let mapped = seen_by_peer(&inside, &peer);
        assert_eq!(mapped.port() == 51_820, kept, "{input:?}: {mapped}, {:?}", home.nat.counts());
    }
}
