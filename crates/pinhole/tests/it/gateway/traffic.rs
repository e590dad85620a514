//! Who reaches whom, and is seen as whom.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};

use super::{INSIDE, OUTSIDE, PUBLIC, ROUTER, SPARE, Stage, connect, ip, is_silent, listen, port_of, receive};
use crate::support::ready::ready;

/// So much that the kernel hands it over in pieces of 64 KiB.
const MUCH: usize = 4 << 20;

/// The ports that a gateway has of a host's own address, unless it is told others: those above what the host draws from.
const HIGH: std::ops::RangeInclusive<u16> = 61_000..=65_534;

/// Sends as much in both directions at once, and compares.
fn exchange(one: TcpStream, other: TcpStream) {
    let data: Vec<u8> = (0..MUCH).map(|at| ((at * 31) >> 3) as u8).collect();
    let ends = [one, other];
    std::thread::scope(|scope| {
        for stream in &ends {
            scope.spawn(|| (&*stream).write_all(&data).expect("it is sent"));
        }
        for stream in &ends {
            let (data, mut received) = (&data, vec![0; MUCH]);
            stream.set_read_timeout(Some(crate::support::PATIENCE)).expect("a timeout");
            scope.spawn(move || {
                (&*stream).read_exact(&mut received).expect("it arrives");
                assert!(received == *data, "what arrives is what was sent");
            });
        }
    });
}

/// The host inside reaches the one outside by TCP, UDP and ping, and is seen as `external`.
fn check_outbound(stage: &Stage, external: Ipv4Addr, is_own_port: impl Fn(u16) -> bool) {
    let listener = listen(&stage.outside, OUTSIDE);
    let client = connect(&stage.inside, listener.local_addr().expect("bound")).expect("a connection");
    let (server, seen) = listener.accept().expect("a client");
    assert_eq!(ip(seen), IpAddr::V4(external));
    assert!(is_own_port(seen.port()), "{seen}");
    exchange(client, server);

    let server = stage.udp(&stage.outside, OUTSIDE, 0);
    let client = stage.udp(&stage.inside, INSIDE, 0);
    client.send_to(b"x", (OUTSIDE, port_of(&server))).expect("a route");
    let seen = receive(&server).expect("it arrives");
    assert_eq!(ip(seen), IpAddr::V4(external));
    assert!(is_own_port(seen.port()), "{seen}");
    server.send_to(&[1; 1_400], seen).expect("a route");
    assert_eq!(receive(&client), Some(SocketAddr::from((OUTSIDE, port_of(&server)))));
    // Nobody else may send there (address- and port-dependent filtering).
    let stranger = stage.udp(&stage.outside, OUTSIDE, 0);
    stranger.send_to(b"x", seen).expect("a route");
    assert!(is_silent(&client));

    assert!(stage.ping(&stage.inside, OUTSIDE, &[]));
    assert!(stage.ping(&stage.inside, OUTSIDE, &["-s", "4000"]), "in fragments, too");
}

/// The router's own traffic goes as if there were no gateway.
fn check_host(stage: &Stage) {
    assert!(stage.ping(&stage.router, OUTSIDE, &[]));
    assert!(stage.ping(&stage.router, OUTSIDE, &["-s", "4000"]));
    assert!(stage.ping(&stage.outside, PUBLIC, &[]));
    assert!(stage.ping(&stage.inside, ROUTER, &[]));
    for (from, at, to) in [
        (&stage.router, &stage.outside, OUTSIDE),
        (&stage.outside, &stage.router, PUBLIC),
        (&stage.inside, &stage.router, ROUTER),
        (&stage.inside, &stage.router, PUBLIC),
        (&stage.router, &stage.inside, INSIDE),
    ] {
        let listener = listen(at, to);
        let client = connect(from, listener.local_addr().expect("bound")).expect("a connection");
        let (_, seen) = listener.accept().expect("a client");
        assert_eq!(Some(seen), client.local_addr().ok(), "nothing is translated");
    }
}

