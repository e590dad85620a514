//! A gateway follows what changes around it: addresses, routes, interfaces, the rules of others.

use std::net::{Ipv4Addr, SocketAddr};

use pinhole_netns::Signal;

use super::{INSIDE, OUTSIDE, PUBLIC, Stage, connect, listen, port_of, receive};
use crate::support::pinhole::Pinhole;
use crate::support::ready::ready;
use crate::support::until;

/// From inside to a new server outside; who that sees.
fn seen(stage: &Stage) -> SocketAddr {
    let server = stage.udp(&stage.outside, Ipv4Addr::UNSPECIFIED, 0);
    let client = stage.udp(&stage.inside, INSIDE, 0);
    let source = until("a datagram through the gateway", || {
        client.send_to(b"x", (OUTSIDE, port_of(&server))).ok()?;
        server.set_read_timeout(Some(std::time::Duration::from_millis(100))).expect("a timeout");
        receive(&server)
    });
    // On a busy machine several are under way: none may come later, and begin a flow anew.
    while receive(&server).is_some() {}
    source
}

/// A question from inside is answered.
fn answers(stage: &Stage) {
    let server = stage.udp(&stage.outside, OUTSIDE, 0);
    let client = stage.udp(&stage.inside, INSIDE, 0);
    client.send_to(b"x", (OUTSIDE, port_of(&server))).expect("a route");
    let from = receive(&server).expect("it arrives");
    assert_eq!(from.ip(), PUBLIC);
    server.send_to(b"x", from).expect("a route");
    assert!(receive(&client).is_some(), "the answer arrives");
}

#[test]
fn another_address_outside_is_followed_and_what_had_the_old_one_is_forgotten() {
    if !ready(&["ip", "ping"]) {
        return;
    }
    let rules = "*nat\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n";
    for way in [&[][..], &["--rules", "/run/nat.rules", "--ports", "40000-50000"]] {
        let stage = Stage::new("gw-renumber");
        std::fs::write(stage.router.path("/run/nat.rules".as_ref()), rules).expect("a writable /run");
        let mut gateway = stage.up(way);
        assert_eq!(seen(&stage).ip(), PUBLIC);
        assert_ne!(stage.status()["flows"], 0);
        stage.says(&stage.router, "ip addr del 203.0.113.1/24 dev eth0");
        until("the end of all flows", || (stage.status()["flows"] == 0).then_some(()));
        stage.says(&stage.router, "ip addr add 203.0.113.50/24 dev eth0");
        stage.says(&stage.router, "ip route replace default via 203.0.113.2");
        let event = gateway.wait_for("the new address", |event| event["event"] == "readdressed");
        assert_eq!(event["external"], "203.0.113.50");
        assert_eq!(stage.status()["flows"], 0, "{}", stage.status());
        assert_eq!(seen(&stage).ip().to_string(), "203.0.113.50");
        assert!(stage.ping(&stage.inside, OUTSIDE, &[]));
        let listener = listen(&stage.router, Ipv4Addr::new(203, 0, 113, 50));
        if way.is_empty() {
            connect(&stage.outside, listener.local_addr().expect("bound")).expect("the host has its own ports");
        }
        let (status, words) = gateway.terminate();
        assert!(status.success(), "{words}");
        let rules = stage.says(&stage.router, "ip rule");
        let reserved = || std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_reserved_ports");
        assert_eq!(stage.router.run(reserved).expect("a thread").expect("a setting"), "\n");
        assert_eq!(rules, "0:\tfrom all lookup local\n32766:\tfrom all lookup main\n32767:\tfrom all lookup default\n");
    }
}