/// What the outside begins does not get in, not even past the gateway.
fn check_closed(stage: &Stage, external: Ipv4Addr) {
    stage.says(&stage.outside, &format!("ip route add 192.168.7.0/24 via {PUBLIC}"));
    let socket = stage.udp(&stage.inside, INSIDE, 0);
    let listener = listen(&stage.inside, INSIDE);
    let outside = stage.udp(&stage.outside, OUTSIDE, 0);
    for to in [SocketAddr::from((INSIDE, port_of(&socket))), SocketAddr::from((external, 61_234))] {
        outside.send_to(b"x", to).expect("a route");
    }
    assert!(is_silent(&socket));
    assert!(connect(&stage.outside, listener.local_addr().expect("bound")).is_err());
    assert!(connect(&stage.outside, SocketAddr::from((external, 61_235))).is_err());
    assert!(!stage.ping(&stage.outside, INSIDE, &[]));
    stage.says(&stage.outside, &format!("ip route del 192.168.7.0/24 via {PUBLIC}"));
}

#[test]
fn behind_ports_of_the_hosts_address_the_inside_reaches_the_outside_and_the_host_is_as_before() {
    if !ready(&["ping", "ip"]) {
        return;
    }
    for strict in ["0", "1"] {
        let stage = Stage::new("gw-ports");
        stage.router.set("net/ipv4/conf/all/rp_filter", strict).expect("a setting");
        let gateway = stage.up(&[]);
        check_outbound(&stage, PUBLIC, |port| HIGH.contains(&port));
        check_host(&stage);
        check_closed(&stage, PUBLIC);
        let status = stage.status();
        assert_eq!((&status["external"], &status["ports"]), (&"203.0.113.1".into(), &"61000-65534".into()), "{status}");
        let lines = status["translations"].as_array().expect("they were asked for");
        let is_ours =
            |line: &&serde_json::Value| line["inside"].as_str().is_some_and(|end| end.starts_with("192.168.7.2:"));
        assert!(lines.len() >= 3 && lines.iter().all(|line| is_ours(&line)), "{status}");
        assert!(status["to_outside"]["bytes"].as_u64() > Some(MUCH as u64), "{status}");
        assert!(status["dropped"].as_array().is_some_and(|drops| !drops.is_empty()), "{status}");
        let text = stage.gateway(&["status"]).stdout;
        assert!(text.starts_with("eth1 behind 203.0.113.1, ports 61000-65534 on eth0\n  does: openwrt\n"), "{text}");
        let (status, words) = gateway.terminate();
        assert!(status.success(), "{words}");
    }
}

#[test]
fn behind_an_address_of_its_own_the_inside_reaches_the_outside() {
    if !ready(&["ping", "ip"]) {
        return;
    }
    for strict in ["0", "1"] {
        let stage = Stage::new("gw-address");
        stage.router.set("net/ipv4/conf/all/rp_filter", strict).expect("a setting");
        let gateway = stage.up(&["--external", &SPARE.to_string(), "--preset", "rfc4787", "--behaviour", "udp=ei/apd"]);
        check_outbound(&stage, SPARE, |port| port >= 1_024);
        check_host(&stage);
        check_closed(&stage, SPARE);
        let (status, words) = gateway.terminate();
        assert!(status.success(), "{words}");
    }
}

#[test]
fn a_full_cone_lets_strangers_in_and_hosts_inside_reach_each_other_by_it() {
    if !ready(&["ip"]) {
        return;
    }
    for own in [&[][..], &["--external", "203.0.113.99"]] {
        let stage = Stage::new("gw-cone");
        let _gateway = stage.up(&[&["--preset", "full_cone_router"], own].concat());
        let server = stage.udp(&stage.outside, OUTSIDE, 0);
        let client = stage.udp(&stage.inside, INSIDE, 0);
        client.send_to(b"x", (OUTSIDE, port_of(&server))).expect("a route");
        let seen = receive(&server).expect("it arrives");
        let stranger = stage.udp(&stage.outside, OUTSIDE, 0);
        stranger.send_to(b"x", seen).expect("a route");
        assert_eq!(receive(&client).map(|from| from.port()), Some(port_of(&stranger)));
        let other = stage.udp(&stage.inside, INSIDE, 0);
        other.send_to(b"x", seen).expect("a route");
        let from = receive(&client).expect("hairpinning");
        assert_eq!(from.ip(), seen.ip(), "the other one's external endpoint");
    }
}