#[test]
fn an_interface_that_goes_down_takes_masqueraded_flows_along() {
    if !ready(&["ip"]) {
        return;
    }
    let stage = Stage::new("gw-down");
    let rules = "*nat\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n";
    std::fs::write(stage.router.path("/run/nat.rules".as_ref()), rules).expect("a writable /run");
    let mut gateway = stage.up(&["--external", "203.0.113.99", "--rules", "/run/nat.rules"]);
    seen(&stage);
    assert_ne!(stage.status()["flows"], 0);
    stage.says(&stage.router, "ip link set eth0 down");
    gateway.wait_for("the end of the interface", |event| {
        event["event"] == "interface_down" && event["interface"] == "eth0"
    });
    assert_eq!(stage.status()["flows"], 0);
    stage.says(&stage.router, "ip link set eth0 up");
    stage.says(&stage.router, "ip route add default via 203.0.113.2");
    gateway.wait_for("the interface", |event| event["event"] == "interface_up");
    assert_eq!(seen(&stage).ip().to_string(), "203.0.113.99");
}

#[test]
fn rules_that_others_add_come_behind_the_gateways_and_routes_that_are_added_are_followed() {
    if !ready(&["ip"]) {
        return;
    }
    let stage = Stage::new("gw-rules2");
    let before = stage.says(&stage.router, "ip rule");
    let gateway = stage.up(&[]);
    // As wg-quick has one, without a priority; what is for the gateway would go nowhere.
    stage.says(&stage.router, "ip route add blackhole 203.0.113.1 table 99");
    stage.says(&stage.router, "ip rule add not fwmark 0x9 lookup 99");
    let is_behind = || {
        let rules = stage.says(&stage.router, "ip rule");
        let place = |what: &str| rules.lines().position(|line| line.contains(what));
        let (ours, theirs) = (place("dport 61000-65534 lookup 52001")?, place("lookup 99")?);
        (place("lookup local")? == 0 && ours < theirs).then_some(())
    };
    until("the rules in order", is_behind);
    answers(&stage);

    // Another network by the outside is translated, one by another way is not.
    stage.says(&stage.outside, "ip addr add 198.51.100.1/32 dev lo");
    stage.says(&stage.router, "ip route add 198.51.100.0/24 via 203.0.113.2");
    stage.says(&stage.router, "ip link add other type veth peer name another");
    stage.says(&stage.router, "ip link set other up");
    stage.says(&stage.router, "ip link set another up");
    stage.says(&stage.router, "ip route add 198.18.0.0/15 dev other");
    let is_followed = || {
        let routes = stage.says(&stage.router, "ip route show table 52000");
        (routes.contains("198.51.100.0/24 dev pinhole-in") && routes.contains("throw 198.18.0.0/15")).then_some(())
    };
    until("the routes", is_followed);
    stage.says(&stage.router, "ip rule del not fwmark 0x9 lookup 99");
    let (status, words) = gateway.terminate();
    assert!(status.success(), "{words}");
    assert_eq!(stage.says(&stage.router, "ip rule"), before);
}

#[test]
fn a_gateway_is_a_role_of_the_configuration() {
    if !ready(&["ip"]) {
        return;
    }
    let stage = Stage::new("gw-toml");
    let write = |text: &str| {
        std::fs::write(stage.router.path("/run/pinhole.toml".as_ref()), text).expect("a writable /run");
    };
    write("[gateway]\ninside = 'eth1'\noutside = 'eth0'\nports = '50000-51000'\n");
    let mut command = stage.command(&stage.router, crate::support::pinhole::BINARY);
    let mut up = Pinhole::spawn("up", command.args(["up", "--json", "-c", "/run/pinhole.toml"]));
    up.wait_for("a gateway", |event| event["event"] == "up" && event["ports"] == "50000-51000");
    assert!((50_000..=51_000).contains(&seen(&stage).port()));
    write("[gateway]\ninside = 'eth1'\noutside = 'eth0'\nbehaviour = 'udp=apd/apd'\n");
    up.signal(Signal::HUP);
    let event = up.wait_for("the other gateway", |event| event["event"] == "up");
    assert_eq!(event["does"], "udp=apd/apd");
    assert!((61_000..=65_534).contains(&seen(&stage).port()));
    write("[gateway]\ninside = 'eth9'\noutside = 'eth0'\n");
    up.signal(Signal::HUP);
    up.wait_for("what ran before", |event| event["event"] == "up");
    assert!((61_000..=65_534).contains(&seen(&stage).port()));
    let (status, words) = up.terminate();
    assert!(status.success() && words.contains("there is no interface eth9"), "{words}");
}