#[test]
fn rules_masquerade_and_forward_a_port() {
    if !ready(&["ping", "ip"]) {
        return;
    }
    let stage = Stage::new("gw-rules");
    let rules = format!(
        "*nat\n-A PREROUTING -i eth0 -d {SPARE} -p tcp --dport 8080 -j DNAT --to-destination {INSIDE}:80\n\
         -A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n\
         *filter\n:FORWARD DROP [0:0]\n-A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED,DNAT -j ACCEPT\n\
         -A FORWARD -i eth1 -j ACCEPT\nCOMMIT\n"
    );
    std::fs::write(stage.router.path("/run/nat.rules".as_ref()), rules).expect("a writable /run");
    let _gateway = stage.up(&["--external", &SPARE.to_string(), "--rules", "/run/nat.rules"]);
    check_outbound(&stage, SPARE, |port| port >= 1_024);
    let listener =
        stage.inside.run(|| std::net::TcpListener::bind((INSIDE, 80))).expect("a thread").expect("nobody has it");
    let client = connect(&stage.outside, SocketAddr::from((SPARE, 8_080))).expect("it is forwarded");
    let (server, seen) = listener.accept().expect("a client");
    assert_eq!(Some(seen), client.local_addr().ok());
    exchange(client, server);
    check_closed(&stage, SPARE);
    let status = stage.status();
    let is_forwarded = |line: &serde_json::Value| {
        (&line["inside"], &line["external"]) == (&"192.168.7.2:80".into(), &"203.0.113.99:8080".into())
    };
    assert!(status["translations"].as_array().expect("asked for").iter().any(is_forwarded), "{status}");
}

#[test]
fn rules_with_ports_of_the_hosts_address_masquerade_to_those() {
    if !ready(&["ping", "ip"]) {
        return;
    }
    let stage = Stage::new("gw-rports");
    let rules = "*nat\n-A POSTROUTING -o eth0 -p tcp -j MASQUERADE --to-ports 50000-50099\n\
                 -A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n";
    std::fs::write(stage.router.path("/run/nat.rules".as_ref()), rules).expect("a writable /run");
    let _gateway = stage.up(&["--ports", "50000-50999", "--rules", "/run/nat.rules"]);
    check_outbound(&stage, PUBLIC, |port| (50_000..51_000).contains(&port));
    check_host(&stage);
}

#[test]
fn what_is_too_long_for_the_outside_is_cut_or_its_sender_told() {
    if !ready(&["ping", "ip"]) {
        return;
    }
    for own in [&[][..], &["--external", "203.0.113.99"]] {
        let stage = Stage::new("gw-mtu");
        stage.says(&stage.router, "ip link set eth0 mtu 1300");
        stage.says(&stage.outside, "ip link set eth0 mtu 1300");
        let _gateway = stage.up(own);
        let ended = run_ping(&stage, &["-M", "do", "-s", "1400"]);
        assert!(ended.contains("mtu = 1300") || ended.contains("mtu=1300"), "{ended}");
        assert!(stage.ping(&stage.inside, OUTSIDE, &["-M", "do", "-s", "1200"]));
        let listener = listen(&stage.outside, OUTSIDE);
        let client = connect(&stage.inside, listener.local_addr().expect("bound")).expect("a connection");
        exchange(client, listener.accept().expect("a client").0);
        let ended = run_ping(&stage, &["-t", "1"]);
        assert!(ended.contains("From 192.168.7.1 ") && ended.contains("Time to live exceeded"), "{ended}");
        if !own.is_empty() {
            // Behind the engine the kernel forwards once more.
            let ended = run_ping(&stage, &["-t", "2"]);
            assert!(ended.contains("Time to live exceeded"), "{ended}");
        }
    }
}

fn run_ping(stage: &Stage, options: &[&str]) -> String {
    let mut command = stage.command(&stage.inside, "ping");
    command.args(["-n", "-c", "1", "-W", "2"]).args(options).arg(OUTSIDE.to_string());
    let ended = crate::support::pinhole::run(&mut command);
    ended.stdout + &ended.stderr
}
